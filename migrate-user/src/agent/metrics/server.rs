//! `GET /metrics` over HTTP/1.1, and nothing else.
//!
//! A scraper cannot disturb the agent: pages are made at most once a second whoever asks, a connection carries one request and
//! is closed after a bounded time, and only a few are open at once.

use super::page::CONTENT_TYPE;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE as CONTENT_TYPE_HEADER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// Scrapers that are answered at a time; more are turned away.
const CONNECTIONS: usize = 8;
/// From the accept to the last byte.
const CONNECTION_BOUND: Duration = Duration::from_secs(10);
/// For the request's head.
const HEAD_BOUND: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;
/// A page that is younger is given again.
const PAGE_AGE: Duration = Duration::from_secs(1);

struct Pages<F> {
    make: F,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl<F, R> Pages<F>
where
    F: Fn() -> R,
    R: Future<Output = String>,
{
    /// Whoever comes while a page is made waits for that one.
    async fn get(&self) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some((made, page)) = &*last
            && made.elapsed() < PAGE_AGE
        {
            return page.clone();
        }
        let page = Bytes::from((self.make)().await);
        *last = Some((Instant::now(), page.clone()));
        page
    }
}

/// Answers for as long as it is polled; connections that are open then end by themselves.
pub(super) async fn serve<F, R>(listener: TcpListener, make: F)
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = String> + Send,
{
    let pages = Arc::new(Pages { make, last: Mutex::new(None) });
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                    tracing::debug!(%peer, "a scraper was turned away: {CONNECTIONS} are being answered");
                    continue;
                };
                let pages = Arc::clone(&pages);
                tokio::spawn(async move {
                    if tokio::time::timeout(CONNECTION_BOUND, answer(stream, &pages)).await.is_err() {
                        tracing::debug!(%peer, "a scraper took too long");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a scraper's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer<F, R>(stream: TcpStream, pages: &Pages<F>)
where
    F: Fn() -> R,
    R: Future<Output = String>,
{
    let service =
        service_fn(|request: Request<hyper::body::Incoming>| async move { Ok::<_, Infallible>(respond(&request, pages).await) });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD_BOUND).max_buf_size(HEAD_BYTES);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a scraper's connection broke");
    }
}

async fn respond<B, F, R>(request: &Request<B>, pages: &Pages<F>) -> Response<Full<Bytes>>
where
    F: Fn() -> R,
    R: Future<Output = String>,
{
    let plain = |status, body: &'static str| {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "only /metrics is here\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(Full::new(pages.get().await));
    response.headers_mut().insert(CONTENT_TYPE_HEADER, hyper::header::HeaderValue::from_static(CONTENT_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&made);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, move || {
            counting.fetch_add(1, Ordering::Relaxed);
            async { "page\n# EOF\n".to_owned() }
        }));
        (address, made)
    }

    /// What comes back until the connection ends; nothing if it was turned away.
    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        // Whoever is turned away may find the connection reset.
        if stream.write_all(request.as_bytes()).await.is_ok() {
            let _ = stream.read_to_end(&mut answer).await;
        }
        String::from_utf8(answer).unwrap()
    }

    const GET: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

    #[tokio::test]
    async fn a_scrape_is_answered_with_the_page_and_its_type_and_the_connection_ends() {
        let (address, _) = server().await;
        let answer = ask(address, GET).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
        assert_eq!(body, "page\n# EOF\n");
    }

    #[tokio::test]
    async fn nothing_but_get_metrics_is_answered_and_no_page_is_made_for_it() {
        let (address, made) = server().await;
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
            ("GET /metrics/x HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "405"),
            ("no http\r\n\r\n", "400"),
        ] {
            let answer = ask(address, request).await;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{request:?}: {answer:?}");
        }
        assert_eq!(made.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn scrapers_that_say_nothing_use_up_their_places_and_nothing_else() {
        let (address, _) = server().await;
        let mut silent = Vec::new();
        for _ in 1..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address, GET).await.starts_with("HTTP/1.1 200"));
        silent.push(TcpStream::connect(address).await.unwrap());
        while !ask(address, GET).await.is_empty() {
            // The last answer's place may not be free again yet for the last silent one, nor that one accepted.
            tokio::task::yield_now().await;
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        drop(silent);
        while ask(address, GET).await.is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
