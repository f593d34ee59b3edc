//! TLS and HTTP/2: who is trusted, what is spoken, and how streams share a connection.

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
use rcgen::{Certificate, ExtendedKeyUsagePurpose, date_time_ymd};
use tokio::sync::Notify;

use super::super::connect::LocalExecutor;
use super::*;

type Made = UnsyncBoxBody<Bytes, Infallible>;

/// A server that speaks what was agreed on, and what it has seen.
#[derive(Default)]
struct Server {
    connections: Cell<usize>,
    resumed: Cell<usize>,
    heads: RefCell<Vec<http::request::Parts>>,
    /// Requests that are running.
    running: Cell<usize>,
    most: Cell<usize>,
    /// Ends all connections gracefully.
    end: Notify,
    /// Lets waiting requests (`/wait`) go on.
    go: Notify,
}

impl Server {
    fn start(listener: TcpListener, acceptor: TlsAcceptor) -> Rc<Self> {
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

async fn server(authority: &Authority, protocols: &[&str]) -> (Rc<Server>, Origin) {
    let (listener, address) = listen().await;
    let server = Server::start(listener, authority.acceptor("localhost", protocols));
    (server, secure(address))
}

async fn hello(upstream: &Rc<Upstream<Plain>>, origin: &Origin, needs_http1: bool) {
    let answer = upstream.send(origin, get("/a//b?c"), needs_http1).await;
    assert_eq!(text(answer.expect("an answer")).await, "hello");
}

#[test]
fn the_protocol_is_what_both_know() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        for (protocols, needs_http1, expected) in [
            (&["h2", "http/1.1"][..], false, http::Version::HTTP_2),
            (&["h2", "http/1.1"], true, http::Version::HTTP_11),
            (&["http/1.1"], false, http::Version::HTTP_11),
            (&[], false, http::Version::HTTP_11),
        ] {
            let (server, origin) = server(&authority, protocols).await;
            let connection = upstream
                .connect(&origin, need(needs_http1, false))
                .await
                .expect("a connection");
            assert_eq!(connection.is_http2(), expected == http::Version::HTTP_2);
            drop(connection);
            hello(&upstream, &origin, needs_http1).await;
            assert_eq!(server.heads.borrow()[0].version, expected);
            assert_eq!(server.connections.get(), 1);
        }
    });
}

#[test]
fn http_1_1_is_all_that_is_offered_where_nothing_else_is_asked_for() {
    run(async {
        let authority = Authority::new();
        let upstream = Upstream::<Plain>::new(Arc::new(authority.config()));
        for protocols in [&["h2", "http/1.1"][..], &[]] {
            let (server, origin) = server(&authority, protocols).await;
            hello(&upstream, &origin, false).await;
            assert_eq!(server.heads.borrow()[0].version, http::Version::HTTP_11);
        }
        let (_server, origin) = server(&authority, &["h2"]).await;
        let refused = upstream.send(&origin, get("/"), false).await;
        let error = refused.expect_err("no protocol in common").error;
        assert!(matches!(error, SendError::NoProtocol { .. }), "{error:?}");
    });
}

#[test]
fn an_http2_request_has_an_authority_and_no_connection_fields() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        let (server, origin) = server(&authority, &["h2"]).await;
        let request = Request::get("//a%2F/../b;c?")
            .header("host", "somebody.else")
            .header("connection", "x-kept")
            .header("x-kept", "1")
            .header("x-kept", "2")
            .header("te", "trailers")
            .body(Full::default());
        let answer = upstream
            .send(&origin, request.expect("a request"), false)
            .await;
        assert_eq!(text(answer.expect("an answer")).await, "hello");
        let heads = server.heads.borrow();
        let head = &heads[0];
        let expected = format!("https://localhost:{}//a%2F/../b;c?", origin.port());
        assert_eq!(head.uri.to_string(), expected);
        assert!(!head.headers.contains_key("host") && !head.headers.contains_key("connection"));
        let kept: Vec<_> = head.headers.get_all("x-kept").iter().collect();
        assert_eq!(kept, ["1", "2"]);
        assert_eq!(head.headers["te"], "trailers");
    });
}

