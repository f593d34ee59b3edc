//! HTTP/1.1: the bytes of a request, which request has a connection and when, and its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::*;
use crate::exchange::replay::{Hold, Replay, ReplayBody, ReplayBudget};

const OLD: &str = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello";

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

const TRAILERS: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n\r\n";

const NOTHING: &str = "HTTP/1.1 204 No Content\r\n\r\n";

const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";

const OPEN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

const TORN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel";

/// A client's body that comes as the test sends it.
struct Slow {
    frames: mpsc::UnboundedReceiver<Result<&'static str, std::io::Error>>,
    length: Option<u64>,
}

impl Body for Slow {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let frame = std::task::ready!(self.frames.poll_recv(cx));
        let frame =
            frame.map(|data| data.map(|data| Frame::data(Bytes::from_static(data.as_bytes()))));
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

type Slowly = mpsc::UnboundedSender<Result<&'static str, std::io::Error>>;

fn slow(length: Option<u64>) -> (Slowly, Replay<Slow>) {
    let (sender, frames) = mpsc::unbounded_channel();
    let budget = Arc::new(ReplayBudget::new(1 << 20));
    (
        sender,
        Replay::new(Slow { frames, length }, 1 << 20, budget),
    )
}

/// `request` with the body.
fn with<B>(request: http::request::Builder, body: B) -> Request<B> {
    request.body(body).expect("a request")
}

type SlowScene = Scene<ReplayBody<Slow>>;

#[test]
fn target_and_method_go_out_byte_for_byte() {
    run(async {
        let scene = Scene::new().await;
        let long = format!("/long?{}", "q=%2F&".repeat(1400));
        let targets = [
            "/",
            "/?",
            "/a?",
            "//a//b/",
            "/a%2Fb%252F;c=d+e,f~g!h",
            "/./a/../b/.",
            "/a?b?c=%20&d=//&e=..",
            long.as_str(),
        ];
        let bytes = (b'!'..=b'~').filter(|byte| *byte != b'#').map(char::from);
        // Some of these are refused before they come here.
        let each = bytes.map(|byte| format!("/{byte}?{byte}"));
        let each: Vec<_> = each
            .filter(|target| target.parse::<http::Uri>().is_ok())
            .collect();
        assert!(each.len() > 80, "{each:?}");
        let targets: Vec<_> = targets
            .into_iter()
            .chain(each.iter().map(String::as_str))
            .collect();
        for method in ["GET", "pAtCh", "M-SEARCH"] {
            for &target in &targets {
                let Ok(request) = Request::builder()
                    .method(method)
                    .uri(target)
                    .body(Full::default())
                else {
                    panic!("{target} is a target for http");
                };
                let head = head_of(&scene, request).await;
                let line = format!("{method} {target} HTTP/1.1\r\n");
                let host = scene.origin.host_header().to_str().expect("text");
                assert!(head.starts_with(&line), "{head}");
                assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
            }
        }
    });
}

/// The head of a request that has a connection of its own.
async fn head_of<B>(scene: &Scene<B>, request: Request<B>) -> String
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut head = String::new();
    let closing = async |peer: &mut Peer| {
        head = peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await;
    };
    let (answer, _) = scene.played(request, closing).await;
    assert_eq!(answer.expect("an answer").status(), 200);
    // hyper sees that upstream has closed.
    tokio::task::yield_now().await;
    head
}

#[test]
fn framing_says_what_is_known_of_the_body() {
    run(async {
        let scene = SlowScene::new().await;
        let (known, unknown) = ("content-length: 5\r\n", "transfer-encoding: chunked\r\n");
        for (method, length, expected, unexpected) in [
            ("POST", Some(5), known, "transfer-encoding"),
            ("GET", Some(5), known, "transfer-encoding"),
            ("POST", None, unknown, "content-length"),
            ("GET", None, unknown, "content-length"),
            ("DELETE", None, unknown, "content-length"),
        ] {
            let (sender, replay) = slow(length);
            sender.send(Ok("hello")).expect("it is read");
            drop(sender);
            let request = Request::builder().method(method).uri("/");
            let head = head_of(&scene, with(request, replay.attempt())).await;
            assert!(head.contains(expected), "{head}");
            assert!(!head.contains(unexpected), "{head}");
        }
    });
}

