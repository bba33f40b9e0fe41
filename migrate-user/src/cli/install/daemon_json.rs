//! Docker's daemon.json.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The file's contents; keys keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DaemonJson {
    pub(super) value: Value,
}

impl DaemonJson {
    /// A file that is not there is an empty one, as for Docker.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        if text.trim().is_empty() {
            return Ok(Self { value: json!({}) });
        }
        let value: Value = serde_json::from_str(&text)?;
        if !value.is_object() {
            return Err(io::Error::other("it is no JSON object"));
        }
        Ok(Self { value })
    }

    /// Adds the runtime, or replaces what was there by its name.
    pub(super) fn register(&mut self, name: &str, runtime: Value) -> Result<(), String> {
        let runtimes = &mut self.value["runtimes"];
        if runtimes.is_null() {
            *runtimes = json!({});
        }
        match runtimes.as_object_mut() {
            Some(runtimes) => {
                runtimes.insert(name.to_owned(), runtime);
                Ok(())
            }
            None => Err("its \"runtimes\" is no object".into()),
        }
    }

    /// Takes the runtime away.
    pub(super) fn unregister(&mut self, name: &str) -> Result<(), String> {
        if self.value["default-runtime"] == name {
            return Err(format!("\"default-runtime\" is {name:?}: choose another first"));
        }
        if let Some(runtimes) = self.value.get_mut("runtimes").and_then(Value::as_object_mut) {
            runtimes.shift_remove(name);
            if runtimes.is_empty() {
                self.value.as_object_mut().map(|all| all.shift_remove("runtimes"));
            }
        }
        Ok(())
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        format!("{:#}\n", self.value)
    }

    /// Replaces the file as a whole; what was there is kept as `daemon.json.before-migrate`. Mode and owner stay.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let old = match std::fs::metadata(path) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let new = beside(".new");
        let mut file = File::create(&new)?;
        file.write_all(self.text().as_bytes())?;
        match &old {
            None => file.set_permissions(std::fs::Permissions::from_mode(0o644))?,
            Some(old) => {
                file.set_permissions(old.permissions())?;
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
                std::fs::copy(path, beside(".before-migrate"))?;
            }
        }
        file.sync_all()?;
        std::fs::rename(new, path)
    }
}

/// The lines that differ, with a sign before each, and up to three that do not around them.
pub(super) fn diff(old: &str, new: &str) -> String {
    const AROUND: usize = 3;
    let lines = changes(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let near =
        |at: usize| lines[at.saturating_sub(AROUND)..lines.len().min(at + AROUND + 1)].iter().any(|(sign, _)| *sign != ' ');
    let mut out = String::new();
    let mut skipping = false;
    for (at, (sign, line)) in lines.iter().enumerate() {
        if near(at) {
            out.push_str(&format!("{sign}{line}\n"));
        } else if !skipping {
            out.push_str("@@\n");
        }
        skipping = !near(at);
    }
    out
}

/// All lines of both, those of a longest common subsequence once. Quadratic: configuration files are short.
fn changes<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    // common[i][j]: how long the longest common subsequence of old[i..] and new[j..] is.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(('-', old[i]));
            i += 1;
        } else {
            out.push(('+', new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> DaemonJson {
        DaemonJson { value: serde_json::from_str(text).unwrap() }
    }

    #[test]
    fn other_settings_stay_in_their_order() {
        let mut json = parse(r#"{"storage-driver":"overlay2","debug":true,"runtimes":{"nvidia":{"path":"/n"}}}"#);
        json.register("migrate", json!({"path": "/m"})).unwrap();
        assert_eq!(
            json.value.to_string(),
            r#"{"storage-driver":"overlay2","debug":true,"runtimes":{"nvidia":{"path":"/n"},"migrate":{"path":"/m"}}}"#
        );
        json.unregister("migrate").unwrap();
        assert_eq!(json, parse(r#"{"storage-driver":"overlay2","debug":true,"runtimes":{"nvidia":{"path":"/n"}}}"#));
    }

    #[test]
    fn the_last_runtime_takes_the_key_with_it_and_a_default_is_not_pulled_away() {
        let mut json = parse(r#"{"runtimes":{"migrate":{}}}"#);
        json.unregister("migrate").unwrap();
        assert_eq!(json, parse("{}"));
        json.unregister("migrate").unwrap();
        let mut json = parse(r#"{"default-runtime":"migrate","runtimes":{"migrate":{}}}"#);
        assert!(json.unregister("migrate").unwrap_err().contains("default-runtime"));
        assert!(parse(r#"{"runtimes":7}"#).register("migrate", json!({})).is_err());
    }

    #[test]
    fn the_file_is_replaced_with_its_mode_and_kept_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker/daemon.json");
        let mut json = DaemonJson::read(&path).unwrap();
        json.register("migrate", json!({"path": "/m"})).unwrap();
        json.write(&path).unwrap();
        assert_eq!(DaemonJson::read(&path).unwrap(), json);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let before = json.text();
        json.unregister("migrate").unwrap();
        json.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(folder.path().join("docker/daemon.json.before-migrate")).unwrap(), before);
        std::fs::write(&path, "[1]").unwrap();
        assert!(DaemonJson::read(&path).is_err());
    }

    #[test]
    fn the_difference_shows_what_changes_and_a_little_around_it() {
        let old = "{\n  a\n  b\n  c\n  d\n  e\n}\n";
        let new = "{\n  a\n  b\n  c\n  d\n  x\n}\n";
        assert_eq!(diff(old, new), "@@\n   b\n   c\n   d\n-  e\n+  x\n }\n");
    }
}
