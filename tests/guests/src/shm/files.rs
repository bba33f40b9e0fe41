//! Shared mappings of files.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use super::free::children;
use crate::kit::order::{by, check_each_ascends};
use crate::kit::process::{fork, join, pid};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, WorkDir, fd, unsupported};
use crate::memory::{Map, PAGE};

/// What processes change in a file's mapping.
struct State {
    count: AtomicU64,
    order: Order,
}

const BOTH: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn work(index: usize, state: &State) -> Result {
    for round in 0..50 {
        state.order.note(by(index, round));
        state.count.fetch_add(u64::from(fd::random(1)?[0]), Ordering::SeqCst);
        thread::rest()?;
    }
    Ok(())
}

/// Each process maps the file by itself; what they wrote is in the file.
pub fn file(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"mapped")?;
    let state = Shared::<State>::of_file(file)?;
    children(3, &state, chain, |index, _| {
        let own = Shared::<State>::of(fd::open(c"mapped", libc::O_RDWR)?, libc::MAP_SHARED)?;
        work(index, &own)
    })?;
    let mut bytes = [0; 8];
    check_eq!(sys!(pread(file, bytes.as_mut_ptr().cast(), 8, 0))?, 8, "bytes of the file");
    check_eq!(u64::from_ne_bytes(bytes), state.count.load(Ordering::SeqCst), "the count in the file");
    chain.bytes(&bytes);
    check_each_ascends(&state.order.take(chain)?, 3, 50)?;
    fd::close(file)
}

/// A memfd that children inherit and map at places of their own.
pub fn memfd(chain: &mut Chain) -> Result {
    let file = sys!(memfd_create(c"shared".as_ptr(), libc::MFD_CLOEXEC))?;
    let state = Shared::<State>::of_file(file)?;
    children(3, &state, chain, |index, _| {
        let _gap = Map::zeros((index + 1) * 7 * PAGE)?;
        work(index, &*Shared::<State>::of(file, libc::MAP_SHARED)?)
    })?;
    chain.num(state.count.load(Ordering::SeqCst));
    check_each_ascends(&state.order.take(chain)?, 3, 50)?;
    fd::close(file)
}

/// A memfd that a process makes and passes to its parent by a unix socket.
pub fn passed(chain: &mut Chain) -> Result {
    let mut ends = [0; 2];
    sys!(socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()))?;
    let child = fork(|| {
        let file = sys!(memfd_create(c"passed".as_ptr(), libc::MFD_CLOEXEC))?;
        let state = Shared::<State>::of_file(file)?;
        send(ends[1], file)?;
        work(1, &state)?;
        Ok(0)
    })?;
    let file = receive(ends[0])?;
    let state = Shared::<State>::of(file, libc::MAP_SHARED)?;
    work(0, &state)?;
    join(child)?;
    chain.num(state.count.load(Ordering::SeqCst));
    check_each_ascends(&state.order.take(chain)?, 2, 50)?;
    fd::close_all(&[file, ends[0], ends[1]])
}

/// Room for a control message with one descriptor, as the kernel aligns it.
type Control = [u64; 3];

fn message(byte: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    let mut message: libc::msghdr = crate::kit::zero();
    message.msg_iov = byte;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control);
    message
}

fn send(socket: i32, file: i32) -> Result {
    let mut byte = b'!';
    let mut iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // Length 20, level and type, the descriptor.
    let kind = u64::from(libc::SOL_SOCKET as u32) | u64::from(libc::SCM_RIGHTS as u32) << 32;
    let mut control: Control = [20, kind, file as u64];
    let message = message(&mut iov, &mut control);
    check_eq!(sys!(sendmsg(socket, &raw const message, 0))?, 1, "bytes sent");
    Ok(())
}

fn receive(socket: i32) -> Result<i32> {
    let mut byte = 0u8;
    let mut iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control: Control = [0; 3];
    let mut message = message(&mut iov, &mut control);
    check_eq!(sys!(recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC))?, 1, "bytes received");
    let control = std::hint::black_box(control);
    check_eq!(control[0], 20, "the control message's length");
    Ok(control[2] as u32 as i32)
}