#[test]
fn only_certificates_of_who_is_trusted_for_the_name_and_now_are_accepted() {
    run(async {
        let authority = Authority::new();
        let stranger = Authority::new();
        let protocols = &["http/1.1"];
        for (acceptor, expected) in [
            (
                stranger.acceptor("localhost", protocols),
                "the certificate of localhost:PORT does not verify: it is signed by no authority \
                 that is trusted here",
            ),
            (
                authority.acceptor("other.example", protocols),
                "the certificate of localhost:PORT does not verify: it is not for this host, but for \
                 other.example",
            ),
            (
                authority.acceptor_with("localhost", protocols, |params| {
                    params.not_after = date_time_ymd(2020, 1, 1);
                }),
                "the certificate of localhost:PORT does not verify: it expired at 2020-01-01",
            ),
            (
                authority.acceptor_with("localhost", protocols, |params| {
                    params.not_before = date_time_ymd(2099, 1, 1);
                }),
                "the certificate of localhost:PORT does not verify: it is not valid before 2099-01-01",
            ),
        ] {
            let (listener, address) = listen().await;
            let server = Server::start(listener, acceptor);
            let answer = authority
                .upstream()
                .send(&secure(address), get("/"), false)
                .await;
            let error = answer.expect_err(expected).error;
            assert!(matches!(error, SendError::Certificate { .. }), "{error:?}");
            assert!(!error.is_retryable());
            let expected = expected.replace("PORT", &address.port().to_string());
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert!(server.heads.borrow().is_empty());
        }
    });
}

/// A server's certificate that is no authority's to vouch for: what `openssl req -x509` makes, or
/// one of an authority that is not trusted.
struct Own {
    certificate: Certificate,
    key: KeyPair,
}

impl Own {
    fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { certificate, key }
    }

    fn of(authority: &Authority) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &authority.issuer);
        Self {
            certificate: certificate.expect("a certificate"),
            key,
        }
    }
}

#[test]
fn a_server_s_own_certificate_is_trusted_to_the_byte_for_its_name_and_in_time() {
    run(async {
        let authority = Authority::new();
        let plain = |params: &mut CertificateParams| params.is_ca = IsCa::NoCa;
        let same = || Own::self_signed(|_| {});
        for (what, own, expected) in [
            ("an authority's by its form", same(), ""),
            ("a server's by its form", Own::self_signed(plain), ""),
            ("of an unknown authority", Own::of(&authority), ""),
            (
                "for clients",
                Own::self_signed(|params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                }),
                "it is not for servers (extended key usage)",
            ),
            (
                "another name",
                Own::self_signed(|params| {
                    let names = ["other.example".to_owned(), "127.0.0.2".to_owned()];
                    params.subject_alt_names = CertificateParams::new(names)
                        .expect("names")
                        .subject_alt_names;
                }),
                "it is not for this host, but for other.example, 127.0.0.2",
            ),
            (
                "expired",
                Own::self_signed(|params| params.not_after = date_time_ymd(2020, 1, 1)),
                "it expired at 2020-01-01T00:00:00Z, and here it is ",
            ),
            (
                "not valid yet",
                Own::self_signed(|params| params.not_before = date_time_ymd(2099, 1, 1)),
                "it is not valid before 2099-01-01T00:00:00Z, and here it is ",
            ),
        ] {
            let trusted = vec![own.certificate.der().clone()];
            let answer = asked(&own, trusted).await;
            let expected = Some(expected).filter(|expected| !expected.is_empty());
            assert_eq!(answer.is_err(), expected.is_some(), "{what}: {answer:?}");
            if let (Err(reason), Some(expected)) = (answer, expected) {
                assert!(reason.starts_with(expected), "{what}: {reason}");
            }
        }
        // Of the same name and issuer, and in all else another certificate.
        let (one, other) = (same(), same());
        let trusted = vec![one.certificate.der().clone()];
        assert_eq!(
            asked(&other, trusted).await,
            Err(
                "it is an authority's and not a server's: name it in SSL_CERT_FILE to trust it \
                 itself"
                    .into()
            )
        );
    });
}

/// What comes of asking the server that `own` is of, where `trusted` are: nothing, or why its
/// certificate does not verify.
async fn asked(own: &Own, trusted: Vec<CertificateDer<'static>>) -> Result<(), Box<str>> {
    let (listener, address) = listen().await;
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).expect("a key");
    let acceptor = accepting(own.certificate.der().clone(), key, &["http/1.1"]);
    let _server = Server::start(listener, acceptor);
    let config = config_with(Proxies::default(), trusted, 9);
    let upstream = Upstream::<Plain>::new(Arc::new(config));
    match upstream.send(&secure(address), get("/"), false).await {
        Ok(_) => Ok(()),
        Err(unanswered) => match unanswered.error {
            SendError::Certificate { reason, .. } => Err(reason),
            error => panic!("{error}"),
        },
    }
}

