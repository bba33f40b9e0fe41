//! New processes and programs from one that has threads.

use std::cell::Cell;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kit::order::by;
use crate::kit::process::{SELF, join_code, pid};
use crate::kit::thread::{self, tid};
use crate::kit::{Chain, Order, Result, clock, fd};

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}

/// A child of a thread has only that thread, its thread-local values, and may have threads of its own.
pub fn fork(chain: &mut Chain) -> Result {
    let (stop_read, stop_write) = fd::pipe()?;
    let others = [0, 1].map(|_| thread::start(move || fd::read_exact(stop_read, 1)));
    let state = Arc::new(Order::new());
    let children = thread::all(3, &state, |index, order| {
        OWN.set(1000 + index as u64);
        let child = crate::kit::process::fork(|| {
            check_eq!(tid(), pid(), "the child's only thread");
            check_eq!(OWN.get(), 1000 + index as u64, "the child's own value");
            let more = thread::start(|| Ok((OWN.get(), tid())))?;
            let (value, number) = thread::join(more)?;
            check!(value == 0 && number != pid(), "the child's thread has value {value} and number {number}");
            Ok(10 + index as i32)
        })?;
        order.note(by(index, child as u64));
        join_code(child, 10 + index as i32)?;
        Ok(child)
    })?;
    children.into_iter().for_each(|child| chain.num(child));
    state.take(chain)?;
    fd::write_all(stop_write, b"!!")?;
    for other in others {
        thread::join(other?)?;
    }
    fd::close_all(&[stop_read, stop_write])
}

/// Threads fork while another allocates: the child can allocate, too.
pub fn race(chain: &mut Chain) -> Result {
    let state = Arc::new((Order::new(), AtomicU32::new(0)));
    thread::all(3, &state, |index, (order, done)| {
        if index == 2 {
            let mut kept = Vec::new();
            while done.load(Ordering::SeqCst) < 2 {
                kept.push(vec![1u8; 100 + kept.len() * 7 % 3000]);
                if kept.len() > 50 {
                    kept.clear();
                    thread::rest()?;
                }
            }
            return Ok(());
        }
        for round in 0..8 {
            let child = crate::kit::process::fork(|| Ok(i32::from(vec![round; 4000].iter().any(|byte| *byte != round))))?;
            order.note(by(index, child as u64));
            join_code(child, 0)?;
        }
        done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })?;
    check_eq!(state.0.take(chain)?.len(), 16, "children");
    Ok(())
}

/// A thread that is not the first one becomes another program: the others end, the number is the process's.
pub fn exec(chain: &mut Chain) -> Result {
    for _ in 0..3 {
        let (read, write) = fd::pipe_with(0)?;
        let child = crate::kit::process::fork(|| {
            fd::close(read)?;
            let _ = thread::start(|| clock::sleep_ms(100_000))?;
            let _ = thread::start(move || {
                let fd = fd::c(&write.to_string());
                let args = [c"guests".as_ptr(), c"@environment".as_ptr(), fd.as_ptr(), std::ptr::null()];
                sys!(execve(SELF.as_ptr(), args.as_ptr(), [std::ptr::null()].as_ptr()))
            })?;
            plain!(pause());
            Ok(99)
        })?;
        fd::close(write)?;
        let answer = fd::read_to_end(read)?;
        join_code(child, 0)?;
        let text = String::from_utf8_lossy(answer.get(16..).unwrap_or_default()).into_owned();
        check_eq!(text, format!("{child} guests|@environment|{write} "), "what the program says");
        chain.bytes(&answer);
        fd::close(read)?;
    }
    Ok(())
}

/// Several threads start programs by posix_spawn at once.
pub fn spawn(chain: &mut Chain) -> Result {
    let state = Arc::new(Order::new());
    let program = SELF.to_str()?;
    thread::all(4, &state, move |index, order| {
        for round in 0..3 {
            let code = (10 * index + round) as i32;
            let mut child = Command::new(program).args(["@exit", &code.to_string()]).spawn()?;
            order.note(by(index, u64::from(child.id())));
            check_eq!(child.wait()?.code(), Some(code), "exit code");
        }
        Ok(())
    })?;
    check_eq!(state.take(chain)?.len(), 12, "programs");
    Ok(())
}

/// vfork stops only the thread that called it.
pub fn vfork(chain: &mut Chain) -> Result {
    let state = Arc::new((Order::new(), AtomicU32::new(0)));
    thread::all(3, &state, |index, (order, done)| {
        if index == 2 {
            let mut steps = 0;
            while done.load(Ordering::SeqCst) < 2 {
                order.note(by(index, steps));
                steps += 1;
                clock::sleep_ms(1)?;
            }
            return Ok(());
        }
        let env = [c"GUEST=vfork".as_ptr(), std::ptr::null()];
        for code in [c"0", c"7", c"33"] {
            let args = [c"guests".as_ptr(), c"@exit".as_ptr(), code.as_ptr(), std::ptr::null()];
            let child = crate::process::vfork_and_exec(SELF, &args, &env);
            check!(child > 0, "vfork gave {child}");
            order.note(by(index, child as u64));
            join_code(child as i32, code.to_str()?.parse()?)?;
        }
        done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })?;
    check!(state.0.take(chain)?.len() >= 6, "notes are missing");
    Ok(())
}
