//! The handle to the thread that empties the ring.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use migrate_common::maps::Counters;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::RingError;
use super::batch::{Batch, Buffers};
use super::stats::{Shared, Stats};
use super::worker::Worker;
use crate::probe::{ProbeError, Recorder};
use crate::sys::bpf_ring::RingReader;

/// Takes one container's entries. Runs on the drain's thread, where whatever it takes long to do fills the ring: it should
/// pass the batch on, to a channel, say.
pub type Sink = Box<dyn FnMut(Batch) + Send>;

/// The programs that fill the ring, as far as the drain asks them.
pub trait Programs: Send {
    /// What has been numbered and lost of a slot.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    fn counters(&self, slot: u32) -> Result<Counters, ProbeError>;

    /// Has every CPU put into the ring what waits there to be put in with more.
    ///
    /// # Errors
    /// If a CPU does not.
    fn hand_over(&self) -> Result<(), ProbeError>;
}

impl Programs for Arc<Recorder> {
    fn counters(&self, slot: u32) -> Result<Counters, ProbeError> {
        Recorder::counters(self, slot)
    }

    fn hand_over(&self) -> Result<(), ProbeError> {
        Recorder::hand_over(self)
    }
}

/// Hears how full the ring is. Runs on the drain's thread.
pub type OnFill = Box<dyn FnMut(Fill) + Send>;

/// How full the ring is, and what its sinks have not worked off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Either has passed its high-water mark: who fills it should be held until [`Fill::Low`].
    High {
        /// Bytes that wait in the ring.
        waiting_bytes: u64,
        /// Bytes that sinks were given and have not dropped.
        queued_bytes: u64,
    },
    /// Ring and sinks are nearly empty again.
    Low,
}

/// How to drain.
#[derive(Clone, Copy, Debug)]
pub struct DrainOptions {
    /// The longest that an entry waits in the ring while there is traffic: programs wake the drain only every so many bytes.
    /// For a container that is not busy the wake-ups are nearly all that recording costs in user space: at 15,000 records/s, 6 %
    /// of a CPU for drain and log when the ring is looked at every ms and 2.3 % every 5 ms; at 9,000, 1.3 % every 10 ms (two
    /// shared virtual CPUs; the ignored test `what_user_space_costs_is_printed` prints the table). Nobody waits for it: a flush
    /// empties the ring at once.
    pub poll: Duration,
    /// The same after a time without traffic.
    pub idle_poll: Duration,
    /// The part of the ring, in percent, that is its high-water mark.
    pub high_water_percent: u8,
    /// The high-water mark of what sinks were given and have not dropped. Without it a disk that stalls would be paid with
    /// the agent's memory.
    pub max_queued_bytes: u64,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(10),
            idle_poll: Duration::from_millis(50),
            high_water_percent: 50,
            max_queued_bytes: 64 << 20,
        }
    }
}

/// Whether eBPF programs may be running for the container's tasks.
#[derive(Clone, Copy)]
pub(super) enum Running {
    Maybe,
    No,
}

/// What the thread is asked for, and where it answers.
pub(super) enum Command {
    Add(u32, Sink, mpsc::Sender<()>),
    Remove(u32, mpsc::Sender<()>),
    Flush(u32, Running, mpsc::Sender<Result<u64, RingError>>),
    Stop,
}

/// The worker's ends of what it shares with its handle.
pub(super) struct Outside {
    pub(super) bell: Arc<EventFd>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) buffers: Arc<Buffers>,
    pub(super) shared: Arc<Shared>,
}

/// Empties a ring. Dropping it stops the thread; what is in the ring stays there.
pub struct Drain {
    commands: mpsc::Sender<Command>,
    bell: Arc<EventFd>,
    buffers: Arc<Buffers>,
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
    pub fn start(
        ring: RingReader,
        programs: Box<dyn Programs>,
        on_fill: OnFill,
        options: DrainOptions,
    ) -> Result<Self, RingError> {
        let (commands, receiver) = mpsc::channel();
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(|errno| RingError::Start(errno.into()))?;
        let bell = Arc::new(bell);
        let (buffers, shared) = (Arc::new(Buffers::default()), Arc::new(Shared::default()));
        let outside =
            Outside { bell: Arc::clone(&bell), commands: receiver, buffers: Arc::clone(&buffers), shared: Arc::clone(&shared) };
        let worker = Worker::new(ring, outside, programs, on_fill, options).map_err(RingError::Start)?;
        let thread = std::thread::Builder::new().name("ring".into()).spawn(move || worker.run()).map_err(RingError::Start)?;
        Ok(Self { commands, bell, buffers, shared, thread: Some(thread) })
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
        self.shared.stats(self.buffers.queued_bytes())
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
