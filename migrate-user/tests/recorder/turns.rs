//! Guests whose tasks share memory, and so take turns on one CPU.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use migrate::probe::gate::{Gate, GateEvent, GateHandle, NoAnswer, Tracks};
use migrate::probe::serial::{Host, Policy, Rotations, Serial};
use migrate::probe::{Options, Recorder};
use migrate::record::{Record, RecordRef};
use migrate::ring::{Drain, DrainOptions};
use migrate::sys::affinity::{self, CpuSet};
use migrate::sys::{cgroup, cgroup_trees, release, threads};
use migrate_common::record::{BATCH, Kind, flags};

use crate::container::{Cgroup, Log, start, unable};
use crate::gated::first_task;
use crate::guest::{MARK, STARTED};

/// Guests that shared a CPU would be put behind each other.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Outcome {
    records: Vec<Record>,
    rotations: Rotations,
    /// Where the tasks took turns.
    cpu: Option<usize>,
    /// What of a CPU real-time tasks could have as that began.
    limit: Option<f64>,
    objections: Vec<String>,
}

/// What of a CPU the root cgroup's real-time tasks can have. None: this kernel wants no budget, or there is no limit.
fn limit() -> Option<f64> {
    let trees = cgroup_trees::Trees::read().unwrap();
    let number = |name| std::fs::read_to_string(trees.mount("cpu")?.join(name)).ok()?.trim().parse::<f64>().ok();
    Some(number("cpu.rt_runtime_us")? / number("cpu.rt_period_us")?).filter(|limit| *limit >= 0.0)
}

fn run(guest: &str, policy: Policy) -> Outcome {
    watched(guest, policy, |_| {})
}

/// A guest that runs.
struct Running<'a> {
    recorder: &'a Recorder,
    slot: u32,
    init: i32,
    tracks: &'a Tracks,
    group: &'a Cgroup,
    gate: &'a GateHandle,
}

