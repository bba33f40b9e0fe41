//! What a call asks, and how its answer is laid out.

use crate::inodes::Identity;
use crate::sys::seccomp::Notification;
use rustix::fs::{major, makedev, minor};

/// Which file a call asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The one behind a descriptor.
    Descriptor(i32),
    /// The caller's working directory.
    WorkingDirectory,
    /// The one that a name leads to, from a descriptor of a directory or from `AT_FDCWD`.
    Name { from: i32, address: u64 },
}

/// How the answer is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `struct stat` of x86-64.
    Stat,
    Statx {
        mask: u32,
    },
}

/// A call of the stat family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) place: Place,
    /// `AT_*`.
    pub(super) flags: i32,
    pub(super) form: Form,
    /// Where the caller wants the answer.
    pub(super) address: u64,
}

impl Question {
    /// What a call asks; `None` if it is none of the stat family.
    #[expect(clippy::cast_possible_truncation, reason = "the kernel takes these arguments as int")]
    pub(super) fn of(call: &Notification) -> Option<Self> {
        let [a, b, c, d, e, _] = call.args;
        let named = |from, address| Place::Name { from, address };
        let (place, flags, form, address) = match i64::from(call.nr) {
            libc::SYS_fstat => (Place::Descriptor(a as i32), 0, Form::Stat, b),
            libc::SYS_stat => (named(libc::AT_FDCWD, a), 0, Form::Stat, b),
            libc::SYS_lstat => (named(libc::AT_FDCWD, a), libc::AT_SYMLINK_NOFOLLOW, Form::Stat, b),
            libc::SYS_newfstatat => (named(a as i32, b), d as i32, Form::Stat, c),
            libc::SYS_statx => (named(a as i32, b), c as i32, Form::Statx { mask: d as u32 }, e),
            _ => return None,
        };
        let question = Self { place, flags, form, address };
        // Linux 6.11 takes a null pointer for an empty name.
        Some(if matches!(place, Place::Name { address: 0, .. }) { question.without_name().unwrap_or(question) } else { question })
    }

    /// The same question when the name is empty; `None` if the call needs one.
    pub(super) fn without_name(self) -> Option<Self> {
        let Place::Name { from, .. } = self.place else { return Some(self) };
        let place = if from == libc::AT_FDCWD { Place::WorkingDirectory } else { Place::Descriptor(from) };
        (self.flags & libc::AT_EMPTY_PATH != 0).then_some(Self { place, ..self })
    }
}

/// Room for an answer of either form.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    form: Form,
    bytes: [u8; 256],
}

/// Offsets in `struct stat` and `struct statx`, linux/stat.h.
const STAT_DEV: usize = 0;
const STAT_INO: usize = 8;
const STATX_INO: usize = 32;
const STATX_DEV_MAJOR: usize = 136;
const STATX_DEV_MINOR: usize = 140;
const STAT_BYTES: usize = 144;
const STATX_BYTES: usize = 256;
const _: () = assert!(size_of::<libc::stat>() == STAT_BYTES && size_of::<libc::statx>() == STATX_BYTES);
const _: () = assert!(std::mem::offset_of!(libc::stat, st_ino) == STAT_INO);
const _: () = assert!(std::mem::offset_of!(libc::statx, stx_ino) == STATX_INO);
const _: () = assert!(std::mem::offset_of!(libc::statx, stx_dev_major) == STATX_DEV_MAJOR);

