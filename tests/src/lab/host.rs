//! A host of the lab: where its files are, its Docker, its agent, and programs inside its namespaces.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    error::{LabError, Result, file},
    namespace,
    process::{self, Process},
    state::HostState,
};

/// The port on which agents listen for each other.
pub const AGENT_PORT: u16 = 7077;

const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Where a host keeps its files. All are below the lab's folder, so they can be reached from outside as well.
#[derive(Debug, Clone)]
pub struct HostDir {
    pub dir: PathBuf,
}

impl HostDir {
    pub fn docker_socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    pub fn agent_socket(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }

    pub fn etc_docker(&self) -> PathBuf {
        self.dir.join("etc-docker")
    }

    /// Docker's images and containers.
    pub fn docker_data(&self) -> PathBuf {
        self.dir.join("docker")
    }

    pub fn containerd_data(&self) -> PathBuf {
        self.dir.join("containerd")
    }

    /// The agent's durable state.
    pub fn agent_state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The output of one of the host's programs.
    pub fn log(&self, program: &str) -> PathBuf {
        self.dir.join(format!("{program}.log"))
    }
}

/// A running host.
#[derive(Debug, Clone)]
pub struct Host {
    pub state: HostState,
    pub files: HostDir,
    pub migrate: PathBuf,
}

impl Host {
    /// The process that holds the namespaces.
    pub fn holder(&self) -> Result<&Process> {
        let damaged = || LabError::Damaged { dir: self.files.dir.clone(), what: "the host has no namespaces".to_string() };
        self.state.holder.as_ref().ok_or_else(damaged)
    }

    /// A command inside the host's network, mount and UTS namespaces. There, `docker` and `migrate` find their sockets in `/run`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        namespace::command(self.holder()?, program, true)
    }

    /// Docker's command line, from outside the namespaces.
    pub fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.files.docker_socket().display()));
        command
    }

    /// Runs Docker's command line and returns its output without the last line break.
    pub fn docker_output<I, S>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        process::output(self.docker().args(arguments)).map(|text| text.trim_end().to_string())
    }

    /// A command line of `migrate` inside the host, speaking to its agent.
    pub fn migrate(&self) -> Result<Command> {
        self.command(&self.migrate)
    }

    /// Where other agents reach this one.
    pub fn agent_address(&self) -> String {
        format!("{}:{AGENT_PORT}", self.state.address)
    }

    /// Starts the agent and waits until its socket answers.
    pub fn start_agent(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        let (socket, log) = (self.files.agent_socket(), self.files.log("agent"));
        let state = self.files.agent_state();
        fs::create_dir_all(&state).map_err(file("cannot create", &state))?;
        // One that was just killed may still answer there while the kernel takes it down.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file("cannot remove", &socket)(error)),
            _ => {}
        }
        let mut command = self.command(&self.migrate)?;
        command
            .arg("agent")
            .arg("--socket")
            .arg(&socket)
            .args(["--listen", &self.agent_address()])
            .arg("--state-dir")
            .arg(&state)
            .args(["--docker", &format!("unix://{}", self.files.docker_socket().display())])
            .envs(environment.iter().copied());
        let who = format!("the agent of {}", self.state.name);
        let agent = process::start(&mut command, &log)?;
        self.state.agent = Some(agent);
        wait_for(&who, &agent, &socket, &log, |socket| UnixStream::connect(socket).is_ok())
    }

    /// Ends the agent as a crash would.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.state.agent.take().map_or(Ok(()), |agent| agent.kill())
    }

    /// Asks the agent to end, and waits.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.state.agent.take().map_or(Ok(()), |agent| agent.stop(Duration::from_secs(10)))
    }

    /// Whether the agent runs.
    pub fn agent_alive(&self) -> bool {
        self.state.agent.is_some_and(|agent| agent.alive())
    }

    /// Whether the agent runs and is the program that is at `migrate`'s path now, not one that has been built over.
    pub fn agent_current(&self) -> bool {
        let Some(agent) = self.state.agent.filter(Process::alive) else { return false };
        let ours = fs::metadata(format!("/proc/{}/exe", agent.pid));
        let built = fs::metadata(&self.migrate);
        matches!((ours, built), (Ok(ours), Ok(built)) if (ours.dev(), ours.ino()) == (built.dev(), built.ino()))
    }

    /// The last lines that one of the host's programs (`agent`, `dockerd`, `containerd`) printed.
    pub fn log_tail(&self, program: &str, lines: usize) -> String {
        tail(&self.files.log(program), lines)
    }

    /// Whether Docker answers.
    pub fn docker_alive(&self) -> bool {
        ping(&self.files.docker_socket())
    }
}

/// Waits until the socket of a program that was just started answers.
pub(super) fn wait_for(who: &str, process: &Process, socket: &Path, log: &Path, up: impl Fn(&Path) -> bool) -> Result<()> {
    let end = Instant::now() + ANSWER_LIMIT;
    while !up(socket) {
        if !process.alive() {
            return Err(LabError::EndedAtOnce {
                who: who.to_string(),
                log: log.to_path_buf(),
                tail: tail(log, 3).replace('\n', " | "),
            });
        }
        if Instant::now() > end {
            let seconds = ANSWER_LIMIT.as_secs();
            return Err(LabError::NoAnswer {
                who: who.to_string(),
                socket: socket.to_path_buf(),
                seconds,
                log: log.to_path_buf(),
            });
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Docker's own health check.
pub(super) fn ping(socket: &Path) -> bool {
    let answer = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    answer().is_ok_and(|text| text.ends_with("OK"))
}

/// The last lines of a log.
fn tail(log: &Path, count: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
