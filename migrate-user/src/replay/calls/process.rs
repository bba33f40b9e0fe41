//! The life of tasks: fork, exec, exit, wait.

use super::{Site, is};
use crate::clocks::{self, Side};
use crate::record::Record;
use crate::replay::backend::{At, Backend};
use crate::replay::engine::{Engine, Step, Task};
use crate::replay::error::Result;
use crate::sys::auxv;
use crate::sys::ptrace::Pid;
use migrate_common::clocks::{LOG, Log, MAGIC, SLOTS};
use migrate_common::record::Kind;
use migrate_common::syscalls::{self, Special};
use std::cell::RefCell;
use std::io;
use std::mem::offset_of;

/// waitid's WNOWAIT: the child stays a zombie.
const WNOWAIT: u64 = 0x0100_0000;
/// Offsets in the siginfo of waitid: its union begins at the next multiple of 8.
const SI_CODE: usize = 8;
const SI_PID: usize = 16;

impl<B: Backend> Engine<B> {
    /// The fork itself: its record comes before any of the child's.
    pub(in crate::replay) fn fork(&mut self, record: &Record) -> Result<Step> {
        let [tid, tgid, shares_memory, ..] = record.head.args;
        let Ok(tid) = u32::try_from(tid) else {
            return Err(self.desync(record, "a task number", &tid.to_string()));
        };
        self.stand_at(record, Special::Fork)?;
        let pid = self.pid(record)?;
        self.last_pid.before_fork(tid)?;
        let forked = self.backend.fork(pid)?;
        self.last_pid.after_fork(forked.tid);
        if forked.tid != tid {
            return Err(self.desync(record, &format!("the child is task {tid}"), &format!("it is task {}", forked.tid)));
        }
        let tgid = u32::try_from(tgid).unwrap_or(tid);
        let parent = self.task(record)?;
        parent.forked = Some(tid);
        let shares = parent.shares;
        let mut child = Task::new(forked.child, tgid);
        child.shares = shares;
        let thread = shares_memory != 0 && self.backend.at(pid) != At::Vfork;
        // The agent holds the first one until all take turns, and lets it go with a record.
        child.away = thread && !self.takes_turns();
        self.tasks.insert(tid, child);
        if thread {
            self.share(record.head.tid);
            self.share(tid);
        }
        Ok(Step::Done)
    }

    /// The return from it, in parent or child.
    pub(super) fn fork_returned(&mut self, record: &Record) -> Result<Step> {
        if record.head.ret == 0 {
            return Ok(Step::Done);
        }
        let pid = self.pid(record)?;
        if self.backend.at(pid) == At::Vfork && self.child_in_parents_memory(record)? && !self.exec_ahead(record)? {
            return Ok(Step::NotYet);
        }
        let forked = self.task(record)?.forked.take();
        if forked.map(i64::from) != Some(record.head.ret) {
            return Err(self.desync(record, &format!("fork returns {}", record.head.ret), &format!("its child is {forked:?}")));
        }
        if self.backend.at(pid) == At::Vfork {
            self.backend.vfork_done(pid)?;
        }
        Ok(Step::Done)
    }

    /// The kernel lets a parent in vfork go before the child's own records tell of its new image or of its end.
    fn child_in_parents_memory(&mut self, record: &Record) -> Result<bool> {
        let child = self.task(record)?.forked.and_then(|tid| self.tasks.get(&tid));
        Ok(child.is_some_and(|child| !child.execed && self.backend.at(child.pid) != At::Dead))
    }

    /// Tasks that take turns cannot wait for each other's records: a child that stands at its exec makes it before its record says so.
    fn exec_ahead(&mut self, record: &Record) -> Result<bool> {
        let Some(tid) = self.task(record)?.forked.filter(|_| self.takes_turns()) else { return Ok(false) };
        let Some(child) = self.tasks.get_mut(&tid) else { return Ok(false) };
        let At::Call(call) = self.backend.at(child.pid) else { return Ok(false) };
        if !is(call.nr, Special::Exec) {
            return Ok(false);
        }
        (child.execed, child.ahead) = (true, true);
        self.backend.exec(child.pid)?;
        Ok(true)
    }

