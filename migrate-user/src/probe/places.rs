//! Which cgroups the programs look at, and what they are told of each.
//!
//! A cgroup has its place in a table by the low bits of its id, so that the programs, which ask at every call of every task of the machine, need
//! one look. Of two with one place the second is in a map; while there is such a one, the place tells so.

use aya::maps::{Array, HashMap, Map, MapData};
use bytemuck::Zeroable as _;
use migrate_common::maps::{Container, Place};

use super::ProbeError;
use super::recorder::map_error;

type ContainerBytes = [u8; size_of::<Container>()];
type PlaceBytes = [u8; size_of::<Place>()];

/// The programs' two maps of containers.
pub(super) struct Places {
    placed: Array<MapData, PlaceBytes>,
    others: HashMap<MapData, u64, ContainerBytes>,
}

impl Places {
    pub(super) fn new(placed: MapData, others: MapData) -> Result<Self, ProbeError> {
        Ok(Self {
            placed: Array::try_from(Map::Array(placed)).map_err(map_error("PLACED"))?,
            others: HashMap::try_from(Map::HashMap(others)).map_err(map_error("CONTAINERS"))?,
        })
    }

    pub(super) fn get(&self, cgroup_id: u64) -> Result<Container, ProbeError> {
        let place = self.place(cgroup_id)?;
        if place.cgroup_id == cgroup_id {
            return Ok(place.container);
        }
        self.others.get(&cgroup_id, 0).map(bytemuck::cast).map_err(map_error("CONTAINERS"))
    }

    /// Tells the programs of a cgroup, or something new of it.
    pub(super) fn set(&mut self, cgroup_id: u64, container: Container) -> Result<(), ProbeError> {
        let place = self.place(cgroup_id)?;
        if [cgroup_id, Place::NOBODY].contains(&place.cgroup_id) {
            // The id last: whoever sees it sees the rest.
            self.write(cgroup_id, Place { container, ..place })?;
            return self.write(cgroup_id, Place { container, cgroup_id });
        }
        self.others.insert(cgroup_id, bytemuck::cast::<_, ContainerBytes>(container), 0).map_err(map_error("CONTAINERS"))
    }

    pub(super) fn remove(&mut self, cgroup_id: u64) -> Result<(), ProbeError> {
        let place = self.place(cgroup_id)?;
        if place.cgroup_id != cgroup_id {
            self.others.remove(&cgroup_id).map_err(map_error("CONTAINERS"))?;
        }
        let others = self.others.keys().flatten().any(|other| Place::of(other) == Place::of(cgroup_id));
        match (place.cgroup_id == cgroup_id, others) {
            (true, true) => self.write(cgroup_id, Place { cgroup_id: Place::ELSEWHERE, ..place }),
            (true, false) => self.write(cgroup_id, Place::zeroed()),
            // The last of those for which the place was kept.
            (false, false) if place.cgroup_id == Place::ELSEWHERE => self.write(cgroup_id, Place::zeroed()),
            (false, _) => Ok(()),
        }
    }

    fn place(&self, cgroup_id: u64) -> Result<Place, ProbeError> {
        let bytes = self.placed.get(&Place::of(cgroup_id), 0).map_err(map_error("PLACED"))?;
        Ok(bytemuck::pod_read_unaligned(&bytes))
    }

    fn write(&mut self, cgroup_id: u64, place: Place) -> Result<(), ProbeError> {
        self.placed.set(Place::of(cgroup_id), bytemuck::cast::<_, PlaceBytes>(place), 0).map_err(map_error("PLACED"))
    }
}
