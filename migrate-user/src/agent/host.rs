//! What this host is: for hellos and logs.

use crate::round::Cpu;
use crate::sys::release;
use crate::wire::Hello;

fn clock_ns(clock: nix::time::ClockId) -> u64 {
    let now = nix::time::clock_gettime(clock).unwrap_or_else(|_| nix::sys::time::TimeSpec::new(0, 0));
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}

/// CLOCK_MONOTONIC in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_MONOTONIC)
}

/// CLOCK_BOOTTIME in nanoseconds.
#[must_use]
pub fn boottime_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_BOOTTIME)
}

/// The processor, as /proc/cpuinfo and CPUID tell it.
#[must_use]
pub fn cpu() -> Cpu {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let mut features: Vec<String> = field("flags").split_whitespace().map(str::to_owned).collect();
    features.sort_unstable();
    let xsave = std::arch::x86_64::__cpuid_count(0xd, 0);
    let xcr0 = if features.iter().any(|feature| feature == "xsave") {
        // SAFETY: the processor has XSAVE and the kernel enabled it, or the flag would not be in /proc/cpuinfo.
        unsafe { xgetbv() }
    } else {
        0
    };
    Cpu { model: field("model name"), features, xsave_bytes: xsave.ebx, xcr0 }
}

/// # Safety
/// The kernel must have enabled XSAVE.
#[target_feature(enable = "xsave")]
unsafe fn xgetbv() -> u64 {
    // SAFETY: the caller's promise.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// This host's half of a hello.
#[must_use]
pub fn hello(docker_version: &str) -> Hello {
    Hello {
        kernel_release: release::name(),
        cpu: cpu(),
        docker_version: docker_version.to_owned(),
        monotonic_ns: monotonic_ns(),
        boottime_ns: boottime_ns(),
        realtime_ns: clock_ns(nix::time::ClockId::CLOCK_REALTIME),
        ..Hello::new()
    }
}
