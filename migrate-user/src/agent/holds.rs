//! How often, and for how long, containers were held because the ring was filling up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The account of an agent's life.
#[derive(Debug, Default)]
pub struct Holds(Mutex<Account>);

#[derive(Debug, Default)]
struct Account {
    count: u64,
    ended: Duration,
    since: Option<Instant>,
}

/// What the account says now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub count: u64,
    /// A hold that goes on is in it.
    pub time: Duration,
}

impl Holds {
    pub fn begin(&self, now: Instant) {
        self.with(|account| {
            if account.since.is_none() {
                account.since = Some(now);
                account.count += 1;
            }
        });
    }

    pub fn end(&self, now: Instant) {
        self.with(|account| {
            if let Some(since) = account.since.take() {
                account.ended += now.saturating_duration_since(since);
            }
        });
    }

    #[must_use]
    pub fn at(&self, now: Instant) -> Held {
        self.with(|account| {
            let running = account.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            Held { count: account.count, time: account.ended + running }
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Account) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_held_grows_while_it_lasts_and_stays_when_it_ends() {
        let (holds, start) = (Holds::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(holds.at(after(5)), Held::default());
        holds.begin(after(10));
        holds.begin(after(11));
        assert_eq!(holds.at(after(15)), Held { count: 1, time: Duration::from_millis(5) });
        holds.end(after(30));
        holds.end(after(40));
        assert_eq!(holds.at(after(90)), Held { count: 1, time: Duration::from_millis(20) });
        holds.begin(after(100));
        assert_eq!(holds.at(after(101)), Held { count: 2, time: Duration::from_millis(21) });
    }
}
