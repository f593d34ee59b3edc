//! This crate verifies what it has signed and nothing else: random requests, credentials and
//! restrictions of every kind.

mod seed;

use fastrand::Rng;
use taskcluster_proxy_hawk::{
    Claim, Credentials, NonceSource, Resource, SignedRequest, Signer, TemporaryCredentialsOptions,
    Verification, VerifyError, create_temporary_credentials, verify_bewit, verify_header,
};

const ROUNDS: usize = 2_000;
const NOW: u64 = 1_700_000_000_000;

const CLIENT_ID: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!@/:.+|_-";
const TARGET: &str = "abcXYZ019-._~!$&'()*+,;=:@/?%2F%252f//..;bewit";

fn text(rng: &mut Rng, alphabet: &str, lengths: std::ops::Range<usize>) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    (0..rng.usize(lengths))
        .map(|_| alphabet[rng.usize(..alphabet.len())])
        .collect()
}

fn printable(rng: &mut Rng, lengths: std::ops::Range<usize>) -> String {
    (0..rng.usize(lengths))
        .map(|_| char::from(rng.u8(b' '..=b'~')))
        .collect()
}

fn scopes(rng: &mut Rng) -> Vec<String> {
    (0..rng.usize(..4)).map(|_| printable(rng, 0..20)).collect()
}

/// Permanent, temporary or named temporary credentials, and what their issuer signs with.
struct Client {
    credentials: Credentials,
    issuer: Credentials,
}

fn client(rng: &mut Rng) -> Client {
    let token = text(rng, "tokenéTOKEN_-0", 1..70);
    let issuer = Credentials::new(&text(rng, CLIENT_ID, 1..40), &token, None)
        .expect("the alphabet is that of client ids");
    let name = text(rng, CLIENT_ID, 1..30) + "/named";
    let scopes = scopes(rng);
    let start = i64::try_from(NOW).expect("now is within bounds");
    let options = TemporaryCredentialsOptions {
        client_id: rng.bool().then_some(name.as_str()),
        start,
        expiry: start + rng.i64(0..31 * 24 * 60 * 60 * 1000),
        scopes: &scopes,
    };
    let credentials = if rng.bool() {
        issuer.clone()
    } else {
        create_temporary_credentials(&issuer, &options).expect("the options are valid")
    };
    Client {
        credentials,
        issuer,
    }
}

fn look_up(issuer: &Credentials) -> impl Fn(&str) -> Option<String> {
    |client_id| (client_id == issuer.client_id).then(|| issuer.access_token.clone())
}

fn resource(rng: &mut Rng) -> Resource {
    let hosts = [
        "tc.example.com",
        "TC.Example.COM",
        "127.0.0.1",
        "[::1]",
        "[FE80::a]",
        "localhost",
    ];
    let host = hosts[rng.usize(..hosts.len())];
    let port = if rng.bool() {
        format!(":{}", rng.u16(1..))
    } else {
        String::new()
    };
    let scheme = if rng.bool() { "http" } else { "https" };
    let target = text(rng, TARGET, 0..60);
    Resource::parse(&format!("{scheme}://{host}{port}/{target}")).expect("the URL is valid")
}

fn method<'a>(rng: &mut Rng) -> &'a str {
    ["GET", "POST", "put", "Delete", "PATCH", "X-a_b"][rng.usize(..6)]
}

/// A request that differs from `request` in one part.
fn altered<'a>(rng: &mut Rng, request: SignedRequest<'a>, target: &'a str) -> SignedRequest<'a> {
    match rng.usize(..4) {
        0 => SignedRequest {
            method: "OTHER",
            ..request
        },
        1 => SignedRequest { target, ..request },
        2 => SignedRequest {
            host: "other.example.com",
            ..request
        },
        _ => SignedRequest {
            port: request.port ^ 1,
            ..request
        },
    }
}

