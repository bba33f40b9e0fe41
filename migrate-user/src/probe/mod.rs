//! Loads and steers the recorder.
//!
//! [`Recorder`] loads the programs and says whose tasks they record; what they emit comes out of its ring, which
//! [`crate::ring`] drains. [`gate`] holds execs and signals. [`mute`] silences a container's network.

mod aside;
mod cost;
pub mod gate;
mod hold;
#[cfg(feature = "probe-log")]
mod log;
pub mod mute;
mod object;
mod offsets;
mod places;
mod recorder;
pub mod serial;
mod turns;
mod watch;

use std::io;

pub use aside::Aside;
pub use cost::{BpfStats, ProgramCost};
pub use hold::Holds;
pub use mute::{Mute, MuteMode};
pub use offsets::kernel_offsets;
pub use recorder::{Options, Recorder};
pub use watch::{Mode, TallyRow, Watch};

/// Why the probes cannot be loaded or steered.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("this program was built without the eBPF object {0}; run `cargo xtask ebpf` and build it again")]
    NoObject(&'static str),
    #[error("the kernel's types cannot be read from {path}: {why}")]
    Btf { path: &'static str, why: btf_rs::Error },
    #[error("this kernel has no {ty}.{field}, which the recorder reads")]
    NoField { ty: &'static str, field: &'static str },
    #[error("{ty} has {found} bytes on this kernel, {expected} expected")]
    TypeSize { ty: &'static str, found: usize, expected: usize },
    #[error("the kernel's types cannot be used: {0}")]
    AyaBtf(#[from] aya::BtfError),
    #[error("the eBPF object cannot be loaded: {0}")]
    Load(#[from] Box<aya::EbpfError>),
    #[error("the eBPF object has no program {0}")]
    NoProgram(&'static str),
    #[error("the eBPF program {name}: {why}")]
    Program { name: &'static str, why: Box<aya::programs::ProgramError> },
    #[error("the eBPF object has no map {0}")]
    NoMap(&'static str),
    #[error("the eBPF map {name}: {why}")]
    Map { name: &'static str, why: Box<aya::maps::MapError> },
    #[error("a ring of {0} bytes is not a power of two of at least one page")]
    RingSize(u32),
    #[error("{0} containers are recorded already, which is as many as can be")]
    TooManyContainers(u32),
    #[error("cgroup {0} is recorded already")]
    AlreadyRecorded(u64),
    #[error("no container is recorded in slot {0}")]
    NoSuchSlot(u32),
    #[error("slot {0} is recorded for a move and not tallied")]
    NotTallied(u32),
    #[error("{device} cannot be muted: {why}")]
    Tc { device: String, why: Box<aya::programs::tc::TcError> },
    #[error("{0:?} is no id to find a mute by: it has more than 64 bytes, or none")]
    MuteId(String),
    #[error("nothing is muted for {0}")]
    NoMute(String),
    #[error("{0} is no mode of a mute")]
    MuteMode(u32),
    #[error("{what}: {why}")]
    Io { what: String, why: io::Error },
}

impl ProbeError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |why| Self::Io { what, why }
    }
}
