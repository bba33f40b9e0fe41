use crate::{client::RemoteError, images::ImageError, lab::LabError};

/// What keeps us from finding out how a migration went.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Client(#[from] RemoteError),
    #[error("`{line}` did not end within {seconds} s")]
    Endless { line: String, seconds: u64 },
    #[error("{workload} shows no life within {seconds} s of its start; it says: {says}")]
    Lifeless { workload: &'static str, seconds: u64, says: String },
    #[error("no container runs on {host}")]
    NoContainer { host: String },
    #[error("cannot read {path} of the container on {host}")]
    ContainerFile { host: String, path: String, source: std::io::Error },
    #[error("{0}")]
    Broken(#[from] super::counting::CountError),
}

pub type Result<T, E = MigrationError> = std::result::Result<T, E>;
