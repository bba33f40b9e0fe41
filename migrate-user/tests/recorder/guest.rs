//! What runs in the recorded cgroup: this test program itself, called again with a variable that names a guest.
//!
//! The guest runs before the test harness's `main`, on one thread, and speaks to the kernel by plain system calls, so that its
//! records are few and known.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Names the guest to run as pid 1 of a new pid namespace, and the cgroup to run it in, separated by a colon.
pub const LAUNCH: &str = "RECORDER_TEST_LAUNCH";
/// Names the guest to run.
pub const GUEST: &str = "RECORDER_TEST_GUEST";
/// getppid with this argument, which the kernel does not look at, tells a place in the log.
pub const MARK: u64 = 0x6d61_726b;

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    if let Ok(what) = std::env::var(LAUNCH) {
        let (guest, cgroup) = what.split_once(':').expect("guest:cgroup");
        exit(launch(guest, cgroup));
    }
    if let Ok(guest) = std::env::var(GUEST) {
        exit(run(&guest));
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// A system call with up to six arguments; the kernel's result, errors negative.
pub fn call(nr: libc::c_long, args: &[u64]) -> i64 {
    let arg = |n: usize| args.get(n).copied().unwrap_or(0);
    let ret: i64;
    // SAFETY: the kernel's calling convention for x86-64; callers pass addresses of memory that they own for as long as the
    // call runs.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") nr => ret,
            in("rdi") arg(0), in("rsi") arg(1), in("rdx") arg(2), in("r10") arg(3), in("r8") arg(4), in("r9") arg(5),
            lateout("rcx") _, lateout("r11") _,
        );
    }
    ret
}

/// Address of a place in memory, for [`call`].
pub fn at<T: ?Sized>(place: &mut T) -> u64 {
    std::ptr::from_mut(place).cast::<u8>() as u64
}

/// How many programs `gated-starter` starts.
pub const STARTED: u32 = 60;

fn mark(n: u64) {
    call(libc::SYS_getppid, &[MARK, n]);
}

/// Makes the guest pid 1 of a new pid namespace, in the cgroup, and waits for it.
fn launch(guest: &str, cgroup: &str) -> i32 {
    let exe = c"/proc/self/exe";
    let name = CString::new(format!("{GUEST}={guest}")).expect("no zero byte");
    // SAFETY: plain system calls of a process with one thread; the pointers are of live, terminated strings and arrays.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWPID), 0, "unshare: {}", std::io::Error::last_os_error());
        let child = libc::fork();
        if child == 0 {
            std::fs::write(format!("{cgroup}/cgroup.procs"), "0").expect("joining the cgroup");
            if guest.starts_with("gated-") {
                wait_for_tracer();
            }
            libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            let argv = [exe.as_ptr(), std::ptr::null()];
            let envp = [name.as_ptr(), std::ptr::null()];
            libc::execve(exe.as_ptr(), argv.as_ptr(), envp.as_ptr());
            exit(126);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
    }
}

fn wait_for_tracer() {
    let traced = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
    };
    while !traced() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn run(guest: &str) -> i32 {
    if let Some(numbers) = guest.strip_prefix("kinds-") {
        let (tasks, each) = numbers.split_once('-').expect("tasks-calls");
        kinds(tasks.parse().expect("a number"), each.parse().expect("a number"));
        return 0;
    }
    match guest {
        "calls" => calls(),
        "big-pipe" => big_pipe(8 << 20),
        "big-zero" => big_zero(64 << 20),
        "scattered" => scattered(),
        "family" => return family(),
        "sleeper" => sleeper(),
        "odd" => odd(),
        "too-large" => big_zero((64 << 20) + 1),
        "unreadable" => unreadable(),
        "endless" => endless(3),
        "paced" => paced(),
        "gated-one" => storm(1, 50_000),
        "gated-many" => storm(8, 10_000),
        "gated-spinners" => take_turns(false),
        "gated-callers" => take_turns(true),
        "gated-alone" => alone(),
        "gated-shared" => shared(),
        "gated-opener" => opener(),
        "gated-starter" => starter(),
        "computing" => computing(),
        "ten-million" => storm(4, 2_500_000),
        "storm" => storm(8, 100_000),
        "measure" => measure(),
        _ => return 127,
    }
    0
}

