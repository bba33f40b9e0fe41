//! What others would write down of the same load: strace all system calls, tcpdump all packets. Both on a container that is not
//! recorded, in runs of their own, for they slow it down.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{
    containers::{ADDRESS, Stage},
    load,
    pairs::Mode,
    traces,
    workloads::{Load, Workload},
};

/// A tool is at work, and ends when it is told to, within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Seconds of load: what they write is large.
const SECONDS: u32 = 1;

/// Bytes per unit of the load; none where the tool is not there or has nothing to see.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Peers {
    /// `strace -f -ttt -s 65536`: every call of every process, strings in full.
    pub strace_bytes_per_unit: Option<f64>,
    /// `tcpdump -s 0 -w`: every packet to and from the container.
    pub pcap_bytes_per_unit: Option<f64>,
    /// Packets that tcpdump was too slow for: the true figure is higher by their part.
    pub pcap_dropped: u64,
}

/// Runs the workload under each. What cannot be had is said on standard error.
pub fn measure(stage: &mut Stage, workload: &Workload) -> Peers {
    let mut peers = Peers::default();
    match strace(stage, workload) {
        Ok(bytes) => peers.strace_bytes_per_unit = Some(bytes),
        Err(error) => eprintln!("{}: no figure for strace: {error:#}", workload.name),
    }
    if !matches!(workload.load, Load::Batch { .. }) {
        match pcap(stage, workload) {
            Ok((bytes, dropped)) => (peers.pcap_bytes_per_unit, peers.pcap_dropped) = (Some(bytes), dropped),
            Err(error) => eprintln!("{}: no figure for tcpdump: {error:#}", workload.name),
        }
    }
    peers
}

fn strace(stage: &mut Stage, workload: &Workload) -> Result<f64> {
    let container = stage.start(workload, Mode::Plain, load::amount(workload.load, SECONDS))?;
    let warm = load::warm_up(stage, workload)?;
    let output = stage.lab.dir.join("strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-ttt", "-s", "65536", "-o"]).arg(&output);
    for pid in traces::processes(&container.cgroup) {
        command.args(["-p", &pid.to_string()]);
    }
    let mut tool = Tool::start(command.stderr(Stdio::null()))?;
    let status = format!("/proc/{}/status", container.pid);
    let traced =
        || fs::read_to_string(&status).is_ok_and(|text| text.lines().any(|line| line == format!("TracerPid:\t{}", tool.id())));
    eventually(traced).context("strace does not attach")?;
    let done = load::measure(stage, workload, SECONDS, warm)?;
    tool.stop()?;
    let bytes = size(&output)?;
    fs::remove_file(&output).with_context(|| format!("removing {}", output.display()))?;
    Ok(bytes as f64 / done.count)
}

/// Bytes per unit, and packets dropped.
fn pcap(stage: &mut Stage, workload: &Workload) -> Result<(f64, u64)> {
    let _container = stage.start(workload, Mode::Plain, 0)?;
    let warm = load::warm_up(stage, workload)?;
    let mut command = stage.lab.client("tcpdump")?;
    command.args(["-i", "eth0", "-s", "0", "-B", "65536", "-w", "-", "host", ADDRESS]);
    let mut tool = Tool::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let mut packets = tool.0.stdout.take().context("tcpdump has no output")?;
    let mut words = BufReader::new(tool.0.stderr.take().context("tcpdump has no standard error")?);
    let count = thread::spawn(move || {
        let (mut bytes, mut buffer) = (0u64, vec![0; 1 << 20]);
        // A packet file ends with its writer.
        while let Ok(got @ 1..) = packets.read(&mut buffer) {
            bytes += got as u64;
        }
        bytes
    });
    let mut said = String::new();
    words.read_line(&mut said)?;
    if !said.contains("listening") {
        bail!("tcpdump said {said:?}");
    }
    let done = load::measure(stage, workload, SECONDS, warm)?;
    tool.stop()?;
    words.read_to_string(&mut said)?;
    let Ok(bytes) = count.join() else { bail!("the count of tcpdump's bytes failed") };
    let dropped = said.lines().find_map(|line| line.strip_suffix(" packets dropped by kernel"));
    Ok((bytes as f64 / done.count, dropped.and_then(|count| count.parse().ok()).unwrap_or(0)))
}

/// A running tool; killed when it is dropped.
struct Tool(Child);

impl Tool {
    fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().display().to_string();
        Ok(Self(command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to write what it has and to end.
    fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id())?;
        // SAFETY: kill takes two integers; the child has not been waited for, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        eventually(|| self.0.try_wait().is_ok_and(|status| status.is_some())).context("the tool does not end")
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It has mostly ended by now.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len())
}

fn eventually(mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            bail!("not within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