/// As [`run`]; `watch` is called while the guest runs.
fn watched(guest: &str, policy: Policy, watch: impl FnOnce(Running<'_>)) -> Outcome {
    watched_with(Options::default(), guest, policy, watch)
}

fn watched_with(options: Options, guest: &str, policy: Policy, watch: impl FnOnce(Running<'_>)) -> Outcome {
    let recorder = Arc::new(Recorder::load(Options { hold: true, ..options }).unwrap());
    let counting = Arc::clone(&recorder);
    let drain =
        Drain::start(recorder.take_ring().unwrap(), Box::new(counting), Box::new(|_| {}), DrainOptions::default()).unwrap();
    let group = Cgroup::new();
    let slot = recorder.add(group.id()).unwrap();
    let log = Arc::new(Mutex::new(Log::default()));
    let sink = Arc::clone(&log);
    drain.add_sink(slot, Box::new(move |batch| sink.lock().unwrap().take(&batch))).unwrap();
    let host = Arc::new(Host::new(Arc::clone(&recorder), Vec::new()));
    let launcher = start(guest, &group);
    let init = first_task(&group);
    let serial = Arc::new(Serial::new(policy, slot, init, cgroup::Cgroup::at(group.path()), host, None));
    let (holding, turns) = (Arc::clone(&recorder), Arc::clone(&serial));
    let tracks = Arc::new(Tracks::default());
    let tracking = Arc::clone(&tracks);
    let (seized, handle) = mpsc::channel();
    let gate = std::thread::spawn(move || {
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        let (gate, handle) = Gate::seize(init, false, move |event| heard.lock().unwrap().push((event, limit()))).unwrap();
        seized.send(handle).unwrap();
        gate.holding(holding).taking_turns(turns).tracking(slot, tracking).run().unwrap();
        std::mem::take(&mut *events.lock().unwrap())
    });
    let handle = handle.recv().unwrap();
    watch(Running { recorder: &recorder, slot, init, tracks: &tracks, group: &group, gate: &handle });
    let status = launcher.wait_with_output().unwrap().status;
    assert!(status.success(), "{guest}: {status}");
    let events = gate.join().unwrap();
    let rotations = serial.rotations();
    serial.end();
    recorder.remove(slot).unwrap();
    drain.flush(slot).unwrap();
    let mut log = log.lock().unwrap();
    assert_eq!(log.gap(), None);
    let counters = recorder.counters(slot).unwrap();
    assert_eq!((counters.seen, counters.seq), (counters.emitted, log.records.len() as u64));
    let begun =
        events.iter().find_map(|(event, limit)| if let GateEvent::Serial { cpu } = event { Some((*cpu, *limit)) } else { None });
    let objections = events.into_iter().filter_map(|(event, _)| match event {
        GateEvent::NotMigratable { why, .. } => Some(why),
        _ => None,
    });
    let records = std::mem::take(&mut log.records);
    Outcome {
        records,
        rotations,
        cpu: begun.map(|(cpu, _)| cpu),
        limit: begun.and_then(|(_, limit)| limit),
        objections: objections.collect(),
    }
}

fn of_kind(records: &[Record], kind: Kind) -> Vec<(usize, &Record)> {
    records.iter().enumerate().filter(|(_, record)| record.kind() == Some(kind)).collect()
}

/// The first thread does nothing behind its own `clone` before it is told to run.
fn check_first_thread(records: &[Record]) {
    let fork = of_kind(records, Kind::Fork)[0];
    let thread = fork.1.head.args[0] as u32;
    let own: Vec<_> = records[fork.0..].iter().filter(|record| record.head.tid == thread).map(|record| record.head).collect();
    let resumed = own.iter().position(|head| head.kind == Kind::Resume as u8).unwrap();
    let calls = own[..resumed].iter().filter(|head| head.kind == Kind::Syscall as u8).map(|head| head.ret);
    assert!(calls.collect::<Vec<_>>().iter().all(|ret| *ret == 0) && resumed <= 2, "{own:?}");
}

/// Each switch tells the registers, is followed by another task, and its task does nothing until it is told to run again.
fn check_switches(records: &[Record]) {
    let switches = of_kind(records, Kind::Switch);
    for &(at, switch) in &switches {
        let head = &switch.head;
        let parts: Vec<_> = switch.segments().map(|segment| (segment.addr, segment.bytes)).collect();
        let register = |offset: usize| u64::from_le_bytes(parts[0].1[offset..offset + 8].try_into().unwrap());
        assert_eq!((parts[0].0, parts[0].1.len()), (0, 168));
        // struct pt_regs: ip, sp, orig_ax.
        assert_eq!(head.args[..3], [register(128), register(152), register(120)]);
        // A page that is not there at the moment cannot be read at a switch: address 0, or nothing.
        let sp = head.args[1];
        let found: Vec<_> = parts[1..].iter().map(|(addr, bytes)| (*addr, bytes.len())).collect();
        if head.args[2] == u64::MAX {
            // In user code: the stack, and where the 15 registers point to.
            let stack = [(sp - 128, 128), (sp, 256), (sp + 256, 256), (sp + 512, 512), (sp + 1024, 1024)];
            assert!(found.len() == stack.len() + 15, "{found:x?}");
            assert!(found.iter().zip(stack).all(|(found, stack)| *found == stack || *found == (0, stack.1)), "{found:x?}");
            assert!(found.iter().skip(stack.len()).all(|(_, bytes)| *bytes == 64), "{found:x?}");
        } else {
            assert!(found.is_empty() || found == [(sp, 64)], "{found:x?}");
        }
        let next = records[at + 1..].iter().find(|record| record.head.tid == head.tid);
        if let Some(next) = next {
            assert_eq!(next.kind(), Some(Kind::Resume), "behind record {at}");
        }
        assert_ne!(records[at + 1].head.tid, head.tid, "behind record {at}");
    }
    // And the first thread.
    assert!(of_kind(records, Kind::Resume).len() <= switches.len() + 1);
}

#[test]
fn threads_that_compute_until_another_goes_on_are_put_behind_it_in_user_code() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    let _one = one_at_a_time();
    let outcome = run("gated-spinners", Policy::Auto);
    assert_eq!((outcome.cpu.is_some(), outcome.objections), (true, vec![]));
    check_first_thread(&outcome.records);
    check_first_thread(&run("gated-alone", Policy::Always).records);
    check_switches(&outcome.records);
    let in_user_code =
        of_kind(&outcome.records, Kind::Switch).iter().filter(|(_, record)| record.head.args[2] == u64::MAX).count();
    assert!(in_user_code >= 10, "{in_user_code} of {:?}", outcome.rotations);
    assert!(outcome.rotations.in_user_code >= 10, "{:?}", outcome.rotations);
}

#[test]
fn threads_that_call_until_another_goes_on_are_put_behind_it_at_calls() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    let _one = one_at_a_time();
    let outcome = run("gated-callers", Policy::Auto);
    check_switches(&outcome.records);
    assert!(outcome.rotations.at_calls >= 10, "{:?}", outcome.rotations);
    // Behind a call its number still stands there; it has been told with its result.
    let behind_calls = of_kind(&outcome.records, Kind::Switch)
        .iter()
        .filter(|(_, record)| record.head.args[2] == libc::SYS_getppid as u64)
        .count();
    assert!(behind_calls >= 10, "{behind_calls} of {:?}", outcome.rotations);
}

