//! One pipe, many readers: who gets which bytes is up to the scheduler.

use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, fd};

const WORKERS: usize = 4;
const JOBS: u32 = 400;

/// Four children take jobs from one pipe and answer by another: each job is done once, by whom is a non-deterministic input.
pub fn shared(chain: &mut Chain) -> Result {
    let (jobs_read, jobs_write) = fd::pipe()?;
    let (done_read, done_write) = fd::pipe()?;
    let mut children = Vec::new();
    for _ in 0..WORKERS {
        children.push(fork(|| {
            fd::close_all(&[jobs_write, done_read])?;
            let mut job = [0; 4];
            // A read of 4 bytes is atomic as long as writers write 4.
            while fd::read(jobs_read, &mut job)? == 4 {
                let answer = [job, (pid() as u32).to_le_bytes()].concat();
                fd::write_all(done_write, &answer)?;
            }
            Ok(0)
        })?);
    }
    fd::close_all(&[jobs_read, done_write])?;
    for job in 0..JOBS {
        fd::write_all(jobs_write, &job.to_le_bytes())?;
    }
    fd::close(jobs_write)?;
    let mut done = vec![0u32; JOBS as usize];
    let answers = fd::read_to_end(done_read)?;
    for answer in answers.chunks_exact(8) {
        let job = u32::from_le_bytes(answer[..4].try_into()?) as usize;
        let worker = i32::from_le_bytes(answer[4..].try_into()?);
        check!(children.contains(&worker), "job {job} was done by {worker}");
        done[job] += 1;
        chain.num(job);
        chain.num(worker);
    }
    check!(done.iter().all(|&times| times == 1), "a job was done not once");
    children.into_iter().try_for_each(join)?;
    fd::close(done_read)
}
