//! A digest over everything that a log or a migration has carried, in order.

use super::chunk::ChunkHeader;

/// blake3 over the last link and the next header, which itself covers its body: `link[n+1] = H(link[n] || header[n])`.
///
/// Both ends of a migration keep one; equal links mean that the target has fed exactly the source's chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain([u8; 32]);

impl Chain {
    /// The first link: `seed` ties the chain to what it belongs to (a log's header, a migration's id).
    #[must_use]
    pub fn new(seed: &[u8]) -> Self {
        Self(*blake3::hash(seed).as_bytes())
    }

    /// Adds a chunk.
    pub fn push(&mut self, header: &ChunkHeader) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(bytemuck::bytes_of(header));
        self.0 = *hasher.finalize().as_bytes();
    }

    /// The link that covers everything so far.
    #[must_use]
    pub const fn link(&self) -> [u8; 32] {
        self.0
    }
}

/// Half of blake3: enough against damage, which is all that it is for.
pub(super) fn sum(bytes: &[u8]) -> [u8; 16] {
    let [low, _] = bytemuck::cast::<[u8; 32], [[u8; 16]; 2]>(*blake3::hash(bytes).as_bytes());
    low
}
