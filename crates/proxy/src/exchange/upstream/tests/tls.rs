//! TLS: who is trusted, and what is spoken.

use rcgen::{Certificate, ExtendedKeyUsagePurpose, date_time_ymd};

use super::server::{Server, hello, server};
use super::*;

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

/// A server's certificate without a trusted authority: what `openssl req -x509` makes, or one of an
/// authority that is not trusted.
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
        // The certificate has the same name and issuer, and differs in all else.
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

/// Asks the server that has `own`, and trusts `trusted`. Returns nothing, or why the server's
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
            // A broken handshake counts as a fault of the network.
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
            error
                .to_string()
                .ends_with(": no TLS handshake within 0.05 s"),
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
