//! What each thread has of its own.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kit::order::by;
use crate::kit::thread::{self, tid};
use crate::kit::{Chain, Order, Result, fd};

static DESTROYED: Order = Order::new();

extern "C" fn destroy(value: *mut c_void) {
    DESTROYED.note(value.addr() as u64);
}

thread_local! {
    static WORDS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Thread-local values: the compiler's, and those of keys, whose destructors run at each thread's end.
pub fn local(chain: &mut Chain) -> Result {
    let mut key = 0;
    posix!(pthread_key_create(&raw mut key, Some(destroy)))?;
    WORDS.with_borrow_mut(|words| words.push(7));
    let state = Arc::new(Order::new());
    let sums = thread::all(6, &state, move |index, order| {
        check!(plain!(pthread_getspecific(key)).is_null(), "a new thread's value is set");
        posix!(pthread_setspecific(key, std::ptr::without_provenance(100 + index)))?;
        for _ in 0..10 {
            let word = fd::random(1)?[0];
            WORDS.with_borrow_mut(|words| words.push(u64::from(word)));
            order.note(by(index, word.into()));
            thread::rest()?;
        }
        check_eq!(plain!(pthread_getspecific(key)).addr(), 100 + index, "the thread's value");
        Ok(WORDS.with_borrow(|words| words.iter().sum::<u64>()))
    })?;
    let words = state.take(chain)?;
    for (index, sum) in sums.into_iter().enumerate() {
        let own: u64 = words.iter().filter(|&&word| word >> 32 == index as u64).map(|&word| word & 0xff).sum();
        check_eq!(sum, own, "sum of thread {index}");
    }
    let mut ended = DESTROYED.take(chain)?;
    ended.sort_unstable();
    check!(ended.into_iter().eq(100..106), "destructors");
    check_eq!(WORDS.take(), [7], "this thread's words");
    posix!(pthread_key_delete(key))
}

/// Each thread has a name, which others see and may set.
pub fn names(chain: &mut Chain) -> Result {
    let state = Arc::new((Order::new(), AtomicU32::new(0)));
    let shared = Arc::clone(&state);
    let own = move |wanted: &str| -> Result {
        let mut name = [0u8; 16];
        sys!(prctl(libc::PR_GET_NAME, name.as_mut_ptr(), 0, 0, 0))?;
        let len = name.iter().position(|byte| *byte == 0).unwrap_or(16);
        check_eq!(&name[..len], wanted.as_bytes(), "the name");
        Ok(())
    };
    let mut threads = Vec::new();
    for index in 0..4u32 {
        let state = Arc::clone(&shared);
        threads.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || -> Result<i32> {
            own(&format!("worker-{index}"))?;
            state.0.note(by(index as usize, tid() as u64));
            let name = fd::c(&format!("renamed {index}"));
            sys!(prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0))?;
            state.1.fetch_add(1, Ordering::SeqCst);
            thread::until(|| state.1.load(Ordering::SeqCst) == 5)?;
            own(&format!("renamed {index}"))?;
            Ok(tid())
        })?);
    }
    thread::until(|| state.1.load(Ordering::SeqCst) == 4)?;
    let mut name = [0; 32];
    for (index, thread) in threads.iter().enumerate() {
        use std::os::unix::thread::JoinHandleExt;
        posix!(pthread_getname_np(thread.as_pthread_t(), name.as_mut_ptr().cast(), name.len()))?;
        check!(name.starts_with(format!("renamed {index}\0").as_bytes()), "the name of thread {index}");
    }
    state.1.fetch_add(1, Ordering::SeqCst);
    for thread in threads {
        chain.num(thread::join(thread)?);
    }
    state.0.take(chain)?;
    Ok(())
}

/// The nice value is a thread's own on Linux; a new thread begins with its maker's.
pub fn priorities(chain: &mut Chain) -> Result {
    let state = Arc::new(Order::new());
    let values = thread::all(4, &state, |index, order| {
        let mine = index as i32 + 1;
        sys!(setpriority(libc::PRIO_PROCESS, 0, mine))?;
        order.note(by(index, tid() as u64));
        let inherited = thread::join(thread::start(|| Ok(plain!(getpriority(libc::PRIO_PROCESS, 0))))?)?;
        check_eq!(inherited, mine, "a new thread's nice value");
        Ok(plain!(getpriority(libc::PRIO_PROCESS, tid() as u32)))
    })?;
    check_eq!(values, [1, 2, 3, 4], "nice values");
    state.take(chain)?;
    chain.num(plain!(getpriority(libc::PRIO_PROCESS, 0)));
    Ok(())
}
