//! exec.

use std::ffi::CString;
use std::ptr::null;

use crate::kit::process::{SELF, fork, join, join_code, pid};
use crate::kit::{Chain, Result, WorkDir, fd};

/// Pointers to strings, null at the end.
fn vector(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

fn strings(texts: &[&str]) -> Vec<CString> {
    texts.iter().map(|text| fd::c(text)).collect()
}

/// A new program has the arguments and the environment that it was given, and the old process's number; it sees other AT_RANDOM
/// bytes each time.
pub fn itself(chain: &mut Chain) -> Result {
    let mut seen = Vec::new();
    for round in 0..5 {
        let (read, write) = fd::pipe_with(0)?;
        let odd = format!("odd=\u{e9}\t{round}");
        let args = strings(&["any name", "@environment", &write.to_string(), "", "with space"]);
        let env = strings(&["ONE=1", "EMPTY=", &odd]);
        let child = fork(|| sys!(execve(SELF.as_ptr(), vector(&args).as_ptr(), vector(&env).as_ptr())))?;
        fd::close(write)?;
        let answer = fd::read_to_end(read)?;
        join(child)?;
        let text = String::from_utf8_lossy(&answer[16..]).into_owned();
        let wanted = format!("{child} any name|@environment|{write}||with space EMPTY=|ONE=1|{odd}");
        check_eq!(text, wanted, "what the program got");
        check!(!seen.contains(&answer[..16].to_vec()), "the same AT_RANDOM twice");
        seen.push(answer[..16].to_vec());
        chain.bytes(&answer);
        fd::close(read)?;
    }
    Ok(())
}

/// Role of [`itself`]: writes AT_RANDOM, its number, arguments and environment to a descriptor.
pub fn role_environment(args: &[String]) -> Result {
    let random = plain!(getauxval(libc::AT_RANDOM)) as *const [u8; 16];
    // SAFETY: the kernel put 16 bytes there, on the initial stack.
    let mut answer = Vec::from(unsafe { *random });
    let mut env: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    env.sort_unstable();
    let all: Vec<String> = std::env::args().collect();
    answer.extend(format!("{} {} {}", pid(), all.join("|"), env.join("|")).bytes());
    fd::write_all(args[0].parse()?, &answer)
}

/// One process becomes a new program 12 times; its number stays and a digest wanders along.
pub fn chain(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe_with(0)?;
    let child = fork(|| {
        let args = strings(&["guests", "@hop", "12", &pid().to_string(), "0", &write.to_string()]);
        sys!(execv(SELF.as_ptr(), vector(&args).as_ptr()))
    })?;
    fd::close(write)?;
    let answer = fd::read_to_end(read)?;
    join(child)?;
    check_eq!(answer.len(), 8, "bytes of the last program");
    chain.bytes(&answer);
    fd::close(read)
}

/// Role of [`chain`]: takes random bytes into the digest and becomes the next one.
pub fn role_hop(args: &[String]) -> Result {
    let (left, number, digest): (u32, i32, u64) = (args[0].parse()?, args[1].parse()?, args[2].parse()?);
    check_eq!(pid(), number, "process number");
    let digest = crate::kit::chain::mix_bytes(digest, &fd::random(8)?);
    if left == 0 {
        return fd::write_all(args[3].parse()?, &digest.to_le_bytes());
    }
    let next = strings(&["guests", "@hop", &(left - 1).to_string(), &args[1], &digest.to_string(), &args[3]]);
    sys!(execv(SELF.as_ptr(), vector(&next).as_ptr())).map(drop)
}

/// A program is looked for along PATH: what is not there, not allowed or a directory is passed over.
pub fn path(chain: &mut Chain) -> Result {
    let dir = WorkDir::enter()?;
    for name in ["plain", "folder", "right"] {
        sys!(mkdir(fd::c(name).as_ptr(), 0o755))?;
    }
    fd::close(fd::create(c"plain/guest-tool")?)?;
    sys!(mkdir(c"folder/guest-tool".as_ptr(), 0o755))?;
    std::os::unix::fs::symlink(std::fs::read_link("/proc/self/exe")?, "right/guest-tool")?;
    let here = dir.path().display();
    let path = format!("/nonexistent:{here}/missing:{here}/plain:{here}/folder:{here}/right");
    let run = |path: &str| {
        let path = fd::c(path);
        fork(move || {
            sys!(setenv(c"PATH".as_ptr(), path.as_ptr(), 1))?;
            let args = [c"guest-tool".as_ptr(), c"@exit".as_ptr(), c"23".as_ptr(), null()];
            plain!(execvp(c"guest-tool".as_ptr(), args.as_ptr()));
            Ok(crate::kit::call::errno())
        })
    };
    join_code(run(&path)?, 23)?;
    join_code(run("/dev/null:/nonexistent")?, libc::ENOENT)?;
    // Something by that name that may not run decides the error, though the search goes on.
    join_code(run(&format!("{here}/plain:{here}/missing"))?, libc::EACCES)?;
    chain.text(&path);
    Ok(())
}

/// Errors of exec leave the process as it was.
pub fn errors(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let args = [c"x".as_ptr(), null()];
    std::fs::write("script", "#!/nonexistent/interpreter\n")?;
    std::fs::write("garbage", chain.data(200))?;
    std::fs::write("garbage", b"\x7fELF and no more")?;
    for name in [c"script", c"garbage"] {
        sys!(chmod(name.as_ptr(), 0o755))?;
    }
    let writer = fd::create(c"busy")?;
    sys!(fchmod(writer, 0o755))?;
    fails!(ENOENT, execv(c"none".as_ptr(), args.as_ptr()))?;
    fails!(ENOENT, execv(c"script".as_ptr(), args.as_ptr()))?;
    fails!(ENOEXEC, execv(c"garbage".as_ptr(), args.as_ptr()))?;
    fails!(ETXTBSY, execv(c"busy".as_ptr(), args.as_ptr()))?;
    fails!(EACCES, execv(c".".as_ptr(), args.as_ptr()))?;
    fails!(ENOTDIR, execv(c"garbage/x".as_ptr(), args.as_ptr()))?;
    fails!(EFAULT, execv(c"garbage".as_ptr(), std::ptr::without_provenance(8)))?;
    let long = fd::c(&"x".repeat(200_000));
    fails!(E2BIG, execv(SELF.as_ptr(), [long.as_ptr(), null()].as_ptr()))?;
    fd::close(writer)?;
    chain.num(pid());
    // A script whose interpreter is this program gets its own name as the last argument.
    std::fs::write("good", format!("#!{} @echo\n", std::fs::read_link("/proc/self/exe")?.display()))?;
    sys!(chmod(c"good".as_ptr(), 0o755))?;
    let (read, write) = fd::pipe()?;
    let child = fork(|| {
        sys!(dup2(write, 1))?;
        sys!(dup2(write, 2))?;
        sys!(execv(c"good".as_ptr(), [c"good".as_ptr(), c"argument".as_ptr(), null()].as_ptr()))
    })?;
    fd::close(write)?;
    let text = fd::read_to_end(read)?;
    join_code(child, 17)?;
    check!(String::from_utf8_lossy(&text).contains("good|argument\n"), "output {}", String::from_utf8_lossy(&text));
    chain.bytes(&text);
    fd::close(read)
}

/// 800 arguments of 100 bytes, and a large environment, arrive whole.
pub fn large(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe_with(0)?;
    let mut text = |len: usize| -> String { (0..len).map(|_| char::from(b'a' + chain.below(26) as u8)).collect() };
    let mut args = strings(&["guests", "@environment", &write.to_string()]);
    args.extend((0..800).map(|_| fd::c(&text(100))));
    let env: Vec<CString> = (100..400).map(|number| fd::c(&format!("N{number}={}", text(200)))).collect();
    let child = fork(|| sys!(execve(SELF.as_ptr(), vector(&args).as_ptr(), vector(&env).as_ptr())))?;
    fd::close(write)?;
    let answer = fd::read_to_end(read)?;
    join(child)?;
    let join = |strings: &[CString]| strings.iter().map(|string| string.to_string_lossy()).collect::<Vec<_>>().join("|");
    let wanted = format!("{child} {} {}", join(&args), join(&env));
    check!(answer[16..] == *wanted.as_bytes(), "the program got something else");
    chain.bytes(&answer);
    fd::close(read)
}

/// The environment of this process: set, changed, removed, and inherited by a program.
pub fn environment(chain: &mut Chain) -> Result {
    sys!(clearenv())?;
    sys!(setenv(c"B".as_ptr(), c"first".as_ptr(), 1))?;
    sys!(setenv(c"B".as_ptr(), c"second".as_ptr(), 0))?;
    sys!(setenv(c"A".as_ptr(), c"".as_ptr(), 1))?;
    sys!(setenv(c"C".as_ptr(), c"gone".as_ptr(), 1))?;
    sys!(unsetenv(c"C".as_ptr()))?;
    check_eq!(std::env::var("B").as_deref(), Ok("first"), "B");
    check!(std::env::var_os("C").is_none(), "C is there");
    let (read, write) = fd::pipe_with(0)?;
    let child = fork(|| {
        sys!(setenv(c"D".as_ptr(), c"child".as_ptr(), 1))?;
        let args = strings(&["guests", "@environment", &write.to_string()]);
        sys!(execv(SELF.as_ptr(), vector(&args).as_ptr()))
    })?;
    fd::close(write)?;
    let answer = fd::read_to_end(read)?;
    join(child)?;
    check!(answer.ends_with(b" A=|B=first|D=child"), "environment {}", String::from_utf8_lossy(&answer[16..]));
    check!(std::env::var_os("D").is_none(), "a child's variable is here");
    chain.bytes(&answer);
    fd::close(read)
}
