//! The `Authorization` header of a request, and bewits.
//!
//! One [`Signing`] a thread: it holds the thread's nonces and a buffer that is written again and
//! again. The header itself is Hawk's and made in `taskcluster-proxy-hawk`.

use http::HeaderValue;
use taskcluster_proxy_hawk::{NonceSource, SignedRequest};

use crate::decision::route::Origin;
use crate::signing::credentials::CredentialSet;

/// How long a bewit is valid, in seconds.
const BEWIT_LIFETIME: u64 = 60 * 60;

/// One thread's means of signing.
pub struct Signing {
    nonces: NonceSource,
    header: Vec<u8>,
}

impl Signing {
    pub fn new() -> Self {
        Self {
            nonces: NonceSource::new(),
            header: Vec::with_capacity(1024),
        }
    }

    /// The `Authorization` of one try, with a nonce of its own. It is marked as sensitive, which
    /// keeps it out of HTTP/2's header tables and of debugging output.
    pub fn authorization(
        &mut self,
        set: &CredentialSet,
        method: &str,
        origin: &Origin,
        target: &str,
    ) -> HeaderValue {
        let mut header = std::mem::take(&mut self.header);
        header.clear();
        self.write_authorization(&mut header, set, method, origin, target);
        let mut value = HeaderValue::from_bytes(&header).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        self.header = header;
        value
    }

    /// Appends the `Authorization` of one try to `out`.
    pub fn write_authorization(
        &mut self,
        out: &mut Vec<u8>,
        set: &CredentialSet,
        method: &str,
        origin: &Origin,
        target: &str,
    ) {
        let nonce = self.nonces.next();
        let request = signed_request(method, origin, target);
        set.signer()
            .write_authorization(out, &request, set.clock().now(), &nonce);
    }
}

/// A bewit for a URL, valid one hour.
pub fn bewit(set: &CredentialSet, origin: &Origin, target: &str) -> String {
    let resource = signed_request("GET", origin, target);
    set.signer()
        .bewit(&resource, set.clock().now() + BEWIT_LIFETIME)
}

fn signed_request<'a>(method: &'a str, origin: &'a Origin, target: &'a str) -> SignedRequest<'a> {
    SignedRequest {
        method,
        target,
        host: origin.host(),
        port: origin.port(),
    }
}
