//! Signing: the `Authorization` header and the bewit of a request, from a key and an `ext` that
//! are made once.

use std::fmt;
use std::sync::Arc;

use ring::hmac;

use crate::bewit;
use crate::certificate::Certificate;
use crate::challenge;
use crate::credentials::Credentials;
use crate::ext;
use crate::mac::{self, Kind, MAC_LEN, Normalised};
use crate::nonce::NONCE_LEN;
use crate::resource::SignedRequest;

/// Signs requests with one set of credentials and one restriction. Clones share what they hold.
#[derive(Clone)]
pub struct Signer {
    client: Arc<Client>,
    ext: Option<Arc<str>>,
}

/// The parts that all restrictions of one credential set share.
struct Client {
    id: String,
    key: hmac::Key,
    certificate: Option<Certificate>,
}

impl Signer {
    /// Makes the key and the `ext`. `None` leaves the credentials unrestricted; `Some(&[])`
    /// restricts them to nothing.
    pub fn new(credentials: &Credentials, authorized_scopes: Option<&[String]>) -> Self {
        let client = Arc::new(Client {
            id: credentials.client_id.clone(),
            key: mac::key(&credentials.access_token),
            certificate: credentials.certificate.clone(),
        });
        Self::restricted(client, authorized_scopes)
    }

    /// The same client under another restriction.
    #[must_use]
    pub fn with_authorized_scopes(&self, authorized_scopes: Option<&[String]>) -> Self {
        Self::restricted(Arc::clone(&self.client), authorized_scopes)
    }

    fn restricted(client: Arc<Client>, authorized_scopes: Option<&[String]>) -> Self {
        let ext = ext::encode(client.certificate.as_ref(), authorized_scopes).map(Arc::from);
        Self { client, ext }
    }

