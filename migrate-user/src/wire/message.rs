//! The messages. One row each: its number, its body, the most bytes that the body may take.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::error::WireError;
use super::hello::Hello;
use crate::inodes::InodeReport;
use crate::round::chunk;
use crate::verify::Verify;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// How much of an image or a layer goes into one message.
pub const DATA_BYTES: usize = MIB;
/// Chunks that the source may have sent without their [`Replayed`].
pub const WINDOW: u64 = 32;
/// How many bytes of memory pages go into one message.
pub const PAGES_BYTES: usize = 16 * MIB;

/// How many bytes of hashes go into one message.
pub const HASHES_BYTES: usize = 16 * MIB;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident($body:ty) = $number:literal, max $max:expr;)*) => {
        /// The messages' numbers in a frame.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            /// What a zeroed frame says; never sent.
            Invalid = 0,
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// The kind with this number; [`Self::Invalid`] has none.
            #[must_use]
            pub const fn from_u16(value: u16) -> Option<Self> {
                match value { $($number => Some(Self::$name),)* _ => None }
            }

            /// The most bytes of a body.
            #[must_use]
            pub const fn max_bytes(self) -> usize {
                match self { Self::Invalid => 0, $(Self::$name => $max,)* }
            }
        }

        /// A message.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message { $($(#[$doc])* $name($body),)* }

        impl Message {
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$name(_) => Kind::$name,)* }
            }

            pub(super) fn body_to(&self, out: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
                match self { $(Self::$name(body) => postcard::to_extend(body, out),)* }
            }

            pub(super) fn from_body(kind: Kind, bytes: &[u8]) -> Result<Self, WireError> {
                match kind {
                    Kind::Invalid => Err(WireError::Kind(0)),
                    $(Kind::$name => decode::<$body>(kind, bytes).map(Self::$name),)*
                }
            }
        }

        $(impl From<$body> for Message {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        })*
    };
}

messages! {
    /// Both ways, first on a connection for a migration.
    Hello(Hello) = 1, max 64 * KIB;
    /// Instead of a hello: nothing was begun.
    Refuse(Refuse) = 2, max 64 * KIB;
    /// Source: what to make the replica from.
    Prepare(Prepare) = 3, max 8 * MIB;
    /// Target: whether it lacks the image.
    NeedImage(NeedImage) = 4, max KIB;
    /// Source: the next piece of the image.
    ImageData(ImageData) = 5, max DATA_BYTES + KIB;
    /// Source: the image is complete.
    ImageDone(ImageDone) = 6, max KIB;
    /// Source: the next piece of the extra layer.
    LayerData(LayerData) = 7, max DATA_BYTES + KIB;
    /// Source: the extra layer is complete.
    LayerDone(LayerDone) = 8, max KIB;
    /// Target: the replica waits for its first record.
    Prepared(Prepared) = 9, max KIB;
    /// Source: a chunk of the log.
    Round(Round) = 10, max chunk::HEADER_BYTES + chunk::MAX_STORED_BYTES + KIB;
    /// Target: a chunk was replayed.
    Replayed(Replayed) = 11, max KIB;
    /// Source: it is frozen, every chunk was sent, and this is what its kernel objects hold.
    Final(Final) = 12, max 256 * MIB;
    /// Target: the replica is what the source was.
    Ready(Ready) = 13, max 64 * KIB;
    /// Source: the point of no return.
    Go(Go) = 14, max KIB;
    /// Target: the replica is live, for good.
    Live(Live) = 15, max 64 * KIB;
    /// Either side gave up. From a target: its replica is gone and will not go live.
    Abort(Abort) = 16, max 64 * KIB;
    /// Source, first on a connection: what became of a migration?
    Status(Status) = 17, max KIB;
    /// Target: the answer.
    StatusIs(StatusIs) = 18, max KIB;
    /// Source, after `Live` came: packets that reached it since its capture. Outside of the state machines: it may be missing, and
    /// nobody answers it.
    Late(Late) = 19, max 64 * MIB;
    /// Source, after `Final`, if the memory is compared: its hashes, and the registers of its tasks.
    Memory(Memory) = 20, max 512 * MIB;
    /// Target: pages that it wants to see.
    Wanted(Wanted) = 21, max MIB;
    /// Source: their bytes.
    Pages(Pages) = 22, max PAGES_BYTES + KIB;
    /// Source, between rounds, if pages are hashed before the freeze: hashes that were made since the last of these.
    Hashes(Hashes) = 23, max HASHES_BYTES + MIB;
}

