//! `migrate syscalls`: the system call table, for people, programs and docs/syscalls.md.

use super::text::{Align, print, print_json, table};
use super::{CliError, Global};
use clap::Args;
use migrate_common::syscalls::{Fd, KERNEL, Len, Out, Policy, Row, Special, TABLE, When};
use serde_json::{Value, json};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate syscalls openat ioctl
  migrate syscalls --json | jq -r '.[] | select(.policy == \"refuse\") | .name'
  migrate syscalls --markdown > docs/syscalls.md";

/// List every system call of the kernel: how the replica follows it, and what is logged.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Syscalls {
    /// As docs/syscalls.md.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Names or numbers; all if left out.
    calls: Vec<String>,
}

impl Syscalls {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let wanted = |row: &&Row| self.calls.is_empty() || self.calls.iter().any(|call| is(row, call));
        if let Some(unknown) = self.calls.iter().find(|call| !TABLE.iter().any(|row| is(row, call))) {
            let message = format!("Linux {KERNEL} on x86-64 has no system call {unknown}");
            return Err(CliError::other(crate::agent::api::Code::Usage, message));
        }
        let rows: Vec<&Row> = TABLE.iter().filter(wanted).collect();
        if global.json {
            print_json(&rows.into_iter().map(json_of).collect::<Vec<_>>())?;
        } else if self.markdown {
            print(&markdown())?;
        } else {
            print(&text(&rows))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn is(row: &Row, call: &str) -> bool {
    row.name == call || call.parse() == Ok(row.nr)
}

/// The policy's name.
const fn word(policy: Policy) -> &'static str {
    match policy {
        Policy::Inject => "inject",
        Policy::Reissue => "reissue",
        Policy::ReissueInject => "reissue-inject",
        Policy::OwnElseInject => "own-else-inject",
        Policy::Output => "output",
        Policy::Special(_) => "special",
        Policy::Refuse(_) => "refuse",
    }
}

/// What the policy means, in a sentence.
fn sentence(policy: Policy) -> String {
    let text = match policy {
        Policy::Inject => "Not executed in the replica: it gets the logged result and bytes.",
        Policy::Reissue => "Executed in the replica; the result must equal the log's.",
        Policy::ReissueInject => {
            "Executed in the replica; the result must equal the log's, then the logged bytes replace its output."
        }
        Policy::OwnElseInject => {
            "Executed on the container's own files with the logged length, otherwise not executed but taken from the log."
        }
        Policy::Output => {
            "Executed on the container's own files and its standard output with the logged length, otherwise not executed."
        }
        Policy::Special(special) => special_sentence(special),
        Policy::Refuse(why) => return format!("Refused, the container cannot be moved once it has called it: {why}."),
    };
    text.to_owned()
}

const fn special_sentence(special: Special) -> &'static str {
    match special {
        Special::Fork => {
            "Executed, with the new task's number set to the logged one; a thread makes the container not migratable."
        }
        Special::Exec => "Executed; the new image's stack is made the logged one before its first instruction.",
        Special::Exit => "Executed.",
        Special::Wait => "Executed so that it reaps the logged child; status and usage are the logged ones.",
        Special::Sigreturn => "Executed.",
        Special::Restart => "Not executed: it gets the logged result of the call that it goes on with.",
        Special::Accept => "Not executed: an unconnected socket stands in for the connection until the replica goes live.",
        Special::Connect => {
            "Executed between unix sockets of the container, otherwise not; the socket stands in for the connection."
        }
        Special::SendMsg => "Executed where it passes descriptors, otherwise it gets the logged result.",
        Special::RecvMsg => "Executed where it receives descriptors; the bytes are the logged ones.",
        Special::Open => {
            "Executed on the container's own files; what else it opens is a stand-in, or is opened and read from the log."
        }
        Special::Sendfile => "Not executed, but moves the source file's offset as far as it did.",
        Special::Lock | Special::Semop => "Executed in the form that does not wait.",
        Special::MsgQueue | Special::PosixQueue => "Executed in the form that does not wait; what is received must be the log's.",
        Special::Mmap => "Executed at the logged address; a shared mapping of a file that the replica does not have is refused.",
        Special::MaskedWait => {
            "Not executed: it gets the logged result, with its signal mask in force while signals are delivered."
        }
        Special::Shutdown => "Executed between unix sockets of the container, otherwise not.",
        Special::Timer => {
            "Not executed until the replica goes live: signals come from the log, the timer is armed then with the time left."
        }
        Special::Setsockopt => "Executed on the stand-in; what it does not take is set when its connection is built.",
    }
}

fn fd_text(fd: Fd) -> Option<String> {
    match fd {
        Fd::None => None,
        Fd::Arg(arg) => Some(format!("argument {arg}")),
        Fd::Ret => Some("result".into()),
    }
}

