//! Bewits: a signature in the query of a URL, which lets whoever holds the URL GET it until it
//! expires.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::mac::{Kind, Normalised};
use crate::resource::SignedRequest;

/// `id\expires\mac\ext` in base64url.
pub(crate) fn encode(
    id: &str,
    key: &hmac::Key,
    ext: Option<&str>,
    resource: &SignedRequest<'_>,
    expires: u64,
) -> String {
    let mut digits = itoa::Buffer::new();
    let expires = digits.format(expires).as_bytes();
    let ext = ext.unwrap_or_default();
    let request = SignedRequest {
        method: "GET",
        ..*resource
    };
    let mac = normalised(&request, expires, ext).mac(key);
    let bewit = [id.as_bytes(), expires, &mac, ext.as_bytes()].join(&b'\\');
    URL_SAFE_NO_PAD.encode(bewit)
}

fn normalised<'a>(
    request: &'a SignedRequest<'a>,
    expires: &'a [u8],
    ext: &'a str,
) -> Normalised<'a> {
    Normalised {
        kind: Kind::Bewit,
        ts: expires,
        nonce: "",
        request,
        hash: "",
        ext,
        app: None,
    }
}
