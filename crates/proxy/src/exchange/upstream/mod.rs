//! Outgoing connections: a request goes to its origin over HTTP/1.1 or HTTP/2, on a connection that is
//! pooled per thread.
//!
//! [`Upstream`] belongs to one thread and shares nothing with the others but its
//! [`UpstreamConfig`]: no lock is taken and no task is spawned for a request. What it is not: it
//! neither signs, nor decides which header fields go out, nor tries again after a pause. It sends
//! what it is given, once, and says by its [`Unanswered`] what became of it.
//!
//! A request takes three steps:
//! 1. [`Upstream::connect`] finds an idle connection to the origin, or makes one ([`pool`],
//!    [`connect`], [`tls`]), directly or by the proxies that the environment names
//!    ([`environment`]).
//! 2. [`Connection::send`] gives the request the form of the connection's protocol and sends it.
//! 3. The [`ResponseBody`] hands the connection back when it has been read to its end. Dropped
//!    before that, it ends the request: an HTTP/1.1 connection is closed, an HTTP/2 stream reset.
//!
//! The steps are apart so that a request can be signed when its connection stands, not before: a
//! signature ages while it waits.

mod address;
mod config;
mod connect;
mod connection;
pub mod environment;
mod host;
mod http2;
mod outside;
mod permits;
mod pool;
mod response_body;
mod socket;
mod stream;
pub mod tls;
mod tunnel;
mod verifier;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::time::{Instant, timeout_at};

pub use self::config::UpstreamConfig;
use self::connect::{Connector, Http1Link};
pub use self::connection::Connection;
use self::host::Host;
pub use self::outside::Outside;
use self::pool::{Lease, Maker, Pool};
pub use self::response_body::ResponseBody;
pub use self::socket::Socket;
use self::stream::UpstreamIo;
use self::tls::Protocol;
use crate::decision::route::Origin;
use crate::exchange::replay::ReplayBody;
use crate::exchange::send_error::{SendError, Unanswered, name_of};
use crate::limits::{BODY_WITH_HEAD, IDLE_LINKS, IDLE_SOCKETS, KNOWN_HOSTS, PERMIT_WAIT};

/// The body of a request as it goes upstream, in one piece or in many.
pub trait RequestBody:
    Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin + 'static
{
}

impl<B> RequestBody for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin + 'static
{
}

/// One thread's connections to all origins. `B` is the type of the request bodies.
pub struct Upstream<B = ReplayBody> {
    config: Arc<UpstreamConfig>,
    connector: Connector,
    hosts: RefCell<HashMap<Origin, Rc<Host<B>>>>,
    /// The connections to the proxy that http origins are reached by.
    forward: Rc<Pool<B>>,
    /// Whether a task closes what is idle.
    reaping: Cell<bool>,
    this: Weak<Self>,
}

/// What a request needs of its connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Need {
    /// HTTP/1.1, for an upgrade.
    pub http1: bool,
    /// A connection that has not served before: the request was lost on one that had, or could not
    /// be sent again if it were lost.
    pub new: bool,
    /// More is sent than surely fits the peer's receive window. A body that goes out with its head
    /// fits.
    pub long: bool,
}

impl Need {
    /// What a request needs that has a body of this length, if that is known; `is_kept` says that the
    /// body could be sent again.
    pub fn of_body(length: Option<u64>, is_kept: bool) -> Self {
        Self {
            http1: false,
            new: length.is_none_or(|length| length > BODY_WITH_HEAD) && !is_kept,
            long: length.is_some_and(|length| length > BODY_WITH_HEAD),
        }
    }
}

/// Where a request's connection comes from.
enum Found<'h, T, B> {
    Free(T),
    /// A new connection. Other requests wait until the maker is dropped.
    New(UpstreamIo, Protocol, Option<Maker<'h, B>>),
}

// === impl Upstream ===