    pub(in crate::replay) fn exec(&mut self, record: &Record) -> Result<Step> {
        if record.head.args[0] != 1 {
            let why = "the new image's addresses are random: a program with set-user-id, or personality(2)";
            return Err(self.unsupported(record, "execve", why));
        }
        let pid = self.pid(record)?;
        if self.replayed() == 0 {
            // The container's first image: its runtime made the call.
            return Ok(Step::Done);
        }
        let tid = record.head.tid;
        self.task(record)?.imageless = true;
        if std::mem::take(&mut self.task(record)?.ahead) {
            return Ok(Step::Done);
        }
        let caller = if record.head.args[1] == 1 {
            self.thread_at_exec(record)?
        } else {
            self.stand_at(record, Special::Exec)?;
            pid
        };
        self.timers.forget_posix(tid);
        let pid = self.backend.exec(caller)?;
        // The other tasks of the process are gone.
        let tgid = self.task(record)?.tgid;
        self.tasks.retain(|other, task| *other == tid || task.tgid != tgid);
        let task = self.task(record)?;
        (task.pid, task.execed, task.shares, task.doomed, task.pending) = (pid, true, false, false, None);
        Ok(Step::Done)
    }

    /// The task of a record's process that stands at an exec. It goes on by the number of the record.
    fn thread_at_exec(&self, record: &Record) -> Result<Pid> {
        let tgid = self.tasks.get(&record.head.tid).map(|task| task.tgid);
        let stands = |task: &Task| matches!(self.backend.at(task.pid), At::Call(call) if is(call.nr, Special::Exec));
        let found = self.tasks.values().find(|task| Some(task.tgid) == tgid && stands(task));
        found.map(|task| task.pid).ok_or_else(|| self.desync(record, "a thread at its exec", "none is"))
    }

    /// The new image's stack gets what the source's had: the random bytes, and no vDSO, or what was in its place.
    pub(in crate::replay) fn image(&mut self, record: &Record) -> Result<Step> {
        let pid = self.pid(record)?;
        self.task(record)?.imageless = false;
        let (sp, ip) = self.backend.pointers(pid)?;
        let [want_sp, want_ip, ..] = record.head.args;
        if (sp, ip) != (want_sp, want_ip) {
            let expected = format!("the image starts at {want_ip:#x} with its stack at {want_sp:#x}");
            return Err(self.desync(record, &expected, &format!("at {ip:#x} with its stack at {sp:#x}")));
        }
        let mut own = Vec::new();
        for segment in record.segments() {
            own.resize(segment.bytes.len(), 0);
            self.backend.read(pid, segment.addr, &mut own)?;
            let mut want = segment.bytes.to_vec();
            if segment.addr == sp {
                auxv::equalise(&mut own, &mut want, sp);
            }
            if let Some(at) = own.iter().zip(&want).position(|(a, b)| a != b) {
                let from = at & !7;
                let to = (from + 16).min(own.len());
                let expected = format!("the first stack holds {:02x?} at {:#x}", &want[from..to], segment.addr + from as u64);
                return Err(self.desync(record, &expected, &format!("{:02x?}", &own[from..to])));
            }
            self.backend.write(pid, segment.addr, segment.bytes)?;
        }
        if record.head.args[2] == 1 {
            let backend = RefCell::new(&mut self.backend);
            #[expect(clippy::cast_possible_truncation, reason = "libc's numbers are small")]
            let call = |nr, args| backend.borrow_mut().execute(pid, nr as i32, args).map_err(io::Error::other);
            let write = |addr, bytes: &[u8]| backend.borrow_mut().write(pid, addr, bytes).map_err(io::Error::other);
            let installed = clocks::install(pid, Side::Replica, call, write);
            if !installed.as_ref().is_ok_and(|there| *there) {
                let found = installed.map_or_else(|error| error.to_string(), |_| "something else is there".to_owned());
                return Err(self.desync(record, "clock reads that are no system calls", &found));
            }
        }
        Ok(Step::Done)
    }

