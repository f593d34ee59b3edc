//! HTTP/2: how streams share a connection, and what becomes of them.

use std::cell::Cell;
use std::pin::pin;

use h2::server::SendResponse;
use http::{HeaderMap, StatusCode};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::server::{Server, hello, over_tls};
use super::*;

/// Does `work` in a task beside the test.
fn beside<Work, Done>(
    upstream: &Rc<Upstream<Plain>>,
    origin: &Origin,
    work: Work,
) -> JoinHandle<Done>
where
    Work: AsyncFnOnce(Rc<Upstream<Plain>>, Origin) -> Done + 'static,
    Done: 'static,
{
    let (upstream, origin) = (Rc::clone(upstream), origin.clone());
    tokio::task::spawn_local(async move { work(upstream, origin).await })
}

#[test]
fn an_http2_request_has_an_authority_and_no_connection_fields() {
    run(async {
        let (server, upstream, origin) = over_tls(&["h2"]).await;
        let request = Request::get("//a%2F/../b;c?")
            .header("host", "another.host")
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
fn a_burst_shares_connections_up_to_their_streams() {
    run(async {
        let (server, upstream, origin) = over_tls(&["h2", "http/1.1"]).await;
        let burst = |number: usize| {
            let task = || {
                beside(&upstream, &origin, async |upstream, origin| {
                    let answer = upstream.send(&origin, get("/wait"), false).await;
                    assert_eq!(text(answer.expect("an answer")).await, "hello");
                })
            };
            (0..number).map(|_| task()).collect::<Vec<_>>()
        };
        // An upgrade takes HTTP/1.1; other requests still get HTTP/2.
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
        // Five requests wait for one connection, which is refused.
        let attempts: Vec<_> = (0..6)
            .map(|_| {
                beside(&upstream, &origin, async |upstream, origin| {
                    let answer = upstream.send(&origin, get("/"), false).await;
                    answer.expect_err("closed")
                })
            })
            .collect();
        drop(Peer::accept(&listener).await);
        for attempt in attempts {
            assert!(attempt.await.expect("no panic").error.is_retryable());
        }
        let another = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
        assert!(another.is_err(), "they have not tried one by one");

        // The request that connects leaves, and the next one takes over.
        let leaving = beside(&upstream, &origin, async |upstream, origin| {
            upstream.connect(&origin, need(false, false)).await.is_ok()
        });
        let _silent = Peer::accept(&listener).await;
        let server = Server::start(listener, authority.acceptor("localhost", &["h2"]));
        let waiting = beside(&upstream, &origin, async |upstream, origin| {
            hello(&upstream, &origin, false).await;
        });
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
        let (server, upstream, origin) = over_tls(&["h2"]).await;
        let running = beside(&upstream, &origin, async |upstream, origin| {
            let answer = upstream.send(&origin, get("/wait"), false).await;
            text(answer.expect("an answer")).await
        });
        eventually(|| server.running.get() == 1).await;
        server.end.notify_waiters();
        tokio::time::sleep(Duration::from_millis(20)).await;
        // A request that holds it learns that it takes no more streams; the next one gets another.
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
        let (server, upstream, origin) = over_tls(&["h2"]).await;
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
        let (server, upstream, origin) = over_tls(&["h2"]).await;
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
        let (_, upstream, origin) = over_tls(&["h2"]).await;
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

/// A server of frames: each request on each connection gets what `react` does to it. Returns outgoing
/// connections to it.
async fn frames(
    react: impl Fn(usize, usize, SendResponse<Bytes>) -> bool + 'static,
) -> (Rc<Upstream<Plain>>, Origin) {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", &["h2"]);
    let (listener, address) = listen().await;
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
    (authority.upstream(), secure(address))
}

fn answer_hello(respond: &mut SendResponse<Bytes>) {
    let mut body = respond
        .send_response(Response::new(()), false)
        .expect("it is sent");
    body.send_data("hello".into(), true).expect("it is sent");
}

#[test]
fn a_refused_stream_was_not_processed() {
    run(async {
        let (upstream, origin) = frames(|_, number, mut respond| {
            match number {
                1 => respond.send_reset(h2::Reason::REFUSED_STREAM),
                _ => answer_hello(&mut respond),
            }
            true
        })
        .await;
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
        let (upstream, origin) = frames(|connection, number, mut respond| {
            let served = connection == 1 && number == 0;
            if served {
                answer_hello(&mut respond);
            }
            served
        })
        .await;
        let cut = upstream.send(&origin, get("/"), false).await;
        assert_eq!(cut.expect_err("cut").sent, Sent::Perhaps);
        hello(&upstream, &origin, false).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let cut = upstream.send(&origin, get("/"), false).await;
        assert_eq!(cut.expect_err("cut").sent, Sent::Stale);
    });
}

/// Sends one answer that never ends; counts its bytes that the windows let out.
async fn pour(mut respond: SendResponse<Bytes>, poured: Rc<Cell<usize>>) {
    let mut stream = respond
        .send_response(Response::new(()), false)
        .expect("it is sent");
    loop {
        stream.reserve_capacity(16 * 1024);
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(capacity)) = capacity else {
            return;
        };
        let sent = stream.send_data(Bytes::from(vec![0; capacity]), false);
        sent.expect("it is sent");
        poured.set(poured.get() + capacity);
    }
}

/// Waits until a counter stands still.
async fn settled(counter: &Cell<usize>) -> usize {
    loop {
        let before = counter.get();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if counter.get() == before {
            return before;
        }
    }
}

/// Passes connections on to `origin`, and delays its bytes by `late`.
async fn far_away(origin: &Origin, late: Duration) -> Origin {
    let (listener, address) = listen().await;
    let target = format!("127.0.0.1:{}", origin.port());
    tokio::task::spawn_local(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&target).await.expect("a connection");
            let (from_near, to_near) = near.into_split();
            let (from_far, to_far) = far.into_split();
            tokio::task::spawn_local(pass_late(from_near, to_far, late));
            tokio::task::spawn_local(pass_late(from_far, to_near, late));
        }
    });
    secure(address)
}

async fn pass_late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, late: Duration) {
    let (queue, mut queued) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writing = async {
        while let Some((due, bytes)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        let mut bytes = Vec::with_capacity(64 * 1024);
        while from.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let due = Instant::now() + late;
            let bytes = std::mem::replace(&mut bytes, Vec::with_capacity(64 * 1024));
            if queue.send((due, bytes)).is_err() {
                return;
            }
        }
    };
    tokio::join!(writing, reading);
}

#[test]
fn a_window_is_small_until_a_stream_fills_it_in_a_round_trip() {
    run(async {
        let poured = Rc::new(Cell::new(0));
        let count = Rc::clone(&poured);
        let (upstream, origin) = frames(move |_, _, respond| {
            tokio::task::spawn_local(pour(respond, Rc::clone(&count)));
            true
        })
        .await;
        let origin = far_away(&origin, Duration::from_millis(5)).await;
        let stopped = upstream.send(&origin, get("/"), false).await;
        let mut body = stopped.expect("an answer").into_body();
        assert_eq!(
            settled(&poured).await,
            64 * 1024,
            "what a stopped reader costs"
        );

        // A fast reader lets the window grow; then it stops reading.
        let mut read = 0;
        while read < 16 << 20 {
            let frame = body.frame().await.expect("a frame").expect("no error");
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        let unread = settled(&poured).await - read;
        assert!(unread > 128 * 1024, "its window has stayed small: {unread}");
        assert!(
            unread <= 16 << 20,
            "its window has become too large: {unread}"
        );
    });
}

#[test]
fn streams_that_are_given_up_by_the_thousand_break_no_other() {
    run(async {
        let (server, upstream, origin) = over_tls(&["h2"]).await;
        let waiting = upstream.send(&origin, get("/wait"), false);
        let mut waiting = pin!(waiting);
        let giving_up = async {
            for _ in 0..1_000 {
                let answer = upstream.send(&origin, get("/endless"), false).await;
                let mut body = answer.expect("an answer").into_body();
                body.frame().await.expect("a frame").expect("no error");
            }
        };
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it is not let go on yet"),
            () = giving_up => {}
        }
        server.go.notify_waiters();
        assert_eq!(text(waiting.await.expect("an answer")).await, "hello");
        // No connection has seen enough resets to take them for an attack.
        let connections = server.connections.get();
        assert!((5..=12).contains(&connections), "{connections}");
    });
}

#[test]
fn interim_answers_are_told_before_the_answer() {
    run(async {
        let (upstream, origin) = frames(|_, _, mut respond| {
            for link in ["</a>", "</b>"] {
                let mut hints = Response::new(());
                *hints.status_mut() = StatusCode::EARLY_HINTS;
                hints
                    .headers_mut()
                    .insert("link", link.parse().expect("a value"));
                respond.send_informational(hints).expect("it is sent");
            }
            answer_hello(&mut respond);
            true
        })
        .await;
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let connection = upstream.connect(&origin, Need::default()).await;
        let answer = connection.expect("a connection").send(
            get("/"),
            move |status: StatusCode, fields: &HeaderMap| {
                let link = fields["link"].to_str().expect("text").to_owned();
                tell.lock().expect("no panic").push((status.as_u16(), link));
            },
        );
        assert_eq!(text(answer.await.expect("an answer")).await, "hello");
        let told = told.lock().expect("no panic");
        assert_eq!(*told, [(103, "</a>".to_owned()), (103, "</b>".to_owned())]);
    });
}

#[test]
fn a_connection_that_we_end_ourselves_is_worth_another_try() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor("localhost", &["h2"]);
        let (listener, address) = listen().await;
        let broken = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = acceptor.accept(stream).await.expect("TLS");
            // The preface and all that comes with it.
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.expect("a preface");
            // SETTINGS, and DATA that belong to no stream (RFC 9113 6.1).
            let frames = [[0, 0, 0, 4, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0]];
            stream
                .write_all(&frames.concat())
                .await
                .expect("it is read");
            stream
        };
        let upstream = authority.upstream();
        let origin = secure(address);
        let (answer, _stream) = tokio::join!(upstream.send(&origin, get("/"), false), broken);
        let unanswered = answer.expect_err("no answer");
        assert!(unanswered.error.is_retryable(), "{unanswered:?}");
        assert_eq!(unanswered.sent, Sent::Perhaps, "{unanswered:?}");
    });
}

