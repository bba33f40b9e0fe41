//! The proof that a replica is its source: memory and registers are compared while the source is frozen.
//!
//! ```text
//!  source, frozen                                   target, replayed
//!  Layout::of  ->  Layout::print  -- Print -->  Comparison::begin
//!                                                  |  pages whose hashes differ, or that one side alone has
//!                  Layout::read   <-- Wanted --    +
//!                                 -- Pages -->  Comparison::take: byte by byte; what differs is written and counted by Kind
//! ```
//! A page is 16 bytes on the wire ([`hash`]), and only pages of which one side keeps a copy of its own are looked at
//! ([`layout`]). A page that one side has and the other has not counts as what it reads as there, zeros or the file's bytes: the
//! source is asked for it, so that nobody has to guess. [`registers`] says which registers must be equal, and whose are taken.

mod compare;
mod end;
mod error;
mod hash;
mod hashing;
mod kind;
mod layout;
mod mapping;
mod memory;
mod pages;
mod print;
pub mod registers;
mod table;
mod tracking;

pub use compare::{Comparison, Taken};
pub use end::{EndPrint, Standing};
pub use error::VerifyError;
pub use kind::Kind;
pub use layout::Layout;
pub use print::{Hashed, Page, Print, Space};
pub use table::{Delta, Tables, learn};
pub use tracking::{Pass, Tracking};

use serde::{Deserialize, Serialize};

/// What is compared before a replica goes live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Nothing.
    Off,
    /// As with [`Self::All`]; pages that were not written since they were hashed while the container ran are not hashed again.
    #[default]
    Touched,
    /// Every page that either side has a copy of, and the registers of every task.
    All,
}

impl Verify {
    #[must_use]
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Whether pages are hashed before the freeze.
    #[must_use]
    pub const fn is_early(self) -> bool {
        matches!(self, Self::Touched)
    }
}
