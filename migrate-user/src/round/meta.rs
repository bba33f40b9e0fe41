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
    /// What proves a replay: nothing in a log of a program that did not know of it.
    #[serde(default, skip_serializing_if = "Proofs::is_empty")]
    pub proofs: Proofs,
}

/// The memory of the processes that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proofs {
    /// In the order of their ends.
    pub processes: Vec<Proof>,
}

impl Proofs {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }
}

/// Of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The record of the first of its tasks whose end ended it: until there its memory was whole.
    pub seq: u64,
    /// Its number in the container.
    pub process: u32,
    pub memory: Memory,
}

/// What is known of a process's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// [`EndPrint`](crate::verify::EndPrint), packed, in hex.
    Print(String),
    /// Nothing, and why.
    Unknown(String),
}

impl Memory {
    /// Of packed bytes.
    #[must_use]
    pub fn of(packed: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = packed.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Self::Print(digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect())
    }

    /// The packed bytes again.
    ///
    /// # Errors
    /// Why there are none, or none that can be read.
    pub fn packed(&self) -> Result<Vec<u8>, String> {
        let text = match self {
            Self::Print(text) => text.as_bytes(),
            Self::Unknown(why) => return Err(why.clone()),
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = text.as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[a, b]| Some(digit(a)? << 4 | digit(b)?)).collect();
        bytes.filter(|_| rest.is_empty()).ok_or_else(|| "what the log has of it is no print".to_owned())
    }

    /// Bytes of its text.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let (Self::Print(text) | Self::Unknown(text)) = self;
        text.len()
    }
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
