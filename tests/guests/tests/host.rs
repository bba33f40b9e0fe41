//! Every guest on this host, without anything around it: its checks hold, twice, and its chain depends on random inputs. What
//! fails here is the guest's fault or the kernel's, not the recorder's.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

/// A guest takes less than a second on an idle machine; this is for busy ones.
const PATIENCE: Duration = Duration::from_secs(60);

/// Parts of guests that this host does not offer, each with the guest's name.
type Unsupported = Arc<Mutex<Vec<String>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let unsupported = Unsupported::default();
    let mut trials = vec![
        Trial::test("no_two_guests_have_one_name", no_two_guests_have_one_name),
        Trial::test("an_unknown_guest_is_refused_by_name", an_unknown_guest_is_refused_by_name),
        Trial::test("prefork_prints_every_job_once", || numbers_are_complete("prefork", "job", 700)),
        Trial::test("inputs_prints_every_step_once", || numbers_are_complete("inputs", "step", 60)),
        Trial::test("handover_prints_every_step_once", || numbers_are_complete("handover", "step", 10)),
        Trial::test("prefork_ends_on_sigterm", || ends_on_sigterm("prefork")),
        Trial::test("inputs_ends_on_sigterm", || ends_on_sigterm("inputs")),
    ];
    match guests() {
        Ok(guests) => {
            for (name, family) in guests.into_iter().filter(|(_, family)| family != "workload") {
                let unsupported = Arc::clone(&unsupported);
                trials.push(Trial::test(name.clone(), move || holds_twice(&name, &unsupported)).with_kind(family));
            }
        }
        Err(error) => {
            eprintln!("guests --list: {error}");
            return ExitCode::FAILURE;
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let unsupported = unsupported.lock().expect("no test panics with the lock");
    println!("{} parts of guests are not supported here", unsupported.len());
    unsupported.iter().for_each(|part| println!("    {part}"));
    conclusion.exit_code()
}

/// Names and families.
fn guests() -> io::Result<Vec<(String, String)>> {
    let output = Command::new(env!("CARGO_BIN_EXE_guests")).arg("--list").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split_once('\t')).map(|(name, family)| (name.to_owned(), family.to_owned())).collect())
}

/// A guest that has ended.
struct Run {
    code: Option<i32>,
    output: String,
    errors: String,
}

/// Starts a guest as the leader of a process group of its own, its output in files: no pipe that it could fill, nobody to read it.
fn start(args: &[&str], directory: &Path) -> io::Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guests"));
    command
        .args(args)
        .env("TMPDIR", directory)
        .stdin(Stdio::null())
        .stdout(File::create(directory.join("output"))?)
        .stderr(File::create(directory.join("errors"))?)
        .process_group(0);
    // Guests look at the numbers that descriptors get: whatever the test was started with stays here. Marked, not closed, for
    // the standard library tells a failed exec through a descriptor of its own.
    // SAFETY: between fork and exec, where close_range(2) may be called; it takes no pointers.
    unsafe {
        command.pre_exec(|| {
            if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
    command.spawn()
}

/// Waits for its end; whoever takes too long is killed with its whole group.
fn finish(mut child: Child, directory: &Path) -> Result<Run, Failed> {
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() > PATIENCE {
            let group = i32::try_from(child.id())?;
            // SAFETY: a number; the group is the child's own, which has not been waited for.
            unsafe { libc::killpg(group, libc::SIGKILL) };
            child.wait()?;
            return Err(format!("no end in {PATIENCE:?}; it wrote {}", std::fs::read_to_string(directory.join("output"))?).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let read = |name| std::fs::read_to_string(directory.join(name));
    Ok(Run { code: status.code(), output: read("output")?, errors: read("errors")? })
}

/// A directory of a test's own.
fn directory(name: &str) -> io::Result<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("host-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

fn run(args: &[&str], test: &str) -> Result<Run, Failed> {
    let directory = directory(test)?;
    let run = finish(start(args, &directory)?, &directory)?;
    let left: Vec<_> = std::fs::read_dir(&directory)?.collect::<io::Result<_>>()?;
    if run.code == Some(0) && left.len() > 2 {
        return Err(format!("it left {left:?} behind").into());
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(run)
}

fn holds_twice(name: &str, unsupported: &Unsupported) -> Result<(), Failed> {
    let mut last = None;
    for _ in 0..2 {
        let run = run(&[name], name)?;
        if run.code != Some(0) || !run.errors.is_empty() {
            return Err(format!("exit code {:?}: {}", run.code, run.errors).into());
        }
        let line = run.output.lines().last().unwrap_or_default().to_owned();
        if !line.starts_with(&format!("{name} end ")) {
            return Err(format!("its last line is {line:?}").into());
        }
        if last.as_ref() == Some(&line) {
            return Err(format!("two runs end with {line:?}").into());
        }
        if last.is_none() {
            let parts = run.output.lines().filter_map(|line| line.strip_prefix("unsupported: "));
            unsupported.lock().expect("no test panics with the lock").extend(parts.map(|part| format!("{name}: {part}")));
        }
        last = Some(line);
    }
    Ok(())
}

/// A workload's lines `WORD N DIGEST` count from 1 to as many as it was asked for.
fn numbers_are_complete(name: &str, word: &str, steps: u64) -> Result<(), Failed> {
    let run = run(&[name, &steps.to_string()], &format!("{name}-complete"))?;
    if run.code != Some(0) {
        return Err(format!("exit code {:?}: {}", run.code, run.errors).into());
    }
    let numbers: Vec<u64> =
        run.output.lines().filter_map(|line| line.strip_prefix(word)?.trim_start().split(' ').next()?.parse().ok()).collect();
    if numbers.len() < usize::try_from(steps)? || !numbers.iter().copied().eq(1..=numbers.len() as u64) {
        return Err(format!("numbers {numbers:?}").into());
    }
    Ok(())
}

fn ends_on_sigterm(name: &str) -> Result<(), Failed> {
    let directory = directory(&format!("{name}-sigterm"))?;
    let child = start(&[name], &directory)?;
    let began = Instant::now();
    while std::fs::read_to_string(directory.join("output"))?.lines().count() < 10 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    // SAFETY: a number; the child has not been waited for.
    unsafe { libc::kill(i32::try_from(child.id())?, libc::SIGTERM) };
    let run = finish(child, &directory)?;
    std::fs::remove_dir_all(&directory)?;
    if run.code != Some(0) || !run.output.lines().any(|line| line.starts_with("end ")) {
        return Err(format!("exit code {:?}: {}{}", run.code, run.output, run.errors).into());
    }
    Ok(())
}

fn no_two_guests_have_one_name() -> Result<(), Failed> {
    let mut names: Vec<String> = guests()?.into_iter().map(|(name, _)| name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    if names.len() != all || all < 50 {
        return Err(format!("{all} guests, {} names", names.len()).into());
    }
    Ok(())
}

fn an_unknown_guest_is_refused_by_name() -> Result<(), Failed> {
    let run = run(&["nothing"], "unknown")?;
    if run.code != Some(2) || !run.errors.contains("no guest nothing") {
        return Err(format!("exit code {:?}: {}", run.code, run.errors).into());
    }
    Ok(())
}
