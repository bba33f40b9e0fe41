//! The rows. Sources: the kernel's syscall_64.tbl and the definitions of the calls, Linux 6.18; section 2 of the manual.

use super::Policy::{Inject, Output, OwnElseInject, Refuse, Reissue, ReissueInject, Special};
use super::Special::{
    Accept, Connect, Exec, Exit, Fork, Lock, MaskedWait, Mmap, Open, RecvMsg, Restart, SendMsg, Sendfile, Setsockopt, Shutdown,
    Sigreturn, Timer, Wait,
};
use super::{Choice, Fd, Len, Out, Policy, Row, Select, When};

/// Numbers of x86-64 in Linux 6.18: 0 to 336 and 424 to 469. x32 has none here: the runtime's seccomp profile refuses it.
const COUNT: usize = 337 + 46;

const fn row(nr: u16, name: &'static str, fd: Fd, policy: Policy, outs: &'static [Out]) -> Row {
    Row { nr, name, fd, policy, outs, select: None }
}

const fn many(nr: u16, name: &'static str, fd: Fd, policy: Policy, arg: u8, choices: &'static [Choice]) -> Row {
    Row { nr, name, fd, policy, outs: &[], select: Some(Select { arg, choices }) }
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

/// The time that a wait had left: written when it was interrupted, too.
const fn left(arg: u8) -> Out {
    Out { arg, len: Len::Const(16), when: When::Always }
}

/// Every system call of the kernel, ascending.
#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    row(0, "read", Fd::Arg(0), OwnElseInject, &[got(1)]),
    row(1, "write", Fd::Arg(0), Output, &[]),
    row(2, "open", Fd::Ret, Special(Open), &[]),
    row(3, "close", Fd::None, Reissue, &[]),
    row(4, "stat", Fd::None, Inject, &[bytes(1, 144)]),
    row(5, "fstat", Fd::Arg(0), Inject, &[bytes(1, 144)]),
    row(6, "lstat", Fd::None, Inject, &[bytes(1, 144)]),
    row(7, "poll", Fd::None, Inject, &[times(0, 1, 8)]),
    row(8, "lseek", Fd::Arg(0), OwnElseInject, &[]),
    row(9, "mmap", Fd::Arg(4), Special(Mmap), &[]),
    row(10, "mprotect", Fd::None, Reissue, &[]),
    row(11, "munmap", Fd::None, Reissue, &[]),
    row(12, "brk", Fd::None, Reissue, &[]),
    row(13, "rt_sigaction", Fd::None, Reissue, &[]),
    row(14, "rt_sigprocmask", Fd::None, Reissue, &[]),
    row(15, "rt_sigreturn", Fd::None, Special(Sigreturn), &[]),
    many(16, "ioctl", Fd::Arg(0), Refuse("an ioctl request that has no row"), 1, IOCTL),
    row(17, "pread64", Fd::Arg(0), OwnElseInject, &[got(1)]),
    row(18, "pwrite64", Fd::Arg(0), Output, &[]),
    row(19, "readv", Fd::Arg(0), OwnElseInject, &[iov(1, 2)]),
    row(20, "writev", Fd::Arg(0), Output, &[]),
    row(21, "access", Fd::None, Inject, &[]),
    row(22, "pipe", Fd::None, Reissue, &[bytes(0, 8)]),
    row(23, "select", Fd::None, Inject, &[bits(1, 0), bits(2, 0), bits(3, 0), left(4)]),
    row(24, "sched_yield", Fd::None, Inject, &[]),
    row(25, "mremap", Fd::None, Reissue, &[]),
    row(26, "msync", Fd::None, Inject, &[]),
    row(27, "mincore", Fd::None, Inject, &[Out { arg: 2, len: Len::Pages(1), when: When::Ok }]),
    row(28, "madvise", Fd::None, Reissue, &[]),
    row(29, "shmget", Fd::None, Refuse("System V shared memory"), &[]),
    row(30, "shmat", Fd::None, Refuse("System V shared memory"), &[]),
    row(31, "shmctl", Fd::None, Refuse("System V shared memory"), &[]),
    row(32, "dup", Fd::Ret, Reissue, &[]),
    row(33, "dup2", Fd::Ret, Reissue, &[]),
    row(34, "pause", Fd::None, Inject, &[]),
    row(35, "nanosleep", Fd::None, Inject, &[left(1)]),
    row(36, "getitimer", Fd::None, Inject, &[bytes(1, 32)]),
    row(37, "alarm", Fd::None, Special(Timer), &[]),
    row(38, "setitimer", Fd::None, Special(Timer), &[bytes(2, 32)]),
    row(39, "getpid", Fd::None, Inject, &[]),
    row(40, "sendfile", Fd::Arg(0), Special(Sendfile), &[bytes(2, 8)]),
    row(41, "socket", Fd::Ret, Reissue, &[]),
    row(42, "connect", Fd::Arg(0), Special(Connect), &[]),
    row(43, "accept", Fd::Ret, Special(Accept), &[deref(1, 2), bytes(2, 4)]),
    row(44, "sendto", Fd::Arg(0), Inject, &[]),
    row(45, "recvfrom", Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::RetCap(2), when: When::Positive }, deref(4, 5), bytes(5, 4)]),
    row(46, "sendmsg", Fd::Arg(0), Special(SendMsg), &[]),
    row(47, "recvmsg", Fd::Arg(0), Special(RecvMsg), &[Out { arg: 1, len: Len::Msghdr, when: When::Ok }]),
    row(48, "shutdown", Fd::Arg(0), Special(Shutdown), &[]),
    row(49, "bind", Fd::Arg(0), Reissue, &[]),
    row(50, "listen", Fd::Arg(0), Reissue, &[]),
    row(51, "getsockname", Fd::Arg(0), Inject, &[deref(1, 2), bytes(2, 4)]),
    row(52, "getpeername", Fd::Arg(0), Inject, &[deref(1, 2), bytes(2, 4)]),
    row(53, "socketpair", Fd::None, Reissue, &[bytes(3, 8)]),
    row(54, "setsockopt", Fd::Arg(0), Special(Setsockopt), &[]),
    row(55, "getsockopt", Fd::Arg(0), Inject, &[deref(3, 4), bytes(4, 4)]),
    row(56, "clone", Fd::None, Special(Fork), &[]),
    row(57, "fork", Fd::None, Special(Fork), &[]),
    row(58, "vfork", Fd::None, Special(Fork), &[]),
    row(59, "execve", Fd::None, Special(Exec), &[]),
    row(60, "exit", Fd::None, Special(Exit), &[]),
    row(61, "wait4", Fd::None, Special(Wait), &[some(1, 4), some(3, 144)]),
    row(62, "kill", Fd::None, Inject, &[]),
    row(63, "uname", Fd::None, Inject, &[bytes(0, 390)]),
    row(64, "semget", Fd::None, Refuse("System V semaphores"), &[]),
    row(65, "semop", Fd::None, Refuse("System V semaphores"), &[]),
    row(66, "semctl", Fd::None, Refuse("System V semaphores"), &[]),
    row(67, "shmdt", Fd::None, Refuse("System V shared memory"), &[]),
    row(68, "msgget", Fd::None, Refuse("System V message queues"), &[]),
    row(69, "msgsnd", Fd::None, Refuse("System V message queues"), &[]),
    row(70, "msgrcv", Fd::None, Refuse("System V message queues"), &[]),
    row(71, "msgctl", Fd::None, Refuse("System V message queues"), &[]),
    many(72, "fcntl", Fd::Arg(0), Refuse("an fcntl command that has no row"), 1, FCNTL),
    row(73, "flock", Fd::Arg(0), Special(Lock), &[]),
    row(74, "fsync", Fd::None, Inject, &[]),
    row(75, "fdatasync", Fd::None, Inject, &[]),
    row(76, "truncate", Fd::None, Reissue, &[]),
    row(77, "ftruncate", Fd::Arg(0), Reissue, &[]),
    row(78, "getdents", Fd::Arg(0), Inject, &[got(1)]),
    row(79, "getcwd", Fd::None, Inject, &[got(0)]),
    row(80, "chdir", Fd::None, Reissue, &[]),
    row(81, "fchdir", Fd::None, Reissue, &[]),
    row(82, "rename", Fd::None, Reissue, &[]),
    row(83, "mkdir", Fd::None, Reissue, &[]),
    row(84, "rmdir", Fd::None, Reissue, &[]),
    row(85, "creat", Fd::Ret, Special(Open), &[]),
    row(86, "link", Fd::None, Reissue, &[]),
    row(87, "unlink", Fd::None, Reissue, &[]),
    row(88, "symlink", Fd::None, Reissue, &[]),
    row(89, "readlink", Fd::None, Inject, &[got(1)]),
    row(90, "chmod", Fd::None, Reissue, &[]),
    row(91, "fchmod", Fd::None, Reissue, &[]),
    row(92, "chown", Fd::None, Reissue, &[]),
    row(93, "fchown", Fd::None, Reissue, &[]),
    row(94, "lchown", Fd::None, Reissue, &[]),
    row(95, "umask", Fd::None, Reissue, &[]),
    row(96, "gettimeofday", Fd::None, Inject, &[bytes(0, 16), bytes(1, 8)]),
    row(97, "getrlimit", Fd::None, Inject, &[bytes(1, 16)]),
    row(98, "getrusage", Fd::None, Inject, &[bytes(1, 144)]),
    row(99, "sysinfo", Fd::None, Inject, &[bytes(0, 112)]),
    row(100, "times", Fd::None, Inject, &[bytes(0, 32)]),
    row(101, "ptrace", Fd::None, Refuse("it traces another process"), &[]),
    row(102, "getuid", Fd::None, Inject, &[]),
    row(103, "syslog", Fd::None, Refuse("it reads the kernel's log"), &[]),
    row(104, "getgid", Fd::None, Inject, &[]),
    row(105, "setuid", Fd::None, Reissue, &[]),
    row(106, "setgid", Fd::None, Reissue, &[]),
    row(107, "geteuid", Fd::None, Inject, &[]),
    row(108, "getegid", Fd::None, Inject, &[]),
    row(109, "setpgid", Fd::None, Reissue, &[]),
    row(110, "getppid", Fd::None, Inject, &[]),
    row(111, "getpgrp", Fd::None, Inject, &[]),
    row(112, "setsid", Fd::None, Reissue, &[]),
    row(113, "setreuid", Fd::None, Reissue, &[]),
    row(114, "setregid", Fd::None, Reissue, &[]),
    row(115, "getgroups", Fd::None, Inject, &[Out { arg: 1, len: Len::Ret(4), when: When::Positive }]),
    row(116, "setgroups", Fd::None, Reissue, &[]),
    row(117, "setresuid", Fd::None, Reissue, &[]),
    row(118, "getresuid", Fd::None, Inject, &[bytes(0, 4), bytes(1, 4), bytes(2, 4)]),
    row(119, "setresgid", Fd::None, Reissue, &[]),
    row(120, "getresgid", Fd::None, Inject, &[bytes(0, 4), bytes(1, 4), bytes(2, 4)]),
    row(121, "getpgid", Fd::None, Inject, &[]),
    row(122, "setfsuid", Fd::None, Reissue, &[]),
    row(123, "setfsgid", Fd::None, Reissue, &[]),
    row(124, "getsid", Fd::None, Inject, &[]),
    row(125, "capget", Fd::None, Inject, &[bytes(0, 8), bytes(1, 24)]),
    row(126, "capset", Fd::None, Reissue, &[]),
    row(127, "rt_sigpending", Fd::None, Inject, &[times(0, 1, 1)]),
    row(128, "rt_sigtimedwait", Fd::None, Inject, &[some(1, 128)]),
    row(129, "rt_sigqueueinfo", Fd::None, Inject, &[]),
    row(130, "rt_sigsuspend", Fd::None, Special(MaskedWait), &[]),
    row(131, "sigaltstack", Fd::None, Reissue, &[]),
    row(132, "utime", Fd::None, Reissue, &[]),
    row(133, "mknod", Fd::None, Reissue, &[]),
    row(134, "uselib", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(135, "personality", Fd::None, Reissue, &[]),
    row(136, "ustat", Fd::None, Inject, &[bytes(1, 32)]),
    row(137, "statfs", Fd::None, Inject, &[bytes(1, 120)]),
    row(138, "fstatfs", Fd::None, Inject, &[bytes(1, 120)]),
    row(139, "sysfs", Fd::None, Refuse("obsolete"), &[]),
    row(140, "getpriority", Fd::None, Inject, &[]),
    row(141, "setpriority", Fd::None, Reissue, &[]),
    row(142, "sched_setparam", Fd::None, Reissue, &[]),
    row(143, "sched_getparam", Fd::None, Inject, &[bytes(1, 4)]),
    row(144, "sched_setscheduler", Fd::None, Reissue, &[]),
    row(145, "sched_getscheduler", Fd::None, Inject, &[]),
    row(146, "sched_get_priority_max", Fd::None, Inject, &[]),
    row(147, "sched_get_priority_min", Fd::None, Inject, &[]),
    row(148, "sched_rr_get_interval", Fd::None, Inject, &[bytes(1, 16)]),
    row(149, "mlock", Fd::None, Reissue, &[]),
    row(150, "munlock", Fd::None, Reissue, &[]),
    row(151, "mlockall", Fd::None, Reissue, &[]),
    row(152, "munlockall", Fd::None, Reissue, &[]),
    row(153, "vhangup", Fd::None, Refuse("it acts on a terminal"), &[]),
    row(154, "modify_ldt", Fd::None, Refuse("it changes segment descriptors"), &[]),
    row(155, "pivot_root", Fd::None, Refuse("it changes mounts"), &[]),
    row(156, "_sysctl", Fd::None, Refuse("not implemented by the kernel"), &[]),
    many(157, "prctl", Fd::None, Refuse("a prctl option that has no row"), 0, PRCTL),
    many(158, "arch_prctl", Fd::None, Refuse("an arch_prctl code that has no row"), 0, ARCH_PRCTL),
    row(159, "adjtimex", Fd::None, Inject, &[bytes(0, 208)]),
    row(160, "setrlimit", Fd::None, Reissue, &[]),
    row(161, "chroot", Fd::None, Reissue, &[]),
    row(162, "sync", Fd::None, Inject, &[]),
    row(163, "acct", Fd::None, Refuse("it acts on the host"), &[]),
    row(164, "settimeofday", Fd::None, Refuse("it sets the host's clock"), &[]),
    row(165, "mount", Fd::None, Refuse("it changes mounts"), &[]),
    row(166, "umount2", Fd::None, Refuse("it changes mounts"), &[]),
    row(167, "swapon", Fd::None, Refuse("it acts on the host"), &[]),
    row(168, "swapoff", Fd::None, Refuse("it acts on the host"), &[]),
    row(169, "reboot", Fd::None, Refuse("it acts on the host"), &[]),
    row(170, "sethostname", Fd::None, Reissue, &[]),
    row(171, "setdomainname", Fd::None, Reissue, &[]),
    row(172, "iopl", Fd::None, Refuse("it reaches hardware"), &[]),
    row(173, "ioperm", Fd::None, Refuse("it reaches hardware"), &[]),
    row(174, "create_module", Fd::None, Refuse("it acts on the host"), &[]),
    row(175, "init_module", Fd::None, Refuse("it acts on the host"), &[]),
    row(176, "delete_module", Fd::None, Refuse("it acts on the host"), &[]),
    row(177, "get_kernel_syms", Fd::None, Refuse("it acts on the host"), &[]),
    row(178, "query_module", Fd::None, Refuse("it acts on the host"), &[]),
    row(179, "quotactl", Fd::None, Refuse("it acts on the host"), &[]),
    row(180, "nfsservctl", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(181, "getpmsg", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(182, "putpmsg", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(183, "afs_syscall", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(184, "tuxcall", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(185, "security", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(186, "gettid", Fd::None, Inject, &[]),
    row(187, "readahead", Fd::None, Inject, &[]),
    row(188, "setxattr", Fd::None, Reissue, &[]),
    row(189, "lsetxattr", Fd::None, Reissue, &[]),
    row(190, "fsetxattr", Fd::None, Reissue, &[]),
    row(191, "getxattr", Fd::None, Inject, &[got(2)]),
    row(192, "lgetxattr", Fd::None, Inject, &[got(2)]),
    row(193, "fgetxattr", Fd::None, Inject, &[got(2)]),
    row(194, "listxattr", Fd::None, Inject, &[got(1)]),
    row(195, "llistxattr", Fd::None, Inject, &[got(1)]),
    row(196, "flistxattr", Fd::None, Inject, &[got(1)]),
    row(197, "removexattr", Fd::None, Reissue, &[]),
    row(198, "lremovexattr", Fd::None, Reissue, &[]),
    row(199, "fremovexattr", Fd::None, Reissue, &[]),
    row(200, "tkill", Fd::None, Inject, &[]),
    row(201, "time", Fd::None, Inject, &[bytes(0, 8)]),
    row(202, "futex", Fd::None, Inject, &[]),
    row(203, "sched_setaffinity", Fd::None, Reissue, &[]),
    row(204, "sched_getaffinity", Fd::None, Inject, &[got(2)]),
    row(205, "set_thread_area", Fd::None, Refuse("it changes segment descriptors"), &[]),
    row(206, "io_setup", Fd::None, Reissue, &[bytes(1, 8)]),
    row(207, "io_destroy", Fd::None, Reissue, &[]),
    row(208, "io_getevents", Fd::None, Refuse("kernel AIO"), &[]),
    row(209, "io_submit", Fd::None, Refuse("kernel AIO"), &[]),
    row(210, "io_cancel", Fd::None, Refuse("kernel AIO"), &[]),
    row(211, "get_thread_area", Fd::None, Refuse("it reads segment descriptors"), &[]),
    row(212, "lookup_dcookie", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(213, "epoll_create", Fd::Ret, Reissue, &[]),
    row(214, "epoll_ctl_old", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(215, "epoll_wait_old", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(216, "remap_file_pages", Fd::None, Refuse("obsolete: it rearranges a mapping"), &[]),
    row(217, "getdents64", Fd::Arg(0), Inject, &[got(1)]),
    row(218, "set_tid_address", Fd::None, Reissue, &[]),
    row(219, "restart_syscall", Fd::None, Special(Restart), &[]),
    row(220, "semtimedop", Fd::None, Refuse("System V semaphores"), &[]),
    row(221, "fadvise64", Fd::None, Inject, &[]),
    row(222, "timer_create", Fd::None, Special(Timer), &[bytes(2, 4)]),
    row(223, "timer_settime", Fd::None, Special(Timer), &[bytes(3, 32)]),
    row(224, "timer_gettime", Fd::None, Inject, &[bytes(1, 32)]),
    row(225, "timer_getoverrun", Fd::None, Inject, &[]),
    row(226, "timer_delete", Fd::None, Special(Timer), &[]),
    row(227, "clock_settime", Fd::None, Refuse("it sets the host's clock"), &[]),
    row(228, "clock_gettime", Fd::None, Inject, &[bytes(1, 16)]),
    row(229, "clock_getres", Fd::None, Inject, &[bytes(1, 16)]),
    row(230, "clock_nanosleep", Fd::None, Inject, &[left(3)]),
    row(231, "exit_group", Fd::None, Special(Exit), &[]),
    row(232, "epoll_wait", Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::Ret(12), when: When::Positive }]),
    row(233, "epoll_ctl", Fd::Arg(0), Reissue, &[]),
    row(234, "tgkill", Fd::None, Inject, &[]),
    row(235, "utimes", Fd::None, Reissue, &[]),
    row(236, "vserver", Fd::None, Refuse("not implemented by the kernel"), &[]),
    row(237, "mbind", Fd::None, Reissue, &[]),
    row(238, "set_mempolicy", Fd::None, Reissue, &[]),
    row(239, "get_mempolicy", Fd::None, Inject, &[bytes(0, 4), bits(1, 2)]),
    row(240, "mq_open", Fd::None, Refuse("POSIX message queues"), &[]),
    row(241, "mq_unlink", Fd::None, Refuse("POSIX message queues"), &[]),
    row(242, "mq_timedsend", Fd::None, Refuse("POSIX message queues"), &[]),
    row(243, "mq_timedreceive", Fd::None, Refuse("POSIX message queues"), &[]),
    row(244, "mq_notify", Fd::None, Refuse("POSIX message queues"), &[]),
    row(245, "mq_getsetattr", Fd::None, Refuse("POSIX message queues"), &[]),
    row(246, "kexec_load", Fd::None, Refuse("it acts on the host"), &[]),
    row(247, "waitid", Fd::None, Special(Wait), &[bytes(2, 128), bytes(4, 144)]),
    row(248, "add_key", Fd::None, Refuse("it uses the kernel's keyrings"), &[]),
    row(249, "request_key", Fd::None, Refuse("it uses the kernel's keyrings"), &[]),
    row(250, "keyctl", Fd::None, Refuse("it uses the kernel's keyrings"), &[]),
    row(251, "ioprio_set", Fd::None, Inject, &[]),
    row(252, "ioprio_get", Fd::None, Inject, &[]),
    row(253, "inotify_init", Fd::Ret, Reissue, &[]),
    row(254, "inotify_add_watch", Fd::Arg(0), Reissue, &[]),
    row(255, "inotify_rm_watch", Fd::Arg(0), Reissue, &[]),
    row(256, "migrate_pages", Fd::None, Refuse("it moves pages between nodes"), &[]),
    row(257, "openat", Fd::Ret, Special(Open), &[]),
    row(258, "mkdirat", Fd::None, Reissue, &[]),
    row(259, "mknodat", Fd::None, Reissue, &[]),
    row(260, "fchownat", Fd::None, Reissue, &[]),
    row(261, "futimesat", Fd::None, Reissue, &[]),
    row(262, "newfstatat", Fd::None, Inject, &[bytes(2, 144)]),
    row(263, "unlinkat", Fd::None, Reissue, &[]),
    row(264, "renameat", Fd::None, Reissue, &[]),
    row(265, "linkat", Fd::None, Reissue, &[]),
    row(266, "symlinkat", Fd::None, Reissue, &[]),
    row(267, "readlinkat", Fd::None, Inject, &[got(2)]),
    row(268, "fchmodat", Fd::None, Reissue, &[]),
    row(269, "faccessat", Fd::None, Inject, &[]),
    row(270, "pselect6", Fd::None, Special(MaskedWait), &[bits(1, 0), bits(2, 0), bits(3, 0), left(4)]),
    row(271, "ppoll", Fd::None, Special(MaskedWait), &[times(0, 1, 8), left(2)]),
    row(272, "unshare", Fd::None, Refuse("it makes namespaces"), &[]),
    row(273, "set_robust_list", Fd::None, Reissue, &[]),
    row(274, "get_robust_list", Fd::None, Inject, &[bytes(1, 8), bytes(2, 8)]),
    row(275, "splice", Fd::None, Refuse("it moves bytes that never reach memory"), &[]),
    row(276, "tee", Fd::None, Refuse("it moves bytes that never reach memory"), &[]),
    row(277, "sync_file_range", Fd::None, Inject, &[]),
    row(278, "vmsplice", Fd::None, Refuse("it moves bytes that never reach memory"), &[]),
    row(279, "move_pages", Fd::None, Refuse("it moves pages between nodes"), &[]),
    row(280, "utimensat", Fd::None, Reissue, &[]),
    row(281, "epoll_pwait", Fd::Arg(0), Special(MaskedWait), &[Out { arg: 1, len: Len::Ret(12), when: When::Positive }]),
    row(282, "signalfd", Fd::Ret, Reissue, &[]),
    row(283, "timerfd_create", Fd::Ret, Reissue, &[]),
    row(284, "eventfd", Fd::Ret, Reissue, &[]),
    row(285, "fallocate", Fd::Arg(0), Reissue, &[]),
    row(286, "timerfd_settime", Fd::Arg(0), Inject, &[bytes(3, 32)]),
    row(287, "timerfd_gettime", Fd::Arg(0), Inject, &[bytes(1, 32)]),
    row(288, "accept4", Fd::Ret, Special(Accept), &[deref(1, 2), bytes(2, 4)]),
    row(289, "signalfd4", Fd::Ret, Reissue, &[]),
    row(290, "eventfd2", Fd::Ret, Reissue, &[]),
    row(291, "epoll_create1", Fd::Ret, Reissue, &[]),
    row(292, "dup3", Fd::Ret, Reissue, &[]),
    row(293, "pipe2", Fd::None, Reissue, &[bytes(0, 8)]),
    row(294, "inotify_init1", Fd::Ret, Reissue, &[]),
    row(295, "preadv", Fd::Arg(0), OwnElseInject, &[iov(1, 2)]),
    row(296, "pwritev", Fd::Arg(0), Output, &[]),
    row(297, "rt_tgsigqueueinfo", Fd::None, Inject, &[]),
    row(298, "perf_event_open", Fd::None, Refuse("it measures the machine"), &[]),
    row(299, "recvmmsg", Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::Mmsghdr, when: When::Positive }, left(4)]),
    row(300, "fanotify_init", Fd::None, Refuse("it watches the whole file system"), &[]),
    row(301, "fanotify_mark", Fd::None, Refuse("it watches the whole file system"), &[]),
    row(302, "prlimit64", Fd::None, ReissueInject, &[bytes(3, 16)]),
    row(303, "name_to_handle_at", Fd::None, Refuse("file handles differ between hosts"), &[]),
    row(304, "open_by_handle_at", Fd::None, Refuse("file handles differ between hosts"), &[]),
    row(305, "clock_adjtime", Fd::None, Inject, &[bytes(1, 208)]),
    row(306, "syncfs", Fd::None, Inject, &[]),
    row(307, "sendmmsg", Fd::Arg(0), Inject, &[Out { arg: 1, len: Len::Ret(64), when: When::Positive }]),
    row(308, "setns", Fd::None, Refuse("it enters namespaces"), &[]),
    row(309, "getcpu", Fd::None, Inject, &[bytes(0, 4), bytes(1, 4)]),
    row(310, "process_vm_readv", Fd::None, Refuse("it reads the memory of another process"), &[]),
    row(311, "process_vm_writev", Fd::None, Refuse("it writes the memory of another process"), &[]),
    row(312, "kcmp", Fd::None, Inject, &[]),
    row(313, "finit_module", Fd::None, Refuse("it acts on the host"), &[]),
    row(314, "sched_setattr", Fd::None, Reissue, &[]),
    row(315, "sched_getattr", Fd::None, Inject, &[times(1, 2, 1)]),
    row(316, "renameat2", Fd::None, Reissue, &[]),
    many(317, "seccomp", Fd::None, Refuse("a seccomp operation that has no row"), 0, SECCOMP),
    row(318, "getrandom", Fd::None, Inject, &[got(0)]),
    row(319, "memfd_create", Fd::Ret, Reissue, &[]),
    row(320, "kexec_file_load", Fd::None, Refuse("it acts on the host"), &[]),
    row(321, "bpf", Fd::None, Refuse("it loads programs into the kernel"), &[]),
    row(322, "execveat", Fd::None, Special(Exec), &[]),
    row(323, "userfaultfd", Fd::None, Refuse("it handles page faults"), &[]),
    row(324, "membarrier", Fd::None, Reissue, &[]),
    row(325, "mlock2", Fd::None, Reissue, &[]),
    row(326, "copy_file_range", Fd::Arg(2), Reissue, &[bytes(1, 8), bytes(3, 8)]),
    row(327, "preadv2", Fd::Arg(0), OwnElseInject, &[iov(1, 2)]),
    row(328, "pwritev2", Fd::Arg(0), Output, &[]),
    row(329, "pkey_mprotect", Fd::None, Reissue, &[]),
    row(330, "pkey_alloc", Fd::None, Reissue, &[]),
    row(331, "pkey_free", Fd::None, Reissue, &[]),
    row(332, "statx", Fd::None, Inject, &[bytes(4, 256)]),
    row(333, "io_pgetevents", Fd::None, Refuse("kernel AIO"), &[]),
    row(334, "rseq", Fd::None, Refuse("restartable sequences; the runtime answers ENOSYS"), &[]),
    row(335, "uretprobe", Fd::None, Refuse("only the kernel calls it"), &[]),
    row(336, "uprobe", Fd::None, Refuse("only the kernel calls it"), &[]),
    row(424, "pidfd_send_signal", Fd::None, Inject, &[]),
    row(425, "io_uring_setup", Fd::None, Refuse("io_uring; the runtime answers ENOSYS"), &[]),
    row(426, "io_uring_enter", Fd::None, Refuse("io_uring; the runtime answers ENOSYS"), &[]),
    row(427, "io_uring_register", Fd::None, Refuse("io_uring; the runtime answers ENOSYS"), &[]),
    row(428, "open_tree", Fd::None, Refuse("it changes mounts"), &[]),
    row(429, "move_mount", Fd::None, Refuse("it changes mounts"), &[]),
    row(430, "fsopen", Fd::None, Refuse("it changes mounts"), &[]),
    row(431, "fsconfig", Fd::None, Refuse("it changes mounts"), &[]),
    row(432, "fsmount", Fd::None, Refuse("it changes mounts"), &[]),
    row(433, "fspick", Fd::None, Refuse("it changes mounts"), &[]),
    row(434, "pidfd_open", Fd::Ret, Reissue, &[]),
    row(435, "clone3", Fd::None, Special(Fork), &[]),
    row(436, "close_range", Fd::None, Reissue, &[]),
    row(437, "openat2", Fd::Ret, Special(Open), &[]),
    row(438, "pidfd_getfd", Fd::None, Refuse("it takes descriptors of another process"), &[]),
    row(439, "faccessat2", Fd::None, Inject, &[]),
    row(440, "process_madvise", Fd::None, Refuse("it changes the memory of another process"), &[]),
    row(441, "epoll_pwait2", Fd::Arg(0), Special(MaskedWait), &[Out { arg: 1, len: Len::Ret(12), when: When::Positive }]),
    row(442, "mount_setattr", Fd::None, Refuse("it changes mounts"), &[]),
    row(443, "quotactl_fd", Fd::None, Refuse("it acts on the host"), &[]),
    row(444, "landlock_create_ruleset", Fd::Ret, Reissue, &[]),
    row(445, "landlock_add_rule", Fd::None, Reissue, &[]),
    row(446, "landlock_restrict_self", Fd::None, Reissue, &[]),
    row(447, "memfd_secret", Fd::None, Refuse("memory that nobody else can read"), &[]),
    row(448, "process_mrelease", Fd::None, Refuse("it frees the memory of another process"), &[]),
    row(449, "futex_waitv", Fd::None, Inject, &[]),
    row(450, "set_mempolicy_home_node", Fd::None, Reissue, &[]),
    row(451, "cachestat", Fd::None, Inject, &[bytes(2, 40)]),
    row(452, "fchmodat2", Fd::None, Reissue, &[]),
    row(453, "map_shadow_stack", Fd::None, Refuse("shadow stacks"), &[]),
    row(454, "futex_wake", Fd::None, Inject, &[]),
    row(455, "futex_wait", Fd::None, Inject, &[]),
    row(456, "futex_requeue", Fd::None, Inject, &[]),
    row(457, "statmount", Fd::None, Inject, &[times(1, 2, 1)]),
    row(458, "listmount", Fd::None, Inject, &[Out { arg: 1, len: Len::Ret(8), when: When::Positive }]),
    row(459, "lsm_get_self_attr", Fd::None, Refuse("security modules differ between hosts"), &[]),
    row(460, "lsm_set_self_attr", Fd::None, Refuse("security modules differ between hosts"), &[]),
    row(461, "lsm_list_modules", Fd::None, Inject, &[deref(0, 1), bytes(1, 4)]),
    row(462, "mseal", Fd::None, Reissue, &[]),
    row(463, "setxattrat", Fd::None, Reissue, &[]),
    row(464, "getxattrat", Fd::None, Refuse("its output is behind a second pointer"), &[]),
    row(465, "listxattrat", Fd::None, Inject, &[got(3)]),
    row(466, "removexattrat", Fd::None, Reissue, &[]),
    row(467, "open_tree_attr", Fd::None, Refuse("it changes mounts"), &[]),
    row(468, "file_getattr", Fd::None, Inject, &[times(2, 3, 1)]),
    row(469, "file_setattr", Fd::None, Reissue, &[]),
];
const _: () = assert!(TABLE.len() == COUNT);

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
    fn choices_are_distinct() {
        for select in TABLE.iter().filter_map(|row| row.select.as_ref()) {
            for (at, choice) in select.choices.iter().enumerate() {
                assert!(select.choices[..at].iter().all(|other| other.value != choice.value), "{}", choice.name);
            }
        }
    }
}