#[test]
fn who_does_not_speak_tls_is_told_so_at_once() {
    run(async {
        let authority = Authority::new();
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let mut peer = Peer::accept(&listener).await;
            peer.more().await;
            peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
            // A handshake that is broken off is the network's doing.
            drop(Peer::accept(&listener).await);
        });
        let upstream = authority.upstream();
        let error = upstream
            .send(&secure(address), get("/"), false)
            .await
            .expect_err("no TLS")
            .error;
        assert!(matches!(error, SendError::Tls { .. }), "{error:?}");
        let error = upstream
            .send(&secure(address), get("/"), false)
            .await
            .expect_err("closed")
            .error;
        assert!(error.is_retryable(), "{error:?}");
    });
}

#[test]
fn a_handshake_that_hangs_ends_in_time() {
    run(async {
        let authority = Authority::new();
        let (listener, address) = listen().await;
        let mut config = config_with(Proxies::default(), vec![authority.root()], 9);
        config.handshake_timeout = Duration::from_millis(50);
        let upstream = Upstream::<Plain>::new(Arc::new(config));
        let error = upstream
            .send(&secure(address), get("/"), false)
            .await
            .expect_err("too late")
            .error;
        assert!(matches!(error, SendError::Network { .. }), "{error:?}");
        assert!(
            error.to_string().ends_with(": no connection within 0.05 s"),
            "{error}"
        );
        drop(listener);
    });
}

#[test]
fn sessions_are_resumed() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        let (server, origin) = server(&authority, &["h2", "http/1.1"]).await;
        hello(&upstream, &origin, false).await;
        assert_eq!(server.resumed.get(), 0);
        hello(&upstream, &origin, true).await;
        assert_eq!((server.connections.get(), server.resumed.get()), (2, 1));
    });
}

#[test]
fn a_burst_shares_connections_up_to_their_streams() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        let (server, origin) = server(&authority, &["h2", "http/1.1"]).await;
        let burst = |number: usize| {
            let tasks: Vec<_> = (0..number)
                .map(|_| {
                    let (upstream, origin) = (Rc::clone(&upstream), origin.clone());
                    tokio::task::spawn_local(async move {
                        let answer = upstream.send(&origin, get("/wait"), false).await;
                        assert_eq!(text(answer.expect("an answer")).await, "hello");
                    })
                })
                .collect();
            tasks
        };
        // An upgrade's HTTP/1.1 says nothing of what the others get.
        let (old, _) = tokio::join!(
            upstream.send(&origin, get("/"), true),
            upstream.connect(&origin, need(false, false))
        );
        assert_eq!(text(old.expect("an answer")).await, "hello");
        for (number, connections) in [(20, 2), (70, 4), (70, 4)] {
            let tasks = burst(number);
            eventually(|| server.running.get() == number).await;
            server.go.notify_waiters();
            for task in tasks {
                task.await.expect("no panic");
            }
            assert_eq!(server.connections.get(), connections);
        }
    });
}

#[test]
fn who_waits_for_a_connection_in_the_making_fails_with_it_or_takes_over() {
    run(async {
        let authority = Authority::new();
        let (listener, address) = listen().await;
        let upstream = authority.upstream();
        let origin = secure(address);
        // Five wait for the one, which is refused.
        let attempts: Vec<_> = (0..6)
            .map(|_| {
                let (upstream, origin) = (Rc::clone(&upstream), origin.clone());
                tokio::task::spawn_local(async move {
                    upstream
                        .send(&origin, get("/"), false)
                        .await
                        .expect_err("closed")
                })
            })
            .collect();
        drop(Peer::accept(&listener).await);
        for attempt in attempts {
            assert!(attempt.await.expect("no panic").error.is_retryable());
        }
        let nobody = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
        assert!(nobody.is_err(), "they have not tried one by one");

        // The one leaves, and the next takes over.
        let leaving = {
            let (upstream, origin) = (Rc::clone(&upstream), origin.clone());
            tokio::task::spawn_local(async move {
                upstream.connect(&origin, need(false, false)).await.is_ok()
            })
        };
        let _silent = Peer::accept(&listener).await;
        let server = Server::start(listener, authority.acceptor("localhost", &["h2"]));
        let waiting = {
            let (upstream, origin) = (Rc::clone(&upstream), origin.clone());
            tokio::task::spawn_local(async move { hello(&upstream, &origin, false).await })
        };
        tokio::task::yield_now().await;
        assert_eq!(server.connections.get(), 0);
        leaving.abort();
        waiting.await.expect("no panic");
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn a_server_that_goes_away_is_left_without_losing_a_request() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        let (server, origin) = server(&authority, &["h2"]).await;
        let running = {
            let (upstream, origin) = (Rc::clone(&upstream), origin.clone());
            tokio::task::spawn_local(async move {
                let answer = upstream.send(&origin, get("/wait"), false).await;
                text(answer.expect("an answer")).await
            })
        };
        eventually(|| server.running.get() == 1).await;
        server.end.notify_waiters();
        tokio::time::sleep(Duration::from_millis(20)).await;
        // Who has it still finds out that it takes no more; the next one has another.
        if let Err(unanswered) = upstream.send(&origin, get("/"), false).await {
            assert_eq!(unanswered.sent, Sent::NotProcessed, "{unanswered:?}");
            hello(&upstream, &origin, false).await;
        }
        assert_eq!(server.connections.get(), 2);
        server.go.notify_waiters();
        assert_eq!(running.await.expect("no panic"), "hello");
    });
}