/// One call of each class of file, calls that fail, and a choice of a multiplexed call.
fn calls() {
    let mut buffer = [0u8; 64];
    call(libc::SYS_close_range, &[3, u64::from(u32::MAX), 0]);
    mark(0);
    let own = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/etc/passwd".as_ptr() as u64, 0]);
    call(libc::SYS_read, &[own as u64, at(&mut buffer), 16]);
    let foreign = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/proc/version".as_ptr() as u64, 0]);
    call(libc::SYS_read, &[foreign as u64, at(&mut buffer), 13]);
    let zero = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/dev/zero".as_ptr() as u64, 0]);
    call(libc::SYS_read, &[zero as u64, at(&mut buffer), 9]);
    let mut pipe = [0u32; 2];
    call(libc::SYS_pipe2, &[at(&mut pipe), 0]);
    call(libc::SYS_write, &[pipe[1].into(), c"through the pipe".as_ptr() as u64, 16]);
    call(libc::SYS_read, &[pipe[0].into(), at(&mut buffer), 64]);
    let mut pair = [0u32; 2];
    call(libc::SYS_socketpair, &[libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, at(&mut pair)]);
    call(libc::SYS_write, &[pair[1].into(), c"unix".as_ptr() as u64, 4]);
    call(libc::SYS_read, &[pair[0].into(), at(&mut buffer), 64]);
    let event = call(libc::SYS_eventfd2, &[5, 0]);
    call(libc::SYS_read, &[event as u64, at(&mut buffer), 8]);
    let inet = call(libc::SYS_socket, &[libc::AF_INET as u64, libc::SOCK_DGRAM as u64, 0]);
    let mut value = 0u32;
    let mut len = 4u32;
    let name = [inet as u64, libc::SOL_SOCKET as u64, libc::SO_TYPE as u64, at(&mut value), at(&mut len)];
    call(libc::SYS_getsockopt, &name);
    call(libc::SYS_read, &[999, at(&mut buffer), 64]);
    let appended = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/dev/null".as_ptr() as u64, 0o2001]);
    call(libc::SYS_write, &[appended as u64, c"x".as_ptr() as u64, 1]);
    mark(1);
}

fn filled(n: usize) -> u8 {
    (n * 31 + n / 4096) as u8
}

/// A child feeds a pipe; the reader asks for as much as is there, with a pipe as large as the kernel allows.
fn big_pipe(bytes: usize) {
    let mut pipe = [0u32; 2];
    call(libc::SYS_pipe2, &[at(&mut pipe), 0]);
    call(libc::SYS_fcntl, &[pipe[0].into(), libc::F_SETPIPE_SZ as u64, 1 << 20]);
    let mut from = vec![0u8; bytes];
    from.iter_mut().enumerate().for_each(|(n, byte)| *byte = filled(n));
    let mut to = vec![0u8; bytes];
    let mut done = 0;
    while done < bytes {
        let step = (1 << 20).min(bytes - done);
        let wrote = call(libc::SYS_write, &[pipe[1].into(), at(&mut from[done]), step as u64]);
        mark(done as u64);
        let read = call(libc::SYS_read, &[pipe[0].into(), at(&mut to[done]), wrote as u64]);
        done += read as usize;
    }
    if from != to {
        exit(1);
    }
}

/// One read that is as large as the recorder takes.
fn big_zero(bytes: usize) {
    let zero = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/dev/zero".as_ptr() as u64, 0]);
    let mut to = vec![1u8; bytes];
    mark(bytes as u64);
    if call(libc::SYS_read, &[zero as u64, at(&mut to[0]), bytes as u64]) != bytes as i64 {
        exit(1);
    }
    mark(0);
}

