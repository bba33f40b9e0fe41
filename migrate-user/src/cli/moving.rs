//! `migrate move`.

use super::text::{Align, bytes, count, micros, print, print_json, table};
use super::{CliError, Global, client};
use crate::agent::api::{MoveReport, MoveRequest, Request, Response};
use crate::inodes::Inodes;
use crate::round::policy;
use crate::verify::Verify;
use clap::{Args, ValueEnum};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate move web --to 10.0.0.2:7077
  migrate move web --to 10.0.0.2:7077 --dry-run          # can it be moved there?
  migrate move web --to 10.0.0.2:7077 --down-time-target 50 --json

Until the other agent is told to go live every failure leaves the container running here, unharmed.";

/// Move a running container to another host.
///
/// The container serves on while its log is shipped and replayed there in rounds. When the last round is small enough it is
/// frozen, the rest is shipped, its connections are handed over, and it goes on there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Move {
    /// Name, id, or an id's unique start.
    container: String,
    /// The other host's agent.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    to: String,
    /// Milliseconds that the container may stand still. Rounds go on until that is expected to suffice.
    #[arg(long, default_value_t = policy::DEFAULT_DOWN_TIME_TARGET.as_millis() as u64, value_name = "MS")]
    down_time_target: u64,
    /// Give up after this many rounds if the replica does not catch up.
    #[arg(long, default_value_t = policy::DEFAULT_MAX_ROUNDS, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_rounds: u32,
    /// Cut over after the last round however long that takes, rather than give up.
    #[arg(long)]
    force: bool,
    /// What of the replica is compared with the frozen source before it goes live; pages that differ are shipped.
    #[arg(long, value_enum, default_value_t = What::Touched, value_name = "WHAT")]
    verify: What,
    /// Whether programs go on seeing the inode and device numbers that they know: `keep` answers their stat calls, in containers
    /// that have looked at a file that they hold open; `new` leaves them with the target's.
    #[arg(long, value_enum, default_value_t = Inodes::Keep, value_name = "WHICH")]
    inodes: Inodes,
    /// Check everything on both hosts and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Nothing
    Off,
    /// The same as `all`; what is not written any more is hashed while the container runs
    Touched,
    /// All memory, and the registers of all tasks, while the container stands still
    All,
}

impl From<What> for Verify {
    fn from(what: What) -> Self {
        match what {
            What::Off => Self::Off,
            What::Touched => Self::Touched,
            What::All => Self::All,
        }
    }
}

fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        _ => Err("HOST:PORT is wanted".into()),
    }
}

