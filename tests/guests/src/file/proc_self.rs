//! /proc: a file system whose every read is a non-deterministic input.

use std::fs;

use crate::kit::process::pid;
use crate::kit::{Chain, Result, WorkDir, fd, unsupported};

/// A file of /proc as text, in the chain.
fn text(path: &str, chain: &mut Chain) -> Result<String> {
    let bytes = fs::read(path)?;
    chain.bytes(&bytes);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// stat, status, maps, cmdline, limits ... say of the process what it knows of itself.
pub fn proc_self(chain: &mut Chain) -> Result {
    let stat = text("/proc/self/stat", chain)?;
    check!(stat.starts_with(&format!("{} (", pid())), "stat is {stat}");
    let after: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    check_eq!((after[0], after[1]), ("R", plain!(getppid()).to_string().as_str()), "state and parent");
    let status = text("/proc/self/status", chain)?;
    check!(status.contains(&format!("\nPid:\t{}\n", pid())) && status.contains("\nThreads:\t1\n"), "status is {status}");
    let maps = text("/proc/self/maps", chain)?;
    let here = &raw const stat as usize;
    let inside = maps.lines().any(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let bound = |text| usize::from_str_radix(text, 16).unwrap_or(0);
        range.is_some_and(|(from, to)| (bound(from)..bound(to)).contains(&here))
    });
    check!(inside, "no mapping has the stack at {here:#x}");
    let line = text("/proc/self/cmdline", chain)?;
    check!(line.split('\0').any(|arg| arg == "proc_self"), "command line {line:?}");
    let name = text("/proc/self/comm", chain)?;
    let link = fs::read_link("/proc/self")?;
    check_eq!(link.to_string_lossy(), pid().to_string(), "/proc/self");
    chain.text(&name);
    chain.text(&fs::read_link("/proc/self/exe")?.to_string_lossy());
    for file in ["limits", "statm", "environ", "smaps", "cgroup", "mountinfo", "io", "sched", "oom_score_adj", "timerslack_ns"] {
        // What a kernel's configuration or a container's profile leaves out is not there.
        match fs::read(format!("/proc/self/{file}")) {
            Ok(bytes) => chain.bytes(&bytes),
            Err(error) => chain.num(error.raw_os_error().unwrap_or(0)),
        }
    }
    let tasks: Vec<_> = fs::read_dir("/proc/self/task")?.collect::<std::io::Result<_>>()?;
    check_eq!(tasks.len(), 1, "threads");
    Ok(())
}

/// /proc/self/fd and fdinfo name what is open, and at which offset.
pub fn descriptors(chain: &mut Chain) -> Result {
    let dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    fd::write_all(file, &chain.data(321))?;
    let (read, write) = fd::pipe()?;
    let link = fs::read_link(format!("/proc/self/fd/{file}"))?;
    check_eq!(link.file_name(), Some("file".as_ref()), "link of the file");
    check!(link.starts_with(fs::canonicalize(dir.path())?), "link {}", link.display());
    let pipes = [read, write].map(|end| fs::read_link(format!("/proc/self/fd/{end}")));
    let [one, two] = pipes;
    let (one, two) = (one?, two?);
    check!(one == two && one.to_string_lossy().starts_with("pipe:["), "links {} and {}", one.display(), two.display());
    chain.text(&one.to_string_lossy());
    let info = text(&format!("/proc/self/fdinfo/{file}"), chain)?;
    check!(info.starts_with("pos:\t321\n"), "info {info}");
    let again = fd::open(&fd::c(&format!("/proc/self/fd/{file}")), libc::O_RDONLY)?;
    check_eq!(sys!(lseek(again, 0, libc::SEEK_CUR))?, 0, "offset of a file opened by /proc");
    let mut numbers: Vec<i32> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.push(entry?.file_name().to_string_lossy().parse()?);
    }
    for number in [file, read, write, again] {
        check!(numbers.contains(&number), "{number} is not in /proc/self/fd");
    }
    numbers.into_iter().for_each(|number| chain.num(number));
    fd::close_all(&[file, read, write, again])
}

/// Files about the whole machine, in small reads at offsets.
pub fn system(chain: &mut Chain) -> Result {
    for path in ["/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/cpuinfo", "/proc/version", "/proc/mounts"]
    {
        let Ok(file) = fd::open(&fd::c(path), libc::O_RDONLY) else {
            unsupported(path)?;
            continue;
        };
        let mut part = [0; 100];
        let mut total = 0;
        loop {
            let got = fd::read(file, &mut part)?;
            if got == 0 {
                break;
            }
            chain.bytes(&part[..got]);
            total += got;
        }
        check!(total > 0, "{path} is empty");
        check!(sys!(pread(file, part.as_mut_ptr().cast(), 10, 2))? > 0, "{path} cannot be read at an offset");
        chain.bytes(&part[..10]);
        fd::close(file)?;
    }
    let id = text("/proc/sys/kernel/random/uuid", chain)?;
    check!(id.len() == 37 && id != text("/proc/sys/kernel/random/uuid", chain)?, "the same identifier twice");
    text("/proc/sys/kernel/random/boot_id", chain)?;
    Ok(())
}
