//! The outcomes of `migrate record` and `migrate replay`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The outcome of `migrate record`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordReport {
    pub out: PathBuf,
    /// As a shell says it: 128 and the signal when one killed it.
    pub exit_code: i64,
    pub records: u64,
    pub raw_bytes: u64,
    pub file_bytes: u64,
    pub elapsed_us: u64,
    #[serde(with = "text_or_bytes")]
    pub stdout: Vec<u8>,
    #[serde(with = "text_or_bytes")]
    pub stderr: Vec<u8>,
}

/// The outcome of `migrate replay`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    pub file: PathBuf,
    /// Output, exit code and every call were as recorded.
    pub converged: bool,
    pub exit_code: i64,
    pub records: u64,
    /// Of the replay alone.
    pub elapsed_us: u64,
    /// Where it differs, when it did not converge.
    #[serde(default)]
    pub differences: Vec<String>,
    /// With `--verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryReport>,
}

/// The comparison of memory in `migrate replay --verify`: each process at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    pub processes_compared: u64,
    /// Pages of which either side had a copy.
    pub pages_compared: u64,
    /// Those that differed, by the names of [`Kind`].
    pub pages_differing: BTreeMap<String, u64>,
    /// What no correct replay leads to: pages, or mappings.
    pub differences: Vec<String>,
    /// Of which the log has nothing that could be compared.
    pub not_compared: Vec<Unproven>,
    /// Processes that the container's first took with it at its end: what they still did has no witness.
    pub ended_with_first: u64,
}

impl MemoryReport {
    /// Takes what was found of one process.
    pub fn add(&mut self, found: &crate::verify::Taken) {
        self.processes_compared += 1;
        self.pages_compared += found.compared;
        for (kind, pages) in &found.differing {
            *self.pages_differing.entry(kind.name().to_owned()).or_default() += pages;
        }
        self.differences.extend(found.places.iter().cloned());
    }
}

/// A process whose memory was not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    /// Its number in the container.
    pub process: u32,
    pub why: String,
}

/// Output is a string where it is UTF-8, else an array of bytes.
mod text_or_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => to.serialize_str(text),
            Err(_) => bytes.serialize(to),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Either::deserialize(from)? {
            Either::Text(text) => text.into_bytes(),
            Either::Bytes(bytes) => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_survives_the_socket_whether_text_or_not() {
        for stdout in [b"three\n".to_vec(), vec![0xff, 0, b'a']] {
            let report = RecordReport { stdout, ..RecordReport::default() };
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<RecordReport>(&json).unwrap(), report);
        }
    }
}
