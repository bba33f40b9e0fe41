//! Which cgroups are meant: containers by name or id, whatever runtime started them, or a cgroup by its path.
//!
//! Containers are told by whoever knows them ([`sources`]): Docker's and podman's socket, what containerd and runc keep under
//! `/run`, podman's store, and the version 2 cgroup tree itself, where a runtime names a container's directory after its id
//! ([`id_of_directory`]). What the sources say of one id is put together ([`merge`]), and a name is looked for in the result
//! ([`select`]).

mod sources;
#[cfg(test)]
mod tests;

use super::RatesError;
use super::sample::Target;
use crate::sys::cgroup::Cgroup;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

pub use sources::Sources;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A container's name, id, or the beginning of its id.
    Container(String),
    /// A cgroup v2 directory: absolute, or relative to where the tree is mounted.
    Cgroup(PathBuf),
    /// Every container that runs.
    All,
}

/// A container or cgroup to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub target: Target,
    pub cgroup: Cgroup,
}

/// What a source knows of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub id: String,
    /// Empty: the source knows no name.
    pub name: String,
    /// Its topmost cgroup; none: the source does not know, or it does not run.
    pub cgroup: Option<PathBuf>,
}

/// Finds what is wanted. Every cgroup is found once, however often it is named.
///
/// # Errors
/// [`RatesError::NotFound`], [`RatesError::Ambiguous`], [`RatesError::NotRunning`], [`RatesError::Empty`],
/// [`RatesError::Nested`], and where the cgroup tree cannot be read.
pub fn resolve(wanted: &[Wanted], sources: &Sources) -> Result<Vec<Found>, RatesError> {
    let mount = Cgroup::mount()?;
    let mut found: Vec<Found> = Vec::new();
    let needs_list = wanted.iter().any(|wanted| !matches!(wanted, Wanted::Cgroup(_)));
    let known = if needs_list { merge(sources.containers(&mount)) } else { Vec::new() };
    for wanted in wanted {
        match wanted {
            Wanted::Container(name) => found.push(container(name, &known, &mount, sources)?),
            Wanted::Cgroup(path) => found.push(cgroup(path, &mount)?),
            Wanted::All => {
                let running = known.iter().filter_map(|known| running(known, &mount));
                found.extend(outermost(running.collect()));
            }
        }
    }
    let mut unique: Vec<Found> = Vec::new();
    for found in found {
        if !unique.iter().any(|other| other.cgroup == found.cgroup) {
            unique.push(found);
        }
    }
    if unique.is_empty() {
        return Err(RatesError::NoContainers { searched: sources.describe(&mount) });
    }
    for inner in &unique {
        let outer = unique.iter().find(|outer| *outer != inner && inner.cgroup.path().starts_with(outer.cgroup.path()));
        if let Some(outer) = outer {
            return Err(RatesError::Nested { inner: inner.target.cgroup.clone(), outer: outer.target.cgroup.clone() });
        }
    }
    Ok(unique)
}

fn container(name: &str, known: &[Known], mount: &Path, sources: &Sources) -> Result<Found, RatesError> {
    let Some(known) = select(name, known)? else {
        // A runtime that leaves no state behind, or a container id of a form that no source knows.
        return match sources::directory_named(name, mount)? {
            Some(path) => cgroup(&path, mount).map(|mut found| {
                found.target.name = name.to_owned();
                found.target.id = name.to_owned();
                found
            }),
            None => Err(RatesError::NotFound { name: name.to_owned(), searched: sources.describe(mount) }),
        };
    };
    running(known, mount).ok_or_else(|| RatesError::NotRunning { name: display_name(known).to_owned() })
}

