//! Outgoing proxies: absolute form, CONNECT and SOCKS.

use tokio::io::copy_bidirectional;

use super::*;

fn proxies(variables: &[(&str, String)]) -> Proxies {
    Proxies::from_variables(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| value.clone())
    })
}

fn upstream_by(proxies: Proxies, authority: &Authority) -> Rc<Upstream<Plain>> {
    Upstream::new(Arc::new(config_with(proxies, vec![authority.root()], 100)))
}

/// An https origin that is reached by no other name than the proxy's.
const HIDDEN: &str = "https://hidden.example";

/// Answers one request on `stream` as the origin.
async fn be_origin(stream: TcpStream, acceptor: TlsAcceptor) {
    let mut stream = acceptor.accept(stream).await.expect("TLS");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a byte"));
    }
    let head = String::from_utf8(head).expect("it is text");
    assert!(head.starts_with("GET /path HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: hidden.example\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("proxy-"), "{head}");
    stream
        .write_all(HELLO.as_bytes())
        .await
        .expect("it is read");
}

#[test]
fn http_origins_are_asked_for_in_absolute_form_on_shared_connections() {
    run(async {
        let (listener, address) = listen().await;
        let value = format!("http://us:p%40ss@{address}");
        let upstream = upstream_by(proxies(&[("HTTP_PROXY", value)]), &Authority::new());
        let serving = async {
            let mut peer = Peer::accept(&listener).await;
            for line in [
                "GET http://one.example//a%2Fb?c HTTP/1.1",
                "GET http://two.example:81/? HTTP/1.1",
            ] {
                let head = peer.head().await;
                assert!(head.starts_with(line), "{head}");
                assert!(
                    head.contains("\r\nproxy-authorization: Basic dXM6cEBzcw==\r\n"),
                    "{head}"
                );
                let host = line.split('/').nth(2).expect("a host");
                assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
                peer.write(HELLO).await;
            }
        };
        let asking = async {
            for (url, target) in [
                ("http://one.example", "//a%2Fb?c"),
                ("http://two.example:81", "/?"),
            ] {
                let answer = upstream.send(&origin(url), get(target), false).await;
                assert_eq!(text(answer.expect("an answer")).await, "hello");
            }
        };
        tokio::join!(asking, serving);
    });
}

#[test]
fn https_origins_are_reached_by_connect() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor("hidden.example", &["http/1.1"]);
        for (user, expected) in [("", None), ("us:p%40ss@", Some("Basic dXM6cEBzcw=="))] {
            let (listener, address) = listen().await;
            let value = format!("http://{user}{address}");
            let upstream = upstream_by(proxies(&[("HTTPS_PROXY", value)]), &authority);
            let proxy = async {
                let mut peer = Peer::accept(&listener).await;
                let head = peer.head().await;
                assert!(
                    head.starts_with("CONNECT hidden.example:443 HTTP/1.1\r\n"),
                    "{head}"
                );
                assert!(head.contains("\r\nhost: hidden.example:443\r\n"), "{head}");
                let line = expected.map(|basic| format!("\r\nproxy-authorization: {basic}\r\n"));
                assert_eq!(head.contains("proxy-authorization"), line.is_some());
                assert!(line.is_none_or(|line| head.contains(&line)), "{head}");
                // The answer comes in pieces, with fields, and every 2xx counts.
                peer.write("HTTP/1.1 201 ").await;
                tokio::time::sleep(Duration::from_millis(5)).await;
                peer.write("Fine\r\nvia: 1.1 proxy\r\n\r\n").await;
                assert!(peer.read.is_empty());
                be_origin(peer.stream, acceptor.clone()).await;
            };
            let hidden = origin(HIDDEN);
            let asking = upstream.send(&hidden, get("/path"), false);
            let (answer, ()) = tokio::join!(asking, proxy);
            assert_eq!(text(answer.expect("an answer")).await, "hello");
        }
    });
}

#[test]
fn a_proxy_s_refusal_is_told_with_its_status_and_without_the_password() {
    run(async {
        let authority = Authority::new();
        for (answer, retryable) in [
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
                false,
            ),
            (
                "HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope",
                false,
            ),
            ("HTTP/1.0 503 Service Unavailable\r\n\r\n", true),
        ] {
            let (listener, address) = listen().await;
            serve(listener, vec![vec![answer]]);
            let value = format!("us:secret@{address}");
            let upstream = upstream_by(proxies(&[("HTTPS_PROXY", value)]), &authority);
            let error = upstream.send(&origin(HIDDEN), get("/path"), false).await;
            let error = error.expect_err(answer).error;
            assert_eq!(error.is_retryable(), retryable, "{error:?}");
            let status = &answer[9..12];
            let sentence = format!(
                "the outgoing proxy {address} refused a tunnel to hidden.example with status {status}"
            );
            assert_eq!(error.to_string(), sentence);
        }
    });
}

