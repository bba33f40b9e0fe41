//! What the state machine's actions do on this host.

use super::Sending;
use crate::agent::cutover;
use crate::agent::daemon::{DEVICE, has_device};
use crate::agent::errors::{Failure, micros, text};
use crate::agent::freeze::freeze;
use crate::agent::link::Link;
use crate::agent::target::back_off;
use crate::golive::{self, stragglers};
use crate::probe::mute::{Mute, MuteMode};
use crate::wire::durable::Side;
use crate::wire::message::{DATA_BYTES, ImageData, Late, LayerData};
use crate::wire::source::{Action, Output};
use crate::wire::{Blob, Message};
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncReadExt as _;

impl Sending<'_> {
    pub(super) async fn carry_out(&mut self, action: Action) -> Result<Output, Failure> {
        match action {
            Action::Write(state) => {
                self.durable.side = Side::Source(state);
                self.daemon.store.write(&self.durable).map_err(text)?;
                Ok(Output::None)
            }
            Action::Send(message) => self.send(&message).await.map(|()| Output::None),
            Action::SendImage => self.send_image().await.map(|()| Output::None),
            Action::SendLayer => self.send_layer().await.map(|()| Output::None),
            Action::Freeze => self.freeze().await.map(|()| Output::None),
            Action::Capture => self.capture().await,
            Action::Hash => self.proof.hashed().await.map(Output::Memory),
            Action::ReadPages(pages) => self.proof.read(pages).await.map(Output::Pages),
            Action::Thaw { attempt } => {
                back_off(attempt).await;
                self.thaw().await.map(|()| Output::None)
            }
            Action::Kill { attempt } => {
                back_off(attempt).await;
                self.kill().await.map(|()| Output::None)
            }
            Action::Connect { attempt } => {
                back_off(attempt).await;
                self.link = None;
                self.link = Some(Link::connect(&self.durable.peer).await?);
                Ok(Output::None)
            }
        }
    }

    async fn send(&mut self, message: &Message) -> Result<(), Failure> {
        let link = self.link.as_mut().ok_or("not connected")?;
        link.sender.send(message).await.map_err(text)
    }

    async fn send_image(&mut self) -> Result<(), Failure> {
        let spec = self.spec.clone().ok_or("the container's description is gone")?;
        let mut tar = Box::pin(self.daemon.docker.image_export(&spec.image_id, &spec.image_names));
        while let Some(part) = tar.next().await {
            let part = part.map_err(text)?;
            for piece in part.chunks(DATA_BYTES) {
                self.report.image_bytes += piece.len() as u64;
                self.send(&ImageData { bytes: piece.to_vec().into() }.into()).await?;
            }
        }
        Ok(())
    }

    async fn send_layer(&mut self) -> Result<(), Failure> {
        let mut file = tokio::fs::File::open(self.daemon.layer_path(&self.id)).await.map_err(text)?;
        loop {
            let mut piece = Vec::with_capacity(DATA_BYTES);
            (&mut file).take(DATA_BYTES as u64).read_to_end(&mut piece).await.map_err(text)?;
            if piece.is_empty() {
                return Ok(());
            }
            self.report.layer_bytes += piece.len() as u64;
            self.send(&LayerData { bytes: piece.into() }.into()).await?;
        }
    }

    /// Down time begins here.
    async fn freeze(&mut self) -> Result<(), Failure> {
        let recording = Arc::clone(self.recording.as_ref().ok_or("the container is not recorded any more")?);
        let pid = recording.init;
        let network = has_device(pid);
        if network && self.mute.is_none() {
            self.mute = Some(Mute::attach(pid, DEVICE, &self.id, MuteMode::Pass).map_err(text)?);
        }
        let mute = self.mute.take();
        let frozen = Arc::clone(&recording);
        let done = tokio::task::spawn_blocking(move || freeze(&recording, mute)).await.map_err(text)?;
        let (mute, stragglers, times) = done?;
        self.mute = mute;
        self.stragglers = stragglers;
        self.frozen_at = Some(times.frozen_at);
        self.report.cut_over_tries += 1;
        self.mark = Instant::now();
        self.report.down.freeze_us = micros(times.freeze);
        self.report.down.last_round_us = micros(times.flush);
        self.proof.begin(&frozen);
        self.report.connections_lost = u64::from(times.queued);
        Ok(())
    }

    /// What peers sent to this host between the capture and the target's announcement follows the container, so that they need not
    /// wait for their timers. The container is live there: nothing depends on it.
    pub(super) async fn forward_late(&mut self) {
        let Some(mut stragglers) = self.stragglers.take() else { return };
        let packets = match stragglers.take() {
            Ok((caught, _)) => caught.into_iter().map(|packet| Blob(packet.0)).collect(),
            Err(error) => {
                tracing::warn!(%error, "packets that came during the move could not be read");
                Vec::new()
            }
        };
        if let Err(why) = self.send(&Late { packets }.into()).await {
            tracing::warn!(%why, "packets that came during the move could not be forwarded");
        }
    }

    /// The container goes on as if nothing had been, whether or not it was frozen.
    async fn thaw(&mut self) -> Result<(), Failure> {
        let (cgroup, pid) = match &self.recording {
            Some(recording) => {
                recording.probes.watch(recording.slot, &recording.cgroup);
                (recording.cgroup.clone(), recording.init)
            }
            None => match self.daemon.docker.inspect(&self.id).await {
                Ok(found) if found.running => (crate::sys::cgroup::Cgroup::of(found.pid).map_err(text)?, found.pid),
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error.to_string()),
            },
        };
        if self.recording.is_none() {
            // An agent that died while it captured may have left connections in repair mode.
            let tasks = cutover::tasks(&cgroup)?;
            golive::leave_repair_mode(&tasks).map_err(text)?;
        }
        match Mute::reopen(&self.id) {
            Ok(mut mute) => mute.set(MuteMode::Pass).map_err(text)?,
            Err(crate::probe::ProbeError::NoMute(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        tokio::task::spawn_blocking(move || cgroup.freezer().thaw()).await.map_err(text)?.map_err(text)?;
        if let Some(frozen_at) = self.frozen_at.take() {
            self.report.undone_freezes_us += micros(frozen_at.elapsed());
        }
        self.proof.forget().await;
        self.deliver_here(pid);
        tracing::info!(pid, "the source goes on");
        Ok(())
    }

    /// What was caught reaches the source after all. Whatever does not arrive is sent again by its sender's timer.
    fn deliver_here(&mut self, pid: i32) {
        let mut packets = std::mem::take(&mut self.caught);
        if let Some(Ok((late, _))) = self.stragglers.take().map(|mut stragglers| stragglers.take()) {
            packets.extend(late);
        }
        let delivered =
            std::fs::File::open(format!("/proc/{pid}/ns/net")).and_then(|namespace| stragglers::deliver(&namespace, &packets));
        if let Err(error) = delivered {
            tracing::warn!(%error, "packets that came while the container was frozen could not be delivered");
        }
    }

    /// The container lives elsewhere: this copy goes without a word to its peers.
    async fn kill(&mut self) -> Result<(), Failure> {
        if let Ok(mut mute) = Mute::reopen(&self.id) {
            mute.set(MuteMode::Silent).map_err(text)?;
        }
        if let Some(recording) = &self.recording {
            recording.probes.unwatch(recording.slot);
            // A frozen task cannot die.
            let cgroup = recording.cgroup.clone();
            let path = cgroup.path().join("cgroup.kill");
            if path.exists() {
                std::fs::write(path, "1").map_err(text)?;
            }
        }
        match self.daemon.docker.remove(&self.id).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.to_string()),
        }
        self.recording = None;
        self.daemon.forget(&self.id);
        Ok(())
    }
}
