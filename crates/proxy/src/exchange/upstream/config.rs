//! What all threads' ways out have in common.

use std::sync::Arc;
use std::time::Duration;

use super::environment::{Proxies, ProxiesError};
use super::permits::Permits;
use super::tls::{Roots, RootsError};
use crate::record::metrics::Metrics;

/// How all threads' requests go out.
#[derive(Debug)]
pub struct UpstreamConfig {
    /// The outgoing proxies.
    pub proxies: Proxies,
    /// Who vouches for the certificates of https origins.
    pub roots: Arc<Roots>,
    /// One per connection, idle ones included. A request waits where there is none.
    pub permits: Permits,
    /// Counts the connections made.
    pub metrics: Arc<Metrics>,
    /// Whether https origins are offered HTTP/2.
    pub http2: bool,
    /// How long a connection is kept that nobody uses.
    pub idle_timeout: Duration,
    /// How long a TCP connection may take to come about, over all addresses of the name; also a
    /// proxy's answer to CONNECT.
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
}

/// Why there is no way out. Known at start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `HTTP_PROXY` or `HTTPS_PROXY`.
    #[error(transparent)]
    Proxies(#[from] ProxiesError),
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR`.
    #[error(transparent)]
    Roots(#[from] RootsError),
}

impl UpstreamConfig {
    /// The way out that the environment describes, of at most so many `connections`.
    ///
    /// # Errors
    /// Where a variable holds what cannot be used, with the sentence to show.
    pub fn from_env(connections: usize) -> Result<Self, SetupError> {
        Ok(Self::new(
            Proxies::from_env()?,
            Roots::from_env()?,
            connections,
        ))
    }

    /// A way out with the usual times.
    pub fn new(proxies: Proxies, roots: Roots, connections: usize) -> Self {
        Self {
            proxies,
            roots: Arc::new(roots),
            permits: Permits::new(connections),
            metrics: Arc::default(),
            http2: false,
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}
