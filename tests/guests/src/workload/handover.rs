//! Descriptors that are on their way for most of the time: a pipe is written to, its other end sent through a unix socket, and only
//! after a while received and read. A container that is frozen meanwhile holds something that its kernel does not show, and cannot
//! be captured before it has run on.

use crate::kit::chain::print;
use crate::kit::{Chain, Result, fd};
use crate::socket::address::pair;
use crate::socket::ancillary::{receive, send};
use crate::workload::until::Until;

/// How long a descriptor is on its way in each step, and how long none is.
const ON_ITS_WAY_US: u32 = 40_000;
const HERE_US: u32 = 15_000;
const BYTES: usize = 64;

/// Runs until SIGTERM or SIGINT, or for as many steps as the first argument says.
pub fn handover(chain: &mut Chain) -> Result {
    let until = Until::new()?;
    let (near, far) = pair(libc::SOCK_STREAM)?;
    let mut step = 0;
    while !until.reached(step) {
        step += 1;
        let data = chain.data(BYTES);
        let (read, write) = fd::pipe()?;
        fd::write_all(write, &data)?;
        send(near, b"pipe", libc::SCM_RIGHTS, &[read])?;
        fd::close_all(&[read, write])?;
        plain!(usleep(ON_ITS_WAY_US));
        let got = receive(far, 16, 64)?;
        check_eq!((&got.bytes[..], got.fds.len()), (&b"pipe"[..], 1), "bytes and descriptors");
        check_eq!(fd::read_to_end(got.fds[0])?, data, "bytes of the pipe");
        fd::close(got.fds[0])?;
        chain.bytes(&data);
        plain!(usleep(HERE_US));
        print(&format!("step {step} {:016x}", chain.digest()))?;
    }
    fd::close_all(&[near, far])?;
    print(&format!("end steps {step} {:016x}", chain.digest()))
}
