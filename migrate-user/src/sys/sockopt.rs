//! Socket options and socket ioctls by number, for the ones that no library has.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use bytemuck::{Pod, Zeroable};

/// Reads an option whose value is a `T`; a shorter answer leaves the rest zero.
///
/// # Errors
/// What getsockopt(2) says.
pub fn get<T: Pod>(fd: impl AsFd, level: i32, name: i32) -> io::Result<T> {
    let mut value = T::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `len` writable bytes and any bytes are a valid `T`.
    let status =
        unsafe { libc::getsockopt(fd.as_fd().as_raw_fd(), level, name, std::ptr::from_mut(&mut value).cast(), &mut len) };
    if status == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Sets an option whose value is a `T`.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set<T: Pod>(fd: impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    set_bytes(fd, level, name, bytemuck::bytes_of(value))
}

/// Sets an option whose value is any bytes, such as a name or a list.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_bytes(fd: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `value.len()` bytes from `value`.
    let status =
        unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An ioctl that writes one `int`: `FIONREAD`, `SIOCOUTQ`, `SIOCOUTQNSD`.
///
/// # Errors
/// What ioctl(2) says.
pub fn ioctl_int(fd: impl AsFd, request: libc::c_ulong) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the requests named above write one int, to `value`.
    let status = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &mut value) };
    if status == 0 { Ok(value.max(0) as u32) } else { Err(io::Error::last_os_error()) }
}

/// `struct linger` of socket(7).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Linger {
    pub on: i32,
    pub seconds: i32,
}
