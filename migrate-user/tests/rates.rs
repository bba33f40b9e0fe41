//! `migrate rates` on this machine's kernel: what it tells of known calls, and that nothing is left of it. Needs root and
//! eBPF; without them each test says that it was skipped.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use migrate::rates::sample::{Amounts, Mode};
use migrate::rates::targets::{self, Sources, Wanted};
use migrate::rates::{RatesError, Sample, Session, Settings};
use migrate::sys::cgroup::Cgroup;
use migrate_common::syscalls::{Group, GroupSet};

static ALONE: Mutex<()> = Mutex::new(());
/// Set in the guest: this program, called again.
const GUEST: &str = "RATES_TEST_GUEST";
const READS: u64 = 1000;
const READ_BYTES: usize = 64;
const GETPPIDS: u64 = 500;

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// The guest: for each byte of its standard input it makes a known number of calls, and then writes a byte.
extern "C" fn before_main() {
    if std::env::var_os(GUEST).is_none() {
        return;
    }
    let mut buffer = [0_u8; READ_BYTES];
    let at = buffer.as_mut_ptr().cast();
    // SAFETY: plain calls on descriptors of its own and on a buffer that is large enough for each.
    unsafe {
        let zero = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY);
        while libc::read(0, at, 1) == 1 {
            for _ in 0..READS {
                libc::read(zero, at, READ_BYTES);
            }
            for _ in 0..GETPPIDS {
                libc::syscall(libc::SYS_getppid);
            }
            libc::write(1, at, 1);
        }
        libc::_exit(0);
    }
}

/// A cgroup with a guest, in a cgroup below it if one is named. Both are removed at the end.
struct Guest {
    top: PathBuf,
    own: PathBuf,
    child: Child,
}

