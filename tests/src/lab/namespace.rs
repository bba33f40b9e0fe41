//! Namespaces kept by a sleeping process, and running programs inside them.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
    ptr,
};

use super::{
    error::{LabError, Result, file},
    process::{self, Process},
};

/// What the first process of a host does before it sleeps for ever.
#[derive(Debug, Clone)]
pub struct HostSetup {
    /// Host name inside.
    pub hostname: String,
    /// A folder that becomes `/etc/docker` inside, so that each host has a configuration of its own.
    pub etc_docker: PathBuf,
}

/// Makes a network namespace, held by the returned process.
pub fn create_network(log: &Path) -> Result<Process> {
    let mut command = holder();
    // SAFETY: the closure only makes one system call without pointers.
    unsafe {
        command.pre_exec(|| check(libc::unshare(libc::CLONE_NEWNET)));
    }
    process::start(&mut command, log)
}

/// Makes network, mount and UTS namespaces with an empty `/run`, held by the returned process.
pub fn create_host(setup: &HostSetup, log: &Path) -> Result<Process> {
    let mut command = holder();
    let hostname = cstring(setup.hostname.as_bytes());
    let (etc_docker, target) = (cstring(setup.etc_docker.as_os_str().as_bytes()), c"/etc/docker");
    // SAFETY: the closure makes system calls on C strings that it owns and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS))?;
            mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
            mount(Some(c"tmpfs"), c"/run", Some(c"tmpfs"), 0)?;
            mount(Some(&etc_docker), target, None, libc::MS_BIND)?;
            check(libc::sethostname(hostname.as_ptr(), hostname.as_bytes().len()))
        });
    }
    process::start(&mut command, log)
}

fn holder() -> Command {
    let mut command = Command::new("sleep");
    command.arg("infinity").current_dir("/");
    command
}

/// A command that runs inside the namespaces of `holder`, in our working directory.
///
/// A relative path to the program is resolved outside.
pub fn command(holder: &Process, program: impl AsRef<OsStr>, with_mounts: bool) -> Result<Command> {
    let mut kinds = vec!["net"];
    if with_mounts {
        // The mount namespace comes last: entering it changes what paths mean.
        kinds.extend(["uts", "mnt"]);
    }
    let namespaces = kinds
        .into_iter()
        .map(|kind| {
            let path = format!("/proc/{}/ns/{kind}", holder.pid);
            File::open(&path).map_err(file("cannot open", path))
        })
        .collect::<Result<Vec<_>>>()?;
    if !holder.alive() {
        return Err(LabError::Damaged { dir: PathBuf::new(), what: format!("process {} has ended", holder.pid) });
    }
    let program = program.as_ref();
    let absolute = if program.as_bytes().contains(&b'/') {
        std::path::absolute(program).map_err(file("cannot resolve", program))?
    } else {
        PathBuf::from(program)
    };
    let here = std::env::current_dir().map_or_else(|_| cstring(b"/"), |dir| cstring(dir.as_os_str().as_bytes()));
    let mut command = Command::new(absolute);
    // SAFETY: the closure makes system calls on descriptors and a string that it owns and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for namespace in &namespaces {
                check(libc::setns(namespace.as_raw_fd(), 0))?;
            }
            // Entering a mount namespace moves us to its root.
            check(libc::chdir(here.as_ptr())).or_else(|_| check(libc::chdir(c"/".as_ptr())))
        });
    }
    Ok(command)
}

fn mount(from: Option<&std::ffi::CStr>, to: &std::ffi::CStr, kind: Option<&std::ffi::CStr>, flags: u64) -> io::Result<()> {
    let pointer = |text: Option<&std::ffi::CStr>| text.map_or(ptr::null(), std::ffi::CStr::as_ptr);
    // SAFETY: every pointer is null or a C string that lives through the call; no file system here takes data.
    check(unsafe { libc::mount(pointer(from), to.as_ptr(), pointer(kind), flags, ptr::null()) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn cstring(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("paths and names hold no zero byte")
}

/// Every process in the mount namespace of `holder`, the holder last. Other processes cannot be there: the namespace is ours alone.
pub fn members(holder: &Process) -> Vec<Process> {
    let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    if !holder.alive() {
        return Vec::new();
    }
    let Some(ours) = space(holder.pid) else { return Vec::new() };
    let mut members: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != holder.pid && space(*pid).as_ref() == Some(&ours))
        .filter_map(|pid| Process::of(pid).ok())
        .collect();
    members.push(*holder);
    members
}
