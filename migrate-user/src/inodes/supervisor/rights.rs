//! Looking at a file with the caller's rights: a name leads it only through directories that it may search.

use std::io;

/// CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: either searches every directory.
const SEARCH_ALL: u64 = 1 << 1 | 1 << 2;

/// What decides which directories a task may search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    fsuid: u32,
    fsgid: u32,
    groups: Vec<u32>,
    search_all: bool,
}

impl Rights {
    /// From `/proc/TID/status`; `None` if it is not as the kernel writes it.
    pub(super) fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let last = |name| field(name)?.split_whitespace().nth(3)?.parse().ok();
        let groups = field("Groups")?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let effective = u64::from_str_radix(field("CapEff")?.trim(), 16).ok()?;
        Some(Self { fsuid: last("Uid")?, fsgid: last("Gid")?, groups, search_all: effective & SEARCH_ALL != 0 })
    }
}

/// What this program, which has one thread, has taken on.
#[derive(Debug, Default)]
pub(super) struct Acting {
    /// Group and groups, which may stay: they only add rights that its own capabilities give anyway.
    groups: Option<(u32, Vec<u32>)>,
}

impl Acting {
    /// Does something with a caller's rights.
    ///
    /// # Errors
    /// The rights could not be taken on; nothing was done. If they cannot be laid down again, the process ends.
    pub(super) fn with<T>(&mut self, rights: &Rights, act: impl FnOnce() -> T) -> io::Result<T> {
        if rights.search_all {
            return Ok(act());
        }
        let wanted = (rights.fsgid, rights.groups.clone());
        if self.groups.as_ref() != Some(&wanted) {
            self.groups = None;
            set_groups(&rights.groups)?;
            set_fs_id(libc::SYS_setfsgid, rights.fsgid)?;
            self.groups = Some(wanted);
        }
        if rights.fsuid == 0 {
            // The change of the user below takes these capabilities away by itself.
            change_search_all(false)?;
            let done = act();
            if change_search_all(true).is_err() {
                std::process::abort();
            }
            return Ok(done);
        }
        set_fs_id(libc::SYS_setfsuid, rights.fsuid)?;
        let done = act();
        if set_fs_id(libc::SYS_setfsuid, 0).is_err() {
            std::process::abort();
        }
        Ok(done)
    }
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads as many numbers as there are.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// setfsuid and setfsgid return the id from before, whatever happens: the second call tells.
fn set_fs_id(nr: i64, id: u32) -> io::Result<()> {
    // SAFETY: numbers only; u32::MAX is no id and changes nothing.
    let now = unsafe {
        libc::syscall(nr, id);
        libc::syscall(nr, u32::MAX)
    };
    if now == i64::from(id) { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// `struct __user_cap_header_struct` and two of `struct __user_cap_data_struct`, linux/capability.h.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn change_search_all(on: bool) -> io::Result<()> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 reads and writes two elements.
    if unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let bits = SEARCH_ALL as u32;
    data[0].effective = if on { data[0].effective | data[0].permitted & bits } else { data[0].effective & !bits };
    // SAFETY: version 3 reads two elements.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nNSpid:\t1\nCapEff:\t00000000a80425fb\n";

    #[test]
    fn rights_are_those_that_the_file_system_looks_at() {
        let rights = Rights::parse(STATUS).unwrap();
        assert_eq!(rights, Rights { fsuid: 4, fsgid: 8, groups: vec![9, 10], search_all: true });
        let none = Rights::parse(&STATUS.replace("a80425fb", "a80425f9")).unwrap();
        assert!(!none.search_all);
        assert!(Rights::parse(&STATUS.replace("9 10", "")).unwrap().groups.is_empty());
        assert!(Rights::parse("Uid:\t1\t2\t3\t4\n").is_none());
    }
}
