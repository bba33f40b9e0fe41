//! A cgroup that is recorded, with a guest in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use migrate::probe::{Options, Recorder};
use migrate::record::Record;
use migrate::ring::{Assembler, Batch, Drain, DrainOptions, Event, Fill, GapReason, Stats};
use migrate::sys;
use migrate_common::maps::Counters;

use crate::guest;

/// What a recording of a guest gave.
#[derive(Debug)]
pub struct Recording {
    pub records: Vec<Record>,
    /// Where and why it ended before its end.
    pub gap: Option<(u64, GapReason)>,
    pub counters: Counters,
    pub stats: Stats,
    pub fills: Vec<Fill>,
    pub exit_code: i32,
    pub stdout: String,
}

/// Why there can be no recording here, if there cannot.
pub fn unable() -> Option<String> {
    // SAFETY: geteuid has no arguments.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root".into());
    }
    if sys::cgroup::Cgroup::mount().is_err() {
        return Some("needs a cgroup v2 tree".into());
    }
    let error = Recorder::load(Options { ring_bytes: 4096, ..Options::default() }).err()?;
    assert!(is_refused(&error), "the programs do not load: {error}");
    Some(error.to_string())
}

/// Whether the kernel has no eBPF for us at all. What its verifier says of a program is not that.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let codes = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error());
    codes.into_iter().any(|code| [libc::EPERM, libc::ENOSYS, libc::ENOENT].contains(&code))
}

/// A cgroup of its own, removed with it.
pub struct Cgroup(PathBuf);

impl Cgroup {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = sys::cgroup::Cgroup::mount().unwrap().join(format!("migrate-recorder-test-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn id(&self) -> u64 {
        fs::metadata(&self.0).unwrap().ino()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The guest's tasks have ended, but the kernel takes their cgroup from them a moment later.
        for _ in 0..1000 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Starts a guest in a cgroup, recorded or not.
pub fn start(guest: &str, cgroup: &Cgroup) -> Child {
    Command::new("/proc/self/exe")
        .env(guest::LAUNCH, format!("{guest}:{}", cgroup.0.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a guest printed, without recording it.
pub fn run_unrecorded(guest: &str) -> String {
    let output = start(guest, &Cgroup::new()).wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Records a guest from its first image to its end.
pub fn record(guest: &str, ring_bytes: u32) -> Recording {
    Session::start(guest, ring_bytes).finish()
}

/// A guest that runs and is recorded.
pub struct Session {
    recorder: Arc<Recorder>,
    drain: Drain,
    cgroup: Cgroup,
    slot: u32,
    /// Looked at when the guest has ended: whoever takes long on the drain's thread lets the ring fill.
    batches: Arc<Mutex<Vec<Batch>>>,
    fills: Arc<Mutex<Vec<Fill>>>,
    launcher: Child,
}

impl Session {
    pub fn start(guest: &str, ring_bytes: u32) -> Self {
        let recorder = Arc::new(Recorder::load(Options { ring_bytes, ..Options::default() }).unwrap());
        let reader = Arc::clone(&recorder);
        let fills = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&fills);
        let drain = Drain::start(
            recorder.take_ring().unwrap(),
            Box::new(reader),
            Box::new(move |fill| heard.lock().unwrap().push(fill)),
            DrainOptions::default(),
        )
        .unwrap();
        let cgroup = Cgroup::new();
        let slot = recorder.add(cgroup.id()).unwrap();
        let batches = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&batches);
        drain.add_sink(slot, Box::new(move |batch| sink.lock().unwrap().push(batch))).unwrap();
        let launcher = start(guest, &cgroup);
        Self { recorder, drain, cgroup, slot, batches, fills, launcher }
    }

    pub fn counters(&self) -> Counters {
        self.recorder.counters(self.slot).unwrap()
    }

    /// Freezes the guest, and takes out what it had done, without and with waiting for programs.
    pub fn freeze_and_flush(&self) -> (u64, u64) {
        fs::write(self.cgroup.0.join("cgroup.freeze"), "1").unwrap();
        while !fs::read_to_string(self.cgroup.0.join("cgroup.events")).unwrap().contains("frozen 1") {
            std::thread::yield_now();
        }
        let flushed = self.drain.flush_frozen(self.slot).unwrap();
        (flushed, self.drain.flush(self.slot).unwrap())
    }

    pub fn thaw(&self) {
        fs::write(self.cgroup.0.join("cgroup.freeze"), "0").unwrap();
    }

    pub fn kill(&self) {
        fs::write(self.cgroup.0.join("cgroup.kill"), "1").unwrap();
    }

    /// Waits for the guest's end.
    pub fn finish(self) -> Recording {
        let output = self.launcher.wait_with_output().unwrap();
        self.recorder.remove(self.slot).unwrap();
        let flushed = self.drain.flush(self.slot).unwrap();
        let counters = self.recorder.counters(self.slot).unwrap();
        assert_eq!(flushed, counters.seq, "nothing is numbered after the removal");
        assert_eq!(self.recorder.missed_runs().unwrap(), 0);
        let mut log = Log::default();
        self.batches.lock().unwrap().drain(..).for_each(|batch| log.take(&batch));
        Recording {
            records: log.records,
            gap: log.assembler.gap(),
            counters,
            stats: self.drain.stats(),
            fills: self.fills.lock().unwrap().clone(),
            exit_code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
        }
    }
}

/// What came out of the ring.
#[derive(Default)]
pub struct Log {
    assembler: Assembler,
    pub records: Vec<Record>,
}

impl Log {
    pub fn gap(&self) -> Option<(u64, GapReason)> {
        self.assembler.gap()
    }

    pub fn take(&mut self, batch: &Batch) {
        let Self { assembler, records } = self;
        let mut keep = |event: Event<'_>| {
            if let Event::Record(record) = event {
                records.push(record.to_owned());
            }
        };
        assembler.feed(batch, &mut keep);
        // Execs have no images here.
        while let Some(host_tid) = assembler.waits_for_image() {
            assembler.no_image(host_tid, &mut keep);
        }
    }
}

impl Recording {
    /// Fails unless the recording is whole and the guest has ended with this code.
    pub fn whole(self, exit_code: i32) -> Self {
        assert_eq!((&self.gap, self.exit_code), (&None, exit_code), "{:?} {:?}", self.counters, self.stats);
        assert_eq!(self.records.len() as u64, self.counters.seq);
        for (n, record) in self.records.iter().enumerate() {
            assert_eq!(record.head.seq, n as u64);
            assert_eq!(record.head.len as usize, record.len_bytes());
        }
        self
    }

    /// The calls of this number.
    pub fn calls(&self, nr: libc::c_long) -> Vec<&Record> {
        let call = migrate_common::record::Kind::Syscall as u8;
        self.records.iter().filter(|record| record.head.kind == call && i64::from(record.head.nr) == nr).collect()
    }
}
