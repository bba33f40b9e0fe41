//! Attributes of processes.

use crate::kit::process::{fork, join, join_signal, pid};
use crate::kit::{Chain, Result, fd, zero};

/// Names, and the switches of `prctl` that anybody may use; what a child inherits.
pub fn prctl(chain: &mut Chain) -> Result {
    let name = || -> Result<String> {
        let mut bytes = [0u8; 16];
        sys!(prctl(libc::PR_GET_NAME, bytes.as_mut_ptr(), 0, 0, 0))?;
        Ok(bytes.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect())
    };
    chain.text(&name()?);
    sys!(prctl(libc::PR_SET_NAME, c"a name that is too long".as_ptr(), 0, 0, 0))?;
    check_eq!(name()?, "a name that is ", "a cut name");
    check_eq!(std::fs::read_to_string("/proc/self/comm")?, "a name that is \n", "the name in /proc");
    join(fork(|| {
        check_eq!(name()?, "a name that is ", "a child's name");
        Ok(0)
    })?)?;
    for (set, get) in [(libc::PR_SET_DUMPABLE, libc::PR_GET_DUMPABLE), (libc::PR_SET_KEEPCAPS, libc::PR_GET_KEEPCAPS)] {
        let old = sys!(prctl(get, 0, 0, 0, 0))?;
        chain.num(old);
        sys!(prctl(set, 0, 0, 0, 0))?;
        check_eq!(sys!(prctl(get, 0, 0, 0, 0))?, 0, "switch {set} off");
        sys!(prctl(set, 1, 0, 0, 0))?;
        check_eq!(sys!(prctl(get, 0, 0, 0, 0))?, 1, "switch {set} on");
        sys!(prctl(set, old, 0, 0, 0))?;
    }
    let slack = sys!(prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0))?;
    sys!(prctl(libc::PR_SET_TIMERSLACK, 12_345, 0, 0, 0))?;
    check_eq!(sys!(prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0))?, 12_345, "timer slack");
    chain.num(slack);
    chain.num(sys!(prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0)).unwrap_or(-1));
    fails!(EINVAL, prctl(libc::PR_SET_PDEATHSIG, 1000, 0, 0, 0))?;
    join(fork(|| {
        sys!(prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check_eq!(sys!(prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))?, 1, "no new privileges");
        fails!(EINVAL, prctl(libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0))?;
        Ok(0)
    })?)
}

/// Limits are read, lowered, inherited and enforced.
pub fn limits(chain: &mut Chain) -> Result {
    let get = |resource, who| -> Result<(u64, u64)> {
        let mut limit: libc::rlimit = zero();
        sys!(prlimit(who, resource, std::ptr::null(), &raw mut limit))?;
        Ok((limit.rlim_cur, limit.rlim_max))
    };
    let kinds = [
        libc::RLIMIT_CPU,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_DATA,
        libc::RLIMIT_STACK,
        libc::RLIMIT_CORE,
        libc::RLIMIT_NPROC,
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_AS,
        libc::RLIMIT_RTPRIO,
    ];
    for kind in kinds {
        let (soft, hard) = get(kind, 0)?;
        check!(soft <= hard, "limit {kind} is {soft} of {hard}");
        check_eq!(get(kind, pid())?, (soft, hard), "limit {kind} by number");
        chain.num(soft);
        chain.num(hard);
    }
    join(fork(|| {
        let new = libc::rlimit { rlim_cur: 3000, rlim_max: 4000 };
        let mut old: libc::rlimit = zero();
        sys!(prlimit(0, libc::RLIMIT_FSIZE, &raw const new, &raw mut old))?;
        let file = sys!(memfd_create(c"limited".as_ptr(), 0))?;
        crate::kit::signal::watch(libc::SIGXFSZ, 0)?;
        check_eq!(fd::write(file, &[1; 5000])?, 3000, "bytes up to the limit");
        fails!(EFBIG, write(file, [1u8; 10].as_ptr().cast(), 10))?;
        check_eq!(crate::kit::signal::seen().len(), 1, "signals");
        check_eq!(get(libc::RLIMIT_FSIZE, 0)?, (3000, 4000), "limits");
        let back = libc::rlimit { rlim_cur: 5000, rlim_max: 4000 };
        fails!(EINVAL, prlimit(0, libc::RLIMIT_FSIZE, &raw const back, std::ptr::null_mut()))?;
        Ok(0)
    })?)?;
    let spinner = fork(|| {
        crate::kit::process::no_core()?;
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 5 };
        // A CPU limit of 0 counts as one second, so the signal is sent by hand; the limit itself is only read back.
        sys!(setrlimit(libc::RLIMIT_CPU, &raw const limit))?;
        check_eq!(get(libc::RLIMIT_CPU, 0)?, (0, 5), "CPU limits");
        sys!(raise(libc::SIGXCPU))?;
        Ok(0)
    })?;
    join_signal(spinner, libc::SIGXCPU)
}

