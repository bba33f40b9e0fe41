//! What of a container's configuration a move can carry. A closed list: what is not known is refused by name.

use super::Spec;
use serde_json::Value;

/// Parts of `HostConfig` that are given to the replica as they are.
pub(super) const COPIED: &[&str] = &[
    "Annotations",
    "AutoRemove",
    "CapAdd",
    "CapDrop",
    "CgroupParent",
    "CgroupnsMode",
    "CpuPeriod",
    "CpuQuota",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "IpcMode",
    "KernelMemory",
    "KernelMemoryTCP",
    "LogConfig",
    "MaskedPaths",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "NanoCpus",
    "NetworkMode",
    "OomKillDisable",
    "OomScoreAdj",
    "PidsLimit",
    "ReadonlyPaths",
    "ReadonlyRootfs",
    "RestartPolicy",
    "Runtime",
    "SecurityOpt",
    "ShmSize",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Ulimits",
];

/// Parts that say nothing about the container.
const IGNORED: &[&str] = &["ConsoleSize", "ContainerIDFile", "Isolation", "VolumeDriver"];

/// Parts that cannot be carried, and what they are called by people.
const REFUSED: &[(&str, &str)] = &[
    ("Binds", "bind mounts"),
    ("BlkioDeviceReadBps", "limits of a block device"),
    ("BlkioDeviceReadIOps", "limits of a block device"),
    ("BlkioDeviceWriteBps", "limits of a block device"),
    ("BlkioDeviceWriteIOps", "limits of a block device"),
    ("BlkioWeightDevice", "limits of a block device"),
    ("Cgroup", "another container's cgroup"),
    ("DeviceCgroupRules", "devices"),
    ("DeviceRequests", "devices"),
    ("Devices", "devices"),
    ("Init", "Docker's own init (--init)"),
    ("Links", "links to other containers"),
    ("Mounts", "mounts"),
    ("PidMode", "a process namespace that is not its own"),
    ("PortBindings", "published ports, which are its host's: give it an address of its own on a macvlan network"),
    ("Privileged", "all privileges (--privileged)"),
    ("PublishAllPorts", "published ports, which are its host's: give it an address of its own on a macvlan network"),
    ("UTSMode", "a UTS namespace that is not its own"),
    ("UsernsMode", "a user namespace mode"),
    ("VolumesFrom", "another container's volumes"),
];

/// Reasons against moving a container. None: the target can create the same one, as far as its configuration goes.
#[must_use]
pub fn check_supported(spec: &Spec) -> Vec<String> {
    let mut found: Vec<String> = spec.volumes.iter().map(|at| format!("volume {at}")).collect();
    config(&spec.config.0, &mut found);
    host(&spec.host.0, !spec.volumes.is_empty(), &mut found);
    networks(spec, &mut found);
    if spec.storage_driver != "overlay2" {
        found.push(format!("storage driver {}: only overlay2's layers can be moved", spec.storage_driver));
    }
    found
}

fn config(config: &Value, found: &mut Vec<String>) {
    if config["Tty"] == true {
        found.push("it has a terminal (docker run -t)".into());
    }
    if config["OpenStdin"] == true {
        found.push("its standard input is open (docker run -i)".into());
    }
    let health = config["Healthcheck"]["Test"].as_array().and_then(|test| test.first()).and_then(Value::as_str);
    if !matches!(health, None | Some("NONE" | "")) {
        found.push("it has a health check, which runs programs in it from outside (docker run --no-healthcheck)".into());
    }
}

fn host(host: &Value, volumes_named: bool, found: &mut Vec<String>) {
    for (key, value) in host.as_object().into_iter().flatten() {
        let key = key.as_str();
        if is_empty(value) || COPIED.contains(&key) || IGNORED.contains(&key) {
            continue;
        }
        match REFUSED.iter().find(|(name, _)| *name == key) {
            // Named one by one by where they are mounted.
            Some(("Binds" | "Mounts", _)) if volumes_named => {}
            Some((_, what)) => found.push(format!("it has {what}")),
            None => found.push(format!("its {key} is set, which this version cannot carry")),
        }
    }
    for key in ["IpcMode", "NetworkMode"] {
        let mode = host[key].as_str().unwrap_or_default();
        if mode == "host" || mode.starts_with("container:") {
            found.push(format!("its {key} is {mode}: that is not its own"));
        }
    }
    if let Some(sysctls) = host["Sysctls"].as_object() {
        let ours = |key: &&String| key.ends_with(".arp_ignore") || key.ends_with(".disable_ipv6");
        found.extend(sysctls.keys().filter(ours).map(|key| format!("sysctl {key}, which a move needs")));
    }
}

