//! What descriptors are, as far as this CPU has seen it in the turn of the task that runs there.
//!
//! To find it out takes three reads of memory that no cache has. Of a task that takes turns with the others of its container nobody but itself changes
//! descriptors while it runs, and it does so by calls that return on this CPU: whatever call returns that is not known to keep them, and
//! whoever comes to the CPU, has all of it forgotten. Such a call can take effect before it returns, while another task runs; that one has come.

use migrate_common::record::Class;

use crate::kernel::{Kptr, load, offset};

/// Descriptors below this are kept.
const PLACES: usize = 1024;
/// Of a place: the class, and above it the number of the time for which it is known.
const CLASS_BITS: u32 = 8;

#[repr(C)]
pub struct Descriptors {
    /// Whose: the task's table of open files.
    files: u64,
    /// The time for which places hold: they all do not when it goes up.
    now: u64,
    places: [u64; PLACES],
}

impl Descriptors {
    #[inline(always)]
    pub fn forget(&mut self) {
        self.now += 1;
    }

    /// The class of a descriptor of the current task.
    #[inline(always)]
    pub fn class(&self, task: Kptr, fd: u64) -> Option<u8> {
        if fd >= PLACES as u64 || self.files != load::<u64>(task, offset!(task_files)) {
            return None;
        }
        let place = self.places[fd as usize & (PLACES - 1)];
        (place >> CLASS_BITS == self.now).then_some(place as u8)
    }

    /// Pipes, sockets and the like: there is more to a file than its class.
    #[inline(always)]
    pub fn keep(&mut self, task: Kptr, fd: u64, class: u8) {
        if fd >= PLACES as u64 || !(Class::Pipe as u8..=Class::Char as u8).contains(&class) {
            return;
        }
        let files: u64 = load(task, offset!(task_files));
        if self.files != files {
            self.files = files;
            self.forget();
        }
        self.places[fd as usize & (PLACES - 1)] = self.now << CLASS_BITS | u64::from(class);
    }
}
