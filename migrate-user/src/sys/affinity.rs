//! The CPUs that a task may run on: sched_setaffinity(2).

use std::io;

/// A set of CPUs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CpuSet(libc::cpu_set_t);

impl std::fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..libc::CPU_SETSIZE as usize).filter(|cpu| self.has(*cpu))).finish()
    }
}

impl CpuSet {
    fn has(&self, cpu: usize) -> bool {
        // SAFETY: `cpu` is below CPU_SETSIZE at every call in this file.
        unsafe { libc::CPU_ISSET(cpu, &self.0) }
    }

    /// One CPU alone.
    #[must_use]
    pub fn only(cpu: usize) -> Self {
        Self::of_cpus(&[cpu])
    }

    /// These CPUs, as far as they are below CPU_SETSIZE.
    #[must_use]
    pub fn of_cpus(cpus: &[usize]) -> Self {
        // SAFETY: all-zero is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for &cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
            // SAFETY: `cpu` is below CPU_SETSIZE.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
        Self(set)
    }

    /// Its CPUs, ascending.
    #[must_use]
    pub fn cpus(&self) -> Vec<usize> {
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| self.has(*cpu)).collect()
    }

    /// The set but for one CPU.
    #[must_use]
    pub fn without(mut self, cpu: usize) -> Self {
        if cpu < libc::CPU_SETSIZE as usize {
            // SAFETY: `cpu` is below CPU_SETSIZE.
            unsafe { libc::CPU_CLR(cpu, &mut self.0) };
        }
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpus().is_empty()
    }

    /// The set's highest CPU alone.
    #[must_use]
    pub fn last(&self) -> Self {
        // SAFETY: all-zero is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        if let Some(cpu) = (0..libc::CPU_SETSIZE as usize).rev().find(|cpu| self.has(*cpu)) {
            // SAFETY: `cpu` is below CPU_SETSIZE.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
        Self(set)
    }
}

/// Where a task may run; 0 is the caller.
pub fn of(pid: libc::pid_t) -> io::Result<CpuSet> {
    // SAFETY: all-zero is the empty set, which the kernel fills.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a live set of the size that is told.
    let result = unsafe { libc::sched_getaffinity(pid, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(CpuSet(set)) }
}

/// Sets it.
pub fn set(pid: libc::pid_t, cpus: &CpuSet) -> io::Result<()> {
    // SAFETY: a live set of the size that is told.
    let result = unsafe { libc::sched_setaffinity(pid, size_of::<libc::cpu_set_t>(), &raw const cpus.0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
