//! The eBPF objects, embedded by the build script.

use super::ProbeError;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/objects.rs"));
}

/// The recorder's programs.
pub(super) fn recorder() -> Result<&'static [u8], ProbeError> {
    embedded::RECORDER.ok_or(ProbeError::NoObject("migrate-ebpf.o"))
}

/// The programs that silence a network device.
pub(super) fn mute() -> Result<&'static [u8], ProbeError> {
    embedded::MUTE.ok_or(ProbeError::NoObject("migrate-mute.o"))
}
