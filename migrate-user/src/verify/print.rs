//! What a container's memory is, in hashes.

use super::hash::Hash;
use super::mapping::Mapping;
use crate::golive::Bytes;
use serde::{Deserialize, Serialize};

/// Whose pages: a process's own, or those of an object that processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Space {
    /// By its number in the container's pid namespace.
    Process(u32),
    /// As [`Of::Shared`](super::mapping::Of::Shared) numbers it.
    Object(u32),
}

/// A page, by its number from address 0 of the process or from the object's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Page {
    pub space: Space,
    pub number: u64,
}

/// Pages of one space and their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    pub space: Space,
    /// Number of the first page, and how many follow each other.
    pub runs: Vec<(u64, u64)>,
    /// 16 bytes a page, in the order of the runs.
    pub hashes: Bytes,
}

impl Hashed {
    pub(super) fn pages(&self) -> impl Iterator<Item = (Page, Hash)> {
        let numbers = self.runs.iter().flat_map(|(first, count)| (0..*count).map(move |n| first.wrapping_add(n)));
        let (hashes, _) = self.hashes.0.as_chunks::<16>();
        numbers.zip(hashes).map(|(number, hash)| (Page { space: self.space, number }, *hash))
    }
}

/// What a process maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mappings {
    pub tid: u32,
    pub mappings: Vec<Mapping>,
}

/// The memory of a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// Ascending by number.
    pub processes: Vec<Mappings>,
    pub spaces: Vec<Hashed>,
}

impl Print {
    /// All pages of which there is a copy, each once.
    pub fn pages(&self) -> impl Iterator<Item = (Page, Hash)> {
        self.spaces.iter().flat_map(Hashed::pages)
    }

    /// What a process maps.
    #[must_use]
    pub fn mappings(&self, tid: u32) -> &[Mapping] {
        self.processes.iter().find(|process| process.tid == tid).map_or(&[], |process| &process.mappings)
    }
}
