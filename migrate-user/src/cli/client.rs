//! Asking the agent, with progress on a terminal.

use super::{CliError, Global};
use crate::agent::api::{AsyncClient, ClientError, Code, Progress, Request, Response};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::Duration;

/// Asks the agent one thing and shows what it says meanwhile.
pub(super) fn ask(global: &Global, request: &Request) -> Result<Response, CliError> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tokio = tokio.map_err(|error| CliError::caused(Code::Failed, "cannot wait for the agent", error))?;
    let shown = Shown::new(global.json);
    let answer = tokio.block_on(async {
        let mut agent = AsyncClient::connect(&global.socket).await?;
        agent.ask(request, |event| shown.show(&event)).await
    });
    shown.clear();
    Ok(answer?)
}

/// The error for an answer of another kind than the request asks for.
pub(super) fn unexpected(response: &Response) -> CliError {
    ClientError::unexpected(response).into()
}

/// Progress: a line that moves on a terminal, plain lines elsewhere, nothing with `--json`.
enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Shown {
    fn new(json: bool) -> Self {
        if json {
            Self::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            Self::Bar(bar)
        } else {
            Self::Lines
        }
    }

    fn show(&self, event: &Progress) {
        match self {
            Self::Nothing => {}
            Self::Lines => eprintln!("{}: {}", event.phase, event.message),
            Self::Bar(bar) => {
                if event.round.is_some() {
                    // A round's line stays; what follows moves on below it.
                    bar.println(format!("  {}", event.message));
                }
                match event.of {
                    Some((done, total)) => {
                        bar.set_style(measured());
                        bar.set_length(total);
                        bar.set_position(done);
                    }
                    None => bar.set_style(spinner()),
                }
                bar.set_prefix(event.phase.clone());
                bar.set_message(event.message.clone());
            }
        }
    }

    fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressStyle {
    style("{spinner} {prefix}: {wide_msg} {elapsed}")
}

fn measured() -> ProgressStyle {
    style("{spinner} {prefix}: {bar:20} {percent}% {wide_msg} {elapsed}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
