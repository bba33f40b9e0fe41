//! The thread that empties the ring.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use migrate_common::maps::Counters;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::slots::Slots;
use super::{Batch, RingError};
use crate::probe::ProbeError;
use crate::record::Record;
use crate::sys::bpf_ring::RingReader;
use crate::sys::membarrier;

/// Takes one container's entries. Runs on the drain's thread, where whatever it takes long to do fills the ring: it should
/// pass the batch on, to a channel, say.
pub type Sink = Box<dyn FnMut(Batch) + Send>;
/// Tells a slot's counters.
pub type ReadCounters = Box<dyn FnMut(u32) -> Result<Counters, ProbeError> + Send>;
/// Hears how full the ring is. Runs on the drain's thread.
pub type OnFill = Box<dyn FnMut(Fill) + Send>;

/// Bytes that are taken out of the ring between two deliveries.
const CHUNK_BYTES: u64 = 1 << 20;

/// While there is traffic the drain looks for losses once in so many rounds.
const LOOK_EVERY: u32 = 32;

/// How full the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// It has passed the high-water mark: who fills it should be held until [`Fill::Low`].
    High { waiting_bytes: u64 },
    /// It is nearly empty again.
    Low,
}

/// How to drain.
#[derive(Clone, Copy, Debug)]
pub struct DrainOptions {
    /// The longest that an entry waits in the ring while there is traffic: programs wake the drain only every so many bytes.
    pub poll: Duration,
    /// The same after a time without traffic.
    pub idle_poll: Duration,
    /// The part of the ring, in percent, that is the high-water mark.
    pub high_water_percent: u8,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self { poll: Duration::from_millis(1), idle_poll: Duration::from_millis(20), high_water_percent: 50 }
    }
}

/// What the drain has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries taken out.
    pub entries: u64,
    /// Bytes taken out, the ring's own headers included.
    pub bytes: u64,
    /// The most that waited in the ring at a time, in bytes.
    pub most_waiting_bytes: u64,
    /// Entries that no sink wanted: of containers that are no longer recorded.
    pub unclaimed: u64,
    /// Entries that are not records. Their containers' logs have a gap.
    pub malformed: u64,
}

#[derive(Default)]
struct Shared {
    entries: AtomicU64,
    bytes: AtomicU64,
    most_waiting_bytes: AtomicU64,
    unclaimed: AtomicU64,
    malformed: AtomicU64,
}

/// Whether eBPF programs may be running for the container's tasks.
#[derive(Clone, Copy)]
enum Running {
    Maybe,
    No,
}

enum Command {
    Add(u32, Sink, mpsc::Sender<()>),
    Remove(u32, mpsc::Sender<()>),
    Flush(u32, Running, mpsc::Sender<Result<u64, RingError>>),
    Stop,
}

/// Empties a ring. Dropping it stops the thread; what is in the ring stays there.
pub struct Drain {
    commands: mpsc::Sender<Command>,
    bell: Arc<EventFd>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Drain {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`RingError::Start`].
    pub fn start(ring: RingReader, counters: ReadCounters, on_fill: OnFill, options: DrainOptions) -> Result<Self, RingError> {
        let start = |errno: nix::Error| RingError::Start(errno.into());
        let (commands, receiver) = mpsc::channel();
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(start)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(start)?;
        // Edge-triggered: level-triggered epoll looks at the ring itself and returns at once as long as anything is in it, and
        // the thread would spin beside the programs instead of being woken once a batch.
        epoll.add(ring.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).map_err(start)?;
        epoll.add(&*bell, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 1)).map_err(start)?;
        let shared = Arc::new(Shared::default());
        let high = ring.capacity() as u64 / 100 * u64::from(options.high_water_percent);
        let worker = Worker {
            ring,
            epoll,
            bell: Arc::clone(&bell),
            commands: receiver,
            slots: Slots::default(),
            counters,
            on_fill,
            options,
            high,
            is_high: false,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("ring".into()).spawn(move || worker.run()).map_err(RingError::Start)?;
        Ok(Self { commands, bell, shared, thread: Some(thread) })
    }

    /// Hands the entries of a slot to `sink` from here on. Entries without a sink are dropped: add the sink before the
    /// container's first record.
    ///
    /// # Errors
    /// [`RingError::Ended`].
    pub fn add_sink(&self, slot: u32, sink: Sink) -> Result<(), RingError> {
        self.ask(|reply| Command::Add(slot, sink, reply))
    }

    /// Drops a slot's sink.
    ///
    /// # Errors
    /// [`RingError::Ended`].
    pub fn remove_sink(&self, slot: u32) -> Result<(), RingError> {
        self.ask(|reply| Command::Remove(slot, reply))
    }

