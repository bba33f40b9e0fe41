//! The time of a record.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};

use crate::maps::KNOWN;

/// When a tick was first seen.
#[repr(C)]
pub struct Tick {
    jiffies: u64,
    time_ns: u64,
}

/// CLOCK_MONOTONIC, in nanoseconds.
#[inline(always)]
pub fn exact_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// [`exact_ns`] as it was when the first record of this tick asked. Tracing programs may not ask for the kernel's own coarse
/// clock; jiffies are a load. CPUs that see a new tick at once may each store their reading of it, microseconds apart.
#[inline(always)]
pub fn tick_ns() -> u64 {
    let Some(known) = KNOWN.get_ptr_mut(0) else { return exact_ns() };
    // SAFETY: a helper without arguments, and two words of a map's value, each read and written whole.
    unsafe {
        let tick = &raw mut (*known).tick;
        let jiffies = bpf_jiffies64();
        if (&raw const (*tick).jiffies).read_volatile() != jiffies {
            (&raw mut (*tick).time_ns).write_volatile(exact_ns());
            (&raw mut (*tick).jiffies).write_volatile(jiffies);
        }
        (&raw const (*tick).time_ns).read_volatile()
    }
}
