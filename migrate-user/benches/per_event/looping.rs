//! The program that is measured: a process in a cgroup of its own, pinned to a CPU, that makes one call over and over when asked.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Calls of one run.
pub const CALLS: u64 = 50_000;
/// Bytes that the reading call reads.
const READ_BYTES: usize = 64;

/// What is called.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// A call without input or output.
    Getppid,
    /// A call whose result is input: 64 bytes of a device.
    Read,
}

impl Call {
    pub const ALL: [Self; 2] = [Self::Getppid, Self::Read];

    pub fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Read => "read 64 B",
        }
    }
}

/// The running program.
#[derive(Debug)]
pub struct Loop {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    cgroup: PathBuf,
    /// The id that eBPF programs know its cgroup by.
    pub cgroup_id: u64,
}

impl Loop {
    /// Starts it, on the last of our CPUs; we ourselves keep to the others if there are any.
    pub fn start() -> Result<Self> {
        let cgroup = cgroup_root()?.join(format!("migrate-bench-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        let cgroup_id = fs::metadata(&cgroup)?.ino();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--looping", "--bare", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the loop")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { bail!("the loop has no pipes") };
        let guest = Self { input, output: BufReader::new(output), cgroup, cgroup_id, child };
        let pid = i32::try_from(guest.child.id())?;
        fs::write(guest.cgroup.join("cgroup.procs"), pid.to_string()).context("moving the loop into its cgroup")?;
        let allowed = sched_getaffinity(Pid::this())?;
        let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        let (mut theirs, mut ours) = (CpuSet::new(), CpuSet::new());
        let (last, others) = cpus.split_last().context("no CPU to run on")?;
        theirs.set(*last)?;
        sched_setaffinity(Pid::from_raw(pid), &theirs)?;
        if !others.is_empty() {
            others.iter().try_for_each(|cpu| ours.set(*cpu))?;
            sched_setaffinity(Pid::this(), &ours)?;
        }
        Ok(guest)
    }

    /// Makes the call [`CALLS`] times: nanoseconds of CPU time for each.
    pub fn run(&mut self, call: Call) -> Result<f64> {
        self.input.write_all(&[call as u8])?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let ns: u64 = line.trim().parse().with_context(|| format!("the loop said {line:?}"))?;
        Ok(ns as f64 / CALLS as f64)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // It may have ended by itself; the cgroup goes once the kernel has let go of its last task.
        drop(self.child.kill());
        drop(self.child.wait());
        for _ in 0..1000 {
            if fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        eprintln!("cannot remove {}", self.cgroup.display());
    }
}

fn cgroup_root() -> Result<PathBuf> {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
    roots.into_iter().find(|root| root.join("cgroup.controllers").exists()).context("no cgroup v2 tree")
}

/// The loop's own side: a byte on standard input says which call, the answer is a line of nanoseconds.
pub fn serve() -> Result<()> {
    let zero = fs::File::open("/dev/zero")?;
    let mut asked = [0];
    let mut input = std::io::stdin();
    while input.read(&mut asked)? == 1 {
        let begin = cpu_ns()?;
        match asked[0] {
            0 => (0..CALLS).for_each(|_| {
                std::hint::black_box(std::os::unix::process::parent_id());
            }),
            _ => {
                let mut buffer = [0; READ_BYTES];
                for _ in 0..CALLS {
                    (&zero).read_exact(&mut buffer)?;
                }
            }
        }
        println!("{}", cpu_ns()? - begin);
    }
    Ok(())
}

fn cpu_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}
