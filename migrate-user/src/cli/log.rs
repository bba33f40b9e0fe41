//! `migrate log`: the records of a log.

use super::text::{bytes as in_bytes, count, print_json};
use super::{CliError, Global};
use crate::agent::api::Code;
use crate::record::Record;
use crate::round::{Ending, LogError, LogReader, Memory, Sizes};
use clap::Args;
use migrate_common::record::{Kind, flags};
use migrate_common::syscalls;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate log date.log
  migrate log date.log --from 100 --count 20 --bytes 64
  migrate log date.log --chunks
  migrate log date.log --json | jq -r 'select(.kind == \"syscall\") | .name' | sort | uniq -c

Exit code 5: the log is damaged, cut short, of another version, or has a gap. What is whole is printed.";

/// Print the records of a log, and how it ends.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Log {
    /// What `migrate record` wrote, or a container's log in the agent's state directory.
    file: PathBuf,
    /// The first record to print.
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    from: u64,
    /// How many to print; the log is checked to its end in any case.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Only records of this task.
    #[arg(long, value_name = "TID")]
    task: Option<u32>,
    /// Print the chunks and their sizes instead of the records.
    #[arg(long, conflicts_with_all = ["from", "count", "task", "bytes"])]
    chunks: bool,
    /// How many bytes of each output to show.
    #[arg(long, default_value_t = 16, value_name = "N")]
    bytes: usize,
}

