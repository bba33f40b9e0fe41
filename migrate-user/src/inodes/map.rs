//! Which numbers a file has for the program, given those that it has on this host.
//!
//! The known pairs say for some files of this host which numbers they had on the source. All other files must keep out of their way: a
//! program takes two files with the same device and inode number for one. So the pairs are completed to a permutation, of the
//! devices and, on each device, of the inode numbers: whoever had a number that is now another's takes the number that became free.
//!
//! ```text
//!   known          10 -> 20   20 -> 30
//!   completed      10 -> 20   20 -> 30   30 -> 10      every other number stays
//! ```

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// What stat(2) identifies a file by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// As in `st_dev`.
    pub device: u64,
    pub inode: u64,
}

/// Why there is no map.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    #[error("files on one device of this host were on devices {first} and {second} of the source: their storage differs")]
    DeviceSplit { first: u64, second: u64 },
    #[error("files on devices {first} and {second} of this host were on one device of the source: their storage differs")]
    DeviceJoin { first: u64, second: u64 },
    #[error("inode {inode} of this host was inodes {first} and {second} of the source")]
    InodeSplit { inode: u64, first: u64, second: u64 },
    #[error("inodes {first} and {second} of this host were inode {inode} of the source")]
    InodeJoin { inode: u64, first: u64, second: u64 },
}

/// A permutation of files' numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodeMap {
    /// Only those that change.
    devices: HashMap<u64, u64>,
    /// By this host's device. Only those that change.
    inodes: HashMap<Identity, u64>,
}

impl InodeMap {
    /// The map that gives each file of `pairs`, `(here, source)`, its numbers of the source.
    ///
    /// # Errors
    /// [`MapError`] where pairs contradict one another.
    pub fn new(pairs: &[(Identity, Identity)]) -> Result<Self, MapError> {
        let mut devices = Pairs::default();
        let mut by_device: HashMap<u64, Pairs<u64>> = HashMap::new();
        for (here, source) in pairs {
            devices.add(here.device, source.device).map_err(|clash| match clash {
                Clash::Split { first, second, .. } => MapError::DeviceSplit { first, second },
                Clash::Join { first, second, .. } => MapError::DeviceJoin { first, second },
            })?;
            by_device.entry(here.device).or_default().add(here.inode, source.inode).map_err(|clash| match clash {
                Clash::Split { of: inode, first, second } => MapError::InodeSplit { inode, first, second },
                Clash::Join { to: inode, first, second } => MapError::InodeJoin { inode, first, second },
            })?;
        }
        let inodes = by_device.into_iter().flat_map(|(device, pairs)| {
            pairs.completed().into_iter().map(move |(inode, shown)| (Identity { device, inode }, shown))
        });
        Ok(Self { devices: devices.completed(), inodes: inodes.collect() })
    }

    /// What a program is shown for a file of this host; `None` where that is what it has.
    #[must_use]
    pub fn shown(&self, here: Identity) -> Option<Identity> {
        let device = self.devices.get(&here.device).copied();
        let inode = self.inodes.get(&here).copied();
        (device.is_some() || inode.is_some())
            .then(|| Identity { device: device.unwrap_or(here.device), inode: inode.unwrap_or(here.inode) })
    }

    /// Whether every file keeps its numbers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.inodes.is_empty()
    }
}

/// A part of a permutation.
#[derive(Debug)]
struct Pairs<T> {
    forward: HashMap<T, T>,
    backward: HashMap<T, T>,
}

enum Clash<T> {
    Split { of: T, first: T, second: T },
    Join { to: T, first: T, second: T },
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self { forward: HashMap::new(), backward: HashMap::new() }
    }
}

impl<T: Copy + Eq + Hash> Pairs<T> {
    fn add(&mut self, of: T, to: T) -> Result<(), Clash<T>> {
        match self.forward.insert(of, to) {
            Some(first) if first != to => return Err(Clash::Split { of, first, second: to }),
            _ => {}
        }
        match self.backward.insert(to, of) {
            Some(first) if first != of => Err(Clash::Join { to, first, second: of }),
            _ => Ok(()),
        }
    }

