//! How processes end.

use crate::kit::process::{fork, join_code, pid, wait};
use crate::kit::{Chain, Result, fd};

/// Every exit code arrives, of `_exit`, `exit` and `exit_group` alike; only 8 bits of it.
pub fn codes(chain: &mut Chain) -> Result {
    for code in (0..=255).step_by(5) {
        let child = fork(|| match code % 3 {
            0 => Ok(code),
            1 => std::process::exit(code),
            _ => Ok(plain!(syscall(libc::SYS_exit, code)) as i32),
        })?;
        join_code(child, code)?;
        chain.num(child);
    }
    join_code(fork(|| Ok(0x1_02_03))?, 3)?;
    join_code(fork(|| Ok(-1))?, 255)
}

/// Children end in an order that pipes make, not the one in which they began; waiting for any sees that order.
pub fn order(chain: &mut Chain) -> Result {
    let mut children: Vec<(i32, i32)> = Vec::new();
    for _ in 0..8 {
        let (read, write) = fd::pipe()?;
        let older: Vec<i32> = children.iter().map(|child| child.1).collect();
        let child = fork(|| {
            // The ends of older siblings would keep their pipes open.
            fd::close_all(&older)?;
            fd::close(write)?;
            fd::read(read, &mut [0; 1])?;
            Ok(pid() & 0x3f)
        })?;
        fd::close(read)?;
        children.push((child, write));
    }
    while !children.is_empty() {
        let at = chain.below(children.len() as u64) as usize;
        let (child, write) = children.remove(at);
        fd::close(write)?;
        let mut status = 0;
        check_eq!(sys!(waitpid(-1, &raw mut status, 0))?, child, "who ended");
        check_eq!(libc::WEXITSTATUS(status), child & 0x3f, "exit code");
        chain.num(child);
    }
    Ok(())
}

/// The end of a process closes what it had open: pipes end, locks go, connections end, however it died.
pub fn closes(chain: &mut Chain) -> Result {
    for number in [0, libc::SIGKILL, libc::SIGTERM] {
        let (read, write) = fd::pipe()?;
        let (near, far) = crate::socket::pair(libc::SOCK_STREAM)?;
        let child = fork(|| {
            fd::write_all(write, b"last words")?;
            fd::write_all(far, b"of a child")?;
            if number != 0 {
                crate::kit::process::kill(pid(), number)?;
            }
            Ok(0)
        })?;
        fd::close_all(&[write, far])?;
        check_eq!(fd::read_to_end(read)?, b"last words", "the pipe");
        check_eq!(fd::read_to_end(near)?, b"of a child", "the socket");
        check_eq!(wait(child)?, number, "status");
        chain.num(child);
        fd::close_all(&[read, near])?;
    }
    Ok(())
}
