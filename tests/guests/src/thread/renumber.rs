//! A descriptor's number that comes to stand for something else, between calls on it.

use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::thread;
use crate::kit::{Chain, Result, WorkDir, fd};

/// The number.
const NUMBER: i32 = 60;
/// Bytes of a read or a write.
const PART: usize = 16;
const ROUNDS: usize = 60;

/// What the number stands for in turn.
#[derive(Debug)]
struct Objects {
    file: i32,
    data: Vec<u8>,
    /// Where its offset is.
    at: usize,
    pipe: (i32, i32),
    pair: [i32; 2],
    counter: i32,
    zeros: i32,
}

const KINDS: usize = 5;

impl Objects {
    fn new(chain: &mut Chain) -> Result<Self> {
        let file = fd::create(c"file")?;
        let data = chain.data(2 * ROUNDS * 3 * PART);
        fd::write_all(file, &data)?;
        sys!(lseek(file, 0, libc::SEEK_SET))?;
        let mut pair = [0; 2];
        sys!(socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()))?;
        let counter = sys!(eventfd(0, 0))?;
        let zeros = fd::open(c"/dev/zero", libc::O_RDONLY)?;
        Ok(Self { file, data, at: 0, pipe: fd::pipe()?, pair, counter, zeros })
    }

    fn all(&self) -> [i32; KINDS] {
        [self.file, self.pipe.0, self.pair[0], self.counter, self.zeros]
    }

    /// Some calls on the number, which stands for this kind.
    fn work(&mut self, kind: usize, chain: &mut Chain) -> Result {
        for _ in 0..3 {
            let bytes = fd::random(PART)?;
            match kind {
                0 => {
                    check_eq!(fd::read_exact(NUMBER, PART)?, self.data[self.at..self.at + PART], "of the file");
                    self.at += PART;
                    check_eq!(sys!(lseek(NUMBER, 0, libc::SEEK_CUR))?, self.at as i64, "the file's offset");
                }
                1 => {
                    fd::write_all(self.pipe.1, &bytes)?;
                    check_eq!(fd::read_exact(NUMBER, PART)?, bytes, "of the pipe");
                }
                2 => {
                    fd::write_all(NUMBER, &bytes)?;
                    check_eq!(fd::read_exact(self.pair[1], PART)?, bytes, "to the other socket");
                    fd::write_all(self.pair[1], &bytes)?;
                    check_eq!(fd::read_exact(NUMBER, PART)?, bytes, "from the other socket");
                }
                3 => {
                    fd::write_all(NUMBER, &7u64.to_ne_bytes())?;
                    check_eq!(fd::read_u64(NUMBER)?, 7, "the counter");
                }
                _ => check_eq!(fd::read_exact(NUMBER, PART)?, [0; PART], "of zeros"),
            }
            chain.bytes(&bytes);
        }
        Ok(())
    }
}

/// The thread that works gives the number another meaning itself, and so does another thread while it waits.
pub fn renumber(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let mut objects = Objects::new(chain)?;
    let all = objects.all();
    let step = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&step);
    let other = thread::start(move || {
        for round in 0..ROUNDS {
            thread::until(|| theirs.load(Ordering::SeqCst) == 2 * round + 1)?;
            sys!(dup2(all[round * 3 % KINDS], NUMBER))?;
            theirs.store(2 * round + 2, Ordering::SeqCst);
        }
        Ok(())
    })?;
    for round in 0..ROUNDS {
        for kind in (0..KINDS).map(|kind| (kind + round) % KINDS) {
            sys!(dup2(all[kind], NUMBER))?;
            objects.work(kind, chain)?;
            if kind == 2 {
                fd::close(NUMBER)?;
                fails!(EBADF, read(NUMBER, null_mut(), 0))?;
            }
        }
        step.store(2 * round + 1, Ordering::SeqCst);
        thread::until(|| step.load(Ordering::SeqCst) == 2 * round + 2)?;
        objects.work(round * 3 % KINDS, chain)?;
    }
    thread::join(other)?;
    fd::close_all(&[NUMBER, objects.file, objects.pipe.0, objects.pipe.1, objects.counter, objects.zeros])?;
    fd::close_all(&objects.pair)
}
