//! The rows. Sources: the kernel's syscall_64.tbl and the definitions of the calls, Linux 6.18; section 2 of the manual.

use super::Group::{File, Other, Poll, Process, Random, Read, Receive, Signal, Time};
use super::Policy::{Inject, Output, OwnElseInject, Refuse, Reissue, ReissueInject, Special};
use super::Special::{
    Accept, Connect, Exec, Exit, Fork, Lock, MaskedWait, Mmap, MsgQueue, Open, PosixQueue, RecvMsg, Restart, Semop, SendMsg,
    Sendfile, Setsockopt, Shutdown, Sigreturn, Timer, Wait,
};
use super::{Choice, Fd, Group, Len, Out, Policy, Row, Select, When};

/// Numbers of x86-64 in Linux 6.18: 0 to 336 and 424 to 469. x32 has none here: the runtime's seccomp profile refuses it.
const COUNT: usize = 337 + 46;

const fn row(nr: u16, name: &'static str, group: Group, fd: Fd, policy: Policy, outs: &'static [Out]) -> Row {
    Row { nr, name, group, fd, policy, outs, select: None }
}

const fn many(nr: u16, name: &'static str, group: Group, fd: Fd, policy: Policy, arg: u8, choices: &'static [Choice]) -> Row {
    Row { nr, name, group, fd, policy, outs: &[], select: Some(Select { arg, choices }) }
}

const fn choice(value: u32, name: &'static str, policy: Policy, outs: &'static [Out]) -> Choice {
    Choice { value, name, policy, outs }
}

/// A structure of this many bytes.
const fn bytes(arg: u8, n: u32) -> Out {
    Out { arg, len: Len::Const(n), when: When::Ok }
}

/// A structure that is only there when the result is above 0.
const fn some(arg: u8, n: u32) -> Out {
    Out { arg, len: Len::Const(n), when: When::Positive }
}

/// As many bytes as the result says.
const fn got(arg: u8) -> Out {
    Out { arg, len: Len::Ret(1), when: When::Positive }
}

/// An array whose length an argument gives.
const fn times(arg: u8, count: u8, each: u32) -> Out {
    Out { arg, len: Len::Arg(count, each), when: When::Ok }
}

/// As many bytes as the integer at an argument says, after the call.
const fn deref(arg: u8, len: u8) -> Out {
    Out { arg, len: Len::Deref(len), when: When::Ok }
}

/// A set of descriptors.
const fn bits(arg: u8, count: u8) -> Out {
    Out { arg, len: Len::Bits(count), when: When::Ok }
}

/// The result's bytes, scattered.
const fn iov(arg: u8, count: u8) -> Out {
    Out { arg, len: Len::Iov(count), when: When::Positive }
}

/// The entries of a poll: the kernel clears the events of each, too, when a signal ends the wait (`do_sys_poll`).
const fn polled(arg: u8, count: u8) -> Out {
    Out { arg, len: Len::Arg(count, 8), when: When::Waited }
}

/// A structure that is written, or cleared, whatever the result is.
const fn always(arg: u8, n: u32) -> Out {
    Out { arg, len: Len::Const(n), when: When::Always }
}

/// The time that a wait had left: written when it was interrupted, too.
const fn left(arg: u8) -> Out {
    always(arg, 16)
}

