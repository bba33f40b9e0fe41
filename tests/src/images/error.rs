use std::{io, path::PathBuf};

use crate::lab::LabError;

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("{what} {}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot pack {} as an image", path.display())]
    Pack { path: PathBuf, source: io::Error },
    #[error("package {package} was not downloaded")]
    NoPackage { package: String },
}

pub type Result<T, E = ImageError> = std::result::Result<T, E>;

/// For `map_err`: the file that an I/O error is about.
pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.into();
    move |source| ImageError::File { what, path, source }
}
