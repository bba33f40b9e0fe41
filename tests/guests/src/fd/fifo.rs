//! Named pipes.

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, WorkDir, fd, zero};

/// A FIFO's opens wait for each other; bytes pass; without a reader a non-blocking open for writing is refused.
pub fn fifo(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    sys!(mkfifo(c"fifo".as_ptr(), 0o600))?;
    let mut stat: libc::stat = zero();
    sys!(stat(c"fifo".as_ptr(), &raw mut stat))?;
    check_eq!(stat.st_mode & libc::S_IFMT, libc::S_IFIFO, "type");
    fails!(ENXIO, open(c"fifo".as_ptr(), libc::O_WRONLY | libc::O_NONBLOCK))?;
    let idle = fd::open(c"fifo", libc::O_RDONLY | libc::O_NONBLOCK)?;
    check_eq!(fd::read(idle, &mut [0; 8])?, 0, "read without a writer");
    fd::close(idle)?;
    let data = chain.data(200_000);
    let pid = fork(|| {
        let write = fd::open(c"fifo", libc::O_WRONLY)?;
        fd::write_all(write, &data)?;
        fd::close(write)?;
        Ok(0)
    })?;
    let read = fd::open(c"fifo", libc::O_RDONLY)?;
    let got = fd::read_to_end(read)?;
    join(pid)?;
    check_eq!(got, data, "bytes through the FIFO");
    chain.bytes(&got);
    fd::close(read)?;
    let both = fd::open(c"fifo", libc::O_RDWR)?;
    fd::write_all(both, b"to itself")?;
    check_eq!(fd::read_exact(both, 9)?, b"to itself", "a FIFO open for both");
    fd::close(both)?;
    sys!(unlink(c"fifo".as_ptr())).map(drop)
}