/// Every system call of the kernel, ascending.
#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    row(0, "read", Read, Fd::Arg(0), OwnElseInject, &[got(1)]),
    row(1, "write", Other, Fd::Arg(0), Output, &[]),
    row(2, "open", File, Fd::Ret, Special(Open), &[]),
    row(3, "close", File, Fd::None, Reissue, &[]),
    row(4, "stat", File, Fd::None, Inject, &[bytes(1, 144)]),
    row(5, "fstat", File, Fd::Arg(0), Inject, &[bytes(1, 144)]),
    row(6, "lstat", File, Fd::None, Inject, &[bytes(1, 144)]),
    row(7, "poll", Poll, Fd::None, Inject, &[polled(0, 1)]),
    row(8, "lseek", File, Fd::Arg(0), OwnElseInject, &[]),
    row(9, "mmap", Other, Fd::Arg(4), Special(Mmap), &[]),
    row(10, "mprotect", Other, Fd::None, Reissue, &[]),
    row(11, "munmap", Other, Fd::None, Reissue, &[]),
    row(12, "brk", Other, Fd::None, Reissue, &[]),
    row(13, "rt_sigaction", Signal, Fd::None, Reissue, &[]),
    row(14, "rt_sigprocmask", Signal, Fd::None, Reissue, &[]),
    row(15, "rt_sigreturn", Signal, Fd::None, Special(Sigreturn), &[]),
    many(16, "ioctl", File, Fd::Arg(0), Refuse("an ioctl request that has no row"), 1, IOCTL),
    row(17, "pread64", Read, Fd::Arg(0), OwnElseInject, &[got(1)]),
    row(18, "pwrite64", Other, Fd::Arg(0), Output, &[]),
    row(19, "readv", Read, Fd::Arg(0), OwnElseInject, &[iov(1, 2)]),
    row(20, "writev", Other, Fd::Arg(0), Output, &[]),
    row(21, "access", File, Fd::None, Inject, &[]),
    row(22, "pipe", File, Fd::None, Reissue, &[bytes(0, 8)]),
    row(23, "select", Poll, Fd::None, Inject, &[bits(1, 0), bits(2, 0), bits(3, 0), left(4)]),
    row(24, "sched_yield", Process, Fd::None, Inject, &[]),
    row(25, "mremap", Other, Fd::None, Reissue, &[]),
    row(26, "msync", Other, Fd::None, Inject, &[]),
    row(27, "mincore", Other, Fd::None, Inject, &[Out { arg: 2, len: Len::Pages(1), when: When::Ok }]),
    row(28, "madvise", Other, Fd::None, Reissue, &[]),
    row(29, "shmget", Other, Fd::None, Reissue, &[]),
    row(30, "shmat", Other, Fd::None, Reissue, &[]),
    many(31, "shmctl", Other, Fd::None, Refuse("a command of shmctl that has no row"), 1, SHMCTL),
    row(32, "dup", File, Fd::Ret, Reissue, &[]),
    row(33, "dup2", File, Fd::Ret, Reissue, &[]),
    row(34, "pause", Signal, Fd::None, Inject, &[]),
    row(35, "nanosleep", Time, Fd::None, Inject, &[left(1)]),
    row(36, "getitimer", Time, Fd::None, Inject, &[bytes(1, 32)]),
    row(37, "alarm", Time, Fd::None, Special(Timer), &[]),
    row(38, "setitimer", Time, Fd::None, Special(Timer), &[bytes(2, 32)]),
    row(39, "getpid", Process, Fd::None, Inject, &[]),
    row(40, "sendfile", Other, Fd::Arg(0), Special(Sendfile), &[bytes(2, 8)]),
    row(41, "socket", Other, Fd::Ret, Reissue, &[]),
    row(42, "connect", Other, Fd::Arg(0), Special(Connect), &[]),
    row(43, "accept", Receive, Fd::Ret, Special(Accept), &[deref(1, 2), bytes(2, 4)]),
    row(44, "sendto", Other, Fd::Arg(0), Inject, &[]),
    row(45, "recvfrom", Receive, Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::RetCap(2), when: When::Positive }, deref(4, 5), bytes(5, 4)]),
    row(46, "sendmsg", Other, Fd::Arg(0), Special(SendMsg), &[]),
    row(47, "recvmsg", Receive, Fd::Arg(0), Special(RecvMsg), &[Out { arg: 1, len: Len::Msghdr, when: When::Ok }]),
    row(48, "shutdown", Other, Fd::Arg(0), Special(Shutdown), &[]),
    row(49, "bind", Other, Fd::Arg(0), Reissue, &[]),
    row(50, "listen", Other, Fd::Arg(0), Reissue, &[]),
    row(51, "getsockname", Other, Fd::Arg(0), Inject, &[deref(1, 2), bytes(2, 4)]),
    row(52, "getpeername", Other, Fd::Arg(0), Inject, &[deref(1, 2), bytes(2, 4)]),
    row(53, "socketpair", Other, Fd::None, Reissue, &[bytes(3, 8)]),
    row(54, "setsockopt", Other, Fd::Arg(0), Special(Setsockopt), &[]),
    row(55, "getsockopt", Other, Fd::Arg(0), Inject, &[deref(3, 4), bytes(4, 4)]),
    row(56, "clone", Process, Fd::None, Special(Fork), &[]),
    row(57, "fork", Process, Fd::None, Special(Fork), &[]),
    row(58, "vfork", Process, Fd::None, Special(Fork), &[]),
    row(59, "execve", Process, Fd::None, Special(Exec), &[]),
    row(60, "exit", Process, Fd::None, Special(Exit), &[]),
    row(61, "wait4", Process, Fd::None, Special(Wait), &[some(1, 4), some(3, 144)]),
    row(62, "kill", Signal, Fd::None, Inject, &[]),
    row(63, "uname", Other, Fd::None, Inject, &[bytes(0, 390)]),
    row(64, "semget", Other, Fd::None, Reissue, &[]),
    row(65, "semop", Other, Fd::None, Special(Semop), &[]),
    many(66, "semctl", Other, Fd::None, Refuse("a command of semctl that has no row"), 2, SEMCTL),
    row(67, "shmdt", Other, Fd::None, Reissue, &[]),
    row(68, "msgget", Other, Fd::None, Reissue, &[]),
    row(69, "msgsnd", Other, Fd::None, Special(MsgQueue), &[]),
    row(70, "msgrcv", Other, Fd::None, Special(MsgQueue), &[Out { arg: 1, len: Len::RetPlus(8), when: When::Ok }]),
    many(71, "msgctl", Other, Fd::None, Refuse("a command of msgctl that has no row"), 1, MSGCTL),
    many(72, "fcntl", File, Fd::Arg(0), Refuse("an fcntl command that has no row"), 1, FCNTL),
    row(73, "flock", File, Fd::Arg(0), Special(Lock), &[]),
    row(74, "fsync", File, Fd::None, Inject, &[]),
    row(75, "fdatasync", File, Fd::None, Inject, &[]),
    row(76, "truncate", File, Fd::None, Reissue, &[]),
    row(77, "ftruncate", File, Fd::Arg(0), Reissue, &[]),
    row(78, "getdents", File, Fd::Arg(0), Inject, &[got(1)]),
    row(79, "getcwd", File, Fd::None, Inject, &[got(0)]),
    row(80, "chdir", File, Fd::None, Reissue, &[]),
    row(81, "fchdir", File, Fd::None, Reissue, &[]),
    row(82, "rename", File, Fd::None, Reissue, &[]),
    row(83, "mkdir", File, Fd::None, Reissue, &[]),
    row(84, "rmdir", File, Fd::None, Reissue, &[]),
    row(85, "creat", File, Fd::Ret, Special(Open), &[]),
    row(86, "link", File, Fd::None, Reissue, &[]),
    row(87, "unlink", File, Fd::None, Reissue, &[]),
    row(88, "symlink", File, Fd::None, Reissue, &[]),
    row(89, "readlink", File, Fd::None, Inject, &[got(1)]),
    row(90, "chmod", File, Fd::None, Reissue, &[]),
    row(91, "fchmod", File, Fd::None, Reissue, &[]),
    row(92, "chown", File, Fd::None, Reissue, &[]),
    row(93, "fchown", File, Fd::None, Reissue, &[]),
    row(94, "lchown", File, Fd::None, Reissue, &[]),
    row(95, "umask", File, Fd::None, Reissue, &[]),
    row(96, "gettimeofday", Time, Fd::None, Inject, &[bytes(0, 16), bytes(1, 8)]),
    row(97, "getrlimit", Process, Fd::None, Inject, &[bytes(1, 16)]),
    row(98, "getrusage", Process, Fd::None, Inject, &[bytes(1, 144)]),
    row(99, "sysinfo", Other, Fd::None, Inject, &[bytes(0, 112)]),
    row(100, "times", Time, Fd::None, Inject, &[bytes(0, 32)]),
    row(101, "ptrace", Process, Fd::None, Refuse("it traces another process"), &[]),
    row(102, "getuid", Process, Fd::None, Inject, &[]),
    row(103, "syslog", Other, Fd::None, Refuse("it reads the kernel's log"), &[]),
    row(104, "getgid", Process, Fd::None, Inject, &[]),
    row(105, "setuid", Process, Fd::None, Reissue, &[]),
    row(106, "setgid", Process, Fd::None, Reissue, &[]),
    row(107, "geteuid", Process, Fd::None, Inject, &[]),
    row(108, "getegid", Process, Fd::None, Inject, &[]),
    row(109, "setpgid", Process, Fd::None, Reissue, &[]),
    row(110, "getppid", Process, Fd::None, Inject, &[]),
    row(111, "getpgrp", Process, Fd::None, Inject, &[]),
    row(112, "setsid", Process, Fd::None, Reissue, &[]),
    row(113, "setreuid", Process, Fd::None, Reissue, &[]),
    row(114, "setregid", Process, Fd::None, Reissue, &[]),
    row(115, "getgroups", Process, Fd::None, Inject, &[Out { arg: 1, len: Len::Ret(4), when: When::Positive }]),
    row(116, "setgroups", Process, Fd::None, Reissue, &[]),
    row(117, "setresuid", Process, Fd::None, Reissue, &[]),
    row(118, "getresuid", Process, Fd::None, Inject, &[bytes(0, 4), bytes(1, 4), bytes(2, 4)]),
    row(119, "setresgid", Process, Fd::None, Reissue, &[]),
    row(120, "getresgid", Process, Fd::None, Inject, &[bytes(0, 4), bytes(1, 4), bytes(2, 4)]),
    row(121, "getpgid", Process, Fd::None, Inject, &[]),
    row(122, "setfsuid", Process, Fd::None, Reissue, &[]),
    row(123, "setfsgid", Process, Fd::None, Reissue, &[]),
    row(124, "getsid", Process, Fd::None, Inject, &[]),
    row(125, "capget", Process, Fd::None, Inject, &[always(0, 8), bytes(1, 24)]),
    row(126, "capset", Process, Fd::None, Reissue, &[always(0, 8)]),
    row(127, "rt_sigpending", Signal, Fd::None, Inject, &[times(0, 1, 1)]),
    row(128, "rt_sigtimedwait", Signal, Fd::None, Inject, &[some(1, 128)]),
    row(129, "rt_sigqueueinfo", Signal, Fd::None, Inject, &[]),
    row(130, "rt_sigsuspend", Signal, Fd::None, Special(MaskedWait), &[]),
    row(131, "sigaltstack", Signal, Fd::None, Reissue, &[]),
    row(132, "utime", File, Fd::None, Reissue, &[]),
    row(133, "mknod", File, Fd::None, Reissue, &[]),
    row(134, "uselib", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(135, "personality", Process, Fd::None, Reissue, &[]),
    row(136, "ustat", File, Fd::None, Inject, &[bytes(1, 32)]),
    row(137, "statfs", File, Fd::None, Inject, &[bytes(1, 120)]),
    row(138, "fstatfs", File, Fd::None, Inject, &[bytes(1, 120)]),
    row(139, "sysfs", File, Fd::None, Refuse("obsolete"), &[]),
    row(140, "getpriority", Process, Fd::None, Inject, &[]),
    row(141, "setpriority", Process, Fd::None, Reissue, &[]),
    row(142, "sched_setparam", Process, Fd::None, Reissue, &[]),
    row(143, "sched_getparam", Process, Fd::None, Inject, &[bytes(1, 4)]),
    row(144, "sched_setscheduler", Process, Fd::None, Reissue, &[]),
    row(145, "sched_getscheduler", Process, Fd::None, Inject, &[]),
    row(146, "sched_get_priority_max", Process, Fd::None, Inject, &[]),
    row(147, "sched_get_priority_min", Process, Fd::None, Inject, &[]),
    row(148, "sched_rr_get_interval", Process, Fd::None, Inject, &[bytes(1, 16)]),
    row(149, "mlock", Other, Fd::None, Reissue, &[]),
    row(150, "munlock", Other, Fd::None, Reissue, &[]),
    row(151, "mlockall", Other, Fd::None, Reissue, &[]),
    row(152, "munlockall", Other, Fd::None, Reissue, &[]),
    row(153, "vhangup", File, Fd::None, Refuse("it acts on a terminal"), &[]),
    row(154, "modify_ldt", Other, Fd::None, Refuse("it changes segment descriptors"), &[]),
    row(155, "pivot_root", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(156, "_sysctl", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    many(157, "prctl", Process, Fd::None, Refuse("a prctl option that has no row"), 0, PRCTL),
    many(158, "arch_prctl", Process, Fd::None, Refuse("an arch_prctl code that has no row"), 0, ARCH_PRCTL),
    row(159, "adjtimex", Time, Fd::None, Inject, &[bytes(0, 208)]),
    row(160, "setrlimit", Process, Fd::None, Reissue, &[]),
    row(161, "chroot", File, Fd::None, Reissue, &[]),
    row(162, "sync", File, Fd::None, Inject, &[]),
    row(163, "acct", File, Fd::None, Refuse("it acts on the host"), &[]),
    row(164, "settimeofday", Time, Fd::None, Refuse("it sets the host's clock"), &[]),
    row(165, "mount", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(166, "umount2", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(167, "swapon", File, Fd::None, Refuse("it acts on the host"), &[]),
    row(168, "swapoff", File, Fd::None, Refuse("it acts on the host"), &[]),
    row(169, "reboot", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(170, "sethostname", Other, Fd::None, Reissue, &[]),
    row(171, "setdomainname", Other, Fd::None, Reissue, &[]),
    row(172, "iopl", Other, Fd::None, Refuse("it reaches hardware"), &[]),
    row(173, "ioperm", Other, Fd::None, Refuse("it reaches hardware"), &[]),
    row(174, "create_module", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(175, "init_module", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(176, "delete_module", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(177, "get_kernel_syms", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(178, "query_module", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(179, "quotactl", File, Fd::None, Refuse("it acts on the host"), &[]),
    row(180, "nfsservctl", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(181, "getpmsg", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(182, "putpmsg", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(183, "afs_syscall", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(184, "tuxcall", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(185, "security", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(186, "gettid", Process, Fd::None, Inject, &[]),
    row(187, "readahead", File, Fd::None, Inject, &[]),
    row(188, "setxattr", File, Fd::None, Reissue, &[]),
    row(189, "lsetxattr", File, Fd::None, Reissue, &[]),
    row(190, "fsetxattr", File, Fd::None, Reissue, &[]),
    row(191, "getxattr", File, Fd::None, Inject, &[got(2)]),
    row(192, "lgetxattr", File, Fd::None, Inject, &[got(2)]),
    row(193, "fgetxattr", File, Fd::None, Inject, &[got(2)]),
    row(194, "listxattr", File, Fd::None, Inject, &[got(1)]),
    row(195, "llistxattr", File, Fd::None, Inject, &[got(1)]),
    row(196, "flistxattr", File, Fd::None, Inject, &[got(1)]),
    row(197, "removexattr", File, Fd::None, Reissue, &[]),
    row(198, "lremovexattr", File, Fd::None, Reissue, &[]),
    row(199, "fremovexattr", File, Fd::None, Reissue, &[]),
    row(200, "tkill", Signal, Fd::None, Inject, &[]),
    row(201, "time", Time, Fd::None, Inject, &[bytes(0, 8)]),
    many(202, "futex", Other, Fd::None, Inject, 1, FUTEX),
    row(203, "sched_setaffinity", Process, Fd::None, Reissue, &[]),
    row(204, "sched_getaffinity", Process, Fd::None, Inject, &[got(2)]),
    row(205, "set_thread_area", Process, Fd::None, Refuse("it changes segment descriptors"), &[]),
    row(206, "io_setup", Other, Fd::None, Reissue, &[bytes(1, 8)]),
    row(207, "io_destroy", Other, Fd::None, Reissue, &[]),
    row(208, "io_getevents", Other, Fd::None, Refuse("kernel AIO"), &[]),
    row(209, "io_submit", Other, Fd::None, Refuse("kernel AIO"), &[]),
    row(210, "io_cancel", Other, Fd::None, Refuse("kernel AIO"), &[]),
    row(211, "get_thread_area", Process, Fd::None, Refuse("it reads segment descriptors"), &[]),
    row(212, "lookup_dcookie", File, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(213, "epoll_create", Poll, Fd::Ret, Reissue, &[]),
    row(214, "epoll_ctl_old", Poll, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(215, "epoll_wait_old", Poll, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(216, "remap_file_pages", Other, Fd::None, Refuse("obsolete: it rearranges a mapping"), &[]),
    row(217, "getdents64", File, Fd::Arg(0), Inject, &[got(1)]),
    row(218, "set_tid_address", Process, Fd::None, Reissue, &[]),
    row(219, "restart_syscall", Signal, Fd::None, Special(Restart), &[]),
    row(220, "semtimedop", Other, Fd::None, Special(Semop), &[]),
    row(221, "fadvise64", File, Fd::None, Inject, &[]),
    row(222, "timer_create", Time, Fd::None, Special(Timer), &[bytes(2, 4)]),
    row(223, "timer_settime", Time, Fd::None, Special(Timer), &[bytes(3, 32)]),
    row(224, "timer_gettime", Time, Fd::None, Inject, &[bytes(1, 32)]),
    row(225, "timer_getoverrun", Time, Fd::None, Inject, &[]),
    row(226, "timer_delete", Time, Fd::None, Special(Timer), &[]),
    row(227, "clock_settime", Time, Fd::None, Refuse("it sets the host's clock"), &[]),
    row(228, "clock_gettime", Time, Fd::None, Inject, &[bytes(1, 16)]),
    row(229, "clock_getres", Time, Fd::None, Inject, &[bytes(1, 16)]),
    row(230, "clock_nanosleep", Time, Fd::None, Inject, &[left(3)]),
    row(231, "exit_group", Process, Fd::None, Special(Exit), &[]),
    row(232, "epoll_wait", Poll, Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::Ret(12), when: When::Positive }]),
    row(233, "epoll_ctl", Poll, Fd::Arg(0), Reissue, &[]),
    row(234, "tgkill", Signal, Fd::None, Inject, &[]),
    row(235, "utimes", File, Fd::None, Reissue, &[]),
    row(236, "vserver", Other, Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(237, "mbind", Other, Fd::None, Reissue, &[]),
    row(238, "set_mempolicy", Other, Fd::None, Reissue, &[]),
    row(239, "get_mempolicy", Other, Fd::None, Inject, &[bytes(0, 4), bits(1, 2)]),
    row(240, "mq_open", Other, Fd::Ret, Reissue, &[]),
    row(241, "mq_unlink", Other, Fd::None, Reissue, &[]),
    row(242, "mq_timedsend", Other, Fd::Arg(0), Special(PosixQueue), &[]),
    row(243, "mq_timedreceive", Other, Fd::Arg(0), Special(PosixQueue), &[got(1), bytes(3, 4)]),
    row(244, "mq_notify", Other, Fd::None, Refuse("signals by POSIX message queues"), &[]),
    row(245, "mq_getsetattr", Other, Fd::Arg(0), ReissueInject, &[bytes(2, 64)]),
    row(246, "kexec_load", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(247, "waitid", Process, Fd::None, Special(Wait), &[always(2, 128), bytes(4, 144)]),
    row(248, "add_key", Other, Fd::None, Refuse("it uses the kernel's keyrings"), &[]),
    row(249, "request_key", Other, Fd::None, Refuse("it uses the kernel's keyrings"), &[]),
    row(250, "keyctl", Other, Fd::None, Refuse("it uses the kernel's keyrings"), &[]),
    row(251, "ioprio_set", Process, Fd::None, Inject, &[]),
    row(252, "ioprio_get", Process, Fd::None, Inject, &[]),
    row(253, "inotify_init", File, Fd::Ret, Reissue, &[]),
    row(254, "inotify_add_watch", File, Fd::Arg(0), Reissue, &[]),
    row(255, "inotify_rm_watch", File, Fd::Arg(0), Reissue, &[]),
    row(256, "migrate_pages", Other, Fd::None, Refuse("it moves pages between nodes"), &[]),
    row(257, "openat", File, Fd::Ret, Special(Open), &[]),
    row(258, "mkdirat", File, Fd::None, Reissue, &[]),
    row(259, "mknodat", File, Fd::None, Reissue, &[]),
    row(260, "fchownat", File, Fd::None, Reissue, &[]),
    row(261, "futimesat", File, Fd::None, Reissue, &[]),
    row(262, "newfstatat", File, Fd::None, Inject, &[bytes(2, 144)]),
    row(263, "unlinkat", File, Fd::None, Reissue, &[]),
    row(264, "renameat", File, Fd::None, Reissue, &[]),
    row(265, "linkat", File, Fd::None, Reissue, &[]),
    row(266, "symlinkat", File, Fd::None, Reissue, &[]),
    row(267, "readlinkat", File, Fd::None, Inject, &[got(2)]),
    row(268, "fchmodat", File, Fd::None, Reissue, &[]),
    row(269, "faccessat", File, Fd::None, Inject, &[]),
    row(270, "pselect6", Poll, Fd::None, Special(MaskedWait), &[bits(1, 0), bits(2, 0), bits(3, 0), left(4)]),
    row(271, "ppoll", Poll, Fd::None, Special(MaskedWait), &[polled(0, 1), left(2)]),
    row(272, "unshare", Process, Fd::None, Refuse("it makes namespaces"), &[]),
    row(273, "set_robust_list", Process, Fd::None, Reissue, &[]),
    row(274, "get_robust_list", Process, Fd::None, Inject, &[bytes(1, 8), bytes(2, 8)]),
    row(275, "splice", Other, Fd::None, Refuse("it moves bytes that never reach memory"), &[]),
    row(276, "tee", Other, Fd::None, Refuse("it moves bytes that never reach memory"), &[]),
    row(277, "sync_file_range", File, Fd::None, Inject, &[]),
    row(278, "vmsplice", Other, Fd::None, Refuse("it moves bytes that never reach memory"), &[]),
    row(279, "move_pages", Other, Fd::None, Refuse("it moves pages between nodes"), &[]),
    row(280, "utimensat", File, Fd::None, Reissue, &[]),
    row(281, "epoll_pwait", Poll, Fd::Arg(0), Special(MaskedWait), &[Out { arg: 1, len: Len::Ret(12), when: When::Positive }]),
    row(282, "signalfd", Signal, Fd::Ret, Reissue, &[]),
    row(283, "timerfd_create", Time, Fd::Ret, Reissue, &[]),
    row(284, "eventfd", File, Fd::Ret, Reissue, &[]),
    row(285, "fallocate", File, Fd::Arg(0), Reissue, &[]),
    row(286, "timerfd_settime", Time, Fd::Arg(0), Inject, &[bytes(3, 32)]),
    row(287, "timerfd_gettime", Time, Fd::Arg(0), Inject, &[bytes(1, 32)]),
    row(288, "accept4", Receive, Fd::Ret, Special(Accept), &[deref(1, 2), bytes(2, 4)]),
    row(289, "signalfd4", Signal, Fd::Ret, Reissue, &[]),
    row(290, "eventfd2", File, Fd::Ret, Reissue, &[]),
    row(291, "epoll_create1", Poll, Fd::Ret, Reissue, &[]),
    row(292, "dup3", File, Fd::Ret, Reissue, &[]),
    row(293, "pipe2", File, Fd::None, Reissue, &[bytes(0, 8)]),
    row(294, "inotify_init1", File, Fd::Ret, Reissue, &[]),
    row(295, "preadv", Read, Fd::Arg(0), OwnElseInject, &[iov(1, 2)]),
    row(296, "pwritev", Other, Fd::Arg(0), Output, &[]),
    row(297, "rt_tgsigqueueinfo", Signal, Fd::None, Inject, &[]),
    row(298, "perf_event_open", Other, Fd::None, Refuse("it measures the machine"), &[]),
    row(299, "recvmmsg", Receive, Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::Mmsghdr, when: When::Positive }, left(4)]),
    row(300, "fanotify_init", File, Fd::None, Refuse("it watches the whole file system"), &[]),
    row(301, "fanotify_mark", File, Fd::None, Refuse("it watches the whole file system"), &[]),
    row(302, "prlimit64", Process, Fd::None, ReissueInject, &[bytes(3, 16)]),
    row(303, "name_to_handle_at", File, Fd::None, Refuse("file handles differ between hosts"), &[]),
    row(304, "open_by_handle_at", File, Fd::None, Refuse("file handles differ between hosts"), &[]),
    row(305, "clock_adjtime", Time, Fd::None, Inject, &[bytes(1, 208)]),
    row(306, "syncfs", File, Fd::None, Inject, &[]),
    row(307, "sendmmsg", Other, Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::Ret(64), when: When::Positive }]),
    row(308, "setns", Process, Fd::None, Refuse("it enters namespaces"), &[]),
    row(309, "getcpu", Process, Fd::None, Inject, &[bytes(0, 4), bytes(1, 4)]),
    row(310, "process_vm_readv", Read, Fd::None, Refuse("it reads the memory of another process"), &[]),
    row(311, "process_vm_writev", Other, Fd::None, Refuse("it writes the memory of another process"), &[]),
    row(312, "kcmp", Process, Fd::None, Inject, &[]),
    row(313, "finit_module", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(314, "sched_setattr", Process, Fd::None, Reissue, &[always(1, 4)]),
    row(315, "sched_getattr", Process, Fd::None, Inject, &[times(1, 2, 1)]),
    row(316, "renameat2", File, Fd::None, Reissue, &[]),
    many(317, "seccomp", Process, Fd::None, Refuse("a seccomp operation that has no row"), 0, SECCOMP),
    row(318, "getrandom", Random, Fd::None, Inject, &[got(0)]),
    row(319, "memfd_create", File, Fd::Ret, Reissue, &[]),
    row(320, "kexec_file_load", Other, Fd::None, Refuse("it acts on the host"), &[]),
    row(321, "bpf", Other, Fd::None, Refuse("it loads programs into the kernel"), &[]),
    row(322, "execveat", Process, Fd::None, Special(Exec), &[]),
    row(323, "userfaultfd", Other, Fd::None, Refuse("it handles page faults"), &[]),
    row(324, "membarrier", Other, Fd::None, Reissue, &[]),
    row(325, "mlock2", Other, Fd::None, Reissue, &[]),
    row(326, "copy_file_range", File, Fd::Arg(2), Reissue, &[bytes(1, 8), bytes(3, 8)]),
    row(327, "preadv2", Read, Fd::Arg(0), OwnElseInject, &[iov(1, 2)]),
    row(328, "pwritev2", Other, Fd::Arg(0), Output, &[]),
    row(329, "pkey_mprotect", Other, Fd::None, Reissue, &[]),
    row(330, "pkey_alloc", Other, Fd::None, Reissue, &[]),
    row(331, "pkey_free", Other, Fd::None, Reissue, &[]),
    row(332, "statx", File, Fd::None, Inject, &[bytes(4, 256)]),
    row(333, "io_pgetevents", Other, Fd::None, Refuse("kernel AIO"), &[]),
    row(334, "rseq", Process, Fd::None, Refuse("restartable sequences; the runtime answers ENOSYS"), &[]),
    row(335, "uretprobe", Other, Fd::None, Refuse("only the kernel calls it"), &[]),
    row(336, "uprobe", Other, Fd::None, Refuse("only the kernel calls it"), &[]),
    row(424, "pidfd_send_signal", Signal, Fd::None, Inject, &[]),
    row(425, "io_uring_setup", Other, Fd::None, Refuse("io_uring; the runtime answers ENOSYS"), &[]),
    row(426, "io_uring_enter", Other, Fd::None, Refuse("io_uring; the runtime answers ENOSYS"), &[]),
    row(427, "io_uring_register", Other, Fd::None, Refuse("io_uring; the runtime answers ENOSYS"), &[]),
    row(428, "open_tree", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(429, "move_mount", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(430, "fsopen", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(431, "fsconfig", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(432, "fsmount", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(433, "fspick", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(434, "pidfd_open", Process, Fd::Ret, Reissue, &[]),
    row(435, "clone3", Process, Fd::None, Special(Fork), &[]),
    row(436, "close_range", File, Fd::None, Reissue, &[]),
    row(437, "openat2", File, Fd::Ret, Special(Open), &[]),
    row(438, "pidfd_getfd", File, Fd::None, Refuse("it takes descriptors of another process"), &[]),
    row(439, "faccessat2", File, Fd::None, Inject, &[]),
    row(440, "process_madvise", Other, Fd::None, Refuse("it changes the memory of another process"), &[]),
    row(441, "epoll_pwait2", Poll, Fd::Arg(0), Special(MaskedWait), &[Out { arg: 1, len: Len::Ret(12), when: When::Positive }]),
    row(442, "mount_setattr", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(443, "quotactl_fd", File, Fd::None, Refuse("it acts on the host"), &[]),
    row(444, "landlock_create_ruleset", Process, Fd::Ret, Reissue, &[]),
    row(445, "landlock_add_rule", Process, Fd::None, Reissue, &[]),
    row(446, "landlock_restrict_self", Process, Fd::None, Reissue, &[]),
    row(447, "memfd_secret", File, Fd::None, Refuse("memory that nobody else can read"), &[]),
    row(448, "process_mrelease", Process, Fd::None, Refuse("it frees the memory of another process"), &[]),
    row(449, "futex_waitv", Other, Fd::None, Inject, &[]),
    row(450, "set_mempolicy_home_node", Other, Fd::None, Reissue, &[]),
    row(451, "cachestat", File, Fd::None, Inject, &[bytes(2, 40)]),
    row(452, "fchmodat2", File, Fd::None, Reissue, &[]),
    row(453, "map_shadow_stack", Other, Fd::None, Refuse("shadow stacks"), &[]),
    row(454, "futex_wake", Other, Fd::None, Inject, &[]),
    row(455, "futex_wait", Other, Fd::None, Inject, &[]),
    row(456, "futex_requeue", Other, Fd::None, Inject, &[]),
    row(457, "statmount", File, Fd::None, Inject, &[times(1, 2, 1)]),
    row(458, "listmount", File, Fd::None, Inject, &[Out { arg: 1, len: Len::Ret(8), when: When::Positive }]),
    row(459, "lsm_get_self_attr", Process, Fd::None, Refuse("security modules differ between hosts"), &[]),
    row(460, "lsm_set_self_attr", Process, Fd::None, Refuse("security modules differ between hosts"), &[]),
    row(461, "lsm_list_modules", Process, Fd::None, Inject, &[deref(0, 1), bytes(1, 4)]),
    row(462, "mseal", Other, Fd::None, Reissue, &[]),
    row(463, "setxattrat", File, Fd::None, Reissue, &[]),
    row(464, "getxattrat", File, Fd::None, Refuse("its output is behind a second pointer"), &[]),
    row(465, "listxattrat", File, Fd::None, Inject, &[got(3)]),
    row(466, "removexattrat", File, Fd::None, Reissue, &[]),
    row(467, "open_tree_attr", File, Fd::None, Refuse("it changes mounts"), &[]),
    row(468, "file_getattr", File, Fd::None, Inject, &[times(2, 3, 1)]),
    row(469, "file_setattr", File, Fd::None, Reissue, &[]),
];
const _: () = assert!(TABLE.len() == COUNT);

#[rustfmt::skip]
const SHMCTL: &[Choice] = &[
    choice(0, "IPC_RMID", Reissue, &[]),
    choice(1, "IPC_SET", Reissue, &[]),
    choice(2, "IPC_STAT", Inject, &[bytes(2, 112)]),
    choice(3, "IPC_INFO", Inject, &[bytes(2, 72)]),
    choice(11, "SHM_LOCK", Inject, &[]),
    choice(12, "SHM_UNLOCK", Inject, &[]),
    choice(13, "SHM_STAT", Inject, &[bytes(2, 112)]),
    choice(14, "SHM_INFO", Inject, &[bytes(2, 48)]),
    choice(15, "SHM_STAT_ANY", Inject, &[bytes(2, 112)]),
];

/// Of GETALL, whose length no argument gives, the values of 32 semaphores are the log's; the others are the replica's own.
#[rustfmt::skip]
const SEMCTL: &[Choice] = &[
    choice(0, "IPC_RMID", Reissue, &[]),
    choice(1, "IPC_SET", Reissue, &[]),
    choice(2, "IPC_STAT", Inject, &[bytes(3, 104)]),
    choice(3, "IPC_INFO", Inject, &[bytes(3, 40)]),
    choice(11, "GETPID", Inject, &[]),
    choice(12, "GETVAL", Inject, &[]),
    choice(13, "GETALL", ReissueInject, &[bytes(3, 64)]),
    choice(14, "GETNCNT", Inject, &[]),
    choice(15, "GETZCNT", Inject, &[]),
    choice(16, "SETVAL", Reissue, &[]),
    choice(17, "SETALL", Reissue, &[]),
    choice(18, "SEM_STAT", Inject, &[bytes(3, 104)]),
    choice(19, "SEM_INFO", Inject, &[bytes(3, 40)]),
    choice(20, "SEM_STAT_ANY", Inject, &[bytes(3, 104)]),
];

#[rustfmt::skip]
const MSGCTL: &[Choice] = &[
    choice(0, "IPC_RMID", Reissue, &[]),
    choice(1, "IPC_SET", Reissue, &[]),
    choice(2, "IPC_STAT", Inject, &[bytes(2, 120)]),
    choice(3, "IPC_INFO", Inject, &[bytes(2, 32)]),
    choice(11, "MSG_STAT", Inject, &[bytes(2, 120)]),
    choice(12, "MSG_INFO", Inject, &[bytes(2, 32)]),
    choice(13, "MSG_STAT_ANY", Inject, &[bytes(2, 120)]),
];

/// The operations that write to a word. With FUTEX_PRIVATE_FLAG (128), and FUTEX_CLOCK_REALTIME (256) where it is allowed.
#[rustfmt::skip]
const FUTEX: &[Choice] = &[
    choice(5, "FUTEX_WAKE_OP", Inject, &[bytes(4, 4)]),
    choice(128 | 5, "FUTEX_WAKE_OP_PRIVATE", Inject, &[bytes(4, 4)]),
    choice(6, "FUTEX_LOCK_PI", INHERITANCE, &[]),
    choice(128 | 6, "FUTEX_LOCK_PI_PRIVATE", INHERITANCE, &[]),
    choice(7, "FUTEX_UNLOCK_PI", INHERITANCE, &[]),
    choice(128 | 7, "FUTEX_UNLOCK_PI_PRIVATE", INHERITANCE, &[]),
    choice(8, "FUTEX_TRYLOCK_PI", INHERITANCE, &[]),
    choice(128 | 8, "FUTEX_TRYLOCK_PI_PRIVATE", INHERITANCE, &[]),
    choice(11, "FUTEX_WAIT_REQUEUE_PI", INHERITANCE, &[]),
    choice(128 | 11, "FUTEX_WAIT_REQUEUE_PI_PRIVATE", INHERITANCE, &[]),
    choice(256 | 11, "FUTEX_WAIT_REQUEUE_PI|FUTEX_CLOCK_REALTIME", INHERITANCE, &[]),
    choice(256 | 128 | 11, "FUTEX_WAIT_REQUEUE_PI_PRIVATE|FUTEX_CLOCK_REALTIME", INHERITANCE, &[]),
    choice(12, "FUTEX_CMP_REQUEUE_PI", INHERITANCE, &[]),
    choice(128 | 12, "FUTEX_CMP_REQUEUE_PI_PRIVATE", INHERITANCE, &[]),
    choice(13, "FUTEX_LOCK_PI2", INHERITANCE, &[]),
    choice(128 | 13, "FUTEX_LOCK_PI2_PRIVATE", INHERITANCE, &[]),
    choice(256 | 13, "FUTEX_LOCK_PI2|FUTEX_CLOCK_REALTIME", INHERITANCE, &[]),
    choice(256 | 128 | 13, "FUTEX_LOCK_PI2_PRIVATE|FUTEX_CLOCK_REALTIME", INHERITANCE, &[]),
];

/// The kernel marks the word of such a lock when somebody begins to wait, of which there is no record.
const INHERITANCE: Policy = Refuse("a lock with priority inheritance that is waited for");

#[rustfmt::skip]
const IOCTL: &[Choice] = &[
    choice(0x5401, "TCGETS", Inject, &[bytes(2, 36)]),
    choice(0x540f, "TIOCGPGRP", Inject, &[bytes(2, 4)]),
    choice(0x5411, "TIOCOUTQ", Inject, &[bytes(2, 4)]),
    choice(0x5413, "TIOCGWINSZ", Inject, &[bytes(2, 8)]),
    choice(0x541b, "FIONREAD", Inject, &[bytes(2, 4)]),
    choice(0x5421, "FIONBIO", Reissue, &[]),
    choice(0x5429, "TIOCGSID", Inject, &[bytes(2, 4)]),
    choice(0x5450, "FIONCLEX", Reissue, &[]),
    choice(0x5451, "FIOCLEX", Reissue, &[]),
    choice(0x5452, "FIOASYNC", Reissue, &[]),
    choice(0x5460, "FIOQSIZE", Inject, &[bytes(2, 8)]),
    choice(0x802c542a, "TCGETS2", Inject, &[bytes(2, 44)]),
    choice(0x8905, "SIOCATMARK", Inject, &[bytes(2, 4)]),
    choice(0x8906, "SIOCGSTAMP", Inject, &[bytes(2, 16)]),
    choice(0x8910, "SIOCGIFNAME", Inject, &[bytes(2, 40)]),
    choice(0x8913, "SIOCGIFFLAGS", Inject, &[bytes(2, 40)]),
    choice(0x8915, "SIOCGIFADDR", Inject, &[bytes(2, 40)]),
    choice(0x8919, "SIOCGIFBRDADDR", Inject, &[bytes(2, 40)]),
    choice(0x891b, "SIOCGIFNETMASK", Inject, &[bytes(2, 40)]),
    choice(0x8921, "SIOCGIFMTU", Inject, &[bytes(2, 40)]),
    choice(0x8927, "SIOCGIFHWADDR", Inject, &[bytes(2, 40)]),
    choice(0x8933, "SIOCGIFINDEX", Inject, &[bytes(2, 40)]),
    choice(0x894b, "SIOCOUTQNSD", Inject, &[bytes(2, 4)]),
    choice(0x80045200, "RNDGETENTCNT", Inject, &[bytes(2, 4)]),
    choice(0x80086601, "FS_IOC_GETFLAGS", Inject, &[bytes(2, 8)]),
    choice(0x40086602, "FS_IOC_SETFLAGS", Reissue, &[]),
];

#[rustfmt::skip]
const FCNTL: &[Choice] = &[
    choice(0, "F_DUPFD", Reissue, &[]),
    choice(1, "F_GETFD", Inject, &[]),
    choice(2, "F_SETFD", Reissue, &[]),
    choice(3, "F_GETFL", Inject, &[]),
    choice(4, "F_SETFL", Reissue, &[]),
    choice(5, "F_GETLK", Inject, &[bytes(2, 32)]),
    choice(6, "F_SETLK", Reissue, &[]),
    choice(7, "F_SETLKW", Special(Lock), &[]),
    choice(8, "F_SETOWN", Reissue, &[]),
    choice(9, "F_GETOWN", Inject, &[]),
    choice(10, "F_SETSIG", Reissue, &[]),
    choice(11, "F_GETSIG", Inject, &[]),
    choice(15, "F_SETOWN_EX", Reissue, &[]),
    choice(16, "F_GETOWN_EX", Inject, &[bytes(2, 8)]),
    choice(36, "F_OFD_GETLK", Inject, &[bytes(2, 32)]),
    choice(37, "F_OFD_SETLK", Reissue, &[]),
    choice(38, "F_OFD_SETLKW", Special(Lock), &[]),
    choice(1024, "F_SETLEASE", Refuse("file leases"), &[]),
    choice(1025, "F_GETLEASE", Inject, &[]),
    choice(1026, "F_NOTIFY", Refuse("signals by dnotify"), &[]),
    choice(1027, "F_DUPFD_QUERY", Inject, &[]),
    choice(1028, "F_CREATED_QUERY", Inject, &[]),
    choice(1030, "F_DUPFD_CLOEXEC", Reissue, &[]),
    choice(1031, "F_SETPIPE_SZ", Reissue, &[]),
    choice(1032, "F_GETPIPE_SZ", Inject, &[]),
    choice(1033, "F_ADD_SEALS", Reissue, &[]),
    choice(1034, "F_GET_SEALS", Inject, &[]),
    choice(1035, "F_GET_RW_HINT", Inject, &[bytes(2, 8)]),
    choice(1036, "F_SET_RW_HINT", Inject, &[]),
];

#[rustfmt::skip]
const PRCTL: &[Choice] = &[
    choice(1, "PR_SET_PDEATHSIG", Reissue, &[]),
    choice(2, "PR_GET_PDEATHSIG", Inject, &[bytes(1, 4)]),
    choice(3, "PR_GET_DUMPABLE", Inject, &[]),
    choice(4, "PR_SET_DUMPABLE", Reissue, &[]),
    choice(7, "PR_GET_KEEPCAPS", Inject, &[]),
    choice(8, "PR_SET_KEEPCAPS", Reissue, &[]),
    choice(15, "PR_SET_NAME", Reissue, &[]),
    choice(16, "PR_GET_NAME", Inject, &[bytes(1, 16)]),
    choice(21, "PR_GET_SECCOMP", Inject, &[]),
    choice(22, "PR_SET_SECCOMP", Reissue, &[]),
    choice(23, "PR_CAPBSET_READ", Inject, &[]),
    choice(24, "PR_CAPBSET_DROP", Reissue, &[]),
    choice(25, "PR_GET_TSC", Inject, &[bytes(1, 4)]),
    choice(26, "PR_SET_TSC", Reissue, &[]),
    choice(27, "PR_GET_SECUREBITS", Inject, &[]),
    choice(28, "PR_SET_SECUREBITS", Reissue, &[]),
    choice(29, "PR_SET_TIMERSLACK", Reissue, &[]),
    choice(30, "PR_GET_TIMERSLACK", Inject, &[]),
    choice(35, "PR_SET_MM", Reissue, &[]),
    choice(36, "PR_SET_CHILD_SUBREAPER", Reissue, &[]),
    choice(37, "PR_GET_CHILD_SUBREAPER", Inject, &[bytes(1, 4)]),
    choice(38, "PR_SET_NO_NEW_PRIVS", Reissue, &[]),
    choice(39, "PR_GET_NO_NEW_PRIVS", Inject, &[]),
    choice(40, "PR_GET_TID_ADDRESS", Inject, &[bytes(1, 8)]),
    choice(41, "PR_SET_THP_DISABLE", Reissue, &[]),
    choice(42, "PR_GET_THP_DISABLE", Inject, &[]),
    choice(47, "PR_CAP_AMBIENT", Reissue, &[]),
    choice(52, "PR_GET_SPECULATION_CTRL", Inject, &[]),
    choice(53, "PR_SET_SPECULATION_CTRL", Reissue, &[]),
    choice(0x53564d41, "PR_SET_VMA", Reissue, &[]),
    choice(0x59616d61, "PR_SET_PTRACER", Inject, &[]),
];

#[rustfmt::skip]
const ARCH_PRCTL: &[Choice] = &[
    choice(0x1001, "ARCH_SET_GS", Reissue, &[]),
    choice(0x1002, "ARCH_SET_FS", Reissue, &[]),
    choice(0x1003, "ARCH_GET_FS", Reissue, &[bytes(1, 8)]),
    choice(0x1004, "ARCH_GET_GS", Reissue, &[bytes(1, 8)]),
    choice(0x1011, "ARCH_GET_CPUID", Inject, &[]),
    choice(0x1021, "ARCH_GET_XCOMP_SUPP", Inject, &[bytes(1, 8)]),
    choice(0x1022, "ARCH_GET_XCOMP_PERM", Inject, &[bytes(1, 8)]),
];

#[rustfmt::skip]
const SECCOMP: &[Choice] = &[
    choice(0, "SECCOMP_SET_MODE_STRICT", Reissue, &[]),
    choice(1, "SECCOMP_SET_MODE_FILTER", Reissue, &[]),
    choice(2, "SECCOMP_GET_ACTION_AVAIL", Inject, &[]),
    choice(3, "SECCOMP_GET_NOTIF_SIZES", Inject, &[bytes(2, 6)]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::{MAX_OUTS, row};

    #[test]
    fn rows_ascend_and_every_number_is_found() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].nr < pair[1].nr, "{} after {}", pair[1].name, pair[0].name);
        }
        for nr in (0..=336).chain(424..=469) {
            assert_eq!(row(nr).map(|row| i32::from(row.nr)), Some(nr));
        }
        assert!(row(-1).is_none() && row(337).is_none() && row(470).is_none());
    }

    #[test]
    fn outputs_fit_the_probes_and_point_to_arguments() {
        for row in TABLE {
            let choices = row.select.iter().flat_map(|select| select.choices).map(|choice| choice.outs);
            for outs in choices.chain([row.outs]) {
                assert!(outs.len() <= MAX_OUTS, "{}", row.name);
                assert!(outs.iter().all(|out| out.arg < 6), "{}", row.name);
            }
        }
    }

    #[test]
    fn numbers_leave_the_probes_room_to_tally_what_is_no_call() {
        assert!(TABLE.iter().all(|row| usize::from(row.nr) < crate::maps::tally::KINDS));
    }

    #[test]
    fn choices_are_distinct() {
        for select in TABLE.iter().filter_map(|row| row.select.as_ref()) {
            for (at, choice) in select.choices.iter().enumerate() {
                assert!(select.choices[..at].iter().all(|other| other.value != choice.value), "{}", choice.name);
            }
        }
    }
}
