//! Docker, through its API on a unix socket. Versions from 1.41 (Docker 20.10) on; the version is negotiated.

mod create;
mod http;
mod image;
mod spec;
mod supported;

pub use create::Program;
pub use spec::{Attachment, Json, Spec};
pub use supported::check_supported;

use bollard::container::LogOutput;
use bollard::query_parameters::{KillContainerOptions, LogsOptions, RemoveContainerOptions, WaitContainerOptions};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where Docker listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// How long an answer may take to begin. An image that is loaded from a slow disk takes longest.
const TIMEOUT_SECONDS: u64 = 600;

/// What Docker did not do.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("cannot reach Docker on {}: is dockerd running there? ({source})", socket.display())]
    Connect { socket: PathBuf, source: bollard::errors::Error },
    #[error("docker: cannot {action} {what}: {source}")]
    Api { action: &'static str, what: String, source: bollard::errors::Error },
    #[error("docker: cannot {action} {what}: {message} (status {status})")]
    Status { action: &'static str, what: String, status: u16, message: String },
    #[error("docker: cannot {action} {what}: {source}")]
    Http { action: &'static str, what: String, source: http::HttpError },
    #[error("docker: the answer about {what} has no {field}")]
    Missing { what: String, field: &'static str },
    #[error("docker: {what} is not as expected: {why}")]
    Unexpected { what: String, why: String },
}

/// What a request was for: puts a context on bollard's errors.
fn api(action: &'static str, what: &str) -> impl FnOnce(bollard::errors::Error) -> DockerError {
    let what = what.to_owned();
    move |source| match source {
        bollard::errors::Error::DockerResponseServerError { status_code, message } => {
            DockerError::Status { action, what, status: status_code, message }
        }
        source => DockerError::Api { action, what, source },
    }
}

impl DockerError {
    /// There is no such container, image or network.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: 404, .. })
    }
}

/// A connection to one Docker daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Docker {
    client: bollard::Docker,
    socket: PathBuf,
}

/// What is asked of a daemon before it is trusted with a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerInfo {
    pub version: String,
    pub api: String,
    /// `overlay2` is the only one whose layers can be moved.
    pub storage_driver: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// Names of the runtimes that are registered.
    pub runtimes: Vec<String>,
    pub root: PathBuf,
}

/// A container as it stands.
#[derive(Clone, Debug)]
pub struct Inspected {
    pub spec: Spec,
    /// Created, running, paused: it exists as processes or may do so again without a new `create`.
    pub running: bool,
    /// Its first process as the host numbers it; 0 when it has none.
    pub pid: i32,
    /// Of its last end.
    pub exit_code: i64,
    /// The overlay's upper directory: what the container wrote. None with another storage driver than overlay2.
    pub upper: Option<PathBuf>,
}

/// A container in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub id: String,
    pub name: String,
    /// The name that it was created by.
    pub image: String,
    pub labels: HashMap<String, String>,
}

