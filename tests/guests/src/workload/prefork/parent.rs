//! The parent: hands out jobs, checks answers, replaces children.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use super::child;
use super::message::{Job, Kind, Packet, State};
use crate::kit::call::errno;
use crate::kit::chain::print;
use crate::kit::clock::{MS_NS, SECOND_NS, monotonic, timespec};
use crate::kit::process::{fork, kill, pid};
use crate::kit::{Chain, Result, fd, signal};
use crate::workload::until::Until;

const CHILDREN: usize = 8;
/// Between two jobs.
const TICK_NS: i64 = 10 * MS_NS;
/// A child that owes an answer for so long is lost. Longer than any pause that is not a failure.
const PATIENCE_NS: i64 = 60 * SECOND_NS;
/// The signals that only come while the parent waits.
const HELD: [i32; 4] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGUSR1];

static ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn ended(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    ENDED.store(true, Ordering::SeqCst);
}

/// What the parent knows of a child.
#[derive(Debug)]
struct Child {
    pid: i32,
    jobs: i32,
    answers: i32,
    mirror: State,
    /// The job that it has, and since when.
    job: Option<(Job, i64)>,
    report_due: bool,
    killed: bool,
    bye: bool,
    /// Nobody reads its jobs any more.
    deaf: bool,
    /// Nothing more will come from it.
    silent: bool,
}

#[derive(Debug)]
struct Parent<'a> {
    chain: &'a mut Chain,
    children: Vec<Child>,
    /// The next new job's number.
    next: u64,
    /// Jobs whose child ended before it answered.
    again: Vec<Job>,
    /// Answers that wait for one with a smaller number.
    done: BTreeMap<u64, u64>,
    printed: u64,
    forks: u64,
    reports: u64,
    replaced: [u64; 3],
}

/// Runs until SIGTERM or SIGINT, or for as many jobs as the first argument says.
pub fn prefork(chain: &mut Chain) -> Result {
    let until = Until::new()?;
    signal::block(&HELD)?;
    signal::install(libc::SIGCHLD, ended, 0)?;
    child::prepare()?;
    let mut parent = Parent {
        chain,
        children: Vec::new(),
        next: 0,
        again: Vec::new(),
        done: BTreeMap::new(),
        printed: 0,
        forks: 0,
        reports: 0,
        replaced: [0; 3],
    };
    for _ in 0..CHILDREN {
        parent.start()?;
    }
    parent.work(&until)?;
    parent.finish()
}