/// A datagram whose sender's address is longer than the room for it: the kernel writes none of it and says how long it was, and
/// where it would have gone is no memory.
fn unreadable() {
    let socket = call(libc::SYS_socket, &[libc::AF_INET as u64, libc::SOCK_DGRAM as u64, 0]) as u64;
    // struct sockaddr_in: family, port, 127.0.0.1.
    let mut name = [2u8, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut len = 16u32;
    call(libc::SYS_bind, &[socket, at(&mut name), 16]);
    call(libc::SYS_getsockname, &[socket, at(&mut name), at(&mut len)]);
    let mut text = *b"to myself";
    call(libc::SYS_sendto, &[socket, at(&mut text), 9, 0, at(&mut name), 16]);
    len = 0;
    mark(0);
    if call(libc::SYS_recvfrom, &[socket, at(&mut text), 9, 0, 8, at(&mut len)]) != 9 || len != 16 {
        exit(1);
    }
}

/// readv, recvmsg with a name and control data, recvmmsg.
fn scattered() {
    let mut parts = [[0u8; 5], [0u8; 5], [0u8; 5]];
    let mut iov: Vec<[u64; 2]> = parts.iter_mut().map(|part| [at(part), 5]).collect();
    let mut pair = [0u32; 2];
    call(libc::SYS_socketpair, &[libc::AF_UNIX as u64, libc::SOCK_DGRAM as u64, 0, at(&mut pair)]);
    let on = &mut 1u32;
    call(libc::SYS_setsockopt, &[pair[0].into(), libc::SOL_SOCKET as u64, libc::SO_PASSCRED as u64, at(on), 4]);
    let send = |text: &std::ffi::CStr| {
        call(libc::SYS_write, &[pair[1].into(), text.as_ptr() as u64, text.count_bytes() as u64]);
    };
    send(c"readv reads");
    call(libc::SYS_readv, &[pair[0].into(), at(&mut iov[0]), 3]);
    let mut name = [0u8; 128];
    let mut control = [0u8; 64];
    // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags.
    let header = |name: u64, iov: u64, control: u64| [name, 128, iov, 3, control, 64, 0];
    let mut message = header(at(&mut name), at(&mut iov[0]), at(&mut control));
    send(c"recvmsg!");
    call(libc::SYS_recvmsg, &[pair[0].into(), at(&mut message), 0]);
    // Two struct mmsghdr: a msghdr and the length.
    let mut many = [[0u64; 8]; 2];
    let mut more = [[0u8; 5], [0u8; 5], [0u8; 5]];
    let mut iov2: Vec<[u64; 2]> = more.iter_mut().map(|part| [at(part), 5]).collect();
    many[0][..7].copy_from_slice(&header(0, at(&mut iov[0]), 0));
    many[1][..7].copy_from_slice(&header(0, at(&mut iov2[0]), 0));
    send(c"the first");
    send(c"second");
    call(libc::SYS_recvmmsg, &[pair[0].into(), at(&mut many[0]), 2, libc::MSG_DONTWAIT as u64, 0]);
}

/// A child that dies of a signal that it handles first, a thread-like child, and an exec.
fn family() -> i32 {
    extern "C" fn handler(_signal: i32) {}
    // SAFETY: a handler that does nothing; fork and exec in a process with one thread.
    unsafe {
        libc::signal(libc::SIGUSR1, handler as *const () as usize);
        let child = libc::fork();
        if child == 0 {
            call(libc::SYS_kill, &[libc::getpid() as u64, libc::SIGUSR1 as u64]);
            call(libc::SYS_kill, &[libc::getpid() as u64, libc::SIGTERM as u64]);
        }
        call(libc::SYS_wait4, &[child as u64, 0, 0, 0]);
        #[expect(deprecated, reason = "the child only executes another program, as vfork(2) wants; that is what is tested")]
        let child = libc::vfork();
        if child == 0 {
            enter_true();
        }
        call(libc::SYS_wait4, &[child as u64, 0, 0, 0]);
    }
    std::thread::spawn(|| mark(3)).join().expect("the thread only marks");
    42
}

/// Becomes another program.
fn enter_true() -> ! {
    let exe = c"/bin/true";
    // SAFETY: pointers of live strings and arrays; when it returns it has failed.
    unsafe { libc::execve(exe.as_ptr(), [exe.as_ptr(), std::ptr::null()].as_ptr(), [std::ptr::null()].as_ptr()) };
    exit(126);
}

/// Programs that are started one after the other.
fn starter() {
    for _ in 0..STARTED {
        // SAFETY: fork in a process with one thread.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                enter_true();
            }
            call(libc::SYS_wait4, &[child as u64, 0, 0, 0]);
        }
    }
}