/// What a container wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Docker {
    /// Connects to the daemon that listens on `socket` and agrees on a version with it.
    pub async fn connect(socket: &Path) -> Result<Self, DockerError> {
        let failed = |source| DockerError::Connect { socket: socket.to_owned(), source };
        let path = socket.to_string_lossy();
        let client = bollard::Docker::connect_with_unix(&path, TIMEOUT_SECONDS, bollard::API_DEFAULT_VERSION);
        let client = client.map_err(failed)?.negotiate_version().await.map_err(failed)?;
        Ok(Self { client, socket: socket.to_owned() })
    }

    /// The version of the API that is spoken, as `1.41`.
    #[must_use]
    pub fn api_version(&self) -> String {
        self.client.client_version().to_string()
    }

    /// Whether the MAC address belongs to the network attachment rather than to the container. Source: Docker's API history,
    /// 1.44.
    fn mac_in_attachment(&self) -> bool {
        let version = self.client.client_version();
        (version.major_version, version.minor_version) >= (1, 44)
    }

    pub async fn info(&self) -> Result<DockerInfo, DockerError> {
        let info = self.client.info().await.map_err(api("describe", "the daemon"))?;
        let missing = |field| DockerError::Missing { what: "the daemon".into(), field };
        let mut runtimes: Vec<_> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Ok(DockerInfo {
            version: info.server_version.ok_or_else(|| missing("ServerVersion"))?,
            api: self.api_version(),
            storage_driver: info.driver.ok_or_else(|| missing("Driver"))?,
            cgroup_driver: info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default(),
            runtimes,
            root: info.docker_root_dir.ok_or_else(|| missing("DockerRootDir"))?.into(),
        })
    }

    /// A container by name, id, or an id's unique start.
    pub async fn inspect(&self, container: &str) -> Result<Inspected, DockerError> {
        let text = self.get(&format!("/containers/{}/json", http::path_segment(container)), "inspect", container).await?;
        let mut found = spec::parse(container, &text)?;
        for attachment in &mut found.spec.networks {
            let network = self.client.inspect_network(&attachment.network, None).await;
            attachment.driver = network.map_err(api("inspect network", &attachment.network))?.driver.unwrap_or_default();
        }
        match self.image_names(&found.spec.image_id).await {
            Ok(names) => found.spec.image_names = names,
            // An image may be removed by force under a container that uses it.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    /// Starts a container that was created.
    pub async fn start(&self, container: &str) -> Result<(), DockerError> {
        self.client.start_container(container, None).await.map_err(api("start", container))
    }

    /// Sends a signal (`KILL`, `TERM` …) to a container's first process.
    pub async fn kill(&self, container: &str, signal: &str) -> Result<(), DockerError> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        self.client.kill_container(container, Some(options)).await.map_err(api("kill", container))
    }

    /// Removes a container with its anonymous volumes, killing it first if it runs. One that is not there is removed already.
    pub async fn remove(&self, container: &str) -> Result<(), DockerError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        match self.client.remove_container(container, Some(options)).await.map_err(api("remove", container)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Gives a container another name.
    pub async fn rename(&self, container: &str, name: &str) -> Result<(), DockerError> {
        let options = bollard::query_parameters::RenameContainerOptions { name: name.to_owned() };
        self.client.rename_container(container, options).await.map_err(api("rename", container))
    }

    /// Waits until a container that was started does not run, and returns its exit code: 128 and the signal where one ended it.
    pub async fn wait(&self, container: &str) -> Result<i64, DockerError> {
        let options = WaitContainerOptions { condition: "not-running".into() };
        match self.client.wait_container(container, Some(options)).next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(source)) => Err(api("wait for", container)(source)),
            None => Err(DockerError::Unexpected { what: container.into(), why: "its wait ended without a word".into() }),
        }
    }

    /// What a container wrote so far, from the start. With Docker's `json-file` log, bytes that are not UTF-8 are lost.
    pub async fn logs(&self, container: &str) -> Result<Output, DockerError> {
        let options = LogsOptions { stdout: true, stderr: true, tail: "all".into(), ..LogsOptions::default() };
        let mut stream = self.client.logs(container, Some(options));
        let mut output = Output::default();
        while let Some(part) = stream.next().await {
            match part.map_err(api("read the output of", container))? {
                LogOutput::StdErr { message } => output.stderr.extend_from_slice(&message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => output.stdout.extend_from_slice(&message),
                LogOutput::StdIn { .. } => {}
            }
        }
        Ok(output)
    }

    /// The containers that exist, running or not. Unlike [`Docker::inspect`] it does not wait for one that Docker is just
    /// starting, or running a command in: the runtime and what it waits for may ask this.
    pub async fn list(&self) -> Result<Vec<Summary>, DockerError> {
        let options = bollard::query_parameters::ListContainersOptions { all: true, ..Default::default() };
        let found = self.client.list_containers(Some(options)).await.map_err(api("list", "containers"))?;
        let summaries = found.into_iter().filter_map(|container| {
            let names = container.names.unwrap_or_default();
            Some(Summary {
                id: container.id?,
                name: names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
                image: container.image.unwrap_or_default(),
                labels: container.labels.unwrap_or_default(),
            })
        });
        Ok(summaries.collect())
    }

    async fn get(&self, path: &str, action: &'static str, what: &str) -> Result<Vec<u8>, DockerError> {
        let path = format!("/v{}{path}", self.api_version());
        http::answer(http::get(&self.socket, &path).await, action, what)
    }

    async fn post(&self, path: &str, body: Vec<u8>, action: &'static str, what: &str) -> Result<Vec<u8>, DockerError> {
        let path = format!("/v{}{path}", self.api_version());
        http::answer(http::post(&self.socket, &path, body).await, action, what)
    }
}
