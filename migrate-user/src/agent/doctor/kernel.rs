//! The kernel's part.

use crate::agent::api::Check;
use crate::clocks;
use crate::probe::{Options, Recorder, kernel_offsets};
use crate::sys::cgroup::{Cgroup, CgroupError};
use crate::sys::pagemap::{PAGE_BYTES, Pagemap, Wanted, category};
use crate::sys::pidfd::PidFd;
use crate::sys::release::{self, version};
use crate::sys::userfaultfd::Userfaultfd;
use crate::sys::{personality, tcp_repair};
use migrate_common::syscalls::KERNEL;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::io;

/// The oldest release that has everything: `bpf_loop` is the youngest, 5.17.
const OLDEST: (u32, u32) = (5, 17);

const ROOT: &str = "run it as root, in a container with --privileged and --pid host";

pub(super) fn checks() -> Vec<Check> {
    vec![
        root(),
        release(),
        types(),
        probes(),
        freezer(),
        tried("time namespace", in_thread(time_namespace), "use a kernel with CONFIG_TIME_NS"),
        tried("fixed addresses", fixed_addresses(), "allow personality(2): it is refused here, by a seccomp profile most likely"),
        tried("last pid", last_pid(), "use a kernel with CONFIG_CHECKPOINT_RESTORE and a writable /proc/sys"),
        tried("pidfd_getfd", pidfd(), ROOT),
        tried("tcp repair", repair(), "give it CAP_NET_ADMIN; use a kernel with CONFIG_CHECKPOINT_RESTORE"),
        ptrace_scope(),
        clock_reads(),
        comparison(),
    ]
}

fn tried(name: &str, result: io::Result<()>, remedy: &str) -> Check {
    match result {
        Ok(()) => Check::ok(name, "works"),
        Err(error) => Check::fail(name, error.to_string(), remedy),
    }
}

/// On a thread of its own, whose namespaces end with it.
fn in_thread(work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| Err(io::Error::other("the check failed inside")))
}

fn root() -> Check {
    match nix::unistd::geteuid() {
        uid if uid.is_root() => Check::ok("root", "yes"),
        uid => Check::fail("root", format!("user {uid}"), "run it as root"),
    }
}

fn release() -> Check {
    const NAME: &str = "kernel";
    let release = release::name();
    let wanted = format!("use Linux {}.{} or later", OLDEST.0, OLDEST.1);
    match version(&release) {
        None => Check::warn(NAME, format!("{release}, which is no version"), wanted),
        Some(found) if found < OLDEST => Check::fail(NAME, release, wanted),
        Some(found) if Some(found) > version(KERNEL) => Check::warn(
            NAME,
            format!("{release}; the system call table is Linux {KERNEL}'s"),
            "nothing to do: a container that makes a call that is newer cannot be moved",
        ),
        Some(_) => Check::ok(NAME, release),
    }
}

fn types() -> Check {
    match kernel_offsets() {
        Ok(_) => Check::ok("kernel types", "every field that the recorder reads is in BTF"),
        Err(error) => Check::fail("kernel types", error.to_string(), "use a kernel with CONFIG_DEBUG_INFO_BTF"),
    }
}

fn probes() -> Check {
    match Recorder::load(Options { ring_bytes: 1 << 16, ..Options::default() }) {
        Ok(_) => Check::ok("probes", "they load and attach"),
        Err(error) => {
            Check::fail("probes", error.to_string(), format!("{ROOT}; a kernel in confidentiality lockdown refuses them"))
        }
    }
}

fn freezer() -> Check {
    const NAME: &str = "freezer";
    let freeze = || -> Result<std::time::Duration, CgroupError> {
        let path = Cgroup::mount()?.join(format!("migrate-doctor-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|source| CgroupError::Io { action: "make", path: path.clone(), source })?;
        let freezer = Cgroup::at(&path).freezer();
        let took = freezer.freeze().and_then(|took| freezer.thaw().map(|_| took));
        let removed = std::fs::remove_dir(&path);
        let took = took?;
        removed.map_err(|source| CgroupError::Io { action: "remove", path, source })?;
        Ok(took)
    };
    match freeze() {
        Ok(_) => Check::ok(NAME, "cgroup v2 freezes and thaws"),
        Err(error @ CgroupError::NotMounted) => Check::fail(NAME, error.to_string(), "mount the cgroup v2 tree"),
        Err(error) => Check::fail(NAME, error.to_string(), format!("{ROOT}; Linux 5.2 or later")),
    }
}

/// The thread itself stays where it is: its children would not.
fn time_namespace() -> io::Result<()> {
    Ok(unshare(CloneFlags::from_bits_retain(libc::CLONE_NEWTIME))?)
}

fn fixed_addresses() -> io::Result<()> {
    let mut command = std::process::Command::new("/bin/true");
    let status = personality::without_aslr(&mut command).status();
    match status {
        // Whether there is a /bin/true does not matter: personality(2) came first and worked.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn last_pid() -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open("/proc/sys/kernel/ns_last_pid").map(drop)
}

fn pidfd() -> io::Result<()> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let (read, _write) = nix::unistd::pipe()?;
    PidFd::open(own)?.get(std::os::fd::AsRawFd::as_raw_fd(&read)).map(drop)
}

fn repair() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    tcp_repair::on(&socket)
}

/// Without it clock reads are recorded as calls.
fn clock_reads() -> Check {
    const NAME: &str = "clock reads";
    match clocks::obstacle() {
        None => Check::ok(NAME, "recorded without a system call where tasks take turns"),
        Some(why) => Check::warn(
            NAME,
            format!("system calls when recorded: {why}"),
            "nothing has to be done: programs that read clocks often are slower",
        ),
    }
}

/// Without it containers are moved all the same.
fn comparison() -> Check {
    const NAME: &str = "memory comparison";
    let any = Wanted { all_of: 0, any_of: category::PRESENT, none_of: 0, protect: false };
    let scanned = i32::try_from(std::process::id())
        .map_err(io::Error::other)
        .and_then(|own| Pagemap::open(own)?.scan(0, PAGE_BYTES, any, |_| {}));
    if let Err(error) = scanned {
        return Check::warn(
            NAME,
            format!("pages cannot be looked for: {error}"),
            "use Linux 6.7 or later, or `migrate move --verify off`",
        );
    }
    match Userfaultfd::own() {
        Ok(_) => Check::ok(NAME, "pages are found, and writes to them tracked"),
        Err(error) => Check::warn(
            NAME,
            format!("writes to pages cannot be tracked: {error}"),
            "use a kernel with CONFIG_USERFAULTFD; without it all memory is hashed while the container stands still",
        ),
    }
}

fn ptrace_scope() -> Check {
    const NAME: &str = "ptrace";
    match std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if scope.trim() == "3" => {
            Check::fail(NAME, "switched off (kernel.yama.ptrace_scope is 3)", "boot with another kernel.yama.ptrace_scope")
        }
        Ok(scope) => Check::ok(NAME, format!("kernel.yama.ptrace_scope is {}", scope.trim())),
        Err(_) => Check::ok(NAME, "not restricted"),
    }
}