/// A sleep that a stop interrupts, so that it goes on as `restart_syscall`; its parent stops and continues it.
fn sleeper() {
    // SAFETY: fork in a process with one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut left = [7u64, 7];
        let mut for_ = [0u64, 300_000_000];
        call(libc::SYS_nanosleep, &[at(&mut for_), at(&mut left)]);
        exit(0);
    }
    let mut pause = [0u64, 100_000_000];
    call(libc::SYS_nanosleep, &[at(&mut pause), 0]);
    call(libc::SYS_kill, &[child as u64, libc::SIGSTOP as u64]);
    call(libc::SYS_wait4, &[child as u64, 0, libc::WUNTRACED as u64, 0]);
    call(libc::SYS_kill, &[child as u64, libc::SIGCONT as u64]);
    call(libc::SYS_wait4, &[child as u64, 0, 0, 0]);
}

/// What no replica follows: a call through the 32-bit entry, and an exec that is not the leader's.
fn odd() {
    mark(0);
    // SAFETY: getpid of the 32-bit numbers takes nothing and writes nothing. Some kernels end the process here.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20u64 => _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
    }
    mark(1);
    let thread = std::thread::spawn(|| {
        let exe = c"/bin/true";
        // SAFETY: pointers of live strings and arrays; when it returns it has failed.
        unsafe { libc::execve(exe.as_ptr(), [exe.as_ptr(), std::ptr::null()].as_ptr(), [std::ptr::null()].as_ptr()) }
    });
    // The process has become another before the thread ends.
    let _ = thread.join();
    exit(1);
}

/// Tasks that make each of some calls `each` times: see `MADE` of the test.
fn kinds(tasks: u32, each: u32) {
    for _ in 0..tasks {
        // SAFETY: fork in a process with one thread.
        if unsafe { libc::fork() } != 0 {
            continue;
        }
        let mut buffer = [0u8; 64];
        let mut pair = [0u32; 2];
        let zero = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/dev/zero".as_ptr() as u64, 0]) as u64;
        call(libc::SYS_socketpair, &[libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, at(&mut pair)]);
        for _ in 0..each {
            call(libc::SYS_read, &[zero, at(&mut buffer), 64]);
            call(libc::SYS_write, &[pair[1].into(), at(&mut buffer), 4]);
            call(libc::SYS_read, &[pair[0].into(), at(&mut buffer), 64]);
            call(libc::SYS_recvfrom, &[pair[0].into(), at(&mut buffer), 64, libc::MSG_DONTWAIT as u64, 0, 0]);
            call(libc::SYS_clock_gettime, &[1, at(&mut buffer)]);
            call(libc::SYS_getrandom, &[at(&mut buffer), 10, 0]);
            call(libc::SYS_rt_sigprocmask, &[0, 0, at(&mut buffer), 8]);
            call(libc::SYS_poll, &[0, 0, 0]);
            let null = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/dev/null".as_ptr() as u64, 0]) as u64;
            call(libc::SYS_close, &[null]);
            mark(0);
            call(libc::SYS_sched_yield, &[]);
            call(libc::SYS_madvise, &[0, 0, 0]);
        }
        exit(0);
    }
    for _ in 0..tasks {
        call(libc::SYS_wait4, &[u64::MAX, 0, 0, 0]);
    }
}

/// Many tasks that make as many calls as they can.
fn storm(tasks: u32, calls: u32) {
    for _ in 0..tasks {
        // SAFETY: fork in a process with one thread.
        if unsafe { libc::fork() } == 0 {
            for n in 0..calls {
                mark(n.into());
            }
            exit(0);
        }
    }
    for _ in 0..tasks {
        call(libc::SYS_wait4, &[u64::MAX, 0, 0, 0]);
    }
}

