//! Connections: TCP, through an outgoing proxy where there is one, TLS where the origin has it, and
//! the handshake of HTTP/1.1 or HTTP/2 on top.
//!
//! What this is not: it keeps no connection. That is [`super::pool`].

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::RequestBody;
use super::address::uri;
use super::config::UpstreamConfig;
use super::environment::ProxyServer;
use super::host::Way;
use super::http2::Http2;
use super::http2::window::Budget;
use super::outside::{KeptOff, Outside, OutsideResolver};
use super::permits::Permit;
use super::stream::{Line, ReadsOn, Stream, UpstreamIo};
use super::tls::Protocol;
use super::tunnel::tunnel;
use crate::decision::route::Origin;
use crate::exchange::reasons;
use crate::exchange::send_error::{SendError, h2_error, hyper_error, io_error, name_of};
use crate::limits::{ANSWER_FIELDS, ANSWER_HEAD};

/// How long a machine is silent before it is asked for a sign of life, the time between questions,
/// and the number of questions after which it is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMES: u32 = 4;

/// Makes connections, each to one origin.
pub(super) struct Connector {
    config: Arc<UpstreamConfig>,
    tcp: HttpConnector,
    /// Connects to no address that is kept off.
    outside: HttpConnector<OutsideResolver>,
    http1: http1::Builder,
    pub(super) windows: Rc<Budget>,
}

/// A connection that a request can be sent on.
pub(super) enum Link<B> {
    Http1(Http1Link<B>),
    Http2(Rc<Http2>),
}

/// An HTTP/1.1 connection: one request at a time.
pub(super) struct Http1Link<B> {
    pub(super) sender: http1::SendRequest<B>,
    pub(super) line: Line,
    /// How often something had been received when the last request began.
    pub(super) heard: u64,
    /// Whether a request has been sent on it.
    pub(super) used: bool,
    /// Whether a request before the last one has been sent on it.
    pub(super) reused: bool,
}

impl<B> Http1Link<B> {
    /// Begins a request: bytes from now on may be its answer. Bytes that a new connection has sent so
    /// far count, too, since no request had been sent on it.
    pub(super) fn begin(&mut self) {
        self.reused = std::mem::replace(&mut self.used, true);
        if self.reused {
            self.heard = self.line.heard();
        }
    }

    /// Whether anything has been received since the last request began.
    pub(super) fn has_heard(&self) -> bool {
        self.line.heard() != self.heard
    }
}

// === impl Connector ===

impl Connector {
    pub(super) fn new(config: Arc<UpstreamConfig>) -> Self {
        let resolver = OutsideResolver::new(config.outside.clone());
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(ANSWER_HEAD).max_headers(ANSWER_FIELDS);
        Self {
            tcp: tcp_connector(GaiResolver::new(), &config),
            outside: tcp_connector(resolver, &config),
            config,
            http1,
            windows: Budget::new(),
        }
    }

    /// Connects to `origin` by `way`, and tells what is to be spoken there.
    pub(super) async fn open(
        &self,
        origin: &Origin,
        way: &Way,
        only_http1: bool,
        permit: Permit,
    ) -> Result<(UpstreamIo, Protocol), SendError> {
        let outside = self.config.outside.as_deref();
        let outside = outside.filter(|outside| outside.guards(origin));
        if outside.is_some_and(|outside| outside.names_kept_off(origin)) {
            return Err(kept_off(origin));
        }
        if origin.secure() {
            // Missing roots are no error that another try could mend, so they come first.
            self.config.roots.ready().await?;
        }
        let stream = match way {
            Way::Direct if outside.is_some() => Stream::Plain(self.dial_outside(origin).await?),
            Way::Direct => Stream::Plain(self.dial(origin).await?),
            Way::Forward(proxy) => self.dial_proxy(proxy).await?,
            Way::Tunnel(proxy) => {
                let stream = self.dial_proxy(proxy).await?;
                let tunnel = tunnel(stream, proxy, origin);
                within(
                    self.config.connect_timeout,
                    "connection",
                    proxy.origin(),
                    tunnel,
                )
                .await?
            }
        };
        let (stream, protocol) = if origin.secure() {
            let tls = self.secure(stream, origin, only_http1);
            within(self.config.handshake_timeout, "TLS handshake", origin, tls).await?
        } else {
            (stream, Protocol::Http1)
        };
        Ok((
            UpstreamIo::new(stream, self.config.unacknowledged, permit),
            protocol,
        ))
    }

