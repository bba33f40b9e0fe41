//! Processes whose stat calls are answered by `migrate inode-supervisor`. Needs root.

use migrate::inodes::supervisor::Task;
use migrate::inodes::{Identity, InodeMap, filter, start};
use migrate::sys::pidfd::PidFd;
use migrate::sys::seccomp;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a file had on the source, in these tests.
const SOURCE: Identity = Identity { device: 0x7_05, inode: 1 << 40 };

type Seen = Result<Identity, i32>;

fn here(path: &Path) -> Identity {
    let meta = fs::metadata(path).unwrap();
    Identity { device: meta.dev(), inode: meta.ino() }
}

/// Runs `act` in a process whose stat calls a supervisor answers by `map`, and returns what it gives. `disturb` runs meanwhile, with
/// the process's number.
fn supervised(map: InodeMap, act: impl FnOnce() -> Vec<Seen>, disturb: impl FnOnce(i32)) -> Vec<Seen> {
    let (mut told, mut tell) = std::io::pipe().unwrap();
    let (mut go, mut going) = std::io::pipe().unwrap();
    // SAFETY: the child uses only what a fork leaves whole: system calls and the allocator.
    let subject = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let listener = install();
            tell.write_all(&listener.to_le_bytes()).unwrap();
            go.read_exact(&mut [0]).unwrap();
            // SAFETY: the parent has its own.
            unsafe { libc::close(listener) };
            tell.write_all(&postcard::to_stdvec(&act()).unwrap()).unwrap();
            // SAFETY: nothing is left to be done for the parent, whose exit handlers these are.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => child,
    };
    drop(tell);
    let mut number = [0; 4];
    told.read_exact(&mut number).unwrap();
    let listener = PidFd::open(subject.as_raw()).unwrap().get(i32::from_le_bytes(number)).unwrap();
    let task = Task { listeners: vec![listener], map, init: subject.as_raw() };
    start(Path::new(env!("CARGO_BIN_EXE_migrate")), task).unwrap();
    going.write_all(&[1]).unwrap();
    disturb(subject.as_raw());
    let mut seen = Vec::new();
    told.read_to_end(&mut seen).unwrap();
    assert_eq!(waitpid(subject, None).unwrap(), WaitStatus::Exited(subject, 0));
    // They end by themselves when nobody is left who could ask.
    let begun = Instant::now();
    while !supervisors(subject.as_raw()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "a supervisor outlives its container");
        std::thread::sleep(Duration::from_millis(1));
    }
    postcard::from_bytes(&seen).unwrap()
}

/// Keeper and worker for a container's first process, parent first.
fn supervisors(init: i32) -> Vec<i32> {
    let wanted = format!("inode-supervisor\0--init\0{init}\0");
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut found: Vec<i32> = numbers
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&wanted)
        })
        .collect();
    found.sort_unstable();
    found
}

fn install() -> i32 {
    let program = filter::program();
    let fprog = libc::sock_fprog { len: u16::try_from(program.len()).unwrap(), filter: program.as_ptr().cast_mut() };
    let flags = seccomp::FILTER_NEW_LISTENER | seccomp::FILTER_WAIT_KILLABLE_RECV;
    // SAFETY: the kernel copies the program.
    let listener = unsafe { libc::syscall(libc::SYS_seccomp, seccomp::SET_MODE_FILTER, flags, &raw const fprog) };
    i32::try_from(listener).unwrap()
}

