//! A child: waits for jobs and signals, and says what it did.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use super::message::{Job, Kind, Packet, State};
use crate::kit::call::errno;
use crate::kit::clock::sleep_ms;
use crate::kit::process::pid;
use crate::kit::{Result, fd, signal};

static REPORT: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn told(number: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let flag = if number == libc::SIGUSR1 { &REPORT } else { &STOP };
    flag.store(true, Ordering::SeqCst);
}

/// Installs what a child answers to. The parent calls it with the signals blocked, before it forks, so that none can come too early.
pub fn prepare() -> Result {
    signal::install(libc::SIGUSR1, told, 0)
}

/// Runs until the child has done its share, is told to stop, or has no parent any more; gives its exit code.
pub fn run(jobs: i32, answers: i32, parent: i32) -> Result<i32> {
    signal::install(libc::SIGTERM, told, 0)?;
    signal::dispose(libc::SIGINT, libc::SIG_IGN)?;
    signal::dispose(libc::SIGCHLD, libc::SIG_DFL)?;
    STOP.store(false, Ordering::SeqCst);
    let own = pid();
    let mut state = State::new(own);
    let share = 20 + random()? % 60;
    let open = signal::set(&[]);
    loop {
        let say = |kind, number, random, state| {
            let packet = Packet { kind, number, random, state };
            check_eq!(fd::write(answers, &packet.encode())?, Packet::BYTES, "bytes of a packet");
            Result::Ok(())
        };
        if REPORT.swap(false, Ordering::SeqCst) {
            say(Kind::Report, 0, 0, state)?;
        }
        if STOP.load(Ordering::SeqCst) || state.jobs == share {
            say(Kind::Bye, 0, 0, state)?;
            return Ok(state.exit_code());
        }
        // Signals are only open here.
        let mut entry = libc::pollfd { fd: jobs, events: libc::POLLIN, revents: 0 };
        if plain!(ppoll(&raw mut entry, 1, std::ptr::null(), &raw const open)) == -1 {
            check_eq!(errno(), libc::EINTR, "error of ppoll");
            continue;
        }
        let mut bytes = [0; Job::BYTES];
        match fd::read(jobs, &mut bytes)? {
            Job::BYTES => {}
            0 => anyhow::bail!("the parent is gone"),
            other => anyhow::bail!("{other} bytes of a job"),
        }
        let job = Job::decode(bytes);
        check_eq!((pid(), plain!(getppid())), (own, parent), "numbers of child and parent");
        let random = random()?;
        sleep_ms((random % 12) as i64)?;
        state.step(job, random);
        say(Kind::Answer, job.number, random, state)?;
    }
}

fn random() -> Result<u64> {
    Ok(u64::from_le_bytes(fd::random(8)?[..].try_into()?))
}
