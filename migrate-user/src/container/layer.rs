//! A container's own layer: the overlay's upper directory, as a tar and back.
//!
//! Kept: contents, holes aside; modes, owners, times to the nanosecond, hard links, symbolic links, devices, FIFOs, extended
//! attributes; and what overlayfs says with them: a whiteout is a character device 0:0, an opaque directory has
//! `trusted.overlay.opaque`. Left out: sockets, which mean nothing without their process, and the attributes in which overlayfs
//! notes inodes of the host's lower layers. Source: Documentation/filesystems/overlayfs.rst.
//!
//! The order is that of names, so equal layers give equal tars.

mod pack;
mod unpack;

pub use pack::pack;
pub use unpack::unpack;

use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// What a tar of a layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStats {
    pub entries: u64,
    /// Of files' contents.
    pub bytes: u64,
    pub whiteouts: u64,
}

/// Why a layer cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("cannot {action} {} of the container's layer", path.display())]
    Entry { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} of the container's layer is {why}", path.display())]
    Unsupported { path: PathBuf, why: &'static str },
    #[error("the layer's tar is damaged")]
    Tar(#[source] io::Error),
    #[error("the layer's tar has an entry {path:?}, which leads out of the layer")]
    Escape { path: PathBuf },
}

/// Names of PAX records. The names and values of extended attributes are in hexadecimal, since either may hold the bytes that
/// PAX readers split at; so other programs do not take them for what they know.
const PAX_XATTR: &str = "MIGRATE.xattr.";
const PAX_MTIME: &str = "mtime";

/// Attributes in which overlayfs notes inodes of this host's lower layers: without meaning elsewhere. It makes them anew.
const HOST_XATTRS: [&str; 4] =
    ["trusted.overlay.origin", "trusted.overlay.nlink", "trusted.overlay.impure", "trusted.overlay.upper"];

/// Attributes that say that the contents are in a lower layer of this host: Docker switches these features off.
const REFUSED_XATTRS: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests;
