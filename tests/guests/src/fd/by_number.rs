//! Calls that the C library no longer makes itself, by number: old programs and other libraries do.

use std::ptr::null;

use crate::kit::clock::{MS_NS, monotonic, sleep_ms, timespec, timeval};
use crate::kit::process::{exit_now, fork, join_code, kill, pid, wait};
use crate::kit::{Chain, Result, WorkDir, fd, signal, zero};

/// The first forms of calls that have later ones: descriptors.
pub fn descriptors(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = raw!(SYS_open, c"file".as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o644)? as i32;
    let data = chain.data(500);
    fd::write_all(file, &data)?;
    let mut ends = [0i32; 2];
    raw!(SYS_pipe, ends.as_mut_ptr())?;
    let [read, write] = ends;
    check_eq!([read, write], [file + 1, file + 2], "numbers of a pipe");
    fd::write_all(write, &data)?;
    let mut set = [0u64; 16];
    set[0] = 1 << read;
    let mut left = timeval(3_000_000);
    check_eq!(raw!(SYS_select, read + 1, set.as_mut_ptr(), 0, 0, &raw mut left)?, 1, "descriptors");
    check_eq!(set[0], 1 << read, "the set");
    chain.bytes(&fd::read_exact(read, 500)?);
    left = timeval(2_000);
    check_eq!(raw!(SYS_select, read + 1, set.as_mut_ptr(), 0, 0, &raw mut left)?, 0, "descriptors when time is up");
    check_eq!(set[0], 0, "the set when time is up");

    let epoll = raw!(SYS_epoll_create, 5)? as i32;
    let counter = raw!(SYS_eventfd, 9)? as i32;
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 77 };
    sys!(epoll_ctl(epoll, libc::EPOLL_CTL_ADD, counter, &raw mut event))?;
    let mut found: libc::epoll_event = zero();
    check_eq!(raw!(SYS_epoll_wait, epoll, &raw mut found, 1, 100)?, 1, "events");
    check_eq!({ found.u64 }, 77, "data of the event");
    check_eq!(fd::read_u64(counter)?, 9, "the counter");
    signal::block(&[libc::SIGUSR1])?;
    let mask = 1u64 << (libc::SIGUSR1 - 1);
    let signals = raw!(SYS_signalfd, -1, &raw const mask, 8)? as i32;
    sys!(raise(libc::SIGUSR1))?;
    let mut info: libc::signalfd_siginfo = zero();
    check_eq!(sys!(read(signals, (&raw mut info).cast(), 128))?, 128, "bytes of a signal");
    check_eq!(info.ssi_pid, pid() as u32, "sender");
    fd::close_all(&[file, read, write, epoll, counter, signals])
}

/// The first forms of calls that have later ones: names, times, limits, processes.
pub fn others(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    raw!(SYS_mknod, c"file".as_ptr(), libc::S_IFREG | 0o600, 0)?;
    raw!(SYS_utimes, c"file".as_ptr(), [timeval(1_000_001), timeval(2_000_002)].as_ptr())?;
    raw!(SYS_futimesat, libc::AT_FDCWD, c"file".as_ptr(), [timeval(3_000_003), timeval(4_000_004)].as_ptr())?;
    let mut stat: libc::stat = zero();
    raw!(SYS_lstat, c"file".as_ptr(), &raw mut stat)?;
    check_eq!((stat.st_atime, stat.st_mtime, stat.st_mtime_nsec), (3, 4, 4_000), "times");
    raw!(SYS_linkat, libc::AT_FDCWD, c"file".as_ptr(), libc::AT_FDCWD, c"hard".as_ptr(), 0)?;
    raw!(SYS_symlink, c"file".as_ptr(), c"soft".as_ptr())?;
    let mut target = [0u8; 32];
    check_eq!(raw!(SYS_readlinkat, libc::AT_FDCWD, c"soft".as_ptr(), target.as_mut_ptr(), 32)?, 4, "bytes of the target");
    raw!(SYS_faccessat, libc::AT_FDCWD, c"hard".as_ptr(), libc::R_OK)?;
    let dir = fd::open(c".", libc::O_RDONLY)?;
    let mut entries = [0u64; 128];
    let got = raw!(SYS_getdents, dir, entries.as_mut_ptr(), 1024)?;
    let bytes: Vec<u8> = entries.iter().flat_map(|word| word.to_ne_bytes()).take(got as usize).collect();
    for name in ["file", "hard", "soft"] {
        check!(bytes.windows(5).any(|part| part == format!("{name}\0").as_bytes()), "{name} is not in the directory");
    }
    chain.bytes(&bytes);
    let mut limit = [0u64; 2];
    raw!(SYS_getrlimit, libc::RLIMIT_NOFILE, limit.as_mut_ptr())?;
    chain.num(limit[0]);
    limit[0] = 100.min(limit[0]);
    raw!(SYS_setrlimit, libc::RLIMIT_NOFILE, limit.as_ptr())?;
    let before = monotonic()?;
    raw!(SYS_nanosleep, &timespec(3 * MS_NS), 0)?;
    check!(monotonic()? - before >= 3 * MS_NS, "the sleep ended early");
    let child = raw!(SYS_fork)? as i32;
    if child == 0 {
        exit_now(12);
    }
    join_code(child, 12)?;
    chain.num(child);
    fd::close(dir)
}

