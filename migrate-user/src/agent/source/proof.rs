//! What the target compares: the frozen container's memory in hashes, its tasks' registers, and the pages that it asks for.

use crate::agent::cutover::{self, MemoryState};
use crate::agent::errors::{Failure, text};
use crate::agent::recording::Recording;
use crate::verify::registers::TaskRegisters;
use crate::verify::{Layout, Page, Print, Verify};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The source's half of a comparison.
#[derive(Debug, Default)]
pub(super) struct Proof {
    verify: Verify,
    /// Begun with the freeze, beside everything else that has to be done then.
    hashing: Option<JoinHandle<Result<(Layout, Print), Failure>>>,
    layout: Option<Arc<Layout>>,
    /// Of the tasks, read when the kernel objects are.
    pub(super) registers: Vec<TaskRegisters>,
}

impl Proof {
    pub(super) fn new(verify: Verify) -> Self {
        Self { verify, ..Self::default() }
    }

    /// Begins to hash the memory of a container that was just frozen, if it is compared.
    pub(super) fn begin(&mut self, recording: &Arc<Recording>) {
        if !self.verify.is_on() {
            return;
        }
        let cgroup = recording.cgroup.clone();
        self.hashing = Some(tokio::task::spawn_blocking(move || {
            let layout = Layout::of(&cutover::tasks(&cgroup)?).map_err(text)?;
            let print = layout.print().map_err(text)?;
            Ok((layout, print))
        }));
    }

    /// The container runs again: what was read of it is of no use. Hashes that are being made end unread.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.verify);
    }

    /// What the target compares with.
    pub(super) async fn hashed(&mut self) -> Result<Vec<u8>, Failure> {
        let hashing = self.hashing.take().ok_or("the container is not frozen")?;
        let (layout, print) = hashing.await.map_err(text)??;
        self.layout = Some(Arc::new(layout));
        postcard::to_stdvec(&MemoryState { print, registers: std::mem::take(&mut self.registers) }).map_err(text)
    }

    /// The bytes of pages.
    pub(super) async fn read(&self, pages: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let layout = Arc::clone(self.layout.as_ref().ok_or("the memory is not hashed")?);
        let pages: Vec<Page> = postcard::from_bytes(&pages).map_err(text)?;
        tokio::task::spawn_blocking(move || layout.read(&pages)).await.map_err(text)?.map_err(text)
    }
}
