//! What all threads' ways out have in common.

use std::sync::Arc;
use std::time::Duration;

use super::environment::Proxies;
use super::outside::Outside;
use super::permits::Permits;
use super::tls::Roots;
use crate::record::metrics::Metrics;

/// How all threads' requests go out.
#[derive(Debug)]
pub struct UpstreamConfig {
    /// The outgoing proxies.
    pub proxies: Proxies,
    /// The addresses that are kept off where the client has named the host; `None` where only the
    /// deployment is asked.
    pub outside: Option<Arc<Outside>>,
    /// The trusted certificates for https origins.
    pub roots: Arc<Roots>,
    /// One permit per connection, idle ones included. A request waits where there is none.
    pub permits: Permits,
    /// Gives memory that is free back to the system.
    pub give_back_memory: fn(),
    /// Counts the connections made.
    pub metrics: Arc<Metrics>,
    /// Whether https origins are offered HTTP/2.
    pub http2: bool,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How long a TCP connection may take to come about, over all addresses of the name; also a
    /// proxy's answer to CONNECT.
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a peer may leave unacknowledged what was sent (RFC 5482), on Linux; elsewhere the
    /// system's own limit holds.
    pub unacknowledged: Duration,
}

impl UpstreamConfig {
    /// The outgoing connections that the environment describes, at most so many `connections`.
    pub fn from_env(connections: usize) -> Self {
        Self::new(Proxies::from_env(), Roots::from_env(), connections)
    }

    /// One sentence for each part of the environment that cannot be used. Requests that need it
    /// fail with that sentence; refusing the start would also stop the requests that do not need
    /// it.
    pub fn warnings(&self) -> Vec<String> {
        let proxies = self.proxies.faults().map(|fault| fault.to_string());
        let roots = self.roots.faults().iter().map(ToString::to_string);
        proxies.chain(roots).collect()
    }

    /// Outgoing connections with the usual times.
    pub fn new(proxies: Proxies, roots: Roots, connections: usize) -> Self {
        Self {
            proxies,
            outside: None,
            roots: Arc::new(roots),
            permits: Permits::new(connections),
            give_back_memory: || {},
            metrics: Arc::default(),
            http2: false,
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            unacknowledged: Duration::from_secs(30),
        }
    }
}
