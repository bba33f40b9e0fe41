//! Which pages a process has written since an earlier look: userfaultfd(2) with asynchronous write protection (Linux 6.7).
//!
//! A userfaultfd belongs to the memory of the process that opened it; whoever holds the descriptor can track that memory. Nothing is ever
//! read from it: with `UFFD_FEATURE_WP_ASYNC` a write to a protected page takes the protection away by itself, for 0.7 to 0.9 us, and
//! [`Pagemap`](super::pagemap::Pagemap) tells afterwards. Closing it ends the tracking and leaves nothing protected.
//!
//! Not seen are writes to pages that the kernel has pinned before they were protected: O_DIRECT reads under way.
//!
//! Layouts and constants: include/uapi/linux/userfaultfd.h.

use super::pidfd::PidFd;
use super::ptrace::Pid;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The argument of the call that a process opens one with: it handles faults of user code alone, which asks for no right.
pub const OPEN_FLAGS: i32 = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
const UFFD_USER_MODE_ONLY: i32 = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_REGISTER_MODE_WP: u64 = 2;

/// The descriptor, or the kernel's error, that the call has given in another process's name.
///
/// # Errors
/// What the result says.
pub fn opened(result: i64) -> io::Result<RawFd> {
    let result = i32::try_from(result).map_err(io::Error::other)?;
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

/// struct uffdio_api
#[repr(C)]
#[derive(Debug)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// struct uffdio_range
#[repr(C)]
#[derive(Debug)]
struct UffdRange {
    start: u64,
    len: u64,
}

/// struct uffdio_register
#[repr(C)]
#[derive(Debug)]
struct Register {
    range: UffdRange,
    mode: u64,
    ioctls: u64,
}

const _: () = assert!(size_of::<Api>() == 24 && size_of::<UffdRange>() == 16 && size_of::<Register>() == 32);

nix::ioctl_readwrite!(uffdio_api, 0xaa, 0x3f, Api);
nix::ioctl_readwrite!(uffdio_register, 0xaa, 0x00, Register);
nix::ioctl_read!(uffdio_unregister, 0xaa, 0x01, UffdRange);

/// Tracks the writes to one process's memory: to the image that it had when it opened the descriptor.
#[derive(Debug)]
pub struct Userfaultfd(OwnedFd);

impl Userfaultfd {
    /// Of the calling process.
    ///
    /// # Errors
    /// `EINVAL` before Linux 6.7, `ENOSYS` without CONFIG_USERFAULTFD.
    pub fn own() -> io::Result<Self> {
        // SAFETY: a call with a number.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, OPEN_FLAGS) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        Self::new(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Takes over the descriptor `fd` that process `pid` has just opened with [`OPEN_FLAGS`], and which it may close then.
    ///
    /// # Errors
    /// `EINVAL` before Linux 6.7; those of pidfd_open(2) and pidfd_getfd(2).
    pub fn take_over(pid: Pid, fd: RawFd) -> io::Result<Self> {
        Self::new(PidFd::open(pid)?.get(fd)?)
    }

    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let mut api = Api { api: UFFD_API, features: UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC, ioctls: 0 };
        // SAFETY: the kernel reads and writes one `Api`.
        unsafe { uffdio_api(descriptor.as_raw_fd(), &raw mut api) }?;
        Ok(Self(descriptor))
    }

    /// From now on a scan of these addresses, which one mapping has, can protect pages and tell which were written. What is tracked
    /// already stays as it is.
    ///
    /// # Errors
    /// `ESRCH`: the process has ended or entered another image. `EINVAL`: not of this mapping, or it is gone.
    pub fn track(&self, range: Range<u64>) -> io::Result<()> {
        let range = UffdRange { start: range.start, len: range.end - range.start };
        let mut register = Register { range, mode: UFFDIO_REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: the kernel reads and writes one `Register`; the addresses are the tracked process's.
        unsafe { uffdio_register(self.0.as_raw_fd(), &raw mut register) }?;
        Ok(())
    }

    /// Ends that: nothing there is protected any more.
    ///
    /// # Errors
    /// As [`Self::track`].
    pub fn untrack(&self, range: Range<u64>) -> io::Result<()> {
        let mut range = UffdRange { start: range.start, len: range.end - range.start };
        // SAFETY: the kernel reads one `UffdRange`.
        unsafe { uffdio_unregister(self.0.as_raw_fd(), &raw mut range) }?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pagemap::{PAGE_BYTES, Pagemap, Wanted, category};
    use super::*;
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    use std::num::NonZeroUsize;

    #[test]
    fn pages_that_were_written_since_the_last_look_are_told_and_no_others() {
        let writes = match Userfaultfd::own() {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return eprintln!("skipped: needs Linux 6.7"),
            own => own.unwrap(),
        };
        const PAGES: usize = 16;
        let bytes = NonZeroUsize::new(PAGES * PAGE_BYTES as usize).unwrap();
        // SAFETY: a new private mapping that this test alone uses.
        let at =
            unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE) }.unwrap();
        // SAFETY: within the mapping.
        let write = |page: usize| unsafe { at.cast::<u8>().add(page * PAGE_BYTES as usize).write_volatile(1) };
        let start = at.as_ptr() as u64;
        let range = start..start + bytes.get() as u64;
        let pagemap = Pagemap::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let look = |protect| {
            let any_of = category::PRESENT | category::SWAPPED;
            let wanted = Wanted { all_of: category::WRITTEN, any_of, none_of: category::FILE | category::ZERO_PAGE, protect };
            let mut pages = Vec::new();
            let each = |region: super::super::pagemap::Region| {
                pages.extend((0..region.pages()).map(|n| (region.start - start) / PAGE_BYTES + n));
            };
            pagemap.scan(range.start, range.end, wanted, each).unwrap();
            pages
        };
        (0..PAGES).for_each(write);
        writes.track(range.clone()).unwrap();
        let all: Vec<u64> = (0..PAGES as u64).collect();
        assert_eq!(look(true), all);
        assert!(look(false).is_empty());
        write(3);
        write(9);
        // Looking alone changes nothing.
        assert_eq!(look(false), [3, 9]);
        assert_eq!(look(true), [3, 9]);
        write(9);
        writes.track(range.clone()).unwrap();
        assert_eq!(look(true), [9]);
        writes.untrack(range.clone()).unwrap();
        assert_eq!(look(false), all);
        // SAFETY: the mapping is not used behind this.
        unsafe { munmap(at, bytes.get()) }.unwrap();
    }
}