    /// What a task's process was told of the time, where it finds it.
    pub(in crate::replay) fn clocks(&mut self, record: &Record) -> Result<Step> {
        let pid = self.pid(record)?;
        let [first, end, ..] = record.head.args;
        if first == end {
            return Ok(Step::Done);
        }
        let answers = record.segments().find_map(|segment| bytemuck::try_pod_read_unaligned::<[u64; SLOTS]>(segment.bytes).ok());
        let Some(answers) = answers else {
            return Err(self.desync(record, "answers of a clock", "a record without them"));
        };
        let mut log = Log::default();
        self.backend.read(pid, LOG, bytemuck::bytes_of_mut(&mut log))?;
        if log.magic != MAGIC || log.count > first || end < first || end - log.count > SLOTS as u64 {
            let expected = format!("it reads the clock for at most the {first}th time next");
            return Err(self.desync(record, &expected, &format!("for the {}th", log.count)));
        }
        for slot in (first..end).map(|number| number as usize % SLOTS) {
            log.answers[slot] = answers[slot];
        }
        self.backend.write(pid, LOG + offset_of!(Log, answers) as u64, bytemuck::bytes_of(&log.answers))?;
        Ok(Step::Done)
    }

    pub(in crate::replay) fn exit(&mut self, record: &Record) -> Result<Step> {
        let pid = self.pid(record)?;
        let Task { tgid, doomed, dying, .. } = *self.task(record)?;
        let signal = (record.head.args[0] & 0x7f) as i32;
        self.timers.forget(record.head.tid);
        if self.backend.at(pid) != At::Dead && !doomed {
            let whole = signal != 0 || self.stands_at_process_end(record)?;
            self.witness_ending(record, tgid);
            let alone =
                !self.tasks.values().any(|task| task.tgid == tgid && task.pid != pid && self.backend.at(task.pid) != At::Dead);
            if tgid == 1 && (whole || alone) {
                self.end_namespace()?;
            }
            if signal != 0 {
                self.backend.kill(pid, dying.unwrap_or(libc::SIGKILL))?;
            } else {
                self.backend.exit(pid)?;
            }
        } else {
            self.witness_ending(record, tgid);
        }
        self.witness_ended(tgid);
        if record.head.tid != tgid {
            // Nobody waits for a thread.
            self.tasks.remove(&record.head.tid);
        }
        Ok(Step::Done)
    }

    /// Takes a task to its exit. Is it that of its whole process?
    fn stands_at_process_end(&mut self, record: &Record) -> Result<bool> {
        self.stand_at(record, Special::Exit)?;
        let pid = self.pid(record)?;
        Ok(matches!(self.backend.at(pid), At::Call(call) if i64::from(call.nr) == libc::SYS_exit_group))
    }

    /// With the first process the kernel ends all others of the namespace, and waits until they are reaped: our helper too.
    fn end_namespace(&mut self) -> Result<()> {
        self.last_pid.finish();
        self.ended = true;
        let others: Vec<_> = self.tasks.values().filter(|task| task.tgid != 1).map(|task| task.pid).collect();
        for other in others {
            self.backend.kill(other, libc::SIGKILL)?;
        }
        Ok(())
    }

    /// Does another task of this one's process stand where it ends all others: at its exec, or at the process's exit?
    pub(super) fn ends_by_another(&self, record: &Record) -> bool {
        let Some(own) = self.tasks.get(&record.head.tid) else { return false };
        let ends = |task: &Task| match self.backend.at(task.pid) {
            At::Call(call) => i64::from(call.nr) == libc::SYS_exit_group || is(call.nr, Special::Exec),
            _ => false,
        };
        self.tasks.values().any(|task| task.tgid == own.tgid && task.pid != own.pid && ends(task))
    }

