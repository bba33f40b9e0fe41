//! Self-checking guest programs: each sets up, exercises one kernel feature, checks what the kernel answers, and prints a digest
//! chain of everything that it saw. Run under record and then in a replica, the chain says whether the replica saw the same.
//!
//! `guests NAME [ARGS]` runs one; `guests --list` prints `name<TAB>family` lines. Exit code 0: all checks held; 1: the message on
//! standard error says which did not; 2: no such guest.
//!
//! A guest needs no file but this program, and runs as an ordinary user or as root, with or without a
//! container around it. Where a check needs what is not there, the guest prints `unsupported: ...` and goes on.

#[macro_use]
mod kit;
mod data;
mod epoll;
mod fd;
mod file;
mod futex;
mod ipc;
mod memory;
mod process;
mod roles;
mod shm;
mod signal;
mod socket;
mod thread;
mod timer;
mod workload;

use std::process::ExitCode;

use kit::{Chain, Guest, Result};

/// All guests, a slice for each family.
const GUESTS: &[&[Guest]] = &[
    data::GUESTS,
    timer::GUESTS,
    fd::GUESTS,
    file::GUESTS,
    socket::GUESTS,
    epoll::GUESTS,
    signal::GUESTS,
    memory::GUESTS,
    process::GUESTS,
    thread::GUESTS,
    futex::GUESTS,
    shm::GUESTS,
    ipc::GUESTS,
    workload::GUESTS,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = args.first() else {
        eprintln!("usage: guests NAME [ARGS] | guests --list");
        return ExitCode::from(2);
    };
    if let Some(role) = roles::find(name) {
        return finish(name, role(&args[1..]));
    }
    if name == "--list" {
        return finish(name, list());
    }
    match GUESTS.iter().copied().flatten().find(|guest| guest.name == name) {
        Some(guest) => finish(name, run(guest)),
        None => {
            eprintln!("no guest {name}; guests --list names them");
            ExitCode::from(2)
        }
    }
}

fn run(guest: &Guest) -> Result {
    let mut chain = Chain::new(guest.name)?;
    (guest.run)(&mut chain)?;
    chain.show("end")
}

fn list() -> Result {
    let lines: Vec<String> =
        GUESTS.iter().copied().flatten().map(|guest| format!("{}\t{}", guest.name, guest.family.name())).collect();
    kit::chain::print(&lines.join("\n"))
}

fn finish(name: &str, result: Result) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
