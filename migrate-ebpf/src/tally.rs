//! Counts by system call, of the slots that are tallied.

use migrate_common::maps::{Tallies, tally};
use migrate_common::record::Kind;

use crate::maps::{self, TALLIES};

/// Counts a call. `bytes`: its input.
#[inline(always)]
pub fn add_call(slot: u32, nr: i32, socket: bool, bytes: u64) {
    let Some(tallies) = maps::own(&TALLIES, slot) else { return };
    let at = if (nr as u32) < tally::KINDS as u32 { nr as usize } else { tally::UNKNOWN };
    add(tallies, if socket { at + tally::SOCKET } else { at }, bytes);
}

/// Counts a record that is no system call.
#[inline(always)]
pub fn add_kind(slot: u32, kind: Kind) {
    if let Some(tallies) = maps::own(&TALLIES, slot) {
        add(tallies, tally::of(kind), 0);
    }
}

#[inline(always)]
fn add(tallies: &mut Tallies, at: usize, bytes: u64) {
    // The mask is the bound that the verifier sees.
    let tally = &mut tallies[at & (tally::LEN - 1)];
    tally.events += 1;
    tally.bytes += bytes;
}
