//! Structures of the kernel's interface.

use std::mem::MaybeUninit;

/// A C structure for which all bytes zero is a valid value.
///
/// # Safety
/// It has only integers, arrays of them and raw pointers.
pub unsafe trait Plain: Sized {}

macro_rules! plain_types {
    ($($kind:ident),* $(,)?) => { $(
        // SAFETY: integers, arrays of them and raw pointers.
        unsafe impl Plain for libc::$kind {}
    )* };
}
plain_types!(
    cmsghdr,
    epoll_event,
    flock,
    ifreq,
    iovec,
    itimerspec,
    itimerval,
    linger,
    mmsghdr,
    msghdr,
    pollfd,
    pthread_barrier_t,
    pthread_barrierattr_t,
    pthread_cond_t,
    pthread_condattr_t,
    pthread_mutex_t,
    pthread_mutexattr_t,
    pthread_rwlock_t,
    pthread_rwlockattr_t,
    rlimit,
    rusage,
    sem_t,
    semid_ds,
    shmid_ds,
    msqid_ds,
    mq_attr,
    sigevent,
    sigset_t,
    signalfd_siginfo,
    sockaddr_in,
    sockaddr_nl,
    sockaddr_storage,
    sockaddr_un,
    stack_t,
    stat,
    statfs,
    statx,
    sysinfo,
    timespec,
    timeval,
    timezone,
    tms,
    ucred,
    utsname,
    siginfo_t,
    sigaction,
    fd_set,
    cpu_set_t,
);

/// A structure of zeros.
#[must_use]
pub fn zero<T: Plain>() -> T {
    // SAFETY: what `Plain` promises.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// The size of a type as the socket calls want it.
#[must_use]
pub fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