#[test]
fn an_empty_body_gets_no_framing_of_its_own() {
    run(async {
        let scene = Scene::new().await;
        for method in ["GET", "POST", "DELETE"] {
            let request = Request::builder().method(method).uri("/");
            let head = head_of(&scene, with(request, Full::default())).await;
            assert!(!head.contains("content-length"), "{head}");
            assert!(!head.contains("transfer-encoding"), "{head}");
        }
    });
}

#[test]
fn a_connection_serves_again_when_its_answer_has_been_read() {
    run(async {
        let answers = vec![HELLO, CHUNKED, TRAILERS, NOTHING, HELLO];
        let (upstream, origin) = Scene::serving(vec![answers]).await;
        for expected in ["hello", "hello", "hello", "", "hello"] {
            let answer = upstream.send(&origin, get("/"), false).await;
            assert_eq!(text(answer.expect("an answer")).await, expected);
        }
    });
}

#[test]
fn a_connection_of_http_1_0_serves_once() {
    // hyper would speak HTTP/1.0 on it from then on, and leave out bodies of unknown length.
    run(async {
        let scene = SlowScene::new().await;
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (sender, replay) = slow(None);
            sender.send(Ok("hello")).expect("it is read");
            drop(sender);
            let serving = async |peer: &mut Peer| {
                assert!(peer.head().await.starts_with("POST / HTTP/1.1\r\n"));
                assert_eq!(peer.bytes(15).await, b"5\r\nhello\r\n0\r\n\r\n");
                peer.write(OLD).await;
            };
            let request = with(Request::post("/"), replay.attempt());
            let (answer, peer) = scene.played(request, serving).await;
            assert_eq!(text(answer.expect("an answer")).await, "hello");
            peers.push(peer);
        }
    });
}

