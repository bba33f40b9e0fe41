//! The agent's containers, and what the OCI runtime tells about them.

use super::AgentConfig;
use super::api::{ApiError, Code, Role};
use super::errors::failed;
use super::host;
use super::metrics::Moves;
use super::probes::Probes;
use super::recording::{How, Recording};
use super::restart;
use crate::container::docker::Docker;
use crate::probe::mute::{Mute, MuteMode};
use crate::probe::serial::Policy;
use crate::replay::replica::Replica;
use crate::round::LogMeta;
use crate::sys::ptrace::Pid;
use crate::sys::release;
use crate::wire::durable::Store;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The device that Docker gives a container first: the one that is muted.
pub const DEVICE: &str = "eth0";

/// A container of this host that was started with the runtime.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Recorded.
    Recorded(Arc<Recording>),
    /// Runs without a log, for these reasons.
    Unrecorded { init: Pid, reasons: Vec<String> },
    /// Is fed a log.
    Replica { init: Pid },
    /// Came from another host.
    Live { init: Pid, from: String },
}

/// A replica that Docker is about to create for us.
#[derive(Debug)]
struct Expected {
    role: Role,
    taken: oneshot::Sender<Result<Replica, String>>,
}

/// Everything that an agent holds.
#[derive(Debug)]
pub struct Daemon {
    pub config: AgentConfig,
    pub docker: Docker,
    pub docker_version: String,
    pub probes: Arc<Probes>,
    pub store: Store,
    pub started: std::time::Instant,
    pub(super) moves: Moves,
    containers: Mutex<HashMap<String, Entry>>,
    expected: Mutex<HashMap<String, Expected>>,
    /// What is written at the start of the logs of containers that the agent makes itself.
    metas: Mutex<HashMap<String, LogMeta>>,
    /// Containers of programs that the agent runs itself: they stay known when they have ended, until it has looked at them.
    programs: Mutex<HashSet<String>>,
    /// When a container that is about to be created is to be serialised, if it says so.
    policies: Mutex<HashMap<String, Policy>>,
    /// Containers whose move is under way, by id.
    moving: Mutex<HashMap<String, String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the right to move a container; gives it back when dropped.
#[derive(Debug)]
pub struct MoveGuard<'a> {
    daemon: &'a Daemon,
    id: String,
}

impl Drop for MoveGuard<'_> {
    fn drop(&mut self) {
        lock(&self.daemon.moving).remove(&self.id);
    }
}

impl Daemon {
    /// Everything is there, nothing listens yet.
    pub fn new(config: AgentConfig, docker: Docker, docker_version: String, probes: Arc<Probes>, store: Store) -> Self {
        Self {
            config,
            docker,
            docker_version,
            probes,
            store,
            started: std::time::Instant::now(),
            moves: Moves::default(),
            containers: Mutex::default(),
            expected: Mutex::default(),
            metas: Mutex::default(),
            programs: Mutex::default(),
            policies: Mutex::default(),
            moving: Mutex::default(),
        }
    }

    /// The containers, by id.
    pub fn entries(&self) -> Vec<(String, Entry)> {
        lock(&self.containers).iter().map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    /// One of them.
    pub fn entry(&self, id: &str) -> Option<Entry> {
        lock(&self.containers).get(id).cloned()
    }

    /// Changes what a container is.
    pub fn set_entry(&self, id: &str, entry: Entry) {
        lock(&self.containers).insert(id.to_owned(), entry);
    }

    /// Forgets it.
    pub fn forget(&self, id: &str) {
        lock(&self.containers).remove(id);
    }

    /// Keeps what is known of a container past its end, until [`Daemon::release`].
    pub(super) fn keep(&self, id: &str) {
        lock(&self.programs).insert(id.to_owned());
    }

    /// Ends [`Daemon::keep`], and forgets the container.
    pub(super) fn release(&self, id: &str) {
        lock(&self.programs).remove(id);
        self.forget(id);
    }

    /// What a container's move is doing, if there is one.
    pub fn move_of(&self, id: &str) -> Option<String> {
        lock(&self.moving).get(id).cloned()
    }

    /// Moves from this host that are under way.
    pub(super) fn moving(&self) -> usize {
        lock(&self.moving).len()
    }

    /// The right to move a container to `to`: one at a time.
    pub fn begin_move(&self, id: &str, to: &str) -> Result<MoveGuard<'_>, ApiError> {
        let mut moving = lock(&self.moving);
        if let Some(other) = moving.get(id) {
            return Err(ApiError::new(Code::Refused, format!("the container is being moved to {other} already")));
        }
        moving.insert(id.to_owned(), to.to_owned());
        Ok(MoveGuard { daemon: self, id: id.to_owned() })
    }

