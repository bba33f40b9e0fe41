//! The target's side: which pages the source is asked for, and what becomes of them.

use super::error::VerifyError;
use super::hash;
use super::kind::{Kind, extent};
use super::layout::{Layout, PAGE};
use super::mapping::{self, Of};
use super::print::{Page, Print, Space};
use super::registers::Tasks;
use super::tracking::Tracking;
use crate::sys::pagemap::PAGE_BYTES;
use std::collections::BTreeMap;

/// Pages that are asked for at a time: 4 MiB.
const ASK_PAGES: usize = 1024;
/// Bytes of a difference that a report shows.
const SHOWN_BYTES: u64 = 16;
/// Pages that a report names.
const NAMED_PAGES: usize = 16;

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Pages of which either side has a copy.
    pub compared: u64,
    /// Of the replica's, those that were hashed while everybody stood still.
    pub hashed: u64,
    pub differing: BTreeMap<Kind, u64>,
    /// Some of them, before others those that no kind explains: process, address, mapping, kind.
    pub places: Vec<String>,
}

/// A replica's memory, as far as it may differ from its source's.
#[derive(Debug)]
pub struct Comparison {
    layout: Layout,
    tasks: Tasks,
    /// In the order in which they are asked for, backwards.
    wanted: Vec<Page>,
    found: Taken,
    /// Places of pages that no kind explains.
    unexplained: usize,
}

impl Comparison {
    /// Hashes the replica's memory, as far as no table of `tracking` has it. Its tasks stand still until the end.
    ///
    /// # Errors
    /// [`VerifyError::Processes`] and [`VerifyError::Mapping`]: it has another shape than the source's.
    pub fn begin(layout: Layout, tasks: Tasks, theirs: &Print, tracking: &Tracking) -> Result<Self, VerifyError> {
        let delta = layout.delta(tracking)?;
        let hashed = delta.fresh();
        let ours = delta.complete(tracking.tables())?;
        let tids = |print: &Print| print.processes.iter().map(|process| process.tid).collect::<Vec<_>>();
        if tids(theirs) != tids(&ours) {
            return Err(VerifyError::Processes { theirs: tids(theirs), ours: tids(&ours) });
        }
        for process in &theirs.processes {
            mapping::difference(process.tid, &process.mappings, ours.mappings(process.tid))?;
        }
        let (wanted, compared) = wanted(theirs, &ours, |page| is_zero_when_absent(page, &layout));
        Ok(Self { layout, tasks, wanted, found: Taken { compared, hashed, ..Taken::default() }, unexplained: 0 })
    }

    /// The pages that the source is to send next; none: everything is compared.
    #[must_use]
    pub fn next(&self) -> &[Page] {
        &self.wanted[self.wanted.len().saturating_sub(ASK_PAGES)..]
    }

    /// Takes the bytes of [`Self::next`]: those that differ are given to `write`, which is told process, address and bytes, where
    /// the memory itself cannot be written.
    pub fn take(
        &mut self,
        bytes: &[u8],
        mut write: impl FnMut(u32, u64, &[u8]) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        let pages = self.next().to_vec();
        if bytes.len() != pages.len() * PAGE {
            return Err(VerifyError::Answer { got: bytes.len(), wanted: pages.len() });
        }
        let own = self.layout.read(&pages)?;
        for (page, (theirs, ours)) in pages.iter().zip(bytes.chunks_exact(PAGE).zip(own.chunks_exact(PAGE))) {
            if theirs == ours {
                continue;
            }
            self.count(*page, theirs, ours);
            match self.layout.find(*page, true)? {
                Some((pid, address)) => self.layout.write(pid, address, theirs)?,
                None => match page.space {
                    Space::Process(tid) => write(tid, page.number * PAGE_BYTES, theirs)?,
                    Space::Object(_) => {}
                },
            }
        }
        self.wanted.truncate(self.wanted.len() - pages.len());
        Ok(())
    }

    fn count(&mut self, page: Page, theirs: &[u8], ours: &[u8]) {
        let kind = Kind::of(page, Some((theirs, ours)), &self.layout, &self.tasks);
        *self.found.differing.entry(kind).or_default() += 1;
        let place = || format!("{}: {}", kind.name(), place(page, Some((theirs, ours)), &self.layout));
        let places = &mut self.found.places;
        if !kind.is_explained() && self.unexplained < NAMED_PAGES {
            places.insert(self.unexplained, place());
            places.truncate(NAMED_PAGES);
            self.unexplained += 1;
        } else if places.len() < NAMED_PAGES {
            places.push(place());
        }
    }

    /// What was found, and of the tasks.
    #[must_use]
    pub fn end(self) -> (Taken, Tasks) {
        (self.found, self.tasks)
    }
}

