//! The agent's end of the socket.

use super::{ApiError, Code, MAX_LINE_BYTES, Progress, Reply, Request, Response};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Progress events that wait for a slow client before the handler waits for it too.
const PROGRESS_QUEUE: usize = 64;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Does what is asked. It runs to its end even if the client goes away; then sending progress fails, which is not an
    /// error.
    fn handle(
        &self,
        request: Request,
        progress: mpsc::Sender<Progress>,
    ) -> impl Future<Output = Result<Response, ApiError>> + Send;
}

/// Why the agent cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("an agent already listens on {}: stop it first, or give this one another --socket", .0.display())]
    InUse(PathBuf),
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot listen on {}", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

/// Listens on `path` with mode 0600. The folder is made if need be, a socket that nobody listens on any more is replaced.
///
/// # Errors
/// [`ServeError::InUse`] while another agent answers there.
pub fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Bind { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(ServeError::NotASocket(path.to_owned())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(ServeError::InUse(path.to_owned())),
            Err(_) => std::fs::remove_file(path).map_err(failed)?,
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves until the future is dropped. A client that misbehaves costs only its own connection.
pub async fn serve<H: Handler>(listener: UnixListener, handler: Arc<H>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let handler = handler.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, handler).await {
                        tracing::debug!(%error, "client connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others must end before this can go on.
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<H: Handler>(stream: UnixStream, handler: Arc<H>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (reader, mut writer) = stream.into_split();
    if peer.uid() != 0 {
        let error = ApiError::new(Code::Refused, format!("user {} may not speak to the agent: it must be root", peer.uid()));
        return send(&mut writer, &Reply::Error(error)).await;
    }
    let mut reader = BufReader::new(reader);
    loop {
        let request = match read_request(&mut reader).await? {
            Line::End => return Ok(()),
            Line::Request(request) => request,
            Line::Malformed(message) => {
                send(&mut writer, &Reply::Error(ApiError::new(Code::Usage, message))).await?;
                continue;
            }
            Line::TooLong => {
                let message = format!("request of more than {MAX_LINE_BYTES} bytes");
                return send(&mut writer, &Reply::Error(ApiError::new(Code::Usage, message))).await;
            }
        };
        answer(&mut writer, handler.clone(), request).await?;
    }
}

enum Line {
    End,
    Request(Request),
    Malformed(String),
    TooLong,
}

async fn read_request(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Line> {
    let mut line = Vec::new();
    let n = reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok(if n == 0 {
        Line::End
    } else if line.len() > MAX_LINE_BYTES {
        Line::TooLong
    } else {
        match serde_json::from_slice(&line) {
            Ok(request) => Line::Request(request),
            Err(error) => Line::Malformed(format!("not a request: {error}")),
        }
    })
}

async fn answer<H: Handler>(writer: &mut OwnedWriteHalf, handler: Arc<H>, request: Request) -> io::Result<()> {
    let (sender, mut progress) = mpsc::channel(PROGRESS_QUEUE);
    // A task of its own: a client that goes away must not drop a move in its middle.
    let task = tokio::spawn(async move { handler.handle(request, sender).await });
    while let Some(event) = progress.recv().await {
        send(writer, &Reply::Progress(event)).await?;
    }
    let reply = match task.await {
        Ok(Ok(response)) => Reply::Done(response),
        Ok(Err(error)) => Reply::Error(error),
        Err(error) => {
            tracing::error!(%error, "a request's handler ended abnormally");
            Reply::Error(ApiError::new(Code::Failed, "the agent failed inside: its log says more"))
        }
    };
    send(writer, &reply).await
}

async fn send(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
