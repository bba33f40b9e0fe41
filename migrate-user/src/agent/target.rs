//! The receiving side of a move: carries out what [`wire::target`](crate::wire::target) says.

use super::api::Role;
use super::cutover::CutOver;
use super::daemon::{DEVICE, Daemon, Entry};
use super::errors::{Failure, nanos, text};
use super::fault;
use super::host;
use crate::container::docker::Spec;
use crate::container::layer;
use crate::golive::{self, Bytes, Restored, stragglers};
use crate::probe::mute::{Mute, MuteMode};
use crate::replay::replica::Replica;
use crate::sys::{arp, neighbours};
use crate::wire::durable::{Durable, Side, TargetState};
use crate::wire::message::Prepare;
use crate::wire::target::{Action, Outcome, Output};
use crate::wire::{Message, Target, transport};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// A source that says nothing for so long is gone: while it moves a container it seals chunks all the time.
const SILENCE: Duration = Duration::from_secs(60);

/// Serves other agents until the process ends.
pub async fn listen(daemon: Arc<Daemon>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    serve(daemon, stream, peer.to_string()).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of another agent could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What a migration has on this host.
struct Receiving {
    daemon: Arc<Daemon>,
    peer: String,
    durable: Option<Durable>,
    image: PathBuf,
    layer: PathBuf,
    container: Option<String>,
    replica: Option<Replica>,
    restored: Option<Restored>,
    stragglers: Vec<Bytes>,
    spec: Option<Spec>,
}

async fn serve(daemon: Arc<Daemon>, stream: TcpStream, peer: String) {
    let (mut sender, mut receiver) = transport::split(stream);
    let (forward, mut messages) = tokio::sync::mpsc::channel(4);
    let reading = tokio::spawn(async move {
        loop {
            match receiver.recv().await {
                Ok(Some(message)) => {
                    if forward.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    let _ = forward.send(Err("the source closed it".to_owned())).await;
                    return;
                }
                Err(error) => {
                    let _ = forward.send(Err(error.to_string())).await;
                    return;
                }
            }
        }
    });
    let mut target = Target::new(host::hello(&daemon.docker_version));
    let folder = daemon.config.state_dir.join("receiving");
    let mut receiving = Receiving {
        image: folder.join(format!("{}.image.tar", std::process::id())),
        layer: folder.join(format!("{}.layer.tar", std::process::id())),
        daemon: Arc::clone(&daemon),
        peer,
        durable: None,
        container: None,
        replica: None,
        restored: None,
        stragglers: Vec::new(),
        spec: None,
    };
    loop {
        while let Some(action) = target.poll_action() {
            fault::point(fault::Side::Target, target.phase());
            let done = if let Action::Send(message) = action {
                sender.send(&message).await.map(|()| Output::None).map_err(text)
            } else {
                receiving.carry_out(action, &target).await
            };
            match done {
                Ok(output) => target.done(output),
                Err(why) => {
                    tracing::warn!(%why, phase = target.phase().name(), "a step of a migration failed");
                    target.failed(&why);
                }
            }
        }
        if let Some(outcome) = target.outcome() {
            if target.prepared().is_some() {
                daemon.moves.received(matches!(outcome, Outcome::Live));
            }
            if let Outcome::Aborted { why } = outcome {
                tracing::info!(%why, "a migration to this host was given up");
            }
            break;
        }
        match tokio::time::timeout(SILENCE, messages.recv()).await {
            Ok(Some(Ok(Message::Status(status)))) => {
                // From a source in doubt: what is on disk is the answer, once the restart's clean-up is done.
                let answer = answer_status(&daemon, status.id).await;
                let _ = sender.send(&answer).await;
                break;
            }
            Ok(Some(Ok(message))) => {
                if let Message::Prepare(prepare) = &message
                    && let Some(why) = receiving.objection(prepare).await
                {
                    target.cancel(&why);
                    continue;
                }
                target.handle_message(message);
            }
            Ok(Some(Err(why))) => target.lost(&why),
            Ok(None) => target.lost("the connection ended"),
            Err(_) => target.lost("the source was silent for too long"),
        }
    }
    reading.abort();
    for path in [&receiving.image, &receiving.layer] {
        let _ = std::fs::remove_file(path);
    }
}

/// What this host knows of a migration.
async fn answer_status(daemon: &Daemon, id: crate::wire::MigrationId) -> Message {
    use crate::wire::message::{StatusIs, Verdict};
    let verdict = match daemon.store.find(id, Side::Target(TargetState::Receiving)) {
        Ok(None) => Verdict::Unknown,
        Ok(Some(durable)) => match durable.side {
            Side::Target(TargetState::Live) => Verdict::Live,
            Side::Target(TargetState::Aborted) => Verdict::Aborted,
            _ => Verdict::Undecided,
        },
        Err(error) => {
            tracing::error!(%error, "the state of a migration could not be read");
            Verdict::Undecided
        }
    };
    StatusIs { verdict }.into()
}

impl Receiving {
    /// Why this host does not take the container, beyond what the hellos say.
    async fn objection(&self, prepare: &Prepare) -> Option<String> {
        let spec: Spec = match serde_json::from_slice(&prepare.spec.0) {
            Ok(spec) => spec,
            Err(error) => return Some(format!("the container's description cannot be read: {error}")),
        };
        match self.daemon.docker.inspect(&spec.name).await {
            Ok(_) => Some(format!("this host has a container named {} already", spec.name)),
            Err(error) if error.is_not_found() => None,
            Err(error) => Some(error.to_string()),
        }
    }

    async fn carry_out(&mut self, action: Action, target: &Target) -> Result<Output, Failure> {
        match action {
            Action::Write { state, attempt } => {
                back_off(attempt).await;
                self.write(state, target)?;
                Ok(Output::None)
            }
            Action::Send(_) => Ok(Output::None),
            Action::CheckImage { image } => {
                let present = self.daemon.docker.image_present(&image).await.map_err(text)?;
                Ok(Output::Image { present })
            }
            Action::StoreImage(bytes) => append(&self.image, &bytes).map(|()| Output::None),
            Action::LoadImage => self.load_image(target).await.map(|()| Output::None),
            Action::StoreLayer(bytes) => append(&self.layer, &bytes).map(|()| Output::None),
            Action::StartReplica(prepare) => self.start(&prepare, target).await.map(|()| Output::None),
            Action::Replay { chunk, .. } => {
                let records = chunk.records().map_err(text)?;
                let count = records.len() as u64;
                let replica = self.replica.as_ref().ok_or("there is no replica")?;
                let begun = Instant::now();
                replica.with(move |engine| engine.feed(&records)).await.map_err(text)?;
                Ok(Output::Replayed { records: count, replay_ns: nanos(begun.elapsed()) })
            }
            Action::Apply(bytes) => self.apply(&bytes).await.map(Output::Parts),
            Action::Detach => {
                let replica = self.replica.as_ref().ok_or("there is no replica")?;
                replica.unleash().await.map_err(text)?;
                Ok(Output::None)
            }
            Action::Unmute { attempt } => {
                back_off(attempt).await;
                self.unmute().await.map(Output::Parts)
            }
            Action::Kill { attempt } => {
                back_off(attempt).await;
                self.kill().await.map(|()| Output::None)
            }
        }
    }

    fn write(&mut self, state: TargetState, target: &Target) -> Result<(), Failure> {
        let Some(id) = target.id() else { return Err("the migration has no id yet".to_owned()) };
        let name = self.spec.as_ref().map_or("", |spec| spec.name.as_str());
        let durable = self
            .durable
            .get_or_insert_with(|| Durable::new(id, Side::Target(state), &self.peer, "", name));
        durable.side = Side::Target(state);
        durable.container = self.container.clone().unwrap_or_else(|| durable.container.clone());
        if durable.name.is_empty() {
            name.clone_into(&mut durable.name);
        }
        self.daemon.store.write(durable).map_err(text)
    }

    async fn load_image(&self, target: &Target) -> Result<(), Failure> {
        let image = target.prepared().map(|prepare| prepare.image.clone()).ok_or("no image was announced")?;
        let file = tokio::fs::File::open(&self.image).await.map_err(text)?;
        let stream = tokio_util::io::ReaderStream::new(file);
        self.daemon.docker.image_import(&image, stream).await.map_err(text)?;
        let _ = std::fs::remove_file(&self.image);
        Ok(())
    }

    /// Creates the container and starts it up to its first record.
    async fn start(&mut self, prepare: &Prepare, target: &Target) -> Result<(), Failure> {
        let spec: Spec = serde_json::from_slice(&prepare.spec.0).map_err(text)?;
        let id = self.daemon.docker.create_replica(&spec, &[]).await.map_err(text)?;
        self.container = Some(id.clone());
        self.spec = Some(spec);
        // So that a restarted agent finds what it has to remove.
        self.write(TargetState::Receiving, target)?;
        if self.layer.exists() {
            let upper = self.daemon.docker.inspect(&id).await.map_err(text)?.upper.ok_or("no overlay2 storage driver")?;
            let file = std::fs::File::open(&self.layer).map_err(text)?;
            layer::unpack(std::io::BufReader::new(file), &upper).map_err(text)?;
        }
        let theirs = target.source_host().ok_or("the source has not said what it is")?;
        let offset = |theirs: u64, ours: u64| theirs.cast_signed().wrapping_sub(ours.cast_signed());
        // Both hellos were made at about the same time; the difference of the clocks is what matters, to some milliseconds.
        let ours = target.own_host();
        let role = Role::Replica {
            monotonic_offset_ns: offset(theirs.monotonic_ns, ours.monotonic_ns),
            boottime_offset_ns: offset(theirs.boottime_ns, ours.boottime_ns),
        };
        let expected = self.daemon.expect(&id, role);
        self.daemon.docker.start(&id).await.map_err(text)?;
        let replica = expected.await.map_err(text)??;
        replica.with(|_| Ok(())).await.map_err(text)?;
        self.replica = Some(replica);
        Ok(())
    }

    /// The source's last state goes into the replica. What fails here kills the replica and harms nobody.
    async fn apply(&mut self, bytes: &[u8]) -> Result<Vec<(String, u64)>, Failure> {
        let mut cutover: CutOver = postcard::from_bytes(bytes).map_err(text)?;
        self.stragglers = std::mem::take(&mut cutover.stragglers);
        let replica = self.replica.as_ref().ok_or("there is no replica")?;
        let init = replica.init();
        let begun = Instant::now();
        let tasks = replica
            .with(|engine| {
                engine.settle()?;
                let tasks: Vec<_> = engine.live_tasks().collect();
                Ok(tasks)
            })
            .await
            .map_err(text)?;
        let settled = nanos(begun.elapsed());
        let mut tasks: Vec<golive::Task> = tasks
            .into_iter()
            .map(|(tid, host_pid)| golive::Task { ns_tid: tid.cast_signed(), host_pid })
            .collect();
        tasks.sort_by_key(|task| task.ns_tid);
        let begun = Instant::now();
        let signals = cutover.signals();
        let frozen_ns = cutover.frozen_ns;
        let restored = tokio::task::spawn_blocking(move || {
            if super::daemon::has_device(init) {
                let namespace = std::fs::File::open(format!("/proc/{init}/ns/net")).map_err(text)?;
                neighbours::introduce(&namespace, DEVICE, &cutover.snapshot.neighbours).map_err(text)?;
            }
            golive::restore(&tasks, &cutover.snapshot).map_err(text)
        });
        let restored = restored.await.map_err(text)??;
        for warning in &restored.report.warnings {
            tracing::warn!(%warning, "a socket is not wholly as it was");
        }
        tracing::info!(report = ?restored.report, "kernel objects are restored");
        let sockets = nanos(begun.elapsed());
        self.restored = Some(restored);
        let begun = Instant::now();
        replica.with(move |engine| engine.arm(frozen_ns, &signals)).await.map_err(text)?;
        Ok(vec![("settle".to_owned(), settled), ("sockets".to_owned(), sockets), ("timers".to_owned(), nanos(begun.elapsed()))])
    }

    /// The replica is the container now: its network, its connections, its tasks, in this order.
    async fn unmute(&mut self) -> Result<Vec<(String, u64)>, Failure> {
        let Some(id) = self.container.clone() else { return Ok(Vec::new()) };
        let begun = Instant::now();
        let pid = match &self.replica {
            Some(replica) => replica.init(),
            // After a restart: it runs by itself, if it has not ended since.
            None => match self.daemon.docker.inspect(&id).await {
                Ok(found) if found.running => found.pid,
                Ok(_) => return Ok(Vec::new()),
                Err(error) if error.is_not_found() => return Ok(Vec::new()),
                Err(error) => return Err(error.to_string()),
            },
        };
        open_network(&id, pid)?;
        let opened = nanos(begun.elapsed());
        let begun = Instant::now();
        if let Some(restored) = &mut self.restored {
            for failure in restored.release().failures {
                tracing::error!(%failure, "a connection could not be let go");
            }
        }
        if !self.stragglers.is_empty() {
            let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).map_err(text)?;
            // Whatever does not arrive is sent again by its sender's timer.
            if let Err(error) = stragglers::deliver(&namespace, &std::mem::take(&mut self.stragglers)) {
                tracing::warn!(%error, "packets that came during the move could not be delivered");
            }
        }
        let connections = nanos(begun.elapsed());
        let begun = Instant::now();
        match &self.replica {
            Some(replica) => replica.release().await.map_err(text)?,
            None => {
                let cgroup = crate::sys::cgroup::Cgroup::of(pid).map_err(text)?;
                let tasks = super::cutover::tasks(&cgroup)?;
                golive::leave_repair_mode(&tasks).map_err(text)?;
            }
        }
        self.daemon.set_entry(&id, Entry::Live { init: pid, from: self.peer.clone() });
        Ok(vec![
            ("address".to_owned(), opened),
            ("connections".to_owned(), connections),
            ("tasks".to_owned(), nanos(begun.elapsed())),
        ])
    }

    async fn kill(&mut self) -> Result<(), Failure> {
        self.restored = None;
        // Ends its thread, and with the tracer its tasks.
        self.replica = None;
        let id = self.container.clone().or_else(|| {
            let id = self.durable.as_ref()?.container.clone();
            (!id.is_empty()).then_some(id)
        });
        let Some(id) = id else { return Ok(()) };
        match self.daemon.docker.remove(&id).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.to_string()),
        }
        self.daemon.forget(&id);
        self.container = None;
        Ok(())
    }
}

