//! Processes that outlive the program that started them, found again by pid and start time.

use std::{
    fs,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::error::{LabError, Result, file};

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

impl Process {
    /// The process that has `pid` now.
    pub fn of(pid: i32) -> io::Result<Self> {
        let (_, start_ticks) = stat(pid)?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether it still runs. A zombie does not.
    pub fn alive(&self) -> bool {
        stat(self.pid).is_ok_and(|(state, start)| start == self.start_ticks && state != 'Z' && state != 'X')
    }

    /// Sends a signal unless the process has ended.
    pub fn signal(&self, signal: i32) {
        if self.alive() {
            // SAFETY: kill takes two integers; the pid was compared with the start time just before.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// Waits until the process has ended; whether it did within `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.alive() {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // It may be a child of ours: leave no zombie.
        // SAFETY: waitpid with a null status only reaps; it fails harmlessly for a process that is not our child.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::WNOHANG) };
        true
    }

    /// Asks it to end, then forces it.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        self.signal(libc::SIGTERM);
        if self.wait(grace) {
            return Ok(());
        }
        self.kill()
    }

    /// Ends it without asking, and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.signal(libc::SIGKILL);
        if self.wait(Duration::from_secs(10)) { Ok(()) } else { Err(LabError::Unkillable { pid: self.pid }) }
    }
}

/// State letter and start time of a process.
fn stat(pid: i32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, blanks and parentheses included.
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "unreadable stat line");
    let mut fields = text.rsplit_once(") ").ok_or_else(broken)?.1.split(' ');
    let state = fields.next().and_then(|field| field.chars().next()).ok_or_else(broken)?;
    let start = fields.nth(18).and_then(|field| field.parse().ok()).ok_or_else(broken)?;
    Ok((state, start))
}

/// Starts a program that goes on when we end, with its output appended to `log`.
pub fn start(command: &mut Command, log: &Path) -> Result<Process> {
    let output = fs::OpenOptions::new().create(true).append(true).open(log).map_err(file("cannot open", log))?;
    let again = output.try_clone().map_err(file("cannot open", log))?;
    command.stdin(Stdio::null()).stdout(output).stderr(again);
    // SAFETY: setsid is async-signal-safe and takes no pointer.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let child = command.spawn().map_err(|source| LabError::Start { line: line(command), source })?;
    let pid = i32::try_from(child.id()).expect("a pid fits 31 bits");
    Process::of(pid).map_err(file("cannot read", format!("/proc/{pid}/stat")))
}

/// The command line as a person would type it.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// No command of the lab takes that long: one that hangs is a failure to be told, not to be waited for.
const OUTPUT_LIMIT: Duration = Duration::from_secs(120);

/// How a command ended and what it printed; `None` for the status when it had to be killed.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<ExitStatus>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a command to its end, or kills it after `limit`.
pub fn finish(command: &mut Command, limit: Duration) -> Result<Ended> {
    let line = line(command);
    let start = |source| LabError::Start { line: line.clone(), source };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(start)?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let end = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start)? {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill().and_then(|()| child.wait()).map_err(start)?;
            break None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    };
    Ok(Ended { status, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() })
}

/// Reads a pipe to its end in the background, so that it never fills.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth having.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// Runs a command to its end and returns its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let ended = finish(command, OUTPUT_LIMIT)?;
    if ended.status.is_some_and(|status| status.success()) {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let killed = || format!("killed: it did not end within {} s", OUTPUT_LIMIT.as_secs());
    Err(LabError::Failed {
        line: line(command),
        status: ended.status.map_or_else(killed, |status| status.to_string()),
        stderr: String::from_utf8_lossy(&ended.stderr).trim().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time_as_well_as_its_pid() {
        let us = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(us.alive());
        assert!(!Process { start_ticks: us.start_ticks + 1, ..us }.alive());
    }

    #[test]
    fn a_command_that_hangs_is_killed_and_told() {
        let ended = finish(Command::new("sh").args(["-c", "echo begun; exec sleep 1000"]), Duration::from_millis(300)).unwrap();
        assert!(ended.status.is_none());
        assert_eq!(ended.stdout, b"begun\n");
    }

    #[test]
    fn a_stopped_child_leaves_no_zombie() {
        #[expect(clippy::zombie_processes, reason = "that stop reaps it is what is tested")]
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        process.stop(Duration::from_secs(5)).unwrap();
        assert!(!Path::new(&format!("/proc/{}", process.pid)).exists());
    }
}
