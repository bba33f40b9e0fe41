//! What agents say to each other.
//!
//! ```text
//!  source                                        target
//!    | Hello ------------------------------------> |  versions, kernel, CPU, clocks: checked by both
//!    | <------------------------------------ Hello |  (or Refuse)
//!    | Prepare ----------------------------------> |  writes "receiving"
//!    | <-------------------------------- NeedImage |
//!    | ImageData*, ImageDone, LayerData*, LayerDone|  the image only if needed, the layer if there is one
//!    |                                             |  starts the replica, muted
//!    | <--------------------------------- Prepared |
//!    | Round(chunk) -----------------------------> |  pipelined, at most WINDOW unacknowledged
//!    | <--------------------------------- Replayed |  when it was replayed
//!    : freezes, sends the rest                     :
//!    | Final(snapshot) --------------------------> |  applies it to the replica's kernel objects
//!    | <------------------------------------ Ready |
//!    : writes "committed"                          :
//!    | Go ---------------------------------------> |  writes "go", lets the tasks run, writes "live", unmutes
//!    | <------------------------------------- Live |
//!    : kills its copy, writes "moved"              :
//! ```
//!
//! Before `Go` is sent, whatever goes wrong on either side thaws the source and kills the replica. After it the source stays
//! frozen until it knows: it asks with `Status` on a new connection, as often as it takes, and the target answers from what
//! it has on disk. [`source`] and [`target`] are the two state machines, without I/O and without a clock: they take
//! messages, lost connections and results, and give [`source::Action`]s and [`target::Action`]s to carry out. A model of two
//! hosts (feature `model`, and in the tests) runs them against each other with every loss and crash.

mod actions;
pub mod blob;
pub mod durable;
mod error;
pub mod frame;
#[cfg(any(test, feature = "model"))]
pub mod fuzz;
pub mod hello;
pub mod message;
pub mod source;
pub mod target;
pub mod transport;
#[cfg(any(test, feature = "model"))]
pub mod world;

pub use actions::Phase;
pub use blob::Blob;
pub use error::WireError;
pub use hello::Hello;
pub use message::{Kind, Message, MigrationId};
pub use source::Source;
pub use target::Target;
