//! Requests whose JSON must be seen and made as it is: bollard's types are those of one version of the API and drop what they
//! do not know, which here would be dropping a part of a container's configuration.

use super::DockerError;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use tokio::net::UnixStream;

/// Why there is no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    #[error("request cannot be made: {0}")]
    Request(#[from] hyper::http::Error),
}

/// Status and body.
type Answer = Result<(u16, Vec<u8>), HttpError>;

pub(super) async fn get(socket: &Path, path: &str) -> Answer {
    send(socket, Method::GET, path, Vec::new()).await
}

pub(super) async fn post(socket: &Path, path: &str, body: Vec<u8>) -> Answer {
    send(socket, Method::POST, path, body).await
}

async fn send(socket: &Path, method: Method, path: &str, body: Vec<u8>) -> Answer {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder().method(method).uri(path).header("Host", "docker").header("Content-Type", "application/json");
    let request = request.body(Full::new(Bytes::from(body)))?;
    // It ends when `sender` is dropped; what goes wrong on it shows in the exchange too.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes().to_vec();
    drop(sender);
    driver.abort();
    Ok((status, body))
}

/// The body of an answer that says it worked; otherwise Docker's message.
pub(super) fn answer(answer: Answer, action: &'static str, what: &str) -> Result<Vec<u8>, DockerError> {
    let what = what.to_owned();
    match answer {
        Ok((200..=299, body)) => Ok(body),
        Ok((status, body)) => {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = json["message"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
            Err(DockerError::Status { action, what, status, message })
        }
        Err(source) => Err(DockerError::Http { action, what, source }),
    }
}

/// Makes a name safe inside a path or query: Docker's own names have only these characters, others will not be found.
pub(super) fn path_segment(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(path_segment("web-1.a"), "web-1.a");
        assert_eq!(path_segment("../info?x"), "..%2Finfo%3Fx");
    }

    #[test]
    fn docker_s_message_is_kept() {
        let error = answer(Ok((409, br#"{"message":"in use"}"#.to_vec())), "create", "web").unwrap_err();
        assert_eq!(error.to_string(), "docker: cannot create web: in use (status 409)");
        assert!(answer(Ok((404, Vec::new())), "inspect", "web").unwrap_err().is_not_found());
    }
}