/// A cgroup by its path; its id stays empty unless its directory tells one.
fn cgroup(path: &Path, mount: &Path) -> Result<Found, RatesError> {
    let path = match path.strip_prefix(mount) {
        Ok(below) => mount.join(below),
        // `/docker/4f…`, as /proc/PID/cgroup writes it, or without the slash.
        Err(_) if !path.starts_with("/sys/fs/cgroup") => mount.join(path.strip_prefix("/").unwrap_or(path)),
        Err(_) => return Err(RatesError::NoCgroup { path: path.to_owned(), mount: mount.to_owned() }),
    };
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    if !inside || !path.join("cgroup.procs").is_file() {
        return Err(RatesError::NoCgroup { path, mount: mount.to_owned() });
    }
    // The root of the tree has no cgroup.events, and is all of the host.
    if path != mount && !Cgroup::at(&path).populated()? {
        return Err(RatesError::Empty { path });
    }
    let directory = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = id_of_directory(&directory).unwrap_or_default().to_owned();
    let cgroup = Cgroup::at(&path);
    let shown = shown(&path, mount);
    let name = if directory.is_empty() { shown.clone() } else { directory.clone() };
    Ok(Found { target: Target { name, id, cgroup: shown }, cgroup })
}

/// A container whose cgroup has a task.
fn running(known: &Known, mount: &Path) -> Option<Found> {
    let path = known.cgroup.as_ref()?;
    let cgroup = Cgroup::at(path);
    cgroup.populated().unwrap_or(false).then(|| {
        let target = Target { name: display_name(known).to_owned(), id: known.id.clone(), cgroup: shown(path, mount) };
        Found { target, cgroup }
    })
}

/// Without containers that are inside others: their events are the outer one's already.
fn outermost(found: Vec<Found>) -> Vec<Found> {
    let inside = |inner: &Found| {
        found.iter().any(|outer| outer.cgroup != inner.cgroup && inner.cgroup.path().starts_with(outer.cgroup.path()))
    };
    found.iter().filter(|found| !inside(found)).cloned().collect()
}

fn shown(path: &Path, mount: &Path) -> String {
    let below = path.strip_prefix(mount).unwrap_or(path);
    Path::new("/").join(below).to_string_lossy().into_owned()
}

fn display_name(known: &Known) -> &str {
    if known.name.is_empty() { known.id.get(..12).unwrap_or(&known.id) } else { &known.name }
}

/// One entry an id: the first name and the topmost cgroup that any source told.
fn merge(known: Vec<Known>) -> Vec<Known> {
    let mut merged: BTreeMap<String, Known> = BTreeMap::new();
    for known in known {
        let entry = merged.entry(known.id.clone()).or_insert_with(|| Known { id: known.id, ..Known::default() });
        if entry.name.is_empty() {
            entry.name = known.name;
        }
        let higher = |a: &PathBuf, b: &PathBuf| a.components().count() < b.components().count();
        match (&entry.cgroup, known.cgroup) {
            (Some(old), Some(new)) if higher(&new, old) => entry.cgroup = Some(new),
            (None, new) => entry.cgroup = new,
            _ => {}
        }
    }
    merged.into_values().collect()
}

/// The container that a name means: an exact name or id before the beginning of an id.
fn select<'a>(name: &str, known: &'a [Known]) -> Result<Option<&'a Known>, RatesError> {
    let exact: Vec<_> = known.iter().filter(|known| known.name == name || known.id == name).collect();
    let matching = if exact.is_empty() { known.iter().filter(|known| known.id.starts_with(name)).collect() } else { exact };
    match matching.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        // Two runtimes may each have a `web`: the one that runs is meant.
        many => match many.iter().filter(|known| known.cgroup.is_some()).collect::<Vec<_>>().as_slice() {
            [one] => Ok(Some(one)),
            _ => {
                let ids = many.iter().map(|known| format!("{} ({})", known.id, display_name(known))).collect();
                Err(RatesError::Ambiguous { name: name.to_owned(), ids })
            }
        },
    }
}

/// The container that a cgroup's directory is named after: `ID`, `docker-ID.scope`, `libpod-ID`, `cri-containerd-ID.scope` …,
/// where an id has 64 hexadecimal digits. The monitors beside containers (`libpod-conmon-ID.scope`) are none.
fn id_of_directory(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.rsplit_once('-').unwrap_or(("", name));
    let hex = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (hex && !prefix.ends_with("conmon")).then_some(id)
}
