//! Process groups and sessions.

use crate::kit::process::{fork, join, join_signal, kill, pid};
use crate::kit::{Chain, Result, fd, signal};

/// Children in a group of their own: a signal to the group reaches all of them and nobody else.
pub fn groups(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    let mut children: Vec<i32> = Vec::new();
    for _ in 0..3 {
        let leader = children.first().copied().unwrap_or(0);
        let child = fork(|| {
            sys!(setpgid(0, leader))?;
            fd::write_all(write, b"!")?;
            loop {
                plain!(pause());
            }
        })?;
        // Both do it, as shells do: whoever comes first.
        sys!(setpgid(child, leader))?;
        children.push(child);
    }
    fd::read_exact(read, 3)?;
    for &child in &children {
        check_eq!(sys!(getpgid(child))?, children[0], "group of {child}");
        check_eq!(sys!(getsid(child))?, sys!(getsid(0))?, "session of {child}");
        chain.num(child);
    }
    check!(plain!(getpgrp()) != children[0], "the parent is in the group");
    fails!(ESRCH, setpgid(children[1], 1 << 22)).or_else(|_| fails!(EPERM, setpgid(children[1], 1 << 22)))?;
    sys!(killpg(children[0], libc::SIGTERM))?;
    for &child in &children {
        join_signal(child, libc::SIGTERM)?;
    }
    fails!(ESRCH, kill(-children[0], 0))?;
    let exec = fork(|| {
        let args = [c"guests".as_ptr(), c"@sleep".as_ptr(), c"9000".as_ptr(), std::ptr::null()];
        sys!(execv(crate::kit::process::SELF.as_ptr(), args.as_ptr()))
    })?;
    // Once it is another program its parent may not move it; before, it may.
    while plain!(setpgid(exec, 0)) == 0 {
        crate::kit::clock::sleep_ms(1)?;
    }
    check_eq!(crate::kit::call::errno(), libc::EACCES, "error");
    kill(exec, libc::SIGKILL)?;
    join_signal(exec, libc::SIGKILL)?;
    fd::close_all(&[read, write])
}

/// A new session has a new group, its leader cannot make another one, and the others keep theirs.
pub fn sessions(chain: &mut Chain) -> Result {
    let old = sys!(getsid(0))?;
    let child = fork(|| {
        let own = pid();
        check_eq!(sys!(setsid())?, own, "the new session");
        check_eq!((sys!(getsid(0))?, plain!(getpgrp())), (own, own), "session and group");
        fails!(EPERM, setsid())?;
        fails!(EPERM, setpgid(0, 0))?;
        let grandchild = fork(|| {
            check_eq!((sys!(getsid(0))?, plain!(getpgrp())), (own, own), "session and group of a grandchild");
            check_eq!(sys!(setsid())?, pid(), "its own session");
            Ok(0)
        })?;
        join(grandchild)?;
        // A signal to the whole group comes to the sender too.
        signal::watch(libc::SIGUSR1, 0)?;
        kill(0, libc::SIGUSR1)?;
        check_eq!(signal::count(), 1, "signals");
        // No terminal: none can be opened.
        fails!(ENXIO, open(c"/dev/tty".as_ptr(), libc::O_RDWR))
            .or_else(|_| fails!(ENOENT, open(c"/dev/tty".as_ptr(), libc::O_RDWR)))?;
        Ok(0)
    })?;
    join(child)?;
    check_eq!(sys!(getsid(0))?, old, "this process's session");
    chain.num(child);
    chain.num(old);
    Ok(())
}
