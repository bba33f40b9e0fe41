//! `sendfile`.

use std::ptr::null_mut;

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, WorkDir, fd};

fn file_of(data: &[u8]) -> Result<i32> {
    let file = fd::create(c"file")?;
    fd::write_all(file, data)?;
    sys!(lseek(file, 0, libc::SEEK_SET))?;
    Ok(file)
}

/// Into a pipe: without an offset the file's own moves, with one it stays and the variable moves.
pub fn to_pipe(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let data = chain.data(20_000);
    let file = file_of(&data)?;
    let (read, write) = fd::pipe()?;
    check_eq!(sys!(sendfile(write, file, null_mut(), 5000))?, 5000, "bytes sent");
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 5000, "offset of the file");
    check_eq!(fd::read_exact(read, 5000)?, data[..5000], "bytes");
    let mut offset = 12_000i64;
    check_eq!(sys!(sendfile(write, file, &raw mut offset, 3000))?, 3000, "bytes sent from an offset");
    check_eq!(offset, 15_000, "the variable");
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 5000, "offset of the file");
    check_eq!(fd::read_exact(read, 3000)?, data[12_000..15_000], "bytes");
    check_eq!(sys!(sendfile(write, file, null_mut(), 100_000))?, 15_000, "bytes to the end");
    let rest = fd::read_exact(read, 15_000)?;
    check_eq!(rest, data[5000..], "the rest");
    chain.bytes(&rest);
    check_eq!(sys!(sendfile(write, file, null_mut(), 10))?, 0, "bytes behind the end");
    fails!(EBADF, sendfile(read, file, null_mut(), 10))?;
    fd::close_all(&[file, read, write])
}

/// Into a unix socket and a TCP connection to a child, more than fits at once.
pub fn to_socket(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let data = chain.data(1_500_000);
    let file = file_of(&data)?;
    for tcp in [false, true] {
        let (near, far) = if tcp { crate::socket::tcp_pair()? } else { crate::socket::pair(libc::SOCK_STREAM)? };
        let (read, write) = fd::pipe()?;
        let pid = fork(|| {
            fd::close_all(&[near, read])?;
            let got = fd::read_to_end(far)?;
            check_eq!(got, data, "bytes that came");
            fd::write_all(write, &crate::kit::chain::mix_bytes(7, &got).to_le_bytes())?;
            Ok(0)
        })?;
        fd::close_all(&[far, write])?;
        let mut offset = 0i64;
        while (offset as usize) < data.len() {
            let sent = sys!(sendfile(near, file, &raw mut offset, data.len() - offset as usize))?;
            check!(sent > 0, "nothing sent at {offset}");
            chain.num(sent);
        }
        check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 0, "offset of the file");
        fd::close(near)?;
        let digest = fd::read_exact(read, 8)?;
        chain.bytes(&digest);
        join(pid)?;
        fd::close(read)?;
    }
    fd::close(file)
}

/// From file to file; both offsets move.
pub fn to_file(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let data = chain.data(10_000);
    let file = file_of(&data)?;
    let copy = fd::create(c"copy")?;
    sys!(lseek(file, 100, libc::SEEK_SET))?;
    check_eq!(sys!(sendfile(copy, file, null_mut(), 9_000))?, 9_000, "bytes sent");
    check_eq!(sys!(lseek(copy, 0, libc::SEEK_CUR))?, 9_000, "offset of the copy");
    sys!(lseek(copy, 0, libc::SEEK_SET))?;
    let got = fd::read_to_end(copy)?;
    check_eq!(got, data[100..9_100], "the copy");
    chain.bytes(&got);
    fd::close_all(&[file, copy])
}
