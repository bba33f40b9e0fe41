//! Why a container's memory could not be compared, or must not go live.

use super::mapping::Mapping;
use super::print::Page;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{what} of process {pid}: {source}")]
    Io { what: &'static str, pid: i32, source: io::Error },
    #[error("/proc/{pid}/maps has a line that is none: {line:?}")]
    Maps { pid: i32, line: String },
    #[error("the source has processes {theirs:?}, the replica {ours:?}")]
    Processes { theirs: Vec<u32>, ours: Vec<u32> },
    #[error("process {tid} has another layout of its memory: source {}, replica {}", shown(theirs.as_deref()), shown(ours.as_deref()))]
    Mapping { tid: u32, theirs: Option<Box<Mapping>>, ours: Option<Box<Mapping>> },
    #[error("page {page:#x} of process {pid} is in none of its mappings")]
    Unmapped { pid: i32, page: u64 },
    #[error("the source has a page that it has not told of: {page:?}")]
    Untold { page: Page },
    #[error("{got} bytes came for {wanted} pages")]
    Answer { got: usize, wanted: usize },
    #[error("task {tid}: {why}")]
    Task { tid: u32, why: String },
    #[error("task {tid} stands at another place: {register} is {theirs:#x} in the source, {ours:#x} in the replica")]
    Register { tid: u32, register: &'static str, theirs: u64, ours: u64 },
    #[error(transparent)]
    Backend(#[from] crate::replay::backend::BackendError),
    #[error("what the log keeps of a process's memory cannot be read: {0}")]
    Packed(io::Error),
    #[error("what the other side says of its memory cannot be read: {0}")]
    Decode(#[from] postcard::Error),
}

fn shown(mapping: Option<&Mapping>) -> String {
    mapping.map_or_else(|| "nothing more".to_owned(), ToString::to_string)
}