#[test]
fn a_thread_whose_others_wait_is_left_alone_and_others_that_interrupt_it_leave_no_record() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    let _one = one_at_a_time();
    let outcome = run("gated-alone", Policy::Auto);
    assert!(outcome.cpu.is_some());
    if release::running() >= Some((6, 12)) {
        assert!(outcome.limit.is_none_or(|limit| limit >= 0.99), "{:?} of a CPU", outcome.limit);
    }
    check_switches(&outcome.records);
    let is_mark = |record: &Record, n| i64::from(record.head.nr) == libc::SYS_getppid && record.head.args[..2] == [MARK, n];
    let first = outcome.records.iter().position(|record| is_mark(record, 1)).unwrap();
    let last = outcome.records.iter().rposition(|record| is_mark(record, 2)).unwrap();
    let between = &outcome.records[first..last];
    assert!(between.len() >= 10_000);
    assert!(of_kind(between, Kind::Switch).is_empty() && of_kind(between, Kind::Resume).is_empty());
}

#[test]
fn memory_that_can_be_shared_and_written_is_told_and_its_task_held_until_all_take_turns() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    let _one = one_at_a_time();
    let outcome = run("gated-shared", Policy::Auto);
    assert!(outcome.cpu.is_some());
    let mark = outcome.records.iter().position(|record| record.head.args[..2] == [MARK, 1]).unwrap();
    let maps = |records: &[Record]| -> Vec<u16> {
        let maps = records.iter().filter(|record| i64::from(record.head.nr) == libc::SYS_mmap);
        maps.map(|record| record.head.flags & flags::SHARED).collect()
    };
    assert_eq!(maps(&outcome.records[..mark]).last(), Some(&0), "a file that is only read");
    assert_eq!(maps(&outcome.records[mark..])[..2], [0, flags::SHARED]);

    let outcome = run("gated-shared", Policy::Never);
    assert_eq!(outcome.cpu, None);
    assert_eq!(outcome.objections, ["its tasks share memory, and it was started with migrate.serialise=never"]);
}

/// Records in entries of the ring.
fn records_in(entry: &[u8]) -> u64 {
    let Some(batch) = entry.strip_prefix(&BATCH.to_ne_bytes()) else { return 1 };
    let mut left = batch;
    std::iter::from_fn(|| {
        let (_, used) = (!left.is_empty()).then(|| RecordRef::parse(left).unwrap())?;
        left = &left[used..];
        Some(())
    })
    .count() as u64
}

#[test]
fn what_waits_on_the_cpu_of_a_task_that_computes_is_handed_over_when_it_is_asked_for() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    // While another test's container takes turns, this process's threads keep off its CPU.
    let _one = one_at_a_time();
    let cpus = affinity::of(0).unwrap().cpus();
    let [cpu, .., other] = cpus[..] else {
        eprintln!("skipped: the task would leave the only CPU whenever this test runs, and nothing waits then");
        return;
    };
    let recorder = Recorder::load(Options::default()).unwrap();
    let mut ring = recorder.take_ring().unwrap();
    let group = Cgroup::new();
    let slot = recorder.add(group.id()).unwrap();
    let mut launcher = start("computing", &group);
    let init = first_task(&group);
    affinity::set(init, &CpuSet::only(cpu)).unwrap();
    // Before the first image nobody takes turns.
    while recorder.counters(slot).unwrap().seq == 0 {
        std::thread::yield_now();
    }
    recorder.begin_turns(slot, cpu, None).unwrap();
    let ask = || {
        // A thread that woke up on the task's CPU would make it leave.
        affinity::set(0, &CpuSet::only(other)).unwrap();
        let (mut asked, mut waited) = (0, 0);
        while launcher.try_wait().unwrap().is_none() {
            let before = ring.produced();
            recorder.hand_over().unwrap();
            asked += 1;
            waited += u64::from(ring.produced() > before);
            std::thread::sleep(Duration::from_millis(2));
        }
        (asked, waited)
    };
    let (asked, waited) = std::thread::scope(|scope| scope.spawn(ask).join().unwrap());
    // It leaves the CPU when others of the machine want it, and nothing waits then.
    assert!(waited * 8 > asked, "{waited} of {asked} times");
    recorder.end_turns(slot);
    let mut records = 0;
    while ring.take(u64::MAX, |entry| records += records_in(entry)) > 0 {}
    let counters = recorder.counters(slot).unwrap();
    assert_eq!((counters.seen, counters.emitted), (counters.seq, records));
}