/// A process can be nicer, not less nice again without a privilege.
pub fn nice(chain: &mut Chain) -> Result {
    let get = |who: i32| 20 - plain!(syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, who)) as i32;
    let old = get(0);
    chain.num(old);
    join(fork(|| {
        check_eq!(get(0), old, "a child's value");
        sys!(setpriority(libc::PRIO_PROCESS, 0, (old + 3).min(19)))?;
        check_eq!(get(0), (old + 3).min(19), "the value that was set");
        plain!(nice(40));
        check_eq!(get(0), 19, "the largest value");
        Ok(0)
    })?)?;
    check_eq!(get(pid()), old, "this process's value");
    fails!(ESRCH, setpriority(libc::PRIO_PROCESS, 1 << 22, 5))?;
    fails!(EINVAL, setpriority(99, 0, 5))
}

/// A process is bound to one CPU, runs there, and its children with it.
pub fn affinity(chain: &mut Chain) -> Result {
    let size = size_of::<libc::cpu_set_t>();
    let mut all: libc::cpu_set_t = zero();
    sys!(sched_getaffinity(0, size, &raw mut all))?;
    // SAFETY: the set is a live reference and the numbers below its size.
    let has = |set: &libc::cpu_set_t, cpu: usize| unsafe { libc::CPU_ISSET(cpu, set) };
    let cpus: Vec<usize> = (0..1024).filter(|&cpu| has(&all, cpu)).collect();
    check!(!cpus.is_empty(), "no CPU is allowed");
    for &cpu in cpus.iter().take(4) {
        let mut one: libc::cpu_set_t = zero();
        // SAFETY: as above.
        unsafe { libc::CPU_SET(cpu, &mut one) };
        sys!(sched_setaffinity(0, size, &raw const one))?;
        check_eq!(sys!(sched_getcpu())? as usize, cpu, "CPU");
        join(fork(|| {
            let mut inherited: libc::cpu_set_t = zero();
            sys!(sched_getaffinity(0, size, &raw mut inherited))?;
            check!((0..1024).all(|other| has(&inherited, other) == (other == cpu)), "a child's CPUs");
            Ok(0)
        })?)?;
        chain.num(cpu);
    }
    sys!(sched_setaffinity(0, size, &raw const all))?;
    let none: libc::cpu_set_t = zero();
    fails!(EINVAL, sched_setaffinity(0, size, &raw const none))
}

/// Scheduling policies that anybody may choose.
pub fn scheduler(chain: &mut Chain) -> Result {
    chain.num(sys!(sched_getscheduler(0))?);
    let zero_priority = libc::sched_param { sched_priority: 0 };
    join(fork(|| {
        sys!(sched_setscheduler(0, libc::SCHED_BATCH, &raw const zero_priority))?;
        check_eq!(sys!(sched_getscheduler(0))?, libc::SCHED_BATCH, "policy");
        let mut found = libc::sched_param { sched_priority: 7 };
        sys!(sched_getparam(0, &raw mut found))?;
        check_eq!(found.sched_priority, 0, "priority");
        fails!(EINVAL, sched_setscheduler(0, libc::SCHED_BATCH, &libc::sched_param { sched_priority: 5 }))?;
        Ok(0)
    })?)?;
    for policy in [libc::SCHED_OTHER, libc::SCHED_FIFO, libc::SCHED_RR] {
        chain.num(sys!(sched_get_priority_max(policy))?);
        chain.num(sys!(sched_get_priority_min(policy))?);
    }
    let mut slice: libc::timespec = zero();
    sys!(sched_rr_get_interval(0, &raw mut slice))?;
    chain.num(slice.tv_nsec);
    Ok(())
}
