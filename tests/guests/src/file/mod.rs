//! Files and directories: data, names, attributes, locks, /proc.

mod attributes;
mod data;
mod directory;
mod locks;
mod model;
mod names;
mod open;
mod proc_self;
mod size;
mod vectors;
mod xattr;

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::File, run }
}

pub const GUESTS: &[Guest] = &[
    guest("open_flags", open::flags),
    guest("open_at", open::at),
    guest("lseek", data::lseek),
    guest("pread_pwrite", data::pread_pwrite),
    guest("append", data::append),
    guest("copy_file_range", data::copy_file_range),
    guest("file_large", data::large),
    guest("file_sync", data::sync),
    guest("readv_writev", vectors::readv_writev),
    guest("preadv_pwritev", vectors::preadv_pwritev),
    guest("file_model", model::model),
    guest("truncate", size::truncate),
    guest("fallocate", size::fallocate),
    guest("rename", names::rename),
    guest("links", names::links),
    guest("unlinked", names::unlinked),
    guest("directories", directory::directories),
    guest("getdents", directory::getdents),
    guest("working_directory", directory::working),
    guest("stat", attributes::stat),
    guest("statx", attributes::statx),
    guest("access", attributes::access),
    guest("chmod_chown", attributes::chmod_chown),
    guest("utimensat", attributes::utimensat),
    guest("umask", attributes::umask),
    guest("statfs", attributes::statfs),
    guest("xattr", xattr::xattr),
    guest("flock", locks::flock),
    guest("fcntl_locks", locks::records),
    guest("ofd_locks", locks::open_files),
    guest("proc_self", proc_self::proc_self),
    guest("proc_fd", proc_self::descriptors),
    guest("proc_system", proc_self::system),
];
