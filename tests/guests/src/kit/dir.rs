//! A directory of a guest's own.

use std::fs;
use std::path::PathBuf;

use crate::kit::Result;

/// A fresh directory that is the current one until it is dropped, and removed then.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    /// Makes it below `$TMPDIR` or /tmp and goes there. Names are short and relative from then on, as unix sockets want.
    pub fn enter() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("guest-{}", std::process::id()));
        // Left behind by a guest with this number that was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        std::env::set_current_dir(&path)?;
        Ok(Self { path })
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // A directory that stays behind is not worth failing for.
        let _ = std::env::set_current_dir("/");
        let _ = fs::remove_dir_all(&self.path);
    }
}
