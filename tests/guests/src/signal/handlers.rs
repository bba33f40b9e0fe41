//! Handlers and masks.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::kit::process::{fork, join, kill, pid};
use crate::kit::signal::{Seen, note};
use crate::kit::{Chain, Result, signal, zero};

/// A handler learns who sent the signal and how: `kill`, `tgkill`, `raise`, a child.
pub fn handler(chain: &mut Chain) -> Result {
    for number in [libc::SIGUSR1, libc::SIGTERM, libc::SIGHUP, libc::SIGWINCH, libc::SIGRTMAX()] {
        signal::watch(number, 0)?;
        let from = u64::from(pid() as u32) | (u64::from(plain!(getuid())) << 32);
        kill(pid(), number)?;
        raw!(SYS_tgkill, pid(), pid(), number)?;
        sys!(raise(number))?;
        raw!(SYS_tkill, pid(), number)?;
        let seen = signal::take(chain);
        let wanted = [libc::SI_USER, libc::SI_TKILL, libc::SI_TKILL, libc::SI_TKILL].map(|code| (number, code, from));
        let found: Vec<_> = seen.iter().map(|one| (one.signal, one.code, one.from)).collect();
        check_eq!(found, wanted, "what the handler saw");
    }
    let parent = pid();
    let child = fork(|| kill(parent, libc::SIGUSR1).map(|()| 0))?;
    join(child)?;
    let seen = signal::take(chain);
    check_eq!((seen.len(), seen[0].pid()), (1, child), "signals of a child");
    fails!(ESRCH, kill(i32::MAX, 0))?;
    fails!(EINVAL, kill(parent, 200))?;
    Ok(())
}

static RUNS: AtomicUsize = AtomicUsize::new(0);
static ORDER: AtomicU64 = AtomicU64::new(0);

fn order(digit: u64) {
    ORDER.store(ORDER.load(Ordering::SeqCst) * 10 + digit, Ordering::SeqCst);
}

extern "C" fn outer(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let run = RUNS.fetch_add(1, Ordering::SeqCst);
    order(1);
    note(number, info, context);
    // The other signal is not blocked in this handler: its handler runs inside.
    plain!(raise(libc::SIGUSR2));
    if run < 2 {
        // This one is: it waits until the handler returns.
        plain!(raise(libc::SIGUSR1));
    }
    order(2);
}

extern "C" fn inner(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    order(3);
    note(number, info, context);
    order(4);
}

/// A handler inside a handler; a signal's own handler waits for itself.
pub fn nested(chain: &mut Chain) -> Result {
    signal::install(libc::SIGUSR1, outer, 0)?;
    signal::install(libc::SIGUSR2, inner, 0)?;
    sys!(raise(libc::SIGUSR1))?;
    check_eq!(ORDER.load(Ordering::SeqCst), 134_213_421_342, "order of begins and ends");
    let numbers: Vec<i32> = signal::take(chain).iter().map(|one| one.signal).collect();
    check_eq!(numbers, [libc::SIGUSR1, libc::SIGUSR2].repeat(3), "signals");
    Ok(())
}

static STACK_POINTER: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_stack(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let here = 0u8;
    STACK_POINTER.store(&raw const here as usize, Ordering::SeqCst);
    note(number, info, context);
}

