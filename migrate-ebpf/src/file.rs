//! What a descriptor is, read from the kernel's file.

use migrate_common::record::{Class, flags};

use crate::kernel::{Kptr, Window, load, offset, read, read_ptr};
use crate::known::Operations;
use crate::maps::KNOWN;

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
/// include/linux/net.h
const SOCK_STREAM: u16 = 1;
/// include/linux/socket.h
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The class of descriptor `fd` of `task`, the current task, and [`flags::APPEND`] if its file is.
#[inline(always)]
pub fn class(task: Kptr, fd: i32) -> (Class, u16) {
    let Some(file) = file(task, fd) else { return (Class::None, 0) };
    let (inode, private, operations, open_flags): (u64, u64, u64, u32);
    // One of the two is dead for the verifier: the offsets are constants.
    if offset!(file_window) != FAR {
        let window = Window::new(file, offset!(file_window));
        inode = window.get(offset!(file_inode));
        private = window.get(offset!(file_private));
        operations = window.get(offset!(file_op));
        open_flags = window.get(offset!(file_flags));
    } else {
        inode = read(file, offset!(file_inode));
        private = read(file, offset!(file_private));
        operations = read(file, offset!(file_op));
        open_flags = read(file, offset!(file_flags));
    }
    let append = if open_flags & O_APPEND != 0 { flags::APPEND } else { 0 };
    let socket = private as Kptr;
    // Sockets, and nothing else, have the operations of sockets: two reads of cold memory less than by their superblock.
    if operations == known(Operations::SocketFile) {
        return (family(socket), append);
    }
    match class_of(task, inode as Kptr) {
        Class::Socket => {
            learn(Operations::SocketFile, operations);
            (family(socket), append)
        }
        class => (class, append),
    }
}

/// Where these operations are, as far as they have been seen; else no address of anything.
#[inline(always)]
fn known(of: Operations) -> u64 {
    // SAFETY: a word of a map's value, read and written whole.
    let known = KNOWN.get_ptr_mut(0).map_or(0, |known| unsafe { (&raw const (*known).operations[of as usize]).read_volatile() });
    if known == 0 { u64::MAX } else { known }
}

#[inline(always)]
fn learn(of: Operations, operations: u64) {
    if let Some(known) = KNOWN.get_ptr_mut(0) {
        // SAFETY: as above; who else writes it writes the same.
        unsafe { (&raw mut (*known).operations[of as usize]).write_volatile(operations) };
    }
}

/// The offset of the open file `fd` of `task`, the current task; 0 if it is not open.
#[inline(always)]
pub fn offset(task: Kptr, fd: i32) -> u64 {
    file(task, fd).map_or(0, |file| read(file, offset!(file_pos)))
}

/// Whether the file `fd` of `task`, the current task, is open for writing.
#[inline(always)]
pub fn is_writable(task: Kptr, fd: i32) -> bool {
    file(task, fd).is_some_and(|file| read::<u32>(file, offset!(file_flags)) & O_ACCMODE != O_RDONLY)
}

/// The open file `fd` of `task`.
#[inline(always)]
fn file(task: Kptr, fd: i32) -> Option<Kptr> {
    if fd < 0 {
        return None;
    }
    let files: Kptr = load(task, offset!(task_files));
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

/// The class of a file by its inode; of any socket [`Class::Socket`].
#[inline(always)]
fn class_of(task: Kptr, inode: Kptr) -> Class {
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
    let own = sb == root_sb(task);
    let magic = if own { 0 } else { read(sb, offset!(sb_magic)) };
    // The magic before the mode: anonymous inodes may look like regular files.
    match magic {
        ANON_INODE_FS_MAGIC | PID_FS_MAGIC => return Class::Anon,
        PIPEFS_MAGIC => return Class::Pipe,
        SOCKFS_MAGIC => return Class::Socket,
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
    let operations: u64 = read(socket, offset!(socket_ops));
    // Nearly all of them, by one read instead of two.
    if operations == known(Operations::StreamV4) || operations == known(Operations::StreamV6) {
        return Class::Inet;
    }
    let sock = read_ptr(socket, offset!(socket_sk));
    match read::<u16>(sock, offset!(sock_family)) {
        AF_UNIX => Class::Unix,
        family @ (AF_INET | AF_INET6) => {
            if read::<u16>(socket, offset!(socket_type)) == SOCK_STREAM {
                learn(if family == AF_INET { Operations::StreamV4 } else { Operations::StreamV6 }, operations);
            }
            Class::Inet
        }
        _ => Class::Socket,
    }
}

/// The superblock of the task's root directory.
#[inline(always)]
fn root_sb(task: Kptr) -> Kptr {
    let fs: Kptr = load(task, offset!(task_fs));
    let dentry: Kptr = load(fs, offset!(fs_root_dentry));
    load(dentry, offset!(dentry_sb))
}