impl Guest {
    fn start(below: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let top = Cgroup::mount().unwrap().join(format!("migrate-rates-test-{}-{n}", std::process::id()));
        let own = top.join(below);
        fs::create_dir_all(&own).unwrap();
        let procs = own.join("cgroup.procs");
        let mut command = Command::new("/proc/self/exe");
        command.env(GUEST, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: the child writes a file before it execs, as it would after.
        unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
        let child = command.spawn().unwrap();
        let mut guest = Self { top, own, child };
        // It has come to its loop.
        guest.work();
        guest
    }

    /// Lets it make its calls once, and returns when it has.
    fn work(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        self.child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        // The kernel tells a call only of a task that no CPU runs: it sleeps in its read (number 0) of descriptor 0.
        let call = format!("/proc/{}/syscall", self.child.id());
        while !fs::read_to_string(&call).unwrap().starts_with("0 0x0 ") {
            std::thread::yield_now();
        }
    }

    fn attach(&self, mode: Mode, groups: GroupSet) -> Session {
        let found = targets::resolve(&[Wanted::Cgroup(self.top.clone())], &Sources::default()).unwrap();
        Session::attach(found, Settings { mode, groups, ring_bytes: 1 << 20, ..Settings::default() }).unwrap()
    }

    fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        // The kernel takes the cgroup from an ended task a moment later.
        for path in [self.own.clone(), self.top.clone()] {
            for _ in 0..1000 {
                if !path.exists() || fs::remove_dir(&path).is_ok() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

/// Skips a test where nothing can be measured.
macro_rules! needs_bpf {
    () => {
        // SAFETY: geteuid has no arguments.
        if unsafe { libc::geteuid() } != 0 || Cgroup::mount().is_err() || !Path::new("/sys/kernel/btf/vmlinux").exists() {
            eprintln!("skipped: needs root, a cgroup v2 tree and a kernel with BTF");
            return;
        }
        // One at a time: what one measurement leaves must not be another's.
        let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    };
}

fn call(sample: &Sample, group: Group, name: &str) -> Amounts {
    let group = sample.groups.iter().find(|sample| sample.group == group.name()).unwrap();
    group.calls.iter().find(|call| call.call == name).map(|call| call.amounts).unwrap_or_default()
}

/// Objects of eBPF that this process holds.
fn bpf_objects() -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("bpf")).count()
}

#[test]
fn a_known_loop_is_measured_exactly_captured_and_counted() {
    needs_bpf!();
    for mode in [Mode::Capture, Mode::Count] {
        let mut guest = Guest::start("");
        let mut session = guest.attach(mode, GroupSet::ALL);
        guest.work();
        let sample = session.sample().unwrap().remove(0);
        // The read of standard input that it was waiting in, and those of the loop.
        let read = call(&sample, Group::Read, "read");
        assert_eq!((read.events, read.input_bytes), (READS + 1, READS * READ_BYTES as u64 + 1), "{mode:?}");
        assert_eq!(
            call(&sample, Group::of(libc::SYS_getppid.try_into().unwrap(), migrate_common::record::Class::None), "getppid")
                .events,
            GETPPIDS
        );
        assert!(sample.lost.none(), "{:?}", sample.lost);
        match (mode, sample.total.log) {
            (Mode::Capture, Some(log)) => {
                assert!(log.raw_bytes > log.encoded_bytes && log.encoded_bytes > log.zstd_bytes && log.zstd_bytes > 0, "{log:?}");
            }
            (Mode::Count, None) => {}
            (mode, log) => panic!("{mode:?} {log:?}"),
        }
        guest.work();
        guest.work();
        let next = session.sample().unwrap().remove(0);
        assert_eq!(call(&next, Group::Read, "read").events, 2 * (READS + 1), "only what was since the sample before");
    }
}

#[test]
fn groups_that_nobody_asked_for_are_not_measured() {
    needs_bpf!();
    let mut guest = Guest::start("");
    let mut session = guest.attach(Mode::Capture, [Group::Read].into_iter().collect());
    guest.work();
    let sample = session.sample().unwrap().remove(0);
    assert_eq!((sample.groups.len(), sample.total.events, sample.lost.total()), (1, READS + 1, 0));
}

#[test]
fn cgroups_below_count_also_those_that_come_later() {
    needs_bpf!();
    let mut guest = Guest::start("inner");
    let mut session = guest.attach(Mode::Capture, GroupSet::ALL);
    guest.work();
    assert_eq!(call(&session.sample().unwrap()[0], Group::Read, "read").events, READS + 1);
    let later = guest.top.join("later");
    fs::create_dir(&later).unwrap();
    session.sample().unwrap();
    fs::write(later.join("cgroup.procs"), guest.child.id().to_string()).unwrap();
    guest.work();
    assert_eq!(call(&session.sample().unwrap()[0], Group::Read, "read").events, READS + 1);
    drop(session);
    fs::write(guest.own.join("cgroup.procs"), guest.child.id().to_string()).unwrap();
    fs::remove_dir(&later).unwrap();
}

#[test]
fn nothing_is_left_of_a_measurement_and_nobody_was_stopped() {
    needs_bpf!();
    let setting = || fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").unwrap();
    let mut guest = Guest::start("");
    let before = (setting(), fs::read_to_string(guest.top.join("cgroup.freeze")).unwrap());
    let switches = guest.status("voluntary_ctxt_switches:");
    let mut session = guest.attach(Mode::Capture, GroupSet::ALL);
    assert!(bpf_objects() > 0);
    assert_eq!((guest.status("TracerPid:").as_str(), guest.status("State:").as_str()), ("0", "S (sleeping)"));
    assert_eq!(guest.status("voluntary_ctxt_switches:"), switches, "the attach has not woken it");
    session.sample().unwrap();
    assert_eq!(fs::read_to_string(guest.top.join("cgroup.freeze")).unwrap(), before.1);
    drop(session);
    assert_eq!(bpf_objects(), 0, "a program goes with its last descriptor: none is pinned");
    assert_eq!((setting(), fs::read_to_string(guest.top.join("cgroup.freeze")).unwrap()), before);
    assert_eq!((guest.status("TracerPid:").as_str(), guest.status("State:").as_str()), ("0", "S (sleeping)"));
    guest.work();
}

#[test]
fn an_attach_that_fails_leaves_nothing() {
    needs_bpf!();
    let guest = Guest::start("");
    let found = targets::resolve(&[Wanted::Cgroup(guest.top.clone())], &Sources::default()).unwrap();
    let twice = [found.clone(), found].concat();
    assert!(matches!(Session::attach(twice, Settings::default()), Err(RatesError::Probe(_))));
    assert_eq!(bpf_objects(), 0);
}

#[test]
fn pages_that_a_process_writes_are_told_without_a_tracer() {
    needs_bpf!();
    let mut guest = Guest::start("");
    let found = targets::resolve(&[Wanted::Cgroup(guest.top.clone())], &Sources::default()).unwrap();
    let settings = Settings { mode: Mode::Count, dirty: true, ..Settings::default() };
    let mut session = Session::attach(found, settings).unwrap();
    let idle = session.sample().unwrap()[0].dirty.unwrap();
    assert_eq!(idle.pages, 0, "a task that waits writes nothing: {idle:?}");
    guest.work();
    let sample = session.sample().unwrap().remove(0);
    assert_eq!(guest.status("TracerPid:"), "0");
    let dirty = sample.dirty.unwrap();
    assert!((0..10).contains(&dirty.pages) && dirty.watched_pages > 10, "it works on its stack alone: {dirty:?}");
}
