//! The way out: a request goes to its origin over HTTP/1.1 or HTTP/2, on a connection that is
//! pooled per thread.
//!
//! [`Upstream`] belongs to one thread and shares nothing with the others but its
//! [`UpstreamConfig`]: no lock is taken and no task is spawned for a request. What it is not: it
//! neither signs, nor decides which header fields go out, nor tries again after a pause. It sends
//! what it is given and says by its [`SendError`] what became of it.
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

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{Notify, Semaphore};

use crate::replay::ReplayBody;
use crate::route::Origin;

pub mod environment;
pub mod tls;

/// What all threads' ways out have in common.
#[derive(Debug)]
pub struct UpstreamConfig {
    /// The outgoing proxies.
    pub proxies: environment::Proxies,
    /// Who vouches for the certificates of https origins.
    pub roots: tls::Roots,
    /// One permit per connection, idle ones included. A request waits where there is none.
    pub connections: Arc<Semaphore>,
    /// How long a connection is kept that nobody uses.
    pub idle_timeout: Duration,
    /// How long a TCP connection may take to come about, over all addresses of the name.
    pub connect_timeout: Duration,
    /// How long a TLS handshake or a proxy's answer to CONNECT may take, each.
    pub handshake_timeout: Duration,
    /// Told when a thread waits for a permit: the others let go of their idle connections.
    pressure: Notify,
}

/// One thread's connections to all origins. `B` is the type of the request bodies.
pub struct Upstream<B = ReplayBody> {
    config: Arc<UpstreamConfig>,
    marker: std::marker::PhantomData<B>,
}

/// A connection that is free for one request. Dropped unused, it goes back to the pool.
pub struct Connection<B = ReplayBody> {
    marker: std::marker::PhantomData<B>,
}

/// The body of an answer; it holds the connection until its end.
pub struct ResponseBody<B = ReplayBody> {
    incoming: Incoming,
    marker: std::marker::PhantomData<B>,
}

/// Why there is no answer. Each is one sentence that names the host and holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// A connection that had served before was closed before any byte of an answer: upstream let it
    /// go while it was idle. To be sent again at once, with a fresh signature; not a try. A new
    /// connection never ends so.
    #[error("{host} closed an idle connection while a request was being sent")]
    Stale {
        /// Who.
        host: Box<str>,
    },
    /// Refused, reset, timed out, not found, broke off: worth another try.
    #[error("cannot reach {host}: {reason}")]
    Network {
        /// Who, or which proxy on the way.
        host: Box<str>,
        /// What happened, in a few words.
        reason: Box<str>,
    },
    /// The connection stood, and was lost before an answer had come: worth another try.
    #[error("{host} broke off the connection before it had answered: {reason}")]
    BrokeOff {
        /// Who.
        host: Box<str>,
        /// What happened, in a few words.
        reason: Box<str>,
    },
    /// The certificate does not verify.
    #[error("the certificate of {host} does not verify: {reason}")]
    Certificate {
        /// Whose.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// The other side does not speak TLS, or none that both know.
    #[error("{host} does not speak TLS as expected: {reason}")]
    Tls {
        /// Who.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// What came is no HTTP answer.
    #[error("the answer of {host} is not HTTP: {reason}")]
    NotHttp {
        /// Whose.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// The body given to [`Connection::send`] failed. On HTTP/2 this may show as
    /// [`SendError::BrokeOff`] instead: ask the body.
    #[error("the request to {host} ended early: {reason}")]
    RequestBody {
        /// Whom it was for.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// No descriptor is left for another connection.
    #[error("cannot open a connection to {host}: too many files are open")]
    Descriptors {
        /// To whom.
        host: Box<str>,
    },
    /// An outgoing proxy does not let us through.
    #[error("the outgoing proxy {proxy} refused a tunnel to {host} with status {status}")]
    Tunnel {
        /// To whom.
        host: Box<str>,
        /// The proxy's host and port.
        proxy: Box<str>,
        /// Its answer to CONNECT.
        status: u16,
    },
    /// The roots, or the proxies, cannot be used.
    #[error("{0}")]
    Setup(Box<str>),
}

impl SendError {
    /// Whether another try after a pause may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Network { .. } | Self::BrokeOff { .. } | Self::Descriptors { .. } => true,
            Self::Tunnel { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether the request is to be sent again at once, without counting a try.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

// === impl UpstreamConfig ===

impl UpstreamConfig {
    /// The way out that the environment describes, with `connections` as its limit.
    ///
    /// # Errors
    /// Where a variable holds what cannot be used, with the sentence to show.
    pub fn from_env(connections: Arc<Semaphore>) -> Result<Self, SetupError> {
        Ok(Self::new(
            environment::Proxies::from_env()?,
            tls::Roots::from_env()?,
            connections,
        ))
    }

    /// A way out with the usual times.
    pub fn new(
        proxies: environment::Proxies,
        roots: tls::Roots,
        connections: Arc<Semaphore>,
    ) -> Self {
        Self {
            proxies,
            roots,
            connections,
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            pressure: Notify::new(),
        }
    }
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

// === impl Upstream ===

impl<B> Upstream<B>
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// One thread's way out. To be made and used inside a `LocalSet`.
    pub fn new(config: Arc<UpstreamConfig>) -> Rc<Self> {
        Rc::new(Self {
            config,
            marker: std::marker::PhantomData,
        })
    }

    /// A connection to `origin` that is free for a request; one of HTTP/1.1 where `needs_http1`
    /// (upgrades).
    pub async fn connect(
        self: &Rc<Self>,
        origin: &Origin,
        needs_http1: bool,
    ) -> Result<Connection<B>, SendError> {
        let _ = (&self.config, origin, needs_http1);
        todo!()
    }

    /// [`Self::connect`] and [`Connection::send`] in one.
    pub async fn send(
        self: &Rc<Self>,
        origin: &Origin,
        request: Request<B>,
        needs_http1: bool,
    ) -> Result<Response<ResponseBody<B>>, SendError> {
        self.connect(origin, needs_http1).await?.send(request).await
    }
}

// === impl Connection ===

impl<B> Connection<B>
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Whether the request will go out over HTTP/2. Nothing tells of 1xx answers there, so a body
    /// must not be held back for one.
    pub fn is_http2(&self) -> bool {
        todo!()
    }

    /// Sends `request` and returns the answer once its head is in.
    ///
    /// The request has an origin-form target, which goes out byte for byte, and the end-to-end
    /// fields; `Host` and framing are set here. Dropping the future ends the request.
    ///
    /// Where the connection is found closed before the request was begun, another one is taken. The
    /// caller sees [`SendError::Stale`] only where the body may have been read.
    pub async fn send(self, request: Request<B>) -> Result<Response<ResponseBody<B>>, SendError> {
        let _ = request;
        todo!()
    }
}

impl<B> http_body::Body for ResponseBody<B> {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, hyper::Error>>> {
        std::pin::Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}

impl<B> Unpin for ResponseBody<B> {}
