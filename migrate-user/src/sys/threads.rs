//! The threads of a process, as /proc lists them (proc_pid_task(5)).

use super::ptrace::Pid;

/// Their numbers as this process sees them, in no order. Ones that have just begun or ended may be missing; of a process that has ended
/// there are none.
pub fn of(process: Pid) -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_own_threads_until_they_end() {
        let process = std::process::id().cast_signed();
        let number = std::thread::spawn(move || {
            let number = nix::unistd::gettid().as_raw();
            assert!(of(process).any(|thread| thread == number));
            number
        });
        let number = number.join().unwrap();
        while of(process).any(|thread| thread == number) {
            // A thread can be joined a little before the kernel is done with it.
            std::thread::yield_now();
        }
        assert!(of(process).any(|thread| thread == process));
        assert_eq!(of(Pid::MAX).count(), 0);
    }
}
