//! The `Authorization` header of a request, and what its refusal teaches about the clock.
//!
//! One [`Signing`] a thread: it holds the thread's nonces and a buffer that is written again and
//! again. The header itself is Hawk's and made in `taskcluster-proxy-hawk`.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use taskcluster_proxy_hawk::{NonceSource, SignedRequest};

use crate::decision::route::Origin;
use crate::message::fields::{self, Fields};
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
            .write_authorization(out, &request, now(set), &nonce);
    }
}

/// A bewit for a URL, valid one hour.
pub fn bewit(set: &CredentialSet, origin: &Origin, target: &str) -> String {
    let resource = signed_request("GET", origin, target);
    set.signer().bewit(&resource, now(set) + BEWIT_LIFETIME)
}

/// Takes over the verifier's clock from a 401 whose Hawk challenge verifies; whether it did.
pub fn learn_clock(set: &CredentialSet, headers: &impl Fields) -> bool {
    let challenge = headers
        .values(&WWW_AUTHENTICATE)
        .filter_map(fields::text)
        .find_map(|value| set.signer().challenge_time(value));
    let Some(theirs) = challenge else {
        return false;
    };
    let (Ok(theirs), Ok(ours)) = (i64::try_from(theirs), i64::try_from(unix_time())) else {
        return false;
    };
    set.set_skew(theirs.saturating_sub(ours));
    true
}

fn signed_request<'a>(method: &'a str, origin: &'a Origin, target: &'a str) -> SignedRequest<'a> {
    SignedRequest {
        method,
        target,
        host: origin.host(),
        port: origin.port(),
    }
}

fn now(set: &CredentialSet) -> u64 {
    unix_time().saturating_add_signed(set.skew())
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