    /// Where a container's files are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.config.state_dir.join("containers")
    }

    /// The files that a container's own layer held when it was created, as a tar; not there if it held none.
    #[must_use]
    pub fn layer_path(&self, id: &str) -> PathBuf {
        self.folder().join(format!("{id}.layer.tar"))
    }

    /// What the log of a container that the agent is about to start says of itself.
    pub fn describe(&self, id: &str, meta: LogMeta) {
        lock(&self.metas).insert(id.to_owned(), meta);
    }

    /// The next container with this id is a replica: whoever waits at the other end gets it when its runtime has set it up.
    pub fn expect(&self, id: &str, role: Role) -> oneshot::Receiver<Result<Replica, String>> {
        let (taken, replica) = oneshot::channel();
        lock(&self.expected).insert(id.to_owned(), Expected { role, taken });
        replica
    }

    /// What a container that the runtime is about to create is to be.
    pub(super) async fn prepare(&self, id: &str, bundle: &Path) -> Result<Role, ApiError> {
        if let Some(expected) = lock(&self.expected).get(id) {
            return Ok(expected.role);
        }
        let (durables, _) = self.store.load().map_err(failed)?;
        if let Some(objection) = restart::objection(&durables, id) {
            return Err(objection);
        }
        if let Some(policy) = self.wanted_policy(id, bundle).await? {
            lock(&self.policies).insert(id.to_owned(), policy);
        }
        Ok(Role::Record)
    }

    /// A container is set up and waits for its start.
    pub(super) async fn created(&self, id: &str, pid: Pid, reasons: Vec<String>) -> Result<(), ApiError> {
        let expected = lock(&self.expected).remove(id);
        if let Some(Expected { taken, .. }) = expected {
            let replica = Replica::seize(pid).await;
            let answer = replica.as_ref().map(drop).map_err(ToString::to_string);
            self.set_entry(id, Entry::Replica { init: pid });
            drop(taken.send(replica.map_err(|error| error.to_string())));
            return answer.map_err(failed);
        }
        if !reasons.is_empty() {
            tracing::info!(id, ?reasons, "a container is not recorded");
            self.set_entry(id, Entry::Unrecorded { init: pid, reasons });
            return Ok(());
        }
        let meta = lock(&self.metas).remove(id).unwrap_or_else(|| LogMeta {
            created_by: concat!("migrate ", env!("CARGO_PKG_VERSION")).to_owned(),
            kernel_release: release::name(),
            cpu: host::cpu(),
            ..LogMeta::default()
        });
        let folder = self.folder();
        std::fs::create_dir_all(&folder).map_err(failed)?;
        self.keep_layer(id, pid)?;
        let path = folder.join(format!("{id}.log"));
        let (probes, id) = (Arc::clone(&self.probes), id.to_owned());
        let how = How {
            limit_bytes: self.config.spool_limit_bytes,
            keep: self.config.keep_recording,
            policy: lock(&self.policies).remove(&id).unwrap_or(self.config.serialise),
            // A program that is run to its end; what is recorded to be moved must not pay for it.
            prove: lock(&self.programs).contains(&id),
        };
        let recording = tokio::task::spawn_blocking(move || Recording::start(&id, pid, &probes, &path, &meta, how));
        let recording = recording.await.map_err(failed)?.map_err(failed)?;
        tracing::info!(id = recording.id, pid, "a container is recorded");
        self.set_entry(&recording.id.clone(), Entry::Recorded(Arc::new(recording)));
        Ok(())
    }

    /// What a container's annotation or label says about serialising it, the annotation first.
    async fn wanted_policy(&self, id: &str, bundle: &Path) -> Result<Option<Policy>, ApiError> {
        const NAME: &str = "migrate.serialise";
        let config = std::fs::read(bundle.join("config.json")).unwrap_or_default();
        // Of a file that is no JSON runc tells more than we could.
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
        let mut word = config["annotations"][NAME].as_str().map(str::to_owned);
        if word.is_none() {
            // Docker waits for the answer, so it cannot be asked what locks the container.
            let listed = self.docker.list().await.unwrap_or_default();
            word = listed.into_iter().find(|container| container.id == id).and_then(|mut found| found.labels.remove(NAME));
        }
        let Some(word) = word else { return Ok(None) };
        let policy = word.parse().map_err(|error| ApiError::new(Code::Usage, format!("{NAME}: {error}")))?;
        Ok(Some(policy))
    }

    /// The epoch is the container's first instruction: its files are those of that moment.
    fn keep_layer(&self, id: &str, pid: Pid) -> Result<(), ApiError> {
        let Some(upper) = upper_of(pid) else { return Ok(()) };
        let empty = std::fs::read_dir(&upper).map(|mut entries| entries.next().is_none());
        if empty.map_err(failed)? {
            return Ok(());
        }
        let path = self.layer_path(id);
        let file = std::fs::File::create(&path).map_err(failed)?;
        crate::container::layer::pack(&upper, std::io::BufWriter::new(file)).map_err(failed)?;
        Ok(())
    }

    /// A replica's interfaces are there: they are silenced before it runs.
    pub(super) fn mute(&self, id: &str, pid: Pid) -> Result<(), ApiError> {
        if !has_device(pid) {
            return Ok(());
        }
        Mute::attach(pid, DEVICE, id, MuteMode::Silent).map(drop).map_err(failed)
    }

    pub(super) fn exec_allowed(&self, id: &str) -> (bool, String) {
        match self.entry(id) {
            None | Some(Entry::Unrecorded { .. } | Entry::Live { .. }) => (true, String::new()),
            Some(Entry::Replica { .. }) => (false, "the container is a replica that follows its source".to_owned()),
            Some(Entry::Recorded(recording)) => {
                let state = recording.state();
                if state.reasons.is_empty() {
                    let why = "docker exec acts on the container from outside its log, so that it could not be moved any more; \
                               start it with the label migrate.exec=allow to allow that";
                    return (false, why.to_owned());
                }
                (true, String::new())
            }
        }
    }

    pub(super) fn touched(&self, id: &str, command: &str) {
        if let Some(Entry::Recorded(recording)) = self.entry(id) {
            recording.object(&format!("`runc {command}` acted on it from outside its log"));
        }
    }

    pub(super) fn deleted(&self, id: &str) {
        if !lock(&self.programs).contains(id) {
            self.forget(id);
        }
        let layer = self.layer_path(id);
        if layer.exists()
            && let Err(error) = std::fs::remove_file(&layer)
        {
            tracing::warn!(%error, path = %layer.display(), "a layer could not be removed");
        }
    }
}

/// Whether the task's network namespace has the device that is muted.
#[must_use]
pub fn has_device(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/net/dev"))
        .is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with("eth0:")))
}

/// The overlay's upper directory of the root that a task has.
fn upper_of(pid: Pid) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"))?;
    let options = root.split(" - ").nth(1)?.split(' ').nth(2)?;
    options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(PathBuf::from)
}