    /// Begins to speak `protocol`.
    pub(super) async fn begin<B: RequestBody>(
        &self,
        origin: &Origin,
        io: UpstreamIo,
        protocol: Protocol,
    ) -> Result<Link<B>, SendError> {
        match protocol {
            Protocol::Http1 => {
                let line = io.line.clone();
                let io = TokioIo::new(ReadsOn::new(io));
                self.begin_http1(origin, io, line).await.map(Link::Http1)
            }
            Protocol::Http2 => {
                let begun = Http2::begin(io, &self.windows).await;
                let begun = begun.map_err(|error| h2_error(origin, &error))?;
                Ok(Link::Http2(begun))
            }
        }
    }

    async fn dial_proxy(&self, proxy: &ProxyServer) -> Result<Stream, SendError> {
        let stream = Stream::Plain(self.dial(proxy.origin()).await?);
        if !proxy.origin().secure() {
            return Ok(stream);
        }
        let tls = self.secure(stream, proxy.origin(), true);
        Ok(within(
            self.config.handshake_timeout,
            "TLS handshake",
            proxy.origin(),
            tls,
        )
        .await?
        .0)
    }

    async fn dial(&self, to: &Origin) -> Result<TcpStream, SendError> {
        self.dial_by(self.tcp.clone(), to).await
    }

    async fn dial_outside(&self, to: &Origin) -> Result<TcpStream, SendError> {
        let tcp = self.dial_by(self.outside.clone(), to).await?;
        if Outside::came_home(&tcp) {
            return Err(kept_off(to));
        }
        Ok(tcp)
    }

    async fn dial_by<C>(&self, mut connector: C, to: &Origin) -> Result<TcpStream, SendError>
    where
        C: Service<Uri, Response = TokioIo<TcpStream>>,
        C::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let connecting = async {
            let io = connector.call(uri(to)?).await.map_err(|error| {
                let error = error.into();
                dial_error(to, error.as_ref())
            })?;
            Ok(io.into_inner())
        };
        // The connector's own limit does not count the look-up of the name.
        within(self.config.connect_timeout, "connection", to, connecting).await
    }

    async fn secure(
        &self,
        stream: Stream,
        origin: &Origin,
        only_http1: bool,
    ) -> Result<(Stream, Protocol), SendError> {
        let roots = &self.config.roots;
        match stream {
            Stream::Plain(tcp) => {
                let (tls, protocol) = roots.handshake(origin, tcp, only_http1).await?;
                Ok((Stream::Tls(Box::new(tls)), protocol))
            }
            Stream::Tls(outer) => {
                let (tls, protocol) = roots.handshake(origin, outer, only_http1).await?;
                Ok((Stream::TlsInTls(Box::new(tls)), protocol))
            }
            Stream::TlsInTls(_) => unreachable!("there is one proxy at most"),
        }
    }

    async fn begin_http1<B: RequestBody>(
        &self,
        origin: &Origin,
        io: TokioIo<ReadsOn>,
        line: Line,
    ) -> Result<Http1Link<B>, SendError> {
        let handshake = self.http1.handshake(io).await;
        let (sender, connection) = handshake.map_err(|error| hyper_error(origin, &error))?;
        // Each request gets the connection's error itself.
        tokio::task::spawn_local(async move { _ = connection.with_upgrades().await });
        Ok(Http1Link {
            sender,
            line,
            heard: 0,
            used: false,
            reused: false,
        })
    }
}

fn tcp_connector<R>(resolver: R, config: &UpstreamConfig) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.connect_timeout));
    // A peer that vanishes before it has answered is noticed within a minute and a half.
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE_AGAIN));
    tcp.set_keepalive_retries(Some(KEEP_ALIVE_TIMES));
    tcp
}

/// The result of `doing`, or a timeout that says of `host` that `what` did not come.
async fn within<T>(
    limit: Duration,
    what: &str,
    host: &Origin,
    doing: impl Future<Output = Result<T, SendError>>,
) -> Result<T, SendError> {
    timeout(limit, doing).await.unwrap_or_else(|_| {
        let reason = format!("no {what} within {} s", limit.as_secs_f64()).into();
        Err(SendError::Network {
            host: name_of(host),
            reason,
        })
    })
}

fn kept_off(origin: &Origin) -> SendError {
    SendError::KeptOff {
        host: name_of(origin),
    }
}

/// The connector wraps the system's error in its own.
fn dial_error(to: &Origin, error: &(dyn StdError + 'static)) -> SendError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if matches!(error.get_ref(), Some(error) if error.is::<KeptOff>()) {
                return kept_off(to);
            }
            return match io_error(name_of(to), error) {
                SendError::BrokeOff { host, reason } => SendError::Network { host, reason },
                other => other,
            };
        }
        cause = error.source();
    }
    SendError::Network {
        host: name_of(to),
        reason: reasons::of(error).into(),
    }
}
