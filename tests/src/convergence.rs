//! `migrate record` and `migrate replay` in the lab: every guest converges, and a damaged log is refused with a clear error.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    images::Image,
    lab::{self, Host, LabError},
};

/// Longer than any guest takes; passed to the product, which ends the program then.
const LIMIT_S: &str = "100";
/// Longer than the product may take to notice that.
const PATIENCE: Duration = Duration::from_secs(115);

/// The names of the guests that run to an end by themselves, as the program lists them.
pub fn guests(program: &Path) -> Result<Vec<String>, LabError> {
    let list = lab::run_output(Command::new(program).arg("--list"))?;
    let named = list.lines().filter_map(|line| line.split_once('\t'));
    Ok(named.filter(|(_, family)| *family != "workload").map(|(name, _)| name.to_string()).collect())
}

/// What a recording is refused with that was made on a machine too busy to let the guest come to its next call.
const TOO_SLOW: &str = "computed for more than";
const TRIES: usize = 3;

/// Records a guest and replays it, with the memory of its processes compared. What went wrong, if anything.
pub fn converges(host: &Host, guest: &str) -> Result<(), String> {
    let mut log = record(host, guest);
    for _ in 1..TRIES {
        match &log {
            Err(why) if why.contains(TOO_SLOW) => log = record(host, guest),
            _ => break,
        }
    }
    let file = log?;
    match replay(host, &file, true) {
        (Verdict::Converged, _) => Ok(()),
        (other, says) => Err(format!("{other:?}: {says}")),
    }
}

/// Records and replays a guest on a host whose agent changes a page of each replica at its end: the calls converge, and the comparison
/// of the memory must not.
pub fn proves(host: &Host, guest: &str) -> Result<(), String> {
    let file = recorded(host, guest)?;
    match (replay(host, &file, false), replay(host, &file, true)) {
        ((Verdict::Converged, _), (Verdict::Refused, _)) => Ok(()),
        (without, with) => Err(format!("without --verify {without:?}, with it {with:?}")),
    }
}

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Exit code 0 and the word of the report.
    Converged,
    /// An exit code that says so, and something for people to read.
    Refused,
    /// A signal, a panic's exit code, or nothing said.
    Crashed,
}

/// A way to spoil a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// One byte is another, at so many parts of 1000 of the length.
    Byte(usize),
    /// It ends after so many parts of 1000 of its length.
    Cut(usize),
}

impl Damage {
    /// What the tests try: the start (magic and version), the middle, the end, and in between.
    pub const ALL: [Self; 12] = [
        Self::Byte(0),
        Self::Byte(5),
        Self::Byte(20),
        Self::Byte(100),
        Self::Byte(333),
        Self::Byte(500),
        Self::Byte(900),
        Self::Byte(999),
        Self::Cut(0),
        Self::Cut(10),
        Self::Cut(500),
        Self::Cut(999),
    ];

    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Byte(part) => {
                let at = bytes.len() * part / 1000;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 0x41;
                }
            }
            Self::Cut(part) => bytes.truncate(bytes.len() * part / 1000),
        }
    }
}

/// Replays a damaged copy of a guest's log; it must be refused. What happened instead, if anything.
pub fn refuses(host: &Host, guest: &str, damage: Damage) -> Result<(), String> {
    let file = recorded(host, guest)?;
    let mut bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    damage.apply(&mut bytes);
    let spoilt = file.with_extension("spoilt");
    fs::write(&spoilt, &bytes).map_err(|error| format!("{}: {error}", spoilt.display()))?;
    match replay(host, &spoilt, false) {
        (Verdict::Refused, _) => Ok(()),
        (other, says) => Err(format!("{other:?}: {says}")),
    }
}

fn log_file(host: &Host, guest: &str) -> PathBuf {
    host.files.dir.join("logs").join(format!("{guest}.log"))
}

/// The guest's log, which another test may have made.
fn recorded(host: &Host, guest: &str) -> Result<PathBuf, String> {
    let file = log_file(host, guest);
    if file.exists() { Ok(file) } else { record(host, guest) }
}

fn record(host: &Host, guest: &str) -> Result<PathBuf, String> {
    let file = log_file(host, guest);
    let folder = file.parent().expect("it is in a folder");
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = host.migrate().map_err(|error| error.to_string())?;
    command.arg("record").arg("--json").args(["--timeout", LIMIT_S]).arg("--out").arg(&file);
    command.arg(Image::Guests.tag()).args(["/guests", guest]);
    let report = lab::run_output(&mut command).map_err(|error| format!("record: {error}"))?;
    let report = last_line(&report);
    match report["exit_code"].as_i64() {
        Some(0) => Ok(file),
        code => Err(format!("the guest itself ended with {code:?}: {}", report["stderr"].as_str().unwrap_or_default().trim())),
    }
}

fn replay(host: &Host, file: &Path, verify: bool) -> (Verdict, String) {
    let run = host.migrate().and_then(|mut command| {
        command.arg("replay").args(verify.then_some("--verify"));
        lab::run_to_end(command.arg("--json").args(["--timeout", LIMIT_S]).arg(file), PATIENCE)
    });
    let output = match run {
        Ok(output) => output,
        Err(error) => return (Verdict::Crashed, error.to_string()),
    };
    let Some(status) = output.status else { return (Verdict::Crashed, "it does not end".to_string()) };
    let report = last_line(&String::from_utf8_lossy(&output.stdout));
    let differences =
        report["differences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
    let says = format!("{} {differences}", String::from_utf8_lossy(&output.stderr).trim());
    // Rust's panics end with 101.
    let crashed = status.signal().is_some() || status.code().is_none_or(|code| code == 101 || code >= 128);
    let verdict = match report["converged"] == true {
        true if status.success() => Verdict::Converged,
        false if !status.success() && !crashed && !says.trim().is_empty() => Verdict::Refused,
        _ => Verdict::Crashed,
    };
    (verdict, says.trim().to_string())
}

fn last_line(text: &str) -> Value {
    text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_changes_one_byte_or_the_length() {
        let whole: Vec<u8> = (0..=255).collect();
        for damage in Damage::ALL {
            let mut bytes = whole.clone();
            damage.apply(&mut bytes);
            let changed = bytes.iter().zip(&whole).filter(|(a, b)| a != b).count();
            match damage {
                Damage::Byte(_) => assert_eq!((bytes.len(), changed), (whole.len(), 1)),
                Damage::Cut(_) => assert!(bytes.len() < whole.len() && changed == 0),
            }
        }
    }
}