/// Calls that few programs make. Those that a container's profile forbids, or a kernel has not, only leave their error in the chain.
pub fn rare(chain: &mut Chain) -> Result {
    let here = fd::open(c"/proc/self/exe", libc::O_RDONLY)?;
    let child = fork(|| {
        let args = [c"guests".as_ptr(), c"@exit".as_ptr(), c"29".as_ptr(), null()];
        raw!(SYS_execveat, here, c"".as_ptr(), args.as_ptr(), [null::<u8>()].as_ptr(), libc::AT_EMPTY_PATH).map(|_| 0)
    })?;
    join_code(child, 29)?;
    let value = chain.below(1 << 40);
    signal::watch(libc::SIGRTMIN(), 0)?;
    let mut info = [0u64; 16];
    info[0] = libc::SIGRTMIN() as u64;
    // The code, and the value behind the sender.
    info[1] = u64::from(libc::SI_QUEUE as u32);
    info[3] = value;
    raw!(SYS_rt_tgsigqueueinfo, pid(), pid(), libc::SIGRTMIN(), info.as_ptr())?;
    check_eq!(signal::take(chain).iter().map(|one| one.value).collect::<Vec<_>>(), [value], "values");

    let mut word = 5u32;
    let futex = |what: i32, number: u32, time: *const libc::timespec, word: *mut u32| {
        plain!(syscall(libc::SYS_futex, word, what | libc::FUTEX_PRIVATE_FLAG, number, time))
    };
    let short = timespec(2 * MS_NS);
    let before = monotonic()?;
    check_eq!(futex(libc::FUTEX_WAIT, 5, &raw const short, &raw mut word), -1, "a wait that nobody ends");
    check_eq!(crate::kit::call::errno(), libc::ETIMEDOUT, "its error");
    check!(monotonic()? - before >= 2 * MS_NS, "the wait ended early");
    check_eq!(futex(libc::FUTEX_WAIT, 6, null(), &raw mut word), -1, "a wait for another value");
    check_eq!(crate::kit::call::errno(), libc::EAGAIN, "its error");
    check_eq!(futex(libc::FUTEX_WAKE, 1, null(), &raw mut word), 0, "waiters");

    // Size, policy, flags, nice and so on, of the first version.
    let mut scheduling = [0u32; 12];
    raw!(SYS_sched_getattr, 0, scheduling.as_mut_ptr(), 48, 0)?;
    scheduling.into_iter().for_each(|word| chain.num(word));
    raw!(SYS_sched_setattr, 0, scheduling.as_ptr(), 0)?;
    let (mut head, mut len) = (0usize, 0usize);
    let other = [
        plain!(syscall(libc::SYS_membarrier, 0, 0, 0)),
        plain!(syscall(libc::SYS_personality, u32::MAX)),
        plain!(syscall(libc::SYS_ioprio_get, 1, 0)),
        plain!(syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len)),
        plain!(syscall(libc::SYS_mlock2, &raw const word, 4, 0)),
        plain!(syscall(libc::SYS_munlockall)),
        plain!(syscall(libc::SYS_kcmp, pid(), pid(), 2, 0, 0)),
        plain!(syscall(libc::SYS_setfsgid, u32::MAX)),
        plain!(syscall(libc::SYS_sync)),
        plain!(syscall(libc::SYS_syncfs, here)),
    ];
    other.into_iter().for_each(|result| chain.num(result));
    chain.num(len);
    fd::close(here)
}

/// A sleep, a wait and a read that stops interrupt go on where they were (the first two by `restart_syscall`), and end not early.
pub fn restarted(chain: &mut Chain) -> Result {
    for kind in 0..3 {
        let ((read, write), (ready_read, ready_write)) = (fd::pipe()?, fd::pipe()?);
        let child = fork(|| {
            let before = monotonic()?;
            fd::write_all(ready_write, b"!")?;
            match kind {
                0 => sys!(nanosleep(&timespec(25 * MS_NS), std::ptr::null_mut())).map(drop)?,
                1 => check_eq!(sys!(poll(std::ptr::null_mut(), 0, 25))?, 0, "events"),
                _ => check_eq!(fd::read(read, &mut [0; 1])?, 1, "bytes"),
            }
            check!(kind == 2 || monotonic()? - before >= 25 * MS_NS, "the wait ended early");
            Ok(0)
        })?;
        fd::read_exact(ready_read, 1)?;
        let mut status = 0x7f;
        for _ in 0..4 {
            kill(child, libc::SIGSTOP)?;
            check_eq!(sys!(waitpid(child, &raw mut status, libc::WUNTRACED))?, child, "a wait for a stop");
            // On a busy machine the wait may be over before the last stop.
            if !libc::WIFSTOPPED(status) {
                break;
            }
            kill(child, libc::SIGCONT)?;
            sleep_ms(2)?;
        }
        fd::write_all(write, b"!")?;
        if libc::WIFSTOPPED(status) {
            status = wait(child)?;
        }
        check_eq!(status, 0, "status of kind {kind}");
        chain.num(child);
        fd::close_all(&[read, write, ready_read, ready_write])?;
    }
    Ok(())
}
