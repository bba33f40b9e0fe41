//! Silences a container's network device.
//!
//! Two TC classifiers, attached by netlink: they belong to the device, so that they stay when the agent dies and go when the
//! device goes. What they do is in a map whose value carries the container's id: an agent that comes back finds the map among
//! the kernel's by that id, with no file to keep or to clean up.

use std::fmt;
use std::fs::File;
use std::mem;

use aya::maps::{Array, Map, MapData, loaded_maps};
use aya::programs::tc::{self, NlOptions, TcAttachOptions, TcError};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use migrate_common::maps::mute::{ID_BYTES, NO_NEW_CONNECTIONS, PASS, SILENT, State};

use super::{ProbeError, object};
use crate::sys::enter_netns;

const MAP: &str = "MUTE";
/// Programs and where each is attached.
const PROGRAMS: [(&str, TcAttachType); 2] = [("mute_ingress", TcAttachType::Ingress), ("mute_egress", TcAttachType::Egress)];

type StateBytes = [u8; size_of::<State>()];

/// What passes a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MuteMode {
    /// Everything.
    Pass = PASS,
    /// Everything but the first packet of a TCP connection from outside, whose sender tries again.
    NoNewConnections = NO_NEW_CONNECTIONS,
    /// Nothing, either way.
    Silent = SILENT,
}

/// The programs on one container's device. Dropping it changes nothing: the device stays as it is.
pub struct Mute {
    id: String,
    state: Array<MapData, StateBytes>,
}

impl fmt::Debug for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mute").field("id", &self.id).field("mode", &self.mode()).finish_non_exhaustive()
    }
}

impl Mute {
    /// Puts the programs onto the device `ifname` in the network namespace of the process `netns_pid`, in this mode from the
    /// first packet on. `id` names the container on this host. If it is muted already, only the mode is set.
    ///
    /// # Errors
    /// [`ProbeError::Tc`] if there is no such device, [`ProbeError::MuteId`], and as loading programs fails.
    pub fn attach(netns_pid: i32, ifname: &str, id: &str, mode: MuteMode) -> Result<Self, ProbeError> {
        match Self::reopen(id) {
            Ok(mut mute) => {
                mute.set(mode)?;
                return Ok(mute);
            }
            Err(ProbeError::NoMute(_)) => {}
            Err(error) => return Err(error),
        }
        let mut programs = EbpfLoader::new().load(object::mute()?).map_err(Box::new)?;
        for (name, _) in PROGRAMS {
            classifier(&mut programs, name)?.load().map_err(|why| ProbeError::Program { name, why: Box::new(why) })?;
        }
        let Some(Map::Array(map)) = programs.take_map(MAP) else { return Err(ProbeError::NoMap(MAP)) };
        let mut mute = Self { id: id.to_owned(), state: array(map)? };
        mute.write(State { mode: mode as u32, id: id_bytes(id)? })?;
        let attached = within(netns_pid, || put_on(&mut programs, ifname)).flatten();
        if let Err(error) = attached {
            mute.forget_id()?;
            return Err(error);
        }
        Ok(mute)
    }

    /// The mute of a container that is on already.
    ///
    /// # Errors
    /// [`ProbeError::NoMute`] if there is none.
    pub fn reopen(id: &str) -> Result<Self, ProbeError> {
        let wanted = id_bytes(id)?;
        // Maps come and go while they are listed: one that is gone is not ours.
        for info in loaded_maps().flatten().filter(|info| info.name() == MAP.as_bytes()) {
            let Ok(state) = MapData::from_id(info.id()).map_err(map_error).and_then(array) else { continue };
            if read(&state).is_ok_and(|state| state.id == wanted) {
                return Ok(Self { id: id.to_owned(), state });
            }
        }
        Err(ProbeError::NoMute(id.to_owned()))
    }

    /// The container that it was attached for.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What passes now.
    ///
    /// # Errors
    /// [`ProbeError::Map`]; [`ProbeError::MuteMode`] if another version wrote it.
    pub fn mode(&self) -> Result<MuteMode, ProbeError> {
        match read(&self.state)?.mode {
            PASS => Ok(MuteMode::Pass),
            NO_NEW_CONNECTIONS => Ok(MuteMode::NoNewConnections),
            SILENT => Ok(MuteMode::Silent),
            mode => Err(ProbeError::MuteMode(mode)),
        }
    }

