//! A container without Docker: namespaces of its own, an overlay root on a tmpfs with `/guests` and `/busybox`, fixed addresses.
//! Its first task waits, set up but not yet in its image, until it is let go: as one that an OCI runtime has created.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use migrate::sys::cgroup::Cgroup;

/// Mounts, then waits for a line before it becomes the program.
const SETUP: &str = r#"
set -e
B="$1"; R="$2"; echo 0 >"$3"; shift 3
$B mount -t tmpfs none "$R/run"
cd "$R/run"
$B mkdir u w m
$B mount -t overlay -o "lowerdir=$R/base,upperdir=u,workdir=w" overlay m
$B mkdir -p m/proc m/dev m/tmp m/etc
$B mount -t proc proc m/proc
$B mount -t tmpfs dev m/dev
for d in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do $B mknod -m 666 m/dev/${d% *} c 1 ${d#* }; done
$B mkdir m/dev/shm
$B ip link set lo up
cd m
exec $B chroot . /busybox sh -c 'echo ready; read go; unset PWD OLDPWD SHLVL; exec "$@" </dev/null' sh "$@"
"#;

/// A prepared container.
pub struct Sandbox {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    root: PathBuf,
    /// First task, as the host numbers it.
    pub init: i32,
    pub cgroup: PathBuf,
    pub cgroup_id: u64,
}

/// The host's static busybox, if it is installed.
pub fn busybox() -> Option<&'static Path> {
    let path = Path::new("/bin/busybox");
    path.exists().then_some(path)
}

/// The calling process gets ENOSYS for rseq(2), as under the product's OCI runtime.
fn without_rseq() -> std::io::Result<()> {
    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }
    let rseq = libc::SYS_rseq as u32;
    let mut filter = [
        // The number is the first word of struct seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, rseq),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its instructions live until the call returns; the kernel copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

impl Sandbox {
    /// Sets a container up for `argv`, in which `/guests` is `guests`.
    pub fn new(guests: &Path, argv: &[&str]) -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("migrate-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cgroup = Cgroup::mount().map_err(std::io::Error::other)?.join(&name);
        std::fs::create_dir(&cgroup)?;
        let cgroup_id = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&cgroup)?);
        let root = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(root.join("base"))?;
        std::fs::create_dir_all(root.join("run"))?;
        std::fs::copy(guests, root.join("base/guests"))?;
        std::fs::copy("/bin/busybox", root.join("base/busybox"))?;
        let mut command = Command::new("unshare");
        command
            .args([
                "--pid",
                "--fork",
                "--mount",
                "--net",
                "--ipc",
                "--uts",
                "--kill-child",
                "setarch",
                "-R",
                "/bin/busybox",
                "sh",
                "-c",
            ])
            .args([SETUP, "setup", "/bin/busybox"])
            .arg(&root)
            .arg(cgroup.join("cgroup.procs"))
            .args(argv)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/sbin:/usr/sbin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // SAFETY: it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(without_rseq) };
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        assert_eq!(line, "ready\n", "the sandbox could not be set up");
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))?;
        let init = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Self { child, stdin, stdout, root, init, cgroup, cgroup_id })
    }

    /// Lets the first task enter its image.
    pub fn start(&mut self) -> std::io::Result<()> {
        self.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?.write_all(b"go\n")
    }

    /// Waits for the end: exit code (128 + signal if killed) and what was written to standard output.
    pub fn finish(&mut self) -> std::io::Result<(i32, Vec<u8>)> {
        let mut output = Vec::new();
        self.stdout.read_to_end(&mut output)?;
        let status = self.child.wait()?;
        let code = status.code().unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0));
        Ok((code, output))
    }

    /// Ends the container from another thread, or while its end is waited for.
    pub fn killer(&self) -> Killer {
        Killer(self.cgroup.clone())
    }
}

/// Ends a container's tasks.
pub struct Killer(PathBuf);

impl Killer {
    /// Kills every task in the container's cgroup.
    pub fn kill(&self) {
        // A container that has ended by itself needs none.
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its mounts ended with its namespaces: only the folder is left.
        let _ = std::fs::remove_dir_all(&self.root);
        for _ in 0..100 {
            if std::fs::remove_dir(&self.cgroup).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
