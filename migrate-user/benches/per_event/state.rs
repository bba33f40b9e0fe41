//! The three states that are compared, and the thread that empties the ring in two of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use migrate::probe::{Options, Recorder};
use migrate::sys::bpf_ring::RingReader;

use crate::bare::Bare;
use crate::looping::{self, Call, Loop};

/// Runs of the loop in one state; the median counts.
pub const REPEATS: usize = 9;
const RING_BYTES: u32 = 64 << 20;
/// How often the ring is emptied.
const POLL: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
pub enum State {
    None,
    Bare { record_bytes: u64 },
    Recorder,
}

/// What the call cost in a state.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU time of a call in nanoseconds.
    pub ns: f64,
    /// Bytes of its record, under the recorder.
    pub record_bytes: u64,
    /// Records that the ring had no room for.
    pub lost: u64,
}

/// Brings the state about, measures, and undoes it.
pub fn run(state: State, guest: &mut Loop, call: Call, bare: &[u8]) -> Result<Cost> {
    match state {
        State::None => Ok(Cost { ns: repeat(guest, call)?, record_bytes: 0, lost: 0 }),
        State::Bare { record_bytes } => {
            let (attached, ring) = Bare::attach(bare, guest.cgroup_id, record_bytes, RING_BYTES)?;
            let reader = Reader::start(ring)?;
            let ns = repeat(guest, call);
            drop(attached);
            reader.stop()?;
            Ok(Cost { ns: ns?, record_bytes, lost: 0 })
        }
        State::Recorder => {
            let recorder = Recorder::load(Options { ring_bytes: RING_BYTES, ..Options::default() })?;
            let reader = Reader::start(recorder.take_ring().context("the recorder has no ring")?)?;
            let slot = recorder.add(guest.cgroup_id)?;
            guest.exec()?;
            let before = recorder.counters(slot)?;
            let ns = repeat(guest, call);
            let after = recorder.counters(slot)?;
            recorder.remove(slot)?;
            let lost = after.ring_full + after.too_large + recorder.missed_runs()?;
            drop(recorder);
            reader.stop()?;
            // The loop makes a few other calls around its runs: the nearest multiple of the ring's alignment is the call's. A call
            // that makes no record comes out as 0.
            let mean = (after.bytes - before.bytes) / (looping::CALLS * REPEATS as u64);
            Ok(Cost { ns: ns?, record_bytes: (mean + 4) / 8 * 8, lost })
        }
    }
}

fn repeat(guest: &mut Loop, call: Call) -> Result<f64> {
    let runs = (0..REPEATS).map(|_| guest.run(call)).collect::<Result<Vec<_>>>()?;
    Ok(crate::quantile(&crate::sorted(runs), 0.5))
}

/// The thread that empties a ring.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(mut ring: RingReader) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("reader".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                ring.take(u64::MAX, |entry| {
                    std::hint::black_box(entry);
                });
                std::thread::sleep(POLL);
            }
        })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the ring's reader panicked"))
    }
}
