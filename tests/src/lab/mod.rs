//! Two hosts on one machine, each with its own network, mount and UTS namespaces, containerd, Docker and agent, and a client.
//!
//! Everything lives below one folder and in namespaces of its own; the machine's Docker, network and firewall are not touched.
//! Several labs in different folders do not meet. The state file says what was started; [`Lab::down`] ends that and nothing else.

pub mod cgroup;
mod docker;
mod error;
mod host;
mod namespace;
mod network;
mod process;
mod state;

use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::Serialize;

use error::file;
use namespace::HostSetup;
use state::{HostState, State};

pub use docker::NETWORK;
pub use error::{LabError, Result};
pub use host::{AGENT_PORT, Host, HostDir};
pub use network::UNLIMITED;
pub use process::{Ended, Process, finish as run_to_end, line as command_line, output as run_output};

/// The two hosts' names and addresses.
const HOSTS: [(&str, &str); 2] = [("h1", "10.77.0.1"), ("h2", "10.77.0.2")];
/// The client's name.
pub const CLIENT: &str = "cl";

/// The longest path of a unix socket, without the final zero.
const SOCKET_PATH_MAX: usize = 107;

/// How a lab is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// What each link carries in each direction, in `tc`'s notation.
    pub rate: String,
    /// Start an agent on each host.
    pub agents: bool,
    /// The program `migrate`: agent and OCI runtime.
    pub migrate: PathBuf,
}

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    pub dir: PathBuf,
    state: State,
}

/// What `lab status` tells.
#[derive(Debug, Serialize)]
pub struct Status {
    pub up: bool,
    pub dir: PathBuf,
    pub rate: String,
    pub hosts: Vec<HostStatus>,
}

/// One host's part of the status.
#[derive(Debug, Serialize)]
pub struct HostStatus {
    pub name: String,
    pub address: String,
    pub docker: bool,
    pub agent: bool,
    pub docker_socket: PathBuf,
    pub agent_socket: PathBuf,
    /// Process that holds the namespaces.
    pub pid: Option<i32>,
    /// Names and states of its containers.
    pub containers: Vec<String>,
}

/// The folder of a checkout's lab. Where the usual one is too deep for unix sockets, a short one with a name made from it.
pub fn default_dir(target: &Path) -> PathBuf {
    let usual = target.join("lab");
    let longest = usual.join("h1/docker.sock").as_os_str().len();
    if longest <= SOCKET_PATH_MAX { usual } else { PathBuf::from(format!("/var/tmp/migrate-lab-{:x}", short_hash(&usual))) }
}

fn short_hash(path: &Path) -> u32 {
    let mut hasher = DefaultHasher::new();
    path.as_os_str().as_bytes().hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).expect("the upper half has 32 bits")
}

/// The control group below which a host's containers are.
fn cgroup_parent(dir: &Path, host: &str) -> String {
    format!("/mlab-{:08x}-{host}", short_hash(dir))
}

/// Held while a lab is brought up or down, so that two programs do not do so at once.
fn lock(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).map_err(file("cannot create", dir))?;
    let path = dir.join("lock");
    let lock = File::create(&path).map_err(file("cannot create", &path))?;
    lock.lock().map_err(file("cannot lock", &path))?;
    Ok(lock)
}

