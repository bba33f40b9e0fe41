//! What can happen in a [`World`](super::World).

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The source's executor takes the next action.
    SourceStart,
    /// The action took effect and is answered.
    SourceDone,
    /// It took no effect.
    SourceFail,
    /// It took effect but seems to have failed.
    SourceFailLate,
    /// The frozen container's objects cannot be captured at this moment.
    NotNow,
    /// The source's agent dies; the action took no effect.
    SourceCrash,
    /// The source's agent dies; the action took effect.
    SourceCrashLate,
    SourceRestart,
    /// The oldest message to the source arrives.
    ToSource,
    /// The source notices that its connection broke.
    SourceLost,
    TargetStart,
    TargetDone,
    TargetFail,
    TargetFailLate,
    TargetCrash,
    TargetCrashLate,
    TargetRestart,
    /// The oldest message to the target arrives, on whatever connection.
    ToTarget,
    /// The newest connection's next message overtakes those of older ones.
    ToTargetNewest,
    TargetLost,
    /// The newest connection breaks. What is under way may still arrive.
    Break,
    /// The source's agent passes on the next chunk.
    Chunk,
    /// It passes on hashes of memory, if there are to be any before the freeze.
    Hashes,
    /// The policy decides for the last round.
    CutOver,
    /// The last chunk was passed on.
    Drained,
    /// The user cancels.
    SourceCancel,
    /// The replica's agent gives up, for a desync.
    TargetCancel,
}

/// What may happen on the best of days, in the order in which [`World::settle`](super::World::settle) tries it.
pub const BENIGN: &[Op] = &[
    Op::SourceRestart,
    Op::TargetRestart,
    Op::SourceLost,
    Op::TargetLost,
    Op::SourceStart,
    Op::SourceDone,
    Op::ToTarget,
    Op::TargetStart,
    Op::TargetDone,
    Op::ToSource,
    Op::Chunk,
    Op::Hashes,
    Op::CutOver,
    Op::Drained,
];

/// What goes wrong.
pub const FAULTS: &[Op] = &[
    Op::SourceFail,
    Op::SourceFailLate,
    Op::NotNow,
    Op::SourceCrash,
    Op::SourceCrashLate,
    Op::TargetFail,
    Op::TargetFailLate,
    Op::TargetCrash,
    Op::TargetCrashLate,
    Op::Break,
    Op::ToTargetNewest,
    Op::SourceCancel,
    Op::TargetCancel,
];
