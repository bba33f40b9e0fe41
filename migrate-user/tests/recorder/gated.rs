//! A guest that a gate traces, with a small ring and a drain that is slow at times, or that stands still until the guest has ended.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migrate::probe::gate::Gate;
use migrate::probe::{Holds, Options, Recorder};
use migrate::ring::{Drain, DrainOptions, Fill};
use migrate_common::maps::Counters;

use crate::container::{Cgroup, Log, start};
use migrate::ring::GapReason;

/// What was left of it.
#[derive(Debug)]
pub struct Outcome {
    pub counters: Counters,
    pub holds: Holds,
    pub records: u64,
    pub gap: Option<(u64, GapReason)>,
}

/// Records a guest whose name starts with `gated-` to its end. `hold`: whether the programs may hold its tasks; if not, the drain
/// stands still behind its first batch, so that no ring is large enough.
pub fn run(guest: &str, ring_bytes: u32, hold: bool) -> Outcome {
    let recorder = Arc::new(Recorder::load(Options { ring_bytes, hold, ..Options::default() }).unwrap());
    let counting = Arc::clone(&recorder);
    let slow = |fill| {
        if matches!(fill, Fill::High { .. }) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let drain = Drain::start(recorder.take_ring().unwrap(), Box::new(counting), Box::new(slow), DrainOptions::default()).unwrap();
    let cgroup = Cgroup::new();
    let slot = recorder.add(cgroup.id()).unwrap();
    let log = Arc::new(Mutex::new(Log::default()));
    let sink = Arc::clone(&log);
    let ended = Arc::new(AtomicBool::new(false));
    let go_on = Arc::clone(&ended);
    let mut batches = 0;
    let take = move |batch| {
        sink.lock().unwrap().take(&batch);
        batches += 1;
        if hold && batches <= 20 {
            // However fast the machine reads, the ring fills up.
            std::thread::sleep(Duration::from_millis(5));
        }
        while !hold && !go_on.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    drain.add_sink(slot, Box::new(take)).unwrap();
    let launcher = start(guest, &cgroup);
    let init = first_task(&cgroup);
    let holding = Arc::clone(&recorder);
    let gate = std::thread::spawn(move || {
        let (gate, _handle) = Gate::seize(init, false, |_| {}).unwrap();
        gate.holding(holding).run().unwrap();
    });
    let status = launcher.wait_with_output().unwrap().status;
    ended.store(true, Ordering::Relaxed);
    assert!(status.success(), "{guest}: {status}");
    gate.join().unwrap();
    recorder.remove(slot).unwrap();
    drain.flush(slot).unwrap();
    let log = log.lock().unwrap();
    let counters = recorder.counters(slot).unwrap();
    Outcome { counters, holds: recorder.holds(), records: log.records.len() as u64, gap: log.gap() }
}

pub fn first_task(cgroup: &Cgroup) -> i32 {
    loop {
        let procs = fs::read_to_string(cgroup.path().join("cgroup.procs")).unwrap();
        if let Some(pid) = procs.lines().next() {
            return pid.parse().unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
