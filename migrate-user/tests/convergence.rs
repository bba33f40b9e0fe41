//! A dozen guests, one of each kind, recorded and replayed without Docker: the replica makes the same calls and ends with the
//! same output and exit code. Needs root, eBPF, busybox and static guests; without them each test says that it was skipped.

mod sandbox;

use migrate::probe::gate::{Gate, GateEvent};
use migrate::probe::serial::{Host, Policy, Serial};
use migrate::probe::{Options, Recorder};
use migrate::record::Record;
use migrate::replay::replica::Replica;
use migrate::replay::screen;
use migrate::ring::{Assembler, Batch, Drain, DrainOptions, Event};
use migrate::sys::cgroup::Cgroup;
use migrate_common::record::Class;
use sandbox::Sandbox;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Longer than any of these guests takes on a busy machine; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What a guest did that can be seen from outside.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    exit_code: i32,
    output: String,
}

/// A guest's log.
#[derive(Debug)]
struct Recorded {
    records: Vec<Record>,
    outcome: Outcome,
    objections: Vec<String>,
}

/// What tells the assembling thread of a log.
enum Input {
    Batch(Batch),
    Gate(GateEvent),
}

/// Why nothing can be recorded here, if it cannot.
fn unable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".into());
    }
    if sandbox::busybox().is_none() {
        return Some("needs a static busybox in /bin".into());
    }
    if let Err(why) = guests() {
        return Some(why);
    }
    Recorder::load(Options { ring_bytes: 4096, ..Options::default() }).err().map(|error| error.to_string())
}

/// Skips a test where nothing can be recorded.
macro_rules! needs_recorder {
    () => {
        if let Some(why) = unable() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

/// The guests as a static program, built if they are not there or out of date.
fn guests() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("GUESTS") {
        return Ok(path.into());
    }
    static BUILT: Mutex<Option<Result<PathBuf, String>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap();
    built.get_or_insert_with(build_guests).clone()
}

fn build_guests() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has no workspace")?;
    // As for the lab's image, so that there is one build of them. Cargo's own directory may be locked by who runs this test.
    let target = root.join("target");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "guests", "--target", TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(root)
        .output();
    match build {
        Ok(output) if output.status.success() => Ok(target.join(TARGET).join("release/guests")),
        Ok(output) => Err(format!("the guests cannot be built: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("cargo cannot be run: {error}")),
    }
}

/// Puts a log together as the agent does.
fn assemble(inputs: &mpsc::Receiver<Input>) -> (Vec<Record>, Vec<String>) {
    let mut assembler = Assembler::new();
    let mut gone = std::collections::HashSet::new();
    let (mut records, mut objections) = (Vec::<Record>::new(), Vec::new());
    for input in inputs {
        let mut gaps = Vec::new();
        let mut keep = |event: Event<'_>| match event {
            Event::Record(record) => records.push(record.to_owned()),
            Event::Gap { at_seq, why } => gaps.push(format!("a gap at {at_seq}: {why}")),
        };
        match input {
            Input::Batch(batch) => assembler.feed(&batch, &mut keep),
            Input::Gate(GateEvent::Image { host_tid, record }) => {
                gone.remove(&host_tid);
                assembler.supply_image(host_tid, record, &mut keep);
            }
            Input::Gate(GateEvent::TaskEnded { host_tid }) => drop(gone.insert(host_tid)),
            Input::Gate(GateEvent::NotMigratable { why, .. }) => objections.push(why),
            Input::Gate(GateEvent::Serial { .. } | GateEvent::Ends { .. } | GateEvent::Ended) => {}
        }
        while let Some(host_tid) = assembler.waits_for_image()
            && gone.remove(&host_tid)
        {
            assembler.no_image(host_tid, &mut keep);
        }
        objections.extend(gaps);
    }
    objections.extend(records.iter().filter_map(|record| screen::objection(record.as_ref())));
    (records, objections)
}

fn record(argv: &[&str]) -> Recorded {
    let recorder = Arc::new(Recorder::load(Options::default()).unwrap());
    let counters = Arc::clone(&recorder);
    let drain =
        Drain::start(recorder.take_ring().unwrap(), Box::new(counters), Box::new(|_| {}), DrainOptions::default()).unwrap();
    let mut sandbox = Sandbox::new(&guests().unwrap(), argv).unwrap();
    let slot = recorder.add(sandbox.cgroup_id).unwrap();
    let (inputs, queue) = mpsc::channel();
    let log = std::thread::spawn(move || assemble(&queue));
    let batches = inputs.clone();
    // The other end is there until the sink is gone.
    drain.add_sink(slot, Box::new(move |batch| drop(batches.send(Input::Batch(batch))))).unwrap();
    let (init, (ready, seized)) = (sandbox.init, mpsc::channel());
    let host = Arc::new(Host::new(Arc::clone(&recorder), Vec::new()));
    let serial = Arc::new(Serial::new(Policy::Auto, slot, init, Cgroup::at(&sandbox.cgroup), host, None));
    let (turns, holder) = (Arc::clone(&serial), Arc::clone(&recorder));
    let gate = std::thread::spawn(move || {
        let (gate, _handle) = Gate::seize(init, false, move |event| drop(inputs.send(Input::Gate(event)))).unwrap();
        ready.send(()).unwrap();
        gate.holding(holder).taking_turns(turns).run().unwrap();
    });
    seized.recv().unwrap();
    sandbox.start().unwrap();
    let (exit_code, output) = within(&mut sandbox);
    gate.join().unwrap();
    serial.end();
    drain.flush(slot).unwrap();
    recorder.remove(slot).unwrap();
    drain.remove_sink(slot).unwrap();
    let (records, objections) = log.join().unwrap();
    Recorded { records, outcome: Outcome { exit_code, output }, objections }
}

/// The container's end, or this test's.
fn within(sandbox: &mut Sandbox) -> (i32, String) {
    let (done, ended) = mpsc::channel::<()>();
    let killer = sandbox.killer();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            killer.kill();
            return true;
        }
        false
    });
    let (code, output) = sandbox.finish().unwrap();
    drop(done);
    assert!(!watch.join().unwrap(), "no end after {PATIENCE:?}");
    (code, String::from_utf8_lossy(&output).into_owned())
}

