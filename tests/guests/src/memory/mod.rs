//! Memory: mappings, protection, the heap's end, what fork shares.

mod advice;
mod anonymous;
mod files;
mod heap;
mod layout;
mod map;
mod shared;

use crate::kit::guest::{Family, Guest, Run};

pub use map::{Map, PAGE};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Memory, run }
}

pub const GUESTS: &[Guest] = &[
    guest("mmap_anonymous", anonymous::anonymous),
    guest("mmap_fixed", anonymous::fixed),
    guest("mmap_large", anonymous::large),
    guest("mmap_private_file", files::private_file),
    guest("mmap_shared_file", files::shared_file),
    guest("mmap_device", files::device),
    guest("mremap", layout::remap),
    guest("mprotect", layout::protect),
    guest("munmap_parts", layout::parts),
    guest("guard_pages", layout::guards),
    guest("madvise", advice::madvise),
    guest("mlock", advice::mlock),
    guest("mincore_msync", advice::residence),
    guest("brk", heap::brk),
    guest("allocator", heap::allocator),
    guest("stack_growth", heap::stack),
    guest("fork_copy_on_write", shared::copy_on_write),
    guest("fork_shared_mapping", shared::shared_mapping),
    guest("fork_wipe", shared::wiped),
];
