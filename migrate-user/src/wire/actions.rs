//! What the two state machines share: the phases' names, and the queue of what is to be done.

use std::collections::VecDeque;

/// Where a migration stands. The same names on both sides; a fault point and a tracing span have the phase's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Versions and hosts are compared.
    Hello,
    /// The image, if the target lacks it, and the layer.
    Image,
    /// The replica is made.
    Prepare,
    /// Rounds are shipped and replayed while the source runs.
    Round,
    /// The source is frozen; the last round and the snapshot.
    Final,
    /// The replica stands ready; the source decides.
    Ready,
    /// The source has decided; the target carries it out.
    Go,
    /// The source alone: it has decided and lost the target, and asks.
    InDoubt,
    /// The replica is live; the source's copy goes.
    Live,
    /// The replica goes; the source runs on.
    Aborting,
    /// Nothing is left to do.
    Ended,
}

impl Phase {
    /// The name, as `--kill` and the spans have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Image => "image",
            Self::Prepare => "prepare",
            Self::Round => "round",
            Self::Final => "final",
            Self::Ready => "ready",
            Self::Go => "go",
            Self::InDoubt => "in-doubt",
            Self::Live => "live",
            Self::Aborting => "aborting",
            Self::Ended => "ended",
        }
    }
}

/// Actions in order, of which at most one is being carried out.
#[derive(Clone, Debug)]
pub struct Queue<A> {
    waiting: VecDeque<A>,
    running: Option<A>,
}

impl<A: Clone> Queue<A> {
    pub const fn new() -> Self {
        Self { waiting: VecDeque::new(), running: None }
    }

    pub fn push(&mut self, action: A) {
        self.waiting.push_back(action);
    }

    pub fn push_first(&mut self, action: A) {
        self.waiting.push_front(action);
    }

    /// Forgets what was not begun.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    pub fn retain(&mut self, keep: impl FnMut(&A) -> bool) {
        self.waiting.retain(keep);
    }

    /// The next action, unless one is being carried out.
    pub fn poll(&mut self) -> Option<A> {
        if self.running.is_some() {
            return None;
        }
        self.running = self.waiting.pop_front();
        self.running.clone()
    }

    /// The action that was carried out, or failed.
    pub fn finish(&mut self) -> Option<A> {
        self.running.take()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
