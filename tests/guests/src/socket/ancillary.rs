//! Descriptors and credentials over unix sockets.

use super::address::{pair, tcp_pair};
use crate::kit::plain::socklen;
use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, WorkDir, fd, zero};

/// Sends bytes with ancillary data of one kind.
pub fn send<T: Copy>(socket: i32, bytes: &[u8], kind: i32, items: &[T]) -> Result {
    let mut control = [0u64; 32];
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message: libc::msghdr = zero();
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let len = size_of_val(items) as u32;
    // SAFETY: the buffer is larger than a header and the items (a few words), and aligned for the header.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(len) as usize;
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = kind;
        (*head).cmsg_len = libc::CMSG_LEN(len) as usize;
        std::ptr::copy_nonoverlapping(items.as_ptr(), libc::CMSG_DATA(head).cast(), items.len());
    }
    check_eq!(sys!(sendmsg(socket, &raw const message, 0))? as usize, bytes.len(), "bytes sent");
    Ok(())
}

/// What a message brought.
#[derive(Debug, Default)]
pub struct Received {
    pub bytes: Vec<u8>,
    pub fds: Vec<i32>,
    sender: Option<(i32, u32, u32)>,
    flags: i32,
}

/// Receives one message, with room for so many bytes and so many of ancillary data.
pub fn receive(socket: i32, room: usize, control_room: usize) -> Result<Received> {
    let mut control = [0u64; 32];
    let mut bytes = vec![0; room];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: room };
    let mut message: libc::msghdr = zero();
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control_room.min(size_of_val(&control));
    let got = sys!(recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC))?;
    bytes.truncate(got as usize);
    let mut received = Received { bytes, flags: message.msg_flags, ..Received::default() };
    // SAFETY: the kernel filled the buffer with headers and data, and the macros stay inside the length that it gave.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(&raw const message);
        while !head.is_null() {
            let len = (*head).cmsg_len - libc::CMSG_LEN(0) as usize;
            let data = libc::CMSG_DATA(head);
            if (*head).cmsg_type == libc::SCM_RIGHTS {
                received.fds.extend((0..len / 4).map(|at| data.cast::<i32>().add(at).read_unaligned()));
            } else if (*head).cmsg_type == libc::SCM_CREDENTIALS {
                let found = data.cast::<libc::ucred>().read_unaligned();
                received.sender = Some((found.pid, found.uid, found.gid));
            }
            head = libc::CMSG_NXTHDR(&raw const message, head);
        }
    }
    Ok(received)
}

/// A child sends a file, a pipe's end and a TCP connection: the numbers are the lowest free ones, offsets are shared, and what was
/// open only in the child lives on after it.
pub fn rights(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let (near, far) = pair(libc::SOCK_STREAM)?;
    let data = chain.data(200);
    let child = fork(|| {
        fd::close(near)?;
        let file = fd::create(c"file")?;
        fd::write_all(file, &data)?;
        sys!(lseek(file, 50, libc::SEEK_SET))?;
        let (read, write) = fd::pipe()?;
        let (client, server) = tcp_pair()?;
        send(far, b"three", libc::SCM_RIGHTS, &[file, read, server])?;
        fd::write_all(write, b"through the pipe")?;
        fd::write_all(client, b"through the connection")?;
        check_eq!(fd::read_exact(far, 4)?, b"read", "the parent's word");
        check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 60, "offset after the parent's read");
        Ok(0)
    })?;
    fd::close(far)?;
    let got = receive(near, 100, 256)?;
    check_eq!((&got.bytes[..], got.fds.len()), (&b"three"[..], 3), "bytes and descriptors");
    check_eq!(got.fds, [far, far + 1, far + 2], "lowest free numbers");
    let [file, read, connection] = got.fds[..] else { anyhow::bail!("{} descriptors", got.fds.len()) };
    check_eq!(sys!(fcntl(file, libc::F_GETFD))?, libc::FD_CLOEXEC, "close-on-exec");
    check_eq!(fd::read_exact(file, 10)?, data[50..60], "bytes of the file");
    fd::write_all(near, b"read")?;
    join(child)?;
    check_eq!(fd::read_to_end(read)?, b"through the pipe", "bytes of the pipe");
    check_eq!(fd::read_to_end(connection)?, b"through the connection", "bytes of the connection");
    chain.bytes(&data);
    got.fds.iter().for_each(|&number| chain.num(number));

    // With too little room for the descriptors the message says so, and none leaks.
    let (near_two, far_two) = pair(libc::SOCK_DGRAM)?;
    send(far_two, b"cut", libc::SCM_RIGHTS, &[file, read])?;
    let cut = receive(near_two, 100, 0)?;
    check_eq!((cut.fds.len(), cut.flags & libc::MSG_CTRUNC), (0, libc::MSG_CTRUNC), "descriptors without room");
    fd::close_all(&[near, near_two, far_two, file, read, connection])
}

/// A descriptor wanders through three processes and comes back as another number of the same open file.
pub fn relay(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let (first, second) = (pair(libc::SOCK_SEQPACKET)?, pair(libc::SOCK_SEQPACKET)?);
    let third = pair(libc::SOCK_SEQPACKET)?;
    let hop = |from: i32, to: i32, mark: &'static [u8]| {
        fork(move || {
            let got = receive(from, 10, 64)?;
            fd::write_all(got.fds[0], mark)?;
            send(to, b"on", libc::SCM_RIGHTS, &got.fds)?;
            Ok(0)
        })
    };
    let children = [hop(first.1, second.0, b"first ")?, hop(second.1, third.0, b"second ")?];
    send(first.0, b"go", libc::SCM_RIGHTS, &[file])?;
    let back = receive(third.1, 10, 64)?;
    fd::write_all(back.fds[0], b"third")?;
    check!(back.fds[0] != file, "the same number came back");
    check_eq!(std::fs::read("file")?, b"first second third", "what the three wrote");
    children.into_iter().try_for_each(join)?;
    chain.num(back.fds[0]);
    fd::close_all(&[file, back.fds[0], first.0, first.1, second.0, second.1, third.0, third.1])
}

/// With SO_PASSCRED each message says who sent it.
pub fn credentials(chain: &mut Chain) -> Result {
    let (near, far) = pair(libc::SOCK_DGRAM)?;
    let on = 1i32;
    sys!(setsockopt(near, libc::SOL_SOCKET, libc::SO_PASSCRED, (&raw const on).cast(), socklen::<i32>()))?;
    let (user, group) = (plain!(getuid()), plain!(getgid()));
    let child = fork(|| {
        fd::write_all(far, b"from the child")?;
        let own = libc::ucred { pid: pid(), uid: user, gid: group };
        send(far, b"by its own word", libc::SCM_CREDENTIALS, &[own])?;
        Ok(0)
    })?;
    for text in ["from the child", "by its own word"] {
        let got = receive(near, 100, 256)?;
        check_eq!((&got.bytes[..], got.sender), (text.as_bytes(), Some((child, user, group))), "bytes and sender");
        chain.num(got.sender.map_or(0, |(pid, ..)| pid));
    }
    join(child)?;
    fd::write_all(far, b"from here")?;
    check_eq!(receive(near, 100, 256)?.sender, Some((pid(), user, group)), "sender");
    fd::close_all(&[near, far])
}