/// One of the family by its number, as no library would make it.
fn stat(nr: i64, dir: i32, name: &Path, flags: i32) -> Seen {
    let name = CString::new(name.as_os_str().as_encoded_bytes()).unwrap();
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    let mut statx = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the kernel fills a buffer of the call's own type.
    let done = unsafe {
        match nr {
            libc::SYS_fstat => libc::syscall(nr, dir, stat.as_mut_ptr()),
            libc::SYS_stat | libc::SYS_lstat => libc::syscall(nr, name.as_ptr(), stat.as_mut_ptr()),
            libc::SYS_statx => libc::syscall(nr, dir, name.as_ptr(), flags, libc::STATX_BASIC_STATS, statx.as_mut_ptr()),
            _ => libc::syscall(nr, dir, name.as_ptr(), stat.as_mut_ptr(), flags),
        }
    };
    if done != 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: both were zeroed, and one of them filled.
    let (stat, statx) = unsafe { (stat.assume_init(), statx.assume_init()) };
    Ok(match nr {
        libc::SYS_statx => Identity { device: libc::makedev(statx.stx_dev_major, statx.stx_dev_minor), inode: statx.stx_ino },
        _ => Identity { device: stat.st_dev, inode: stat.st_ino },
    })
}

const CWD: i32 = libc::AT_FDCWD;
const AT: i64 = libc::SYS_newfstatat;

#[test]
fn every_way_to_ask_shows_the_source_s_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.db");
    fs::write(&path, "x").unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    symlink("../base.db", folder.path().join("in/link")).unwrap();
    fs::hard_link(&path, folder.path().join("second")).unwrap();
    let file = File::open(&path).unwrap();
    let directory = File::open(folder.path()).unwrap();
    let map = InodeMap::new(&[(here(&path), SOURCE)]).unwrap();
    let (fd, dir, root) = (file.as_raw_fd(), directory.as_raw_fd(), folder.path().to_owned());
    let seen = supervised(
        map,
        || {
            std::env::set_current_dir(&root).unwrap();
            let (empty, none) = (libc::AT_EMPTY_PATH, Path::new(""));
            let mut seen = vec![
                stat(libc::SYS_fstat, fd, none, 0),
                stat(libc::SYS_stat, 0, &root.join("base.db"), 0),
                stat(libc::SYS_lstat, 0, &root.join("base.db"), 0),
                stat(AT, dir, Path::new("base.db"), 0),
                stat(AT, CWD, Path::new("in/link"), 0),
                stat(AT, CWD, Path::new("in/../second"), 0),
                stat(AT, fd, none, empty),
                stat(libc::SYS_statx, fd, none, empty),
                stat(libc::SYS_statx, CWD, Path::new("base.db"), 0),
            ];
            fs::remove_file("base.db").unwrap();
            seen.push(stat(libc::SYS_fstat, fd, none, 0));
            seen
        },
        |_| (),
    );
    assert_eq!(seen, vec![Ok(SOURCE); 10]);
}

#[test]
fn other_files_keep_their_inode_numbers_and_failures_stay_failures() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("base.db"), folder.path().join("other"));
    fs::write(&path, "x").unwrap();
    fs::write(&other, "x").unwrap();
    symlink("base.db", folder.path().join("link")).unwrap();
    let link = fs::symlink_metadata(folder.path().join("link")).unwrap().ino();
    let (inode, proc) = (here(&other).inode, here(Path::new("/proc/version")));
    let map = InodeMap::new(&[(here(&path), SOURCE)]).unwrap();
    let root = folder.path().to_owned();
    let seen = supervised(
        map,
        || {
            vec![
                stat(AT, CWD, &other, 0),
                stat(AT, CWD, &root.join("link"), libc::AT_SYMLINK_NOFOLLOW),
                stat(AT, CWD, Path::new("/proc/version"), 0),
                stat(AT, CWD, &root.join("missing"), 0),
                stat(AT, CWD, &other.join("below"), 0),
                stat(AT, CWD, Path::new(""), 0),
                stat(libc::SYS_fstat, 999, Path::new(""), 0),
            ]
        },
        |_| (),
    );
    let on_device = |inode| Ok(Identity { device: SOURCE.device, inode });
    let failures = [libc::ENOENT, libc::ENOTDIR, libc::ENOENT, libc::EBADF].map(Err);
    assert_eq!(seen[..3], [on_device(inode), on_device(link), Ok(proc)]);
    assert_eq!(seen[3..], failures);
}

