//! The thread that empties the ring.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::RingError;
use super::drain::{Command, DrainOptions, Fill, OnFill, Outside, Programs, Running};
use super::entry;
use super::slots::Slots;
use super::stats::{count, thread_cpu_ns};
use crate::sys::bpf_ring::RingReader;
use crate::sys::membarrier;

/// Bytes that are taken out of the ring between two deliveries: small enough that the sink's thread finds the batch in a
/// cache, large enough that its wake-up does not count.
const CHUNK_BYTES: u64 = 256 << 10;
/// While there is traffic the drain looks for losses once in so many rounds.
const LOOK_EVERY: u32 = 32;
/// Before the tasks that fill the ring: it needs a few percent of a processor, and where many tasks are runnable the ring
/// would fill, and its containers be held, while the thread waits for its turn.
const NICE: i32 = -10;
/// What epoll says of the ring and of the bell.
const RING_EVENT: u64 = 0;
const BELL_EVENT: u64 = 1;

pub(super) struct Worker {
    ring: RingReader,
    epoll: Epoll,
    outside: Outside,
    slots: Slots,
    programs: Box<dyn Programs>,
    on_fill: OnFill,
    options: DrainOptions,
    high: u64,
    is_high: bool,
}

impl Worker {
    pub(super) fn new(
        ring: RingReader,
        outside: Outside,
        programs: Box<dyn Programs>,
        on_fill: OnFill,
        options: DrainOptions,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Edge-triggered: level-triggered epoll looks at the ring itself and returns at once as long as anything is in it, and
        // the thread would spin beside the programs instead of being woken once a batch.
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(ring.as_fd(), EpollEvent::new(edge, RING_EVENT))?;
        epoll.add(&*outside.bell, EpollEvent::new(edge, BELL_EVENT))?;
        let high = ring.capacity() as u64 / 100 * u64::from(options.high_water_percent);
        let slots = Slots::new(Arc::clone(&outside.buffers));
        Ok(Self { ring, epoll, outside, slots, programs, on_fill, options, high, is_high: false })
    }

    pub(super) fn run(mut self) {
        // Without the right to it, as in tests, the thread does what it can.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the drain's thread keeps its priority");
        }
        let mut wait = self.options.poll;
        let mut looked = 0u32;
        loop {
            self.outside.shared.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
            self.wait(wait);
            count(&self.outside.shared.wake_ups, 1);
            let taken = self.empty(self.ring.produced());
            // Back off while nothing comes, and use the calm to look whether anything is missing.
            let busy = taken > 0 || self.is_high;
            wait = if busy { self.options.poll } else { (wait * 2).min(self.options.idle_poll) };
            looked += 1;
            if taken == 0 || looked >= LOOK_EVERY {
                looked = 0;
                self.look_for_losses();
            }
            if !self.obey() {
                return;
            }
        }
    }

    fn wait(&self, wait: Duration) {
        let timeout = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO);
        let mut events = [EpollEvent::empty(); 2];
        match self.epoll.wait(&mut events, timeout) {
            Ok(n) if events[..n].iter().any(|event| event.data() == BELL_EVENT) => {
                // It only rang: the commands are in the channel.
                let _ = self.outside.bell.read();
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => {
                // Nothing that epoll_wait(2) names can happen to descriptors that we hold; if it does, polling goes on.
                tracing::error!(%errno, "waiting for the ring");
                std::thread::sleep(self.options.poll);
            }
        }
    }

    /// Does what was asked. False: the drain has been dropped.
    fn obey(&mut self) -> bool {
        loop {
            match self.outside.commands.try_recv() {
                Ok(Command::Add(slot, sink, reply)) => {
                    self.slots.add(slot, sink);
                    let _ = reply.send(());
                }
                Ok(Command::Remove(slot, reply)) => {
                    self.slots.remove(slot);
                    let _ = reply.send(());
                }
                Ok(Command::Flush(slot, running, reply)) => {
                    let _ = reply.send(self.flush(slot, running));
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Takes and delivers entries up to a position of the ring. Returns the bytes.
    fn empty(&mut self, until: u64) -> u64 {
        let mut total = 0;
        loop {
            self.look_at_fill();
            let (mut entries, mut unclaimed) = (0, 0);
            let Self { ring, slots, outside, .. } = self;
            let shared = &outside.shared;
            let taken = ring.take(CHUNK_BYTES, |bytes| {
                for record in entry::records(bytes) {
                    entries += 1;
                    match record {
                        Ok(record) => unclaimed += u64::from(!slots.push(record)),
                        Err(error) => {
                            count(&shared.malformed, 1);
                            tracing::error!(%error, "an entry of the ring is not a record");
                        }
                    }
                }
            });
            count(&shared.entries, entries);
            count(&shared.unclaimed, unclaimed);
            count(&shared.bytes, taken);
            self.deliver();
            total += taken;
            if taken == 0 || self.ring.consumed() >= until {
                self.look_at_fill();
                return total;
            }
        }
    }

    fn deliver(&mut self) {
        count(&self.outside.shared.batches, self.slots.deliver());
    }

    fn look_at_fill(&mut self) {
        let (waiting_bytes, queued_bytes) = (self.ring.waiting(), self.outside.buffers.queued_bytes());
        self.outside.shared.waiting_bytes.store(waiting_bytes, Ordering::Relaxed);
        self.outside.shared.most_waiting_bytes.fetch_max(waiting_bytes, Ordering::Relaxed);
        let most_queued = self.options.max_queued_bytes;
        if !self.is_high && (waiting_bytes >= self.high || queued_bytes >= most_queued) {
            self.is_high = true;
            (self.on_fill)(Fill::High { waiting_bytes, queued_bytes });
        } else if self.is_high && waiting_bytes < self.high / 4 && queued_bytes <= most_queued / 4 {
            self.is_high = false;
            (self.on_fill)(Fill::Low);
        }
    }

    /// Takes out everything of `slot` that is numbered by now, and marks it.
    fn flush(&mut self, slot: u32, running: Running) -> Result<u64, RingError> {
        if !self.slots.contains(slot) {
            return Err(RingError::NoSink(slot));
        }
        let numbered = self.programs.counters(slot)?.seq;
        if let Running::Maybe = running {
            membarrier::wait_for_running_programs().map_err(RingError::Grace)?;
        }
        self.programs.hand_over()?;
        // Whatever was numbered is in the ring by now, or lost. Entries of later programs may stand before this position,
        // unfinished; they are a copy away from being finished.
        let until = self.ring.produced();
        while self.ring.consumed() < until {
            if self.empty(until) == 0 {
                std::thread::yield_now();
            }
        }
        self.slots.mark(slot, numbered);
        self.deliver();
        Ok(numbered)
    }

    /// Marks containers of which something seems to be missing, so that their assemblers know.
    fn look_for_losses(&mut self) {
        for slot in self.slots.numbers() {
            let marked = match self.programs.counters(slot) {
                Ok(counters) if self.slots.overdue(slot, &counters) => self.flush(slot, Running::Maybe).map(drop),
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = marked {
                tracing::error!(slot, %error, "looking for lost records");
            }
        }
    }
}
