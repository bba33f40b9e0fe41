//! A page's hash: XXH3 with 128 bits.
//!
//! Not blake3, which the log's checksums use: a page is too short for blake3's width (4 KiB are 4 of its chunks; it takes 16 at
//! once), and 100 MiB took 50 ms against 24 ms, reading included (`docs/benchmarks.md`). What is compared is two runs of one program, which
//! nobody chose so that they collide: of 2^30 differing pages the chance that one pair has equal hashes is 2^-98.

use twox_hash::XxHash3_128;

pub(super) type Hash = [u8; 16];

/// Of one page's bytes.
pub(super) fn of(page: &[u8]) -> Hash {
    XxHash3_128::oneshot(page).to_le_bytes()
}

/// Of a page that was never written.
pub(super) fn of_zeros() -> Hash {
    static ZEROS: std::sync::LazyLock<Hash> = std::sync::LazyLock::new(|| of(&[0; super::layout::PAGE]));
    *ZEROS
}