/// Where a page is that differs, and how. `sides`: both sides' bytes, if they are known.
pub(super) fn place(page: Page, sides: Option<(&[u8], &[u8])>, layout: &Layout) -> String {
    let bytes = sides.map_or(0..PAGE_BYTES, |(theirs, ours)| extent(theirs, ours));
    let start = page.number * PAGE_BYTES;
    let place = match page.space {
        Space::Process(tid) => {
            let of = layout.mapping(tid, start).map_or("below the stack".to_owned(), |mapping| format!("{:?}", mapping.of));
            format!("process {tid}, {:#x} to {:#x}, {of}", start + bytes.start, start + bytes.end)
        }
        Space::Object(object) => {
            format!("shared object {object}, offset {:#x} to {:#x}", start + bytes.start, start + bytes.end)
        }
    };
    let Some((theirs, ours)) = sides else { return place };
    let differing = theirs.iter().zip(ours).filter(|(a, b)| a != b).count();
    // Of a few bytes the values say most.
    #[expect(clippy::cast_possible_truncation, reason = "within a page")]
    let within = bytes.start as usize..bytes.end.min(bytes.start + SHOWN_BYTES) as usize;
    let values = format!("source {:02x?}, replica {:02x?}", &theirs[within.clone()], &ours[within]);
    format!("{place}, {differing} bytes, {values}")
}

/// Whether a page reads as zeros of which a process has no copy.
pub(super) fn is_zero_when_absent(page: Page, layout: &Layout) -> bool {
    match page.space {
        Space::Process(tid) => match layout.mapping(tid, page.number * PAGE_BYTES) {
            Some(mapping) => matches!(mapping.of, Of::Anonymous | Of::Heap | Of::Stack),
            None => true,
        },
        Space::Object(_) => false,
    }
}

/// The pages that may differ, descending, and how many were compared.
fn wanted(theirs: &Print, ours: &Print, is_zero_when_absent: impl Fn(Page) -> bool) -> (Vec<Page>, u64) {
    let is_zero = |page, hash| hash == hash::of_zeros() && is_zero_when_absent(page);
    let (mut theirs, mut ours) = (theirs.pages().peekable(), ours.pages().peekable());
    let (mut wanted, mut compared) = (Vec::new(), 0);
    loop {
        let (page, same) = match (theirs.peek().copied(), ours.peek().copied()) {
            (None, None) => break,
            (Some((page, hash)), Some((own, own_hash))) if page == own => {
                ours.next();
                theirs.next();
                (page, hash == own_hash)
            }
            (Some((page, hash)), own) if own.is_none_or(|(own, _)| page < own) => {
                theirs.next();
                (page, is_zero(page, hash))
            }
            (_, Some((own, hash))) => {
                ours.next();
                (own, is_zero(own, hash))
            }
            (Some(_), None) => unreachable!("the arm before takes it"),
        };
        compared += 1;
        if !same {
            wanted.push(page);
        }
    }
    wanted.reverse();
    (wanted, compared)
}

#[cfg(test)]
mod tests {
    use super::super::print::Hashed;
    use super::*;
    use crate::golive::Bytes;

    fn print(pages: &[(u64, u8)]) -> Print {
        let hash = |fill: &u8| if *fill == 0 { hash::of_zeros() } else { hash::of(&[*fill; PAGE]) };
        let hashes = pages.iter().flat_map(|(_, fill)| hash(fill)).collect();
        let runs = pages.iter().map(|(number, _)| (*number, 1)).collect();
        Print { processes: Vec::new(), spaces: vec![Hashed { space: Space::Process(1), runs, hashes: Bytes(hashes) }] }
    }

    fn differ(theirs: &[(u64, u8)], ours: &[(u64, u8)], absent_is_zero: bool) -> (Vec<u64>, u64) {
        let (pages, compared) = wanted(&print(theirs), &print(ours), |_| absent_is_zero);
        (pages.iter().rev().map(|page| page.number).collect(), compared)
    }

    #[test]
    fn a_page_that_one_side_has_alone_counts_as_what_it_reads_as() {
        // Same, changed, zeros here only, something here only, zeros there only, something there only.
        let theirs = [(1, 1), (2, 1), (5, 0), (6, 1)];
        let ours = [(1, 1), (2, 9), (3, 0), (4, 1)];
        assert_eq!(differ(&theirs, &ours, true), (vec![2, 4, 6], 6));
        // Of a file's page nobody knows what it reads as: the source is asked.
        assert_eq!(differ(&theirs, &ours, false), (vec![2, 3, 4, 5, 6], 6));
    }
}
