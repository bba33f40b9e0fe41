//! System calls through the `libc` crate, with the failing call and its place in the error.
//!
//! The macros hide one `unsafe` block each. Its contract is the same for all guests: an argument is a plain value, or a pointer
//! that comes from a live reference (or a mapping) of at least the size that the call is told.

use std::ffi::c_void;
use std::io;

/// How a C function says that it failed.
pub trait Ret: Copy {
    /// Whether errno has the reason.
    fn failed(self) -> bool;
}

impl Ret for i32 {
    fn failed(self) -> bool {
        self == -1
    }
}

impl Ret for i64 {
    fn failed(self) -> bool {
        self == -1
    }
}

impl Ret for isize {
    fn failed(self) -> bool {
        self == -1
    }
}

impl Ret for *mut c_void {
    fn failed(self) -> bool {
        self == libc::MAP_FAILED
    }
}

/// errno of the call just made.
pub fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The result of a call, or an error that names it.
pub fn outcome<T: Ret>(result: T, name: &str, file: &str, line: u32) -> crate::kit::Result<T> {
    if result.failed() {
        let error = io::Error::last_os_error();
        return Err(anyhow::Error::new(error).context(format!("{name} failed at {file}:{line}")));
    }
    Ok(result)
}

/// Checks that a call failed with one error.
pub fn failure<T: Ret>(result: T, wanted: i32, name: &str, file: &str, line: u32) -> crate::kit::Result {
    let found = errno();
    if !result.failed() {
        anyhow::bail!("{name} succeeded instead of failing with errno {wanted} at {file}:{line}");
    }
    if found != wanted {
        anyhow::bail!("{name} failed with errno {found} instead of {wanted} at {file}:{line}");
    }
    Ok(())
}

/// `sys!(read(fd, pointer, length))?`: a libc function that must succeed; gives its result.
macro_rules! sys {
    ($name:ident($($arg:expr),* $(,)?)) => {
        $crate::kit::call::outcome(
            // SAFETY: the contract of this module.
            unsafe { libc::$name($($arg),*) },
            stringify!($name),
            file!(),
            line!(),
        )
    };
}

/// `raw!(SYS_getcpu, pointer, pointer, 0)?`: a system call by number, where glibc's function makes another one.
macro_rules! raw {
    ($number:ident $(, $arg:expr)* $(,)?) => {
        $crate::kit::call::outcome(
            // SAFETY: the contract of this module.
            unsafe { libc::syscall(libc::$number $(, $arg)*) },
            stringify!($number),
            file!(),
            line!(),
        )
    };
}

/// `plain!(getpid())`: a libc function whose result is the value, never an error.
macro_rules! plain {
    ($name:ident($($arg:expr),* $(,)?)) => {
        // SAFETY: the contract of this module.
        unsafe { libc::$name($($arg),*) }
    };
}

/// `fails!(EAGAIN, read(fd, pointer, length))?`: a libc function that must fail with this error.
macro_rules! fails {
    ($errno:ident, $name:ident($($arg:expr),* $(,)?)) => {
        $crate::kit::call::failure(
            // SAFETY: the contract of this module.
            unsafe { libc::$name($($arg),*) },
            libc::$errno,
            stringify!($name),
            file!(),
            line!(),
        )
    };
}

/// `check!(condition, "what {value}")`: the guest fails with the message when the condition does not hold.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            anyhow::bail!("{} at {}:{}", format_args!($($message)+), file!(), line!());
        }
    };
}

/// `check_eq!(found, wanted, "what")`: as [`check!`], with both values in the message.
macro_rules! check_eq {
    ($found:expr, $wanted:expr, $($message:tt)+) => {
        match (&$found, &$wanted) {
            (found, wanted) => {
                if *found != *wanted {
                    anyhow::bail!("{}: {found:?} instead of {wanted:?} at {}:{}", format_args!($($message)+), file!(), line!());
                }
            }
        }
    };
}
