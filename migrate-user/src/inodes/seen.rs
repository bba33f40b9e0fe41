//! Which files a program knows by number.

use super::Identity;
use crate::record::Record;
use migrate_common::record::Kind;
use std::collections::HashSet;

/// Where the numbers and the mode are in what a call wrote.
const STAT_MODE: usize = 24;
const STATX_MODE: usize = 28;

/// The regular files and directories that a container has looked at with a call of the stat family.
#[derive(Debug, Default)]
pub struct Seen(HashSet<Identity>);

impl Seen {
    /// Looks at the next record of the log.
    pub fn note(&mut self, record: &Record) {
        let head = &record.head;
        if record.kind() == Some(Kind::Syscall)
            && head.ret == 0
            && let Some(form) = form(head.nr)
        {
            let found = record.as_ref().segments().find_map(|segment| form(segment.bytes));
            self.0.extend(found);
        }
    }

    /// Whether the container knows the file's numbers.
    #[must_use]
    pub fn contains(&self, file: Identity) -> bool {
        self.0.contains(&file)
    }
}

/// What a call's output tells of a file.
type Form = fn(&[u8]) -> Option<Identity>;

fn form(nr: i32) -> Option<Form> {
    match i64::from(nr) {
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_fstat | libc::SYS_newfstatat => Some(of_stat),
        libc::SYS_statx => Some(of_statx),
        _ => None,
    }
}

fn of_stat(bytes: &[u8]) -> Option<Identity> {
    let mode: u32 = number(bytes, STAT_MODE)?;
    is_kept(mode).then_some(Identity { device: number(bytes, 0)?, inode: number(bytes, 8)? })
}

fn of_statx(bytes: &[u8]) -> Option<Identity> {
    let mode: u16 = number(bytes, STATX_MODE)?;
    let device = rustix::fs::makedev(number(bytes, 136)?, number(bytes, 140)?);
    is_kept(u32::from(mode)).then_some(Identity { device, inode: number(bytes, 32)? })
}

fn is_kept(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)
}

fn number<T: bytemuck::AnyBitPattern>(bytes: &[u8], at: usize) -> Option<T> {
    bytes.get(at..at + size_of::<T>()).map(bytemuck::pod_read_unaligned)
}
