//! What the state machine's actions do on this host.

use super::proof::Comparing;
use super::{Receiving, back_off, inodes, network};
use crate::agent::api::Role;
use crate::agent::cutover::{self, CutOver};
use crate::agent::daemon::{DEVICE, Entry, has_device};
use crate::agent::errors::{Failure, nanos, text};
use crate::agent::fault;
use crate::container::docker::Spec;
use crate::container::layer;
use crate::golive::{self, Bytes, processes, stragglers};
use crate::replay::Now;
use crate::sys::cgroup::Cgroup;
use crate::sys::neighbours;
use crate::wire::Target;
use crate::wire::durable::{Durable, Side, TargetState};
use crate::wire::message::Prepare;
use crate::wire::target::{Action, Output};
use std::time::Instant;

impl Receiving {
    pub(super) async fn carry_out(&mut self, action: Action, target: &Target) -> Result<Output, Failure> {
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
            Action::Apply(bytes) => {
                let parts = self.apply(&bytes).await?;
                if fault::changes_a_page() {
                    self.spoil().await?;
                }
                self.comparing = Some(Comparing::begin());
                Ok(Output::Parts(parts))
            }
            Action::Learn(bytes) => self.learn(&bytes).await.map(|()| Output::None),
            Action::Compare(bytes) => self.compare(&bytes).await,
            Action::Patch(bytes) => self.patch(bytes).await,
            Action::Detach => {
                let replica = self.replica.as_ref().ok_or("there is no replica")?;
                replica.unleash().await.map_err(text)?;
                Ok(Output::None)
            }
            Action::Unmute { attempt } => {
                back_off(attempt).await;
                self.unmute().await.map(|breakdown| Output::Live { breakdown, inodes: self.inodes })
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
        let durable = self.durable.get_or_insert_with(|| Durable::new(id, Side::Target(state), &self.peer, "", name));
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
            let unpacked = tokio::task::spawn_blocking(move || layer::unpack(std::io::BufReader::new(file), &upper));
            unpacked.await.map_err(text)?.map_err(text)?;
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
                Ok(engine.live_processes())
            })
            .await
            .map_err(text)?;
        let settled = nanos(begun.elapsed());
        let tasks = processes::one_each(tasks);
        let begun = Instant::now();
        let signals = cutover.signals();
        let waits = std::mem::take(&mut cutover.waits);
        let now = Now { host_ns: cutover.frozen_ns, container: cutover.snapshot.clocks };
        let inodes = cutover.inodes;
        let restored = tokio::task::spawn_blocking(move || {
            if has_device(init) {
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
        let identities = restored.identities.clone();
        self.restored = Some(restored);
        let begun = Instant::now();
        replica.with(move |engine| engine.arm(&now, &signals, &waits)).await.map_err(text)?;
        let timers = nanos(begun.elapsed());
        let begun = Instant::now();
        self.inodes = inodes::keep(replica, inodes, identities).await?;
        Ok(vec![
            ("settle".to_owned(), settled),
            ("sockets".to_owned(), sockets),
            ("timers".to_owned(), timers),
            ("inodes".to_owned(), nanos(begun.elapsed())),
        ])
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
        network::open(&id, pid)?;
        let opened = nanos(begun.elapsed());
        let begun = Instant::now();
        if let Some(restored) = &mut self.restored {
            for failure in restored.release().failures {
                tracing::error!(%failure, "a connection could not be let go");
            }
        }
        let caught = std::mem::take(&mut self.stragglers);
        self.deliver(caught);
        let connections = nanos(begun.elapsed());
        let begun = Instant::now();
        match &self.replica {
            Some(replica) => replica.release().await.map_err(text)?,
            None => {
                let cgroup = Cgroup::of(pid).map_err(text)?;
                let tasks = cutover::tasks(&cgroup)?;
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

    /// Delivers packets that came to the source. Whatever does not arrive is sent again by its sender's timer.
    pub(super) fn deliver(&self, packets: Vec<Bytes>) {
        let Some(replica) = self.replica.as_ref().filter(|_| !packets.is_empty()) else { return };
        let delivered = std::fs::File::open(format!("/proc/{}/ns/net", replica.init()))
            .and_then(|namespace| stragglers::deliver(&namespace, &packets));
        match delivered {
            Ok(delivered) => tracing::info!(packets = packets.len(), delivered, "packets that came to the source are delivered"),
            Err(error) => tracing::warn!(%error, "packets that came to the source could not be delivered"),
        }
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

fn append(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(text)?;
    }
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(text)?;
    file.write_all(bytes).map_err(text)
}
