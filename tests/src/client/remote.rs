//! A client seen from the program that started it.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{Event, Report};
use crate::workloads::Load;

/// How long a client may take to tell its report: its slowest request has to end first.
const REPORT_LIMIT: Duration = Duration::from_secs(90);

/// What can go wrong with a client, beside what it reports.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("cannot start the client")]
    Start(#[source] std::io::Error),
    #[error("the client did not say {wanted} within {seconds} s")]
    Silent { wanted: &'static str, seconds: u64 },
    #[error("the client ended without saying {wanted}")]
    Ended { wanted: &'static str },
}

/// A running client. It is stopped when dropped.
#[derive(Debug)]
pub struct Remote {
    child: Child,
    orders: Option<ChildStdin>,
    events: mpsc::Receiver<Event>,
}

/// Completes the command line of `lab-client` for a load; `None` when the load needs no client.
///
/// `unlimited`: ask as fast as answers come.
pub fn arguments(command: &mut Command, load: &Load, address: &str, unlimited: bool) -> Option<()> {
    let (port, words) = match *load {
        Load::None => return None,
        Load::Web { port, connections, requests_per_s, new_connections_per_s } => {
            let mut words = vec!["web".to_string(), format!("--connections={connections}")];
            words.extend(requests_per_s.filter(|_| !unlimited).map(|rate| format!("--requests-per-s={rate}")));
            words.push(format!("--new-connections-per-s={new_connections_per_s}"));
            (port, words)
        }
        Load::Book { port, sessions, requests_per_s } => {
            let rate = if unlimited { u32::MAX } else { requests_per_s };
            (port, vec!["book".to_string(), format!("--sessions={sessions}"), format!("--requests-per-s={rate}")])
        }
        Load::Redis { port, clients, requests_per_s, data_mib } => {
            let rate = if unlimited { u32::MAX } else { requests_per_s };
            let words = [format!("--clients={clients}"), format!("--requests-per-s={rate}"), format!("--data-mib={data_mib}")];
            (port, [vec!["redis".to_string()], words.to_vec()].concat())
        }
        Load::Ledger { port, sessions, requests_per_s, path, write_every } => {
            let rate = if unlimited { u32::MAX } else { requests_per_s };
            let words = [format!("--sessions={sessions}"), format!("--requests-per-s={rate}")];
            let more = [format!("--path={path}"), format!("--write-every={write_every}")];
            (port, [vec!["ledger".to_string()], words.to_vec(), more.to_vec()].concat())
        }
    };
    let server: SocketAddr = format!("{address}:{port}").parse().ok()?;
    command.args(["--server", &server.to_string()]).args(words);
    Some(())
}

impl Remote {
    /// Starts a client and returns at once.
    pub fn start(command: &mut Command) -> Result<Self, RemoteError> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(RemoteError::Start)?;
        let orders = child.stdin.take();
        let output = child.stdout.take().expect("standard output is a pipe");
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(event) => {
                        if sender.send(event).is_err() {
                            return;
                        }
                    }
                    Err(error) => eprintln!("the client said {line:?}: {error}"),
                }
            }
        });
        Ok(Self { child, orders, events })
    }

    /// Waits until every connection was answered once.
    pub fn wait_ready(&self, limit: Duration) -> Result<(), RemoteError> {
        self.wait("ready", limit, |event| matches!(event, Event::Ready).then_some(()))
    }

    /// Waits until every connection that is still there was answered to a request sent from now on.
    pub fn wait_served(&mut self, limit: Duration) -> Result<(), RemoteError> {
        self.order("mark");
        self.wait("served", limit, |event| matches!(event, Event::Served).then_some(()))
    }

    /// Stops it and returns what it counted.
    pub fn stop(mut self) -> Result<Report, RemoteError> {
        self.order("stop");
        self.wait("report", REPORT_LIMIT, |event| if let Event::Report(report) = event { Some(*report) } else { None })
    }

    fn order(&mut self, word: &str) {
        if let Some(orders) = &mut self.orders {
            // A client that has ended says so by the end of its events.
            let _ = writeln!(orders, "{word}").and_then(|()| orders.flush());
        }
    }

    fn wait<T>(&self, wanted: &'static str, limit: Duration, pick: impl Fn(Event) -> Option<T>) -> Result<T, RemoteError> {
        let end = std::time::Instant::now() + limit;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {
                Ok(event) => {
                    if let Some(found) = pick(event) {
                        return Ok(found);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(RemoteError::Silent { wanted, seconds: limit.as_secs() }),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(RemoteError::Ended { wanted }),
            }
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It has ended after its report; otherwise nobody will read what it says.
        drop(self.orders.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
