//! What a request is served with: what all threads share, what its thread has, and what is known of
//! its connection. What this is not: it does nothing with them; see [`crate::serve`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskcluster_proxy_hawk::Credentials;
use taskcluster_proxy_peer::{Lookup, Presence};

use crate::Validator;
use crate::answers::refusal::Refusal;
use crate::client::admit::Rights;
use crate::client::connection::Connection;
use crate::decision::browser::BrowserGuard;
use crate::decision::route::{RootUrl, Target};
use crate::exchange::backoff::RetryPolicy;
use crate::exchange::fast_path::Buffers;
use crate::exchange::forward::FirstTry;
use crate::exchange::replay::ReplayBudget;
use crate::exchange::upstream::{Upstream, UpstreamConfig};
use crate::message::chunked::ChunkedError;
use crate::record::log::Log;
use crate::record::metrics::Metrics;
use crate::signing::credentials::{Abandoned, Build, InForce};
use crate::signing::sign::Signing;

/// What all threads have in common.
pub struct Shared {
    pub root: RootUrl,
    pub guard: BrowserGuard,
    pub in_force: InForce,
    pub restriction: Option<Vec<String>>,
    pub build: Build,
    pub validator: Arc<dyn Validator>,
    pub retry: RetryPolicy,
    pub replay_limit: u64,
    pub replay_budget: Arc<ReplayBudget>,
    pub header_timeout: Duration,
    pub response_timeout: Duration,
    pub metrics: Arc<Metrics>,
    pub log: Log,
}

impl Shared {
    /// Puts `credentials` in force, unless nobody wants that any more when their turn comes.
    ///
    /// # Errors
    /// [`Abandoned`] then.
    pub async fn update(
        &self,
        credentials: &Credentials,
        wanted: impl Fn() -> bool,
    ) -> Result<(), Abandoned> {
        let before = self.in_force.current();
        let set = before.successor(credentials, self.restriction.as_deref());
        let warnings = set.warnings();
        self.in_force.replace(set, wanted).await?;
        self.metrics.credential_updates.add(1);
        self.log.info(format_args!(
            "Credentials updated: client {}",
            credentials.client_id
        ));
        self.warn(warnings);
        Ok(())
    }

    /// What an operator should look at.
    pub fn warn(&self, sentences: impl IntoIterator<Item = String>) {
        for sentence in sentences {
            self.log.warn(format_args!("{sentence}"));
        }
    }

    pub fn log_retry(&self, target: &Target, reason: &str, pause: Duration) {
        self.log.warn(format_args!(
            "Retrying {}{} in {} ms: {reason}",
            target.origin.url(),
            target.target,
            pause.as_millis()
        ));
    }
}

/// What one thread's requests use; nothing of it is locked.
pub struct Thread {
    pub shared: Arc<Shared>,
    pub upstream: Rc<Upstream>,
    pub signing: RefCell<Signing>,
    pub buffers: Buffers,
    /// `None` where the platform tells nothing of peers.
    pub lookup: RefCell<Option<Lookup>>,
}

impl Thread {
    /// To be made inside the thread's `LocalSet`.
    pub fn new(shared: Arc<Shared>, upstream: Arc<UpstreamConfig>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            upstream: Upstream::new(upstream),
            signing: RefCell::new(Signing::new()),
            buffers: Buffers::default(),
            lookup: RefCell::new(Lookup::open().ok()),
        })
    }

    /// Whether the client of `connection` waits for nothing any more.
    pub fn is_gone(&self, connection: &Connection) -> bool {
        let mut lookup = self.lookup.borrow_mut();
        let Some(lookup) = lookup.as_mut() else {
            return false;
        };
        connection.with_stream(|stream| lookup.presence(stream)) == Some(Presence::Gone)
    }
}

/// A client's connection as its requests see it.
pub struct Session {
    pub thread: Rc<Thread>,
    pub connection: Rc<Connection>,
    pub rights: Rights,
    /// The connection was taken from those held back for whoever updates the credentials.
    pub reserved: bool,
    pub http2: bool,
    /// What the [`crate::exchange::fast_path`] leaves to [`crate::exchange::forward`].
    pub first_try: Cell<Option<FirstTry>>,
    /// When the request came whose record was withdrawn.
    pub came: Cell<Option<Instant>>,
}

impl Session {
    /// An upgrade is a matter of HTTP/1.1 (RFC 9113 8.6).
    pub fn may_upgrade(&self) -> bool {
        !self.http2
    }

    /// Why the client's body ended early.
    pub fn torn_body(&self) -> Refusal {
        if self.connection.body_is_broken() {
            ChunkedError.into()
        } else {
            Refusal::TornBody
        }
    }
}