/// Everything passes, the kernel answers for the address again, and the neighbours learn where it is.
fn open_network(id: &str, pid: i32) -> Result<(), Failure> {
    if !super::daemon::has_device(pid) {
        return Ok(());
    }
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).map_err(text)?;
    crate::container::runtime::unquiet(pid).map_err(text)?;
    let (mac, addresses) = crate::sys::enter_netns::within(&namespace, device_addresses).map_err(text)?;
    match Mute::reopen(id) {
        Ok(mut mute) => mute.set(MuteMode::Pass).map_err(text)?,
        Err(crate::probe::ProbeError::NoMute(_)) => {}
        Err(error) => return Err(error.to_string()),
    }
    if let Some(mac) = mac {
        arp::announce(&namespace, DEVICE, mac, &addresses).map_err(text)?;
    }
    Ok(())
}

/// MAC and addresses of the device, in the caller's network namespace.
fn device_addresses() -> (Option<[u8; 6]>, Vec<IpAddr>) {
    let mut mac = None;
    let mut addresses = Vec::new();
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return (mac, addresses) };
    for one in all.filter(|one| one.interface_name == DEVICE) {
        let Some(address) = one.address else { continue };
        if let Some(link) = address.as_link_addr() {
            mac = link.addr();
        } else if let Some(v4) = address.as_sockaddr_in() {
            addresses.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            addresses.push(IpAddr::V6(v6.ip()));
        }
    }
    (mac, addresses)
}

