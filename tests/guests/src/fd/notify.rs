//! inotify.

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, WorkDir, fd};

#[derive(Debug, PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: String,
}

/// Everything that is queued, each field in the chain.
fn drain(notify: i32, chain: &mut Chain) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut buffer = [0u8; 8192];
    while fd::poll_one(notify, libc::POLLIN, 0)? != 0 {
        let count = fd::read(notify, &mut buffer)?;
        chain.bytes(&buffer[..count]);
        let mut at = 0;
        while at < count {
            let word = |from: usize| u32::from_ne_bytes(buffer[at + from..at + from + 4].try_into().expect("4 bytes"));
            let len = word(12) as usize;
            let name = &buffer[at + 16..at + 16 + len];
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            events.push(Event { watch: word(0) as i32, mask: word(4), cookie: word(8), name });
            at += 16 + len;
        }
    }
    Ok(events)
}

/// Events of a directory name what happened, in order; both halves of a rename have one cookie; a removed watch says so.
pub fn inotify(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let notify = sys!(inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK))?;
    let watched = libc::IN_CREATE | libc::IN_MODIFY | libc::IN_CLOSE_WRITE | libc::IN_MOVE | libc::IN_DELETE | libc::IN_ATTRIB;
    let watch = sys!(inotify_add_watch(notify, c".".as_ptr(), watched))?;
    let file = fd::create(c"one")?;
    fd::write_all(file, b"text")?;
    sys!(fchmod(file, 0o600))?;
    fd::close(file)?;
    sys!(rename(c"one".as_ptr(), c"two".as_ptr()))?;
    sys!(unlink(c"two".as_ptr()))?;
    sys!(mkdir(c"sub".as_ptr(), 0o755))?;
    let events = drain(notify, chain)?;
    let found: Vec<(u32, &str)> = events.iter().map(|event| (event.mask, event.name.as_str())).collect();
    let wanted = [
        (libc::IN_CREATE, "one"),
        (libc::IN_MODIFY, "one"),
        (libc::IN_ATTRIB, "one"),
        (libc::IN_CLOSE_WRITE, "one"),
        (libc::IN_MOVED_FROM, "one"),
        (libc::IN_MOVED_TO, "two"),
        (libc::IN_DELETE, "two"),
        (libc::IN_CREATE | libc::IN_ISDIR, "sub"),
    ];
    check_eq!(found, wanted, "events");
    check!(events.iter().all(|event| event.watch == watch), "events of another watch");
    check!(events[4].cookie != 0 && events[4].cookie == events[5].cookie, "cookies of a rename");
    sys!(inotify_rm_watch(notify, watch))?;
    let last = drain(notify, chain)?;
    check_eq!((last.len(), last[0].mask), (1, libc::IN_IGNORED), "events of a removed watch");
    fails!(EINVAL, inotify_rm_watch(notify, watch))?;
    fails!(ENOENT, inotify_add_watch(notify, c"none".as_ptr(), watched))?;
    fd::close(notify)
}

/// Two watches and a child that makes the changes: every event is there once, under the watch of its directory.
pub fn tree(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    sys!(mkdir(c"left".as_ptr(), 0o755))?;
    sys!(mkdir(c"right".as_ptr(), 0o755))?;
    let notify = sys!(inotify_init())?;
    let left = sys!(inotify_add_watch(notify, c"left".as_ptr(), libc::IN_CREATE | libc::IN_MOVED_FROM))?;
    let right = sys!(inotify_add_watch(notify, c"right".as_ptr(), libc::IN_MOVED_TO | libc::IN_ONLYDIR))?;
    check!(left != right, "one number for two watches");
    let pid = fork(|| {
        for number in 0..20 {
            let (from, to) = (fd::c(&format!("left/{number}")), fd::c(&format!("right/{number}")));
            fd::close(fd::create(&from)?)?;
            sys!(rename(from.as_ptr(), to.as_ptr()))?;
        }
        Ok(0)
    })?;
    let mut events = Vec::new();
    while events.len() < 60 {
        check!(fd::poll_one(notify, libc::POLLIN, 5000)? != 0, "only {} events", events.len());
        events.extend(drain(notify, chain)?);
    }
    join(pid)?;
    for (number, three) in events.chunks(3).enumerate() {
        let found: Vec<_> = three.iter().map(|event| (event.watch, event.mask)).collect();
        check_eq!(
            found,
            [(left, libc::IN_CREATE), (left, libc::IN_MOVED_FROM), (right, libc::IN_MOVED_TO)],
            "events of {number}"
        );
        check!(three.iter().all(|event| event.name == number.to_string()), "names of {number}");
    }
    fd::close(notify)
}
