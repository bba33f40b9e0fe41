//! What a log says about itself: where it was made, and how it ended.

use serde::{Deserialize, Serialize};

/// The processor, as far as a program can tell one from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cpu {
    /// "model name" of /proc/cpuinfo.
    pub model: String,
    /// "flags" of /proc/cpuinfo, sorted.
    pub features: Vec<String>,
    /// Bytes of the XSAVE area for the enabled features (CPUID 0xd, EBX): part of every signal frame, so of the stack's
    /// layout.
    pub xsave_bytes: u32,
    /// Which state components the kernel enables (XGETBV 0).
    pub xcr0: u64,
}

/// The description at the start of a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogMeta {
    /// Program and version that made the log.
    pub created_by: String,
    /// `uname -r` of the recording host.
    pub kernel_release: String,
    pub cpu: Cpu,
    /// Name of the image, if the container has one.
    pub image: Option<String>,
    /// What the container runs.
    pub command: Vec<String>,
    /// What is needed to make an equal container, as `container` writes it.
    pub container: serde_json::Value,
}

/// Length and digest of an output stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub bytes: u64,
    /// blake3, in hex.
    pub blake3: String,
}

impl Output {
    /// The digest of a whole stream.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }
}

/// How a program that was recorded to its end came to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// As Docker reports it: 128 + signal for a program that was killed.
    pub exit_code: i32,
    pub stdout: Output,
    pub stderr: Output,
}

/// The footer's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everything up to the program's end is in the log.
    End(End),
    /// The log stops here, but the program did not. `at` is the first record that is missing.
    Gap { at: u64, why: String },
}