impl Lab {
    /// The lab in `dir`, which must be up.
    pub fn open(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).map_err(file("cannot resolve", dir))?;
        let Some(state) = state::read(&dir)? else { return Err(LabError::Down { dir }) };
        if let Some((name, process)) = state.processes().into_iter().find(|(_, process)| !process.alive()) {
            return Err(LabError::Damaged { dir, what: format!("{name}, process {}, has ended", process.pid) });
        }
        Ok(Self { dir, state })
    }

    /// Brings a lab up, or takes the one that is up. What is left of a damaged one is cleared away first.
    ///
    /// When `options` asks for agents, those that do not run, or run a program that was built over since, are started.
    pub fn up(dir: &Path, options: &Options) -> Result<Self> {
        let dir = &std::path::absolute(dir).map_err(file("cannot resolve", dir))?;
        let lock = lock(dir)?;
        let mut lab = match Self::open(dir) {
            Ok(mut lab) if lab.state.migrate == options.migrate => {
                if lab.state.rate != options.rate {
                    lab.set_rate(&options.rate)?;
                }
                lab
            }
            Ok(_) | Err(LabError::Damaged { .. }) => {
                clear(dir)?;
                Self::create(dir, options)?
            }
            Err(LabError::Down { .. }) => Self::create(dir, options)?,
            Err(error) => return Err(error),
        };
        if options.agents {
            lab.for_each_host(|host| {
                if host.agent_current() {
                    return Ok(());
                }
                host.stop_agent()?;
                host.start_agent(&[])
            })?;
        }
        drop(lock);
        Ok(lab)
    }

    fn create(dir: &Path, options: &Options) -> Result<Self> {
        let longest = dir.join("h1/docker.sock");
        let bytes = longest.as_os_str().len();
        if bytes > SOCKET_PATH_MAX {
            return Err(LabError::PathTooLong { path: longest, bytes });
        }
        let state = State { rate: options.rate.clone(), migrate: options.migrate.clone(), ..State::default() };
        let mut lab = Self { dir: dir.to_path_buf(), state };
        // What was started before a failure is in the state file, so it can be ended.
        let made = lab.build();
        if made.is_err() {
            clear(&lab.dir)?;
        }
        made.map(|()| lab)
    }

    fn build(&mut self) -> Result<()> {
        let rate = self.state.rate.clone();
        self.save()?;
        let log = self.dir.join("namespaces.log");
        let switch = namespace::create_network(&log)?;
        self.state.switch = Some(switch);
        self.save()?;
        network::create_bridge(&switch)?;
        let client = namespace::create_network(&log)?;
        self.state.client = Some(client);
        self.save()?;
        network::attach(&switch, &client, CLIENT, network::CLIENT, &rate)?;
        for (index, (name, address)) in HOSTS.into_iter().enumerate() {
            self.state.hosts.push(HostState { name: name.to_string(), address: address.to_string(), ..HostState::default() });
            let files = self.files(name);
            for folder in [files.etc_docker(), PathBuf::from("/etc/docker")] {
                fs::create_dir_all(&folder).map_err(file("cannot create", &folder))?;
            }
            let setup = HostSetup { hostname: name.to_string(), etc_docker: files.etc_docker() };
            let holder = namespace::create_host(&setup, &log)?;
            self.state.hosts[index].holder = Some(holder);
            self.save()?;
            network::attach(&switch, &holder, name, address, &rate)?;
            let containerd = docker::start_containerd(&self.host(name)?, &cgroup_parent(&self.dir, name))?;
            self.state.hosts[index].containerd = Some(containerd);
            self.save()?;
            let dockerd = docker::start_dockerd(&self.host(name)?)?;
            self.state.hosts[index].dockerd = Some(dockerd);
            self.save()?;
            docker::create_network(&self.host(name)?, index)?;
        }
        Ok(())
    }

    /// Ends everything that `up` started and removes the lab's folder. Whether there was a lab.
    pub fn down(dir: &Path) -> Result<bool> {
        if !dir.exists() {
            return Ok(false);
        }
        let dir = &std::path::absolute(dir).map_err(file("cannot resolve", dir))?;
        let _lock = lock(dir)?;
        let was_up = clear(dir)?;
        fs::remove_dir_all(dir).map_err(file("cannot remove", dir))?;
        Ok(was_up)
    }

    /// What is up in `dir`.
    pub fn status(dir: &Path) -> Result<Status> {
        match Self::open(dir) {
            Ok(lab) => lab.current(),
            Err(LabError::Down { dir }) => Ok(Status { up: false, dir, rate: String::new(), hosts: Vec::new() }),
            Err(error) => Err(error),
        }
    }

    fn current(&self) -> Result<Status> {
        let hosts = self.hosts()?.into_iter().map(|host| {
            let list = host.docker_output(["ps", "--all", "--format", "{{.Names}} {{.Image}} {{.Status}}"])?;
            Ok(HostStatus {
                docker: host.docker_alive(),
                agent: host.agent_alive(),
                docker_socket: host.files.docker_socket(),
                agent_socket: host.files.agent_socket(),
                pid: host.state.holder.map(|holder| holder.pid),
                containers: list.lines().map(str::to_string).collect(),
                name: host.state.name,
                address: host.state.address,
            })
        });
        Ok(Status { up: true, dir: self.dir.clone(), rate: self.state.rate.clone(), hosts: hosts.collect::<Result<_>>()? })
    }

    fn save(&self) -> Result<()> {
        state::write(&self.dir, &self.state)
    }

    fn files(&self, name: &str) -> HostDir {
        HostDir { dir: self.dir.join(name) }
    }

    /// A host by name: `h1` or `h2`.
    pub fn host(&self, name: &str) -> Result<Host> {
        let found = self.state.hosts.iter().find(|host| host.name == name);
        let state = found.ok_or_else(|| LabError::NoSuchHost { name: name.to_string() })?.clone();
        Ok(Host { state, files: self.files(name), migrate: self.state.migrate.clone() })
    }

    /// Both hosts.
    pub fn hosts(&self) -> Result<Vec<Host>> {
        self.state.hosts.iter().map(|host| self.host(&host.name)).collect()
    }

    /// Changes a host (its agent, say) and writes the change down.
    pub fn with_host<T>(&mut self, name: &str, change: impl FnOnce(&mut Host) -> Result<T>) -> Result<T> {
        let mut host = self.host(name)?;
        let result = change(&mut host);
        if let Some(state) = self.state.hosts.iter_mut().find(|state| state.name == name) {
            *state = host.state;
        }
        self.save()?;
        result
    }

    fn for_each_host(&mut self, change: impl Fn(&mut Host) -> Result<()>) -> Result<()> {
        HOSTS.into_iter().try_for_each(|(name, _)| self.with_host(name, &change))
    }

    /// Whether the control group of a host's container is frozen. False when there is none.
    pub fn frozen(&self, host: &Host, id: &str) -> bool {
        cgroup::frozen(&cgroup_parent(&self.dir, &host.state.name), id)
    }

    /// Changes what the links carry, in `tc`'s notation or `unlimited`.
    pub fn set_rate(&mut self, rate: &str) -> Result<()> {
        let damaged = || LabError::Damaged { dir: self.dir.clone(), what: "the network is incomplete".to_string() };
        let switch = self.state.switch.ok_or_else(damaged)?;
        let holders = self.state.hosts.iter().map(|host| (host.name.as_str(), host.holder));
        for (name, holder) in holders.chain([(CLIENT, self.state.client)]) {
            network::set_rate(&switch, &holder.ok_or_else(damaged)?, name, rate)?;
        }
        self.state.rate = rate.to_string();
        self.save()
    }

    /// A command in the client's network namespace.
    pub fn client(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let damaged = || LabError::Damaged { dir: self.dir.clone(), what: "there is no client".to_string() };
        namespace::command(self.state.client.as_ref().ok_or_else(damaged)?, program, false)
    }
}

