//! Bytes of files.

use std::ptr::null_mut;

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, WorkDir, fd};

/// Every form of `lseek`, holes included.
pub fn lseek(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let data = chain.data(1000);
    fd::write_all(file, &data)?;
    check_eq!(sys!(lseek(file, 10, libc::SEEK_SET))?, 10, "SEEK_SET");
    check_eq!(sys!(lseek(file, 15, libc::SEEK_CUR))?, 25, "SEEK_CUR");
    check_eq!(sys!(lseek(file, -100, libc::SEEK_END))?, 900, "SEEK_END");
    check_eq!(fd::read_exact(file, 50)?, data[900..950], "bytes behind the seek");
    fails!(EINVAL, lseek(file, -1, libc::SEEK_SET))?;
    fails!(EINVAL, lseek(file, 0, 77))?;
    let (read, write) = fd::pipe()?;
    fails!(ESPIPE, lseek(read, 0, libc::SEEK_SET))?;
    sys!(lseek(file, 1 << 20, libc::SEEK_SET))?;
    fd::write_all(file, &data)?;
    check_eq!(sys!(lseek(file, 0, libc::SEEK_END))?, (1 << 20) + 1000, "size with a hole");
    sys!(lseek(file, 500_000, libc::SEEK_SET))?;
    check!(fd::read_exact(file, 5000)?.iter().all(|&byte| byte == 0), "the hole has bytes");
    let hole = sys!(lseek(file, 0, libc::SEEK_HOLE))?;
    let next = sys!(lseek(file, hole, libc::SEEK_DATA));
    // A file system may say that there is no hole but the end.
    check!(hole >= 1000, "a hole at {hole}");
    chain.num(hole);
    chain.num(next.unwrap_or(-1));
    fails!(ENXIO, lseek(file, 1 << 30, libc::SEEK_DATA))?;
    chain.bytes(&data);
    fd::close_all(&[file, read, write])
}

/// `pread` and `pwrite` do not move the offset.
pub fn pread_pwrite(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let data = chain.data(5000);
    for at in (0..5000).step_by(500).rev() {
        check_eq!(sys!(pwrite(file, data[at..].as_ptr().cast(), 500, at as i64))?, 500, "bytes written at {at}");
    }
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 0, "offset");
    let mut part = [0; 700];
    check_eq!(sys!(pread(file, part.as_mut_ptr().cast(), 700, 4500))?, 500, "bytes read at the end");
    check_eq!(part[..500], data[4500..], "bytes at the end");
    check_eq!(sys!(pread(file, part.as_mut_ptr().cast(), 700, 9000))?, 0, "bytes behind the end");
    fails!(EINVAL, pread(file, part.as_mut_ptr().cast(), 700, -5))?;
    check_eq!(fd::read_to_end(file)?, data, "the whole file");
    chain.bytes(&data);
    let (read, write) = fd::pipe()?;
    fails!(ESPIPE, pread(read, part.as_mut_ptr().cast(), 7, 0))?;
    fd::close_all(&[file, read, write])
}

/// O_APPEND writes to the end of the file as it is then, whoever else has made it longer.
pub fn append(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let first = fd::open(c"log", libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND)?;
    let second = fd::open(c"log", libc::O_RDWR | libc::O_APPEND)?;
    let mut wanted = Vec::new();
    for round in 0..20usize {
        let line = chain.data(10 + round);
        sys!(lseek(first, 0, libc::SEEK_SET))?;
        fd::write_all(if round % 2 == 0 { first } else { second }, &line)?;
        wanted.extend(line);
    }
    sys!(lseek(second, 0, libc::SEEK_SET))?;
    check_eq!(fd::read_to_end(second)?, wanted, "the log");
    chain.bytes(&wanted);
    // Two children append records of their own, in an order that the scheduler makes: none is lost, none is torn.
    let children = [1u8, 2].map(|mark| {
        fork(|| {
            let log = fd::open(c"log", libc::O_WRONLY | libc::O_APPEND)?;
            (0..50).try_for_each(|_| fd::write_all(log, &[mark; 16]))?;
            Ok(0)
        })
    });
    for child in children {
        join(child?)?;
    }
    let records = fd::read_to_end(second)?;
    let marks: Vec<u8> = records.chunks(16).map(|record| if record == [record[0]; 16] { record[0] } else { 0 }).collect();
    check_eq!(marks.iter().filter(|&&mark| mark == 1).count(), 50, "records of the first child");
    check_eq!(marks.iter().filter(|&&mark| mark == 2).count(), 50, "records of the second child");
    chain.bytes(&marks);
    fd::close_all(&[first, second])
}

/// `copy_file_range` with and without offsets.
pub fn copy_file_range(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let (from, to) = (fd::create(c"from")?, fd::create(c"to")?);
    let data = chain.data(30_000);
    fd::write_all(from, &data)?;
    sys!(lseek(from, 1000, libc::SEEK_SET))?;
    check_eq!(sys!(copy_file_range(from, null_mut(), to, null_mut(), 9000, 0))?, 9000, "bytes copied");
    check_eq!(sys!(lseek(from, 0, libc::SEEK_CUR))?, 10_000, "offset of the source");
    let (mut read_at, mut write_at) = (20_000i64, 9_000i64);
    check_eq!(sys!(copy_file_range(from, &raw mut read_at, to, &raw mut write_at, 50_000, 0))?, 10_000, "bytes to the end");
    check_eq!((read_at, write_at), (30_000, 19_000), "offsets");
    check_eq!(sys!(lseek(to, 0, libc::SEEK_CUR))?, 9_000, "offset of the copy");
    sys!(lseek(to, 0, libc::SEEK_SET))?;
    let copy = fd::read_to_end(to)?;
    check_eq!(copy, [&data[1000..10_000], &data[20_000..]].concat(), "the copy");
    chain.bytes(&copy);
    fails!(EINVAL, copy_file_range(from, null_mut(), to, null_mut(), 10, 1))?;
    fd::close_all(&[from, to])
}

/// 6 MiB written and read back by few calls.
pub fn large(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"large")?;
    let data = fd::random(6 << 20)?;
    check_eq!(fd::write(file, &data)?, data.len(), "bytes of one write");
    sys!(lseek(file, 0, libc::SEEK_SET))?;
    let mut back = vec![0; 7 << 20];
    check_eq!(fd::read(file, &mut back)?, data.len(), "bytes of one read");
    check!(back[..data.len()] == data, "the bytes differ");
    chain.bytes(&back);
    fd::close(file)
}

/// Flushing and advice succeed and change nothing.
pub fn sync(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let data = chain.data(100_000);
    fd::write_all(file, &data)?;
    sys!(fdatasync(file))?;
    sys!(fsync(file))?;
    sys!(sync_file_range(file, 0, 4096, libc::SYNC_FILE_RANGE_WRITE))?;
    for advice in [libc::POSIX_FADV_SEQUENTIAL, libc::POSIX_FADV_WILLNEED, libc::POSIX_FADV_DONTNEED] {
        check_eq!(plain!(posix_fadvise(file, 0, 0, advice)), 0, "advice {advice}");
    }
    sys!(readahead(file, 0, 50_000))?;
    sys!(lseek(file, 0, libc::SEEK_SET))?;
    check_eq!(fd::read_to_end(file)?, data, "bytes");
    chain.bytes(&data);
    let (read, write) = fd::pipe()?;
    fails!(EINVAL, fsync(read))?;
    fd::close_all(&[file, read, write])
}
