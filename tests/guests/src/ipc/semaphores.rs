//! System V semaphores.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kit::clock::{MS_NS, monotonic, timespec};
use crate::kit::order::{by, check_each_ascends};
use crate::kit::process::{fork, join, join_signal, kill, pid};
use crate::kit::{Chain, Order, Result, fd, zero};
use crate::shm::Shared;

const NEW: i32 = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
const NOWAIT: i16 = libc::IPC_NOWAIT as i16;
const UNDO: i16 = libc::SEM_UNDO as i16;

/// A set that is removed when it is dropped.
struct Set(i32);

impl Set {
    fn new(count: i32) -> Result<Self> {
        Ok(Self(sys!(semget(libc::IPC_PRIVATE, count, NEW))?))
    }

    /// One call with several operations: (semaphore, change, flags).
    fn operate(&self, operations: &[(u16, i16, i16)]) -> Result {
        let mut all = list(operations);
        sys!(semop(self.0, all.as_mut_ptr(), all.len())).map(drop)
    }

    fn value(&self, number: i32) -> Result<i32> {
        sys!(semctl(self.0, number, libc::GETVAL))
    }

    fn set(&self, number: i32, value: i32) -> Result {
        sys!(semctl(self.0, number, libc::SETVAL, value)).map(drop)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        // One that is gone already is as good.
        plain!(semctl(self.0, 0, libc::IPC_RMID));
    }
}

fn list(operations: &[(u16, i16, i16)]) -> Vec<libc::sembuf> {
    operations.iter().map(|&(sem_num, sem_op, sem_flg)| libc::sembuf { sem_num, sem_op, sem_flg }).collect()
}

/// A semaphore as a mutex of processes that share memory.
pub fn semaphore(chain: &mut Chain) -> Result {
    struct State {
        count: AtomicU64,
        order: Order,
    }
    let set = Set::new(1)?;
    set.set(0, 1)?;
    let state = Shared::<State>::new()?;
    crate::shm::children(3, &state, chain, |index, state| {
        for round in 0..50 {
            set.operate(&[(0, -1, 0)])?;
            let before = state.count.load(Ordering::Relaxed);
            state.order.note(by(index, round));
            if fd::random(1)?[0] & 3 == 0 {
                crate::kit::thread::rest()?;
            }
            state.count.store(before + 1, Ordering::Relaxed);
            set.operate(&[(0, 1, 0)])?;
        }
        // The set is the parent's.
        crate::kit::process::exit_now(0)
    })?;
    check_eq!(state.count.load(Ordering::SeqCst), 150, "the count");
    check_eq!(set.value(0)?, 1, "the value");
    check_each_ascends(&state.order.take(chain)?, 3, 50)
}

/// A set's values, all at once and one by one, and operations on several semaphores that happen together or not at all.
pub fn sets(chain: &mut Chain) -> Result {
    let set = Set::new(5)?;
    let mut values: Vec<u16> = (0..5).map(|_| chain.below(100) as u16 + 1).collect();
    sys!(semctl(set.0, 0, libc::SETALL, values.as_mut_ptr()))?;
    for (number, value) in values.iter().enumerate() {
        check_eq!(set.value(number as i32)?, i32::from(*value), "value {number}");
    }
    set.operate(&[(0, -1, 0), (1, 5, 0), (4, 3, 0)])?;
    fails!(EAGAIN, semop(set.0, list(&[(2, 1, 0), (3, -1000, NOWAIT)]).as_mut_ptr(), 2))?;
    fails!(EFBIG, semop(set.0, list(&[(5, 1, 0)]).as_mut_ptr(), 1))?;
    fails!(ERANGE, semctl(set.0, 0, libc::SETVAL, 40_000))?;
    let mut found = vec![0u16; 5];
    sys!(semctl(set.0, 0, libc::GETALL, found.as_mut_ptr()))?;
    values[0] -= 1;
    values[1] += 5;
    values[4] += 3;
    check_eq!(found, values, "all values");
    found.iter().for_each(|&value| chain.num(value));
    check_eq!(sys!(semctl(set.0, 0, libc::GETPID))?, pid(), "who changed it last");
    let mut about: libc::semid_ds = zero();
    sys!(semctl(set.0, 0, libc::IPC_STAT, &raw mut about))?;
    check_eq!(about.sem_nsems, 5, "semaphores of the set");
    chain.num(set.0);
    sys!(semctl(set.0, 0, libc::IPC_RMID))?;
    fails!(EINVAL, semctl(set.0, 0, libc::GETVAL))?;
    let key = 0x6f00_0000 | pid();
    let named = Set(sys!(semget(key, 2, NEW))?);
    fails!(EEXIST, semget(key, 2, NEW))?;
    check_eq!(sys!(semget(key, 0, 0))?, named.0, "the set of this key");
    fails!(EINVAL, semget(key, 3, 0))
}

