//! Files that a measurement leaves.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("a row for {} cannot be made: {source}", path.display())]
    Row { path: PathBuf, source: csv::Error },
}

impl OutputError {
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}

/// Puts a file in the place of what was there: whoever reads it sees one or the other, whole. Returns it, open at its end.
///
/// # Errors
/// [`OutputError::Write`]; what was there is untouched then.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<File, OutputError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        std::fs::rename(&part, path)?;
        Ok(file)
    });
    written.map_err(|source| {
        // It may not even be there.
        let _ = std::fs::remove_file(&part);
        OutputError::write(path)(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rates.svg");
        replace(&path, b"one").unwrap();
        let mut reader = File::open(&path).unwrap();
        replace(&path, b"two").unwrap().write_all(b" and more").unwrap();
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two and more");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_it_cannot_be_written_the_error_names_it_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full");
        std::fs::create_dir(&path).unwrap();
        let error = replace(&path, b"x").unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