fn decode<'a, T: Deserialize<'a>>(kind: Kind, bytes: &'a [u8]) -> Result<T, WireError> {
    let (body, rest) = postcard::take_from_bytes(bytes).map_err(|e| WireError::Decode(kind, e))?;
    if rest.is_empty() { Ok(body) } else { Err(WireError::Trailing { kind, bytes: rest.len() }) }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    pub id: MigrationId,
    /// What an equal container is made from: a `serde_json::Value` as JSON text.
    pub spec: Blob,
    /// The image by its digest.
    pub image: String,
    /// Whether the files that the container's own layer held at its start follow.
    pub layer: bool,
    /// What is compared before the replica goes live.
    pub verify: Verify,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedImage {
    pub needed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageData {
    pub bytes: Blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDone {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerData {
    pub bytes: Blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerDone {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Which round the chunk belongs to; rounds are the source's, the target only repeats the number.
    pub round: u32,
    /// A [`chunk::Chunk`]'s bytes.
    pub chunk: Blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    pub round: u32,
    /// The chunk's number.
    pub chunk: u64,
    pub records: u64,
    /// How long the replica worked on it.
    pub replay_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// How many chunks were sent.
    pub chunks: u64,
    /// The [`Chain`](crate::round::Chain)'s link over them, seeded with the migration's id.
    pub digest: [u8; 32],
    /// The frozen source's kernel objects, as `golive` encodes them.
    pub snapshot: Blob,
}

/// Named parts of a duration, in nanoseconds, in the order in which they passed.
pub type Breakdown = Vec<(String, u64)>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// As in [`Final`], over the chunks that were replayed.
    pub digest: [u8; 32],
    pub breakdown: Breakdown,
    /// What the comparison of the memory found, if there was one.
    pub compared: Option<Compared>,
}

/// What a comparison of memory and registers found, and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Pages of which either side has a copy.
    pub pages: u64,
    /// Of the replica's, those that were hashed while the source was frozen.
    pub hashed: u64,
    /// Those that differed, by the names of [`Kind`](crate::verify::Kind).
    pub differing: Vec<(String, u64)>,
    /// Where the first of them are.
    pub places: Vec<String>,
    pub tasks: u64,
    /// Tasks that computed when the source was frozen, and whose registers were shipped.
    pub tasks_taken: u64,
    /// From the last step before it to its end, waiting for the source included.
    pub verify_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// As `verify` encodes it.
    pub bytes: Blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// As `verify` encodes them.
    pub bytes: Blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// As `verify` encodes them.
    pub pages: Blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// One after the other, in the order in which they were asked for.
    pub bytes: Blob,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Go {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub breakdown: Breakdown,
    pub inodes: InodeReport,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub protocol: u16,
    pub id: MigrationId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusIs {
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Whole IP packets in order of arrival.
    pub packets: Vec<Blob>,
}

/// What a target says about a migration.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Verdict {
    /// Nothing on disk. Never so after `Go`, unless the target's state was removed.
    Unknown = 1,
    /// `Go` was received and what follows has not ended. Ask again.
    Undecided = 2,
    /// The replica is live, for good.
    Live = 3,
    /// The replica is gone, and will never be live.
    Aborted = 4,
}

impl From<Verdict> for u8 {
    fn from(verdict: Verdict) -> Self {
        verdict as Self
    }
}

impl TryFrom<u8> for Verdict {
    type Error = &'static str;

    fn try_from(value: u8) -> Result<Self, Self::Error> {
        [Self::Unknown, Self::Undecided, Self::Live, Self::Aborted]
            .into_iter()
            .find(|&verdict| verdict as u8 == value)
            .ok_or("no such verdict")
    }
}

/// Names a migration on both hosts and in their files: 16 random bytes, in hex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MigrationId(pub [u8; 16]);

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for MigrationId {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        value.map(|value| Self(value.to_be_bytes())).ok_or_else(|| WireError::Id(text.to_owned()))
    }
}
