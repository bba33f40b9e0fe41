//! A pipeline of programs, as a shell makes it.

use std::ffi::CStr;

use crate::kit::chain::{mix, mix_bytes};
use crate::kit::process::{SELF, fork, join_code};
use crate::kit::{Chain, Result, fd};

/// Starts a program between two descriptors.
fn start(role: &CStr, argument: &CStr, input: i32, output: i32) -> Result<i32> {
    fork(|| {
        sys!(dup2(input, 0))?;
        sys!(dup2(output, 1))?;
        let args = [c"guests".as_ptr(), role.as_ptr(), argument.as_ptr(), std::ptr::null()];
        sys!(execv(SELF.as_ptr(), args.as_ptr()))
    })
}

/// Five times: produce, invert, invert, count. What comes out follows from the seed that went in.
pub fn pipeline(chain: &mut Chain) -> Result {
    for round in 0..5 {
        let seed = chain.below(1 << 40);
        let text = fd::c(&seed.to_string());
        let null = fd::open(c"/dev/null", libc::O_RDWR)?;
        let pipes = [fd::pipe()?, fd::pipe()?, fd::pipe()?, fd::pipe()?];
        let children = [
            start(c"@produce", &text, null, pipes[0].1)?,
            start(c"@invert", c"", pipes[0].0, pipes[1].1)?,
            start(c"@invert", c"", pipes[1].0, pipes[2].1)?,
            start(c"@count", c"", pipes[2].0, pipes[3].1)?,
        ];
        let [first, second, third, (read, write)] = pipes;
        fd::close_all(&[null, first.0, first.1, second.0, second.1, third.0, third.1, write])?;
        let answer = String::from_utf8(fd::read_to_end(read)?)?;
        let produced: Vec<u8> = produce(seed).collect();
        check_eq!(answer, format!("{} {:016x}\n", produced.len(), mix_bytes(0, &produced)), "round {round}");
        for (child, code) in children.into_iter().zip([3, 0, 0, 0]) {
            join_code(child, code)?;
            chain.num(child);
        }
        chain.text(&answer);
        fd::close(read)?;
    }
    Ok(())
}

/// 50 kB that follow from a seed.
fn produce(seed: u64) -> impl Iterator<Item = u8> {
    (0..6250).flat_map(move |step| mix(seed, step).to_le_bytes())
}

/// Writes bytes that follow from a seed to standard output, in pieces, and exits with 3.
pub fn role_produce(args: &[String]) -> Result {
    let bytes: Vec<u8> = produce(args[0].parse()?).collect();
    bytes.chunks(1111).try_for_each(|part| fd::write_all(1, part))?;
    std::process::exit(3)
}

/// Inverts standard input.
pub fn role_invert(_: &[String]) -> Result {
    let mut part = [0; 4096];
    loop {
        let got = fd::read(0, &mut part)?;
        if got == 0 {
            return Ok(());
        }
        part[..got].iter_mut().for_each(|byte| *byte = !*byte);
        fd::write_all(1, &part[..got])?;
    }
}

/// Counts and digests standard input.
pub fn role_count(_: &[String]) -> Result {
    let bytes = fd::read_to_end(0)?;
    fd::write_all(1, format!("{} {:016x}\n", bytes.len(), mix_bytes(0, &bytes)).as_bytes())
}
