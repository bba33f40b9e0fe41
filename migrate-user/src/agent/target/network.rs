//! The replica's network, from silence to the container's.

use crate::agent::daemon::{DEVICE, has_device};
use crate::agent::errors::{Failure, text};
use crate::probe::mute::{Mute, MuteMode};
use crate::sys::{arp, enter_netns};
use std::net::IpAddr;

/// Everything passes, the kernel answers for the address again, and the neighbours learn where it is.
pub(super) fn open(id: &str, pid: i32) -> Result<(), Failure> {
    if !has_device(pid) {
        return Ok(());
    }
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).map_err(text)?;
    crate::container::runtime::unquiet(pid).map_err(text)?;
    let (mac, addresses) = enter_netns::within(&namespace, device_addresses).map_err(text)?;
    match Mute::reopen(id) {
        Ok(mut mute) => mute.set(MuteMode::Pass).map_err(text)?,
        Err(crate::probe::ProbeError::NoMute(_)) => {}
        Err(error) => return Err(error.to_string()),
    }
    if let Some(mac) = mac {
        arp::announce(&namespace, DEVICE, mac, &addresses).map_err(text)?;
    }
    Ok(())
}

/// MAC and addresses of the device, in the caller's network namespace.
fn device_addresses() -> (Option<[u8; 6]>, Vec<IpAddr>) {
    let mut mac = None;
    let mut addresses = Vec::new();
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return (mac, addresses) };
    for one in all.filter(|one| one.interface_name == DEVICE) {
        let Some(address) = one.address else { continue };
        if let Some(link) = address.as_link_addr() {
            mac = link.addr();
        } else if let Some(v4) = address.as_sockaddr_in() {
            addresses.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            addresses.push(IpAddr::V6(v6.ip()));
        }
    }
    (mac, addresses)
}
