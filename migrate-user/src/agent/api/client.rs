//! The clients' ends: a blocking one for the OCI runtime wrapper, which must not have threads, and an asynchronous one.

use super::{ApiError, Code, MAX_LINE_BYTES, Progress, Reply, Request, Response};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no agent answers on {}: start one with `migrate agent`", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the agent did not answer in time")]
    Timeout,
    #[error("the agent's connection broke")]
    Io(#[source] io::Error),
    #[error("the agent ended the connection before it answered")]
    Ended,
    #[error("the agent sent more than {MAX_LINE_BYTES} bytes in a line")]
    TooLong,
    #[error("the agent sent what is not a reply: it may be of another version")]
    Malformed(#[source] serde_json::Error),
    #[error("the agent answered {got} to a request of another kind")]
    Unexpected { got: String },
    #[error(transparent)]
    Agent(#[from] ApiError),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What a socket with a timeout says, by the kernel's choice of words.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

impl ClientError {
    /// The kind of failure, for the exit code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Connect { .. } => Code::NoAgent,
            Self::Agent(error) => error.code,
            _ => Code::Failed,
        }
    }

    /// An answer of the wrong kind.
    #[must_use]
    pub fn unexpected(got: &Response) -> Self {
        Self::Unexpected { got: format!("{got:?}").chars().take(80).collect() }
    }
}

fn line_of(request: &Request) -> Vec<u8> {
    let mut line = serde_json::to_vec(request).expect("a request has only string keys");
    line.push(b'\n');
    line
}

/// A reply line: `None` for progress, after `progress` has seen it.
fn take(line: &[u8], progress: &mut impl FnMut(Progress)) -> Result<Option<Response>, ClientError> {
    if line.is_empty() {
        return Err(ClientError::Ended);
    }
    if line.len() > MAX_LINE_BYTES {
        return Err(ClientError::TooLong);
    }
    match serde_json::from_slice(line).map_err(ClientError::Malformed)? {
        Reply::Progress(event) => {
            progress(event);
            Ok(None)
        }
        Reply::Done(response) => Ok(Some(response)),
        Reply::Error(error) => Err(error.into()),
    }
}

/// Speaks to the agent from a program without threads.
#[derive(Debug)]
pub struct BlockingClient {
    stream: io::BufReader<std::os::unix::net::UnixStream>,
}

impl BlockingClient {
    /// Connects; answers that take longer than `timeout` are errors.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = std::os::unix::net::UnixStream::connect(path)
            .map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream: io::BufReader::new(stream) })
    }

    /// Asks and waits for the end of the answer; progress is dropped.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.stream.get_mut().write_all(&line_of(request))?;
        loop {
            let mut line = Vec::new();
            (&mut self.stream).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
            if let Some(response) = take(&line, &mut |_| ())? {
                return Ok(response);
            }
        }
    }

    /// Asks what is answered with [`Response::Ok`].
    pub fn tell(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Response::Ok {} => Ok(()),
            other => Err(ClientError::unexpected(&other)),
        }
    }
}

/// Speaks to the agent from tokio.
#[derive(Debug)]
pub struct AsyncClient {
    stream: tokio::io::BufReader<tokio::net::UnixStream>,
}