impl Parent<'_> {
    fn start(&mut self) -> Result {
        let ((job_read, job_write), (near, far)) = (fd::pipe()?, crate::socket::pair(libc::SOCK_SEQPACKET)?);
        let inherited: Vec<i32> = self.children.iter().flat_map(|child| [child.jobs, child.answers]).collect();
        let parent = pid();
        let child = fork(|| {
            // Else a sibling's pipe would not end with its parent's, nor its socket with the sibling.
            fd::close_all(&inherited)?;
            fd::close_all(&[job_write, near])?;
            child::run(job_read, far, parent)
        })?;
        fd::close_all(&[job_read, far])?;
        self.children.push(Child {
            pid: child,
            jobs: job_write,
            answers: near,
            mirror: State::new(child),
            job: None,
            report_due: false,
            killed: false,
            bye: false,
            deaf: false,
            silent: false,
        });
        self.forks += 1;
        Ok(())
    }

    fn work(&mut self, until: &Until) -> Result {
        let mut tick = monotonic()?;
        while !until.reached(self.printed) {
            self.wait(tick)?;
            let now = monotonic()?;
            if now >= tick {
                self.hand_out(now)?;
                // After a pause the jobs go on at the usual rate; nothing is made up for.
                tick = (tick + TICK_NS).max(now);
            }
            if let Some(child) = self.children.iter().find(|child| child.job.is_some_and(|(_, since)| now - since > PATIENCE_NS))
            {
                anyhow::bail!("child {} owes an answer: {child:?}", child.pid);
            }
        }
        Ok(())
    }

    /// Waits for answers, ends of children, or the time.
    fn wait(&mut self, tick: i64) -> Result {
        let open = signal::set(&[]);
        let timeout = timespec((tick - monotonic()?).max(0));
        let mut entries: Vec<libc::pollfd> = self
            .children
            .iter()
            .map(|child| libc::pollfd { fd: if child.silent { -1 } else { child.answers }, events: libc::POLLIN, revents: 0 })
            .collect();
        let found = plain!(ppoll(entries.as_mut_ptr(), entries.len() as u64, &raw const timeout, &raw const open));
        if found == -1 {
            check_eq!(errno(), libc::EINTR, "error of ppoll");
        }
        for at in (0..entries.len()).filter(|&at| found > 0 && entries[at].revents != 0) {
            self.hear(at)?;
        }
        if ENDED.swap(false, Ordering::SeqCst) {
            self.reap(true)?;
        }
        Ok(())
    }

    /// Gives the next job to a child that has none, and now and then a signal to one.
    fn hand_out(&mut self, now: i64) -> Result {
        let idle: Vec<usize> = (0..self.children.len()).filter(|&at| self.children[at].free()).collect();
        if idle.is_empty() {
            return Ok(());
        }
        let at = idle[self.chain.below(idle.len() as u64) as usize];
        let job = match self.again.pop() {
            Some(job) => job,
            None => {
                self.next += 1;
                Job { number: self.next, salt: u64::from_le_bytes(fd::random(8)?[..].try_into()?) }
            }
        };
        let child = &mut self.children[at];
        let bytes = job.encode();
        if plain!(write(child.jobs, bytes.as_ptr().cast(), bytes.len())) == Job::BYTES as isize {
            child.job = Some((job, now));
        } else {
            // It has just ended; its SIGCHLD is on the way.
            check_eq!(errno(), libc::EPIPE, "error of a job's write");
            child.deaf = true;
            self.again.push(job);
            return Ok(());
        }
        let other = self.chain.below(self.children.len() as u64) as usize;
        let child = &mut self.children[other];
        if child.bye || child.killed {
            return Ok(());
        }
        if job.number % 300 == 0 {
            child.killed = true;
            kill(child.pid, libc::SIGKILL)?;
        } else if job.number % 120 == 0 {
            kill(child.pid, libc::SIGTERM)?;
        } else if job.number % 25 == 0 && !child.report_due {
            child.report_due = true;
            kill(child.pid, libc::SIGUSR1)?;
        }
        Ok(())
    }

    /// Takes one packet of a child.
    fn hear(&mut self, at: usize) -> Result {
        let child = &mut self.children[at];
        let mut bytes = [0; Packet::BYTES];
        match fd::read(child.answers, &mut bytes)? {
            0 => {
                child.silent = true;
                return Ok(());
            }
            Packet::BYTES => {}
            other => anyhow::bail!("{other} bytes of a packet of child {}", child.pid),
        }
        let packet = Packet::decode(&bytes)?;
        check!(!child.bye, "child {} wrote after its end: {packet:?}", child.pid);
        match packet.kind {
            Kind::Answer => {
                let Some((job, _)) = child.job.take() else { anyhow::bail!("child {} had no job: {packet:?}", child.pid) };
                check_eq!(packet.number, job.number, "number of the job of child {}", child.pid);
                child.mirror.step(job, packet.random);
                let before = self.done.insert(job.number, packet.state.digest);
                check!(before.is_none() && job.number > self.printed, "job {} was done twice", job.number);
            }
            Kind::Report => {
                check!(child.report_due, "child {} reported without being asked", child.pid);
                child.report_due = false;
                self.reports += 1;
            }
            Kind::Bye => child.bye = true,
        }
        let (mirror, number) = (child.mirror, child.pid);
        check_eq!(packet.state, mirror, "state of child {number}");
        while let Some(digest) = self.done.remove(&(self.printed + 1)) {
            self.printed += 1;
            self.chain.num(digest);
            print(&format!("job {} {:016x}", self.printed, self.chain.digest()))?;
        }
        Ok(())
    }

    /// Collects children that have ended, and replaces them.
    fn reap(&mut self, replace: bool) -> Result {
        while !self.children.is_empty() {
            let mut status = 0;
            let ended = sys!(waitpid(-1, &raw mut status, libc::WNOHANG))?;
            if ended == 0 {
                break;
            }
            let Some(at) = self.children.iter().position(|child| child.pid == ended) else {
                anyhow::bail!("process {ended} is no child");
            };
            // What it wrote before its end counts.
            while !self.children[at].silent {
                self.hear(at)?;
            }
            let child = self.children.swap_remove(at);
            if child.bye {
                check!(libc::WIFEXITED(status), "status {status:#x} of child {ended}");
                check_eq!(libc::WEXITSTATUS(status), child.mirror.exit_code(), "exit code of child {ended}");
                self.replaced[0] += 1;
            } else {
                check!(child.killed && libc::WIFSIGNALED(status), "child {ended} ended with {status:#x}: {child:?}");
                check_eq!(libc::WTERMSIG(status), libc::SIGKILL, "signal that ended child {ended}");
                self.replaced[1] += 1;
            }
            if let Some((job, _)) = child.job {
                self.again.push(job);
                self.replaced[2] += 1;
            }
            fd::close_all(&[child.jobs, child.answers])?;
            self.chain.num(ended);
            self.chain.num(status);
            if replace {
                self.start()?;
            }
        }
        Ok(())
    }

    /// Lets all children end and says what there was.
    fn finish(mut self) -> Result {
        for child in self.children.iter().filter(|child| !child.bye) {
            kill(child.pid, libc::SIGTERM)?;
        }
        let until = monotonic()? + PATIENCE_NS;
        while !self.children.is_empty() {
            for at in 0..self.children.len() {
                if !self.children[at].silent && fd::poll_one(self.children[at].answers, libc::POLLIN, 0)? != 0 {
                    self.hear(at)?;
                }
            }
            self.reap(false)?;
            check!(monotonic()? < until, "children do not end: {:?}", self.children);
            crate::kit::clock::sleep_ms(1)?;
        }
        fails!(ECHILD, waitpid(-1, std::ptr::null_mut(), libc::WNOHANG))?;
        let [exited, killed, handed_on] = self.replaced;
        print(&format!(
            "end jobs {} children {} exited {exited} killed {killed} reports {} jobs-handed-on {handed_on}",
            self.printed, self.forks, self.reports
        ))
    }
}

impl Child {
    /// Whether it may get a job.
    fn free(&self) -> bool {
        self.job.is_none() && !self.bye && !self.killed && !self.deaf && !self.silent
    }
}
