//! When chunks close and when a migration stops iterating.

/// Records of this many bytes, unpacked, close a chunk.
pub const CHUNK_BYTES: usize = 1 << 20;
