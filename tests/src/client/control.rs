//! Orders from standard input, events to standard output, and who of the connections was answered since the last mark.

use std::{
    io::{self, BufRead, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Event, Order};

/// Shared by the threads of a client.
#[derive(Debug)]
pub struct Control {
    stop: AtomicBool,
    /// Number of marks so far; 0 is the start.
    mark: AtomicU64,
    members: Vec<Member>,
}

/// One connection that stays.
#[derive(Debug)]
struct Member {
    /// The mark after which it was last answered, plus one; 0: never.
    served: AtomicU64,
    /// Whether it was answered before the last mark as well, without a break.
    lost: AtomicBool,
}

impl Control {
    pub fn new(members: usize) -> Arc<Self> {
        let member = |_| Member { served: AtomicU64::new(0), lost: AtomicBool::new(false) };
        Arc::new(Self { stop: AtomicBool::new(false), mark: AtomicU64::new(0), members: (0..members).map(member).collect() })
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The mark to give to [`Control::served`]: taken before a request is sent, so that an answer counts for the time of its request.
    pub fn current_mark(&self) -> u64 {
        self.mark.load(Ordering::SeqCst)
    }

    /// A connection was answered correctly; its request was sent after `mark`.
    pub fn served(&self, member: usize, mark: u64) {
        self.members[member].served.store(mark + 1, Ordering::SeqCst);
    }

    /// A connection is gone.
    pub fn lost(&self, member: usize) {
        self.members[member].lost.store(true, Ordering::SeqCst);
    }

    /// Connections that are still there and were answered since the last mark.
    pub fn served_since_mark(&self) -> usize {
        let wanted = self.current_mark() + 1;
        self.members
            .iter()
            .filter(|member| !member.lost.load(Ordering::SeqCst) && member.served.load(Ordering::SeqCst) >= wanted)
            .count()
    }

    fn alive(&self) -> usize {
        self.members.iter().filter(|member| !member.lost.load(Ordering::SeqCst)).count()
    }

    fn all_served(&self) -> bool {
        self.served_since_mark() == self.alive()
    }

    /// Sleeps until `when` or until the client is to stop; whether to go on.
    pub fn sleep_until(&self, when: Instant) -> bool {
        loop {
            if self.stopping() {
                return false;
            }
            let left = when.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Carries out orders and says events until told to stop or until `limit` has passed.
    pub fn conduct(&self, limit: Option<Duration>) {
        let orders = read_orders();
        let end = limit.map(|limit| Instant::now() + limit);
        let mut waiting = Some(Event::Ready);
        loop {
            if waiting.is_some() && self.all_served() {
                waiting.take().iter().for_each(say);
            }
            match orders.recv_timeout(Duration::from_millis(2)) {
                Ok(Order::Mark) => {
                    self.mark.fetch_add(1, Ordering::SeqCst);
                    waiting = Some(Event::Served);
                }
                Ok(Order::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) if end.is_some_and(|end| Instant::now() >= end) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Prints an event, or another result, as a line of JSON.
pub fn say(event: &impl Serialize) {
    let line = serde_json::to_string(event).expect("events hold numbers and strings");
    let mut out = io::stdout().lock();
    // Without a reader there is nobody to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn read_orders() -> mpsc::Receiver<Order> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let order = match line.trim() {
                "mark" => Order::Mark,
                "stop" => Order::Stop,
                other => {
                    eprintln!("lab-client: no order {other:?}; there are mark and stop");
                    continue;
                }
            };
            if sender.send(order).is_err() {
                return;
            }
        }
        // The sender is dropped: the end of input stops the client.
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_the_mark_before_its_request() {
        let control = Control::new(2);
        let before = control.current_mark();
        control.served(0, before);
        control.served(1, before);
        assert!(control.all_served());
        control.mark.fetch_add(1, Ordering::SeqCst);
        // Sent before the mark, answered after it.
        control.served(0, before);
        assert_eq!(control.served_since_mark(), 0);
        control.served(0, control.current_mark());
        control.lost(1);
        assert_eq!((control.served_since_mark(), control.all_served()), (1, true));
    }
}
