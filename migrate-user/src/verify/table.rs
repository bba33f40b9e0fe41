//! Hashes of pages that were made at an earlier time, and what a later look adds to them.
//!
//! ```text
//!   earlier looks:  Table of each space       the frozen moment:  Delta = which pages there are + the hashes that no table has
//!                          \                                       /
//!                           +----------- Delta::complete ---------+--> Print
//! ```
//! Whoever keeps the same tables as the other side completes its delta to the same print.

use super::error::VerifyError;
use super::hash::Hash;
use super::print::{Hashed, Mappings, Page, Print, Space};
use crate::golive::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hashes by the number of the page, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(Vec<(u64, Hash)>);

/// The tables of processes.
pub type Tables = BTreeMap<Space, Table>;

impl Table {
    /// Takes over what a later look says, ascending: `None` where a page is gone.
    pub(super) fn update(&mut self, later: impl IntoIterator<Item = (u64, Option<Hash>)>) {
        let before = std::mem::take(&mut self.0);
        self.0.reserve(before.len());
        let mut before = before.into_iter().peekable();
        for (number, hash) in later {
            while let Some(kept) = before.next_if(|(kept, _)| *kept < number) {
                self.0.push(kept);
            }
            before.next_if(|(kept, _)| *kept == number);
            self.0.extend(hash.map(|hash| (number, hash)));
        }
        self.0.extend(before);
    }

    /// Answers for pages in ascending order.
    pub(super) fn lookup(&self) -> impl FnMut(u64) -> Option<Hash> {
        let mut rest = self.0.as_slice();
        move |number| {
            let behind = rest.iter().position(|(known, _)| *known >= number).unwrap_or(rest.len());
            rest = &rest[behind..];
            rest.first().filter(|(known, _)| *known == number).map(|(_, hash)| *hash)
        }
    }
}

/// Takes over what the other side has told of a later look.
pub fn learn(tables: &mut Tables, later: &[Hashed]) {
    for hashed in later {
        tables.entry(hashed.space).or_default().update(hashed.pages().map(|(page, hash)| (page.number, Some(hash))));
    }
}

/// A space's pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceDelta {
    /// All of which there is a copy: number of the first page, and how many follow each other.
    pub runs: Vec<(u64, u64)>,
    /// Those that no table has, or has otherwise.
    pub fresh: Hashed,
}

/// A container's memory, as far as tables do not tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Ascending by number.
    pub processes: Vec<Mappings>,
    /// Ascending.
    pub spaces: Vec<SpaceDelta>,
}

impl Delta {
    /// How many pages it has hashes of.
    #[must_use]
    pub fn fresh(&self) -> u64 {
        self.spaces.iter().flat_map(|space| &space.fresh.runs).map(|(_, count)| count).sum()
    }

    /// The whole of it.
    ///
    /// # Errors
    /// [`VerifyError::Untold`] for a page that neither it nor its table has.
    pub fn complete(self, tables: &Tables) -> Result<Print, VerifyError> {
        let none = Table::default();
        let mut spaces = Vec::with_capacity(self.spaces.len());
        for SpaceDelta { runs, fresh } in self.spaces {
            let space = fresh.space;
            let mut known = tables.get(&space).unwrap_or(&none).lookup();
            let mut fresh = fresh.pages().map(|(page, hash)| (page.number, hash)).peekable();
            let mut hashes = Vec::new();
            for (first, count) in &runs {
                for number in *first..first.saturating_add(*count) {
                    let told = fresh.next_if(|(told, _)| *told == number).map(|(_, hash)| hash);
                    let hash = told.or_else(|| known(number));
                    hashes.extend(hash.ok_or(VerifyError::Untold { page: Page { space, number } })?);
                }
            }
            spaces.push(Hashed { space, runs, hashes: Bytes(hashes) });
        }
        Ok(Print { processes: self.processes, spaces })
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::super::layout::PAGE;
    use super::*;
    use proptest::prelude::*;

    const SPACE: Space = Space::Process(1);

    fn hashed(pages: &[(u64, u8)]) -> Hashed {
        let runs = pages.iter().map(|(number, _)| (*number, 1)).collect();
        Hashed { space: SPACE, runs, hashes: Bytes(pages.iter().flat_map(|(_, fill)| hash::of(&[*fill; PAGE])).collect()) }
    }

    fn delta(runs: &[(u64, u64)], fresh: &[(u64, u8)]) -> Delta {
        Delta { processes: Vec::new(), spaces: vec![SpaceDelta { runs: runs.to_vec(), fresh: hashed(fresh) }] }
    }

    #[test]
    fn a_delta_is_completed_by_the_table_and_what_it_says_itself_counts() {
        let mut tables = Tables::new();
        learn(&mut tables, &[hashed(&[(1, 1), (2, 2), (3, 3), (9, 9)])]);
        learn(&mut tables, &[hashed(&[(2, 20), (5, 5)])]);
        let print = delta(&[(1, 3), (5, 1)], &[(3, 30)]).complete(&tables).unwrap();
        let expected = hashed(&[(1, 1), (2, 20), (3, 30), (5, 5)]);
        assert_eq!(print.spaces[0].hashes, expected.hashes);
        assert_eq!(print.spaces[0].runs, [(1, 3), (5, 1)]);
    }

    #[test]
    fn a_page_that_nobody_has_told_of_is_an_error_and_none_is_guessed() {
        let error = delta(&[(1, 2)], &[(1, 1)]).complete(&Tables::new()).unwrap_err();
        assert!(matches!(error, VerifyError::Untold { page: Page { number: 2, .. } }), "{error}");
    }

    proptest! {
        #[test]
        fn a_table_holds_what_was_told_last_of_each_page(
            looks in prop::collection::vec(prop::collection::btree_map(0_u64..50, prop::option::of(any::<u8>()), 0..20), 0..8),
        ) {
            let hash = |fill: u8| hash::of(&[fill; PAGE]);
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for look in looks {
                table.update(look.iter().map(|(number, fill)| (*number, fill.map(hash))));
                for (number, fill) in look {
                    match fill {
                        Some(fill) => drop(model.insert(number, hash(fill))),
                        None => drop(model.remove(&number)),
                    }
                }
                prop_assert!(table.0.iter().copied().eq(model.iter().map(|(number, hash)| (*number, *hash))));
                let mut known = table.lookup();
                for number in 0..50 {
                    prop_assert_eq!(known(number), model.get(&number).copied());
                }
            }
        }
    }
}
