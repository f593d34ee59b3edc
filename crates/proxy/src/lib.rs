//! The proxy: admit, route, sign, forward, relay.
//!
//! A task's request comes in over plain HTTP, is signed with the task's Hawk credentials and goes
//! out to the deployment; the answer comes back as it is. The modules stand in the order of a
//! request's way: [`client`], [`decision`], [`answers`], [`signing`], [`exchange`], [`back`], [`record`].
//!
//! What it is not: it keeps no configuration file, reads no environment but that of outgoing
//! proxies and certificate roots, and knows nothing of JavaScript. Credentials that come in by
//! `PUT /credentials` are judged by a [`Validator`], which the caller brings.
//!
//! It runs on threads of its own: one that accepts and admits, and one current-thread runtime per
//! core, up to four, that serves, each with its own pool of upstream connections, so that a request
//! crosses no thread and waits for no other one's, unless the credentials are being updated.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

pub use taskcluster_proxy_hawk::Credentials;

pub use crate::exchange::lookup::{Found, LookupError, lookup};
pub use crate::record::audit::AuditOptions;
pub use crate::record::log::{Format as LogFormat, Level as LogLevel};
pub use crate::record::metrics::Counters;

mod answers;
mod back;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod client;
mod code;
mod decision;
mod exchange;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod message;
mod own_addresses;
mod record;
mod request;
mod session;
mod signing;
mod start;
mod sync;
mod worker;

/// Everything that can be set. Durations and sizes have the meaning of the command's flag of the
/// same name.
#[derive(Debug, Clone)]
pub struct Options {
    /// Root URL of the deployment: http or https, no user, path, query or fragment.
    pub root_url: String,
    /// The set that signs first.
    pub credentials: Credentials,
    /// `authorizedScopes` of every signature. `None` means no restriction; an empty list permits no
    /// scope.
    pub authorized_scopes: Option<Vec<String>>,
    /// Where to listen; empty means all interfaces.
    pub ip_addresses: Vec<IpAddr>,
    /// Port of every listener, 0 for a free one.
    pub port: u16,
    /// Only this OS user (and root) is served.
    pub allowed_user: Option<String>,
    /// Peers that this network namespace cannot see are served from these: CIDRs.
    pub allowed_networks: Vec<String>,
    /// Serve requests that a page of another origin made.
    pub allow_cross_site: bool,
    /// Names beside the private ones that `Host` may hold; `*` for all.
    pub hosts: Vec<String>,
    /// Hosts that requests are signed for beside the root URL's: names, `*.example.com`, `*`, or
    /// `none`. Empty means any; only those that are named may be this machine.
    pub upstream_hosts: Vec<String>,
    /// Pauses between tries.
    pub retry: Retry,
    /// Bytes of one request's body that are kept for another try.
    pub replay_limit: u64,
    /// Bytes of all requests' bodies that are kept.
    pub replay_total: u64,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long upstream may take to begin its answer, counted from when it last took something of
    /// the request; while more has to come from the client, no time counts.
    pub response_timeout: Duration,
    /// Offer HTTP/2 to https upstreams, beside HTTP/1.1.
    pub upstream_http2: bool,
    /// [`lookup`] has logged what there is to warn of.
    pub warned: bool,
    /// Gives memory that is free back to the system. Called on a thread that may wait, when much has
    /// become free at once.
    pub give_back_memory: fn(),
    /// What an update of the credentials does with running requests.
    pub update: Update,
    /// Where each request is recorded.
    pub audit: Option<AuditOptions>,
    /// Text or JSON lines.
    pub log_format: LogFormat,
    /// Least level that is logged.
    pub log_level: LogLevel,
    /// Value of `X-Taskcluster-Proxy-Version`.
    pub version: String,
    /// Value of `X-Taskcluster-Proxy-Revision`.
    pub revision: String,
}

/// Pauses between tries: the first, the longest, and for how long there are tries (zero: one try).
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// First pause.
    pub first: Duration,
    /// Longest pause.
    pub cap: Duration,
    /// No pause begins that would end later than this after the request came.
    pub limit: Duration,
}

/// What an update of the credentials does with the requests that are running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Waits until they have finished, but no longer than this.
    Drain(Duration),
    /// Does not wait.
    Immediate,
}

/// Judges the body of a `PUT /credentials`.
pub trait Validator: Send + Sync + 'static {
    /// Sends the credentials that `body` holds, or one sentence why it holds none, to `verdict`.
    fn validate(&self, body: Bytes, verdict: oneshot::Sender<Result<Credentials, String>>);
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options contradict each other or the machine.
    #[error("{0}")]
    Options(String),
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system refused something else that the proxy needs.
    #[error("cannot start: {0}")]
    Os(#[from] std::io::Error),
}

impl StartError {
    /// Options that contradict each other or the machine.
    fn invalid(error: impl std::fmt::Display) -> Self {
        Self::Options(error.to_string())
    }

    /// A code for programs: `ERR_OPTIONS`, `ERR_PORT_IN_USE`, `ERR_LISTEN` or `ERR_OS`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Options(_) => "ERR_OPTIONS",
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                "ERR_PORT_IN_USE"
            }
            Self::Listen { .. } => "ERR_LISTEN",
            Self::Os(_) => "ERR_OS",
        }
    }
}

/// A running proxy. Dropping it stops it at once.
pub struct Proxy {
    running: start::Running,
}

impl Proxy {
    /// Starts listening and serving; all listeners accept when it returns.
    ///
    /// # Errors
    /// As [`StartError`] says; nothing is left running.
    pub fn start(options: &Options, validator: Arc<dyn Validator>) -> Result<Self, StartError> {
        start::start(options, validator).map(|running| Self { running })
    }

    /// The addresses of the listeners, with their true ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.running.addresses()
    }

    /// The counters as they stand.
    pub fn counters(&self) -> Counters {
        self.running.counters()
    }

    /// Puts `credentials` in force as `PUT /credentials` does; `done` hears of it.
    pub fn update_credentials(
        &self,
        credentials: Credentials,
        done: impl FnOnce() + Send + 'static,
    ) {
        self.running.update_credentials(credentials, Box::new(done));
    }

    /// Writes the audit log to the file that is now at its path.
    pub fn reopen_audit_log(&self) {
        self.running.reopen_audit_log();
    }

    /// Stops accepting, lets running requests finish within `grace`; `done` hears of the end.
    pub fn stop(&self, grace: Duration, done: impl FnOnce() + Send + 'static) {
        self.running.stop(grace, Box::new(done));
    }
}
