//! The way out: a request goes to its origin over HTTP/1.1 or HTTP/2, on a connection that is
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

mod connect;
pub mod environment;
mod pool;
mod socket;
pub mod tls;
mod verifier;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::connect::{Connector, UpstreamIo, Way};
pub use self::connect::{MAX_FIELDS, MAX_HEAD};
use self::environment::{Proxies, ProxyProtocol};
use self::pool::{Lease, Maker, Pool};
pub use self::socket::Socket;
use self::tls::{Protocol, Roots};
use crate::decision::route::Origin;
use crate::exchange::replay::ReplayBody;
use crate::exchange::send_error::{
    ODD_CODING, ODD_LENGTH, Progress, SPOKE_FIRST, SendError, Unanswered,
};
use crate::message::headers;
use crate::record::metrics::Metrics;

/// Idle connections that a thread keeps. More are of use only to a thread that has more requests
/// at a time, and each may hold a read buffer.
const MAX_IDLE: usize = 256;
/// The same of sockets, which hold nothing but their descriptor.
const MAX_IDLE_SOCKETS: usize = 1024;
/// Origins that are remembered before those without a connection are forgotten.
const MAX_HOSTS: usize = 1024;
/// What is left of an answer that nobody wants is worth reading for its connection up to this.
const MAX_DRAIN: u64 = 8 * 1024;
/// How often a thread that waits for a permit reminds the others.
const REMIND: Duration = Duration::from_millis(100);

/// What all threads' ways out have in common.
#[derive(Debug)]
pub struct UpstreamConfig {
    /// The outgoing proxies.
    pub proxies: Proxies,
    /// Who vouches for the certificates of https origins.
    pub roots: Arc<Roots>,
    /// One permit per connection, idle ones included. A request waits where there is none.
    pub connections: Arc<Semaphore>,
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
    /// How many requests wait for a permit.
    starving: AtomicUsize,
    /// Tells all threads to let go of what is idle.
    pressure: Notify,
}

/// One thread's connections to all origins. `B` is the type of the request bodies.
pub struct Upstream<B = ReplayBody> {
    config: Arc<UpstreamConfig>,
    connector: Connector,
    hosts: RefCell<HashMap<Origin, Rc<Host<B>>>>,
    /// To the proxy that http origins are reached by.
    forward: Rc<Pool<B>>,
    /// Whether a task closes what is idle.
    reaping: Cell<bool>,
    this: Weak<Self>,
}

/// What is known of an origin.
struct Host<B> {
    origin: Origin,
    authority: Authority,
    way: Way,
    pool: Rc<Pool<B>>,
}

/// A connection that is free for one request. Dropped unused, it goes back to the pool.
pub struct Connection<B = ReplayBody> {
    /// `None` once it is used.
    held: Option<Held<B>>,
}

/// The body of an answer; it holds the connection until its end.
pub struct ResponseBody<B = ReplayBody> {
    incoming: Incoming,
    held: Option<Held<B>>,
}

/// A connection while a request has it.
struct Held<B> {
    lease: Lease<B>,
    host: Rc<Host<B>>,
    upstream: Rc<Upstream<B>>,
}

/// Where a request's connection comes from.
enum Found<'h, T, B> {
    Free(T),
    /// The others wait until the maker is dropped.
    New(UpstreamIo, Protocol, Option<Maker<'h, B>>),
}