/// Replays a log in a fresh container, in pieces of so many records.
fn replay(argv: &[&str], records: Vec<Record>, piece: usize) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut sandbox = Sandbox::new(&guests()?, argv).unwrap();
        let replica = Replica::seize(sandbox.init).await.map_err(|error| error.to_string())?;
        sandbox.start().unwrap();
        let fed = replica.with(move |engine| {
            for piece in records.chunks(piece) {
                engine.feed(piece)?;
            }
            engine.check_settled()
        });
        let fed = tokio::time::timeout(PATIENCE, fed).await.map_err(|_| format!("no end of the log after {PATIENCE:?}"));
        if let Err(error) = fed.and_then(|fed| fed.map_err(|error| error.to_string())) {
            sandbox.killer().kill();
            return Err(error);
        }
        let (exit_code, output) = within(&mut sandbox);
        Ok(Outcome { exit_code, output })
    })
}

/// Records a guest, checks that it held and that it can be moved, and replays it.
fn converges(guest: &str, piece: usize) {
    let argv = ["/guests", guest];
    let recorded = record(&argv);
    assert_eq!(recorded.objections, Vec::<String>::new(), "{guest}");
    assert_eq!(recorded.outcome.exit_code, 0, "{guest}: {}", recorded.outcome.output);
    assert!(recorded.outcome.output.contains("end"), "{guest}: {}", recorded.outcome.output);
    match replay(&argv, recorded.records, piece) {
        Ok(outcome) => assert_eq!(outcome, recorded.outcome, "{guest}"),
        Err(why) => panic!("{guest}: {why}"),
    }
}

macro_rules! guests_converge {
    ($($guest:ident: $promise:ident,)*) => {$(
        #[test]
        fn $promise() {
            needs_recorder!();
            converges(stringify!($guest), usize::MAX);
        }
    )*};
}