fn len_text(len: Len) -> String {
    match len {
        Len::Const(1) => "1 byte".into(),
        Len::Const(n) => format!("{n} bytes"),
        Len::Ret(1) => "as many bytes as the result".into(),
        Len::Ret(n) => format!("result x {n} bytes"),
        Len::RetCap(arg) => format!("as many bytes as the result, at most argument {arg}"),
        Len::RetPlus(n) => format!("{n} bytes more than the result"),
        Len::Arg(arg, 1) => format!("as many bytes as argument {arg}"),
        Len::Arg(arg, n) => format!("argument {arg} x {n} bytes"),
        Len::Deref(arg) => format!("as many bytes as the integer at argument {arg}"),
        Len::Bits(arg) => format!("a bit for each of argument {arg}"),
        Len::Iov(arg) => format!("scattered over argument {arg} iovecs"),
        Len::Msghdr => "a msghdr and what it points to".into(),
        Len::Mmsghdr => "an array of msghdr and what they point to".into(),
        Len::Pages(arg) => format!("a byte for each page of argument {arg}"),
    }
}

fn out_text(out: &Out) -> String {
    let when = match out.when {
        When::Ok => "",
        When::Positive => ", if the result is above 0",
        When::Waited => ", also if a signal ended the wait",
        When::Always => ", also if it failed",
    };
    format!("argument {}: {}{when}", out.arg, len_text(out.len))
}

fn outs_text(outs: &[Out]) -> String {
    outs.iter().map(out_text).collect::<Vec<_>>().join("; ")
}

fn json_of(row: &Row) -> Value {
    let outs = |outs: &[Out]| outs.iter().map(out_text).collect::<Vec<_>>();
    let choices = row.select.as_ref().map(|select| {
        let values = select.choices.iter().map(|choice| {
            json!({"value": choice.value, "name": choice.name, "policy": word(choice.policy), "says": sentence(choice.policy),
                   "outputs": outs(choice.outs)})
        });
        json!({"argument": select.arg, "values": values.collect::<Vec<_>>()})
    });
    json!({"nr": row.nr, "name": row.name, "group": row.group.name(), "policy": word(row.policy), "says": sentence(row.policy),
           "descriptor": fd_text(row.fd), "outputs": outs(row.outs), "select": choices})
}

fn text(rows: &[&Row]) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let (name, group) = (row.name.to_owned(), row.group.name().to_owned());
        lines.push(vec![row.nr.to_string(), name, group, word(row.policy).to_owned(), sentence(row.policy)]);
        for choice in row.select.iter().flat_map(|select| select.choices) {
            let name = format!("  {}", choice.name);
            lines.push(vec![String::new(), name, String::new(), word(choice.policy).to_owned(), sentence(choice.policy)]);
        }
    }
    let columns = [
        ("NR", Align::Right),
        ("CALL", Align::Left),
        ("GROUP", Align::Left),
        ("POLICY", Align::Left),
        ("IN THE REPLICA", Align::Left),
    ];
    table(&columns, &lines)
}

/// docs/syscalls.md.
#[must_use]
pub fn markdown() -> String {
    let refused = TABLE.iter().filter(|row| matches!(row.policy, Policy::Refuse(_)) && row.select.is_none()).count();
    let mut out = format!(
        "# System calls\n\n\
         Written by `migrate syscalls --markdown`; do not edit. Every x86-64 system call of Linux {KERNEL}: {} rows, {refused} of them\n\
         refused. A call that failed in the source is not executed in the replica either, special ones aside: it gets the logged\n\
         error. A number without a row is refused by number.\n\n\
         | nr | call | group | policy | in the replica | logged |\n|---|---|---|---|---|---|\n",
        TABLE.len()
    );
    for row in TABLE {
        let choices = row.select.as_ref().map(|select| format!(" Argument {} chooses, see below.", select.arg));
        out.push_str(&format!(
            "| {} | `{}` | {} | {} | {}{} | {} |\n",
            row.nr,
            row.name,
            row.group.name(),
            word(row.policy),
            sentence(row.policy),
            choices.unwrap_or_default(),
            outs_text(row.outs)
        ));
    }
    for (row, select) in TABLE.iter().filter_map(|row| Some((row, row.select.as_ref()?))) {
        out.push_str(&format!(
            "\n## {}\n\n| argument {} | policy | in the replica | logged |\n|---|---|---|---|\n",
            row.name, select.arg
        ));
        for choice in select.choices {
            let (name, policy, says) = (choice.name, word(choice.policy), sentence(choice.policy));
            out.push_str(&format!("| `{name}` ({:#x}) | {policy} | {says} | {} |\n", choice.value, outs_text(choice.outs)));
        }
        out.push_str(&format!("| any other | {} | {} | {} |\n", word(row.policy), sentence(row.policy), outs_text(row.outs)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_syscalls_md_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/syscalls.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == markdown(), "run: cargo run --bin migrate -- syscalls --markdown > docs/syscalls.md");
    }

    #[test]
    fn every_row_says_something_in_each_form() {
        let all: Vec<&Row> = TABLE.iter().collect();
        let text = text(&all);
        for row in TABLE {
            assert!(
                text.contains(row.name) && json_of(row)["says"].as_str().is_some_and(|says| says.ends_with('.')),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn a_call_is_found_by_name_and_by_number() {
        assert!(TABLE.iter().any(|row| is(row, "read")) && TABLE.iter().any(|row| is(row, "0")));
        assert!(!TABLE.iter().any(|row| is(row, "dance")));
    }
}