#[test]
fn readers_that_have_stopped_do_not_stop_the_others() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        let (server, origin) = server(&authority, &["h2"]).await;
        let mut stopped = Vec::new();
        for _ in 0..31 {
            let answer = upstream.send(&origin, get("/endless"), false).await;
            stopped.push(answer.expect("an answer").into_body());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..3 {
            hello(&upstream, &origin, false).await;
        }
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn who_leaves_resets_its_stream_and_nothing_else() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        let (server, origin) = server(&authority, &["h2"]).await;
        let waiting = upstream.send(&origin, get("/wait"), false);
        let left = tokio::time::timeout(Duration::from_millis(100), waiting).await;
        assert!(left.is_err());
        let answer = upstream
            .send(&origin, get("/endless"), false)
            .await
            .expect("an answer");
        drop(answer);
        hello(&upstream, &origin, false).await;
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn bodies_pass_over_http2() {
    run(async {
        let authority = Authority::new();
        let upstream = authority.upstream();
        let (_server, origin) = server(&authority, &["h2"]).await;
        let body = "0123456789".repeat(300_000);
        let request = Request::post("/echo")
            .body(Full::from(body.clone()))
            .expect("a request");
        let answer = upstream
            .send(&origin, request, false)
            .await
            .expect("an answer");
        assert_eq!(text(answer).await, body);
    });
}

/// A server of frames: each request on each connection gets what `react` does to it.
fn frames(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    react: impl Fn(usize, usize, h2::server::SendResponse<Bytes>) -> bool + 'static,
) {
    tokio::task::spawn_local(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.expect("a connection");
            let stream = acceptor.accept(stream).await.expect("TLS");
            let mut serving = h2::server::handshake(stream).await.expect("HTTP/2");
            let mut number = 0;
            while let Some(Ok((_, respond))) = serving.accept().await {
                if !react(connection, number, respond) {
                    break;
                }
                number += 1;
            }
        }
    });
}

fn answer_hello(respond: &mut h2::server::SendResponse<Bytes>) {
    let mut body = respond
        .send_response(Response::new(()), false)
        .expect("it is sent");
    body.send_data("hello".into(), true).expect("it is sent");
}

#[test]
fn a_refused_stream_was_not_processed() {
    run(async {
        let authority = Authority::new();
        let (listener, address) = listen().await;
        frames(
            listener,
            authority.acceptor("localhost", &["h2"]),
            |_, number, mut respond| {
                match number {
                    1 => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    _ => answer_hello(&mut respond),
                }
                true
            },
        );
        let upstream = authority.upstream();
        let origin = secure(address);
        hello(&upstream, &origin, false).await;
        let refused = upstream.send(&origin, get("/"), false).await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused.sent, Sent::NotProcessed, "{refused:?}");
        assert!(refused.error.is_retryable(), "{refused:?}");
        hello(&upstream, &origin, false).await;
    });
}

#[test]
fn a_connection_that_is_cut_is_stale_only_if_it_had_served() {
    run(async {
        let authority = Authority::new();
        let (listener, address) = listen().await;
        frames(
            listener,
            authority.acceptor("localhost", &["h2"]),
            |connection, number, mut respond| {
                let served = connection == 1 && number == 0;
                if served {
                    answer_hello(&mut respond);
                }
                served
            },
        );
        let upstream = authority.upstream();
        let origin = secure(address);
        let cut = upstream.send(&origin, get("/"), false).await;
        assert_eq!(cut.expect_err("cut").sent, Sent::Perhaps);
        hello(&upstream, &origin, false).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let cut = upstream.send(&origin, get("/"), false).await;
        assert_eq!(cut.expect_err("cut").sent, Sent::Stale);
    });
}