/// Ends what the state file lists and removes the hosts' files. Whether there was a lab.
fn clear(dir: &Path) -> Result<bool> {
    let Some(state) = state::read(dir)? else { return Ok(false) };
    let grace = Duration::from_secs(15);
    for host in &state.hosts {
        let handle = Host { state: host.clone(), files: HostDir { dir: dir.join(&host.name) }, migrate: state.migrate.clone() };
        // An agent holds its containers by ptrace; once it is gone they can be ended.
        for process in [host.agent].into_iter().flatten() {
            process.stop(grace)?;
        }
        if handle.docker_alive()
            && let Err(error) = docker::remove_containers(&handle)
        {
            // What Docker cannot remove is ended below, by its control group.
            eprintln!("{error}");
        }
        for process in [host.dockerd, host.containerd].into_iter().flatten() {
            process.stop(grace)?;
        }
        cgroup::remove(&cgroup_parent(dir, &host.name));
        if let Some(holder) = host.holder {
            for left in namespace::members(&holder) {
                left.kill()?;
            }
        }
    }
    for process in [state.client, state.switch].into_iter().flatten() {
        process.kill()?;
    }
    for host in &state.hosts {
        let files = dir.join(&host.name);
        if files.exists() {
            fs::remove_dir_all(&files).map_err(file("cannot remove", files))?;
        }
    }
    let path = dir.join(state::FILE);
    fs::remove_file(&path).map_err(file("cannot remove", path))?;
    Ok(true)
}