/// With SA_ONSTACK a handler runs on the stack that was given for it, without it on the ordinary one.
pub fn alternate_stack(chain: &mut Chain) -> Result {
    let mut old: libc::stack_t = zero();
    let mut memory = vec![0u8; 64 << 10];
    let range = memory.as_ptr() as usize..memory.as_ptr() as usize + memory.len();
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    sys!(sigaltstack(&raw const stack, &raw mut old))?;
    signal::install(libc::SIGUSR1, on_stack, libc::SA_ONSTACK)?;
    signal::install(libc::SIGUSR2, on_stack, 0)?;
    sys!(raise(libc::SIGUSR1))?;
    check!(range.contains(&STACK_POINTER.load(Ordering::SeqCst)), "the handler ran on another stack");
    sys!(raise(libc::SIGUSR2))?;
    check!(!range.contains(&STACK_POINTER.load(Ordering::SeqCst)), "the handler ran on the alternate stack");
    let mut now: libc::stack_t = zero();
    sys!(sigaltstack(std::ptr::null(), &raw mut now))?;
    check_eq!((now.ss_sp as usize, now.ss_flags), (range.start, 0), "the stack that is set");
    let small = libc::stack_t { ss_size: 100, ..stack };
    fails!(ENOMEM, sigaltstack(&raw const small, std::ptr::null_mut()))?;
    // Whatever the C library's start put there comes back before the memory goes.
    sys!(sigaltstack(&raw const old, std::ptr::null_mut()))?;
    chain.num(memory.iter().filter(|&&byte| byte != 0).count());
    signal::take(chain);
    Ok(())
}

/// Real-time signals queue: each one with its value, lower numbers first, in the order in which they were sent.
pub fn queue(chain: &mut Chain) -> Result {
    let numbers = [libc::SIGRTMIN() + 5, libc::SIGRTMIN() + 2];
    for number in numbers {
        signal::watch(number, 0)?;
    }
    signal::block(&numbers)?;
    let mut sent: Vec<(i32, u64)> = Vec::new();
    for _ in 0..30 {
        let (number, value) = (numbers[chain.below(2) as usize], chain.below(1 << 48));
        sys!(sigqueue(pid(), number, libc::sigval { sival_ptr: value as *mut _ }))?;
        sent.push((number, value));
    }
    signal::unblock(&numbers)?;
    let seen = signal::take(chain);
    check!(seen.iter().all(|one| one.code == libc::SI_QUEUE && one.pid() == pid()), "code or sender");
    // All were delivered at one point, each handler on top of the one before, so the last frame ran first.
    for number in numbers {
        let mut found: Vec<u64> = seen.iter().filter(|one| one.signal == number).map(|one: &Seen| one.value).collect();
        let wanted: Vec<u64> = sent.iter().filter(|one| one.0 == number).map(|one| one.1).collect();
        if found != wanted {
            found.reverse();
        }
        check_eq!(found, wanted, "values of signal {number}");
    }
    Ok(())
}

/// Blocked signals wait, ordinary ones once however often they were sent; SIGKILL and SIGSTOP cannot be blocked.
pub fn masks(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, 0)?;
    signal::watch(libc::SIGUSR2, 0)?;
    let before = signal::block(&[libc::SIGUSR1, libc::SIGKILL, libc::SIGSTOP])?;
    let now = signal::block(&[])?;
    check!(!signal::has(&now, libc::SIGKILL) && !signal::has(&now, libc::SIGSTOP), "SIGKILL or SIGSTOP is blocked");
    for _ in 0..5 {
        sys!(raise(libc::SIGUSR1))?;
        sys!(raise(libc::SIGUSR2))?;
    }
    check_eq!(signal::seen().iter().filter(|one| one.signal == libc::SIGUSR2).count(), 5, "signals that are not blocked");
    check_eq!(signal::count(), 5, "signals so far");
    let pending = signal::pending()?;
    check!(signal::has(&pending, libc::SIGUSR1) && !signal::has(&pending, libc::SIGUSR2), "what is pending");
    sys!(sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()))?;
    check_eq!(signal::count(), 6, "signals after the mask was taken away");
    check!(!signal::has(&signal::pending()?, libc::SIGUSR1), "it is still pending");
    signal::block(&[libc::SIGUSR1])?;
    sys!(raise(libc::SIGUSR1))?;
    signal::dispose(libc::SIGUSR1, libc::SIG_IGN)?;
    check!(!signal::has(&signal::pending()?, libc::SIGUSR1), "ignoring did not drop a pending signal");
    signal::unblock(&[libc::SIGUSR1])?;
    check_eq!(signal::take(chain).len(), 6, "signals");
    fails!(EINVAL, sigprocmask(99, &raw const before, std::ptr::null_mut()))
}
