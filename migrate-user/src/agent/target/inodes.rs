//! Inode numbers at the cut-over.

use crate::agent::errors::{Failure, text};
use crate::inodes::supervisor::Task;
use crate::inodes::{self, Identity, InodeMap, InodeReport, Inodes, filter};
use crate::replay::replica::Replica;

/// What an operator can do when it fails.
const REMEDY: &str = "`migrate move --inodes new` moves it with the target's inode numbers";

/// Gives the replica its supervisor, if its program knows a file that it holds open by other numbers. `identities`: of files held open,
/// here and on the source. The replica does not run yet.
pub(super) async fn keep(
    replica: &Replica,
    wanted: Inodes,
    identities: Vec<(Identity, Identity)>,
) -> Result<InodeReport, Failure> {
    let mut pairs = identities.clone();
    let looked_at = move |engine: &mut crate::replay::Engine<_>| {
        pairs.retain(|(here, source)| here != source && engine.seen().contains(*source));
        pairs.sort_unstable();
        pairs.dedup();
        Ok(pairs.len() as u64)
    };
    let needed = replica.with(looked_at).await.map_err(text)?;
    let mut report = InodeReport { needed, ..InodeReport::default() };
    if needed == 0 || wanted == Inodes::New {
        return Ok(report);
    }
    let refused = |why: &dyn std::fmt::Display| format!("inode numbers cannot be kept: {why}; {REMEDY}");
    let map = InodeMap::new(&identities).map_err(|error| refused(&error))?;
    let listeners = replica.with(|engine| engine.listen(&filter::program())).await.map_err(|error| refused(&error))?;
    report.no_new_privs = listeners.no_new_privs;
    let mut files: Vec<_> = identities.into_iter().map(|(here, _)| here).collect();
    files.sort_unstable();
    files.dedup();
    report.kept = files.len() as u64;
    let task = Task { listeners: listeners.descriptors, map, init: replica.init() };
    // This program, also if its file was replaced.
    let start = move || inodes::start(std::path::Path::new("/proc/self/exe"), task);
    tokio::task::spawn_blocking(start).await.map_err(text)?.map_err(|error| refused(&error))?;
    tracing::info!(?report, "inode numbers are kept");
    Ok(report)
}