guests_converge! {
    getrandom: random_bytes_are_the_same,
    clock_gettime: clocks_show_the_same,
    itimer_calls: timer_signals_come_at_the_same_calls,
    signal_flags: handlers_run_with_the_same_state,
    sigstop_sigcont: a_stopped_and_continued_child_is_followed,
    sigsegv: a_fault_reaches_its_handler_again,
    zombies: children_are_reaped_as_they_were,
    vfork_exec: a_child_in_its_parents_memory_gets_its_own_image,
    append: appended_files_hold_the_same,
    fifo: both_ends_of_a_fifo_meet_again,
    tcp_one_process: connections_bring_the_same_bytes,
    scm_rights: passed_descriptors_arrive_under_the_same_numbers,
    epoll_edge: readiness_is_told_alike,
    stack_growth: the_stack_grows_where_it_grew,
}

/// A live log comes in chunks that end anywhere: the engine then does not know what a task does next.
#[test]
fn logs_that_come_record_by_record_converge() {
    needs_recorder!();
    for guest in ["exec_chain", "vfork_exec", "pipeline", "signal_storm", "sigsuspend", "zombies", "tcp_prefork_accept"] {
        converges(guest, 1);
    }
}

/// Handlers note how far a computation had come that makes no calls: the replica's run before the same instructions.
#[test]
fn signals_into_a_computation_come_before_the_same_instructions() {
    needs_recorder!();
    let all = [
        "computing",
        "computing_calls",
        "computing_nested",
        "computing_queue",
        "computing_sigaltstack",
        "computing_recursion",
        "computing_copies",
        "computing_floats",
        "computing_children",
        "computing_ended",
        "computing_exits",
        "computing_mask",
        "computing_resethand",
        "computing_posix_timer",
        "computing_thread_id",
        "computing_itimer_virtual",
        "computing_timerfd",
    ];
    for guest in all {
        converges(guest, usize::MAX);
    }
}

/// Threads meet that make no calls: where one was put behind the others its replica is, too.
#[test]
fn threads_that_compute_without_a_call_change_turns_at_the_same_instructions() {
    needs_recorder!();
    for guest in ["thread_tight_loops", "thread_compute", "thread_spin_turns"] {
        converges(guest, usize::MAX);
    }
}

/// Records of writes to the container's own files, which carry the offset that they left.
fn is_write_to_own_file(record: &Record) -> bool {
    i64::from(record.head.nr) == libc::SYS_write && record.head.ret > 0 && record.class() == Class::OwnFile
}

#[test]
fn a_log_with_another_argument_is_told_apart() {
    needs_recorder!();
    let argv = ["/guests", "append"];
    let mut recorded = record(&argv);
    recorded.records.iter_mut().rfind(|record| is_write_to_own_file(record)).unwrap().head.args[2] += 1;
    let why = replay(&argv, recorded.records, usize::MAX).unwrap_err();
    assert!(why.contains("left the log at record"), "{why}");
}

#[test]
fn a_log_with_a_write_before_the_one_that_it_followed_is_told_apart() {
    needs_recorder!();
    let argv = ["/guests", "append"];
    let mut recorded = record(&argv);
    let last = recorded.records.iter_mut().rfind(|record| is_write_to_own_file(record)).unwrap();
    let offset = last.segments().find(|segment| segment.addr == 0).unwrap().bytes.to_vec();
    let later = u64::from_le_bytes(offset.try_into().unwrap()) + 1;
    let at = last.payload.len() - 8;
    last.payload[at..].copy_from_slice(&later.to_le_bytes());
    let why = replay(&argv, recorded.records, usize::MAX).unwrap_err();
    assert!(why.contains("wait for an event that the log does not bring") || why.contains("left the log"), "{why}");
}

/// Guests of one's choice: `NAMES="mutex_contended sysv_sem" cargo test --test convergence named -- --nocapture`.
#[test]
fn guests_named_in_the_environment_converge() {
    needs_recorder!();
    for guest in std::env::var("NAMES").unwrap_or_default().split_whitespace() {
        converges(guest, usize::MAX);
        eprintln!("{guest}: ok");
    }
}
