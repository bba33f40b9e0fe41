//! Kernel memory at offsets from the kernel's BTF.
//!
//! The loader overwrites [`OFFSETS`] before the programs load. It lies in `.rodata`, which is frozen then, so the verifier
//! knows every offset as a constant and accepts direct loads through pointers that it knows the type of ([`load`]).
//! Pointers that come out of an array (`fdt->fd[n]`) have no type: [`read`] goes through a helper.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};
use bytemuck::Pod;
use migrate_common::maps::Offsets;

/// Set by the loader.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ZERO;

/// Bytes after which a CPU wakes the reader of the ring. Set by the loader.
#[unsafe(no_mangle)]
static WAKE_BYTES: u64 = 256 * 1024;

/// One field of [`OFFSETS`].
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::constant(&raw const $crate::kernel::OFFSETS.$field) as usize
    };
}
pub(crate) use offset;

/// A constant that the loader has set: read so that the compiler does not take the value at build time for granted.
#[inline(always)]
pub fn constant<T: Copy>(constant: *const T) -> T {
    // SAFETY: callers pass addresses of this module's statics.
    unsafe { core::ptr::read_volatile(constant) }
}

/// A value of a map, read so that the verifier knows nothing of it: it would check what follows once for each way in which the
/// value can have come about.
#[inline(always)]
pub fn forget<T: Copy>(value: &T) -> T {
    // SAFETY: it is a reference.
    unsafe { core::ptr::read_volatile(value) }
}

/// See [`WAKE_BYTES`].
#[inline(always)]
pub fn wake_bytes() -> u64 {
    constant(&raw const WAKE_BYTES)
}

/// A pointer into the kernel.
pub type Kptr = *const u8;

/// The field at `offset` of the typed object at `object`. A bad address reads as 0.
#[inline(always)]
pub fn load<T: Copy>(object: Kptr, offset: usize) -> T {
    // SAFETY: the verifier accepts the load only through a pointer that it knows to be of a kernel object, at an offset within
    // that object's type; the kernel catches the fault of an object that is gone.
    unsafe { core::ptr::read_volatile(object.wrapping_add(offset).cast::<T>()) }
}

/// The field at `offset` of the object at `object`, whose type the verifier has lost. A bad address reads as 0.
#[inline(always)]
pub fn read<T: Copy + Default>(object: Kptr, offset: usize) -> T {
    // SAFETY: the helper checks the address; `T` is a number, for which every value is valid.
    unsafe { bpf_probe_read_kernel(object.wrapping_add(offset).cast::<T>()) }.unwrap_or_default()
}

/// What lies at an address of the current task's memory; none if nothing does.
#[inline(always)]
pub fn read_user<T: Pod>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address; a `Pod` is valid whatever its bytes.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// [`read`] of a pointer.
#[inline(always)]
pub fn read_ptr(object: Kptr, offset: usize) -> Kptr {
    read::<u64>(object, offset) as Kptr
}
