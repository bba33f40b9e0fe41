//! POSIX message queues.

use crate::kit::call::errno;
use crate::kit::clock::{MS_NS, now, timespec};
use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, fd, unsupported, zero};

/// Messages by priority, between processes; a full queue and an empty one make wait.
pub fn queue(chain: &mut Chain) -> Result {
    let name = fd::c(&format!("/guest-{}", pid()));
    let mut attributes: libc::mq_attr = zero();
    attributes.mq_maxmsg = 3;
    attributes.mq_msgsize = 64;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let queue = plain!(mq_open(name.as_ptr(), flags, 0o600, &raw const attributes));
    if queue == -1 {
        check!([libc::ENOSYS, libc::EACCES, libc::EPERM].contains(&errno()), "mq_open failed with errno {}", errno());
        return unsupported("POSIX message queues");
    }
    sys!(mq_unlink(name.as_ptr()))?;
    for (priority, text) in [(1, "low"), (9, "high"), (5, "middle")] {
        sys!(mq_send(queue, text.as_ptr().cast(), text.len(), priority))?;
    }
    let limit = timespec(now(libc::CLOCK_REALTIME)? + 3 * MS_NS);
    fails!(ETIMEDOUT, mq_timedsend(queue, c"x".as_ptr(), 1, 0, &raw const limit))?;
    let receive = || -> Result<(u32, Vec<u8>)> {
        let (mut text, mut priority) = (vec![0u8; 64], 0);
        let len = sys!(mq_receive(queue, text.as_mut_ptr().cast(), 64, &raw mut priority))?;
        text.truncate(len as usize);
        Ok((priority, text))
    };
    for (priority, text) in [(9, "high"), (5, "middle"), (1, "low")] {
        check_eq!(receive()?, (priority, text.as_bytes().to_vec()), "a message");
    }
    let child = fork(|| {
        for round in 0..20u8 {
            let mut text = vec![round];
            text.extend(fd::random(31)?);
            sys!(mq_send(queue, text.as_ptr().cast(), text.len(), 3))?;
        }
        Ok(0)
    })?;
    for round in 0..20 {
        let (priority, text) = receive()?;
        check_eq!((priority, text[0]), (3, round), "a message of the child");
        chain.bytes(&text);
    }
    join(child)?;
    fd::close(queue)
}
