//! `migrate`: the agent, the OCI runtime and the command line in one program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    // Before anything else: the runtime's options are runc's, which clap cannot know, and it must not have threads.
    match args.split_first() {
        Some((first, rest)) if first == "runtime" && !asks_for_help(rest) => migrate::container::runtime::main(rest.to_vec()),
        _ => migrate::cli::main(),
    }
}

fn asks_for_help(args: &[std::ffi::OsString]) -> bool {
    matches!(args, []) || matches!(args, [only] if only == "--help" || only == "-h")
}
