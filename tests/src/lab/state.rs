//! What `up` started, written down after each step, so that `down` ends exactly that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    error::{LabError, Result, file},
    process::Process,
};

pub(super) const FILE: &str = "state.json";

/// The lab as it was started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// What the links carry, in `tc`'s notation.
    pub rate: String,
    /// The program that serves as agent and OCI runtime.
    pub migrate: PathBuf,
    /// Holds the bridge's network namespace.
    pub switch: Option<Process>,
    /// Holds the client's network namespace.
    pub client: Option<Process>,
    pub hosts: Vec<HostState>,
}

/// One host as it was started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostState {
    pub name: String,
    /// Address of its own, not of a container.
    pub address: String,
    /// Holds its namespaces.
    pub holder: Option<Process>,
    pub containerd: Option<Process>,
    pub dockerd: Option<Process>,
    pub agent: Option<Process>,
}

impl State {
    /// Every process that ought to be running, with a name for each.
    pub fn processes(&self) -> Vec<(String, Process)> {
        let mut all = Vec::new();
        let mut add = |name: &str, process: Option<Process>| all.extend(process.map(|process| (name.to_string(), process)));
        add("switch", self.switch);
        add("cl", self.client);
        for host in &self.hosts {
            add(&host.name, host.holder);
            add(&format!("{}/containerd", host.name), host.containerd);
            add(&format!("{}/dockerd", host.name), host.dockerd);
        }
        all
    }
}

/// Reads the state file; `None` when there is no lab.
pub fn read(dir: &Path) -> Result<Option<State>> {
    let path = dir.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|source| LabError::State { path, source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("cannot read", path)(error)),
    }
}

/// Replaces the state file; a reader sees the old or the new one.
pub fn write(dir: &Path, state: &State) -> Result<()> {
    let (path, new) = (dir.join(FILE), dir.join(format!("{FILE}.new")));
    let text = serde_json::to_vec_pretty(state).expect("the state has only strings and numbers");
    fs::write(&new, text).map_err(file("cannot write", &new))?;
    fs::rename(&new, &path).map_err(file("cannot replace", &path))
}