impl<B: RequestBody> Upstream<B> {
    /// One thread's outgoing connections. To be made and used inside a `LocalSet`.
    pub fn new(config: Arc<UpstreamConfig>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            connector: Connector::new(Arc::clone(&config)),
            config,
            hosts: RefCell::default(),
            forward: Pool::new(),
            reaping: Cell::new(false),
            this: Weak::clone(this),
        })
    }

    /// A connection to `origin` that is free for a request.
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub async fn connect(
        self: &Rc<Self>,
        origin: &Origin,
        need: Need,
    ) -> Result<Connection<B>, Unanswered> {
        let host = self.host(origin).map_err(Unanswered::not_connected)?;
        let need = Need {
            http1: need.http1 || !self.config.http2,
            ..need
        };
        let lease = self.lease(&host, need).await;
        let lease = lease.map_err(Unanswered::not_connected)?;
        Ok(Connection::new(lease, host, Rc::clone(self)))
    }

    fn host(&self, origin: &Origin) -> Result<Rc<Host<B>>, SendError> {
        if let Some(host) = self.hosts.borrow().get(origin) {
            return Ok(Rc::clone(host));
        }
        let host = Host::new(origin, &self.config.proxies, &self.forward)?;
        let host = Rc::new(host);
        let mut hosts = self.hosts.borrow_mut();
        if hosts.len() >= KNOWN_HOSTS {
            hosts.retain(|_, host| host.is_needed());
        }
        hosts.insert(origin.clone(), Rc::clone(&host));
        Ok(host)
    }

    /// A free connection, or a new one.
    async fn lease(&self, host: &Host<B>, need: Need) -> Result<Lease<B>, SendError> {
        let pool = &host.pool;
        let free = || pool.take(need);
        let (io, protocol, maker) = match self.free_or_new(host, need, free).await? {
            Found::Free(lease) => return Ok(lease),
            Found::New(io, protocol, maker) => (io, protocol, maker),
        };
        // By HTTP/2, upstream always takes what comes: its own windows say how much that is.
        io.line.may_stall(need.long && protocol == Protocol::Http1);
        match self.connector.begin(&host.origin, io, protocol).await {
            Ok(link) => Ok(pool.add(link, need.http1)),
            Err(failure) => {
                if let Some(maker) = maker {
                    maker.failed(&failure);
                }
                Err(failure)
            }
        }
    }

    /// What `free` finds in the pool of `host`, or a new connection. If the new one may serve many
    /// requests, only one is made at a time, unless the request needs a new one.
    async fn free_or_new<'h, T>(
        &self,
        host: &'h Host<B>,
        need: Need,
        free: impl Fn() -> Option<T>,
    ) -> Result<Found<'h, T, B>, SendError> {
        let pool = &host.pool;
        // Most requests find a connection, and need no clock.
        let mut until = None;
        loop {
            if !need.new
                && let Some(found) = free()
            {
                return Ok(Found::Free(found));
            }
            let may_be_shared = host.origin.secure()
                && !need.http1
                && !need.new
                && pool.protocol() != Some(Protocol::Http1);
            if may_be_shared && let Some(making) = pool.making() {
                making.done(pool).await?;
                continue;
            }
            let maker = may_be_shared.then(|| pool.make());
            let until = *until.get_or_insert_with(|| Instant::now() + PERMIT_WAIT);
            let permit = timeout_at(until, self.config.permits.take(pool)).await;
            let too_late = |_| SendError::Descriptors {
                host: name_of(&host.origin),
            };
            let Some(permit) = permit.map_err(too_late)?? else {
                continue;
            };
            let opening = self
                .connector
                .open(&host.origin, &host.way, need.http1, permit);
            // In a box, so that the many requests that find a connection have small futures.
            match Box::pin(opening).await {
                Ok((io, protocol)) => {
                    self.config.metrics.upstream_connections.add(1);
                    self.start_reaping();
                    return Ok(Found::New(io, protocol, maker));
                }
                Err(failure) => {
                    if let SendError::Descriptors { .. } = failure {
                        self.config.permits.press();
                    }
                    if let Some(maker) = maker {
                        maker.failed(&failure);
                    }
                    return Err(failure);
                }
            }
        }
    }

    fn start_reaping(&self) {
        if !self.reaping.replace(true) {
            tokio::task::spawn_local(reap(Weak::clone(&self.this), Arc::clone(&self.config)));
            let windows = Rc::clone(&self.connector.windows);
            tokio::task::spawn_local(windows.give_back(self.config.give_back_memory));
        }
    }
}

impl<B> Upstream<B> {
    fn give_back(&self, link: Http1Link<B>, pool: &Pool<B>) {
        // A waiting request needs the permit more than this idle connection.
        if self.config.permits.are_wanted() && !pool.is_awaited() {
            return;
        }
        pool.put(link);
        pool.trim(IDLE_LINKS, IDLE_SOCKETS);
    }

    /// Closes what has been idle for `limit`; gives the time when to look again.
    fn close_idle(&self, limit: Duration) -> Instant {
        let now = Instant::now();
        let mut hosts = self.hosts.borrow_mut();
        let pools = hosts.values().map(|host| &host.pool).chain([&self.forward]);
        let next = pools.filter_map(|pool| pool.reap(now, limit)).min();
        hosts.retain(|_, host| host.is_needed());
        next.unwrap_or(now + limit)
    }
}

/// Closes idle connections when it is time, or when others need their permits.
async fn reap<B: 'static>(upstream: Weak<Upstream<B>>, config: Arc<UpstreamConfig>) {
    loop {
        let pressure = config.permits.pressure();
        let Some(next) = upstream
            .upgrade()
            .map(|upstream| upstream.close_idle(config.idle_timeout))
        else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = pressure => {
                if let Some(upstream) = upstream.upgrade() {
                    upstream.close_idle(Duration::ZERO);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
