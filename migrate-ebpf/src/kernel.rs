//! Kernel memory at offsets from the kernel's BTF.
//!
//! The loader overwrites [`OFFSETS`] before the programs load. It lies in `.rodata`, which is frozen then, so the verifier
//! knows every offset as a constant and accepts direct loads through pointers that it knows the type of ([`load`]).
//! Pointers that come out of an array (`fdt->fd[n]`) have no type: [`read`] goes through a helper.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use bytemuck::Pod;
use migrate_common::maps::Offsets;

/// Set by the loader.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ZERO;

/// Bytes after which a CPU wakes the reader of the ring. Set by the loader.
#[unsafe(no_mangle)]
static WAKE_BYTES: u64 = 256 * 1024;

/// Bytes in the ring from which on tasks are held. Set by the loader.
#[unsafe(no_mangle)]
static HOLD_BYTES: u64 = u64::MAX;

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

/// See [`HOLD_BYTES`].
#[inline(always)]
pub fn hold_bytes() -> u64 {
    constant(&raw const HOLD_BYTES)
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
pub fn read<T: Copy>(object: Kptr, offset: usize) -> T {
    // SAFETY: the helper checks the address, and zeroes what it cannot read; `T` is a number, for which every value is valid.
    unsafe {
        let mut value = MaybeUninit::<T>::uninit();
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, object.wrapping_add(offset).cast());
        value.assume_init()
    }
}

/// Bytes that a [`Window`] has.
pub const WINDOW_BYTES: usize = 64;

/// A part of an object whose type the verifier has lost, read at once: a call of the helper costs more than the bytes.
pub struct Window {
    bytes: [u64; WINDOW_BYTES / 8],
    start: usize,
}

impl Window {
    /// The object's bytes from offset `start` on. A bad address reads as 0.
    #[inline(always)]
    pub fn new(object: Kptr, start: usize) -> Self {
        // SAFETY: the helper checks the address, and zeroes what it cannot read; for numbers every value is valid.
        unsafe {
            let mut bytes = MaybeUninit::<[u64; WINDOW_BYTES / 8]>::uninit();
            bpf_probe_read_kernel(bytes.as_mut_ptr().cast(), WINDOW_BYTES as u32, object.wrapping_add(start).cast());
            Self { bytes: bytes.assume_init(), start }
        }
    }

    /// The field at `offset` of the object. Offsets are constants for the verifier, which checks that they lie within.
    #[inline(always)]
    pub fn get<T: Copy>(&self, offset: usize) -> T {
        let at = self.bytes.as_ptr().cast::<u8>().wrapping_add(offset - self.start);
        // SAFETY: within `bytes`, as the verifier checks.
        unsafe { core::ptr::read_volatile(at.cast()) }
    }
}

/// What lies at an address of the current task's memory; none if nothing does.
#[inline(always)]
pub fn read_user<T: Pod>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address, and zeroes what it cannot read; a `Pod` is valid whatever its bytes.
    unsafe {
        let mut value = MaybeUninit::<T>::uninit();
        let failed = bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        (failed == 0).then_some(value.assume_init())
    }
}

/// [`read`] of a pointer.
#[inline(always)]
pub fn read_ptr(object: Kptr, offset: usize) -> Kptr {
    read::<u64>(object, offset) as Kptr
}