impl Move {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let request = MoveRequest {
            container: self.container,
            to: self.to,
            down_time_target_ms: self.down_time_target,
            max_rounds: self.max_rounds,
            force: self.force,
            dry_run: self.dry_run,
            verify: self.verify.into(),
            inodes: self.inodes,
        };
        let report = match client::ask(global, &Request::Move(request))? {
            Response::Move(report) => report,
            other => return Err(client::unexpected(&other)),
        };
        if global.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The report for people.
fn text(report: &MoveReport) -> String {
    let MoveReport { name, to, .. } = report;
    let mut out = if report.dry_run {
        format!("{name} can be moved to {to}\n")
    } else if report.moved {
        format!("{name} moved to {to}\n")
    } else {
        format!("{name} stays here\n")
    };
    if !report.rounds.is_empty() {
        out.push('\n');
        out.push_str(&rounds(report));
    }
    if report.moved {
        let down = &report.down;
        let parts = [
            ("freeze", down.freeze_us),
            ("last round", down.last_round_us),
            ("replay", down.replay_us),
            ("sockets", down.sockets_us),
            ("compare", down.verify_us),
            ("address", down.address_us),
        ];
        let parts: Vec<_> = parts.iter().map(|(part, us)| format!("{part} {}", micros(*us))).collect();
        out.push_str(&format!("\ndown time    {}  ({})\n", micros(down.total_us), parts.join(", ")));
        if report.cut_over_tries > 1 {
            let (undone, frozen) = (report.cut_over_tries - 1, micros(report.undone_freezes_us));
            out.push_str(&format!("put off      {undone} times, frozen for {frozen} together before it ran on\n"));
        }
        out.push_str(&format!("total        {}\n", micros(report.total_us)));
        out.push_str(&format!("connections  {} handed over\n", count(report.connections)));
        out.push_str(&format!(
            "shipped      log {} as {}, image {}, layer {}\n",
            bytes(report.log_bytes),
            bytes(report.log_bytes_compressed),
            bytes(report.image_bytes),
            bytes(report.layer_bytes)
        ));
        if let (Some(compared), Some(differing)) = (report.pages_compared, report.pages_differing) {
            out.push_str(&pages(report, compared, differing));
        }
    }
    if report.inodes.kept > 0 {
        out.push_str(&format!("inodes       numbers of {} files kept\n", count(report.inodes.kept)));
    }
    if report.connections_lost > 0 {
        out.push_str(&format!("warning: {} connections not yet accepted were lost\n", count(report.connections_lost)));
    }
    for warning in &report.warnings {
        out.push_str(&format!("warning: {warning}\n"));
    }
    out
}

fn pages(report: &MoveReport, compared: u64, differing: u64) -> String {
    let kinds: Vec<_> = report.differing_by_kind.iter().map(|(kind, pages)| format!("{kind} {}", count(*pages))).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let hashed =
        report.pages_hashed.map_or_else(String::new, |hashed| format!(", {} of them hashed during the freeze", count(hashed)));
    let mut out =
        format!("pages        {} compared{hashed}, {} differed and were shipped{kinds}\n", count(compared), count(differing));
    for place in &report.differing_at {
        out.push_str(&format!("             {place}\n"));
    }
    out
}

fn rounds(report: &MoveReport) -> String {
    let head = ["round", "records", "raw", "compressed", "ship", "replay", "lag"].map(|name| (name, Align::Right));
    let rows: Vec<_> = report
        .rounds
        .iter()
        .map(|round| {
            vec![
                round.round.to_string(),
                count(round.records),
                bytes(round.raw_bytes),
                bytes(round.compressed_bytes),
                micros(round.ship_us),
                micros(round.replay_us),
                count(round.lag_records),
            ]
        })
        .collect();
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::api::{DownTime, RoundReport};

    #[test]
    fn the_report_shows_rounds_and_the_parts_of_the_down_time() {
        let round = RoundReport { round: 1, records: 1204, raw_bytes: 1 << 20, replay_us: 41_000, ..RoundReport::default() };
        let report = MoveReport {
            name: "web".into(),
            to: "h2:7077".into(),
            moved: true,
            rounds: vec![round],
            down: DownTime { freeze_us: 300, replay_us: 61_200, total_us: 84_100, ..DownTime::default() },
            cut_over_tries: 3,
            undone_freezes_us: 20_500,
            connections: 100,
            pages_compared: Some(2048),
            pages_hashed: Some(30),
            pages_differing: Some(2),
            differing_by_kind: [("loader".to_owned(), 2)].into(),
            warnings: vec!["something".into()],
            ..MoveReport::default()
        };
        let text = text(&report);
        assert!(text.starts_with("web moved to h2:7077\n"), "{text}");
        assert!(text.contains("    1    1,204  1.00 MiB"), "{text}");
        assert!(text.contains("down time    84.1 ms  (freeze 300 us, last round 0 us, replay 61.2 ms"), "{text}");
        assert!(text.contains("put off      2 times, frozen for 20.5 ms together"), "{text}");
        assert!(
            text.contains("2,048 compared, 30 of them hashed during the freeze, 2 differed and were shipped (loader 2)"),
            "{text}"
        );
        assert!(text.contains("100 handed over") && text.ends_with("warning: something\n"), "{text}");
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert!(address("h2:7077").is_ok() && address("[fd00::1]:7077").is_ok());
        for wrong in ["h2", ":7077", "h2:", "h2:99999", "h2:0"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
