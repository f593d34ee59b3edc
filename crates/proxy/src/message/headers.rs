//! Hop-by-hop header fields: they speak of one connection and stop here, in both directions.
//!
//! Everything else passes, repeated fields in their order. `Trailer` passes too: the trailers that
//! it announces are forwarded. What this is not: it adds nothing, and each sender makes the message
//! framing (`Content-Length`, `Transfer-Encoding`) anew from the body.

use std::iter::once;
use std::sync::LazyLock;

use http::header::{
    self, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName,
    HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use memchr::{memchr_iter, memchr2};

use crate::limits::ANNOUNCED_LENGTH;
use crate::message::fields::{Fields, Names};
use crate::message::names::{AUTHORIZED_SCOPES, clear_ours};

/// Fields of one connection by RFC 9110 7.6.1, with the de-facto `Proxy-Connection` and
/// `Keep-Alive`, and the credentials of one hop (RFC 9110 11.7).
static HOP_BY_HOP: LazyLock<Names> = LazyLock::new(|| {
    Names::from_iter([
        CONNECTION,
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("keep-alive"),
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ])
});

/// Fields that `Connection` may name in vain: a sender must not (RFC 9110 7.6.1), and without them
/// the message would be another one. A request's own scopes are among them so that naming them can
/// never widen it, whether they are read before this or after; the sender to upstream takes them
/// out.
static END_TO_END: [HeaderName; 4] = [HOST, AUTHORIZATION, CONTENT_LENGTH, AUTHORIZED_SCOPES];

/// Fields that no trailer may hold: they tell where a message goes, who sends it and how long it
/// is.
static NOT_IN_TRAILERS: LazyLock<Names> =
    LazyLock::new(|| Names::from_iter([HOST, AUTHORIZATION, CONTENT_LENGTH, TRAILER]));

/// Connection options that name no further field to strip.
const USUAL: [&[u8]; 4] = [b"close", b"keep-alive", b"te", b"upgrade"];

/// Strips a request on its way to upstream. `TE: trailers` is kept where it was asked for.
pub fn strip_request(headers: &mut impl Fields) {
    let trailers = has_token(headers, &TE, "trailers");
    strip(headers);
    if trailers {
        headers.set(TE, HeaderValue::from_static("trailers"));
        // A sender of TE names it as an option of the connection (RFC 9110 10.1.4).
        headers.set(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Puts the crumbs of a cookie together, which HTTP/2 may have split: a message must not leave it
/// with more than one `Cookie` (RFC 9113 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Bytes of values, joined by two more that may stand in one.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice())) {
        headers.insert(COOKIE, joined);
    }
}

/// Strips an answer on its way to the client.
pub fn strip_response(headers: &mut impl Fields) {
    strip(headers);
}

/// Strips the trailers of a message: fields that in a head would belong to the framing, to one
/// connection or to the proxy (RFC 9110 6.5.1).
pub fn strip_trailers(trailers: &mut impl Fields) {
    strip(trailers);
    clear_ours(trailers);
    trailers.remove_all(&NOT_IN_TRAILERS);
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
    let cleartext_http2 = tokens(value.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"h2c"));
    (!cleartext_http2).then(|| value.clone())
}

/// Appends the status line of an HTTP/1.1 answer (RFC 9112 4).
pub fn write_status_line(out: &mut Vec<u8>, status: &str, reason: &[u8]) {
    for part in [b"HTTP/1.1 ", status.as_bytes(), b" ", reason, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Appends a field to the head of an HTTP/1 request, its name in lower case.
pub fn write_lower_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(name);
    out[start..].make_ascii_lowercase();
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a field to the head of an HTTP/1 answer, its name with the capitals that are custom there.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(name);
    let written = &mut out[start..];
    written.make_ascii_lowercase();
    for first in once(0).chain(memchr_iter(b'-', name).map(|dash| dash + 1)) {
        if let Some(first) = written.get_mut(first) {
            first.make_ascii_uppercase();
        }
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn strip(headers: &mut impl Fields) {
    if let Some(named) = named_by_connection(headers) {
        headers.remove_all(&named);
    }
    headers.remove_all(&HOP_BY_HOP);
}

/// Fields that `Connection` names and that nothing else strips or keeps. `None`, and no allocation,
/// where there are none, such as for `close` and `keep-alive`.
fn named_by_connection(headers: &impl Fields) -> Option<Names> {
    let mut fields = headers.values(&CONNECTION);
    if fields.all(|field| field.eq_ignore_ascii_case(b"keep-alive")) {
        return None;
    }
    let options = headers.values(&CONNECTION).flat_map(tokens);
    let named: Vec<HeaderName> = options
        .filter(|option| !USUAL.iter().any(|usual| option.eq_ignore_ascii_case(usual)))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !HOP_BY_HOP.contains(name) && !END_TO_END.contains(name))
        .collect();
    (!named.is_empty()).then(|| Names::from_iter(named))
}

/// Whether an HTTP/1 message has the chunked coding. `None` if it has another one: the field is
/// hop-by-hop, so the receiver would take the coded bytes for the content (RFC 9112 6.1, 7). `None`
/// also if anything follows `chunked`, since some readers look at the last coding alone.
pub fn is_chunked(headers: &impl Fields) -> Option<bool> {
    let codings = headers
        .values(&TRANSFER_ENCODING)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    let mut chunked = false;
    for coding in codings {
        if chunked {
            return None;
        }
        chunked = coding.eq_ignore_ascii_case(b"chunked");
        if !chunked && !coding.is_empty() {
            return None;
        }
    }
    Some(chunked)
}

/// `Content-Length` does not tell a length.
#[derive(Debug, PartialEq, Eq)]
pub struct LengthError;

/// The value of `Content-Length`, if there is any; of one that is repeated, one is left (RFC 9110
/// 8.6), in plain decimal.
///
/// # Errors
/// Where it is no length, or more than one.
pub fn content_length(headers: &mut impl Fields) -> Result<Option<u64>, LengthError> {
    let mut length = None;
    let mut canonical = true;
    for value in headers.values(&CONTENT_LENGTH) {
        for digits in value.split(|byte| *byte == b',') {
            let digits = digits.trim_ascii();
            let number = length_of(digits).ok_or(LengthError)?;
            if length.is_some_and(|earlier| earlier != number) {
                return Err(LengthError);
            }
            canonical &= length.is_none() && (digits.len() == 1 || !digits.starts_with(b"0"));
            length = Some(number);
        }
    }
    if let Some(length) = length.filter(|_| !canonical) {
        headers.set(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(length)
}

/// The length that `digits` tell.
pub fn length_of(digits: &[u8]) -> Option<u64> {
    // A number may be written with a sign, a length may not.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (length <= ANNOUNCED_LENGTH).then_some(length)
}

/// Whether a field that is a list of tokens holds `token`.
pub fn has_token(headers: &impl Fields, name: &HeaderName, token: &str) -> bool {
    let is_it = |candidate: &[u8]| candidate.eq_ignore_ascii_case(token.as_bytes());
    headers.values(name).any(|value| {
        // Most have one element, which is found in a fraction of the time.
        if memchr2(b',', b';', value).is_none() {
            is_it(value.trim_ascii())
        } else {
            tokens(value).any(is_it)
        }
    })
}

/// The names in a field that is a list of them (RFC 9110 6.6.2).
pub fn list(headers: &impl Fields, name: &HeaderName) -> Vec<HeaderName> {
    let names = headers.values(name).flat_map(tokens);
    names
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}

/// The elements of a list (RFC 9110 5.6.1), without white space and parameters.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(|element| {
        let token = element
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        token.trim_ascii()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::fields::FieldLines;

    /// A map of fields written `name: value` and separated by `|`.
    fn headers(fields: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields.split('|').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once(": ").expect("a field");
            headers.append(
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            );
        }
        headers
    }

    #[test]
    fn what_speaks_of_one_connection_stops() {
        for (fields, request, response) in [
            ("", "", ""),
            ("accept: a", "accept: a", "accept: a"),
            ("connection: close|accept: a", "accept: a", "accept: a"),
            ("connection: keep-alive|keep-alive: timeout=5", "", ""),
            (
                "proxy-connection: keep-alive|transfer-encoding: chunked",
                "",
                "",
            ),
            (
                "proxy-authorization: Basic x|proxy-authenticate: Basic",
                "",
                "",
            ),
            (
                "connection: Upgrade|upgrade: websocket|sec-websocket-key: x",
                "sec-websocket-key: x",
                "sec-websocket-key: x",
            ),
            // TE speaks of this connection, but whether trailers are wanted is worth passing on.
            ("te: trailers", "te: trailers|connection: te", ""),
            (
                "te: gzip;q=0.5, Trailers ;x|te: deflate",
                "te: trailers|connection: te",
                "",
            ),
            ("te: gzip|connection: te", "", ""),
            (
                "connection: te|te: trailers",
                "te: trailers|connection: te",
                "",
            ),
            ("te: nottrailers", "", ""),
            ("trailer: etag", "trailer: etag", "trailer: etag"),
            // Named by Connection, in any case, in several fields, with empty elements.
            ("connection: x-a|x-a: 1|x-b: 2", "x-b: 2", "x-b: 2"),
            (
                "connection: X-A,, close ,\tX-B|x-a: 1|x-b: 2|x-c: 3",
                "x-c: 3",
                "x-c: 3",
            ),
            (
                "connection: x-a|connection: x-b|x-a: 1|x-b: 2|x-b: 3",
                "",
                "",
            ),
            ("connection: \"x-a\"|x-a: 1", "x-a: 1", "x-a: 1"),
            ("connection: x a|x: 1|a: 1", "x: 1|a: 1", "x: 1|a: 1"),
            ("connection: \u{e9}|x-a: 1", "x-a: 1", "x-a: 1"),
            ("connection: cache-control|cache-control: no-store", "", ""),
            // Connection names fields that are not there.
            (
                "connection: host, content-length, Authorization, x-taskcluster-authorized-scopes|host: h|content-length: 5|authorization: a|x-taskcluster-authorized-scopes: []",
                "host: h|content-length: 5|authorization: a|x-taskcluster-authorized-scopes: []",
                "host: h|content-length: 5|authorization: a|x-taskcluster-authorized-scopes: []",
            ),
        ] {
            let (mut to_upstream, mut to_client) = (headers(fields), headers(fields));
            let mut as_lines = [&to_upstream, &to_client].map(FieldLines::from_map);
            strip_request(&mut to_upstream);
            strip_response(&mut to_client);
            assert_eq!(to_upstream, headers(request), "request {fields}");
            assert_eq!(to_client, headers(response), "response {fields}");
            strip_request(&mut as_lines[0]);
            strip_response(&mut as_lines[1]);
            let as_lines = as_lines.map(|lines| lines.to_map());
            assert_eq!(as_lines, [to_upstream, to_client], "lines {fields}");
        }
    }

    #[test]
    fn crumbs_of_a_cookie_are_joined_and_nothing_else() {
        for (fields, joined) in [
            ("", ""),
            ("cookie: a=b", "cookie: a=b"),
            (
                "cookie: a=b|x: 1|cookie: c=\"d\"",
                "x: 1|cookie: a=b; c=\"d\"",
            ),
            ("x: 1|x: 2", "x: 1|x: 2"),
        ] {
            let mut map = headers(fields);
            join_cookies(&mut map);
            assert_eq!(map, headers(joined), "{fields}");
        }
    }

    #[test]
    fn repeated_fields_keep_their_order() {
        let mut map = headers(
            "set-cookie: 1|connection: x-a, x-b|vary: a|set-cookie: 2|x-a: 1|keep-alive: 1|\
             set-cookie: 3|x-b: 1|vary: b|x-b: 2|set-cookie: 1|te: gzip|upgrade: x|upgrade: y|vary: a",
        );
        strip_response(&mut map);
        let values = |name| map.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("set-cookie"), ["1", "2", "3", "1"]);
        assert_eq!(values("vary"), ["a", "b", "a"]);
        assert_eq!(map.len(), 7);
    }

    #[test]
    fn one_chunked_is_the_only_coding() {
        for (fields, chunked) in [
            ("", Some(false)),
            ("transfer-encoding: chunked", Some(true)),
            ("transfer-encoding: \t CHUNKED ", Some(true)),
            ("transfer-encoding: chunked,", None),
            (
                "transfer-encoding: chunked|transfer-encoding: identity",
                None,
            ),
            ("transfer-encoding: , chunked", Some(true)),
            (
                "transfer-encoding: identity|transfer-encoding: chunked",
                None,
            ),
            ("transfer-encoding: identity", None),
            ("transfer-encoding: gzip", None),
            ("transfer-encoding: gzip, chunked", None),
            ("transfer-encoding: chunked, gzip", None),
            ("transfer-encoding: chunked, chunked", None),
            (
                "transfer-encoding: chunked|transfer-encoding: chunked",
                None,
            ),
            ("transfer-encoding: chunked;q=1", None),
            ("transfer-encoding: \"chunked\"", None),
            ("transfer-encoding: xchunked", None),
            ("transfer-encoding: chunked\u{e9}", None),
        ] {
            let headers = headers(fields);
            assert_eq!(is_chunked(&headers), chunked, "{fields}");
            let lines = FieldLines::from_map(&headers);
            assert_eq!(is_chunked(&lines), chunked, "lines {fields}");
        }
    }

    #[test]
    fn a_length_is_one_number() {
        for (fields, length, left) in [
            ("", Ok(None), ""),
            ("content-length: 0", Ok(Some(0)), "content-length: 0"),
            ("content-length: 007", Ok(Some(7)), "content-length: 7"),
            ("content-length: 00", Ok(Some(0)), "content-length: 0"),
            ("content-length: 7,\t07 ", Ok(Some(7)), "content-length: 7"),
            (
                "content-length: 7|x: 1|content-length: 7",
                Ok(Some(7)),
                "content-length: 7|x: 1",
            ),
            (
                "content-length: 9223372036854775807",
                Ok(Some(ANNOUNCED_LENGTH)),
                "content-length: 9223372036854775807",
            ),
            ("content-length: 9223372036854775808", Err(LengthError), ""),
            ("content-length: 18446744073709551616", Err(LengthError), ""),
            ("content-length: 7, 8", Err(LengthError), ""),
            ("content-length: 7|content-length: 8", Err(LengthError), ""),
            ("content-length: 7,", Err(LengthError), ""),
            ("content-length: ", Err(LengthError), ""),
            ("content-length: +7", Err(LengthError), ""),
            ("content-length: -7", Err(LengthError), ""),
            ("content-length: 0x7", Err(LengthError), ""),
            ("content-length: 7.0", Err(LengthError), ""),
            ("content-length: 7 7", Err(LengthError), ""),
            ("content-length: 7\u{a0}", Err(LengthError), ""),
        ] {
            let mut map = headers(fields);
            let mut lines = FieldLines::from_map(&map);
            assert_eq!(content_length(&mut map), length, "{fields}");
            assert_eq!(content_length(&mut lines), length, "lines {fields}");
            if length.is_ok() {
                assert_eq!(map, headers(left), "{fields}");
                assert_eq!(lines.to_map(), headers(left), "lines {fields}");
            }
        }
    }

    #[test]
    fn a_connection_field_as_long_as_a_head_may_be_is_no_trouble() {
        let options: Vec<String> = (0..8000).map(|number| format!("x-{number}")).collect();
        let mut map = headers("x-1: a|x-8001: b");
        map.insert(CONNECTION, options.join(",").parse().expect("a value"));
        let mut lines = FieldLines::from_map(&map);
        strip_request(&mut map);
        assert_eq!(map, headers("x-8001: b"));
        strip_request(&mut lines);
        assert_eq!(lines.to_map(), map);
    }

    #[test]
    fn the_usual_options_allocate_nothing() {
        for fields in [
            "",
            "connection: close",
            "connection: Keep-Alive, TE",
            "connection: Upgrade",
        ] {
            assert!(named_by_connection(&headers(fields)).is_none(), "{fields}");
        }
    }

    #[test]
    fn an_upgrade_is_asked_for_by_both_fields() {
        for (fields, protocol) in [
            ("connection: Upgrade|upgrade: websocket", Some("websocket")),
            (
                "connection: keep-alive, upgrade|upgrade: WebSocket",
                Some("WebSocket"),
            ),
            (
                "connection: close|connection: UPGRADE|upgrade: a/1, b",
                Some("a/1, b"),
            ),
            ("upgrade: websocket", None),
            ("connection: upgrade", None),
            ("connection: keep-alive|upgrade: websocket", None),
            ("connection: xupgrade|upgrade: websocket", None),
            ("connection: upgrade|upgrade: a|upgrade: b", None),
            ("connection: upgrade, http2-settings|upgrade: h2c", None),
            ("connection: upgrade|upgrade: websocket, H2C", None),
        ] {
            let asked = upgrade_protocol(&headers(fields));
            assert_eq!(
                asked.as_ref().map(HeaderValue::as_bytes),
                protocol.map(str::as_bytes),
                "{fields}"
            );
        }
    }
}
