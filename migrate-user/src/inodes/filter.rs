//! The calls that the supervisor is asked about, as a program of classic BPF.

use crate::sys::seccomp::Instruction;

/// `AUDIT_ARCH_X86_64` of linux/audit.h.
const X86_64: u32 = 0xc000_003e;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// Calls that tell a file's numbers.
pub const STATS: [i64; 5] = [libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_statx];

/// Calls after which a task may have other rights: what the supervisor knows of them is void. They are never answered by it.
pub const RIGHTS: [i64; 14] = [
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setgroups,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capset,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_unshare,
    libc::SYS_setns,
];

/// The program: [`STATS`] and [`RIGHTS`] ask, everything else passes. The kernel finds out by itself which calls always pass, and does
/// not run it for them (Linux 5.11).
#[must_use]
pub fn program() -> Vec<Instruction> {
    let load = |offset| Instruction { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset };
    let give = |value| Instruction { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: value };
    let equal = |value, jt, jf| Instruction { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k: value };
    let calls: Vec<u32> = STATS.iter().chain(&RIGHTS).map(|&nr| nr as u32).collect();
    let mut program = vec![load(ARCH), equal(X86_64, 1, 0), give(RET_ALLOW), load(NR)];
    for (at, &nr) in calls.iter().enumerate() {
        // Past the calls that follow, and past the end for those that match none.
        program.push(equal(nr, (calls.len() - at) as u8, 0));
    }
    program.extend([give(RET_ALLOW), give(RET_USER_NOTIF)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(program: &[Instruction], nr: u32, arch: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                0x20 => value = if k == NR { nr } else { arch },
                0x15 => at += usize::from(if value == k { jt } else { jf }),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn it_asks_about_its_calls_and_no_other() {
        let program = program();
        let asked: Vec<i64> = (0..1024).filter(|&nr| run(&program, nr, X86_64) == RET_USER_NOTIF).map(i64::from).collect();
        let mut wanted: Vec<i64> = STATS.iter().chain(&RIGHTS).copied().collect();
        wanted.sort_unstable();
        assert_eq!(asked, wanted);
        assert!((0..1024).all(|nr| run(&program, nr, 0x4000_0003) == RET_ALLOW));
    }
}