#[test]
fn headers() {
    let rng = &mut seed::rng();
    let mut nonces = NonceSource::new();
    for round in 0..ROUNDS {
        let Client {
            credentials,
            issuer,
        } = client(rng);
        let restriction = rng.bool().then(|| scopes(rng));
        let signer = Signer::new(&credentials, restriction.as_deref());
        let resource = resource(rng);
        let request = resource.request(method(rng)).expect("the method is one");
        let ts = NOW / 1000 + rng.u64(..=60);
        let nonce = nonces.next();
        let mut header = Vec::new();
        signer.write_authorization(&mut header, &request, ts, &nonce);
        let header = String::from_utf8(header).expect("a header is ASCII");

        let verification = Verification {
            now: NOW,
            timestamp_skew: 60,
            payload_hash: None,
        };
        let claim =
            Claim::from_header(&header).unwrap_or_else(|e| panic!("{round}: {header}: {e}"));
        assert_eq!(claim.issuing_client_id(), issuer.client_id);
        let verified = claim
            .verify(&request, &issuer.access_token, &verification)
            .unwrap_or_else(|error| panic!("{round}: {request:?}: {error}"));
        assert_eq!(verified.client_id, credentials.client_id);
        assert_eq!(verified.authorized_scopes, restriction);
        assert_eq!(verified.nonce.as_deref(), Some(&*nonce));
        assert_eq!(
            verified.temporary.map(|limits| limits.scopes),
            credentials
                .certificate
                .map(|certificate| certificate.scopes().to_vec()),
        );

        let target = format!("{}x", resource.target);
        let other = altered(rng, request, &target);
        let result = verify_header(&other, &header, look_up(&issuer), &verification);
        assert_eq!(
            result,
            Err(VerifyError::Mac),
            "{round}: {request:?} {other:?}"
        );
    }
}

#[test]
fn bewits() {
    let rng = &mut seed::rng();
    for round in 0..ROUNDS {
        let Client {
            credentials,
            issuer,
        } = client(rng);
        let restriction = rng.bool().then(|| scopes(rng));
        let resource = resource(rng);
        let expires = NOW / 1000 + rng.u64(1..10_000);
        let signer = Signer::new(&credentials, restriction.as_deref());
        let bewit = signer.bewit(
            &resource.request("GET").expect("the method is one"),
            expires,
        );
        let separator = if resource.target.contains('?') {
            '&'
        } else {
            '?'
        };
        let target = format!("{}{separator}bewit={bewit}", resource.target);
        let request = SignedRequest {
            target: &target,
            ..resource.request("GET").expect("the method is one")
        };

        let verified = verify_bewit(&request, look_up(&issuer), NOW)
            .unwrap_or_else(|error| panic!("{round}: {request:?}: {error}"));
        assert_eq!(verified.client_id, credentials.client_id);
        assert_eq!(verified.authorized_scopes, restriction);
        assert_eq!(verified.ts, expires);

        let changed = format!("/x{target}");
        let other = altered(rng, request, &changed);
        assert!(
            verify_bewit(&other, look_up(&issuer), NOW).is_err(),
            "{round}: {other:?}"
        );
    }
}

/// A header with one byte changed, left out or added is refused, or is the same in another
/// notation.
#[test]
fn damaged_headers() {
    let rng = &mut seed::rng();
    for round in 0..ROUNDS {
        let Client {
            credentials,
            issuer,
        } = client(rng);
        let resource = resource(rng);
        let request = resource.request("GET").expect("the method is one");
        let mut header = Vec::new();
        let signer = Signer::new(&credentials, None);
        signer.write_authorization(&mut header, &request, NOW / 1000, "nonce");
        let at = rng.usize(..header.len());
        let byte = rng.u8(b' '..=b'~');
        match rng.usize(..3) {
            0 => header[at] = byte,
            1 => drop(header.remove(at)),
            _ => header.insert(at, byte),
        }
        let header = String::from_utf8(header).expect("a header is ASCII");
        let verification = Verification {
            now: NOW,
            timestamp_skew: 60,
            payload_hash: None,
        };
        if let Ok(verified) = verify_header(&request, &header, look_up(&issuer), &verification) {
            let meant = |text: &str| text.replace(' ', "").to_ascii_lowercase();
            let mut again = Vec::new();
            signer.write_authorization(&mut again, &request, NOW / 1000, "nonce");
            let again = String::from_utf8(again).expect("a header is ASCII");
            assert_eq!(
                meant(&header).trim_end_matches(','),
                meant(&again),
                "{round}"
            );
            assert_eq!(verified.client_id, credentials.client_id, "{round}");
        }
    }
}
