//! `migrate ps`.

use super::text::{Align, bytes, count, print, print_json, table};
use super::{CliError, Global, client};
use crate::agent::api::{ContainerInfo, Owner, Request, Response};
use clap::Args;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate ps
  migrate ps --json | jq '.[] | select(.migratable) | .name'";

/// List this host's containers: what they do, who owns them, and whether they can be moved.
///
/// OWNER tells where the live copy of a container is: `here`, at another agent, or `in doubt` where a move was cut off past its
/// point of no return and the other agent does not answer. Then `migrate resolve` decides by hand.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ps {
    /// Ids in full.
    #[arg(long)]
    no_trunc: bool,
}

impl Ps {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let containers = match client::ask(global, &Request::Ps {})? {
            Response::Containers { containers } => containers,
            other => return Err(client::unexpected(&other)),
        };
        if global.json {
            print_json(&containers)?;
        } else {
            print(&self.text(&containers))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self, containers: &[ContainerInfo]) -> String {
        use Align::{Left, Right};
        let head = [
            ("CONTAINER", Left),
            ("NAME", Left),
            ("IMAGE", Left),
            ("STATE", Left),
            ("OWNER", Left),
            ("RECORDS", Right),
            ("LOG", Right),
            ("ON DISK", Right),
            ("CPU", Right),
            ("MIGRATABLE", Left),
        ];
        let rows: Vec<_> = containers
            .iter()
            .map(|container| {
                let short = if self.no_trunc { 64 } else { 12 };
                vec![
                    container.id.chars().take(short).collect(),
                    container.name.clone(),
                    image(&container.image),
                    container.state.to_string(),
                    owner(&container.owner),
                    count(container.records),
                    bytes(container.log_bytes),
                    bytes(container.spool_bytes),
                    container.cpu.map_or_else(|| "all".to_owned(), |cpu| cpu.to_string()),
                    migratable(container),
                ]
            })
            .collect();
        table(&head, &rows)
    }
}

fn migratable(container: &ContainerInfo) -> String {
    match (container.migratable, container.reasons.as_slice()) {
        (true, _) => "yes".into(),
        (false, []) => "no".into(),
        (false, reasons) => format!("no: {}", reasons.join("; ")),
    }
}

/// An image without a name goes by its id, which is long.
fn image(image: &str) -> String {
    image.strip_prefix("sha256:").map_or_else(|| image.to_owned(), |id| id.chars().take(12).collect())
}

fn owner(owner: &Owner) -> String {
    match owner {
        Owner::Here => "here".into(),
        Owner::There(address) => address.clone(),
        Owner::InDoubt(address) => format!("in doubt ({address})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::api::ContainerState;

    #[test]
    fn a_container_that_cannot_be_moved_says_why() {
        let container = ContainerInfo {
            state: ContainerState::Recording,
            owner: Owner::InDoubt("h2:7077".into()),
            reasons: vec!["volume /data".into(), "it started a thread".into()],
            ..ContainerInfo::unrecorded("4f1c8a9b0d1e2f".into(), "web".into(), "nginx:1".into())
        };
        let text = Ps { no_trunc: false }.text(&[container]);
        let line = text.lines().nth(1).unwrap();
        assert!(line.starts_with("4f1c8a9b0d1e  web"), "{text}");
        assert!(line.contains("in doubt (h2:7077)"), "{text}");
        assert!(line.ends_with("no: volume /data; it started a thread"), "{text}");
    }
}
