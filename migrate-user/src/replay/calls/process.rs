//! The life of tasks: fork, exec, exit, wait.

use super::Site;
use crate::record::Record;
use crate::replay::backend::{At, Backend};
use crate::replay::engine::{Engine, Step, Task};
use crate::replay::error::Result;
use crate::sys::auxv;
use migrate_common::record::Kind;
use migrate_common::syscalls::{self, Policy, Special};

/// waitid's WNOWAIT: the child stays a zombie.
const WNOWAIT: u64 = 0x0100_0000;
/// Offsets in the siginfo of waitid.
const SI_CODE: usize = 8;
const SI_PID: usize = 12;

impl<B: Backend> Engine<B> {
    /// The fork itself: its record comes before any of the child's.
    pub(in crate::replay) fn fork(&mut self, record: &Record) -> Result<Step> {
        let [tid, tgid, shares_memory, ..] = record.head.args;
        let Ok(tid) = u32::try_from(tid) else {
            return Err(self.desync(record, "a task number", &tid.to_string()));
        };
        if u64::from(tid) != tgid {
            return Err(self.unsupported(record, "clone", "it makes a thread"));
        }
        self.stand_at(record, Special::Fork)?;
        let pid = self.pid(record)?;
        self.last_pid.before_fork(tid)?;
        let forked = self.backend.fork(pid)?;
        self.last_pid.after_fork(forked.tid);
        if shares_memory != 0 && self.backend.at(pid) != At::Vfork {
            return Err(self.unsupported(record, "clone", "parent and child run at the same time in one memory"));
        }
        if forked.tid != tid {
            return Err(self.desync(record, &format!("the child is task {tid}"), &format!("it is task {}", forked.tid)));
        }
        self.tasks.insert(tid, Task::new(forked.child));
        self.task(record)?.forked = Some(tid);
        Ok(Step::Done)
    }

    /// The return from it, in parent or child.
    pub(super) fn fork_returned(&mut self, record: &Record) -> Result<Step> {
        if record.head.ret == 0 {
            return Ok(Step::Done);
        }
        let pid = self.pid(record)?;
        if self.backend.at(pid) == At::Vfork && self.child_in_parents_memory(record)? {
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
        self.stand_at(record, Special::Exec)?;
        self.timers.forget_posix(record.head.tid);
        self.backend.exec(pid)?;
        self.task(record)?.execed = true;
        Ok(Step::Done)
    }

    /// The new image's stack gets what the source's had: the random bytes, and no vDSO.
    pub(in crate::replay) fn image(&mut self, record: &Record) -> Result<Step> {
        let pid = self.pid(record)?;
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
        Ok(Step::Done)
    }

    pub(in crate::replay) fn exit(&mut self, record: &Record) -> Result<Step> {
        let pid = self.pid(record)?;
        let code = record.head.args[0];
        let signal = (code & 0x7f) as i32;
        self.timers.forget(record.head.tid);
        if record.head.tid == 1 {
            // With the first task the kernel ends all others of the namespace, and waits until they are reaped: our helper too.
            self.last_pid.finish();
            self.ended = true;
            let others: Vec<_> = self.live_tasks().filter(|(tid, _)| *tid != 1).map(|(_, pid)| pid).collect();
            for other in others {
                self.backend.kill(other, libc::SIGKILL)?;
            }
        }
        if self.backend.at(pid) == At::Dead {
            return Ok(Step::Done);
        }
        if signal != 0 {
            self.backend.kill(pid, libc::SIGKILL)?;
            return Ok(Step::Done);
        }
        self.stand_at(record, Special::Exit)?;
        self.backend.exit(pid)?;
        Ok(Step::Done)
    }

    /// Reaps the child that the source reaped, then writes what it was told of it.
    pub(super) fn wait(&mut self, site: &Site<'_>) -> Result<Step> {
        let waitid = i64::from(site.call.nr) == libc::SYS_waitid;
        let options = site.call.args[if waitid { 3 } else { 2 }];
        let child = if waitid { self.waitid_child(site) } else { wait4_child(site) };
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

    fn waitid_child(&self, site: &Site<'_>) -> Option<u32> {
        let info = site.record.segments().find(|segment| segment.addr == site.call.args[2])?;
        let word = |at: usize| info.bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        let ended = matches!(word(SI_CODE)?, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
        if ended { u32::try_from(word(SI_PID)?).ok() } else { None }
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
        let row = syscalls::row(call.nr);
        if row.is_some_and(|row| row.policy == Policy::Special(special)) {
            return Ok(());
        }
        let found = format!("{}{:x?} at {:#x}", row.map_or("an unknown call", |row| row.name), call.args, call.ip);
        let expected = match Kind::from_u8(record.head.kind) {
            Some(Kind::Fork) => "a fork",
            Some(Kind::Exec) => "an exec",
            _ => "an exit",
        };
        Err(self.desync(record, expected, &found))
    }
}

/// The child that wait4 reaped: none if it only stopped or went on.
fn wait4_child(site: &Site<'_>) -> Option<u32> {
    let tid = u32::try_from(site.ret()).ok().filter(|tid| *tid > 0)?;
    let status = site.record.segments().find(|segment| segment.addr == site.call.args[1] && segment.bytes.len() == 4);
    let status = status.and_then(|segment| segment.bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if libc::WIFSTOPPED(status) || libc::WIFCONTINUED(status) { None } else { Some(tid) }
}