fn append(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(text)?;
    }
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(text)?;
    file.write_all(bytes).map_err(text)
}

/// Waits longer with each attempt, up to five seconds.
pub(super) async fn back_off(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep(Duration::from_millis(50 << attempt.min(6))).await;
    }
}

/// Carries on, or clears away, what an agent left that ended in the midst of receiving.
pub async fn recover(daemon: &Arc<Daemon>) {
    let (durables, broken) = daemon.store.load().unwrap_or_default();
    for error in broken {
        tracing::error!(%error, "a migration's state cannot be read: look at it by hand");
    }
    for durable in durables {
        let (Side::Target(state), Ok(id)) = (durable.side, durable.migration()) else { continue };
        let mut target = Target::restart(id, state);
        let mut receiving = Receiving {
            daemon: Arc::clone(daemon),
            peer: durable.peer.clone(),
            image: PathBuf::new(),
            layer: PathBuf::new(),
            container: (!durable.container.is_empty()).then(|| durable.container.clone()),
            durable: Some(durable),
            replica: None,
            restored: None,
            stragglers: Vec::new(),
            spec: None,
        };
        while let Some(action) = target.poll_action() {
            match receiving.carry_out(action, &target).await {
                Ok(output) => target.done(output),
                Err(why) => {
                    tracing::warn!(%why, "a step of a migration's recovery failed");
                    target.failed(&why);
                }
            }
        }
    }
}
