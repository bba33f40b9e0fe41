//! Starting programs without copying memory.

use std::arch::asm;
use std::ffi::{CStr, c_void};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::kit::process::{SELF, join_code, pid, wait};
use crate::kit::{Chain, Result, fd};

/// vfork, and exec in the child, in one piece: the child runs on the parent's stack, so nothing may happen in between.
pub fn vfork_and_exec(path: &CStr, args: &[*const libc::c_char], env: &[*const libc::c_char]) -> i64 {
    let result: i64;
    // SAFETY: the child changes only registers, then becomes another program or exits; the parent waits meanwhile. Path, arguments
    // and environment end in null.
    unsafe {
        asm!(
            "mov eax, 58",
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, 59",
            "syscall",
            "mov edi, 121",
            "mov eax, 231",
            "syscall",
            "2:",
            in("rdi") path.as_ptr(),
            in("rsi") args.as_ptr(),
            in("rdx") env.as_ptr(),
            lateout("rax") result,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// vfork and exec, of a program that is there and one that is not.
pub fn vfork_exec(chain: &mut Chain) -> Result {
    let env = [c"GUEST=vfork".as_ptr(), std::ptr::null()];
    for code in [c"0", c"7", c"33"] {
        let args = [c"guests".as_ptr(), c"@exit".as_ptr(), code.as_ptr(), std::ptr::null()];
        let child = vfork_and_exec(SELF, &args, &env);
        check!(child > 0, "vfork gave {child}");
        join_code(child as i32, code.to_str()?.parse()?)?;
        chain.num(child);
    }
    let child = vfork_and_exec(c"/nonexistent/program", &env, &env);
    join_code(child as i32, 121)?;
    chain.num(child);
    Ok(())
}

extern "C" fn run(argument: *mut c_void) -> i32 {
    let shared = argument.cast::<i32>();
    // SAFETY: the parent's local, which waits until this child is gone.
    unsafe { *shared = libc::getpid() };
    9
}

/// A child in the parent's memory, on a stack of its own, while the parent waits: what it writes is there afterwards.
pub fn clone_vfork(chain: &mut Chain) -> Result {
    let mut stack = vec![0u128; 4096];
    for _ in 0..10 {
        let mut written = 0i32;
        let top = stack.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let child = sys!(clone(run, top.cast(), flags, (&raw mut written).cast()))?;
        check_eq!(std::hint::black_box(written), child, "what the child wrote");
        join_code(child, 9)?;
        chain.num(child);
    }
    Ok(())
}

/// The standard library's way to start programs: with pipes, directories, environments, and without.
pub fn posix_spawn(chain: &mut Chain) -> Result {
    let program = SELF.to_str()?;
    let output = Command::new(program).args(["@echo", "one", "two words", ""]).env("GUEST_ECHO", "spawned").output()?;
    check_eq!(output.status.code(), Some(17), "exit code: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let parent = pid();
    check!(text.starts_with(&format!("parent {parent}\nGUEST_ECHO spawned\none|two words|\n")), "output {text:?}");
    chain.text(&text);
    check_eq!(output.stderr, b"to standard error\n", "standard error");

    let mut child =
        Command::new(program).args(["@invert"]).stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/").spawn()?;
    let data = chain.data(10_000);
    if let Some(input) = child.stdin.as_mut() {
        input.write_all(&data)?;
    }
    let output = child.wait_with_output()?;
    check!(output.status.success(), "status {}", output.status);
    check!(output.stdout.iter().zip(&data).all(|(got, sent)| *got == !sent), "the bytes are not inverted");
    check_eq!(output.stdout.len(), data.len(), "bytes");
    chain.bytes(&output.stdout);
    let missing = Command::new("/nonexistent/program").spawn();
    check_eq!(missing.map(|_| ()).map_err(|error| error.raw_os_error()), Err(Some(libc::ENOENT)), "a program that is not there");
    let mut sleeper = Command::new(program).args(["@sleep", "20000"]).spawn()?;
    check!(sleeper.try_wait()?.is_none(), "the sleeper is over");
    sleeper.kill()?;
    check_eq!(wait(sleeper.id() as i32)?, libc::SIGKILL, "status of a killed program");
    chain.num(sleeper.id());
    Ok(())
}

/// Role of [`posix_spawn`]: prints what it got.
pub fn role_echo(args: &[String]) -> Result {
    let echo = std::env::var("GUEST_ECHO").unwrap_or_default();
    let line = format!("parent {}\nGUEST_ECHO {echo}\n{}\n", plain!(getppid()), args.join("|"));
    fd::write_all(1, line.as_bytes())?;
    fd::write_all(1, &fd::random(8)?.iter().map(|byte| b'a' + byte % 26).collect::<Vec<_>>())?;
    fd::write_all(2, b"to standard error\n")?;
    std::process::exit(17)
}
