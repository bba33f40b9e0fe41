//! Signals and threads.

use std::ffi::{c_int, c_void};
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::kit::order::by;
use crate::kit::process::{kill, pid};
use crate::kit::thread::{self, tid};
use crate::kit::{Chain, Order, Result, signal};

static HANDLED: Order = Order::new();
/// Notes in [`HANDLED`] that are there.
static NOTED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(number: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    HANDLED.note((tid() as u64) << 32 | number as u64);
    // A note has its place a moment before it is there.
    NOTED.fetch_add(1, Ordering::SeqCst);
}

/// A new thread has its maker's mask; changes are its own.
pub fn masks(chain: &mut Chain) -> Result {
    signal::install(libc::SIGUSR1, note, 0)?;
    let before = signal::block(&[libc::SIGUSR1])?;
    let state = Arc::new(Order::new());
    let numbers = thread::all(4, &state, |index, order| {
        let inherited = signal::block(&[libc::SIGUSR2])?;
        check!(signal::has(&inherited, libc::SIGUSR1), "the maker's mask is not inherited");
        sys!(tgkill(pid(), tid(), libc::SIGUSR1))?;
        order.note(by(index, 1));
        check!(signal::has(&signal::pending()?, libc::SIGUSR1), "the signal does not wait");
        thread::rest()?;
        order.note(by(index, 2));
        signal::unblock(&[libc::SIGUSR1])?;
        Ok(tid())
    })?;
    state.take(chain)?;
    let mut handled: Vec<u64> = HANDLED.take(chain)?.into_iter().map(|word| word >> 32).collect();
    let mut wanted: Vec<u64> = numbers.into_iter().map(|number| number as u64).collect();
    handled.sort_unstable();
    wanted.sort_unstable();
    check_eq!(handled, wanted, "threads that handled their signal");
    let now = signal::block(&[])?;
    check!(signal::has(&now, libc::SIGUSR1) && !signal::has(&now, libc::SIGUSR2), "this thread's mask");
    sys!(sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut())).map(drop)
}

/// A signal to one thread is handled by that one, also while it waits.
pub fn directed(chain: &mut Chain) -> Result {
    signal::install(libc::SIGUSR1, note, 0)?;
    let stop: &'static AtomicU32 = Box::leak(Box::default());
    let mut threads = Vec::new();
    for _ in 0..3 {
        let place: &'static AtomicU32 = Box::leak(Box::default());
        let thread = thread::start(move || {
            place.store(tid() as u32, Ordering::SeqCst);
            while stop.load(Ordering::SeqCst) == 0 {
                crate::kit::clock::sleep_ms(1)?;
            }
            Ok(tid())
        })?;
        thread::until(|| place.load(Ordering::SeqCst) != 0)?;
        threads.push((thread, place.load(Ordering::SeqCst) as i32));
    }
    let mut wanted = Vec::new();
    for round in 0..12 {
        let number = threads[round % 3].1;
        sys!(tgkill(pid(), number, libc::SIGUSR1))?;
        wanted.push((number as u64) << 32 | libc::SIGUSR1 as u64);
        thread::until(|| NOTED.load(Ordering::SeqCst) == round + 1)?;
    }
    check_eq!(HANDLED.take(chain)?, wanted, "who handled what");
    stop.store(1, Ordering::SeqCst);
    let first = threads[0].1;
    for (thread, number) in threads {
        check_eq!(thread::join(thread)?, number, "the thread's number");
        chain.num(number);
    }
    thread::until(|| plain!(syscall(libc::SYS_tgkill, pid(), first, 0)) == -1)?;
    fails!(EINVAL, tgkill(0, tid(), libc::SIGUSR1))
}

/// A thread takes by sigwait what the process gets, as all threads block it.
pub fn waiter(chain: &mut Chain) -> Result {
    let set = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM];
    signal::block(&set)?;
    let state = Arc::new(Order::new());
    let shared = Arc::clone(&state);
    let taker = thread::start(move || {
        let wanted = signal::set(&set);
        loop {
            let mut number = 0;
            posix!(sigwait(&raw const wanted, &raw mut number))?;
            shared.note(number as u64);
            if number == libc::SIGTERM {
                return Ok(());
            }
        }
    })?;
    for round in 0..10 {
        kill(pid(), set[round % 2])?;
        thread::until(|| state.len() == round + 1)?;
    }
    posix!(pthread_kill(taker.as_pthread_t(), libc::SIGTERM))?;
    thread::join(taker)?;
    let seen = state.take(chain)?;
    let wanted = (0..10).map(|round| set[round % 2] as u64).chain([libc::SIGTERM as u64]);
    check!(seen.iter().copied().eq(wanted), "signals {seen:?}");
    Ok(())
}

static FRAMES: Order = Order::new();

extern "C" fn note_frame(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let local = 0u8;
    FRAMES.note((&raw const local).addr() as u64);
}

/// Each thread has an alternate stack of its own for its handlers.
pub fn alternate(chain: &mut Chain) -> Result {
    signal::install(libc::SIGUSR1, note_frame, libc::SA_ONSTACK)?;
    for _ in 0..3 {
        let range = thread::join(thread::start(|| {
            let mut stack = vec![0u8; 64 * 1024];
            let new = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
            let mut old: libc::stack_t = crate::kit::zero();
            sys!(sigaltstack(&raw const new, &raw mut old))?;
            sys!(tgkill(pid(), tid(), libc::SIGUSR1))?;
            thread::until(|| FRAMES.len() == 1)?;
            sys!(sigaltstack(&raw const old, std::ptr::null_mut()))?;
            Ok(stack.as_ptr_range().start.addr() as u64..stack.as_ptr_range().end.addr() as u64)
        })?)?;
        let frames = FRAMES.take(chain)?;
        check!(frames.iter().all(|frame| range.contains(frame)), "the handler ran at {frames:x?}, not in {range:x?}");
    }
    Ok(())
}
