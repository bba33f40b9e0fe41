//! What is on disk about each migration, so that an agent that was killed at any moment goes on where it stood.
//!
//! One JSON file a migration and side in the agent's state directory, `<id>.source.json` or `<id>.target.json`. A state
//! replaces the one before it: written to a temporary file, `fsync`, `rename`, `fsync` of the directory, so that a reader
//! finds the old state or the new one, whole. When [`Store::write`] has returned, a power cut cannot take it back; when it
//! has failed, either may be on disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::WireError;
use super::message::MigrationId;

/// Version of the files.
pub const VERSION: u32 = 1;

/// The source's states. In each the container is where its comment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Here: thaw it.
    Moving,
    /// Here, frozen, or there: ask.
    Committed,
    /// There.
    Moved,
    /// Here.
    Aborted,
}

/// The target's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// There: kill the replica.
    Receiving,
    /// There: `Go` came, but the replica was never unmuted. Kill it.
    Go,
    /// Here: unmute it.
    Live,
    /// There.
    Aborted,
}

/// Which half of a migration this host has, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Source(SourceState),
    Target(TargetState),
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Target(_) => "target",
        }
    }

    /// Whether nothing is left to do. A target's files are kept nevertheless: the source may still ask.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Source(SourceState::Moved | SourceState::Aborted) | Self::Target(TargetState::Live | TargetState::Aborted)
        )
    }
}

/// A migration's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    pub version: u32,
    /// In hex.
    pub id: String,
    #[serde(flatten)]
    pub side: Side,
    /// The other agent's address.
    pub peer: String,
    /// The container's id on this host; empty while it has none.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// Why it was aborted.
    pub why: Option<String>,
}

impl Durable {
    /// A migration of the container `name` that has just begun.
    #[must_use]
    pub fn new(id: MigrationId, side: Side, peer: &str, container: &str, name: &str) -> Self {
        Self {
            version: VERSION,
            id: id.to_string(),
            side,
            peer: peer.to_owned(),
            container: container.to_owned(),
            name: name.to_owned(),
            why: None,
        }
    }

    /// # Errors
    /// [`WireError::Id`] for a file that was edited.
    pub fn migration(&self) -> Result<MigrationId, WireError> {
        self.id.parse()
    }
}

/// The directory of the files. All calls block.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the directory if it is not there.
    ///
    /// # Errors
    /// [`WireError::StateIo`].
    pub fn open(directory: &Path) -> Result<Self, WireError> {
        fs::create_dir_all(directory).map_err(|source| state_io(directory, source))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Makes `durable` the migration's state.
    ///
    /// # Errors
    /// [`WireError::StateIo`]; the old state or the new one is on disk then.
    pub fn write(&self, durable: &Durable) -> Result<(), WireError> {
        let path = self.path(&durable.id, durable.side);
        self.replace(&path, durable).map_err(|source| state_io(&path, source))
    }

    /// All migrations, sorted by file name, and the files that cannot be read as one: an agent starts in spite of them, and
    /// reports them.
    ///
    /// # Errors
    /// [`WireError::StateIo`] when the directory cannot be read.
    pub fn load(&self) -> Result<(Vec<Durable>, Vec<WireError>), WireError> {
        let (mut found, mut broken) = (Vec::new(), Vec::new());
        let entries = fs::read_dir(&self.directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut paths: Vec<_> =
            entries.map_err(|source| state_io(&self.directory, source))?.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
            match read(&path) {
                Ok(durable) => found.push(durable),
                Err(error) => broken.push(error),
            }
        }
        Ok((found, broken))
    }

    /// A migration's state on this host; `None` if it has none on this side.
    ///
    /// # Errors
    /// [`WireError::StateIo`], [`WireError::State`].
    pub fn find(&self, id: MigrationId, side: Side) -> Result<Option<Durable>, WireError> {
        match read(&self.path(&id.to_string(), side)) {
            Ok(durable) => Ok(Some(durable)),
            Err(WireError::StateIo { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets a migration. Of a target's only long after its end: a source that asks later stays in doubt.
    ///
    /// # Errors
    /// [`WireError::StateIo`].
    pub fn remove(&self, durable: &Durable) -> Result<(), WireError> {
        let path = self.path(&durable.id, durable.side);
        fs::remove_file(&path).map_err(|source| state_io(&path, source))
    }

    fn path(&self, id: &str, side: Side) -> PathBuf {
        self.directory.join(format!("{id}.{}.json", side.name()))
    }

    fn replace(&self, path: &Path, durable: &Durable) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(durable)?;
        let temporary = path.with_extension("json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(&self.directory)?.sync_all()
    }
}

fn read(path: &Path) -> Result<Durable, WireError> {
    let bytes = fs::read(path).map_err(|source| state_io(path, source))?;
    let state = |why: String| WireError::State { path: path.to_owned(), why };
    let durable: Durable = serde_json::from_slice(&bytes).map_err(|e| state(e.to_string()))?;
    if durable.version != VERSION {
        return Err(state(format!("version {}, this program reads version {VERSION}", durable.version)));
    }
    Ok(durable)
}

fn state_io(path: &Path, source: io::Error) -> WireError {
    WireError::StateIo { path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "durable_tests.rs"]
mod tests;
