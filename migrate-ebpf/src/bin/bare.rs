//! The least that a recorder of system calls could do: ask whether the task is meant, reserve as many bytes as a record of the
//! recorder's has, submit them. Nothing is written into them.
//!
//! An object of its own, for the benchmark that says how far the recorder is from that. Its reader polls: nobody is woken.
#![no_std]
#![no_main]

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::helpers::generated::{bpf_ringbuf_reserve, bpf_ringbuf_submit};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::programs::BtfTracePointContext;

/// include/uapi/linux/bpf.h
const BPF_RB_NO_WAKEUP: u64 = 1;

/// Whose calls are meant: the id of their cgroup. Set by the loader.
#[unsafe(no_mangle)]
static CGROUP: u64 = 0;
/// Bytes to reserve for a call; 0 for none. Set by the loader.
#[unsafe(no_mangle)]
static BYTES: u64 = 0;

/// The loader sets its size.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(64 * 1024 * 1024, 0);

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(_ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a helper without arguments.
    if unsafe { bpf_get_current_cgroup_id() } != constant(&raw const CGROUP) {
        return 0;
    }
    let bytes = constant(&raw const BYTES);
    if bytes == 0 {
        return 0;
    }
    let ring = (&raw const RING).cast_mut().cast();
    // SAFETY: the verifier checks that the map is a ring, that the length is a constant, and that what was reserved is submitted.
    unsafe {
        let entry = bpf_ringbuf_reserve(ring, bytes, 0);
        if !entry.is_null() {
            bpf_ringbuf_submit(entry, BPF_RB_NO_WAKEUP);
        }
    }
    0
}

/// A constant that the loader has set: read so that the compiler does not take the value at build time for granted.
#[inline(always)]
fn constant(constant: *const u64) -> u64 {
    // SAFETY: callers pass addresses of this module's statics.
    unsafe { core::ptr::read_volatile(constant) }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