/// Until what tracks the guest is there, or for so long.
fn wait_tracked(running: &Running<'_>) -> bool {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while std::time::Instant::now() < until && migrate::sys::ptrace::is_zombie(running.init).is_ok_and(|zombie| !zombie) {
        if running.tracks.of(running.init).is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}

/// What the guest has seen of the agent's descriptor: nothing, alone and with its thread.
fn check_descriptors(outcome: &Outcome) {
    assert!(outcome.objections.is_empty() && outcome.cpu.is_some(), "{:?}", outcome.objections);
    // What its loader opens and closes comes before.
    let first = outcome.records.iter().position(|record| i64::from(record.head.nr) == libc::SYS_dup).unwrap();
    let calls = |nr| outcome.records[first..].iter().filter(move |record| i64::from(record.head.nr) == nr);
    let opened: Vec<i64> = calls(libc::SYS_dup).map(|record| record.head.ret).collect();
    assert!(opened.len() >= 1000 && opened.iter().all(|fd| *fd == opened[0]), "{opened:?}");
    assert_eq!(calls(libc::SYS_userfaultfd).count(), 0);
    let closed = calls(libc::SYS_close).filter(|record| record.head.args[0].cast_signed() == opened[0]).count();
    assert_eq!(closed, opened.len());
    check_first_thread(&outcome.records);
    check_switches(&outcome.records);
}

#[test]
fn what_tracks_a_process_is_opened_when_it_begins_its_first_thread_or_is_asked_and_leaves_no_trace() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    if release::running() < Some((6, 7)) {
        eprintln!("skipped: needs Linux 6.7");
        return;
    }
    let _one = one_at_a_time();
    let mut tracked = false;
    let outcome = watched("gated-opener", Policy::Auto, |running| tracked = wait_tracked(&running));
    assert!(tracked, "its first thread");
    check_descriptors(&outcome);

    let mut alone = false;
    let outcome = watched("gated-opener", Policy::Auto, |running| {
        while running.recorder.counters(running.slot).unwrap().seq < 100 {
            std::thread::yield_now();
        }
        running.recorder.ask_for(running.slot, &[running.init.unsigned_abs()]).unwrap();
        alone = wait_tracked(&running) && threads::of(running.init).count() == 1;
        running.recorder.ask_for(running.slot, &[]).unwrap();
    });
    assert!(alone, "it was asked while it had one task");
    check_descriptors(&outcome);
    assert!(outcome.rotations.at_calls < 100, "{:?}", outcome.rotations);
}

/// A container that is frozen while a program starts in it: the gate, which has that program make calls, cannot be asked until it is
/// thawed, says so at once, and goes on afterwards as if nothing had been.
#[test]
fn a_gate_that_waits_for_a_frozen_task_says_so_and_answers_when_it_has_run_on() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    let _one = one_at_a_time();
    let (mut answered, mut busy, mut clocks) = (0, 0, false);
    let options = Options { clocks: true, ..Options::default() };
    let outcome = watched_with(options, "gated-starter", Policy::Auto, |running| {
        clocks = running.recorder.options().clocks;
        let freezer = cgroup::Cgroup::at(running.group.path()).freezer();
        loop {
            freezer.freeze().unwrap();
            match running.gate.stopped() {
                Ok(stopped) => answered += usize::from(!stopped.is_empty()),
                Err(NoAnswer::Busy) => busy += 1,
                // The guest has come to its end.
                Err(NoAnswer::Ended) => break,
                Err(NoAnswer::Late) => panic!("neither an answer nor why there is none"),
            }
            freezer.thaw().unwrap();
        }
        freezer.thaw().unwrap();
    });
    println!("{answered} answers; busy {busy} times");
    assert!(answered > 0);
    // Else the gate has programs make no calls.
    assert!(busy > 0 || !clocks);
    assert_eq!(outcome.objections, [""; 0]);
    let execs = of_kind(&outcome.records, Kind::Exec).len();
    assert_eq!(execs, 1 + STARTED as usize);
}