    /// Reaps the child that the source reaped, then writes what it was told of it.
    pub(super) fn wait(&mut self, site: &Site<'_>) -> Result<Step> {
        let waitid = i64::from(site.call.nr) == libc::SYS_waitid;
        let options = site.call.args[if waitid { 3 } else { 2 }];
        let child = if waitid { self.waitid_child(site)? } else { wait4_child(site) };
        if let Some(tid) = child
            && options & WNOWAIT == 0
            && let Some(task) = self.tasks.get(&tid)
            && self.backend.at(task.pid) == At::Dead
        {
            // __WALL: whatever signal the child was to send at its end.
            let args = [u64::from(tid), 0, libc::__WALL as u64, 0, 0, 0];
            let ret = self.call(site, libc::SYS_wait4, args)?;
            if ret != i64::from(tid) {
                return Err(self.desync(site.record, &format!("task {tid} is reaped"), &format!("wait4 returns {ret}")));
            }
            self.tasks.remove(&tid);
        }
        self.inject(site)
    }

    /// The child of which waitid told: none if it only stopped or went on, or nothing has come of any.
    ///
    /// # Errors
    /// [`ReplayError::Unsupported`](crate::replay::error::ReplayError) if the program did not want to know and the call does not name
    /// it: a child that was not reaped would be there for the replica's next wait.
    fn waitid_child(&self, site: &Site<'_>) -> Result<Option<u32>> {
        let [which, id, info, options, ..] = site.call.args;
        if info != 0 {
            let info = site.record.segments().find(|segment| segment.addr == info);
            return Ok(info.and_then(|info| ended_child(info.bytes)));
        }
        let takes = options & libc::WEXITED as u64 != 0 && options & WNOWAIT == 0;
        match u32::try_from(id) {
            _ if !takes => Ok(None),
            Ok(child) if which == u64::from(libc::P_PID) && options & libc::WNOHANG as u64 == 0 => Ok(Some(child)),
            _ => Err(self.unsupported(site.record, "waitid", "it does not tell which child it has reaped")),
        }
    }

    /// Runs the task to its next call, which must be of this kind.
    fn stand_at(&mut self, record: &Record, special: Special) -> Result<()> {
        if let Some(pending) = self.task(record)?.pending.take()
            && pending.ret == super::EINTR
        {
            let pid = self.pid(record)?;
            self.backend.finish(pid, pending.ret)?;
        }
        let call = self.stand_at_call(record)?;
        if is(call.nr, special) {
            return Ok(());
        }
        let row = syscalls::row(call.nr);
        let found = format!("{}{:x?} at {:#x}", row.map_or("an unknown call", |row| row.name), call.args, call.ip);
        let expected = match Kind::from_u8(record.head.kind) {
            Some(Kind::Fork) => "a fork",
            Some(Kind::Exec) => "an exec",
            _ => "an exit",
        };
        Err(self.desync(record, expected, &found))
    }
}

/// The child that a siginfo of waitid tells the end of.
fn ended_child(info: &[u8]) -> Option<u32> {
    let word = |at: usize| info.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    let ended = matches!(word(SI_CODE)?, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
    if ended { u32::try_from(word(SI_PID)?).ok() } else { None }
}

/// The child that wait4 reaped: none if it only stopped or went on.
fn wait4_child(site: &Site<'_>) -> Option<u32> {
    let tid = u32::try_from(site.ret()).ok().filter(|tid| *tid > 0)?;
    let status = site.record.segments().find(|segment| segment.addr == site.call.args[1] && segment.bytes.len() == 4);
    let status = status.and_then(|segment| segment.bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if libc::WIFSTOPPED(status) || libc::WIFCONTINUED(status) { None } else { Some(tid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_child_that_the_kernel_tells_the_end_of_is_found() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        // SAFETY: all-zero bytes are a valid siginfo, and the kernel fills one.
        let info = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            assert_eq!(libc::waitid(libc::P_PID, child.id(), &raw mut info, libc::WEXITED | libc::WNOWAIT), 0);
            std::mem::transmute::<libc::siginfo_t, [u8; 128]>(info)
        };
        assert_eq!(ended_child(&info), Some(child.id()));
        assert_eq!(ended_child(&[0; 128]), None, "of none");
        child.wait().unwrap();
    }
}
