use std::{io, path::PathBuf};

/// What can go wrong with the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("no lab is up in {}; run `cargo xtask lab up`", dir.display())]
    Down { dir: PathBuf },
    #[error("the lab in {} is damaged ({what}); run `cargo xtask lab down`, then `cargo xtask lab up`", dir.display())]
    Damaged { dir: PathBuf, what: String },
    #[error("{} is {bytes} bytes long, too long for a unix socket; choose a shorter --dir", path.display())]
    PathTooLong { path: PathBuf, bytes: usize },
    #[error("no host is called {name}; there are h1, h2 and cl")]
    NoSuchHost { name: String },
    #[error("{what} {}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot start `{line}`")]
    Start { line: String, source: io::Error },
    #[error("`{line}` failed ({status}): {stderr}")]
    Failed { line: String, status: String, stderr: String },
    #[error("{who} did not answer on {} within {seconds} s; its output is in {}", socket.display(), log.display())]
    NoAnswer { who: String, socket: PathBuf, seconds: u64, log: PathBuf },
    #[error("{who} ended at once; its output is in {}: {tail}", log.display())]
    EndedAtOnce { who: String, log: PathBuf, tail: String },
    #[error("process {pid} does not end, not even by SIGKILL")]
    Unkillable { pid: i32 },
    #[error("the state file {} is not readable", path.display())]
    State { path: PathBuf, source: serde_json::Error },
}

pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// For `map_err`: the file that an I/O error is about.
pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LabError {
    let path = path.into();
    move |source| LabError::File { what, path, source }
}
