//! Loads the bare program.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};
use migrate::sys::bpf_ring::RingReader;

const PROGRAM: &str = "sys_exit";

/// The attached program. Dropping it detaches it.
#[derive(Debug)]
pub struct Bare {
    _programs: Ebpf,
    _ring: MapData,
}

impl Bare {
    /// From here on each call of the cgroup puts `record_bytes` bytes into the ring that comes with it.
    pub fn attach(object: &[u8], cgroup_id: u64, record_bytes: u64, ring_bytes: u32) -> Result<(Self, RingReader)> {
        let btf = Btf::from_sys_fs()?;
        let mut programs = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("CGROUP", &cgroup_id, true)
            .override_global("BYTES", &record_bytes, true)
            .map_max_entries("RING", ring_bytes)
            .load(object)?;
        tracepoint(&mut programs)?.load(PROGRAM, &btf)?;
        let Some(Map::RingBuf(ring)) = programs.take_map("RING") else { bail!("the object has no ring") };
        let reader = RingReader::new(ring.fd().as_fd(), ring_bytes as usize)?;
        tracepoint(&mut programs)?.attach()?;
        Ok((Self { _programs: programs, _ring: ring }, reader))
    }
}

fn tracepoint(programs: &mut Ebpf) -> Result<&mut BtfTracePoint> {
    Ok(programs.program_mut(PROGRAM).context("the object has no program")?.try_into()?)
}