impl Answer {
    pub(super) fn new(form: Form) -> Self {
        Self { form, bytes: [0; 256] }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self.form {
            Form::Stat => &self.bytes[..STAT_BYTES],
            Form::Statx { .. } => &self.bytes[..STATX_BYTES],
        }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    pub(super) fn identity(&self) -> Identity {
        match self.form {
            Form::Stat => Identity { device: self.u64_at(STAT_DEV), inode: self.u64_at(STAT_INO) },
            Form::Statx { .. } => Identity {
                device: makedev(self.u32_at(STATX_DEV_MAJOR), self.u32_at(STATX_DEV_MINOR)),
                inode: self.u64_at(STATX_INO),
            },
        }
    }

    pub(super) fn set_identity(&mut self, identity: Identity) {
        match self.form {
            Form::Stat => {
                self.put(STAT_DEV, &identity.device.to_ne_bytes());
                self.put(STAT_INO, &identity.inode.to_ne_bytes());
            }
            Form::Statx { .. } => {
                self.put(STATX_INO, &identity.inode.to_ne_bytes());
                self.put(STATX_DEV_MAJOR, &major(identity.device).to_ne_bytes());
                self.put(STATX_DEV_MINOR, &minor(identity.device).to_ne_bytes());
            }
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn u64_at(&self, at: usize) -> u64 {
        bytemuck::pod_read_unaligned(&self.bytes[at..at + 8])
    }

    fn u32_at(&self, at: usize) -> u32 {
        bytemuck::pod_read_unaligned(&self.bytes[at..at + 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(nr: i64, args: [u64; 6]) -> Option<Question> {
        Question::of(&Notification { nr: i32::try_from(nr).unwrap(), args, ..Notification::default() })
    }

    const CWD: u64 = libc::AT_FDCWD as i64 as u64;
    const EMPTY: u64 = libc::AT_EMPTY_PATH as u64;

    #[test]
    fn each_call_of_the_family_says_which_file_and_where_the_answer_goes() {
        let name = |from| Place::Name { from, address: 0x10 };
        let stat = |place, flags| Some(Question { place, flags, form: Form::Stat, address: 0x20 });
        assert_eq!(question(libc::SYS_fstat, [7, 0x20, 0, 0, 0, 0]), stat(Place::Descriptor(7), 0));
        assert_eq!(question(libc::SYS_stat, [0x10, 0x20, 0, 0, 0, 0]), stat(name(libc::AT_FDCWD), 0));
        let nofollow = libc::AT_SYMLINK_NOFOLLOW;
        assert_eq!(question(libc::SYS_lstat, [0x10, 0x20, 0, 0, 0, 0]), stat(name(libc::AT_FDCWD), nofollow));
        assert_eq!(question(libc::SYS_newfstatat, [3, 0x10, 0x20, 0x100, 0, 0]), stat(name(3), nofollow));
        // The upper half of an int's register means nothing.
        assert_eq!(question(libc::SYS_newfstatat, [0xffff_ff9c, 0x10, 0x20, 0, 0, 0]), stat(name(libc::AT_FDCWD), 0));
        let statx = question(libc::SYS_statx, [CWD, 0x10, 0, 0x7ff, 0x20, 0]).unwrap();
        assert_eq!((statx.form, statx.address), (Form::Statx { mask: 0x7ff }, 0x20));
        assert_eq!(question(libc::SYS_execve, [0; 6]), None);
    }

    #[test]
    fn a_call_without_a_name_asks_about_its_descriptor_only_if_it_says_so() {
        let by_null = question(libc::SYS_newfstatat, [7, 0, 0x20, EMPTY, 0, 0]).unwrap();
        assert_eq!(by_null.place, Place::Descriptor(7));
        let named = question(libc::SYS_newfstatat, [CWD, 0x10, 0x20, EMPTY, 0, 0]).unwrap();
        assert_eq!(named.without_name().unwrap().place, Place::WorkingDirectory);
        assert_eq!(question(libc::SYS_newfstatat, [7, 0x10, 0x20, 0, 0, 0]).unwrap().without_name(), None);
    }

    #[test]
    fn an_answer_keeps_everything_but_the_numbers() {
        let identity = Identity { device: makedev(0, 0x12345), inode: u64::MAX - 3 };
        for form in [Form::Stat, Form::Statx { mask: 0 }] {
            let mut answer = Answer { form, bytes: [0xa5; 256] };
            answer.set_identity(identity);
            assert_eq!(answer.identity(), identity);
            assert_eq!(answer.bytes().iter().filter(|&&byte| byte != 0xa5).count(), 16);
        }
    }
}
