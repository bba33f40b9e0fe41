//! System V shared memory.

use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kit::order::{by, check_each_ascends};
use crate::kit::process::{fork, join, pid};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, fd, zero};

const NEW: i32 = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;

/// What processes share.
struct State {
    count: AtomicU64,
    order: Order,
}

/// Attaches a segment.
fn attach(id: i32, flags: i32) -> Result<*mut State> {
    Ok(sys!(shmat(id, null(), flags))?.cast())
}

/// Detaches it.
fn detach(at: *const State) -> Result {
    sys!(shmdt(at.cast())).map(drop)
}

/// A segment that is only an id: it lasts as long as somebody has it attached, once it is marked.
pub fn segment(chain: &mut Chain) -> Result {
    for round in 0..3 {
        let id = sys!(shmget(libc::IPC_PRIVATE, 10_000, NEW))?;
        let at = attach(id, 0)?.cast::<u8>();
        let data = chain.data(5000);
        // SAFETY: the segment has 10 000 bytes, and nobody else writes now.
        unsafe { at.copy_from(data.as_ptr(), data.len()) };
        let child = fork(|| {
            // The child inherits what is attached, and may attach it once more elsewhere.
            let again = attach(id, 0)?.cast::<u8>();
            check!(again != at, "two places are one");
            // SAFETY: as above; the parent waits.
            unsafe {
                check_eq!(std::slice::from_raw_parts(again, 5000), &data[..], "the segment's bytes");
                again.add(6000).copy_from(fd::random(100)?.as_ptr(), 100);
            }
            detach(again.cast())?;
            Ok(round)
        })?;
        crate::kit::process::join_code(child, round)?;
        sys!(shmctl(id, libc::IPC_RMID, null_mut()))?;
        // SAFETY: still attached here, although it is marked.
        chain.bytes(unsafe { std::slice::from_raw_parts(at, 10_000) });
        detach(at.cast())?;
        fails!(EINVAL, shmat(id, null(), 0))?;
        chain.num(id);
    }
    Ok(())
}

/// Processes that find the segment by its key count in it.
pub fn counter(chain: &mut Chain) -> Result {
    let key = 0x6d00_0000 | pid();
    let id = sys!(shmget(key, size_of::<State>(), NEW))?;
    let at = attach(id, 0)?;
    // SAFETY: attached until the end of this function, zeros at first, only atomics inside.
    let state = unsafe { &*at };
    let mut children = Vec::new();
    for index in 0..3 {
        children.push(fork(|| {
            let own = sys!(shmget(key, 0, 0))?;
            check_eq!(own, id, "the segment of this key");
            let place = attach(own, 0)?;
            // SAFETY: as above.
            let state = unsafe { &*place };
            for round in 0..50 {
                state.order.note(by(index, round));
                state.count.fetch_add(1, Ordering::SeqCst);
                thread::rest()?;
            }
            detach(place)?;
            Ok(0)
        })?);
    }
    let results: Vec<Result> = children.into_iter().map(join).collect();
    sys!(shmctl(id, libc::IPC_RMID, null_mut()))?;
    results.into_iter().collect::<Result<Vec<()>>>()?;
    check_eq!(state.count.load(Ordering::SeqCst), 150, "the count");
    check_each_ascends(&state.order.take(chain)?, 3, 50)?;
    detach(at)
}

/// What shmctl tells and changes, and what is refused.
pub fn control(chain: &mut Chain) -> Result {
    let key = 0x6e00_0000 | pid();
    let id = sys!(shmget(key, 5000, NEW))?;
    fails!(EEXIST, shmget(key, 5000, NEW))?;
    fails!(EINVAL, shmget(key, 6000, 0))?;
    let mut about: libc::shmid_ds = zero();
    sys!(shmctl(id, libc::IPC_STAT, &raw mut about))?;
    check_eq!((about.shm_segsz, about.shm_nattch, about.shm_cpid), (5000, 0, pid()), "a new segment");
    let read_only = attach(id, libc::SHM_RDONLY)?;
    let writable = attach(id, 0)?;
    sys!(shmctl(id, libc::IPC_STAT, &raw mut about))?;
    check_eq!((about.shm_nattch, about.shm_lpid), (2, pid()), "attached");
    // SAFETY: both are attached, with 5000 bytes.
    unsafe {
        (*writable).count.store(42, Ordering::SeqCst);
        check_eq!((*read_only).count.load(Ordering::SeqCst), 42, "what the other place shows");
    }
    about.shm_perm.mode = 0o640;
    sys!(shmctl(id, libc::IPC_SET, &raw mut about))?;
    sys!(shmctl(id, libc::IPC_STAT, &raw mut about))?;
    check_eq!(about.shm_perm.mode & 0o777, 0o640, "the mode");
    let fixed = sys!(shmat(id, writable.wrapping_byte_sub(1 << 30).cast(), 0))?;
    check_eq!(fixed.addr(), writable.addr() - (1 << 30), "the place that was asked for");
    sys!(shmdt(fixed))?;
    fails!(EINVAL, shmdt(fixed))?;
    sys!(shmctl(id, libc::IPC_RMID, null_mut()))?;
    sys!(shmctl(id, libc::IPC_STAT, &raw mut about))?;
    check!(about.shm_perm.mode & 0o1000 != 0, "it is not marked for its end");
    detach(read_only)?;
    detach(writable)?;
    fails!(EINVAL, shmctl(id, libc::IPC_STAT, &raw mut about))?;
    chain.num(id);
    chain.num(writable.addr());
    Ok(())
}
