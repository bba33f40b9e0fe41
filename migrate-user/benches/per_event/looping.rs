//! The program that is measured: a process in a cgroup of its own, pinned to a CPU, that makes one call over and over when asked.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use migrate::sys::cgroup::Cgroup;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Calls of one run.
pub const CALLS: u64 = 50_000;
/// Bytes that the reading call reads.
const READ_BYTES: usize = 64;
/// What asks for an exec, beside the calls.
const EXEC: u8 = b'x';
/// Tell the loop where it is to run.
const CGROUP: &str = "PER_EVENT_CGROUP";
const CPU: &str = "PER_EVENT_CPU";

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
        let cgroup = Cgroup::mount()?.join(format!("migrate-bench-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        let cgroup_id = fs::metadata(&cgroup)?.ino();
        let allowed = sched_getaffinity(Pid::this())?;
        let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        let (last, others) = cpus.split_last().context("no CPU to run on")?;
        // The first process of a pid namespace: the recorder begins with its exec.
        let mut child = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--"])
            .arg(std::env::current_exe()?)
            .args(["--looping", "--bare", "-"])
            .env(CGROUP, &cgroup)
            .env(CPU, last.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the loop by unshare")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { bail!("the loop has no pipes") };
        if !others.is_empty() {
            let mut ours = CpuSet::new();
            others.iter().try_for_each(|cpu| ours.set(*cpu))?;
            sched_setaffinity(Pid::this(), &ours)?;
        }
        let mut guest = Self { input, output: BufReader::new(output), cgroup, cgroup_id, child };
        guest.answer()?;
        Ok(guest)
    }

    /// Makes it enter its image anew: a recorder records it from there on.
    pub fn exec(&mut self) -> Result<()> {
        self.input.write_all(&[EXEC])?;
        self.answer()?;
        Ok(())
    }

    /// Makes the call [`CALLS`] times: nanoseconds of CPU time for each.
    pub fn run(&mut self, call: Call) -> Result<f64> {
        self.input.write_all(&[call as u8])?;
        Ok(self.answer()? as f64 / CALLS as f64)
    }

    fn answer(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("the loop said {line:?}"))
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

/// The loop's own side: says 0 when it is ready, then a byte on standard input says what to do, and the answer is a line of
/// nanoseconds.
pub fn serve() -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    fs::write(PathBuf::from(variable(CGROUP)?).join("cgroup.procs"), "0").context("entering the cgroup")?;
    let mut cpu = CpuSet::new();
    cpu.set(variable(CPU)?.parse()?)?;
    sched_setaffinity(Pid::this(), &cpu)?;
    let zero = fs::File::open("/dev/zero")?;
    // Unbuffered: nothing is lost by an exec.
    let mut input = fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut asked = [0];
    println!("0");
    while input.read(&mut asked)? == 1 {
        if asked[0] == EXEC {
            let error = Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).exec();
            return Err(error).context("entering the image anew");
        }
        let begin = cpu_ns()?;
        if asked[0] == Call::Getppid as u8 {
            (0..CALLS).for_each(|_| {
                std::hint::black_box(std::os::unix::process::parent_id());
            });
        } else {
            let mut buffer = [0; READ_BYTES];
            for _ in 0..CALLS {
                (&zero).read_exact(&mut buffer)?;
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
