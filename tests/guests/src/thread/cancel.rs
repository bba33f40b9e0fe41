//! Cancelling threads. The C library unwinds them, so their functions have an ABI that unwinding may pass.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kit::thread;
use crate::kit::{Chain, Result, fd};

type Body = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        body: Body,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_cancel(thread: libc::pthread_t) -> c_int;
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    fn pthread_testcancel();
    fn read(fd: c_int, buffer: *mut c_void, len: usize) -> isize;
    fn pause() -> c_int;
}

const PTHREAD_CANCEL_ENABLE: c_int = 0;
const PTHREAD_CANCEL_DISABLE: c_int = 1;

static READY: AtomicU32 = AtomicU32::new(0);
static PASSED: AtomicU32 = AtomicU32::new(0);

/// Waits in a call that cancelling ends.
extern "C-unwind" fn pauses(_: *mut c_void) -> *mut c_void {
    READY.store(1, Ordering::SeqCst);
    loop {
        // SAFETY: takes nothing.
        unsafe { pause() };
    }
}

/// Waits for a byte that never comes.
extern "C-unwind" fn reads(fd: *mut c_void) -> *mut c_void {
    let mut byte = 0u8;
    READY.store(1, Ordering::SeqCst);
    // SAFETY: a live local of one byte.
    unsafe { read(fd.addr() as c_int, (&raw mut byte).cast(), 1) };
    null_mut()
}

/// Runs without a call until it asks itself.
extern "C-unwind" fn asks(_: *mut c_void) -> *mut c_void {
    // SAFETY: numbers and a null pointer.
    unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, null_mut()) };
    READY.store(1, Ordering::SeqCst);
    while PASSED.load(Ordering::SeqCst) == 0 {
        // SAFETY: takes nothing; cancelling is off.
        unsafe { pthread_testcancel() };
        std::thread::yield_now();
    }
    PASSED.store(2, Ordering::SeqCst);
    // SAFETY: as above.
    unsafe { pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, null_mut()) };
    loop {
        // SAFETY: takes nothing.
        unsafe { pthread_testcancel() };
    }
}

/// Ends by itself.
extern "C-unwind" fn returns(value: *mut c_void) -> *mut c_void {
    READY.store(1, Ordering::SeqCst);
    value
}

/// Threads that are cancelled end where they wait, or where they ask; joining tells that from a return.
pub fn cancel(chain: &mut Chain) -> Result {
    let (pipe, write) = fd::pipe()?;
    for body in [pauses as Body, reads, asks, returns] {
        for round in 0..3 {
            READY.store(0, Ordering::SeqCst);
            PASSED.store(0, Ordering::SeqCst);
            let mut id = 0;
            let argument = std::ptr::without_provenance_mut(pipe as usize);
            // SAFETY: a live local, defaults, and a function that takes any number.
            let made = unsafe { pthread_create(&raw mut id, std::ptr::null(), body, argument) };
            check_eq!(made, 0, "what pthread_create gives");
            thread::until(|| READY.load(Ordering::SeqCst) == 1)?;
            let returns = std::ptr::fn_addr_eq(body, returns as Body);
            if !returns {
                // SAFETY: the thread has not been joined.
                check_eq!(unsafe { pthread_cancel(id) }, 0, "what pthread_cancel gives");
            }
            PASSED.store(1, Ordering::SeqCst);
            let mut result = null_mut();
            posix!(pthread_join(id, &raw mut result))?;
            let wanted = if returns { pipe as isize } else { -1 };
            check_eq!(result.addr() as isize, wanted, "what the thread gave");
            chain.num(id);
            chain.num(round);
        }
    }
    fd::close_all(&[pipe, write])
}
