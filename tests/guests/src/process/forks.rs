//! Forking.

use crate::kit::clock::monotonic;
use crate::kit::process::{exit_now, fork, join, join_code, pid};
use crate::kit::{Chain, Result, fd};

/// A tree of 3 levels with 3 children each: everybody knows its parent, and the numbers come back through one pipe.
pub fn tree(chain: &mut Chain) -> Result {
    fn grow(level: u32, write: i32) -> Result {
        let own = pid();
        fd::write_all(write, &[(level as i32).to_le_bytes(), own.to_le_bytes(), plain!(getppid()).to_le_bytes()].concat())?;
        if level == 3 {
            return Ok(());
        }
        let children = (0..3)
            .map(|_| {
                fork(|| {
                    check_eq!(plain!(getppid()), own, "a child's parent");
                    grow(level + 1, write).map(|()| 0)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        children.into_iter().try_for_each(join)
    }
    let (read, write) = fd::pipe()?;
    grow(0, write)?;
    fd::close(write)?;
    let lines = fd::read_to_end(read)?;
    check_eq!(lines.len(), 12 * (1 + 3 + 9 + 27), "bytes of 40 processes");
    let words: Vec<i32> = lines.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().expect("4 bytes"))).collect();
    let mut numbers: Vec<i32> = words.chunks(3).map(|line| line[1]).collect();
    for line in words.chunks(3).filter(|line| line[0] > 0) {
        check!(words.chunks(3).any(|other| other[1] == line[2] && other[0] == line[0] - 1), "no parent for {line:?}");
    }
    numbers.sort_unstable();
    numbers.dedup();
    check_eq!(numbers.len(), 40, "different numbers");
    chain.bytes(&lines);
    fd::close(read)
}

/// 200 children one behind the other, each with a number of its own and an answer by exit code.
pub fn many(chain: &mut Chain) -> Result {
    let mut last = 0;
    for round in 0..200 {
        let child = fork(|| Ok((round + pid()) & 0x7f))?;
        check!(child != last, "two children have number {child}");
        join_code(child, (round + child) & 0x7f)?;
        chain.num(child);
        last = child;
    }
    Ok(())
}

/// Six children run at once, draw random numbers and read clocks; the order in which their lines come is an input.
pub fn race(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    let mut children = Vec::new();
    for number in 0..6u8 {
        children.push(fork(|| {
            for step in 0..20u8 {
                let mut line = vec![number, step];
                line.extend(fd::random(6)?);
                line.extend(monotonic()?.to_le_bytes());
                fd::write_all(write, &line)?;
                if line[2] & 3 == 0 {
                    sys!(sched_yield())?;
                }
            }
            Ok(i32::from(number))
        })?);
    }
    fd::close(write)?;
    let lines = fd::read_to_end(read)?;
    check_eq!(lines.len(), 6 * 20 * 16, "bytes of six children");
    let mut next = [0; 6];
    for line in lines.chunks(16) {
        check_eq!(line[1], next[usize::from(line[0])], "step of child {}", line[0]);
        next[usize::from(line[0])] += 1;
    }
    chain.bytes(&lines);
    for (number, child) in children.into_iter().enumerate() {
        join_code(child, number as i32)?;
    }
    fd::close(read)
}

/// A chain of 15 generations: each waits for the next and passes on what it said.
pub fn deep(chain: &mut Chain) -> Result {
    fn generation(left: u32) -> Result<i32> {
        if left == 0 {
            return Ok(1);
        }
        let child = fork(|| generation(left - 1))?;
        let status = crate::kit::process::wait(child)?;
        check!(libc::WIFEXITED(status), "status {status:#x}");
        Ok(libc::WEXITSTATUS(status) + 1)
    }
    let child = fork(|| generation(14))?;
    chain.num(child);
    join_code(child, 15)
}

/// `clone` with flags as the C library's `fork` uses them, by number: the kernel writes the child's number where it is told, once in
/// the parent's memory and once in the child's.
pub fn clone_flags(chain: &mut Chain) -> Result {
    let (mut in_parent, mut in_child) = (0i32, 0i32);
    let flags = libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    let child = raw!(SYS_clone, flags, 0, &raw mut in_parent, &raw mut in_child, 0)? as i32;
    // The kernel wrote behind the compiler's back.
    let (in_parent, in_child) = std::hint::black_box((in_parent, in_child));
    if child == 0 {
        let ok = i64::from(in_child) == plain!(syscall(libc::SYS_gettid)) && in_parent == 0;
        exit_now(if ok { 3 } else { 4 });
    }
    check_eq!((in_parent, in_child), (child, 0), "numbers that the kernel wrote");
    join_code(child, 3)?;
    chain.num(child);
    // A child that signals nothing at its end is only waited for with __WALL or __WCLONE.
    let silent = raw!(SYS_clone, 0, 0, 0, 0, 0)? as i32;
    if silent == 0 {
        exit_now(5);
    }
    let mut status = 0;
    fails!(ECHILD, waitpid(silent, &raw mut status, 0))?;
    check_eq!(sys!(waitpid(silent, &raw mut status, libc::__WALL))?, silent, "a wait with __WALL");
    check_eq!(libc::WEXITSTATUS(status), 5, "exit code");
    chain.num(silent);
    Ok(())
}