#[test]
fn an_answer_of_another_length_than_it_tells_is_broken() {
    run(async {
        let (upstream, origin) = frames(|_, _, mut respond| {
            let answer = Response::builder().header("content-length", 10);
            let body = respond.send_response(answer.body(()).expect("an answer"), false);
            let mut body = body.expect("it is sent");
            body.send_data("hello".into(), true).expect("it is sent");
            true
        })
        .await;
        let answer = upstream.send(&origin, get("/"), false).await;
        let body = answer.expect("an answer").into_body();
        assert_eq!(body.size_hint().exact(), Some(10));
        assert!(body.collect().await.is_err());
    });
}

#[test]
fn a_peer_that_gives_no_sign_of_life_is_given_up() {
    // Time passes as soon as nothing else does.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let authority = Authority::new();
        let acceptor = authority.acceptor("localhost", &["h2"]);
        let (listener, address) = listen().await;
        let upstream = authority.upstream();
        let origin = secure(address);
        let silent = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = acceptor.accept(stream).await.expect("TLS");
            stream
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .expect("it is read");
            let mut read = Vec::new();
            stream.read_buf(&mut read).await.expect("a preface");
            tokio::time::pause();
            while stream.read_buf(&mut read).await.is_ok_and(|read| read > 0) {}
        };
        let began = Instant::now();
        let (answer, ()) = tokio::join!(upstream.send(&origin, get("/"), false), silent);
        assert!(answer.expect_err("no answer").error.is_retryable());
        let took = began.elapsed().as_secs();
        assert!((50..=90).contains(&took), "{took} s");
    });
}
