//! The bundle's `config.json`, edited so that the container is deterministic. Source: OCI runtime specification 1.0.

use super::RuntimeError;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// System calls that answer ENOSYS, so that programs take their other way. io_uring works without calls that could be
/// logged; rseq makes the kernel write the CPU's number to user memory at any moment.
const HIDDEN: [&str; 4] = ["io_uring_setup", "io_uring_enter", "io_uring_register", "rseq"];

const ENOSYS: u32 = 38;

/// A `config.json` in memory. Fields that nobody here knows are kept.
#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    value: Value,
}

impl Config {
    /// Reads `config.json` in the folder `bundle`.
    pub(super) fn read(bundle: &Path) -> Result<Self, RuntimeError> {
        let path = bundle.join("config.json");
        let failed = |source| RuntimeError::File { action: "read", path: path.clone(), source };
        let value: Value = serde_json::from_slice(&std::fs::read(&path).map_err(failed)?)
            .map_err(|error| RuntimeError::Format { path: path.clone(), why: error.to_string() })?;
        if !value.is_object() {
            return Err(RuntimeError::Format { path, why: "no object".into() });
        }
        Ok(Self { path, value })
    }

    /// What it says.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Writes it back. The file is replaced as a whole, with the mode that it had.
    pub(super) fn write(&self) -> Result<(), RuntimeError> {
        let write = || -> io::Result<()> {
            let new = self.path.with_extension("json.migrate");
            std::fs::write(&new, serde_json::to_vec(&self.value)?)?;
            std::fs::set_permissions(&new, std::fs::metadata(&self.path)?.permissions())?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(|source| RuntimeError::File { action: "write", path: self.path.clone(), source })
    }

    /// The hidden system calls answer ENOSYS, and calls of other architectures (i386, x32), which have numbers of their own,
    /// end the process.
    ///
    /// The names are taken out of the rules that were there: libseccomp keeps the first rule without conditions and refuses
    /// a second with another action, so rules cannot be overruled by ones in front of them.
    pub(super) fn hide_calls(&mut self) {
        let hide = json!({"names": HIDDEN, "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS});
        let linux = object(&mut self.value, "linux");
        let seccomp = object(linux, "seccomp");
        if seccomp.get("defaultAction").is_none() {
            seccomp["defaultAction"] = "SCMP_ACT_ALLOW".into();
        }
        seccomp["architectures"] = json!(["SCMP_ARCH_X86_64"]);
        let rules = array(seccomp, "syscalls");
        for rule in rules.iter_mut() {
            if let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) {
                names.retain(|name| !name.as_str().is_some_and(|name| HIDDEN.contains(&name)));
            }
        }
        rules.retain(|rule| rule.get("names").and_then(Value::as_array).is_none_or(|names| !names.is_empty()));
        rules.insert(0, hide);
    }

    /// Adds a replica's hooks: `quiet` before all others, so before there are interfaces; `mute` behind all others, so when
    /// there are. `program` is this program, `socket` the agent's.
    pub(super) fn add_hooks(&mut self, program: &Path, socket: &Path) {
        let program = program.to_string_lossy();
        let quiet = json!({"path": program, "args": ["migrate", "runtime-hook", "quiet"], "timeout": 30});
        let socket = socket.to_string_lossy();
        let mute = json!({"path": program, "args": ["migrate", "runtime-hook", "mute", "--agent-socket", socket], "timeout": 30});
        let hooks = object(&mut self.value, "hooks");
        let before = array(hooks, "prestart");
        if before.first() != Some(&quiet) {
            before.insert(0, quiet);
        }
        // runc runs createRuntime behind all of prestart, in the same place.
        let after = array(hooks, "createRuntime");
        if after.last() != Some(&mute) {
            after.push(mute);
        }
    }
}

/// The object at `key`, made if it is missing or null.
fn object<'a>(of: &'a mut Value, key: &str) -> &'a mut Value {
    let value = &mut of[key];
    if !value.is_object() {
        *value = json!({});
    }
    value
}

/// The array at `key`, made if it is missing or null.
fn array<'a>(of: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    let value = &mut of[key];
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut().expect("it was just made one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(value: Value) -> Config {
        Config { path: "/nowhere".into(), value }
    }

    fn rules(config: &Config) -> &Vec<Value> {
        config.value["linux"]["seccomp"]["syscalls"].as_array().unwrap()
    }

    #[test]
    fn hidden_calls_leave_every_other_rule() {
        let mut config = config(json!({"linux": {"seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["read", "rseq", "io_uring_setup"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["io_uring_enter"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        ]}}}));
        config.hide_calls();
        let seen = rules(&config).clone();
        assert_eq!(seen[0]["errnoRet"], 38);
        assert_eq!(seen[0]["names"], json!(HIDDEN));
        assert_eq!(seen[1]["names"], json!(["read"]));
        assert_eq!(seen[2]["names"], json!(["clone"]));
        assert_eq!(seen.len(), 3);
        assert_eq!(config.value["linux"]["seccomp"]["architectures"], json!(["SCMP_ARCH_X86_64"]));
        assert_eq!(config.value["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    }

    #[test]
    fn a_container_without_a_profile_gets_one_that_allows_the_rest() {
        for mut config in [config(json!({})), config(json!({"linux": {"seccomp": null}}))] {
            config.hide_calls();
            assert_eq!(config.value["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ALLOW");
            assert_eq!(rules(&config).len(), 1);
        }
    }

    #[test]
    fn editing_twice_is_editing_once() {
        let mut config = config(json!({"hooks": {"prestart": [{"path": "/libnetwork"}], "createRuntime": [{"path": "/x"}]}}));
        let edit = |config: &mut Config| {
            config.hide_calls();
            config.add_hooks(Path::new("/bin/migrate"), Path::new("/s"));
            config.value.clone()
        };
        let once = edit(&mut config);
        assert_eq!(edit(&mut config), once);
        let hooks = &once["hooks"];
        assert_eq!(hooks["prestart"][0]["args"][2], "quiet");
        assert_eq!(hooks["prestart"][1]["path"], "/libnetwork");
        assert_eq!(hooks["createRuntime"][0]["path"], "/x");
        assert_eq!(hooks["createRuntime"][1]["args"], json!(["migrate", "runtime-hook", "mute", "--agent-socket", "/s"]));
    }

    #[test]
    fn unknown_fields_and_the_file_s_mode_survive() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, r#"{"ociVersion":"1.0.2","future":{"x":[1]}}"#).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let mut config = Config::read(folder.path()).unwrap();
        config.hide_calls();
        config.write().unwrap();
        assert_eq!(Config::read(folder.path()).unwrap().value()["future"], json!({"x": [1]}));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        std::fs::write(&path, "[]").unwrap();
        assert!(Config::read(folder.path()).unwrap_err().to_string().contains("no object"));
    }
}
