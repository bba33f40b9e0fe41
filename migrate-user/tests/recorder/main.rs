//! The recorder, on this machine's kernel: real programs, real calls, every field asserted. Needs root and eBPF; without
//! them each test says that it was skipped.

mod container;
mod cost;
mod gated;
mod guest;
mod turns;
mod watched;

use container::{Recording, Session, record, unable};
use guest::MARK;
use migrate::probe::Mode;
use migrate::record::Record;
use migrate::ring::{Fill, GapReason};
use migrate_common::maps::Counters;
use migrate_common::record::{COMPAT_NR, Class, Kind, flags};
use migrate_common::syscalls::{Group, GroupSet};
use std::collections::{HashMap, HashSet};

const MEGABYTE: u32 = 1 << 20;

/// Skips a test where nothing can be recorded.
macro_rules! needs_bpf {
    () => {
        if let Some(why) = unable() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

/// The calls between the guest's two marks.
fn marked(recording: &Recording) -> Vec<&Record> {
    let is_mark = |record: &&Record| i64::from(record.head.nr) == libc::SYS_getppid && record.head.args[0] == MARK;
    let records: Vec<_> = recording.records.iter().collect();
    let first = records.iter().position(is_mark).unwrap();
    let last = records.iter().rposition(is_mark).unwrap();
    records[first + 1..last].to_vec()
}

fn segments(record: &Record) -> Vec<(u64, Vec<u8>)> {
    record.segments().map(|segment| (segment.addr, segment.bytes.to_vec())).collect()
}

#[test]
fn the_log_starts_with_the_exec_of_pid_1_and_tells_its_calls_to_the_exit() {
    needs_bpf!();
    let recording = record("calls", MEGABYTE).whole(0);
    let first = &recording.records[0].head;
    assert_eq!((first.kind, first.tid, first.args[0]), (Kind::Exec as u8, 1, 1));
    let execve = &recording.records[1].head;
    assert_eq!((execve.kind, i64::from(execve.nr), execve.ret, execve.args), (Kind::Syscall as u8, libc::SYS_execve, 0, [0; 6]));
    let last = &recording.records.last().unwrap().head;
    assert_eq!((last.kind, last.tid, last.args[0]), (Kind::Exit as u8, 1, 0));
    for pair in recording.records.windows(2) {
        assert!(pair[0].head.time_ns <= pair[1].head.time_ns);
        assert_eq!((pair[0].head.host_tid, pair[0].head.slot), (pair[1].head.host_tid, pair[1].head.slot));
    }
}

#[test]
fn every_call_is_told_with_its_result_its_file_and_what_it_wrote() {
    needs_bpf!();
    let recording = record("calls", MEGABYTE).whole(0);
    let calls = marked(&recording);
    let version = std::fs::read("/proc/version").unwrap()[..13].to_vec();
    let told: Vec<_> = calls
        .iter()
        .map(|record| {
            let class = Class::from_u8(record.head.class).unwrap();
            let wrote: Vec<_> = record.segments().map(|segment| segment.bytes.to_vec()).collect();
            (i64::from(record.head.nr), record.head.ret, class, wrote)
        })
        .collect();
    let pair = |a: u32, b: u32| [a.to_le_bytes(), b.to_le_bytes()].concat();
    let expected: Vec<(i64, i64, Class, Vec<Vec<u8>>)> = vec![
        (libc::SYS_openat, 3, Class::OwnFile, vec![]),
        (libc::SYS_read, 16, Class::OwnFile, vec![16_u64.to_le_bytes().to_vec()]),
        (libc::SYS_openat, 4, Class::Foreign, vec![]),
        (libc::SYS_read, 13, Class::Foreign, vec![version]),
        (libc::SYS_openat, 5, Class::Char, vec![]),
        (libc::SYS_read, 9, Class::Char, vec![vec![0; 9]]),
        (libc::SYS_pipe2, 0, Class::None, vec![pair(6, 7)]),
        (libc::SYS_write, 16, Class::Pipe, vec![]),
        (libc::SYS_read, 16, Class::Pipe, vec![b"through the pipe".to_vec()]),
        (libc::SYS_socketpair, 0, Class::None, vec![pair(8, 9)]),
        (libc::SYS_write, 4, Class::Unix, vec![]),
        (libc::SYS_read, 4, Class::Unix, vec![b"unix".to_vec()]),
        (libc::SYS_eventfd2, 10, Class::Anon, vec![]),
        (libc::SYS_read, 8, Class::Anon, vec![5u64.to_le_bytes().to_vec()]),
        (libc::SYS_socket, 11, Class::Inet, vec![]),
        (libc::SYS_getsockopt, 0, Class::Inet, vec![2u32.to_le_bytes().to_vec(), 4u32.to_le_bytes().to_vec()]),
        (libc::SYS_read, -9, Class::None, vec![]),
        (libc::SYS_openat, 12, Class::Char, vec![]),
        (libc::SYS_write, 1, Class::Char, vec![]),
    ];
    for (told, expected) in told.iter().zip(&expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len());
    let read = calls[3];
    assert_eq!((read.head.args[0], read.head.args[2]), (4, 13));
    assert_eq!(read.segments().next().unwrap().addr, read.head.args[1]);
    let appended: Vec<_> =
        calls.iter().filter(|record| record.head.flags & flags::APPEND != 0).map(|record| record.head.ret).collect();
    assert_eq!(appended, [12, 1]);
}

#[test]
fn what_readv_recvmsg_and_recvmmsg_scatter_is_told_part_by_part() {
    needs_bpf!();
    let recording = record("scattered", MEGABYTE).whole(0);
    let readv = segments(recording.calls(libc::SYS_readv)[0]);
    let bytes: Vec<_> = readv.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!(bytes, [&b"readv"[..], b" read", b"s"]);

    let recvmsg = recording.calls(libc::SYS_recvmsg)[0];
    let parts = segments(recvmsg);
    let (header_at, header) = &parts[0];
    assert_eq!((*header_at, header.len()), (recvmsg.head.args[1], 56));
    let control_len = u64::from_le_bytes(header[40..48].try_into().unwrap());
    // SCM_CREDENTIALS: a header of 16 bytes, pid, uid, gid. An unnamed socket has no name.
    assert_eq!((u32::from_le_bytes(header[8..12].try_into().unwrap()), control_len), (0, 32));
    let control = &parts[1].1;
    assert_eq!((control.len(), u32::from_le_bytes(control[16..20].try_into().unwrap())), (32, 1));
    assert_eq!((parts[2].1.as_slice(), parts[3].1.as_slice(), parts.len()), (&b"recvm"[..], &b"sg!"[..], 4));

    let recvmmsg = recording.calls(libc::SYS_recvmmsg)[0];
    let parts = segments(recvmmsg);
    let (headers, data): (Vec<_>, Vec<_>) = parts.iter().partition(|(_, bytes)| bytes.len() == 64);
    let lens: Vec<_> = headers.iter().map(|(_, bytes)| u32::from_le_bytes(bytes[56..60].try_into().unwrap())).collect();
    let data: Vec<_> = data.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!((recvmmsg.head.ret, lens), (2, vec![9, 6]));
    assert_eq!(data, [&b"the f"[..], b"irst", b"secon", b"d"]);
}

#[test]
fn reads_of_a_megabyte_from_a_pipe_arrive_whole() {
    needs_bpf!();
    let recording = record("big-pipe", 64 * MEGABYTE).whole(0);
    let reads: Vec<_> =
        recording.calls(libc::SYS_read).into_iter().filter(|record| record.head.class == Class::Pipe as u8).collect();
    let mut total = Vec::new();
    for read in reads {
        let mut at = read.head.args[1];
        let start = total.len();
        for segment in read.segments() {
            assert_eq!(segment.addr, at);
            at += segment.bytes.len() as u64;
            total.extend_from_slice(segment.bytes);
        }
        assert_eq!((total.len() - start) as i64, read.head.ret);
    }
    assert_eq!(total.len(), 8 << 20);
    #[expect(clippy::cast_possible_truncation, reason = "the guest's pattern")]
    let expected = |n: usize| (n * 31 + n / 4096) as u8;
    assert!(total.iter().enumerate().all(|(n, &byte)| byte == expected(n)));
}

#[test]
fn a_read_of_64_megabytes_arrives_whole() {
    needs_bpf!();
    let recording = record("big-zero", 128 * MEGABYTE).whole(0);
    let read = recording.calls(libc::SYS_read).into_iter().find(|record| record.head.ret == 64 << 20).unwrap();
    assert_eq!(read.segments().map(|segment| segment.bytes.len()).sum::<usize>(), 64 << 20);
    assert!(read.segments().all(|segment| segment.bytes.iter().all(|&byte| byte == 0)));
}

#[test]
fn a_call_that_is_not_told_whole_ends_the_log() {
    needs_bpf!();
    for (guest, expected) in [("too-large", GapReason::TooLarge), ("unreadable", GapReason::Fault)] {
        let recording = record(guest, 128 * MEGABYTE);
        let counted = (recording.counters.too_large, recording.counters.faults);
        let last = recording.records.last().unwrap();
        assert_eq!((i64::from(last.head.nr), last.head.args[0]), (libc::SYS_getppid, MARK), "the call before is told");
        let Some((at_seq, why)) = recording.gap else { panic!("no gap after {guest}: {:?}", recording.counters) };
        assert_eq!((at_seq, why, recording.exit_code), (last.head.seq + 1, expected, 0));
        assert_eq!(counted, if why == GapReason::Fault { (0, 1) } else { (1, 0) });
    }
}

#[test]
fn forks_execs_signals_and_exits_of_children_are_told() {
    needs_bpf!();
    let recording = record("family", MEGABYTE).whole(42);
    let of = |kind: Kind| recording.records.iter().filter(move |record| record.head.kind == kind as u8).collect::<Vec<_>>();
    let forks: Vec<_> = of(Kind::Fork).iter().map(|r| (r.head.tid, r.head.args[0], r.head.args[1], r.head.args[2])).collect();
    assert_eq!(forks, [(1, 2, 2, 0), (1, 3, 3, 1), (1, 4, 1, 1)], "parent, child, its group, whether they share memory");
    assert_eq!(of(Kind::Exec).iter().map(|r| r.head.tid).collect::<Vec<_>>(), [1, 3]);
    let exits: Vec<_> = of(Kind::Exit).iter().map(|r| (r.head.tid, r.head.args[0])).collect();
    assert_eq!(exits, [(2, libc::SIGTERM as u64), (3, 0), (4, 0), (1, 42 << 8)]);
    let signals = of(Kind::Signal);
    let told: Vec<_> = signals.iter().map(|r| (r.head.tid, r.head.nr)).collect();
    // Of a signal that ends its group a task takes a SIGKILL; the exit tells which signal it was. Ignored ones are not taken.
    assert_eq!(told, [(2, libc::SIGUSR1), (2, libc::SIGKILL)]);
    let user = signals[0];
    assert!(user.head.args[0] > 1, "a handler");
    assert_eq!(user.head.args[2], libc::SYS_kill as u64, "at the return of its kill");
    assert_eq!(signals[1].head.args[0], 0, "the default action");
    let info = segments(user);
    assert_eq!((info.len(), info[0].0, info[0].1.len()), (1, 0, 48));
    let word = |at: usize| i32::from_le_bytes(info[0].1[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(8), word(16)), (libc::SIGUSR1, 0, 2), "signal, SI_USER, sender");
    let sigreturn = recording.calls(libc::SYS_rt_sigreturn);
    assert_eq!(sigreturn.iter().map(|r| r.head.tid).collect::<Vec<_>>(), [2]);
    let returns: Vec<_> = recording.calls(libc::SYS_wait4).iter().map(|r| r.head.ret).collect();
    assert_eq!(returns, [2, 3]);
}

#[test]
fn a_sleep_that_was_stopped_goes_on_as_the_call_that_it_was() {
    needs_bpf!();
    let recording = record("sleeper", MEGABYTE).whole(0);
    let sleeps = recording.calls(libc::SYS_nanosleep);
    let stopped = sleeps.iter().find(|record| record.head.ret == -516).unwrap();
    assert_eq!(segments(stopped)[0].0, stopped.head.args[1], "the time left is told although the call was interrupted");
    let restarted = recording.calls(libc::SYS_restart_syscall);
    assert_eq!(restarted.len(), 1);
    assert_eq!((restarted[0].head.ret, restarted[0].head.tid), (0, stopped.head.tid));
    assert_eq!(segments(restarted[0])[0].0, stopped.head.args[1], "restart_syscall writes where nanosleep would");
}

#[test]
fn what_no_replica_follows_is_told_apart() {
    needs_bpf!();
    let recording = record("odd", MEGABYTE).whole(0);
    let call = marked(&recording)[0];
    assert_eq!((call.head.nr, call.head.ret), (COMPAT_NR + 20, 1), "a call with a 32-bit number has none of ours");
    let execs: Vec<_> = recording.records.iter().filter(|record| record.head.kind == Kind::Exec as u8).collect();
    let told: Vec<_> = execs.iter().map(|exec| (exec.head.tid, exec.head.args[1])).collect();
    assert_eq!(told, [(1, 0), (1, 1)], "the second was made by another thread than the leader");
}

#[test]
fn tasks_on_all_cpus_make_one_log_without_a_hole() {
    needs_bpf!();
    let recording = record("storm", 64 * MEGABYTE).whole(0);
    let mut next = std::collections::HashMap::<u32, u64>::new();
    for call in recording.calls(libc::SYS_getppid) {
        let expected = next.entry(call.head.tid).or_default();
        assert_eq!(call.head.args[1], *expected, "calls of task {} are in its own order", call.head.tid);
        *expected += 1;
    }
    assert_eq!(next.values().copied().collect::<Vec<_>>(), vec![100_000; 8]);
    println!("{:?}", recording.stats);
}

#[test]
fn what_a_frozen_container_had_done_can_be_taken_out_whole_without_waiting() {
    needs_bpf!();
    let session = Session::start("endless", 64 * MEGABYTE);
    let mut seen = 0;
    for _ in 0..10 {
        while session.counters().seq < seen + 1000 {
            std::thread::yield_now();
        }
        let (at_once, after_a_wait) = session.freeze_and_flush();
        seen = session.counters().seq;
        assert_eq!((at_once, after_a_wait), (seen, seen));
        session.thaw();
    }
    session.kill();
    let recording = session.finish();
    assert_eq!((&recording.gap, recording.records.len() as u64), (&None, recording.counters.seq), "{:?}", recording.stats);
}

#[test]
fn what_a_ring_that_is_too_small_loses_ends_the_log() {
    needs_bpf!();
    let recording = record("storm", 16 << 10);
    assert!(recording.counters.ring_full > 0, "{:?}", recording.counters);
    let Some((at_seq, why)) = recording.gap else { panic!("no gap: {:?}", recording.counters) };
    assert_eq!((at_seq, why), (recording.records.len() as u64, GapReason::Lost));
    assert!(recording.records.iter().enumerate().all(|(n, record)| record.head.seq == n as u64));
    assert!(recording.fills.iter().any(|fill| matches!(fill, Fill::High { .. })), "the high-water mark was told");
}

/// What the guest `kinds` makes in each of its rounds: calls, and bytes of input.
const MADE: [(Group, u64, u64); 9] = [
    (Group::Read, 1, 64),
    (Group::Receive, 2, 4),
    (Group::Time, 1, 16),
    (Group::Random, 1, 10),
    (Group::Signal, 1, SIGSET_BYTES),
    (Group::Poll, 1, 0),
    (Group::File, 2, 0),
    (Group::Process, 2, 0),
    (Group::Other, 2, 0),
];
/// The old mask of rt_sigprocmask follows from the replica's state and is not logged.
const SIGSET_BYTES: u64 = 0;

#[test]
fn counts_by_group_are_what_was_called() {
    needs_bpf!();
    for (tasks, mode) in [(1, Mode::Capture), (8, Mode::Capture), (1, Mode::Count), (8, Mode::Count)] {
        // What the guest does around its rounds is the same in both.
        let [none, some] = [0, 100].map(|each| watched::run(&format!("kinds-{tasks}-{each}"), mode, GroupSet::ALL));
        let rounds = tasks * 100;
        let (before, after) = (none.tallied(), some.tallied());
        for (group, calls, bytes) in MADE {
            let (none, some) = (before.get(&group).copied().unwrap_or_default(), after[&group]);
            let made = (some.0 - none.0, some.1 - none.1);
            assert_eq!(made, (calls * rounds, bytes * rounds), "{group:?} of {tasks} tasks, {mode:?}");
        }
        match mode {
            Mode::Capture => {
                let some = some.reconciled();
                let events = |groups: &HashMap<Group, (u64, u64)>| MADE.map(|(group, ..)| groups[&group].0);
                assert_eq!(events(&some.taken.groups), events(&some.tallied()), "{tasks} tasks");
            }
            Mode::Count => assert_eq!((some.counters.seq, some.taken.records), (0, 0), "nothing is recorded"),
        }
    }
}

#[test]
fn groups_that_nobody_asked_for_are_neither_numbered_nor_counted() {
    needs_bpf!();
    let groups = GroupSet::NONE.with(Group::Receive).with(Group::Time);
    let outcome = watched::run("kinds-2-50", Mode::Capture, groups).reconciled();
    assert_eq!(outcome.taken.groups.get(&Group::Receive).map(|events| events.0), Some(200), "reads of sockets among them");
    let tallied = outcome.tallied();
    assert_eq!(outcome.taken.groups.keys().collect::<HashSet<_>>(), tallied.keys().collect(), "{tallied:?}");
    assert!(tallied.keys().all(|group| groups.contains(*group)), "{tallied:?}");
}

#[test]
fn of_ten_million_events_none_is_lost_and_none_comes_twice() {
    needs_bpf!();
    let outcome = watched::run("ten-million", Mode::Capture, GroupSet::ALL).reconciled();
    assert!(outcome.counters.seq > 10_000_000);
    let getppid = outcome.tallies.iter().find(|row| i64::from(row.nr) == libc::SYS_getppid).unwrap();
    assert_eq!((getppid.events, getppid.group), (10_000_000, Group::Process));
}

#[test]
fn a_storm_into_a_small_ring_is_held_and_leaves_no_gap() {
    needs_bpf!();
    for guest in ["gated-one", "gated-many"] {
        let outcome = gated::run(guest, 64 << 10, true);
        assert_eq!((&outcome.gap, outcome.counters.ring_full), (&None, 0), "{guest}: {outcome:?}");
        assert_eq!(outcome.records, outcome.counters.seq);
        assert!(outcome.holds.tasks > 0 && outcome.holds.held_ns > 0, "{guest}: {outcome:?}");
        println!("{guest}: {:?} {:?}", outcome.holds, outcome.counters);
    }
}

#[test]
fn a_storm_into_a_small_ring_that_holds_nobody_is_told_each_time() {
    needs_bpf!();
    for guest in ["gated-one", "gated-many", "gated-many"] {
        let outcome = gated::run(guest, 64 << 10, false);
        assert!(outcome.counters.ring_full > 0 && outcome.gap.is_some(), "{guest}: {outcome:?}");
        let Counters { seen, emitted, too_large, ring_full, .. } = outcome.counters;
        assert_eq!(seen, emitted + too_large + ring_full);
        assert_eq!(outcome.holds.tasks, 0);
    }
}

#[test]
#[ignore = "prints costs; run it alone"]
fn what_recording_costs_is_printed() {
    needs_bpf!();
    println!("without: {}", container::run_unrecorded("measure"));
    let recording = record("measure", 64 * MEGABYTE);
    println!("recorded: {}{:?} {:?}", recording.stdout, recording.stats, recording.gap);
    println!("without: {}", container::run_unrecorded("measure"));
}

#[test]
#[ignore = "prints costs; run it alone"]
fn what_user_space_costs_is_printed() {
    needs_bpf!();
    for guest in ["paced", "endless"] {
        for poll_ms in [1, 5, 10, 20] {
            cost::print(guest, std::time::Duration::from_millis(poll_ms));
        }
    }
}