/// Why there is no way out. Known at start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `HTTP_PROXY` or `HTTPS_PROXY`.
    #[error(transparent)]
    Proxies(#[from] environment::ProxiesError),
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR`.
    #[error(transparent)]
    Roots(#[from] tls::RootsError),
}

// === impl UpstreamConfig ===

impl UpstreamConfig {
    /// The way out that the environment describes, with `connections` as its limit.
    ///
    /// # Errors
    /// Where a variable holds what cannot be used, with the sentence to show.
    pub fn from_env(connections: Arc<Semaphore>) -> Result<Self, SetupError> {
        Ok(Self::new(
            Proxies::from_env()?,
            Roots::from_env()?,
            connections,
        ))
    }

    /// A way out with the usual times.
    pub fn new(proxies: Proxies, roots: Roots, connections: Arc<Semaphore>) -> Self {
        Self {
            proxies,
            roots: Arc::new(roots),
            connections,
            metrics: Arc::default(),
            http2: false,
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            starving: AtomicUsize::new(0),
            pressure: Notify::new(),
        }
    }

    fn is_starving(&self) -> bool {
        self.starving.load(Ordering::Relaxed) > 0
    }
}

// === impl Upstream ===

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// One thread's way out. To be made and used inside a `LocalSet`.
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

    /// A connection to `origin` that is free for a request; one of HTTP/1.1 where `needs_http1`
    /// (upgrades), and never one that has served before where `fresh` (the request was lost on such
    /// a one, or could not be sent again if it were).
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub async fn connect(
        self: &Rc<Self>,
        origin: &Origin,
        needs_http1: bool,
        fresh: bool,
    ) -> Result<Connection<B>, Unanswered> {
        let host = self.host(origin).map_err(Unanswered::not_connected)?;
        let lease = self.lease(&host, needs_http1, fresh).await;
        let lease = lease.map_err(Unanswered::not_connected)?;
        let held = Held {
            lease,
            host,
            upstream: Rc::clone(self),
        };
        Ok(Connection { held: Some(held) })
    }

    fn host(&self, origin: &Origin) -> Result<Rc<Host<B>>, SendError> {
        if let Some(host) = self.hosts.borrow().get(origin) {
            return Ok(Rc::clone(host));
        }
        let proxy = self.config.proxies.proxy_for(origin);
        let way = match proxy.map_err(|error| SendError::Setup(error.to_string().into()))? {
            None => Way::Direct,
            Some(proxy) if !origin.secure() && proxy.protocol() == ProxyProtocol::Http => {
                Way::Forward(Arc::clone(proxy))
            }
            Some(proxy) => Way::Tunnel(Arc::clone(proxy)),
        };
        let authority = Authority::try_from(origin.host_header().as_bytes())
            .map_err(|_| SendError::Setup("the upstream's name is no host's name".into()))?;
        let pool = match way {
            Way::Forward(_) => Rc::clone(&self.forward),
            Way::Direct | Way::Tunnel(_) => Pool::new(),
        };
        let host = Rc::new(Host {
            origin: origin.clone(),
            authority,
            way,
            pool,
        });
        let mut hosts = self.hosts.borrow_mut();
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, host| host.is_needed());
        }
        hosts.insert(origin.clone(), Rc::clone(&host));
        Ok(host)
    }

    /// A free connection, or a new one.
    async fn lease(
        &self,
        host: &Host<B>,
        only_http1: bool,
        fresh: bool,
    ) -> Result<Lease<B>, SendError> {
        let pool = &host.pool;
        let free = || pool.take(only_http1);
        let found = self.free_or_new(host, only_http1, fresh, free).await?;
        let (io, protocol, maker) = match found {
            Found::Free(lease) => return Ok(lease),
            Found::New(io, protocol, maker) => (io, protocol, maker),
        };
        match self.connector.begin(&host.origin, io, protocol).await {
            Ok(link) => Ok(pool.add(link, only_http1)),
            Err(failure) => {
                if let Some(maker) = maker {
                    maker.failed(&failure);
                }
                Err(failure)
            }
        }
    }

    /// What `free` finds in the pool of `host`, or a new connection. Where that may turn out to be
    /// one that many can use, only one is made at a time, unless it has to be `fresh`.
    async fn free_or_new<'h, T>(
        &self,
        host: &'h Host<B>,
        only_http1: bool,
        fresh: bool,
        free: impl Fn() -> Option<T>,
    ) -> Result<Found<'h, T, B>, SendError> {
        let pool = &host.pool;
        loop {
            if !fresh && let Some(found) = free() {
                return Ok(Found::Free(found));
            }
            let may_be_shared = host.origin.secure()
                && !only_http1
                && !fresh
                && pool.protocol() != Some(Protocol::Http1);
            if may_be_shared && let Some(making) = pool.making() {
                making.done(pool).await?;
                continue;
            }
            let maker = may_be_shared.then(|| pool.make());
            let Some(permit) = self.permit(pool).await? else {
                continue;
            };
            let opening = self
                .connector
                .open(&host.origin, &host.way, only_http1, permit);
            // In a box, so that the many requests that find a connection have small futures.
            match Box::pin(opening).await {
                Ok((io, protocol)) => {
                    self.config.metrics.upstream_connections.add(1);
                    self.start_reaping();
                    return Ok(Found::New(io, protocol, maker));
                }
                Err(failure) => {
                    if let SendError::Descriptors { .. } = failure {
                        self.config.pressure.notify_waiters();
                    }
                    if let Some(maker) = maker {
                        maker.failed(&failure);
                    }
                    return Err(failure);
                }
            }
        }
    }

    /// The right to make a connection; `None` where one of `pool` may have become free meanwhile.
    async fn permit(&self, pool: &Pool<B>) -> Result<Option<OwnedSemaphorePermit>, SendError> {
        let config = &self.config;
        if let Ok(permit) = Arc::clone(&config.connections).try_acquire_owned() {
            return Ok(Some(permit));
        }
        let _starving = Starving::new(&config.starving);
        let mut permit = pin!(Arc::clone(&config.connections).acquire_owned());
        loop {
            config.pressure.notify_waiters();
            tokio::select! {
                permit = &mut permit => {
                    let stopping = |_| SendError::Setup("the proxy is stopping".into());
                    return permit.map(Some).map_err(stopping);
                }
                () = pool.freed() => return Ok(None),
                () = tokio::time::sleep(REMIND) => {}
            }
        }
    }

    fn start_reaping(&self) {
        if !self.reaping.replace(true) {
            tokio::task::spawn_local(reap(Weak::clone(&self.this), Arc::clone(&self.config)));
        }
    }
}

impl<B> Upstream<B> {
    fn give_back(&self, lease: Lease<B>, pool: &Pool<B>) {
        match lease {
            // Somebody else may have it sooner as a permit.
            Lease::Http1(_) if self.config.is_starving() && !pool.is_awaited() => {}
            Lease::Http1(link) => {
                pool.put(link);
                pool.trim(MAX_IDLE, MAX_IDLE_SOCKETS);
            }
            Lease::Http2(stream) => drop(stream),
        }
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
        let pressure = config.pressure.notified();
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

/// One more that waits for a permit.
struct Starving<'a>(&'a AtomicUsize);

impl<'a> Starving<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Host ===

impl<B> Host<B> {
    /// Whether there is something to remember it for.
    fn is_needed(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1 || !self.pool.is_empty()
    }
}

impl<B: Body> Host<B> {
    /// Gives `request` the form that the connection's protocol has for it (RFC 9112 3.2, RFC 9113
    /// 8.3.1). Path and query stay byte for byte.
    fn shape(&self, request: &mut Request<B>, http2: bool) {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let is_framed = request.body().is_end_stream()
            || request.body().size_hint().exact().is_some()
            || request.headers().contains_key(CONTENT_LENGTH);
        let headers = request.headers_mut();
        if http2 {
            headers.remove(HOST);
            // Else the fields that it names would be taken away with it.
            headers.remove(CONNECTION);
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = self.absolute(Scheme::HTTPS, path);
            return;
        }
        headers.insert(HOST, self.origin.host_header().clone());
        if !is_framed {
            // Said here because it would not be for a GET, and its body would be lost.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = match &self.way {
            Way::Forward(proxy) => {
                if let Some(authorization) = proxy.authorization() {
                    let headers = request.headers_mut();
                    headers.insert(PROXY_AUTHORIZATION, authorization.clone());
                }
                self.absolute(Scheme::HTTP, path)
            }
            Way::Direct | Way::Tunnel(_) => Uri::from(path),
        };
    }

    fn absolute(&self, scheme: Scheme, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).unwrap_or_else(|_| unreachable!("all three parts are there"))
    }
}

// === impl Connection ===

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Whether the request will go out over HTTP/2. Nothing tells of 1xx answers there, so a body
    /// must not be held back for one.
    pub fn is_http2(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.lease.is_http2())
    }

    /// Sends `request` and returns the answer once its head is in.
    ///
    /// The request has an origin-form target, which goes out byte for byte, and the end-to-end
    /// fields; `Host` and framing are set here. Dropping the future ends the request.
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub async fn send(
        mut self,
        mut request: Request<B>,
    ) -> Result<Response<ResponseBody<B>>, Unanswered> {
        let Some(mut held) = self.held.take() else {
            unreachable!("it is taken only here and when it is dropped");
        };
        held.host.shape(&mut request, held.lease.is_http2());
        held.lease.begin();
        let sent = match &mut held.lease {
            Lease::Http1(link) => link.sender.try_send_request(request).await,
            Lease::Http2(stream) => {
                let sending = stream
                    .shared
                    .link
                    .borrow_mut()
                    .sender
                    .try_send_request(request);
                sending.await
            }
        };
        let mut response = sent.map_err(|failure| held.failure(&failure))?;
        match odd_framing(response.headers_mut()) {
            None => Ok(held.answer(response)),
            Some(reason) => Err(Unanswered::not_http(&held.host.origin, reason)),
        }
    }
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.give_back();
        }
    }
}

impl<B> fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.held.as_ref().map(|held| &held.host.origin);
        f.debug_struct("Connection")
            .field("origin", &origin)
            .finish_non_exhaustive()
    }
}

// === impl Held ===

impl<B> Held<B> {
    fn give_back(self) {
        self.upstream.give_back(self.lease, &self.host.pool);
    }

    fn answer(self, response: Response<Incoming>) -> Response<ResponseBody<B>> {
        // After 101 the connection is no HTTP connection any more. On one that speaks HTTP/1.0,
        // the next request could have no body whose length is not known beforehand.
        let last = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || response.version() == Version::HTTP_10;
        let held = (!last).then_some(self);
        response.map(|incoming| ResponseBody { incoming, held })
    }

    fn failure(&self, failure: &TrySendError<Request<B>>) -> Unanswered {
        let origin = &self.host.origin;
        let progress = Progress {
            reused: self.lease.is_reused(),
            // hyper gives the request back where it has not begun to write it.
            written: failure.message().is_none(),
            heard: self.lease.has_heard(),
        };
        let is_new = !progress.reused && !self.lease.is_http2();
        if is_new && progress.heard && failure.error().is_canceled() {
            return Unanswered::not_http(origin, SPOKE_FIRST);
        }
        Unanswered::hyper(origin, failure.error(), progress)
    }
}

// === impl ResponseBody ===

impl<B> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            // Where it was the last one, the connection is free when the body is dropped.
            Some(Ok(frame)) if frame.is_data() => {}
            // Nothing follows trailers, and not everybody asks.
            Some(Ok(_)) | None => {
                if let Some(held) = self.held.take() {
                    held.give_back();
                }
            }
            Some(Err(_)) => self.held = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        let left = self.incoming.size_hint().upper();
        if left.is_some_and(|left| left <= MAX_DRAIN)
            && let Some(held) = self.held.take()
        {
            // hyper reads the rest where it has come already, and else closes the connection.
            held.give_back();
        }
    }
}

impl<B> Unpin for ResponseBody<B> {}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

/// Why nobody can tell what the body of an answer is, though hyper took it.
fn odd_framing(headers: &mut HeaderMap) -> Option<&'static str> {
    // RFC 9112 6.3: the coding overrides it, and who forwards takes it out.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers::content_length(headers).is_err() {
        return Some(ODD_LENGTH);
    }
    headers::is_chunked(headers).is_none().then_some(ODD_CODING)
}

#[cfg(test)]
mod tests;
