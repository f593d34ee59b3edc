//! What is bounded: connections, how long they idle, and what is in memory.

use std::cell::Cell;

use super::*;
use crate::limits::PERMIT_WAIT;

#[test]
fn the_connection_used_last_is_used_first_and_the_others_grow_old() {
    run(async {
        let (listener, address) = listen().await;
        let mut config = config();
        config.idle_timeout = Duration::from_millis(300);
        let upstream = Upstream::<Plain>::new(Arc::new(config));
        let origin = plain(address);
        let first = upstream
            .connect(&origin, need(false, false))
            .await
            .expect("a connection");
        let mut older = Peer::accept(&listener).await;
        let second = upstream
            .connect(&origin, need(false, false))
            .await
            .expect("a connection");
        let mut newer = Peer::accept(&listener).await;
        drop((first, second));
        let started = tokio::time::Instant::now();
        let using = async {
            while started.elapsed() < Duration::from_millis(600) {
                let answer = upstream.send(&origin, get("/"), false).await;
                text(answer.expect("an answer")).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let serving = async {
            loop {
                newer.head().await;
                newer.write(HELLO).await;
            }
        };
        let closing = async {
            older.closed().await;
            assert!(older.read.is_empty(), "no request has used it");
            started.elapsed()
        };
        let both = async { tokio::join!(using, closing).1 };
        let after = tokio::select! {
            after = both => after,
            () = serving => Duration::ZERO,
        };
        assert!(after >= Duration::from_millis(290) && after < Duration::from_millis(590));
    });
}

#[test]
fn a_busy_connection_is_waited_for_where_there_may_be_no_other() {
    run(async {
        let (listener, address) = listen().await;
        serve(listener, vec![vec![HELLO, HELLO, HELLO]]);
        let upstream = Upstream::new(Arc::new(config_with(Proxies::default(), Vec::new(), 1)));
        let origin = plain(address);
        let one = async || {
            let answer = upstream.send(&origin, get("/"), false).await;
            text(answer.expect("an answer")).await
        };
        let (a, b, c) = tokio::join!(one(), one(), one());
        assert_eq!([a, b, c], ["hello"; 3]);
    });
}

#[test]
fn an_idle_connection_of_any_thread_gives_way() {
    run(async {
        let (one, one_address) = listen().await;
        let (other, other_address) = listen().await;
        serve(one, vec![vec![HELLO, HELLO]]);
        serve(other, vec![vec![HELLO, HELLO]]);
        let config = Arc::new(config_with(Proxies::default(), Vec::new(), 1));
        // Two threads have one each.
        let here = Upstream::<Plain>::new(Arc::clone(&config));
        let there = Upstream::<Plain>::new(config);
        for (upstream, address) in [(&here, one_address), (&there, other_address)] {
            let answer = upstream.send(&plain(address), get("/"), false).await;
            assert_eq!(text(answer.expect("an answer")).await, "hello");
        }
    });
}

#[test]
fn a_connection_that_is_never_idle_for_long_gives_way_too() {
    run(async {
        let (busy, busy_address) = listen().await;
        let (other, other_address) = listen().await;
        tokio::task::spawn_local(async move {
            loop {
                let mut peer = Peer::accept(&busy).await;
                while peer.more().await {
                    peer.head().await;
                    peer.write(HELLO).await;
                }
            }
        });
        serve(other, vec![vec![HELLO]]);
        let config = Arc::new(config_with(Proxies::default(), Vec::new(), 1));
        let here = Upstream::<Plain>::new(Arc::clone(&config));
        let there = Upstream::<Plain>::new(config);
        let again = async {
            loop {
                let answer = here.send(&plain(busy_address), get("/"), false).await;
                text(answer.expect("an answer")).await;
            }
        };
        let once = async {
            let answer = there.send(&plain(other_address), get("/"), false).await;
            text(answer.expect("an answer")).await
        };
        tokio::select! {
            () = again => {}
            answer = once => assert_eq!(answer, "hello"),
        }
    });
}

#[test]
fn permits_come_back_with_their_connections() {
    run(async {
        let (listener, address) = listen().await;
        let config = Arc::new(config_with(Proxies::default(), Vec::new(), 5));
        let upstream = Upstream::<Plain>::new(Arc::clone(&config));
        let permits = || config.permits.left();
        let origin = plain(address);
        let connection = upstream
            .connect(&origin, need(false, false))
            .await
            .expect("a connection");
        let peer = Peer::accept(&listener).await;
        assert_eq!(permits(), 4);
        drop(peer);
        eventually(|| permits() == 5).await;
        drop(connection);
        drop(listener);
        let refused = upstream.send(&origin, get("/"), false).await;
        assert!(refused.is_err());
        assert_eq!(permits(), 5);
    });
}

#[test]
fn a_request_that_finds_no_permit_in_time_has_an_error_that_may_pass() {
    run_within(2 * PERMIT_WAIT, async {
        let (listener, address) = listen().await;
        let config = Arc::new(config_with(Proxies::default(), Vec::new(), 1));
        let upstream = Upstream::<Plain>::new(Arc::clone(&config));
        let origin = plain(address);
        let held = upstream.connect(&origin, need(false, false)).await;
        let _peer = Peer::accept(&listener).await;
        tokio::time::pause();
        let Err(unanswered) = upstream.connect(&origin, need(false, false)).await else {
            panic!("the only connection is in use");
        };
        let error = unanswered.error;
        assert!(matches!(error, SendError::Descriptors { .. }), "{error:?}");
        assert!(error.is_retryable());
        drop(held);
    });
}

/// Sends without end; gives the number of bytes that were taken before the reader stopped.
async fn flood(peer: &mut Peer, sent: Rc<Cell<usize>>) {
    let block = vec![0; 64 * 1024];
    loop {
        peer.write(&block).await;
        sent.set(sent.get() + block.len());
    }
}

#[test]
fn a_slow_reader_stops_the_sender() {
    run(async {
        let (listener, address) = listen().await;
        let upstream = upstream();
        let origin = plain(address);
        let sent = Rc::new(Cell::new(0));
        let count = Rc::clone(&sent);
        tokio::task::spawn_local(async move {
            let mut peer = Peer::accept(&listener).await;
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\n\r\n").await;
            flood(&mut peer, count).await;
        });
        let answer = upstream
            .send(&origin, get("/"), false)
            .await
            .expect("an answer");
        let mut body = answer.into_body();
        body.frame().await.expect("a frame").expect("no error");
        let mut before = usize::MAX;
        while sent.get() != before {
            before = sent.get();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // The kernel's buffers are most of it.
        assert!(before < 16 * 1024 * 1024, "{before}");
        let mut read = 0;
        while read < 32 * 1024 * 1024 {
            let frame = body.frame().await.expect("a frame").expect("no error");
            let data = frame.into_data().expect("data");
            assert!(data.len() <= 64 * 1024, "{}", data.len());
            read += data.len();
        }
    });
}

#[test]
fn origins_without_connections_are_forgotten() {
    run(async {
        let (listener, address) = listen().await;
        drop(listener);
        let upstream = upstream();
        let port = address.port();
        for n in 0..1_500 {
            let origin = origin(&format!("http://127.1.{}.{}:{port}", n / 250, n % 250));
            assert!(upstream.send(&origin, get("/"), false).await.is_err());
        }
        assert!(upstream.hosts.borrow().len() <= crate::limits::KNOWN_HOSTS);
    });
}

/// A small generator, so that a failure comes again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// A server that does anything: answers, late or never, whole or torn, and closes when it likes.
fn moody(listener: TcpListener) {
    tokio::task::spawn_local(async move {
        for seed in 0.. {
            let mut peer = Peer::accept(&listener).await;
            tokio::task::spawn_local(async move {
                let mut chance = Chance(seed);
                while chance.below(10) > 0 && peer.more().await {
                    let answer = match chance.below(6) {
                        0 => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
                        1 => "HTTP/1.1 200 OK\r\n\r\nhello",
                        2 => "",
                        _ => HELLO,
                    };
                    tokio::time::sleep(Duration::from_millis(chance.below(3))).await;
                    if peer.stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}

#[test]
fn whatever_happens_no_permit_is_lost() {
    run(async {
        let (listener, address) = listen().await;
        moody(listener);
        let config = Arc::new(config_with(Proxies::default(), Vec::new(), 5));
        let upstream = Upstream::<Plain>::new(Arc::clone(&config));
        let permits = || config.permits.left();
        let finished = Rc::new(Cell::new(0));
        let clients: Vec<_> = (0..20)
            .map(|seed| {
                let upstream = Rc::clone(&upstream);
                let finished = Rc::clone(&finished);
                tokio::task::spawn_local(async move {
                    let mut chance = Chance(1_000 + seed);
                    for _ in 0..15 {
                        let longest = if chance.below(2) == 0 { 5 } else { 100 };
                        let patience = Duration::from_millis(chance.below(longest));
                        let request = async {
                            let answer = upstream.send(&plain(address), get("/"), false).await;
                            if let Ok(answer) = answer
                                && answer.into_body().collect().await.is_ok()
                            {
                                finished.set(finished.get() + 1);
                            }
                        };
                        let _ = tokio::time::timeout(patience, request).await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("no panic");
        }
        assert!(finished.get() > 0);
        drop(upstream);
        eventually(|| permits() == 5).await;
    });
}

/// A peer that has vanished is given up by this limit, which a real one in another network namespace
/// shows in `__test__/proxy/vanished.test.ts`.
#[cfg(target_os = "linux")]
#[test]
fn what_is_sent_has_to_be_acknowledged_in_time_unless_the_peer_may_stall() {
    run(async {
        let (listener, address) = listen().await;
        serve(listener, vec![vec![HELLO; 6]]);
        let (upstream, origin) = (upstream(), plain(address));
        let thirty = Some(Duration::from_secs(30));
        for (length, more, limit) in [
            (Some(16_384), 0, thirty),
            (Some(16_385), 0, None),
            (Some(0), 0, thirty),
            // Bytes that go out show how much a body of unknown length needs.
            (None, 60_000, thirty),
            (None, 90_000, None),
            (None, 0, thirty),
        ] {
            let need = Need::of_body(length, true);
            let socket = upstream.socket(&origin, need).await;
            let mut socket = socket.expect("a socket");
            socket
                .write_all(b"GET / HTTP/1.1\r\n\r\n")
                .await
                .expect("sent");
            let mut left = more;
            while left > 0 {
                let part = left.min(10_000);
                socket.write_all(&vec![b'x'; part]).await.expect("sent");
                left -= part;
            }
            let tcp = socket2::SockRef::from(socket.plain().expect("it is plain"));
            let set = tcp.tcp_user_timeout().expect("an open socket");
            assert_eq!(
                set.filter(|limit| !limit.is_zero()),
                limit,
                "{length:?} {more}"
            );
            let mut answer = vec![0; HELLO.len()];
            socket.read_exact(&mut answer).await.expect("an answer");
            socket.give_back();
        }
    });
}

#[test]
fn a_peer_that_lets_a_long_body_wait_is_not_given_up() {
    run(async {
        let (listener, address) = listen().await;
        let mut config = config();
        config.unacknowledged = Duration::from_millis(200);
        let upstream = Upstream::<Plain>::new(Arc::new(config));
        let body = vec![b'x'; 8 << 20];
        let reading = async {
            let mut peer = Peer::accept(&listener).await;
            // The receive window is full long before.
            tokio::time::sleep(Duration::from_secs(1)).await;
            peer.head().await;
            peer.bytes(body.len()).await;
            peer.write(HELLO).await;
        };
        let sending = async {
            let need = Need::of_body(Some(body.len() as u64), true);
            let connection = upstream.connect(&plain(address), need).await;
            let request = Request::put("/").body(Full::from(body.clone()));
            let connection = connection.expect("a connection");
            connection
                .send(request.expect("a request"), |_, _| {})
                .await
        };
        let (answer, ()) = tokio::join!(sending, reading);
        assert_eq!(text(answer.expect("an answer")).await, "hello");
    });
}

#[test]
fn a_body_tells_what_its_request_needs() {
    for (length, is_kept, new, long) in [
        (Some(0), true, false, false),
        (Some(16_384), true, false, false),
        (Some(16_384), false, false, false),
        (Some(16_385), true, false, true),
        (Some(16_385), false, true, true),
        (None, true, false, false),
        (None, false, true, false),
    ] {
        let need = Need::of_body(length, is_kept);
        assert_eq!((need.new, need.long), (new, long), "{length:?} {is_kept}");
    }
}
