//! A connection to another agent.

use super::api::Check;
use super::daemon::Daemon;
use super::errors::Failure;
use super::host;
use crate::wire::{Message, transport};
use std::time::Duration;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A connection; messages arrive through a task of its own.
pub(super) struct Link {
    pub(super) sender: transport::Sender<WriteHalf<TcpStream>>,
    pub(super) messages: mpsc::Receiver<Result<Message, Failure>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Link {
    pub(super) async fn connect(to: &str) -> Result<Self, Failure> {
        let stream = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(to)).await;
        let stream =
            stream.map_err(|_| format!("{to} does not answer"))?.map_err(|error| format!("cannot reach {to}: {error}"))?;
        let _ = stream.set_nodelay(true);
        let (sender, receiver) = transport::split(stream);
        let (forward, messages) = mpsc::channel(64);
        Ok(Self { sender, messages, reading: tokio::spawn(read(receiver, forward)) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut receiver: transport::Receiver<ReadHalf<TcpStream>>, forward: mpsc::Sender<Result<Message, Failure>>) {
    loop {
        let (message, last) = match receiver.recv().await {
            Ok(Some(message)) => (Ok(message), false),
            Ok(None) => (Err("the target closed it".to_owned()), true),
            Err(error) => (Err(error.to_string()), true),
        };
        if forward.send(message).await.is_err() || last {
            return;
        }
    }
}

/// Can the other host take this host's containers?
pub(super) async fn check_peer(daemon: &Daemon, to: &str) -> Check {
    let name = "target";
    let mut link = match Link::connect(to).await {
        Ok(link) => link,
        Err(why) => return Check::fail(name, why, "start `migrate agent` there, and let its port through"),
    };
    let ours = host::hello(&daemon.docker_version);
    if let Err(error) = link.sender.send(&ours.clone().into()).await {
        return Check::fail(name, error.to_string(), "look at the agent's log there");
    }
    match tokio::time::timeout(Duration::from_secs(10), link.messages.recv()).await {
        Ok(Some(Ok(Message::Hello(theirs)))) => match ours.check(&theirs) {
            Ok(()) => Check::ok(name, format!("{to}: same kernel and processor, Docker {}", theirs.docker_version)),
            Err(why) => Check::fail(name, why.to_string(), "move to a host of the same kind"),
        },
        Ok(Some(Ok(Message::Refuse(refuse)))) => Check::fail(name, refuse.why, "move to a host of the same kind"),
        other => Check::fail(name, format!("it answered {other:?}"), "look at the agent's log there"),
    }
}