#[test]
fn what_is_left_of_a_short_answer_does_not_cost_its_connection() {
    run(async {
        let (upstream, origin) = Scene::serving(vec![vec![HELLO, HELLO]]).await;
        for _ in 0..2 {
            let answer = upstream.send(&origin, get("/"), false).await;
            drop(answer.expect("an answer"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_connection_that_is_not_used_goes_back() {
    run(async {
        let (upstream, origin) = Scene::serving(vec![vec![HELLO]]).await;
        let connection = upstream.connect(&origin, Need::default()).await;
        assert!(!connection.expect("a connection").is_http2());
        let answer = upstream.send(&origin, get("/"), false).await;
        assert_eq!(text(answer.expect("an answer")).await, "hello");
    });
}

#[test]
fn who_leaves_in_mid_answer_ends_the_connection_also_while_upstream_is_silent() {
    run(async {
        let silent = async |peer: &mut Peer| {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhello")
                .await;
        };
        let (answer, mut peer) = Scene::new().await.played(get("/"), silent).await;
        let mut body = answer.expect("an answer").into_body();
        let first = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(first.into_data().expect("data"), "hello");
        // Upstream waits for more now.
        let more = tokio::time::timeout(Duration::from_millis(20), body.frame()).await;
        assert!(more.is_err());
        drop(body);
        peer.closed().await;
    });
}

#[test]
fn who_leaves_before_the_answer_ends_the_connection() {
    run(async {
        let scene = Scene::new().await;
        let mut peer = tokio::select! {
            _ = scene.send(get("/")) => panic!("there is no answer"),
            peer = async {
                let mut peer = Peer::accept(&scene.listener).await;
                peer.head().await;
                peer
            } => peer,
        };
        peer.closed().await;
    });
}

#[test]
fn a_connection_that_upstream_has_closed_is_not_used() {
    run(async {
        let (upstream, origin) = Scene::serving(vec![vec![HELLO]; 3]).await;
        for _ in 0..3 {
            let answer = upstream.send(&origin, get("/"), false).await;
            assert_eq!(text(answer.expect("an answer")).await, "hello");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// Gets one answer on a connection that is kept; gives its other side.
async fn used_once(scene: &Scene) -> Peer {
    let answering = async |peer: &mut Peer| {
        peer.head().await;
        peer.write(HELLO).await;
    };
    let (answer, peer) = scene.played(get("/"), answering).await;
    assert_eq!(text(answer.expect("an answer")).await, "hello");
    peer
}

#[test]
fn what_a_connection_had_come_to_tells_what_is_known_of_a_request() {
    run(async {
        let scene = Scene::new().await;

        // The connection is taken while it is open, and closed before it is used.
        let peer = used_once(&scene).await;
        let taken = scene.connect(Need::default()).await;
        drop(peer);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let unsent = taken.send(post("hello"), |_, _| {}).await;
        let unsent = unsent.expect_err("closed");
        assert_eq!(unsent.sent, Sent::NotProcessed, "{unsent:?}");

        // Read, and closed without a word, or in the middle of one.
        for (answer, sent) in [
            ("", Sent::Stale),
            ("HTTP/1.1 200 OK\r\ncontent-", Sent::Perhaps),
        ] {
            let mut peer = used_once(&scene).await;
            let reading = async move {
                peer.head().await;
                peer.write(answer).await;
            };
            let (lost, ()) = tokio::join!(scene.send(post("hello")), reading);
            let lost = lost.expect_err("closed");
            assert!(lost.error.is_retryable(), "{lost:?}");
            assert_eq!(lost.sent, sent, "{lost:?}");
        }

        // On a new connection, the same says nothing about idle ones.
        let peer = used_once(&scene).await;
        let new = need(false, true);
        let reading = async {
            Peer::accept(&scene.listener).await.head().await;
        };
        let sending = async {
            scene
                .connect(new)
                .await
                .send(post("hello"), |_, _| {})
                .await
        };
        let (lost, ()) = tokio::join!(sending, reading);
        assert_eq!(lost.expect_err("closed").sent, Sent::Perhaps);
        drop(peer);

        // Closed before anything could be written, which is not worth an immediate repeat.
        let closing = async { drop(Peer::accept(&scene.listener).await) };
        let (taken, ()) = tokio::join!(scene.connect(new), closing);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let unsent = taken.send(post("hello"), |_, _| {}).await;
        let unsent = unsent.expect_err("closed");
        assert_eq!(unsent.sent, Sent::NotConnected, "{unsent:?}");
        assert!(unsent.error.is_retryable(), "{unsent:?}");

        let Scene {
            listener,
            upstream,
            origin,
        } = scene;
        drop(listener);
        let refused = upstream.send(&origin, post("hello"), false).await;
        assert_eq!(refused.expect_err("refused").sent, Sent::NotConnected);
    });
}

#[test]
fn an_answer_that_ends_early_is_an_error_of_its_body() {
    run(async {
        let scripts = [SHORT, OPEN, TORN];
        let each = scripts.map(|script| vec![script]);
        let (upstream, origin) = Scene::serving(each.to_vec()).await;
        for script in scripts {
            let answer = upstream.send(&origin, get("/"), false).await;
            let body = answer.expect("an answer").into_body();
            assert!(body.collect().await.is_err(), "{script}");
        }
    });
}

#[test]
fn what_is_not_http_is_no_answer() {
    run(async {
        let scripts = [
            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
        ];
        let each = scripts.map(|script| vec![script]);
        let (upstream, origin) = Scene::serving(each.to_vec()).await;
        for script in scripts {
            let answer = upstream.send(&origin, get("/"), false).await;
            let error = answer.expect_err(script).error;
            let is_not_http = matches!(error, SendError::NotHttp { .. });
            assert!(is_not_http, "{script} {error:?}");
        }
    });
}

#[test]
fn a_server_that_speaks_first_is_not_http() {
    run(async {
        let scene = Scene::new().await;
        let greeting = async {
            let mut peer = Peer::accept(&scene.listener).await;
            peer.write("220 mail.example.com ESMTP\r\n").await;
            peer
        };
        let (connection, mut peer) = tokio::join!(scene.connect(Need::default()), greeting);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let unanswered = connection.send(get("/"), |_, _| {}).await;
        let error = unanswered.expect_err("no HTTP").error;
        assert!(matches!(error, SendError::NotHttp { .. }), "{error:?}");
        peer.closed().await;
    });
}

#[test]
fn a_missing_server_is_one_sentence() {
    run(async {
        let (listener, address) = listen().await;
        drop(listener);
        for (host, reason) in [
            (address.to_string(), "refused"),
            ("nowhere.invalid:81".into(), ""),
        ] {
            let nowhere = origin(&format!("http://{host}"));
            let unanswered = upstream().send(&nowhere, get("/"), false).await;
            let error = unanswered.expect_err("no server").error;
            let sentence = error.to_string();
            assert!(matches!(error, SendError::Network { .. }), "{error:?}");
            assert!(
                sentence.starts_with(&format!("cannot reach {host}: ")),
                "{sentence}"
            );
            assert!(sentence.to_ascii_lowercase().contains(reason), "{sentence}");
        }
    });
}

#[test]
fn answers_may_have_many_fields_and_large_heads() {
    run(async {
        let scene = Scene::new().await;
        let many = (0..500).map(|n| format!("x-{n}: {n}\r\n"));
        let large = format!("x-large: {}\r\n", "a".repeat(60_000));
        for fields in [many.collect::<String>(), large] {
            let answering = async |peer: &mut Peer| {
                peer.head().await;
                peer.write(format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"))
                    .await;
            };
            let (answer, peer) = scene.played(get("/"), answering).await;
            let lines = answer.expect("an answer").headers().len();
            assert_eq!(lines, fields.lines().count());
            drop(peer);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn an_answer_to_an_unfinished_upload_comes_at_once() {
    run(async {
        let scene = SlowScene::new().await;
        let (sender, replay) = slow(Some(1_000));
        sender.send(Ok("hello")).expect("it is read");
        let early = async |peer: &mut Peer| {
            peer.head().await;
            assert_eq!(peer.bytes(5).await, b"hello");
            peer.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
                .await;
        };
        let request = with(Request::post("/"), replay.attempt());
        let (answer, mut peer) = scene.played(request, early).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 403);
        assert_eq!(text(answer).await, "no");
        // The rest goes on to the same upstream; no other request gets the connection meanwhile.
        let _ = tokio::join!(scene.connect(Need::default()), scene.listener.accept());
        sender.send(Ok("world")).expect("it is read");
        assert_eq!(peer.bytes(5).await, b"world");
    });
}

#[test]
fn an_upload_that_is_refused_by_a_close_still_has_its_answer() {
    run(async {
        let scene = SlowScene::new().await;
        let (sender, replay) = slow(None);
        sender.send(Ok("hello")).expect("it is read");
        let refusing = async |peer: &mut Peer| {
            peer.head().await;
            peer.write(
                "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
            )
            .await;
        };
        let request = with(Request::post("/"), replay.attempt());
        let (answer, peer) = scene.played(request, refusing).await;
        drop(peer);
        let answer = answer.expect("an answer");
        for _ in 0..10 {
            sender.send(Ok("more")).ok();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(answer.status(), 413);
        assert_eq!(text(answer).await, "no");
    });
}

#[test]
fn a_client_that_fails_ends_the_request_as_its_own_failure() {
    run(async {
        let scene = SlowScene::new().await;
        let (sender, replay) = slow(Some(10));
        let reset = std::io::ErrorKind::ConnectionReset.into();
        sender.send(Ok("hello")).expect("it is read");
        sender.send(Err(reset)).expect("it is read");
        let request = with(Request::post("/"), replay.attempt());
        let (answer, peer) = scene.played(request, Peer::closed).await;
        let error = answer.expect_err("no request").error;
        assert!(matches!(error, SendError::RequestBody { .. }), "{error:?}");
        assert!(replay.source_failed());
        assert!(!peer.read.ends_with(b"0\r\n\r\n"));
    });
}

#[test]
fn a_second_try_gets_what_the_first_has_read() {
    run(async {
        let scene = SlowScene::new().await;
        let (sender, replay) = slow(Some(10));
        sender.send(Ok("hello")).expect("it is read");
        let breaking = async {
            let mut peer = Peer::accept(&scene.listener).await;
            peer.head().await;
            peer.bytes(5).await;
        };
        let request = || with(Request::put("/"), replay.attempt());
        let (answer, ()) = tokio::join!(scene.send(request()), breaking);
        assert!(answer.expect_err("closed").error.is_retryable());
        sender.send(Ok("world")).expect("it is read");
        let serving = async |peer: &mut Peer| {
            assert!(peer.head().await.contains("content-length: 10\r\n"));
            assert_eq!(peer.bytes(10).await, b"helloworld");
            peer.write(HELLO).await;
        };
        let (answer, _) = scene.played(request(), serving).await;
        assert_eq!(text(answer.expect("an answer")).await, "hello");
    });
}

#[test]
fn a_held_body_waits_for_upstream_s_100() {
    run(async {
        let scene = SlowScene::new().await;
        let (sender, replay) = slow(Some(5));
        sender.send(Ok("hello")).expect("it is read");
        let hold = Hold::default();
        let request = Request::put("/").header("expect", "100-continue");
        let request = with(request, replay.attempt_held(hold.clone()));
        let sending = async {
            let release = move |status: http::StatusCode, _: &http::HeaderMap| {
                if status == 100 {
                    hold.release();
                }
            };
            scene
                .connect(Need::default())
                .await
                .send(request, release)
                .await
        };
        let asking = async {
            let mut peer = Peer::accept(&scene.listener).await;
            assert!(peer.head().await.contains("expect: 100-continue\r\n"));
            let early = tokio::time::timeout(Duration::from_millis(50), peer.more()).await;
            assert!(early.is_err(), "nothing is sent that was not asked for");
            peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(peer.bytes(5).await, b"hello");
            peer.write(HELLO).await;
        };
        let (answer, ()) = tokio::join!(sending, asking);
        assert_eq!(text(answer.expect("an answer")).await, "hello");
    });
}

#[test]
fn a_held_body_that_is_given_up_closes_the_connection() {
    run(async {
        let scene = SlowScene::new().await;
        let (_sender, replay) = slow(Some(5));
        let refusing = async |peer: &mut Peer| {
            peer.head().await;
            peer.write("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno")
                .await;
        };
        let request = with(Request::put("/"), replay.attempt_held(Hold::default()));
        let (answer, mut peer) = scene.played(request, refusing).await;
        let answer = answer.expect("an answer");
        assert!(replay.can_replay() && !replay.source_failed());
        let rest = replay.into_rest().expect("nothing has been sent");
        assert!(rest.is_held());
        rest.end().expect("the body");
        assert_eq!(text(answer).await, "no");
        peer.closed().await;
    });
}

#[test]
fn after_101_the_connection_is_the_caller_s() {
    run(async {
        let scene = Scene::new().await;
        let request = Request::get("/")
            .header("connection", "upgrade")
            .header("upgrade", "echo");
        let echo = async {
            let mut peer = Peer::accept(&scene.listener).await;
            let head = peer.head().await;
            assert!(head.contains("upgrade: echo") && head.contains("connection: upgrade"));
            peer.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\n\r\nfirst ")
                .await;
            let hello = peer.bytes(5).await;
            peer.write(hello).await;
        };
        let conversation = async {
            let answer = scene.send(with(request, Full::default())).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), 101);
            let upgraded = hyper::upgrade::on(answer).await.expect("an upgrade");
            let mut io = TokioIo::new(upgraded);
            io.write_all(b"hello").await.expect("it is read");
            let mut read = String::new();
            io.read_to_string(&mut read).await.expect("it ends");
            assert_eq!(read, "first hello");
        };
        tokio::join!(conversation, echo);
    });
}
