//! What a descriptor is, read from the kernel's file.

use migrate_common::record::{Class, flags};

use crate::kernel::{Kptr, Window, load, offset, read, read_ptr};
use crate::task;

/// The start of a window that holds not all fields that are wanted: the kernel's object has them too far apart.
const FAR: usize = u32::MAX as usize;
/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFIFO: u16 = 0o010_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFREG: u16 = 0o100_000;
/// include/uapi/asm-generic/fcntl.h
const O_APPEND: u32 = 0o2000;
const O_ACCMODE: u32 = 0o3;
const O_RDONLY: u32 = 0;
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
    let (inode, private, open_flags): (u64, u64, u32);
    // One of the two is dead for the verifier: the offsets are constants.
    if offset!(file_window) != FAR {
        let window = Window::new(file, offset!(file_window));
        inode = window.get(offset!(file_inode));
        private = window.get(offset!(file_private));
        open_flags = window.get(offset!(file_flags));
    } else {
        inode = read(file, offset!(file_inode));
        private = read(file, offset!(file_private));
        open_flags = read(file, offset!(file_flags));
    }
    let append = if open_flags & O_APPEND != 0 { flags::APPEND } else { 0 };
    (class_of(inode as Kptr, private as Kptr), append)
}

/// The offset of the current task's open file `fd`; 0 if it is not open.
#[inline(always)]
pub fn offset(fd: i32) -> u64 {
    file(fd).map_or(0, |file| read(file, offset!(file_pos)))
}

/// Whether the current task's file `fd` is open for writing.
#[inline(always)]
pub fn is_writable(fd: i32) -> bool {
    file(fd).is_some_and(|file| read::<u32>(file, offset!(file_flags)) & O_ACCMODE != O_RDONLY)
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
    let table: Kptr = load(fdt, offset!(fdt_fd));
    let file = read_ptr(table, fd as usize * size_of::<u64>());
    (!file.is_null()).then_some(file)
}

#[inline(always)]
fn class_of(inode: Kptr, private: Kptr) -> Class {
    let (sb, mode): (u64, u16);
    if offset!(inode_window) != FAR {
        let window = Window::new(inode, offset!(inode_window));
        sb = window.get(offset!(inode_sb));
        mode = window.get(offset!(inode_mode));
    } else {
        sb = read(inode, offset!(inode_sb));
        mode = read(inode, offset!(inode_mode));
    }
    let sb = sb as Kptr;
    // Most files are of the container's own root, where nothing is anonymous and no socket.
    let own = sb == root_sb();
    let magic = if own { 0 } else { read(sb, offset!(sb_magic)) };
    // The magic before the mode: anonymous inodes may look like regular files.
    match magic {
        ANON_INODE_FS_MAGIC | PID_FS_MAGIC => return Class::Anon,
        PIPEFS_MAGIC => return Class::Pipe,
        SOCKFS_MAGIC => return family(private),
        _ => {}
    }
    let own = own || magic == TMPFS_MAGIC;
    match mode & S_IFMT {
        S_IFREG if own => Class::OwnFile,
        S_IFDIR if own => Class::OwnDir,
        S_IFREG | S_IFDIR => Class::Foreign,
        S_IFIFO => Class::Pipe,
        S_IFCHR => Class::Char,
        _ => Class::Other,
    }
}

/// The class of a socket.
#[inline(always)]
fn family(socket: Kptr) -> Class {
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
    let dentry: Kptr = load(fs, offset!(fs_root_dentry));
    load(dentry, offset!(dentry_sb))
}
