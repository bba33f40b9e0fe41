//! Files, their notification, and /proc.

use crate::kit::{Chain, Result, fd, zero};

/// Bytes that a step appends to the log.
const LINE: usize = 32;
/// Lines after which the log begins again.
const LINES: usize = 500;

/// What stays open from step to step.
#[derive(Debug)]
pub struct Files {
    log: i32,
    notify: i32,
    pipe: (i32, i32),
    /// What the log has.
    lines: Vec<u8>,
    steps: u64,
}

impl Files {
    /// Makes the log and watches a directory.
    pub fn new() -> Result<Self> {
        sys!(mkdir(c"watched".as_ptr(), 0o755))?;
        let notify = sys!(inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK))?;
        sys!(inotify_add_watch(notify, c"watched".as_ptr(), libc::IN_CREATE | libc::IN_CLOSE_WRITE | libc::IN_DELETE))?;
        let log = fd::open(c"log", libc::O_RDWR | libc::O_CREAT | libc::O_APPEND)?;
        Ok(Self { log, notify, pipe: fd::pipe()?, lines: Vec::new(), steps: 0 })
    }

    /// Works on all of them.
    pub fn step(&mut self, chain: &mut Chain) -> Result {
        self.steps += 1;
        self.append(chain)?;
        self.notified(chain)?;
        self.proc(chain)
    }

    /// The log grows by a line; its size, its end and a part sent into a pipe are what they must be.
    fn append(&mut self, chain: &mut Chain) -> Result {
        if self.lines.len() == LINE * LINES {
            sys!(ftruncate(self.log, 0))?;
            self.lines.clear();
        }
        let line = fd::random(LINE)?;
        fd::write_all(self.log, &line)?;
        self.lines.extend_from_slice(&line);
        let mut stat: libc::stat = zero();
        sys!(stat(c"log".as_ptr(), &raw mut stat))?;
        check_eq!(stat.st_size as usize, self.lines.len(), "size of the log");
        for value in [stat.st_mtime, stat.st_mtime_nsec, stat.st_blocks] {
            chain.num(value);
        }
        chain.num(stat.st_ino);
        let at = chain.below((self.lines.len() / LINE) as u64) as usize * LINE;
        let mut offset = at as i64;
        check_eq!(sys!(sendfile(self.pipe.1, self.log, &raw mut offset, LINE))? as usize, LINE, "bytes sent");
        let sent = fd::read_exact(self.pipe.0, LINE)?;
        check_eq!(sent, self.lines[at..at + LINE], "line of the log at {at}");
        let mut last = [0; LINE];
        let end = self.lines.len() - LINE;
        check_eq!(sys!(pread(self.log, last.as_mut_ptr().cast(), LINE, end as i64))? as usize, LINE, "bytes read");
        check_eq!(last[..], line, "last line of the log");
        chain.bytes(&sent);
        Ok(())
    }

    /// A file comes, is listed and goes; the watch tells of each. Its queue is empty at the end of the step.
    fn notified(&mut self, chain: &mut Chain) -> Result {
        let name = format!("file-{}", self.steps);
        let path = fd::c(&format!("watched/{name}"));
        fd::close(fd::create(&path)?)?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir("watched")? {
            let entry = entry?;
            chain.num(std::os::unix::fs::DirEntryExt::ino(&entry));
            names.push(entry.file_name());
        }
        check_eq!(names, [name.as_str()], "names in the directory");
        sys!(unlink(path.as_ptr()))?;
        let mut buffer = [0u8; 1024];
        let got = fd::read(self.notify, &mut buffer)?;
        let mut masks = Vec::new();
        let mut at = 0;
        while at < got {
            let word = |from: usize| u32::from_ne_bytes(buffer[at + from..at + from + 4].try_into().expect("4 bytes"));
            let (mask, len) = (word(4), word(12) as usize);
            check!(buffer[at + 16..at + 16 + len].starts_with(name.as_bytes()), "an event of another file than {name}");
            masks.push(mask);
            at += 16 + len;
        }
        check_eq!(masks, [libc::IN_CREATE, libc::IN_CLOSE_WRITE, libc::IN_DELETE], "events");
        chain.bytes(&buffer[..got]);
        Ok(())
    }

    /// /proc and the machine: only taken into the chain.
    fn proc(&mut self, chain: &mut Chain) -> Result {
        let path = ["/proc/self/stat", "/proc/self/status", "/proc/uptime", "/proc/self/statm"][(self.steps % 4) as usize];
        chain.bytes(&std::fs::read(path)?);
        let mut info: libc::sysinfo = zero();
        sys!(sysinfo(&raw mut info))?;
        chain.num(info.uptime);
        chain.num(info.freeram);
        let mut names: libc::utsname = zero();
        sys!(uname(&raw mut names))?;
        names.release.iter().for_each(|&byte| chain.num(byte));
        chain.num(sys!(sched_getcpu())?);
        Ok(())
    }
}
