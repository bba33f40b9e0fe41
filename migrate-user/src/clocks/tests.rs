use super::*;
use migrate_common::clocks::{NANOS_BITS, SLOTS};
use std::time::Duration;

/// A process can have it once: this one gets it here, for all tests of this file, which is one.
#[test]
fn a_process_reads_its_kernels_clocks_and_a_replica_reads_the_log() {
    if let Some(why) = obstacle() {
        eprintln!("skipped: {why}");
        return;
    }
    let own = std::process::id().cast_signed();
    let call = |nr: i64, args: [u64; 6]| {
        // SAFETY: mmap of memory where nothing is, and mprotect of that.
        let ret = unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
        if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(ret) }
    };
    let write = |addr, bytes: &[u8]| ptrace::write_memory(own, addr, bytes);
    assert!(install(own, Side::Source, call, write).unwrap());
    assert!(install(own, Side::Source, call, write).is_err(), "something is there");
    let functions = Functions::new();
    let log = || {
        let mut log = Log::default();
        ptrace::read_memory(own, LOG, bytemuck::bytes_of_mut(&mut log)).unwrap();
        log
    };

    let mut before = 0;
    for n in 0..100_u64 {
        let now = Duration::from(nix::time::ClockId::CLOCK_MONOTONIC.now().unwrap());
        let read = functions.clock_gettime(libc::CLOCK_MONOTONIC).unwrap();
        assert!(read >= now && read - now < Duration::from_secs(60), "{read:?} {now:?}");
        let Log { count, answers, .. } = log();
        assert_eq!(count, n + 1);
        assert_eq!(answers[n as usize % SLOTS], packed(read));
        assert!(packed(read) >= before);
        before = packed(read);
    }
    let (day, time) = (functions.gettimeofday(), functions.time());
    assert!(day.as_secs().abs_diff(time) <= 1, "{day:?} {time}");
    assert!(nix::time::ClockId::CLOCK_REALTIME.now().map(Duration::from).unwrap().abs_diff(day) < Duration::from_secs(60));
    assert_eq!(log().count, 102);
    // None of the vDSO's: a call of its own, which nobody has to keep.
    assert!(functions.clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID).unwrap() < Duration::from_secs(3600));
    assert_eq!(functions.clock_gettime(99), Err(-libc::EINVAL));
    assert_eq!(log().count, 102);

    let answers: [u64; SLOTS] = std::array::from_fn(|n| (n as u64 + 1) << NANOS_BITS | 999_999_999);
    ptrace::write_memory(own, OWN, &0_u64.to_ne_bytes()).unwrap();
    ptrace::write_memory(own, LOG + 16, bytemuck::cast_slice(&answers)).unwrap();
    assert_eq!(functions.clock_gettime(libc::CLOCK_REALTIME).unwrap(), Duration::new(7, 999_999_999));
    assert_eq!(functions.gettimeofday(), Duration::new(8, 999_999_000));
    assert_eq!(functions.time(), 9);
    go_live(own).unwrap();
    assert!(functions.time().abs_diff(time) <= 60);
    assert_eq!(log().count, 106);
}

fn packed(time: Duration) -> u64 {
    time.as_secs() << NANOS_BITS | u64::from(time.subsec_nanos())
}

struct Functions {
    clock_gettime: extern "C" fn(i32, *mut [i64; 2]) -> i32,
    gettimeofday: extern "C" fn(*mut [i64; 2], *mut u8) -> i32,
    time: extern "C" fn(*mut i64) -> i64,
}

impl Functions {
    fn new() -> Self {
        let at = |of: fn(&code::Code) -> u64| std::ptr::with_exposed_provenance::<()>(IMAGE.address(of) as usize);
        // SAFETY: they are what these addresses hold, as C calls them.
        unsafe {
            Self {
                clock_gettime: std::mem::transmute::<*const (), extern "C" fn(i32, *mut [i64; 2]) -> i32>(at(|code| {
                    code.clock_gettime
                })),
                gettimeofday: std::mem::transmute::<*const (), extern "C" fn(*mut [i64; 2], *mut u8) -> i32>(at(|code| {
                    code.gettimeofday
                })),
                time: std::mem::transmute::<*const (), extern "C" fn(*mut i64) -> i64>(at(|code| code.time)),
            }
        }
    }

    fn clock_gettime(&self, clock: i32) -> Result<Duration, i32> {
        let mut time = [-1; 2];
        match (self.clock_gettime)(clock, &raw mut time) {
            0 => Ok(Duration::new(time[0] as u64, time[1] as u32)),
            error => Err(error),
        }
    }

    fn gettimeofday(&self) -> Duration {
        let mut time = [-1; 2];
        assert_eq!((self.gettimeofday)(&raw mut time, std::ptr::null_mut()), 0);
        Duration::new(time[0] as u64, time[1] as u32 * 1000)
    }

    fn time(&self) -> u64 {
        let mut kept = -1;
        let time = (self.time)(&raw mut kept);
        assert_eq!(kept, time);
        time as u64
    }
}