/// SEM_UNDO takes back at the end of a process what it did.
pub fn undo(chain: &mut Chain) -> Result {
    let set = Set::new(2)?;
    set.set(0, 10)?;
    for round in 0..4 {
        let (read, write) = fd::pipe()?;
        let child = fork(|| {
            set.operate(&[(0, -3, UNDO), (1, 2, UNDO)])?;
            set.operate(&[(0, 1, UNDO)])?;
            set.operate(&[(1, 1, 0)])?;
            fd::write_all(write, b"!")?;
            if round % 2 == 0 {
                loop {
                    plain!(pause());
                }
            }
            crate::kit::process::exit_now(0)
        })?;
        fd::read_exact(read, 1)?;
        if round % 2 == 0 {
            check_eq!((set.value(0)?, set.value(1)?), (8, 3 + round), "values while the child lives");
            kill(child, libc::SIGKILL)?;
            join_signal(child, libc::SIGKILL)?;
        } else {
            join(child)?;
        }
        check_eq!((set.value(0)?, set.value(1)?), (10, 1 + round), "values after its end");
        chain.num(child);
        fd::close_all(&[read, write])?;
    }
    Ok(())
}

/// Processes wait for a value, and for zero; removing the set wakes whoever waits.
pub fn waits(chain: &mut Chain) -> Result {
    let set = Set::new(2)?;
    set.set(1, 3)?;
    let (read, write) = fd::pipe()?;
    let mut children = Vec::new();
    for index in 0..3u8 {
        children.push(fork(|| {
            set.operate(&[(0, -2, 0)])?;
            let mut line = vec![index];
            line.extend(fd::random(7)?);
            fd::write_all(write, &line)?;
            set.operate(&[(1, -1, 0)])?;
            set.operate(&[(1, 0, 0)])?;
            fd::write_all(write, &line)?;
            crate::kit::process::exit_now(0)
        })?);
    }
    for _ in 0..6 {
        set.operate(&[(0, 1, 0)])?;
        crate::kit::clock::sleep_ms(1)?;
    }
    let lines = fd::read_exact(read, 48)?;
    let mut first: Vec<u8> = lines.chunks(8).take(3).map(|line| line[0]).collect();
    first.sort_unstable();
    check_eq!(first, [0, 1, 2], "lines before the last wait");
    chain.bytes(&lines);
    children.into_iter().try_for_each(join)?;
    let waiter = fork(|| {
        fails!(EIDRM, semop(set.0, list(&[(0, -1, 0)]).as_mut_ptr(), 1))?;
        crate::kit::process::exit_now(0)
    })?;
    while sys!(semctl(set.0, 0, libc::GETNCNT))? == 0 {
        crate::kit::clock::sleep_ms(1)?;
    }
    sys!(semctl(set.0, 0, libc::IPC_RMID))?;
    join(waiter)?;
    fd::close_all(&[read, write])
}

/// semtimedop waits only so long.
pub fn timeouts(chain: &mut Chain) -> Result {
    let set = Set::new(1)?;
    for ms in [0, 1, 6] {
        let before = monotonic()?;
        let limit = timespec(ms * MS_NS);
        let mut operation = list(&[(0, -1, 0)]);
        fails!(EAGAIN, syscall(libc::SYS_semtimedop, set.0, operation.as_mut_ptr(), 1, &raw const limit))?;
        let waited = monotonic()? - before;
        check!(waited >= ms * MS_NS, "it waited only {waited} ns");
        chain.num(waited);
    }
    let limit = timespec(50_000 * MS_NS);
    for _ in 0..10 {
        let child = fork(|| {
            set.operate(&[(0, 1, 0)])?;
            crate::kit::process::exit_now(0)
        })?;
        let mut operation = list(&[(0, -1, 0)]);
        raw!(SYS_semtimedop, set.0, operation.as_mut_ptr(), 1, &raw const limit)?;
        join(child)?;
        chain.num(child);
    }
    check_eq!(set.value(0)?, 0, "the value");
    Ok(())
}
