//! CPU time and CPU numbers.

use std::hint::black_box;
use std::ptr::null_mut;

use crate::kit::clock::{MS_NS, now, us};
use crate::kit::process::{fork, wait};
use crate::kit::{Chain, Result, zero};

/// Computes until the process has used so many more nanoseconds of CPU.
fn burn(used_ns: i64) -> Result<u64> {
    let until = now(libc::CLOCK_PROCESS_CPUTIME_ID)? + used_ns;
    let mut sum = 1u64;
    while now(libc::CLOCK_PROCESS_CPUTIME_ID)? < until {
        for step in 0..20_000u64 {
            sum = black_box(sum.rotate_left(5) ^ step);
        }
    }
    Ok(sum)
}

fn usage(who: i32, chain: &mut Chain) -> Result<i64> {
    let mut usage: libc::rusage = zero();
    sys!(getrusage(who, &raw mut usage))?;
    for value in [
        usage.ru_maxrss,
        usage.ru_minflt,
        usage.ru_majflt,
        usage.ru_nvcsw,
        usage.ru_nivcsw,
        us(&usage.ru_utime),
        us(&usage.ru_stime),
    ] {
        chain.num(value);
    }
    Ok(us(&usage.ru_utime) + us(&usage.ru_stime))
}

/// CPU time grows with computing: by clock, `getrusage` and `times`, own and of children.
pub fn cpu_time(chain: &mut Chain) -> Result {
    let before = usage(libc::RUSAGE_SELF, chain)?;
    let mut ticks: libc::tms = zero();
    let start = plain!(times(&raw mut ticks));
    chain.num(start);
    chain.num(burn(15 * MS_NS)?);
    let after = usage(libc::RUSAGE_SELF, chain)?;
    check!(after >= before + 5_000, "15 ms of computing show as {} us", after - before);
    usage(libc::RUSAGE_THREAD, chain)?;
    let pid = fork(|| burn(15 * MS_NS).map(|_| 0))?;
    check_eq!(wait(pid)?, 0, "the child that computes");
    let children = usage(libc::RUSAGE_CHILDREN, chain)?;
    check!(children >= 5_000, "a child's 15 ms show as {children} us");
    let end = plain!(times(&raw mut ticks));
    check!(end >= start, "times went back from {start} to {end}");
    for value in [end, ticks.tms_utime, ticks.tms_stime, ticks.tms_cutime, ticks.tms_cstime] {
        chain.num(value);
    }
    fails!(EINVAL, getrusage(99, null_mut()))
}

/// The CPU that the process runs on is one that it may run on.
pub fn cpu_number(chain: &mut Chain) -> Result {
    let mut allowed: libc::cpu_set_t = zero();
    sys!(sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed))?;
    for _ in 0..5 {
        let (mut cpu, mut node) = (0u32, 0u32);
        raw!(SYS_getcpu, &raw mut cpu, &raw mut node, 0)?;
        // SAFETY: a set of 1024 CPUs and a number from the kernel.
        check!(unsafe { libc::CPU_ISSET(cpu as usize, &allowed) }, "on CPU {cpu} that is not allowed");
        chain.num(cpu);
        chain.num(node);
        chain.num(sys!(sched_getcpu())?);
        sys!(sched_yield())?;
    }
    for name in
        [libc::_SC_NPROCESSORS_ONLN, libc::_SC_NPROCESSORS_CONF, libc::_SC_PAGESIZE, libc::_SC_CLK_TCK, libc::_SC_OPEN_MAX]
    {
        let value = sys!(sysconf(name))?;
        check!(value > 0, "sysconf({name}) is {value}");
        chain.num(value);
    }
    chain.num(std::thread::available_parallelism()?.get());
    Ok(())
}
