//! Tunnels to an origin through an outgoing proxy.

use std::future::{Future, Ready, poll_fn, ready};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::address::{authority_with_port, unusable, uri};
use super::environment::{ProxyProtocol, ProxyServer};
use super::stream::Stream;
use crate::decision::route::Origin;
use crate::exchange::send_error::{SendError, hyper_error, name_of};

/// Asks `proxy` for a tunnel to `origin`.
pub(super) async fn tunnel(
    stream: Stream,
    proxy: &ProxyServer,
    origin: &Origin,
) -> Result<Stream, SendError> {
    match (proxy.protocol(), stream) {
        (ProxyProtocol::Socks5, Stream::Plain(tcp)) => socks(tcp, proxy, origin).await,
        (_, stream) => connect_method(stream, proxy, origin).await,
    }
}

/// RFC 9110 9.3.6
async fn connect_method(
    stream: Stream,
    proxy: &ProxyServer,
    origin: &Origin,
) -> Result<Stream, SendError> {
    let failed = |error: &hyper::Error| hyper_error(proxy.origin(), error);
    let authority = authority_with_port(origin)?;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .header(HOST, authority.as_str())
        .uri(authority)
        .body(Empty::<Bytes>::new())
        .map_err(|_| unusable(origin))?;
    if let Some(authorization) = proxy.authorization() {
        request
            .headers_mut()
            .insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, mut connection) = handshake.map_err(|error| failed(&error))?;
    let response = {
        let mut answer = pin!(sender.send_request(request));
        let mut driving = pin!(poll_fn(|cx| connection.poll_without_shutdown(cx)));
        let mut done = false;
        poll_fn(|cx| {
            if !done {
                done = driving.as_mut().poll(cx).is_ready();
            }
            answer.as_mut().poll(cx)
        })
        .await
        .map_err(|error| failed(&error))?
    };
    if !response.status().is_success() {
        return Err(SendError::Tunnel {
            host: name_of(origin),
            proxy: name_of(proxy.origin()),
            status: response.status().as_u16(),
        });
    }
    let parts = connection.into_parts();
    if parts.read_buf.is_empty() {
        Ok(parts.io.into_inner())
    } else {
        // In TLS the client speaks first, so the proxy made up these bytes.
        let reason = "there is more after its answer to CONNECT".into();
        Err(SendError::NotHttp {
            host: name_of(proxy.origin()),
            reason,
        })
    }
}

/// RFC 1928
async fn socks(tcp: TcpStream, proxy: &ProxyServer, origin: &Origin) -> Result<Stream, SendError> {
    let mut socks = SocksV5::new(uri(proxy.origin())?, Connected(Some(tcp)));
    if let Some((user, password)) = proxy.user() {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    match socks.call(uri(origin)?).await {
        Ok(io) => Ok(Stream::Plain(io.into_inner())),
        Err(error) => {
            let reason = format!("the outgoing proxy {}: {error}", proxy.origin().host()).into();
            Err(SendError::Network {
                host: name_of(origin),
                reason,
            })
        }
    }
}

/// A connector with a connection that is open already.
struct Connected(Option<TcpStream>);

impl Service<Uri> for Connected {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _to: Uri) -> Self::Future {
        ready(
            self.0
                .take()
                .map(TokioIo::new)
                .ok_or_else(|| io::ErrorKind::NotConnected.into()),
        )
    }
}
