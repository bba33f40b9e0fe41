//! What can be wrong with a connection or with a migration's state on disk.

use std::io;
use std::path::PathBuf;

use super::message::Kind;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("message kind {0} is not known")]
    Kind(u16),
    #[error("{kind:?} message of {bytes} bytes, the limit is {limit}")]
    Size { kind: Kind, bytes: u64, limit: u64 },
    #[error("checksum of a {0:?} message does not match")]
    Checksum(Kind),
    #[error("a {0:?} message does not decode")]
    Decode(Kind, #[source] postcard::Error),
    #[error("{bytes} bytes too many in a {kind:?} message")]
    Trailing { kind: Kind, bytes: usize },
    #[error("connection closed in the middle of a message")]
    CutShort,
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("migration id {0:?} is not 32 hex digits")]
    Id(String),
    #[error("migration state in {path} cannot be used: {why}")]
    State { path: PathBuf, why: String },
    #[error("migration state in {path} cannot be read or written")]
    StateIo { path: PathBuf, source: io::Error },
}