    /// Says what passes from the next packet on, and reads it back.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn set(&mut self, mode: MuteMode) -> Result<(), ProbeError> {
        let state = read(&self.state)?;
        self.write(State { mode: mode as u32, ..state })?;
        if self.mode()? == mode { Ok(()) } else { Err(ProbeError::MuteMode(mode as u32)) }
    }

    /// Takes the programs off the device: everything passes, and nothing can be reopened.
    ///
    /// # Errors
    /// [`ProbeError::Tc`] if the device or a program on it is gone.
    pub fn detach(mut self, netns_pid: i32, ifname: &str) -> Result<(), ProbeError> {
        within(netns_pid, || take_off(ifname)).flatten()?;
        self.forget_id()
    }

    /// The kernel keeps a map for a moment after its last user has gone: it must not be found then.
    fn forget_id(&mut self) -> Result<(), ProbeError> {
        self.write(State { mode: PASS, id: [0; ID_BYTES] })
    }

    fn write(&mut self, state: State) -> Result<(), ProbeError> {
        self.state.set(0, bytemuck::cast::<State, StateBytes>(state), 0).map_err(map_error)
    }
}

/// Attaches to a device of the calling thread's network namespace.
fn put_on(programs: &mut Ebpf, ifname: &str) -> Result<(), ProbeError> {
    let error = |why| ProbeError::Tc { device: ifname.to_owned(), why: Box::new(why) };
    match tc::qdisc_add_clsact(ifname) {
        Err(TcError::NetlinkError(why)) if why.raw_os_error() == Some(libc::EEXIST) => {}
        other => other.map_err(error)?,
    }
    let attached = PROGRAMS.iter().try_for_each(|&(name, at)| {
        let error = |why| ProbeError::Program { name, why: Box::new(why) };
        let program = classifier(programs, name)?;
        // By netlink, not as a tcx link: a link's program goes with the process that holds the link.
        let options = TcAttachOptions::Netlink(NlOptions::default());
        let link = program.attach_with_options(ifname, at, options).map_err(error)?;
        // Its drop would detach; the device holds the program from here on.
        mem::forget(program.take_link(link).map_err(error)?);
        Ok(())
    });
    if attached.is_err() {
        // The one that is on, if one is; why the other is not is what there is to tell.
        let _ = take_off(ifname);
    }
    attached
}

/// Detaches from a device of the calling thread's network namespace.
fn take_off(ifname: &str) -> Result<(), ProbeError> {
    let error = |why| ProbeError::Tc { device: ifname.to_owned(), why: Box::new(why) };
    PROGRAMS.iter().try_for_each(|&(name, at)| tc::qdisc_detach_program(ifname, at, name)).map_err(error)
}

fn classifier<'a>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, ProbeError> {
    let program = programs.program_mut(name).ok_or(ProbeError::NoProgram(name))?;
    program.try_into().map_err(|why| ProbeError::Program { name, why: Box::new(why) })
}

fn within<T: Send>(netns_pid: i32, work: impl FnOnce() -> T + Send) -> Result<T, ProbeError> {
    let error = || ProbeError::io(format!("entering the network namespace of process {netns_pid}"));
    let namespace: File = enter_netns::of(netns_pid).map_err(error())?;
    enter_netns::within(namespace, work).map_err(error())
}

fn array(map: MapData) -> Result<Array<MapData, StateBytes>, ProbeError> {
    Array::try_from(Map::Array(map)).map_err(map_error)
}

fn read(state: &Array<MapData, StateBytes>) -> Result<State, ProbeError> {
    state.get(&0, 0).map(bytemuck::cast).map_err(map_error)
}

fn map_error(why: aya::maps::MapError) -> ProbeError {
    ProbeError::Map { name: MAP, why: Box::new(why) }
}

fn id_bytes(id: &str) -> Result<[u8; ID_BYTES], ProbeError> {
    let mut bytes = [0; ID_BYTES];
    let place = bytes.get_mut(..id.len()).filter(|place| !place.is_empty());
    place.ok_or_else(|| ProbeError::MuteId(id.to_owned()))?.copy_from_slice(id.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_id_of_64_digits_fits_and_nothing_longer_does() {
        assert_eq!(id_bytes(&"a".repeat(64)).unwrap(), [b'a'; 64]);
        assert!(matches!(id_bytes(&"a".repeat(65)), Err(ProbeError::MuteId(_))));
        assert!(matches!(id_bytes(""), Err(ProbeError::MuteId(_))));
    }
}
