//! What a descriptor is, read from the kernel's file.

use migrate_common::record::{Class, flags};

use crate::kernel::{Kptr, load, offset, read, read_ptr};
use crate::task;

/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFIFO: u16 = 0o010_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFREG: u16 = 0o100_000;
/// include/uapi/asm-generic/fcntl.h
const O_APPEND: u32 = 0o2000;
/// include/uapi/linux/magic.h
const ANON_INODE_FS_MAGIC: u64 = 0x0904_1934;
const PID_FS_MAGIC: u64 = 0x5049_4446;
const PIPEFS_MAGIC: u64 = 0x5049_5045;
const SOCKFS_MAGIC: u64 = 0x534F_434B;
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// include/linux/socket.h
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The class of the current task's descriptor `fd`, and [`flags::APPEND`] if its file is.
#[inline(always)]
pub fn class(fd: i32) -> (Class, u16) {
    let Some(file) = file(fd) else { return (Class::None, 0) };
    let append = if read::<u32>(file, offset!(file_flags)) & O_APPEND != 0 { flags::APPEND } else { 0 };
    (class_of(file), append)
}

/// The offset of the current task's open file `fd`; 0 if it is not open.
#[inline(always)]
pub fn offset(fd: i32) -> u64 {
    file(fd).map_or(0, |file| read(file, offset!(file_pos)))
}

/// The current task's open file `fd`.
#[inline(always)]
fn file(fd: i32) -> Option<Kptr> {
    if fd < 0 {
        return None;
    }
    let files: Kptr = load(task::current(), offset!(task_files));
    if files.is_null() {
        return None;
    }
    let fdt: Kptr = load(files, offset!(files_fdt));
    if fdt.is_null() || fd as u32 >= load::<u32>(fdt, offset!(fdt_max_fds)) {
        return None;
    }
    let table = read_ptr(fdt, offset!(fdt_fd));
    let file = read_ptr(table, fd as usize * size_of::<u64>());
    (!file.is_null()).then_some(file)
}

#[inline(always)]
fn class_of(file: Kptr) -> Class {
    let inode = read_ptr(file, offset!(file_inode));
    let sb = read_ptr(inode, offset!(inode_sb));
    // The magic before the mode: anonymous inodes may look like regular files.
    let magic: u64 = read(sb, offset!(sb_magic));
    match magic {
        ANON_INODE_FS_MAGIC | PID_FS_MAGIC => return Class::Anon,
        PIPEFS_MAGIC => return Class::Pipe,
        SOCKFS_MAGIC => return family(file),
        _ => {}
    }
    let mode: u16 = read(inode, offset!(inode_mode));
    let own = || magic == TMPFS_MAGIC || sb == root_sb();
    match mode & S_IFMT {
        S_IFREG if own() => Class::OwnFile,
        S_IFDIR if own() => Class::OwnDir,
        S_IFREG | S_IFDIR => Class::Foreign,
        S_IFIFO => Class::Pipe,
        S_IFCHR => Class::Char,
        _ => Class::Other,
    }
}

/// The class of a socket.
#[inline(always)]
fn family(file: Kptr) -> Class {
    let socket = read_ptr(file, offset!(file_private));
    let sock = read_ptr(socket, offset!(socket_sk));
    match read::<u16>(sock, offset!(sock_family)) {
        AF_UNIX => Class::Unix,
        AF_INET | AF_INET6 => Class::Inet,
        _ => Class::Socket,
    }
}

/// The superblock of the current task's root directory.
#[inline(always)]
fn root_sb() -> Kptr {
    let fs: Kptr = load(task::current(), offset!(task_fs));
    let dentry = read_ptr(fs, offset!(fs_root_dentry));
    read_ptr(dentry, offset!(dentry_sb))
}
