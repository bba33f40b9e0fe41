//! Processes whose parent ends first.

use crate::kit::process::{fork, join, pid, wait};
use crate::kit::{Chain, Result, fd, signal};

/// A child that ends at once and leaves a grandchild behind, which waits until it is an orphan and says (own number, parent
/// before, parent now).
fn abandon() -> Result<([i32; 3], i32)> {
    let (read, write) = fd::pipe()?;
    let child = fork(|| {
        let middle = pid();
        fork(|| {
            let mut now = plain!(getppid());
            while now == middle {
                crate::kit::clock::sleep_ms(1)?;
                now = plain!(getppid());
            }
            let answer = [pid(), middle, now].map(i32::to_le_bytes).concat();
            fd::write_all(write, &answer)?;
            Ok(55)
        })?;
        Ok(0)
    })?;
    fd::close(write)?;
    join(child)?;
    let answer = fd::read_exact(read, 12)?;
    fd::close(read)?;
    let mut numbers = [0; 3];
    for (number, bytes) in numbers.iter_mut().zip(answer.chunks(4)) {
        *number = i32::from_le_bytes(bytes.try_into()?);
    }
    Ok((numbers, child))
}

/// An orphan gets another parent: the first process of the container, or whoever collects orphans above.
pub fn orphan(chain: &mut Chain) -> Result {
    for _ in 0..3 {
        let ([own, before, now], child) = abandon()?;
        check_eq!(before, child, "parent before");
        check!(now != before && now != own, "parent now");
        // In a container a guest may be that first process itself.
        if pid() == 1 {
            check_eq!(now, 1, "parent now");
            check_eq!(libc::WEXITSTATUS(wait(own)?), 55, "exit code of an adopted orphan");
        } else {
            fails!(ECHILD, waitpid(own, std::ptr::null_mut(), 0))?;
        }
        [own, before, now].into_iter().for_each(|number| chain.num(number));
    }
    Ok(())
}

/// A subreaper gets its descendants' orphans and waits for them.
pub fn subreaper(chain: &mut Chain) -> Result {
    sys!(prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))?;
    let mut is = 0i32;
    sys!(prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is, 0, 0, 0))?;
    check_eq!(is, 1, "subreaper");
    for _ in 0..3 {
        let ([own, _, now], _) = abandon()?;
        check_eq!(now, pid(), "the orphan's parent");
        check_eq!(libc::WEXITSTATUS(wait(own)?), 55, "exit code of an adopted orphan");
        chain.num(own);
    }
    sys!(prctl(libc::PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)).map(drop)
}

/// PR_SET_PDEATHSIG: a process gets a signal when its parent ends.
pub fn death_signal(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    let (ready_read, ready_write) = fd::pipe()?;
    let child = fork(|| {
        let middle = pid();
        fork(|| {
            sys!(prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR1, 0, 0, 0))?;
            let mut number = 0i32;
            sys!(prctl(libc::PR_GET_PDEATHSIG, &raw mut number, 0, 0, 0))?;
            check_eq!(number, libc::SIGUSR1, "the signal that is set");
            signal::watch(libc::SIGUSR1, 0)?;
            let open = signal::block(&[libc::SIGUSR1])?;
            fd::write_all(ready_write, b"!")?;
            fails!(EINTR, sigsuspend(&raw const open))?;
            let seen = signal::seen();
            let answer = [pid(), seen[0].signal, i32::from(seen[0].pid() == middle)].map(i32::to_le_bytes).concat();
            fd::write_all(write, &answer)?;
            Ok(0)
        })?;
        fd::read_exact(ready_read, 1)?;
        Ok(0)
    })?;
    fd::close(write)?;
    join(child)?;
    let answer = fd::read_exact(read, 12)?;
    check_eq!(answer[4..], [libc::SIGUSR1.to_le_bytes(), 1i32.to_le_bytes()].concat(), "the signal and its sender");
    chain.bytes(&answer);
    if pid() == 1 {
        wait(i32::from_le_bytes(answer[..4].try_into()?))?;
    }
    fd::close_all(&[read, ready_read, ready_write])
}