#[test]
fn a_name_leads_nobody_where_it_would_not_lead_without_the_supervisor() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let path = closed.join("base.db");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(&closed, None, Some(4711)).unwrap();
    let file = File::open(&path).unwrap();
    let fd = file.as_raw_fd();
    let map = InodeMap::new(&[(here(&path), SOURCE)]).unwrap();
    let root = folder.path().to_owned();
    let seen = supervised(
        map,
        || {
            let mut seen = vec![stat(AT, CWD, &path, 0)];
            let groups: [u32; 1] = [4711];
            // SAFETY: numbers, and an array of one.
            unsafe { assert_eq!(libc::syscall(libc::SYS_setgroups, 1, groups.as_ptr()), 0) };
            // SAFETY: numbers only.
            unsafe { assert_eq!(libc::syscall(libc::SYS_setresuid, 1000, 1000, 0), 0) };
            seen.push(stat(AT, CWD, &path, 0));
            // SAFETY: numbers only.
            unsafe { assert_eq!(libc::syscall(libc::SYS_setresuid, 0, 0, 0), 0) };
            // SAFETY: numbers only.
            unsafe { assert_eq!(libc::syscall(libc::SYS_setgroups, 0, 0), 0) };
            // SAFETY: numbers only.
            unsafe { assert_eq!(libc::syscall(libc::SYS_setresuid, 1000, 1000, 1000), 0) };
            seen.extend([stat(AT, CWD, &path, 0), stat(libc::SYS_fstat, fd, Path::new(""), 0), stat(AT, CWD, &root, 0)]);
            seen
        },
        |_| (),
    );
    assert_eq!(seen[..4], [Ok(SOURCE), Ok(SOURCE), Err(libc::EACCES), Ok(SOURCE)]);
    assert!(seen[4].is_ok());
}

#[test]
fn a_root_of_its_own_is_where_a_caller_s_names_begin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.db");
    fs::write(&path, "x").unwrap();
    symlink("/base.db", folder.path().join("link")).unwrap();
    let map = InodeMap::new(&[(here(&path), SOURCE)]).unwrap();
    let root = folder.path().to_owned();
    let seen = supervised(
        map,
        || {
            let before = stat(AT, CWD, Path::new("/base.db"), 0);
            std::os::unix::fs::chroot(&root).unwrap();
            std::env::set_current_dir("/").unwrap();
            let names = ["/base.db", "link", "../../base.db", "/../link"];
            [before].into_iter().chain(names.map(|name| stat(AT, CWD, Path::new(name), 0))).collect()
        },
        |_| (),
    );
    assert_eq!(seen[0], Err(libc::ENOENT));
    assert_eq!(seen[1..], [Ok(SOURCE); 4]);
}

#[test]
fn calls_go_on_when_the_worker_is_killed() {
    const CALLS: usize = 5000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.db");
    fs::write(&path, "x").unwrap();
    let map = InodeMap::new(&[(here(&path), SOURCE)]).unwrap();
    let seen = supervised(
        map,
        || (0..CALLS).map(|_| stat(AT, CWD, &path, 0)).collect(),
        |subject| {
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(3));
                // The keeper is older: its number is lower, unless numbers began anew.
                if let [_, worker] = supervisors(subject)[..] {
                    let _ = kill(Pid::from_raw(worker), Signal::SIGKILL);
                }
            }
        },
    );
    assert_eq!(seen, vec![Ok(SOURCE); CALLS]);
}

#[test]
fn calls_go_on_when_the_keeper_is_killed_and_signals_do_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.db");
    fs::write(&path, "x").unwrap();
    let map = InodeMap::new(&[(here(&path), SOURCE)]).unwrap();
    let seen = supervised(
        map,
        || (0..2000).map(|_| stat(AT, CWD, &path, 0)).collect(),
        |subject| {
            for pid in supervisors(subject) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            if let Some(&keeper) = supervisors(subject).first() {
                let _ = kill(Pid::from_raw(keeper), Signal::SIGKILL);
            }
        },
    );
    assert_eq!(seen, vec![Ok(SOURCE); 2000]);
}
