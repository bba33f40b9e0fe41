//! Why nothing can be measured.

use crate::probe::ProbeError;
use crate::ring::RingError;
use crate::round::LogError;
use crate::sys::cgroup::CgroupError;
use std::io;
use std::path::PathBuf;

/// Why nothing can be measured. The last sentence of each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum RatesError {
    #[error("there is no container {name:?} here (looked in {searched}); `migrate rates --all` measures every one that runs")]
    NotFound { name: String, searched: String },
    #[error("no container runs here (looked in {searched}); name a cgroup with --cgroup PATH")]
    NoContainers { searched: String },
    #[error("{name:?} may be {}; give more of the id, or --cgroup PATH", ids.join(" or "))]
    Ambiguous { name: String, ids: Vec<String> },
    #[error("container {name:?} does not run; start it first")]
    NotRunning { name: String },
    #[error("{} is no cgroup v2 directory; paths are absolute or relative to {}", path.display(), mount.display())]
    NoCgroup { path: PathBuf, mount: PathBuf },
    #[error("no task is in cgroup {}; start something in it first", path.display())]
    Empty { path: PathBuf },
    #[error("cgroup {inner} is inside {outer}, with which it would be measured; name one of them")]
    Nested { inner: String, outer: String },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("the recorder gave slot {slot} where {expected} was next")]
    Slot { slot: u32, expected: u32 },
    #[error("a chunk cannot be packed")]
    Pack(#[from] LogError),
    #[error("dirty pages cannot be told without PAGEMAP_SCAN, which Linux has from 6.7 on: leave --dirty out")]
    Pages(#[source] io::Error),
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
    #[error("the thread that encodes records has ended; its last words are in the log above")]
    Ended,
}

impl RatesError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