/// shm_open: a file by a name, in memory.
pub fn posix(chain: &mut Chain) -> Result {
    let name = fd::c(&format!("/guest-{}", pid()));
    let file = plain!(shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600));
    if file == -1 {
        return unsupported("shm_open: /dev/shm is not there");
    }
    let state = Shared::<State>::of_file(file)?;
    fails!(EEXIST, shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600))?;
    let done = children(3, &state, chain, |index, _| {
        let own = sys!(shm_open(name.as_ptr(), libc::O_RDWR, 0))?;
        work(index, &*Shared::<State>::of(own, libc::MAP_SHARED)?)
    });
    sys!(shm_unlink(name.as_ptr()))?;
    done?;
    fails!(ENOENT, shm_open(name.as_ptr(), libc::O_RDWR, 0))?;
    chain.num(state.count.load(Ordering::SeqCst));
    check_each_ascends(&state.order.take(chain)?, 3, 50)?;
    fd::close(file)
}

/// A shared mapping moves and grows; a child keeps it where it was.
pub fn remap(chain: &mut Chain) -> Result {
    let file = sys!(memfd_create(c"grows".as_ptr(), libc::MFD_CLOEXEC))?;
    sys!(ftruncate(file, 64 * PAGE as i64))?;
    let mut map = Map::new(4 * PAGE, BOTH, libc::MAP_SHARED, file, 0)?;
    for round in 0..5 {
        let (to_child, from_parent) = (fd::pipe()?, fd::pipe()?);
        let child = fork(|| {
            fd::read_exact(from_parent.0, 1)?;
            let seen = map.bytes(0..100).to_vec();
            map.put(200, &fd::random(50)?);
            fd::write_all(to_child.1, &seen)?;
            Ok(0)
        })?;
        let pages = 4 << (round % 4);
        let old = map.start();
        let blocker = Map::zeros(PAGE)?;
        let new = sys!(mremap(
            old.cast(),
            if round == 0 { 4 } else { 4 << ((round - 1) % 4) } * PAGE,
            pages * PAGE,
            libc::MREMAP_MAYMOVE
        ))?;
        map.moved(new, pages * PAGE);
        let data = chain.data(100);
        map.put(0, &data);
        map.put((pages - 1) * PAGE, &data);
        fd::write_all(from_parent.1, b"!")?;
        let seen = fd::read_exact(to_child.0, 100)?;
        join(child)?;
        check_eq!(seen, data, "what the child sees through the old place");
        chain.bytes(map.bytes(0..300));
        let mut back = vec![0; 100];
        let at = ((pages - 1) * PAGE) as i64;
        check_eq!(sys!(pread(file, back.as_mut_ptr().cast(), 100, at))?, 100, "bytes of the file");
        check_eq!(back, data, "the last page in the file");
        drop(blocker);
        fd::close_all(&[to_child.0, to_child.1, from_parent.0, from_parent.1])?;
    }
    fd::close(file)
}

/// Parts of a mapped file are written, synchronised, and read by descriptor; and the other way round.
pub fn msync(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"synchronised")?;
    sys!(ftruncate(file, 8 * PAGE as i64))?;
    let mut map = Map::new(8 * PAGE, BOTH, libc::MAP_SHARED, file, 0)?;
    for round in 0..16 {
        let (page, data) = (round % 8, chain.data(500));
        let child = fork(|| {
            map.put(page * PAGE + 100, &data);
            sys!(msync(map.at(page * PAGE).cast(), PAGE, if round < 8 { libc::MS_SYNC } else { libc::MS_ASYNC }))?;
            let other = ((page + 4) % 8 * PAGE) as i64;
            check_eq!(sys!(pwrite(file, data.as_ptr().cast(), 500, other))?, 500, "bytes written");
            Ok(0)
        })?;
        join(child)?;
        let mut back = vec![0; 500];
        check_eq!(sys!(pread(file, back.as_mut_ptr().cast(), 500, (page * PAGE) as i64 + 100))?, 500, "bytes");
        check_eq!(back, data, "what the mapping wrote, in the file");
        let other = (page + 4) % 8 * PAGE;
        check_eq!(map.bytes(other..other + 100), &data[..100], "what was written to the file, in the mapping");
        chain.bytes(map.bytes(other..other + 700));
    }
    fd::close(file)
}
