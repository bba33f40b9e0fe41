//! The thread that makes the log.

use super::ends::Ends;
use super::groups::Counts;
use super::tasks::Tasks;
use super::{Shared, Work};
use crate::agent::lease::Lease;
use crate::probe::gate::GateEvent;
use crate::probe::serial::Serial;
use crate::record::RecordRef;
use crate::replay::screen;
use crate::ring::{Assembler, Batch, Event, thread_cpu_ns};
use crate::round::policy::CloseRule;
use crate::round::spool::{Appended, Totals};
use crate::round::{Ending, LogError, Spool, SpoolReader};
use migrate_common::record::{Kind, flags};
use std::collections::HashSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How long a seal waits for the image of a task that is just being looked at.
const IMAGE_BOUND: Duration = Duration::from_secs(2);

pub(super) enum Input {
    Batch(Batch),
    Gate(GateEvent),
    Seal(mpsc::Sender<Result<Totals, LogError>>),
    Reader(u64, mpsc::Sender<Result<SpoolReader, LogError>>),
    Hurry(bool),
    Finish(Box<Ending>, mpsc::Sender<Result<(), LogError>>),
}

/// Takes inputs, and sleeps while there is none and no chunk is due.
pub(super) struct LogThread {
    assembler: Assembler,
    /// Tasks that ended: no image of theirs comes any more.
    gone: HashSet<u32>,
    rule: CloseRule,
    work: Work,
    keeper: Keeper,
}

impl LogThread {
    pub(super) fn new(spool: Spool, lease: Arc<Lease>, serial: Arc<Serial>, shared: &Arc<Shared>, keep: bool) -> Self {
        let mut known = Tasks::default();
        known.insert(1);
        let shared = Arc::clone(shared);
        Self {
            assembler: Assembler::new(),
            gone: HashSet::new(),
            rule: CloseRule::RECORDING,
            work: Work::default(),
            keeper: Keeper {
                spool: Some(spool),
                known,
                counts: Counts::default(),
                since: None,
                shared,
                lease,
                keep,
                serial,
                takes_turns: false,
                shared_by: None,
                ends: Ends::default(),
            },
        }
    }

    pub(super) fn run(mut self, queue: &mpsc::Receiver<Input>) {
        loop {
            match self.next(queue) {
                Ok(input) => self.take(input, queue),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if self.keeper.is_due(&self.rule) {
                drop(self.keeper.seal());
            }
        }
    }

    /// The next input. No later than the chunk is due.
    fn next(&mut self, queue: &mpsc::Receiver<Input>) -> Result<Input, mpsc::RecvTimeoutError> {
        if let Ok(input) = queue.try_recv() {
            return Ok(input);
        }
        self.work.cpu_ns = thread_cpu_ns();
        self.work.copied = self.assembler.copied();
        let work = self.work;
        self.keeper.shared.with(|state| state.work = work);
        self.work.wake_ups += 1;
        match self.keeper.due_at(&self.rule) {
            Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => queue.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        }
    }

    fn take(&mut self, input: Input, queue: &mpsc::Receiver<Input>) {
        match input {
            Input::Batch(batch) => self.batch(&batch),
            Input::Gate(event) => self.gate(event),
            Input::Seal(reply) => {
                self.await_image(queue);
                let sealed = self.keeper.seal();
                drop(reply.send(sealed));
            }
            Input::Reader(from, reply) => {
                let reader = match &self.keeper.spool {
                    Some(spool) => spool.reader(from),
                    None => Err(LogError::Io(std::io::ErrorKind::NotFound.into())),
                };
                drop(reply.send(reader));
            }
            Input::Hurry(hurry) => self.rule = if hurry { CloseRule::MOVING } else { CloseRule::RECORDING },
            Input::Finish(mut ending, reply) => {
                if let Ending::End(end) = &mut *ending {
                    end.proofs = self.keeper.ends.take();
                }
                let done = self.keeper.spool.take().map_or(Ok(()), |spool| spool.finish(&ending));
                drop(reply.send(done));
            }
        }
    }

    fn batch(&mut self, batch: &Batch) {
        self.work.batches += 1;
        self.work.entries += batch.len();
        self.work.bytes += batch.bytes() as u64;
        let Self { assembler, keeper, .. } = self;
        assembler.feed(batch, |event| keeper.event(event));
        self.go_on_without_images();
        self.keeper.stored();
    }

    fn gate(&mut self, event: GateEvent) {
        match event {
            GateEvent::Image { host_tid, record } => {
                self.gone.remove(&host_tid);
                let Self { assembler, keeper, .. } = self;
                assembler.supply_image(host_tid, record, |event| keeper.event(event));
            }
            GateEvent::Serial { cpu } => {
                tracing::info!(cpu, "the tasks of a container share memory and take turns on one CPU");
                self.keeper.takes_turns = true;
            }
            GateEvent::NotMigratable { why, .. } => self.keeper.object(why),
            GateEvent::TaskEnded { host_tid } => {
                self.gone.insert(host_tid);
            }
            GateEvent::Ends { host_tids, process } => self.keeper.ends.ends(&host_tids, process),
            GateEvent::Ended => {}
        }
        self.go_on_without_images();
        self.keeper.stored();
    }

    /// An image of a task that has ended does not come any more.
    fn go_on_without_images(&mut self) {
        let Self { assembler, keeper, gone, .. } = self;
        while let Some(host_tid) = assembler.waits_for_image()
            && gone.remove(&host_tid)
        {
            assembler.no_image(host_tid, |event| keeper.event(event));
        }
    }

    /// The gate may still be looking at the image that the log goes on with.
    fn await_image(&mut self, queue: &mpsc::Receiver<Input>) {
        let until = Instant::now() + IMAGE_BOUND;
        while self.assembler.waits_for_image().is_some() {
            match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Input::Seal(other)) => drop(other.send(Err(LogError::Io(std::io::ErrorKind::WouldBlock.into())))),
                Ok(input) => self.take(input, queue),
                Err(_) => return,
            }
        }
    }
}

