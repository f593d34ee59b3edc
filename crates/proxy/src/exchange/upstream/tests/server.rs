//! A server that speaks TLS, and on top of it what was agreed on.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::*;

/// Runs a server's tasks on the test's thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

type Made = UnsyncBoxBody<Bytes, Infallible>;

/// A server that speaks what was agreed on, and what it has seen.
#[derive(Default)]
pub struct Server {
    pub connections: Cell<usize>,
    pub resumed: Cell<usize>,
    pub heads: RefCell<Vec<http::request::Parts>>,
    /// Requests that are running.
    pub running: Cell<usize>,
    pub most: Cell<usize>,
    /// Ends all connections gracefully.
    pub end: Notify,
    /// Lets waiting requests (`/wait`) go on.
    pub go: Notify,
}

impl Server {
    pub fn start(listener: TcpListener, acceptor: TlsAcceptor) -> Rc<Self> {
        let server = Rc::new(Self::default());
        let accepting = Rc::clone(&server);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("an open socket");
                let server = Rc::clone(&accepting);
                tokio::task::spawn_local(server.connection(stream, acceptor.clone()));
            }
        });
        server
    }

    async fn connection(self: Rc<Self>, stream: TcpStream, acceptor: TlsAcceptor) {
        let Ok(stream) = acceptor.accept(stream).await else {
            return;
        };
        self.connections.set(self.connections.get() + 1);
        let tls = stream.get_ref().1;
        if tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
            self.resumed.set(self.resumed.get() + 1);
        }
        let is_http2 = tls.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let service = service_fn(|request| {
            let server = Rc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        if is_http2 {
            let mut builder = http2::Builder::new(LocalExecutor);
            builder.max_concurrent_streams(100);
            let mut serving = pin!(builder.serve_connection(io, service));
            tokio::select! {
                _ = &mut serving => return,
                () = self.end.notified() => {}
            }
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        } else {
            let _ = http1::Builder::new().serve_connection(io, service).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Made> {
        self.running.set(self.running.get() + 1);
        self.most.set(self.most.get().max(self.running.get()));
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        self.heads.borrow_mut().push(head);
        let answer = match path.as_str() {
            "/endless" => Response::new(Endless.boxed_unsync()),
            "/echo" => {
                let body = body
                    .collect()
                    .await
                    .map(http_body_util::Collected::to_bytes)
                    .unwrap_or_default();
                Response::new(Full::from(body).boxed_unsync())
            }
            path => {
                if path == "/wait" {
                    self.go.notified().await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                Response::new(Full::from("hello").boxed_unsync())
            }
        };
        self.running.set(self.running.get() - 1);
        answer
    }
}

/// A body that goes on.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 16 * 1024])))))
    }
}

pub async fn server(authority: &Authority, protocols: &[&str]) -> (Rc<Server>, Origin) {
    let (listener, address) = listen().await;
    let server = Server::start(listener, authority.acceptor("localhost", protocols));
    (server, secure(address))
}

pub async fn hello(upstream: &Rc<Upstream<Plain>>, origin: &Origin, needs_http1: bool) {
    let answer = upstream.send(origin, get("/a//b?c"), needs_http1).await;
    assert_eq!(text(answer.expect("an answer")).await, "hello");
}

/// The server, and outgoing connections that trust it and offer HTTP/2, too.
pub async fn over_tls(protocols: &[&str]) -> (Rc<Server>, Rc<Upstream<Plain>>, Origin) {
    let authority = Authority::new();
    let (server, origin) = server(&authority, protocols).await;
    (server, authority.upstream(), origin)
}
