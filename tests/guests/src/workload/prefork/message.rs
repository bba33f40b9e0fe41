//! What parent and children tell each other.

use crate::kit::Result;
use crate::kit::chain::mix;

/// A job: its number, and random bytes that the answer must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    pub number: u64,
    pub salt: u64,
}

impl Job {
    /// Bytes of a job in a pipe; below PIPE_BUF, so never torn.
    pub const BYTES: usize = 16;

    /// For the pipe.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.salt.to_le_bytes());
        bytes
    }

    /// From the pipe.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self { number: both as u64, salt: (both >> 64) as u64 }
    }
}

/// What a child remembers. The parent has a copy and makes the same steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub jobs: u64,
    pub digest: u64,
}

impl State {
    /// A new child's.
    pub fn new(pid: i32) -> Self {
        Self { jobs: 0, digest: mix(0, pid as u64) }
    }

    /// After a job for which the child drew a random number.
    pub fn step(&mut self, job: Job, random: u64) {
        self.jobs += 1;
        self.digest = [job.number, job.salt, random].into_iter().fold(self.digest, mix);
    }

    /// The exit code of a child that ends in this state.
    pub fn exit_code(&self) -> i32 {
        1 + (self.jobs & 0x3f) as i32
    }
}

/// Why a child writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A job is done.
    Answer,
    /// SIGUSR1 came.
    Report,
    /// It ends.
    Bye,
}

/// A packet from a child to the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub kind: Kind,
    /// The job that was done, in an answer.
    pub number: u64,
    /// The random number of an answer.
    pub random: u64,
    /// After it.
    pub state: State,
}

impl Packet {
    /// Bytes of a packet.
    pub const BYTES: usize = 40;

    /// For the socket.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let kind = match self.kind {
            Kind::Answer => 1u64,
            Kind::Report => 2,
            Kind::Bye => 3,
        };
        let mut bytes = [0; Self::BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip([kind, self.number, self.random, self.state.jobs, self.state.digest]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From the socket.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self> {
        let word = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("8 bytes"));
        let kind = match word(0) {
            1 => Kind::Answer,
            2 => Kind::Report,
            3 => Kind::Bye,
            other => anyhow::bail!("a packet of kind {other}"),
        };
        Ok(Self { kind, number: word(1), random: word(2), state: State { jobs: word(3), digest: word(4) } })
    }
}