/// Looks at each record and stores it.
struct Keeper {
    /// None once the log has been ended.
    spool: Option<Spool>,
    /// Tasks that the log has seen begin, as the container numbers them.
    known: Tasks,
    counts: Counts,
    /// Since when records wait to be stored.
    since: Option<Instant>,
    shared: Arc<Shared>,
    lease: Arc<Lease>,
    /// The log goes on when the container cannot be moved any more.
    keep: bool,
    serial: Arc<Serial>,
    /// The gate has said so.
    takes_turns: bool,
    /// The task that shared memory before that: it may not do anything until then.
    shared_by: Option<u32>,
    ends: Ends,
}

impl Keeper {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Record(record) => self.record(record),
            Event::Gap { at_seq, why } => self.object(format!("its log ends at record {at_seq}: {why}")),
        }
    }

    fn record(&mut self, record: RecordRef<'_>) {
        if let Some(why) = screen::objection(record) {
            self.object(why);
        }
        let head = &record.head;
        if !self.takes_turns && head.kind == Kind::Syscall as u8 {
            if self.shared_by == Some(head.tid) {
                self.shared_by = None;
                self.object("it shares memory, and the task that did so could not be held until its tasks take turns".to_owned());
            } else if head.flags & flags::SHARED != 0 {
                self.shared_by = Some(head.tid);
            }
        }
        if record.kind() == Some(Kind::Exit) {
            self.ends.exited(head.seq, head.host_tid);
        }
        match record.kind() {
            Some(Kind::Exit) if head.tid == 1 => self.shared.with(|state| state.ended = true),
            Some(Kind::Fork) => {
                self.known.insert(u32::try_from(head.args[0]).unwrap_or(0));
            }
            _ if !self.known.contains(head.tid) => {
                // Once a task.
                self.known.insert(head.tid);
                self.object("a process entered it from outside, as docker exec does".to_owned());
            }
            _ => {}
        }
        let Some(spool) = &mut self.spool else { return };
        let mut pushed = spool.push(record);
        if matches!(pushed, Err(LogError::Full { .. })) {
            drop(self.seal());
            pushed = self.spool.as_mut().map_or(Ok(()), |spool| spool.push(record));
        }
        self.counts.count(record);
        if let Err(error) = pushed {
            self.object(format!("its log could not be written: {error}"));
        }
    }

    /// Records may have come: they are waiting since now, unless others are already.
    fn stored(&mut self) {
        if self.since.is_none() && self.pending_bytes() > 0 {
            self.since = Some(Instant::now());
        }
    }

    fn pending_bytes(&self) -> usize {
        self.spool.as_ref().map_or(0, Spool::pending_bytes)
    }

    /// When the chunk that is being collected closes whether it is full or not.
    fn due_at(&self, rule: &CloseRule) -> Option<Instant> {
        self.since.filter(|_| self.pending_bytes() > 0).map(|since| since + rule.age)
    }

    fn is_due(&self, rule: &CloseRule) -> bool {
        rule.closes(self.pending_bytes(), self.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn seal(&mut self) -> Result<Totals, LogError> {
        self.since = None;
        let Some(spool) = &mut self.spool else { return Ok(self.shared.with(|state| state.totals)) };
        let stopped = match spool.append()? {
            Appended::Stopped(why) => Some(why.to_string()),
            Appended::Stored(_) | Appended::Nothing => None,
        };
        let totals = spool.totals();
        let groups = self.counts.by_group();
        self.shared.with(|state| (state.totals, state.groups) = (totals, groups));
        if let Some(why) = stopped {
            self.object(why);
        }
        Ok(totals)
    }

    /// The log is of no use any more: nothing of it is kept, and the probes leave the container alone, unless somebody measures.
    fn object(&mut self, why: String) {
        self.shared.object(why);
        if self.keep {
            return;
        }
        self.spool = None;
        self.since = None;
        self.serial.end();
        self.lease.end();
    }
}
