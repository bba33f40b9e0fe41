//! The lab's network: a bridge in a namespace of its own, a veth to each host and to the client, each end shaped by tbf.
//!
//! ```text
//!   h1 eth0 10.77.0.1 ───┐
//!   h2 eth0 10.77.0.2 ───┼── bridge mlab (no address, no way to the outside)
//!   cl eth0 10.77.0.100 ─┘
//! ```

use super::{
    error::Result,
    namespace,
    process::{self, Process},
};

/// The network that hosts, containers and the client share.
pub const SUBNET: &str = "10.77.0.0/24";
/// Nobody has this address: there is no way out.
pub const GATEWAY: &str = "10.77.0.254";
/// The client's address.
pub const CLIENT: &str = "10.77.0.100";

/// The rate of links that are not limited.
pub const UNLIMITED: &str = "unlimited";

const BRIDGE: &str = "mlab";

/// Runs `ip` or `tc` inside a network namespace.
fn tool(holder: &Process, words: &str) -> Result<()> {
    let mut words = words.split(' ');
    let program = words.next().unwrap_or_default();
    process::output(namespace::command(holder, program, false)?.args(words))?;
    Ok(())
}

/// Makes the bridge in the switch's namespace.
pub fn create_bridge(switch: &Process) -> Result<()> {
    tool(switch, "ip link set lo up")?;
    tool(switch, &format!("ip link add {BRIDGE} type bridge"))?;
    tool(switch, &format!("ip link set {BRIDGE} up"))
}

/// Connects a namespace to the bridge: `eth0` with `address`, both directions limited to `rate`.
pub fn attach(switch: &Process, member: &Process, name: &str, address: &str, rate: &str) -> Result<()> {
    let port = format!("p-{name}");
    tool(switch, &format!("ip link add {port} type veth peer name eth0 netns {}", member.pid))?;
    tool(switch, &format!("ip link set {port} master {BRIDGE} up"))?;
    tool(member, "ip link set lo up")?;
    tool(member, &format!("ip address add {address}/24 dev eth0"))?;
    tool(member, "ip link set eth0 up")?;
    set_rate(switch, member, name, rate)
}

/// Limits what a member's link carries in both directions; `unlimited` takes the limits away.
pub fn set_rate(switch: &Process, member: &Process, name: &str, rate: &str) -> Result<()> {
    shape(switch, &format!("p-{name}"), rate)?;
    shape(member, "eth0", rate)
}

/// Limits what a device sends. The burst holds a few of the kernel's largest packets (64 KB), the queue 50 ms.
fn shape(holder: &Process, device: &str, rate: &str) -> Result<()> {
    if rate == UNLIMITED {
        return tool(holder, &format!("tc qdisc replace dev {device} root pfifo_fast"));
    }
    tool(holder, &format!("tc qdisc replace dev {device} root tbf rate {rate} burst 256kb latency 50ms"))
}
