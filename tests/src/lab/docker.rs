//! A host's own containerd and Docker daemon, which share nothing with the machine's and leave its firewall alone.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    error::{Result, file},
    host::{self, Host},
    network,
    process::{self, Process},
};

/// The name of the macvlan network that containers join.
pub const NETWORK: &str = "lab";

/// Where containerd listens, in the host's private `/run`.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// The addresses that Docker hands out by itself on each host; the two do not overlap.
const RANGES: [&str; 2] = ["10.77.0.128/26", "10.77.0.192/26"];

/// Writes the configurations, then starts containerd.
pub fn start_containerd(host: &Host, cgroup_parent: &str) -> Result<Process> {
    write_configuration(host, cgroup_parent)?;
    let log = host.files.log("containerd");
    let mut command = host.command("containerd")?;
    let process = process::start(command.arg("--config").arg(host.files.dir.join("containerd.toml")), &log)?;
    // From outside, the host's private /run is found through the process that holds its namespaces.
    let socket = inside(host, CONTAINERD_SOCKET)?;
    host::wait_for(&format!("containerd of {}", host.state.name), &process, &socket, &log, |path| {
        UnixStream::connect(path).is_ok()
    })?;
    Ok(process)
}

/// Starts Docker and makes its network.
pub fn start_dockerd(host: &Host) -> Result<Process> {
    let log = host.files.log("dockerd");
    let mut command = host.command("dockerd")?;
    let process = process::start(command.arg("--config-file").arg("/etc/docker/daemon.json"), &log)?;
    host::wait_for(&format!("dockerd of {}", host.state.name), &process, &host.files.docker_socket(), &log, host::ping)?;
    Ok(process)
}

/// Makes the network that containers join.
pub fn create_network(host: &Host, index: usize) -> Result<()> {
    let range = RANGES[index % RANGES.len()];
    host.docker_output([
        "network",
        "create",
        "--driver=macvlan",
        &format!("--subnet={}", network::SUBNET),
        &format!("--gateway={}", network::GATEWAY),
        &format!("--ip-range={range}"),
        "--opt=parent=eth0",
        NETWORK,
    ])?;
    Ok(())
}

/// Removes every container of the host.
pub fn remove_containers(host: &Host) -> Result<()> {
    let ids = host.docker_output(["ps", "--all", "--quiet", "--no-trunc"])?;
    if !ids.is_empty() {
        host.docker_output(["rm", "--force", "--volumes"].into_iter().chain(ids.lines()))?;
    }
    Ok(())
}

fn write_configuration(host: &Host, cgroup_parent: &str) -> Result<()> {
    let files = &host.files;
    // The machine's own plug-ins for file systems that are not used here only fill the log with complaints.
    let containerd = format!(
        "version = 2\nroot = {:?}\nstate = \"/run/containerd\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.aufs\", \
         \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", \
         \"io.containerd.internal.v1.opt\"]\n[grpc]\n  address = {CONTAINERD_SOCKET:?}\n",
        files.containerd_data()
    );
    put(&files.dir.join("containerd.toml"), &containerd)?;
    let daemon = json!({
        "data-root": files.docker_data(),
        "exec-root": "/run/docker",
        "pidfile": "/run/docker.pid",
        "hosts": [format!("unix://{}", files.docker_socket().display())],
        "containerd": CONTAINERD_SOCKET,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": cgroup_parent,
        "storage-driver": "overlay2",
        "bridge": "none",
        "iptables": false,
        "ip6tables": false,
        "ip-forward": false,
        // Lowering a score below zero needs CAP_SYS_RESOURCE.
        "oom-score-adjust": 0,
        "shutdown-timeout": 5,
        "runtimes": {
            "migrate": {
                "path": host.migrate,
                "runtimeArgs": ["runtime", "--agent-socket", files.agent_socket()],
            }
        },
    });
    put(&files.etc_docker().join("daemon.json"), &format!("{daemon:#}\n"))?;
    // With these, `docker` and `migrate` need no options inside the host.
    symlink(files.docker_socket(), inside(host, "/run/docker.sock")?).map_err(file("cannot link", "/run/docker.sock"))?;
    fs::create_dir_all(inside(host, "/run/migrate")?).map_err(file("cannot create", "/run/migrate"))?;
    symlink(files.agent_socket(), inside(host, "/run/migrate/agent.sock")?)
        .map_err(file("cannot link", "/run/migrate/agent.sock"))
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(file("cannot write", path))
}

/// The path by which a file of the host is reached from outside its mount namespace.
fn inside(host: &Host, path: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(format!("/proc/{}/root{path}", host.holder()?.pid)))
}