    /// The certificate, where the credentials are temporary.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.client.certificate.as_ref()
    }

    /// The `ext` attribute of every header and bewit; none where there is neither a certificate
    /// nor a restriction.
    pub fn ext(&self) -> Option<&str> {
        self.ext.as_deref()
    }

    /// The length of every header that is signed with a [`Nonce`](crate::Nonce), in bytes.
    /// Verifiers refuse more than [`MAX_HEADER_LEN`](crate::MAX_HEADER_LEN).
    pub fn authorization_len(&self) -> usize {
        const TS_LEN: usize = 10;
        self.len(TS_LEN, NONCE_LEN)
    }

    fn len(&self, ts: usize, nonce: usize) -> usize {
        let ext = self.ext().map_or(0, |ext| r#", ext="""#.len() + ext.len());
        let names = r#"Hawk id="", ts="", nonce="", mac="""#.len();
        names + self.client.id.len() + ts + nonce + ext + MAC_LEN
    }

    /// Appends the value of the `Authorization` header of `request` to `out`. Allocates nothing
    /// but the room in `out`.
    ///
    /// `ts` is in seconds since the epoch. `nonce` must be of printable ASCII without `"` and `\`,
    /// as every [`Nonce`](crate::Nonce) is.
    pub fn write_authorization(
        &self,
        out: &mut Vec<u8>,
        request: &SignedRequest<'_>,
        ts: u64,
        nonce: &str,
    ) {
        let mut digits = itoa::Buffer::new();
        let ts = digits.format(ts);
        let ext = self.ext().unwrap_or_default();
        let normalised = Normalised {
            kind: Kind::Header,
            ts,
            nonce,
            request,
            hash: "",
            ext,
            app: None,
        };
        let mac = normalised.mac(&self.client.key);

        out.reserve(self.len(ts.len(), nonce.len()));
        let mut put = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
        };
        put("Hawk id=\"", self.client.id.as_bytes());
        put("\", ts=\"", ts.as_bytes());
        put("\", nonce=\"", nonce.as_bytes());
        if !ext.is_empty() {
            put("\", ext=\"", ext.as_bytes());
        }
        put("\", mac=\"", &mac);
        put("\"", b"");
    }

    /// The bewit for `resource`: the value to append as the query's last parameter, `bewit=`.
    ///
    /// `expires` is in seconds since the epoch. A bewit is always for GET (and so for HEAD);
    /// `resource.method` does not count.
    pub fn bewit(&self, resource: &SignedRequest<'_>, expires: u64) -> String {
        bewit::encode(
            &self.client.id,
            &self.client.key,
            self.ext(),
            resource,
            expires,
        )
    }

    /// The server's time in seconds since the epoch, from the value of a `WWW-Authenticate` header
    /// field; none unless it is a Hawk challenge with a `tsm` by the client's key.
    pub fn challenge_time(&self, www_authenticate: &str) -> Option<u64> {
        challenge::time(&self.client.key, www_authenticate)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("client_id", &self.client.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nonce::NonceSource;
    use crate::resource::Resource;

    const CERTIFICATE: &str = r#"{ "version": 1, "scopes": [], "start": 1, "expiry": 2,
        "seed": "JYR4wzMCTG6XeDS2cDUCMwH0RFUXGfQjK7LgqD-e6lSQ", "signature": "x" }"#;

    fn signer(certificate: Option<&str>, scopes: Option<&[&str]>) -> Signer {
        let credentials = Credentials::new("dh37fgj492je", "key", certificate).unwrap();
        let scopes = scopes.map(|scopes| scopes.iter().map(|&s| s.to_owned()).collect::<Vec<_>>());
        Signer::new(&credentials, scopes.as_deref())
    }

    fn sign(signer: &Signer, request: &SignedRequest<'_>, ts: u64, nonce: &str) -> String {
        let mut out = Vec::new();
        signer.write_authorization(&mut out, request, ts, nonce);
        String::from_utf8(out).unwrap()
    }

    /// `test/readme.js` of mozilla/hawk has the order; `test/client.js` the MAC.
    #[test]
    fn a_header_is_written_as_hawk_writes_it() {
        let credentials =
            Credentials::new("me", "tok", None).expect("the credentials of rust-hawk's example");
        let signer = Signer::new(&credentials, None);
        let url = "https://pulse.taskcluster.net:443/v1/namespaces";
        let resource = Resource::parse(url).unwrap();
        assert_eq!(
            sign(
                &signer,
                &resource.request("GET").unwrap(),
                1_491_183_061,
                "RVnYzW"
            ),
            "Hawk id=\"me\", ts=\"1491183061\", nonce=\"RVnYzW\", \
             mac=\"1kqRT9EoxiZ9AA/ayOCXB+AcjfK/BoJ+n7z0gfvZotQ=\"",
        );
        let restricted = signer.with_authorized_scopes(Some(&[]));
        let header = sign(&restricted, &resource.request("GET").unwrap(), 1, "n");
        let start = "Hawk id=\"me\", ts=\"1\", nonce=\"n\", ext=\"eyJhdXRob3JpemVkU2NvcGVzIjpbXX0=\", mac=\"";
        assert!(header.starts_with(start), "{header}");
    }

    #[test]
    fn method_and_host_count_in_one_case() {
        let signer = signer(None, None);
        let request = |method, host| SignedRequest {
            method,
            target: "/A",
            host,
            port: 80,
        };
        let header = sign(&signer, &request("GET", "example.com"), 1, "n");
        assert_eq!(
            header,
            sign(&signer, &request("gEt", "Example.COM"), 1, "n")
        );
        assert_ne!(
            header,
            sign(&signer, &request("PUT", "example.com"), 1, "n")
        );
    }

    #[test]
    fn it_appends_and_knows_the_length() {
        let resource = Resource::parse("https://example.com/x").unwrap();
        let nonce = NonceSource::new().next();
        for signer in [signer(None, None), signer(Some(CERTIFICATE), Some(&["a"]))] {
            let mut out = b"before ".to_vec();
            signer.write_authorization(
                &mut out,
                &resource.request("GET").unwrap(),
                1_700_000_000,
                &nonce,
            );
            assert!(out.starts_with(b"before Hawk id="));
            assert_eq!(out.len() - "before ".len(), signer.authorization_len());
        }
    }

    #[test]
    fn another_restriction_leaves_the_certificate() {
        let signer = signer(Some(CERTIFICATE), Some(&["a", "b"]));
        let narrowed = signer.with_authorized_scopes(Some(&["a".to_owned()]));
        let unrestricted = signer.with_authorized_scopes(None);
        let json = |signer: &Signer| {
            let ext = crate::ext::decode(signer.ext().unwrap()).unwrap();
            (ext.certificate.is_some(), ext.authorized_scopes)
        };
        assert_eq!(json(&narrowed), (true, Some(vec!["a".to_owned()])));
        assert_eq!(json(&unrestricted), (true, None));
    }

    #[test]
    fn shows_no_secret() {
        let credentials = Credentials::new("x", "t0ken", Some(CERTIFICATE)).unwrap();
        let shown = format!("{:?}", Signer::new(&credentials, None));
        assert_eq!(shown, "Signer { client_id: \"x\", .. }");
    }
}