/// Two threads that wait for each other, computing or by calls, and never block.
fn take_turns(calls: bool) {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let play = move |own: u32| {
        for round in 0..10 {
            while TURN.load(Ordering::Relaxed) != 2 * round + own {
                if calls {
                    mark(0);
                }
            }
            TURN.store(2 * round + own + 1, Ordering::Relaxed);
        }
    };
    let other = std::thread::spawn(move || play(1));
    play(0);
    other.join().expect("it ends");
}

/// A call now and then, and no other reason to leave the CPU.
fn computing() {
    for n in 0..20_000 {
        mark(n);
        (0..50_000_u64).for_each(|n| {
            std::hint::black_box(n);
        });
    }
}

/// Between the marks one thread computes, and makes calls; the other waits all the time.
fn alone() {
    let (mut from, to) = std::io::pipe().expect("a pipe");
    let (ready, is_ready) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        ready.send(()).expect("somebody hears");
        drop(std::io::Read::read(&mut from, &mut [0]));
    });
    is_ready.recv().expect("it is there");
    // Until it waits for the pipe.
    std::thread::sleep(std::time::Duration::from_millis(20));
    mark(1);
    (0..10_000).for_each(mark);
    (0..20_000_000_u64).for_each(|n| {
        std::hint::black_box(n);
    });
    mark(2);
    drop(to);
    other.join().expect("it ends");
}

/// Takes the lowest free descriptor and gives it back, again and again: alone, and then beside a thread that waits.
fn opener() {
    let open = |phase| {
        for _ in 0..500 {
            let fd = call(libc::SYS_dup, &[0]);
            call(libc::SYS_close, &[fd as u64]);
            std::thread::sleep(std::time::Duration::from_micros(500));
        }
        mark(phase);
    };
    open(1);
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || ended.recv().is_err());
    open(2);
    drop(end);
    other.join().expect("it ends");
}

/// Maps a file for reading, and memory that a child would share.
fn shared() {
    let mut name = *b"/proc/self/exe\0";
    let fd = call(libc::SYS_openat, &[u64::MAX - 99, at(&mut name), 0]) as u64;
    let map = |flags: i32, fd: u64| call(libc::SYS_mmap, &[0, 4096, 1, flags as u64, fd, 0]);
    assert!(map(libc::MAP_SHARED, fd) > 0);
    mark(1);
    assert!(map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, u64::MAX) > 0);
    assert!(map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, u64::MAX) > 0);
    mark(2);
}

/// Tasks that make calls until they are killed.
fn endless(tasks: u32) {
    for _ in 0..tasks {
        // SAFETY: fork in a process with one thread.
        if unsafe { libc::fork() } == 0 {
            loop {
                mark(0);
            }
        }
    }
    call(libc::SYS_wait4, &[u64::MAX, 0, 0, 0]);
}

/// Sleeps between its calls, as a server does that is not busy.
fn paced() {
    let pause = [0u64, 50_000];
    loop {
        mark(0);
        call(libc::SYS_nanosleep, &[pause.as_ptr() as u64, 0]);
    }
}

/// Prints what calls cost, in ns.
fn measure() {
    let rounds = 200_000;
    let cost = |work: &mut dyn FnMut()| {
        let best = (0..5).map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(|_| work());
            start.elapsed().as_nanos() / rounds
        });
        best.min().unwrap_or_default()
    };
    let mut buffer = vec![0u8; 65536];
    let zero = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, c"/dev/zero".as_ptr() as u64, 0]) as u64;
    let getppid = cost(&mut || mark(0));
    let clock = cost(&mut || {
        call(libc::SYS_clock_gettime, &[1, at(&mut buffer[0])]);
    });
    let mut read = |n: u64| {
        cost(&mut || {
            call(libc::SYS_read, &[zero, at(&mut buffer[0]), n]);
        })
    };
    let (small, page) = (read(64), read(4096));
    println!("ns a call: getppid {getppid}, clock_gettime {clock}, read 64 B {small}, read 4 KB {page}");
}