    /// Returns when every record of the slot that had been numbered at the call has been given to the sink or is known to be
    /// lost; the sink's last batch is marked with the number that is returned. Takes as long as a grace period of the kernel's
    /// RCU: some milliseconds to some tens.
    ///
    /// # Errors
    /// [`RingError::NoSink`], [`RingError::Grace`], [`RingError::Counters`], [`RingError::Ended`].
    pub fn flush(&self, slot: u32) -> Result<u64, RingError> {
        self.ask(|reply| Command::Flush(slot, Running::Maybe, reply))?
    }

    /// As [`Drain::flush`], for a container whose cgroup the kernel has reported frozen: its tasks stop behind the end of
    /// their call, so that no program runs for them and none has to be waited for. Takes as long as the ring is full.
    ///
    /// # Errors
    /// As [`Drain::flush`].
    pub fn flush_frozen(&self, slot: u32) -> Result<u64, RingError> {
        self.ask(|reply| Command::Flush(slot, Running::No, reply))?
    }

    /// What has been seen so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let Shared { entries, bytes, most_waiting_bytes, unclaimed, malformed } = &*self.shared;
        Stats {
            entries: get(entries),
            bytes: get(bytes),
            most_waiting_bytes: get(most_waiting_bytes),
            unclaimed: get(unclaimed),
            malformed: get(malformed),
        }
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T, RingError> {
        let (sender, receiver) = mpsc::channel();
        self.tell(command(sender))?;
        receiver.recv().map_err(|_| RingError::Ended)
    }

    fn tell(&self, command: Command) -> Result<(), RingError> {
        self.commands.send(command).map_err(|_| RingError::Ended)?;
        self.bell.write(1).map_err(|_| RingError::Ended)?;
        Ok(())
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        // An error means that the thread has ended already.
        let _ = self.tell(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that drains the ring had panicked");
        }
    }
}

struct Worker {
    ring: RingReader,
    epoll: Epoll,
    bell: Arc<EventFd>,
    commands: mpsc::Receiver<Command>,
    slots: Slots,
    counters: ReadCounters,
    on_fill: OnFill,
    options: DrainOptions,
    high: u64,
    is_high: bool,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        let mut wait = self.options.poll;
        let mut looked = 0u32;
        loop {
            self.wait(wait);
            let taken = self.empty(self.ring.produced());
            // Back off while nothing comes, and use the calm to look whether anything is missing.
            wait = if taken > 0 { self.options.poll } else { (wait * 2).min(self.options.idle_poll) };
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
            Ok(n) if events[..n].iter().any(|event| event.data() == 1) => {
                // It only rang: the commands are in the channel.
                let _ = self.bell.read();
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
            match self.commands.try_recv() {
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
            let Self { ring, slots, shared, .. } = self;
            let mut entries = 0;
            let taken = ring.take(CHUNK_BYTES, |bytes| {
                entries += 1;
                match Record::parse(bytes) {
                    Ok((entry, _)) => {
                        if !slots.push(entry.head.slot, entry) {
                            shared.unclaimed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Err(error) => {
                        shared.malformed.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(%error, "an entry of the ring is not a record");
                    }
                }
            });
            shared.entries.fetch_add(entries, Ordering::Relaxed);
            shared.bytes.fetch_add(taken, Ordering::Relaxed);
            self.slots.deliver();
            total += taken;
            if taken == 0 || self.ring.consumed() >= until {
                self.look_at_fill();
                return total;
            }
        }
    }

    fn look_at_fill(&mut self) {
        let waiting_bytes = self.ring.waiting();
        self.shared.most_waiting_bytes.fetch_max(waiting_bytes, Ordering::Relaxed);
        if !self.is_high && waiting_bytes >= self.high {
            self.is_high = true;
            (self.on_fill)(Fill::High { waiting_bytes });
        } else if self.is_high && waiting_bytes < self.high / 4 {
            self.is_high = false;
            (self.on_fill)(Fill::Low);
        }
    }

    /// Takes out everything of `slot` that is numbered by now, and marks it.
    fn flush(&mut self, slot: u32, running: Running) -> Result<u64, RingError> {
        if !self.slots.contains(slot) {
            return Err(RingError::NoSink(slot));
        }
        let numbered = (self.counters)(slot)?.seq;
        if let Running::Maybe = running {
            membarrier::wait_for_running_programs().map_err(RingError::Grace)?;
        }
        // Whatever was numbered is in the ring by now, or lost. Entries of later programs may stand before this position,
        // unfinished; they are a copy away from being finished.
        let until = self.ring.produced();
        while self.ring.consumed() < until {
            if self.empty(until) == 0 {
                std::thread::yield_now();
            }
        }
        self.slots.mark(slot, numbered);
        self.slots.deliver();
        Ok(numbered)
    }

    /// Marks containers of which something seems to be missing, so that their assemblers know.
    fn look_for_losses(&mut self) {
        for slot in self.slots.numbers() {
            let marked = match (self.counters)(slot) {
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