    /// The permutation, without what it leaves in place.
    fn completed(self) -> HashMap<T, T> {
        let mut whole = self.forward.clone();
        // Each end of a chain takes the number at the chain's beginning.
        for &end in self.backward.keys().filter(|to| !self.forward.contains_key(to)) {
            let mut begin = end;
            while let Some(&before) = self.backward.get(&begin) {
                begin = before;
            }
            whole.insert(end, begin);
        }
        whole.retain(|of, to| of != to);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn id(device: u64, inode: u64) -> Identity {
        Identity { device, inode }
    }

    fn shown(map: &InodeMap, here: Identity) -> Identity {
        map.shown(here).unwrap_or(here)
    }

    #[test]
    fn whoever_had_a_number_that_is_anothers_now_takes_the_free_one() {
        let map = InodeMap::new(&[(id(1, 10), id(1, 20)), (id(1, 20), id(1, 30))]).unwrap();
        assert_eq!([10, 20, 30, 40].map(|inode| shown(&map, id(1, inode)).inode), [20, 30, 10, 40]);
        assert_eq!(map.shown(id(1, 40)), None);
    }

    #[test]
    fn files_that_nobody_holds_are_on_the_source_s_device_too() {
        let map = InodeMap::new(&[(id(41, 5), id(52, 7))]).unwrap();
        assert_eq!(map.shown(id(41, 5)), Some(id(52, 7)));
        assert_eq!(map.shown(id(41, 7)), Some(id(52, 5)));
        assert_eq!(map.shown(id(41, 100)), Some(id(52, 100)));
        assert_eq!(map.shown(id(52, 5)), Some(id(41, 5)));
        assert_eq!(map.shown(id(1, 5)), None);
    }

    #[test]
    fn equal_numbers_need_no_map() {
        assert!(InodeMap::new(&[(id(1, 2), id(1, 2)), (id(3, 4), id(3, 4))]).unwrap().is_empty());
        assert!(InodeMap::new(&[]).unwrap().is_empty());
    }

    #[test]
    fn pairs_that_contradict_one_another_give_no_map() {
        let split = InodeMap::new(&[(id(1, 2), id(1, 3)), (id(1, 2), id(1, 4))]);
        assert_eq!(split, Err(MapError::InodeSplit { inode: 2, first: 3, second: 4 }));
        let join = InodeMap::new(&[(id(1, 2), id(1, 4)), (id(1, 3), id(1, 4))]);
        assert_eq!(join, Err(MapError::InodeJoin { inode: 4, first: 2, second: 3 }));
        let devices = InodeMap::new(&[(id(1, 2), id(5, 2)), (id(2, 3), id(5, 3))]);
        assert_eq!(devices, Err(MapError::DeviceJoin { first: 1, second: 2 }));
    }

    proptest! {
        #[test]
        fn no_two_files_are_ever_shown_as_one(
            devices in Just((0..4_u64).collect::<Vec<_>>()).prop_shuffle(),
            inodes in Just((0..16_u64).collect::<Vec<_>>()).prop_shuffle(),
            known in proptest::collection::vec((0..4_u64, 0..16_u64), 0..12),
        ) {
            let source = |here: Identity| id(devices[here.device as usize], inodes[here.inode as usize]);
            let pairs: Vec<_> = known.iter().map(|&(device, inode)| id(device, inode)).map(|here| (here, source(here))).collect();
            let map = InodeMap::new(&pairs).unwrap();
            for (here, source) in &pairs {
                prop_assert_eq!(shown(&map, *here), *source);
            }
            let all: Vec<_> = (0..5).flat_map(|device| (0..20).map(move |inode| id(device, inode))).collect();
            let seen: HashSet<_> = all.iter().map(|here| shown(&map, *here)).collect();
            prop_assert_eq!(seen.len(), all.len());
        }
    }
}
