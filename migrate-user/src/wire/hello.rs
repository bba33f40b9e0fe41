//! The first message both ways, and whether two hosts fit.

use migrate_common::record::VERSION;
use serde::{Deserialize, Serialize};

use crate::round::Cpu;

/// Version of the messages, their numbers and their order.
pub const PROTOCOL: u16 = 4;

/// What an agent and its host are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u16,
    /// Of the record layout and the system call table.
    pub record_version: u16,
    pub agent_version: String,
    /// `uname -r`.
    pub kernel_release: String,
    pub cpu: Cpu,
    pub docker_version: String,
    /// The host's clocks when the message was made, outside any time namespace: what the replica's clocks are set by.
    pub monotonic_ns: u64,
    pub boottime_ns: u64,
    pub realtime_ns: u64,
}

/// Why a container cannot move between two hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("protocol version {ours} here, {theirs} there: install the same version of migrate on both hosts")]
    Protocol { ours: u16, theirs: u16 },
    #[error("record version {ours} here, {theirs} there: install the same version of migrate on both hosts")]
    Record { ours: u16, theirs: u16 },
    #[error("kernel {ours} here, {theirs} there: memory layout and system calls must be the same")]
    Kernel { ours: String, theirs: String },
    #[error("processor {ours} here, {theirs} there: programs choose their code by it")]
    Model { ours: String, theirs: String },
    #[error("processor features differ: only here {ours:?}, only there {theirs:?}")]
    Features { ours: Vec<String>, theirs: Vec<String> },
    #[error(
        "processor state of {ours} bytes (xcr0 {ours_xcr0:#x}) here, {theirs} ({theirs_xcr0:#x}) there: signal frames differ"
    )]
    Xsave { ours: u32, ours_xcr0: u64, theirs: u32, theirs_xcr0: u64 },
}

impl Hello {
    /// A hello with this program's versions and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self {
            protocol: PROTOCOL,
            record_version: VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Self::default()
        }
    }

    /// Whether a container can move between this host and the one that said `theirs`.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub fn check(&self, theirs: &Self) -> Result<(), Mismatch> {
        if self.protocol != theirs.protocol {
            return Err(Mismatch::Protocol { ours: self.protocol, theirs: theirs.protocol });
        }
        if self.record_version != theirs.record_version {
            return Err(Mismatch::Record { ours: self.record_version, theirs: theirs.record_version });
        }
        if self.kernel_release != theirs.kernel_release {
            return Err(Mismatch::Kernel { ours: self.kernel_release.clone(), theirs: theirs.kernel_release.clone() });
        }
        check_cpu(&self.cpu, &theirs.cpu)
    }
}

fn check_cpu(ours: &Cpu, theirs: &Cpu) -> Result<(), Mismatch> {
    if ours.model != theirs.model {
        return Err(Mismatch::Model { ours: ours.model.clone(), theirs: theirs.model.clone() });
    }
    let only_in =
        |one: &Cpu, other: &Cpu| one.features.iter().filter(|f| !other.features.contains(f)).cloned().collect::<Vec<_>>();
    let [only_ours, only_theirs] = [only_in(ours, theirs), only_in(theirs, ours)];
    if !only_ours.is_empty() || !only_theirs.is_empty() {
        return Err(Mismatch::Features { ours: only_ours, theirs: only_theirs });
    }
    if (ours.xsave_bytes, ours.xcr0) != (theirs.xsave_bytes, theirs.xcr0) {
        return Err(Mismatch::Xsave {
            ours: ours.xsave_bytes,
            ours_xcr0: ours.xcr0,
            theirs: theirs.xsave_bytes,
            theirs_xcr0: theirs.xcr0,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Hello {
        let cpu = Cpu { model: "a".into(), features: vec!["avx".into(), "sse".into()], xsave_bytes: 832, xcr0: 7 };
        Hello { kernel_release: "6.18".into(), cpu, ..Hello::new() }
    }

    #[test]
    fn equal_hosts_fit_whatever_their_clocks_and_dockers() {
        let other = Hello { docker_version: "20.10".into(), monotonic_ns: 5, ..host() };
        assert_eq!(host().check(&other), Ok(()));
    }

    #[test]
    fn each_difference_is_named() {
        let differ = |change: fn(&mut Hello)| {
            let mut theirs = host();
            change(&mut theirs);
            host().check(&theirs).unwrap_err().to_string()
        };
        assert!(differ(|h| h.protocol += 1).starts_with("protocol version 4 here, 5 there"));
        assert!(differ(|h| h.record_version += 1).starts_with("record version"));
        assert!(differ(|h| h.kernel_release = "6.12".into()).starts_with("kernel 6.18 here, 6.12 there"));
        assert!(differ(|h| h.cpu.model = "b".into()).starts_with("processor a here, b there"));
        assert_eq!(
            differ(|h| h.cpu.features = vec!["sse".into(), "fma".into()]),
            "processor features differ: only here [\"avx\"], only there [\"fma\"]"
        );
        assert!(
            differ(|h| h.cpu.xsave_bytes = 2696).starts_with("processor state of 832 bytes (xcr0 0x7) here, 2696 (0x7) there")
        );
    }
}
