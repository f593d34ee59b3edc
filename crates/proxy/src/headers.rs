//! Hop-by-hop header fields: they speak of one connection and stop here, in both directions.
//!
//! Everything else passes, repeated fields in their order. `Trailer` passes too: the trailers that
//! it announces are forwarded. What this is not: it adds nothing, and message framing
//! (`Content-Length`, `Transfer-Encoding`) is made anew from the body by whoever sends it.

use http::header::{
    self, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::scopes::AUTHORIZED_SCOPES;

/// Fields of one connection by RFC 9110 7.6.1, with the de-facto `Proxy-Connection` and
/// `Keep-Alive`, and the credentials of one hop (RFC 9110 11.7).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that `Connection` may name in vain: a sender must not (RFC 9110 7.6.1), and without them
/// the message would be another one.
const END_TO_END: [HeaderName; 4] = [HOST, AUTHORIZATION, CONTENT_LENGTH, AUTHORIZED_SCOPES];

/// Connection options that name no further field to strip.
const USUAL: [&[u8]; 4] = [b"close", b"keep-alive", b"te", b"upgrade"];

/// Strips a request on its way to upstream. `TE: trailers` is kept where it was asked for.
pub fn strip_request(headers: &mut HeaderMap) {
    let trailers = headers.contains_key(TE) && has_token(headers, &TE, "trailers");
    strip(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Strips an answer on its way to the client.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
}

/// The protocol that a message asks to change to, or has changed to (RFC 9110 7.8).
///
/// `h2c` is not among them: answering over HTTP/1.1 is always allowed, and a tunnel would carry
/// further requests past the signature.
pub fn upgrade_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(UPGRADE).iter();
    let value = values.next()?;
    if values.next().is_some() || !has_token(headers, &CONNECTION, "upgrade") {
        return None;
    }
    let cleartext_http2 = tokens(value).any(|token| token.eq_ignore_ascii_case(b"h2c"));
    (!cleartext_http2).then(|| value.clone())
}

fn strip(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Fields that `Connection` names and that nothing else strips or keeps. Empty, and so without an
/// allocation, for `close` and `keep-alive`.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let options = headers.get_all(CONNECTION).iter().flat_map(tokens);
    options
        .filter(|option| !USUAL.iter().any(|usual| option.eq_ignore_ascii_case(usual)))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !HOP_BY_HOP.contains(name) && !END_TO_END.contains(name))
        .collect()
}

/// Whether a field that is a list of tokens holds `token`.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut tokens = headers.get_all(name).iter().flat_map(tokens);
    tokens.any(|candidate| candidate.eq_ignore_ascii_case(token.as_bytes()))
}

/// The elements of a list (RFC 9110 5.6.1), without white space and parameters.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(|element| {
        let token = element
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        token.trim_ascii()
    })
}
