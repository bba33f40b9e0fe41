//! Who knows containers: engines' sockets, runtimes' state, the cgroup tree.
//!
//! | source | tells |
//! |---|---|
//! | Docker's socket, podman's socket (the same API) | ids and names |
//! | `containers.json` of podman's store | ids and names |
//! | `RUNC/ID/state.json` | id, first process |
//! | `/run/containerd/io.containerd.runtime.v2.task/NAMESPACE/ID/init.pid` | id, first process |
//! | directories of the cgroup v2 tree | ids, cgroups |
//!
//! A source that is not there says nothing.

use super::{Known, id_of_directory};
use crate::container::docker::{DEFAULT_SOCKET, Docker};
use crate::rates::RatesError;
use crate::sys::cgroup::Cgroup;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
const PODMAN_STORE: &str = "/var/lib/containers/storage/overlay-containers/containers.json";
/// Directories with a directory a container, which has a `state.json`: runc by itself, under Docker, under containerd.
const RUNC_ROOTS: [&str; 3] = ["/run/runc", "/run/docker/runtime-runc/moby", "/run/containerd/runc/k8s.io"];
const CONTAINERD_TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";
/// An engine that does not answer in this time is left out.
const ENGINE_BOUND: Duration = Duration::from_secs(3);
/// Levels of the cgroup tree that are searched.
const MAX_DEPTH: usize = 16;

/// Where containers are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Sockets of Docker's API.
    pub sockets: Vec<PathBuf>,
    /// Roots of runc's state.
    pub runc: Vec<PathBuf>,
    pub containerd: PathBuf,
    pub podman_store: PathBuf,
}

impl Default for Sources {
    fn default() -> Self {
        Self::with_docker(Path::new(DEFAULT_SOCKET))
    }
}

impl Sources {
    /// This host's, with Docker on a socket of its own.
    #[must_use]
    pub fn with_docker(socket: &Path) -> Self {
        Self {
            sockets: vec![socket.to_owned(), PODMAN_SOCKET.into()],
            runc: RUNC_ROOTS.map(PathBuf::from).into(),
            containerd: CONTAINERD_TASKS.into(),
            podman_store: PODMAN_STORE.into(),
        }
    }

    /// For a message that nothing was found: where it was looked for.
    #[must_use]
    pub fn describe(&self, mount: &Path) -> String {
        let sockets = self.sockets.iter().map(|socket| {
            let state = if socket.exists() { "" } else { " (not there)" };
            format!("{}{state}", socket.display())
        });
        let places = sockets.chain(self.runc.iter().map(|root| root.display().to_string()));
        let places = places.chain([self.containerd.display().to_string(), format!("the cgroups under {}", mount.display())]);
        places.collect::<Vec<_>>().join(", ")
    }

    /// What all of them say; one container several times.
    pub(super) fn containers(&self, mount: &Path) -> Vec<Known> {
        let mut known = engines(&self.sockets);
        known.extend(podman_store(&self.podman_store));
        for root in &self.runc {
            known.extend(entries(root).filter_map(|dir| runc_state(&dir)).map(|(id, pid)| of_process(id, pid, mount)));
        }
        for task in entries(&self.containerd).flat_map(|namespace| entries(&namespace)) {
            let pid = fs::read_to_string(task.join("init.pid")).ok().and_then(|pid| pid.trim().parse().ok());
            if let (Some(pid), Some(id)) = (pid, task.file_name()) {
                known.push(of_process(id.to_string_lossy().into_owned(), pid, mount));
            }
        }
        walk(mount, 0, &mut |path, name| {
            if let Some(id) = id_of_directory(name) {
                known.push(Known { id: id.to_owned(), name: String::new(), cgroup: Some(path.to_owned()) });
            }
        });
        known
    }
}

/// The one directory of the tree with this name; what is below it is not looked at.
///
/// # Errors
/// [`RatesError::Ambiguous`] if there are several.
pub(super) fn directory_named(wanted: &str, mount: &Path) -> Result<Option<PathBuf>, RatesError> {
    let mut found: Vec<PathBuf> = Vec::new();
    walk(mount, 0, &mut |path, name| {
        if name == wanted && !found.iter().any(|outer| path.starts_with(outer)) {
            found.push(path.to_owned());
        }
    });
    if found.len() > 1 {
        let ids = found.iter().map(|path| path.display().to_string()).collect();
        return Err(RatesError::Ambiguous { name: wanted.to_owned(), ids });
    }
    Ok(found.pop())
}

/// Each directory below `dir`, outer ones first.
fn walk(dir: &Path, depth: usize, each: &mut impl FnMut(&Path, &str)) {
    let inner = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let path = entry.path();
        each(&path, &entry.file_name().to_string_lossy());
        if depth < MAX_DEPTH {
            walk(&path, depth + 1, each);
        }
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Id and first process from runc's state of a container.
fn runc_state(dir: &Path) -> Option<(String, i32)> {
    let state: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("state.json")).ok()?).ok()?;
    let pid = i32::try_from(state["init_process_pid"].as_i64()?).ok()?;
    Some((state["id"].as_str()?.to_owned(), pid))
}

/// A container by its first process. Inside a container there may be cgroups of its own: the topmost that carries its id is
/// meant, else where the process is.
fn of_process(id: String, pid: i32, mount: &Path) -> Known {
    let cgroup = Cgroup::of(pid).ok().map(|cgroup| {
        let own = cgroup.path().to_owned();
        let mut above: Vec<_> = own.ancestors().take_while(|path| *path != mount).collect();
        above.reverse();
        let topmost = above.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&id)));
        topmost.map_or_else(|| own.clone(), Path::to_owned)
    });
    // A process in the root cgroup is in none that a runtime made for it.
    Known { id, name: String::new(), cgroup: cgroup.filter(|path| path != mount && path.starts_with(mount)) }
}

fn podman_store(file: &Path) -> Vec<Known> {
    let Ok(bytes) = fs::read(file) else { return Vec::new() };
    let Ok(serde_json::Value::Array(containers)) = serde_json::from_slice(&bytes) else { return Vec::new() };
    let known = containers.iter().filter_map(|container| {
        let name = container["names"][0].as_str().unwrap_or_default();
        Some(Known { id: container["id"].as_str()?.to_owned(), name: name.to_owned(), cgroup: None })
    });
    known.collect()
}

fn engines(sockets: &[PathBuf]) -> Vec<Known> {
    let present: Vec<_> = sockets.iter().filter(|socket| socket.exists()).collect();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(tokio) = tokio else { return Vec::new() };
    let listed = present.into_iter().filter_map(|socket| {
        let listed = tokio
            .block_on(async { tokio::time::timeout(ENGINE_BOUND, async { Docker::connect(socket).await?.list().await }).await });
        match listed {
            Ok(Ok(listed)) => Some(listed),
            Ok(Err(error)) => {
                tracing::warn!(socket = %socket.display(), %error, "an engine is left out");
                None
            }
            Err(_) => {
                tracing::warn!(socket = %socket.display(), "an engine that does not answer is left out");
                None
            }
        }
    });
    let known = listed.flatten().map(|container| Known { id: container.id, name: container.name, cgroup: None });
    known.collect()
}