impl AsyncClient {
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = tokio::net::UnixStream::connect(path)
            .await
            .map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        Ok(Self { stream: tokio::io::BufReader::new(stream) })
    }

    /// Asks and waits for the end of the answer, without a bound: a move takes as long as it takes.
    pub async fn ask(&mut self, request: &Request, mut progress: impl FnMut(Progress)) -> Result<Response, ClientError> {
        self.stream.get_mut().write_all(&line_of(request)).await?;
        loop {
            let mut line = Vec::new();
            (&mut self.stream).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).await?;
            if let Some(response) = take(&line, &mut progress)? {
                return Ok(response);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Handler, Role, bind, serve};
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use tokio::sync::mpsc;

    struct Fake;

    impl Handler for Fake {
        async fn handle(&self, request: Request, progress: mpsc::Sender<Progress>) -> Result<Response, ApiError> {
            match request {
                Request::Prepare { .. } => Ok(Response::Role(Role::Record)),
                Request::Ps {} => {
                    for at in 0..200 {
                        let _ = progress.send(Progress { of: Some((at, 200)), ..Progress::default() }).await;
                    }
                    Ok(Response::Containers { containers: Vec::new() })
                }
                Request::Shutdown {} => panic!("on purpose"),
                _ => Err(ApiError::new(Code::Refused, "no").details(["a", "b"]).remedy("ask again")),
            }
        }
    }

    async fn agent() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/agent.sock");
        let listener = bind(&path).unwrap();
        tokio::spawn(serve(listener, Arc::new(Fake)));
        (folder, path)
    }

    /// The agent speaks to nobody else.
    fn am_root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            eprintln!("skipped: needs root");
        }
        root
    }

    #[tokio::test]
    async fn answers_come_in_order_after_their_progress() {
        if !am_root() {
            return;
        }
        let (_folder, path) = agent().await;
        let mut client = AsyncClient::connect(&path).await.unwrap();
        let mut seen = Vec::new();
        let answer = client.ask(&Request::Ps {}, |event| seen.push(event.of.unwrap().0)).await.unwrap();
        assert_eq!(answer, Response::Containers { containers: Vec::new() });
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        let refused = client.ask(&Request::Status {}, |_| ()).await.unwrap_err();
        let ClientError::Agent(error) = refused else { panic!("{refused}") };
        assert_eq!(error, ApiError::new(Code::Refused, "no").details(["a", "b"]).remedy("ask again"));
    }

    #[tokio::test]
    async fn a_handler_that_panics_costs_one_answer() {
        if !am_root() {
            return;
        }
        let (_folder, path) = agent().await;
        let mut client = AsyncClient::connect(&path).await.unwrap();
        let error = client.ask(&Request::Shutdown {}, |_| ()).await.unwrap_err();
        assert_eq!(error.code(), Code::Failed);
        client.ask(&Request::Ps {}, |_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn the_blocking_client_speaks_the_same() {
        if !am_root() {
            return;
        }
        let (_folder, path) = agent().await;
        let answer = tokio::task::spawn_blocking(move || {
            let mut client = BlockingClient::connect(&path, Duration::from_secs(10)).unwrap();
            client.ask(&Request::Ps {}).unwrap();
            let wrong = client.tell(&Request::Prepare { id: "a".into(), bundle: "/".into() }).unwrap_err();
            assert!(matches!(wrong, ClientError::Unexpected { .. }), "{wrong}");
            client.ask(&Request::Prepare { id: "a".into(), bundle: "/".into() }).unwrap()
        });
        assert_eq!(answer.await.unwrap(), Response::Role(Role::Record));
    }

    #[tokio::test]
    async fn rubbish_gets_a_clear_error_and_an_endless_line_ends_the_connection() {
        if !am_root() {
            return;
        }
        let (_folder, path) = agent().await;
        let answers = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stream.write_all(b"{\"op\":\"dance\"}\n").unwrap();
            let mut reader = io::BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            // The agent answers and closes while this still writes: the tail of the write may fail.
            let _ = stream.write_all(&vec![b'x'; MAX_LINE_BYTES + 2]);
            let mut second = String::new();
            let _ = reader.read_line(&mut second);
            (first, second)
        });
        let (first, second) = answers.await.unwrap();
        assert!(first.contains("dance") && first.contains("usage"), "{first}");
        assert!(second.is_empty() || second.contains("4194304"), "{second}");
    }

    #[tokio::test]
    async fn the_socket_is_root_s_alone_and_a_second_agent_is_turned_away() {
        let (_folder, path) = agent().await;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind(&path).unwrap_err().to_string().contains("already listens"));
    }

    #[tokio::test]
    async fn a_socket_left_by_a_dead_agent_is_replaced_but_never_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(bind(&path).unwrap());
        drop(bind(&path).unwrap());
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert!(bind(&file).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn an_agent_that_does_not_answer_is_told_from_one_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut client = BlockingClient::connect(&path, Duration::from_millis(20)).unwrap();
        assert!(matches!(client.ask(&Request::Ps {}), Err(ClientError::Timeout)));
    }

    #[test]
    fn no_agent_is_its_own_exit_code() {
        let error = BlockingClient::connect(Path::new("/nowhere/agent.sock"), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.code().exit_code(), 7);
        assert!(error.to_string().contains("migrate agent"), "{error}");
    }
}
