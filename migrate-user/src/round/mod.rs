//! Logs and rounds: how records are cut into chunks, checked, kept on disk, and when a migration stops iterating.
//!
//! ```text
//!  records --ChunkBuilder--> chunk --Spool--> file of the running container --SpoolReader--> wire
//!                              \---LogWriter--> log file (`migrate record`) --LogReader--> replay
//! ```
//!
//! A [`chunk`] is the unit that is compressed, checked, appended, shipped and acknowledged. A *round* is the run of chunks
//! that the source had made when the target had replayed the round before; [`policy`] decides over rounds. Nothing here
//! knows sockets or clocks: times come in as numbers. Only [`spool`] touches files.

mod chain;
pub mod chunk;
pub mod codec;
pub mod compact;
mod counted;
mod error;
#[cfg(any(test, feature = "model"))]
pub mod fuzz;
pub mod log;
pub mod meta;
mod order;
pub mod policy;
mod reader;
pub mod spool;
#[cfg(test)]
pub(crate) mod synthetic;
mod writer;

pub use chain::Chain;
pub use chunk::{Chunk, ChunkBuilder, ChunkHeader};
pub use codec::{Codec, Packer};
pub use compact::Encoder;
pub use error::{LogError, Part};
pub use meta::{Cpu, End, Ending, LogMeta, Memory, Output, Proof, Proofs};
pub use order::Order;
pub use reader::{LogReader, Sizes};
pub use spool::{Spool, SpoolReader};
pub use writer::LogWriter;
