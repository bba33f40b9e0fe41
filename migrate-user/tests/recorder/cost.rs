//! What recording costs this machine's processors in user space, by how often the ring is looked at.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use migrate::probe::{Options, Recorder};
use migrate::replay::screen;
use migrate::ring::{Assembler, Batch, Drain, DrainOptions, Event};
use migrate::round::policy::CHUNK_BYTES;
use migrate::round::{LogMeta, Spool};

use crate::container::{Cgroup, start};

const SECONDS: u64 = 3;

/// Stores a log as the agent's thread does. Returns its records and its processor time, in ns.
fn log(batches: mpsc::Receiver<Batch>) -> (u64, u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::create(&directory.path().join("log"), &LogMeta::default(), 8 << 30).unwrap();
    let (mut assembler, mut records) = (Assembler::new(), 0);
    for batch in batches {
        let mut store = |event: Event<'_>| {
            let Event::Record(record) = event else { panic!("{event:?}") };
            records += 1;
            // A guest that no container runtime started makes calls that none allows.
            std::hint::black_box(screen::objection(record));
            spool.push(record).unwrap();
        };
        assembler.feed(&batch, &mut store);
        while let Some(host_tid) = assembler.waits_for_image() {
            assembler.no_image(host_tid, &mut store);
        }
        if spool.pending_bytes() >= CHUNK_BYTES {
            spool.append().unwrap();
        }
    }
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (records, spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64, assembler.copied())
}

/// Records a guest that never ends for some seconds, and prints what that took.
pub fn print(guest: &str, poll: Duration) {
    let recorder = Arc::new(Recorder::load(Options::default()).unwrap());
    let counters = Arc::clone(&recorder);
    let drain = Drain::start(
        recorder.take_ring().unwrap(),
        Box::new(counters),
        Box::new(|fill| println!("{fill:?}")),
        DrainOptions { poll, ..DrainOptions::default() },
    )
    .unwrap();
    let cgroup = Cgroup::new();
    let slot = recorder.add(cgroup.id()).unwrap();
    let (sender, receiver) = mpsc::channel();
    drain.add_sink(slot, Box::new(move |batch| drop(sender.send(batch)))).unwrap();
    let log = std::thread::spawn(move || log(receiver));
    let begun = Instant::now();
    let mut launcher = start(guest, &cgroup);
    std::thread::sleep(Duration::from_secs(SECONDS));
    std::fs::write(cgroup.path().join("cgroup.kill"), "1").unwrap();
    launcher.wait().unwrap();
    recorder.remove(slot).unwrap();
    drain.flush(slot).unwrap();
    let took = begun.elapsed().as_secs_f64();
    let stats = drain.stats();
    drain.remove_sink(slot).unwrap();
    let (records, log_ns, copied) = log.join().unwrap();
    let (per_s, per_record) = (|n: u64| n as f64 / took, |ns: u64| ns / records.max(1));
    println!(
        "{guest}, looked at every {poll:?}: {:.0} records/s, {:.1} MB/s; drain {} ns a record, {:.2} % of a CPU, {:.0} wake-ups/s, \
         {:.0} batches/s; log {} ns a record, {:.2} % of a CPU; {:.1} % out of turn; at most {:.1} MB in the ring",
        per_s(records),
        per_s(stats.bytes) / 1e6,
        per_record(stats.cpu_ns),
        per_s(stats.cpu_ns) / 1e7,
        per_s(stats.wake_ups),
        per_s(stats.batches),
        per_record(log_ns),
        per_s(log_ns) / 1e7,
        copied as f64 / records.max(1) as f64 * 100.0,
        stats.most_waiting_bytes as f64 / 1e6,
    );
}
