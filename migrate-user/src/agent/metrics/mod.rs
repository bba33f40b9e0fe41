//! What Prometheus scrapes from an agent: `GET /metrics`.
//!
//! [`moves`] counts migrations as they end; everything else is read when somebody scrapes: [`gather`] asks the daemon and makes
//! plain [`readings`], [`page`] writes them as OpenMetrics text, [`server`] serves it. Names and units are documented in
//! docs/metrics.md, which a test holds against the page.

mod gather;
mod moves;
mod page;
mod readings;
mod server;
#[cfg(test)]
mod tests;

pub use moves::Moves;

use super::daemon::Daemon;
use gather::Gatherer;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("cannot listen on {address} for scrapes: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// Where scrapes are answered; bound before the agent says that it is ready.
#[derive(Debug)]
pub struct Endpoint(TcpListener);

impl Endpoint {
    /// Listens on `address`; nobody is answered before [`Endpoint::serve`].
    ///
    /// # Errors
    /// [`MetricsError::Listen`].
    pub async fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let listener = TcpListener::bind(address).await;
        listener.map(Self).map_err(|source| MetricsError::Listen { address, source })
    }

    /// Answers scrapes for as long as it is polled.
    pub async fn serve(self, daemon: Arc<Daemon>) {
        let gatherer = Arc::new(Gatherer::new(daemon));
        server::serve(self.0, move || {
            let gatherer = Arc::clone(&gatherer);
            async move { gatherer.page().await }
        })
        .await;
    }
}
