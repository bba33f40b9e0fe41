//! What in a container's configuration cannot be moved, by name.

use serde_json::Value;

/// Files that Docker itself makes for every container and makes again on the target.
const DOCKER_FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/// Namespaces that a movable container has for itself.
const NAMESPACES: [(&str, &str); 5] =
    [("pid", "process"), ("network", "network"), ("ipc", "IPC"), ("mount", "mount"), ("uts", "UTS")];

/// Reasons against moving a container with this `config.json`. None: it can be moved as far as this shows.
pub(super) fn reasons(config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if config["process"]["terminal"].as_bool() == Some(true) {
        found.push("it has a terminal (docker run -t)".to_owned());
    }
    mounts(config, &mut found);
    namespaces(config, &mut found);
    let linux = &config["linux"];
    for device in list(&linux["devices"]) {
        found.push(format!("device {}", text(&device["path"])));
    }
    if list(&linux["resources"]["devices"]).iter().any(allows_every_device) {
        found.push("it is privileged".to_owned());
    }
    if !list(&linux["uidMappings"]).is_empty() {
        found.push("it has a user namespace".to_owned());
    }
    if let Some(sysctl) = linux["sysctl"].as_object() {
        found.extend(sysctl.keys().filter(|key| is_ours(key)).map(|key| format!("sysctl {key}, which a move needs")));
    }
    found
}

fn mounts(config: &Value, found: &mut Vec<String>) {
    for mount in list(&config["mounts"]) {
        let bind = text(&mount["type"]) == "bind"
            || list(&mount["options"]).iter().any(|option| matches!(option.as_str(), Some("bind" | "rbind")));
        let at = text(&mount["destination"]);
        if bind && !DOCKER_FILES.contains(&at) && !is_own_shm(at, text(&mount["source"])) {
            found.push(format!("volume {at}"));
        }
    }
}

/// Docker mounts a container's own /dev/shm from a folder that it makes for it.
fn is_own_shm(at: &str, source: &str) -> bool {
    at == "/dev/shm" && source.ends_with("/mounts/shm")
}

fn namespaces(config: &Value, found: &mut Vec<String>) {
    let given = list(&config["linux"]["namespaces"]);
    for (kind, word) in NAMESPACES {
        match given.iter().find(|namespace| text(&namespace["type"]) == kind) {
            None => found.push(format!("it shares the host's {word} namespace")),
            Some(namespace) if !text(&namespace["path"]).is_empty() => {
                found.push(format!("it joins another's {word} namespace ({})", text(&namespace["path"])));
            }
            Some(_) => {}
        }
    }
}

/// `--privileged`: all kinds, all numbers, all accesses.
fn allows_every_device(rule: &Value) -> bool {
    let any = |key: &str| rule[key].as_i64().is_none_or(|number| number < 0);
    rule["allow"].as_bool() == Some(true) && matches!(text(&rule["type"]), "" | "a") && any("major") && any("minor")
}

/// Settings that the wrapper makes itself to keep a replica silent.
fn is_ours(key: &str) -> bool {
    key.starts_with("net.") && (key.ends_with(".arp_ignore") || key.ends_with(".disable_ipv6"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What matters of the `config.json` that Docker 20.10 writes for `docker run busybox`.
    fn plain() -> Value {
        json!({
            "process": {"terminal": false},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
                {"destination": "/dev/shm", "type": "bind", "source": "/var/lib/docker/containers/4f/mounts/shm",
                 "options": ["rbind"]},
                {"destination": "/etc/hosts", "type": "bind", "source": "/var/lib/docker/containers/4f/hosts",
                 "options": ["rbind"]},
            ],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}],
                "resources": {"devices": [
                    {"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                    {"allow": true, "type": "c", "minor": -1, "major": -1, "access": "m"},
                ]},
            },
        })
    }

    #[test]
    fn a_plain_container_has_no_reason() {
        assert_eq!(reasons(&plain()), Vec::<String>::new());
    }

    #[test]
    fn each_obstacle_is_named() {
        let with = |path: &str, value: Value| {
            let mut config = plain();
            *config.pointer_mut(path).unwrap() = value;
            reasons(&config).join("; ")
        };
        assert_eq!(with("/process/terminal", json!(true)), "it has a terminal (docker run -t)");
        let volume = json!({"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "rw"]});
        assert_eq!(with("/mounts/0", volume), "volume /data");
        let shm = json!({"destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": ["rbind"]});
        assert_eq!(with("/mounts/2", shm), "volume /dev/shm");
        assert_eq!(
            with("/linux/namespaces/1", json!({"type": "network", "path": "/proc/7/ns/net"})),
            "it joins another's network namespace (/proc/7/ns/net)"
        );
        assert_eq!(with("/linux/namespaces/3", json!({"type": "cgroup"})), "it shares the host's process namespace");
        assert_eq!(with("/linux/resources/devices/0", json!({"allow": true, "access": "rwm"})), "it is privileged");
    }

    #[test]
    fn devices_and_the_wrapper_s_own_sysctls_are_named() {
        let mut config = plain();
        config["linux"]["devices"] = json!([{"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232}]);
        config["linux"]["sysctl"] = json!({"net.ipv4.conf.all.arp_ignore": "0", "net.core.somaxconn": "10"});
        assert_eq!(reasons(&config), ["device /dev/kvm", "sysctl net.ipv4.conf.all.arp_ignore, which a move needs"]);
    }
}