#[test]
fn a_proxy_that_is_none_is_named_for_what_it_is() {
    run(async {
        let authority = Authority::new();
        for (answer, retryable) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\n\r\nand more", false),
            ("", true),
        ] {
            let (listener, address) = listen().await;
            serve(listener, vec![vec![answer]]);
            let proxies = proxies(&[("HTTPS_PROXY", address.to_string())]);
            let upstream = upstream_by(proxies, &authority);
            let error = upstream.send(&origin(HIDDEN), get("/path"), false).await;
            let error = error.expect_err("no tunnel").error;
            assert_eq!(error.is_retryable(), retryable, "{error:?}");
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        let (listener, address) = listen().await;
        drop(listener);
        let upstream = upstream_by(proxies(&[("HTTPS_PROXY", address.to_string())]), &authority);
        let error = upstream.send(&origin(HIDDEN), get("/path"), false).await;
        let error = error.expect_err("no server").error;
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot reach {address}: ")),
            "{error}"
        );
    });
}

#[test]
fn an_https_proxy_is_spoken_to_in_tls_and_so_is_the_origin_through_it() {
    run(async {
        let authority = Authority::new();
        let outer = authority.acceptor("localhost", &["h2", "http/1.1"]);
        let inner = authority.acceptor("hidden.example", &["http/1.1"]);
        let (listener, address) = listen().await;
        let (origin_listener, origin_address) = listen().await;
        tokio::task::spawn_local(async move {
            let (stream, _) = origin_listener.accept().await.expect("a connection");
            be_origin(stream, inner).await;
        });
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = outer.accept(stream).await.expect("TLS");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a byte"));
            }
            assert!(head.starts_with(b"CONNECT hidden.example:443 "));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                .await
                .expect("it is read");
            let mut origin = TcpStream::connect(origin_address)
                .await
                .expect("a connection");
            let _ = copy_bidirectional(&mut stream, &mut origin).await;
        });
        let value = format!("https://localhost:{}", address.port());
        let upstream = upstream_by(proxies(&[("HTTPS_PROXY", value)]), &authority);
        let answer = upstream.send(&origin(HIDDEN), get("/path"), false).await;
        assert_eq!(text(answer.expect("an answer")).await, "hello");
    });
}

#[test]
fn socks_proxies_get_the_name_and_user_and_password() {
    run(async {
        let authority = Authority::new();
        let acceptor = authority.acceptor("hidden.example", &["http/1.1"]);
        let (listener, address) = listen().await;
        let value = format!("socks5://us:p%40ss@{address}");
        let upstream = upstream_by(proxies(&[("HTTPS_PROXY", value)]), &authority);
        let proxy = async {
            let mut peer = Peer::accept(&listener).await;
            assert_eq!(peer.bytes(3).await, [5, 1, 2]);
            peer.write([5, 2]).await;
            assert_eq!(peer.bytes(9).await, b"\x01\x02us\x04p@ss");
            peer.write([1, 0]).await;
            let asked = peer.bytes(4 + 1 + 14 + 2).await;
            assert_eq!(asked, b"\x05\x01\x00\x03\x0ehidden.example\x01\xbb");
            peer.write([5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).await;
            be_origin(peer.stream, acceptor).await;
        };
        let hidden = origin(HIDDEN);
        let (answer, ()) = tokio::join!(upstream.send(&hidden, get("/path"), false), proxy);
        assert_eq!(text(answer.expect("an answer")).await, "hello");
    });
}

#[test]
fn a_socks_proxy_s_refusal_names_it_and_no_password() {
    run(async {
        let (listener, address) = listen().await;
        let value = format!("socks5://us:secret@{address}");
        let upstream = upstream_by(proxies(&[("HTTP_PROXY", value)]), &Authority::new());
        tokio::task::spawn_local(async move {
            let mut peer = Peer::accept(&listener).await;
            peer.bytes(3).await;
            peer.write([5, 0xff]).await;
            peer.closed().await;
        });
        let error = upstream
            .send(&origin("http://hidden.example"), get("/"), false)
            .await;
        let sentence = error.expect_err("refused").error.to_string();
        let expected = "cannot reach hidden.example: the outgoing proxy 127.0.0.1: ";
        assert!(
            sentence.starts_with(expected) && !sentence.contains("secret"),
            "{sentence}"
        );
    });
}

#[test]
fn a_cgi_program_is_told_why_there_is_no_way_out() {
    run(async {
        let variables = [
            ("HTTP_PROXY", "proxy".to_owned()),
            ("REQUEST_METHOD", "GET".to_owned()),
        ];
        let upstream = upstream_by(proxies(&variables), &Authority::new());
        let error = upstream
            .send(&origin("http://a.example"), get("/"), false)
            .await;
        let error = error.expect_err("refused").error;
        assert!(!error.is_retryable() && error.to_string().starts_with("HTTP_PROXY is not used"));
    });
}
