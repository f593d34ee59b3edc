//! The state for serving a request: that which all threads share, that of its thread, and that of its
//! connection. What this is not: it does nothing with it; see [`crate::request`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use taskcluster_proxy_hawk::Credentials;
use taskcluster_proxy_peer::Lookup;

use crate::Validator;
use crate::client::absence::ClientLookup;
use crate::client::admit::Peer;
use crate::client::connection::Connection;
use crate::decision::Rules;
use crate::decision::rights::Rights;
use crate::exchange::upstream::{Upstream, UpstreamConfig};
use crate::exchange::{self, Exchange};
use crate::record::Recorder;
use crate::record::audit::Audit;
use crate::record::log::Log;
use crate::record::metrics::Metrics;
use crate::signing::credentials::Build;
use crate::signing::in_force::Abandoned;

/// What all threads have in common.
pub struct Shared {
    pub rules: Rules,
    pub exchange: Arc<exchange::Settings>,
    pub build: Build,
    pub validator: Arc<dyn Validator>,
    pub header_timeout: Duration,
    pub metrics: Arc<Metrics>,
    pub log: Log,
    pub audit: Option<Audit>,
}

impl Shared {
    /// Puts `credentials` in force, unless the update is not wanted any more when its turn comes.
    ///
    /// # Errors
    /// [`Abandoned`] if the update is not wanted any more.
    pub async fn update(
        &self,
        credentials: &Credentials,
        wanted: impl Fn() -> bool,
    ) -> Result<(), Abandoned> {
        let before = self.exchange.in_force.current();
        let set = before.successor(credentials, self.rules.restriction.as_deref());
        let warnings = set.warnings();
        self.exchange.in_force.replace(set, wanted).await?;
        self.metrics.credential_updates.add(1);
        self.log.info(format_args!(
            "Credentials updated: client {}",
            credentials.client_id
        ));
        self.warn(warnings);
        Ok(())
    }

    /// Logs sentences that an operator should look at.
    pub fn warn(&self, sentences: impl IntoIterator<Item = String>) {
        for sentence in sentences {
            self.log.warn(format_args!("{sentence}"));
        }
    }
}

/// What one thread's requests use; nothing of it is locked.
pub struct Thread {
    pub shared: Arc<Shared>,
    pub rules: Rules,
    pub exchange: Exchange,
    pub recorder: Rc<Recorder>,
    lookup: RefCell<ClientLookup>,
}

impl Thread {
    /// To be made inside the thread's `LocalSet`.
    pub fn new(shared: Arc<Shared>, upstream: Arc<UpstreamConfig>) -> Rc<Self> {
        let recorder = Recorder {
            metrics: Arc::clone(&shared.metrics),
            log: shared.log.clone(),
            audit: shared.audit.clone(),
        };
        let lookup = ClientLookup::open(Lookup::open, |error| {
            shared.log.warn(format_args!(
                "Clients that shut down writing get no answer until this is over: {error}"
            ));
        });
        Rc::new(Self {
            exchange: Exchange::new(Arc::clone(&shared.exchange), Upstream::new(upstream)),
            recorder: Rc::new(recorder),
            rules: shared.rules.apart(),
            shared,
            lookup: RefCell::new(lookup),
        })
    }

    /// Whether a client that has left can be told from one that has shut down writing.
    pub fn sees_half_close(&self) -> bool {
        self.lookup.borrow_mut().get(Lookup::open).is_some()
    }

    /// Whether the client of `connection` has left, and nothing under way goes on without it.
    pub fn is_gone(&self, connection: &Connection) -> bool {
        let mut lookup = self.lookup.borrow_mut();
        let lookup = lookup.get(Lookup::open);
        lookup.is_some_and(|lookup| connection.is_abandoned(lookup))
    }
}

/// A client's connection as its requests see it.
pub struct Session {
    pub thread: Rc<Thread>,
    pub connection: Rc<Connection>,
    pub rights: Rights,
    pub peer: Peer,
    pub http2: bool,
}