impl Log {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let bad = |error: LogError| CliError::caused(Code::BadLog, self.file.display().to_string(), error);
        let file = File::open(&self.file).map_err(|error| bad(error.into()))?;
        let mut reader = LogReader::new(BufReader::new(file)).map_err(bad)?;
        if global.json {
            print_json(&json!({"kind": "log", "meta": reader.meta()}))?;
        } else {
            let meta = reader.meta();
            let image = meta.image.as_deref().unwrap_or("no image");
            let line = format!("# {} on {} by {}: {}\n", image, meta.kernel_release, meta.created_by, meta.command.join(" "));
            super::text::print(&line)?;
        }
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        loop {
            let before = reader.sizes();
            let records = match reader.next_records() {
                Ok(Some(records)) => records,
                Ok(None) => break,
                Err(error) => {
                    out.flush()?;
                    return Err(bad(error));
                }
            };
            if self.chunks {
                let chunk = reader.sizes().since(before);
                if global.json {
                    let mut value = json_of_sizes(&chunk);
                    (value["kind"], value["chunk"]) = ("chunk".into(), before.chunks.into());
                    serde_json::to_writer(&mut out, &value).map_err(std::io::Error::from)?;
                    out.write_all(b"\n")?;
                } else {
                    writeln!(out, "{:>8} {}", before.chunks, sizes(&chunk))?;
                }
                continue;
            }
            for record in records.iter().filter(|record| self.wants(record)) {
                if left == 0 {
                    break;
                }
                left -= 1;
                if global.json {
                    serde_json::to_writer(&mut out, &json_of(record, self.bytes)).map_err(std::io::Error::from)?;
                    out.write_all(b"\n")?;
                } else {
                    writeln!(out, "{}", text(record, self.bytes))?;
                }
            }
        }
        let ending = reader.ending().cloned();
        if global.json {
            let mut value = json_of_sizes(&reader.sizes());
            (value["kind"], value["ending"]) = ("end".into(), json!(ending));
            serde_json::to_writer(&mut out, &value).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
        } else {
            writeln!(out, "# {}", sizes(&reader.sizes()))?;
            if let Some(Ending::End(end)) = &ending {
                writeln!(out, "# exit code {}, {} bytes of output", end.exit_code, end.stdout.bytes)?;
                let prints = end.proofs.processes.iter().filter(|proof| matches!(proof.memory, Memory::Print(_))).count();
                let without = end.proofs.processes.len() - prints;
                writeln!(out, "# memory of {prints} processes at their end, of {without} more it is unknown")?;
            }
        }
        out.flush()?;
        match ending {
            Some(Ending::Gap { at, why }) => Err(bad(LogError::Gap { at, why })),
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn wants(&self, record: &Record) -> bool {
        record.head.seq >= self.from && self.task.is_none_or(|task| record.head.tid == task)
    }
}

/// `1,204 records: 170 KiB plain, 13.4 KiB encoded, 5.20 KiB stored (4.4 bytes a record)`
#[expect(clippy::cast_precision_loss, reason = "a tenth of a byte is shown")]
fn sizes(of: &Sizes) -> String {
    let each = of.stored_bytes as f64 / of.records.max(1) as f64;
    format!(
        "{} records: {} plain, {} encoded, {} stored ({each:.1} bytes a record)",
        count(of.records),
        in_bytes(of.raw_bytes),
        in_bytes(of.encoded_bytes),
        in_bytes(of.stored_bytes)
    )
}

fn json_of_sizes(of: &Sizes) -> Value {
    json!({"records": of.records, "raw_bytes": of.raw_bytes, "encoded_bytes": of.encoded_bytes, "stored_bytes": of.stored_bytes})
}

/// The call's name, by way of the choice that its argument makes.
fn call_name(record: &Record) -> String {
    let head = &record.head;
    let Some(row) = syscalls::row(head.nr) else { return format!("syscall_{}", head.nr) };
    let choice = row.select.as_ref().and_then(|select| select.choice(head.args[usize::from(select.arg)]));
    choice.map_or_else(|| row.name.to_owned(), |choice| format!("{}/{}", row.name, choice.name))
}

/// `17 [1.23] 5 read(0x3, 0x7ff0, 0x10) = 5  pipe  0x7ff0+5 "hello"`
fn text(record: &Record, bytes: usize) -> String {
    let head = &record.head;
    let start = format!("{:>8} {:>12.6} {:>5} ", head.seq, micros(head.time_ns), head.tid);
    let args = |n: usize| head.args[..n].iter().map(|arg| format!("{arg:#x}")).collect::<Vec<_>>().join(", ");
    let middle = match record.kind() {
        Some(Kind::Syscall) => format!("{}({}) = {}", call_name(record), args(6), result(head.ret)),
        Some(Kind::Fork) => format!("+ fork of {} (tgid {})", head.args[0], head.args[1]),
        Some(Kind::Exec) => "+ exec".into(),
        Some(Kind::Exit) => format!("+ exit {}", wait_status(head.args[0])),
        Some(Kind::Signal) => format!("+ signal {} handler {:#x} at {:#x}", head.nr, head.args[0], head.args[3]),
        Some(Kind::Image) => format!("+ image sp {:#x} ip {:#x}", head.args[0], head.args[1]),
        Some(Kind::Switch) => format!("+ switched out at {:#x}, sp {:#x}", head.args[0], head.args[1]),
        Some(Kind::Resume) => "+ runs again".into(),
        Some(Kind::Clocks) => format!("+ clock readings {} to {}", head.args[0], head.args[1]),
        Some(Kind::Piece) | None => format!("+ kind {}", head.kind),
    };
    let mut line = start + &middle;
    if record.kind() == Some(Kind::Syscall) && head.class != 0 {
        line.push_str(&format!("  {:?}", record.class()));
    }
    for segment in record.segments() {
        line.push_str(&format!("  {:#x}+{}", segment.addr, segment.bytes.len()));
        let shown = &segment.bytes[..segment.bytes.len().min(bytes)];
        if !shown.is_empty() {
            let more = if shown.len() < segment.bytes.len() { "..." } else { "" };
            line.push_str(&format!(" \"{}\"{more}", shown.escape_ascii()));
        }
    }
    for (flag, name) in [(flags::FAULT, "FAULT"), (flags::TOO_LARGE, "TOO LARGE")] {
        if head.flags & flag != 0 {
            line.push_str(&format!("  {name}"));
        }
    }
    line
}

/// Seconds, for display.
#[expect(clippy::cast_precision_loss, reason = "microseconds are shown")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The kernel's own errors, which programs never see, by their names in the kernel.
fn result(ret: i64) -> String {
    match ret {
        -512 => "-ERESTARTSYS".into(),
        -513 => "-ERESTARTNOINTR".into(),
        -514 => "-ERESTARTNOHAND".into(),
        -516 => "-ERESTART_RESTARTBLOCK".into(),
        -4095..=-1 => match nix::errno::Errno::from_raw(i32::try_from(-ret).unwrap_or(0)) {
            nix::errno::Errno::UnknownErrno => ret.to_string(),
            errno => format!("-{errno:?}"),
        },
        0..0x1_0000_0000 => ret.to_string(),
        _ => format!("{ret:#x}"),
    }
}

/// An exit code as wait(2) packs it.
fn wait_status(code: u64) -> String {
    match code & 0x7f {
        0 => format!("with {}", code >> 8 & 0xff),
        signal => format!("by signal {signal}"),
    }
}

fn json_of(record: &Record, bytes: usize) -> Value {
    let head = &record.head;
    let kind = record.kind().map_or_else(|| head.kind.to_string(), |kind| format!("{kind:?}").to_lowercase());
    let mut value = json!({"seq": head.seq, "kind": kind, "tid": head.tid, "time_ns": head.time_ns, "args": head.args,
                           "flags": head.flags});
    if record.kind() == Some(Kind::Syscall) {
        value["name"] = call_name(record).into();
        value["nr"] = head.nr.into();
        value["ret"] = head.ret.into();
        value["class"] = format!("{:?}", record.class()).into();
    }
    if record.kind() == Some(Kind::Signal) {
        value["signal"] = head.nr.into();
    }
    let segments = record.segments().map(|segment| {
        let shown = &segment.bytes[..segment.bytes.len().min(bytes)];
        json!({"addr": segment.addr, "len": segment.bytes.len(), "bytes": shown.escape_ascii().to_string()})
    });
    value["segments"] = segments.collect();
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_common::record::{Class, Header};

    fn read() -> Record {
        let head = Header {
            kind: Kind::Syscall as u8,
            class: Class::Pipe as u8,
            tid: 5,
            seq: 17,
            ret: 5,
            args: [3, 0x7ff0, 16, 0, 0, 0],
            ..Header::default()
        };
        let mut record = Record { head, payload: Vec::new() };
        record.push_segment(0x7ff0, b"hel\nlo");
        record
    }

    #[test]
    fn a_call_is_shown_with_its_name_result_and_bytes() {
        let line = text(&read(), 4);
        assert!(line.contains("    17"), "{line}");
        assert!(line.contains(" read(0x3, 0x7ff0, 0x10, 0x0, 0x0, 0x0) = 5  Pipe  0x7ff0+6 \"hel\\n\"..."), "{line}");
        let json = json_of(&read(), 100);
        assert_eq!((&json["name"], &json["segments"][0]["bytes"]), (&"read".into(), &"hel\\nlo".into()));
    }

    #[test]
    fn a_log_s_sizes_are_told_in_all_three_forms() {
        let of = Sizes { chunks: 1, records: 1000, raw_bytes: 145_000, encoded_bytes: 12_000, stored_bytes: 4_500 };
        let line = sizes(&of);
        assert!(line.starts_with("1,000 records: "), "{line}");
        assert!(line.ends_with("stored (4.5 bytes a record)"), "{line}");
        assert_eq!(json_of_sizes(&of)["encoded_bytes"], 12_000);
    }

    #[test]
    fn errors_have_names_and_choices_show() {
        assert_eq!([-2, -516, 7, -5000].map(result), ["-ENOENT", "-ERESTART_RESTARTBLOCK", "7", "0xffffffffffffec78"]);
        let mut record = read();
        record.head.nr = 16;
        record.head.args[1] = 0x5401;
        assert_eq!(call_name(&record), "ioctl/TCGETS");
        record.head.nr = 9999;
        assert_eq!(call_name(&record), "syscall_9999");
        assert_eq!((wait_status(0x700), wait_status(9)), ("with 7".into(), "by signal 9".into()));
    }
}
