//! The order in which tasks move, with a backend that only writes down what it is told.

use super::super::backend::{BackendError, Call, Forked, Interrupted, Point, Signal};
use super::*;
use crate::replay::backend;
use crate::replay::last_pid::LastPid;
use crate::sys::ptrace::Pid;
use migrate_common::record::{HEADER_BYTES, Header};
use std::collections::HashMap;

const INIT: Pid = 1001;
const OTHER: Pid = 1002;
const GETPPID: i32 = libc::SYS_getppid as i32;

/// Every task's next call is getppid.
#[derive(Debug, Default)]
struct Script {
    at: HashMap<Pid, At>,
    moves: Vec<String>,
}

impl Script {
    fn call() -> At {
        At::Call(Call { nr: GETPPID, args: [0; 6], ip: 0x1002, sp: 0x2000 })
    }
}

impl Backend for Script {
    fn at(&self, pid: Pid) -> At {
        self.at.get(&pid).copied().unwrap_or(At::Dead)
    }

    fn run(&mut self, pid: Pid, _: Expect) -> backend::Result<At> {
        self.moves.push(format!("{pid} runs"));
        self.at.insert(pid, Self::call());
        Ok(Self::call())
    }

    fn run_to(&mut self, pid: Pid, point: &Point) -> backend::Result<()> {
        self.moves.push(format!("{pid} runs to {:#x}", point.regs.rip));
        Ok(())
    }

    fn finish(&mut self, pid: Pid, ret: i64) -> backend::Result<()> {
        self.moves.push(format!("{pid} gets {ret}"));
        self.at.insert(pid, At::User);
        Ok(())
    }

    fn execute(&mut self, _: Pid, _: i32, _: [u64; 6]) -> backend::Result<i64> {
        Ok(0)
    }

    fn begin_wait(&mut self, _: Pid, _: [u64; 6]) -> backend::Result<i64> {
        Ok(0)
    }

    fn fork(&mut self, pid: Pid) -> backend::Result<Forked> {
        Err(BackendError::Gone { pid })
    }

    fn vfork_done(&mut self, _: Pid) -> backend::Result<()> {
        Ok(())
    }

    fn exec(&mut self, pid: Pid) -> backend::Result<Pid> {
        Ok(pid)
    }

    fn sigreturn(&mut self, _: Pid) -> backend::Result<i64> {
        Ok(0)
    }

    fn exit(&mut self, _: Pid) -> backend::Result<()> {
        Ok(())
    }

    fn kill(&mut self, _: Pid, _: i32) -> backend::Result<()> {
        Ok(())
    }

    fn deliver(&mut self, pid: Pid, signal: &Signal, _: Option<Interrupted>) -> backend::Result<()> {
        self.moves.push(format!("{pid} gets signal {}", signal.number));
        self.at.insert(pid, At::User);
        Ok(())
    }

    fn read(&self, _: Pid, _: u64, _: &mut [u8]) -> backend::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: Pid, _: u64, _: &[u8]) -> backend::Result<()> {
        Ok(())
    }

    fn pointers(&self, _: Pid) -> backend::Result<(u64, u64)> {
        Ok((0x2000, 0x1002))
    }

    fn signal_mask(&self, _: Pid) -> backend::Result<u64> {
        Ok(0)
    }

    fn set_signal_mask(&mut self, _: Pid, _: u64) -> backend::Result<()> {
        Ok(())
    }

    fn unleash(&mut self, _: Pid) -> backend::Result<()> {
        Ok(())
    }

    fn release(&mut self, _: Pid) -> backend::Result<()> {
        Ok(())
    }
}

/// Two tasks of one process, both at a call.
fn engine() -> Engine<Script> {
    let backend = Script { at: HashMap::from([(INIT, Script::call()), (OTHER, Script::call())]), moves: Vec::new() };
    let mut engine = Engine::new(backend, INIT, LastPid::new(INIT));
    engine.tasks.insert(2, super::super::engine::Task::new(OTHER, 1));
    engine.share(1);
    engine
}

fn record(kind: Kind, tid: u32, ret: i64) -> Record {
    let nr = if kind == Kind::Syscall { GETPPID } else { 0 };
    let head = Header { len: HEADER_BYTES as u32, kind: kind as u8, tid, nr, ret, ..Header::default() };
    Record { head, payload: Vec::new() }
}

fn returned(tid: u32) -> Record {
    record(Kind::Syscall, tid, 7)
}

/// A switch at these values of rip and orig_rax.
fn switch(tid: u32, rip: u64, orig_rax: i64) -> Record {
    let mut regs = [0_u8; 168];
    regs[120..128].copy_from_slice(&orig_rax.to_le_bytes());
    regs[128..136].copy_from_slice(&rip.to_le_bytes());
    let mut record = record(Kind::Switch, tid, 0);
    record.push_segment(0, &regs);
    record
}

fn moves(records: &[Record]) -> Vec<String> {
    let mut engine = engine();
    engine.feed(records).unwrap();
    let whole = engine.backend().moves.clone();
    let mut engine = self::engine();
    for record in records {
        engine.feed(std::slice::from_ref(record)).unwrap();
    }
    assert_eq!(engine.backend().moves, whole, "how the log is cut into rounds does not matter");
    whole
}

#[test]
fn a_task_runs_on_before_the_next_record_of_another() {
    let moves = moves(&[returned(1), returned(2), returned(1)]);
    assert_eq!(moves, ["1001 gets 7", "1001 runs", "1002 gets 7", "1002 runs", "1001 gets 7"]);
}

#[test]
fn nobody_runs_past_the_end_of_the_log() {
    assert_eq!(moves(&[returned(1)]), ["1001 gets 7"]);
}

#[test]
fn a_task_that_was_switched_out_goes_exactly_there_before_another_moves() {
    let records = [returned(1), switch(1, 0x5000, -1), returned(2), record(Kind::Resume, 1, 0), returned(2)];
    let moves = moves(&records);
    assert_eq!(
        moves,
        ["1001 gets 7", "1001 runs to 0x5000", "1002 gets 7", "1002 runs", "1001 runs", "1002 gets 7"]
            .map(str::to_owned)
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn where_a_freeze_caught_a_task_is_not_searched_for() {
    let interrupted = record(Kind::Syscall, 2, -512);
    assert_eq!(moves(&[returned(1), switch(1, 0x5000, -1), interrupted]), ["1001 gets 7"]);
}

#[test]
fn a_call_that_was_interrupted_is_seen_by_the_program_only_once_it_ran_on() {
    let interrupted = || record(Kind::Syscall, 1, EINTR);
    assert!(moves(&[interrupted(), switch(1, 0x1002, 110)]).is_empty());
    assert_eq!(moves(&[interrupted(), returned(2)]), ["1001 gets -4", "1001 runs", "1002 gets 7"]);
    let thawed = [interrupted(), switch(1, 0x1002, 110), returned(2), record(Kind::Resume, 1, 0), returned(2)];
    assert_eq!(moves(&thawed), ["1002 gets 7", "1002 runs", "1001 gets -4", "1001 runs", "1002 gets 7"]);
}