fn networks(spec: &Spec, found: &mut Vec<String>) {
    if spec.networks.len() > 1 {
        let names: Vec<_> = spec.networks.iter().map(|attachment| attachment.network.as_str()).collect();
        found.push(format!("it is on {} networks ({}): one can be moved", names.len(), names.join(", ")));
    }
    for attachment in &spec.networks {
        if attachment.network == "bridge" {
            found.push(
                "it is on Docker's default bridge, whose addresses cannot move: put it on a macvlan network that both hosts have"
                    .into(),
            );
        }
        if let Some(ip) = &attachment.ip6 {
            found.push(format!("it has the IPv6 address {ip}"));
        }
    }
}

/// Docker's ways to say nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => matches!(number.as_i64(), Some(0 | -1)),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attachment, Json};
    use super::*;
    use serde_json::json;

    /// What Docker 20.10 says of `docker run --runtime migrate --network lab busybox`.
    fn spec() -> Spec {
        let host = json!({
            "AutoRemove": false, "Binds": null, "BlkioDeviceReadBps": null, "BlkioWeight": 0, "BlkioWeightDevice": [],
            "CapAdd": null, "Cgroup": "", "CgroupnsMode": "host", "ConsoleSize": [0, 0], "ContainerIDFile": "",
            "CpuCount": 0, "Devices": [], "Dns": [], "Init": null, "IpcMode": "private", "Links": null,
            "LogConfig": {"Config": {}, "Type": "json-file"}, "MaskedPaths": ["/proc/kcore"], "MemorySwappiness": null,
            "NetworkMode": "lab", "PidMode": "", "PidsLimit": null, "PortBindings": {}, "Privileged": false,
            "PublishAllPorts": false, "ReadonlyPaths": ["/proc/sys"], "RestartPolicy": {"MaximumRetryCount": 0, "Name": "no"},
            "Runtime": "migrate", "SecurityOpt": null, "ShmSize": 67_108_864, "UTSMode": "", "UsernsMode": "",
            "VolumeDriver": "", "VolumesFrom": null,
        });
        Spec {
            storage_driver: "overlay2".into(),
            config: Json(json!({"Tty": false, "OpenStdin": false, "Cmd": ["sh"]})),
            host: Json(host),
            networks: vec![Attachment { network: "lab".into(), driver: "macvlan".into(), ..Attachment::default() }],
            ..Spec::default()
        }
    }

    #[test]
    fn a_plain_container_can_be_moved() {
        assert_eq!(check_supported(&spec()), Vec::<String>::new());
    }

    #[test]
    fn each_obstacle_is_named_and_so_is_what_is_not_known() {
        let with = |key: &str, value: Value| {
            let mut spec = spec();
            spec.host.0[key] = value;
            check_supported(&spec).join("; ")
        };
        assert_eq!(with("Privileged", json!(true)), "it has all privileges (--privileged)");
        assert_eq!(with("Devices", json!([{"PathOnHost": "/dev/kvm"}])), "it has devices");
        assert!(with("PortBindings", json!({"80/tcp": [{"HostPort": "8080"}]})).contains("published ports"));
        assert!(with("NetworkMode", json!("host")).contains("NetworkMode is host"));
        assert_eq!(with("TimeMachine", json!({"on": true})), "its TimeMachine is set, which this version cannot carry");
        assert_eq!(with("TimeMachine", json!({"on": false})), "");
    }

    #[test]
    fn a_bind_mount_is_named_once_by_its_place() {
        let mut spec = spec();
        spec.host.0["Binds"] = json!(["/srv:/data"]);
        spec.volumes = vec!["/data".into()];
        assert_eq!(check_supported(&spec), ["volume /data"]);
    }

    #[test]
    fn terminals_health_checks_and_foreign_networks_are_refused() {
        let mut spec = spec();
        spec.config.0 = json!({"Tty": true, "Healthcheck": {"Test": ["CMD", "true"]}});
        spec.networks[0] = Attachment { network: "bridge".into(), ip6: Some("fd00::2".into()), ..Attachment::default() };
        let found = check_supported(&spec);
        assert_eq!(found.len(), 4, "{found:?}");
        spec.config.0 = json!({"Healthcheck": {"Test": ["NONE"]}});
        spec.networks.clear();
        assert!(check_supported(&spec).is_empty());
    }
}
