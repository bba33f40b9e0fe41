//! A loop over everything non-deterministic that a program can ask the kernel for, about 20 steps a second, mostly asleep.
//!
//! Each step takes what it saw into the chain, checks what must hold wherever and whenever the program runs (steady clocks do not
//! go back, sleeps and timers do not end early and do end, numbers and names of the process stay, what was written is read), and
//! prints `step N CHAIN`. Inode numbers, CPU times, the wall clock and the like are taken into the chain but not compared with
//! those of earlier steps: they may change when the program is moved.

mod clocks;
mod files;
mod moves;
mod timers;

use crate::kit::chain::print;
use crate::kit::{Chain, Result, WorkDir, fd, zero};
use crate::workload::until::Until;

use clocks::Clocks;
use files::Files;
use moves::Moves;
use timers::Timers;

/// Runs until SIGTERM or SIGINT, or for as many steps as the first argument says.
pub fn inputs(chain: &mut Chain) -> Result {
    let until = Until::new()?;
    let _dir = WorkDir::enter()?;
    let me = Me::now()?;
    let device = fd::open(c"/dev/urandom", libc::O_RDONLY)?;
    let (mut clocks, mut timers, mut moves, mut files) = (Clocks::new()?, Timers::new()?, Moves::new()?, Files::new()?);
    let mut step = 0;
    while !until.reached(step) {
        step += 1;
        chain.bytes(&fd::random(24)?);
        chain.bytes(&fd::read_exact(device, 16)?);
        me.check()?;
        clocks.step(chain)?;
        moves.step(chain)?;
        files.step(chain)?;
        timers.step(chain)?;
        print(&format!("step {step} {:016x}", chain.digest()))?;
    }
    print(&format!("end steps {step} {} {:016x}", timers.summary(), chain.digest()))
}

/// What does not change while a process lives.
#[derive(Debug, PartialEq, Eq)]
struct Me {
    numbers: [i32; 4],
    users: [u32; 4],
    host: Vec<u8>,
    stat: Vec<String>,
}

impl Me {
    fn now() -> Result<Self> {
        let mut names: libc::utsname = zero();
        sys!(uname(&raw mut names))?;
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        Ok(Self {
            numbers: [plain!(getpid()), plain!(getppid()), plain!(getpgrp()), sys!(getsid(0))?],
            users: [plain!(getuid()), plain!(geteuid()), plain!(getgid()), plain!(getegid())],
            host: names.nodename.iter().map(|&byte| byte as u8).collect(),
            // Number, name, and behind the state parent, group and session.
            stat: stat
                .split_whitespace()
                .take(6)
                .enumerate()
                .filter(|(at, _)| *at != 2)
                .map(|(_, word)| word.to_owned())
                .collect(),
        })
    }

    fn check(&self) -> Result {
        let now = Self::now()?;
        check!(now == *self, "the process is {now:?} instead of {self:?}");
        Ok(())
    }
}

/// Waits for an event of one descriptor for at most 30 s, whatever signals come.
fn await_event(number: i32, events: i16) -> Result {
    let until = crate::kit::clock::monotonic()? + 30 * crate::kit::clock::SECOND_NS;
    loop {
        let mut entry = libc::pollfd { fd: number, events, revents: 0 };
        match plain!(poll(&raw mut entry, 1, 1000)) {
            1 => return Ok(()),
            -1 => check_eq!(crate::kit::call::errno(), libc::EINTR, "error of poll"),
            _ => {}
        }
        check!(crate::kit::clock::monotonic()? < until, "no event of descriptor {number} in 30 s");
    }
}
