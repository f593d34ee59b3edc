//! Takes secrets out of request targets and URLs before they are written anywhere: the values of
//! `bewit` and whatever a URL says of a user.
//!
//! It reads a text as a decoder would, however often its characters are percent-encoded, because a
//! log is read by people and programs that decode. It errs towards taking out too much. It is not
//! a URL parser and changes nothing that goes out.

use std::borrow::Cow;

/// Stands where a secret stood.
const REDACTED: &str = "<redacted>";

/// `text` without secrets; borrowed where it held none.
pub fn redact(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if memchr::memchr3(b'%', b'=', b'@', bytes).is_none() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let secret = match decode(bytes, at).0.to_ascii_lowercase() {
            b'b' => bewit_value(bytes, at),
            b':' => userinfo(bytes, at),
            _ => None,
        };
        let Some((start, end)) = secret else {
            at += 1;
            continue;
        };
        clean.push_str(&text[copied..start]);
        clean.push_str(REDACTED);
        (copied, at) = (end, end);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

/// Whether a query has a parameter `bewit`, its name spelled in any case or percent-encoding.
pub fn has_bewit(query: &str) -> bool {
    query.split(['&', '?', ';']).any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default().as_bytes();
        reads(name, 0, b"bewit") == Some(name.len())
    })
}

/// Bounds of the value of a `bewit=` that begins at `at`.
fn bewit_value(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = reads(bytes, at, b"bewit=")?;
    let length = bytes[start..]
        .iter()
        .position(|byte| matches!(byte, b'&' | b';' | b'#') || byte.is_ascii_whitespace());
    let end = length.map_or(bytes.len(), |length| start + length);
    (end > start).then_some((start, end))
}

/// Bounds of what stands between a `://` at `at` and the last `@` of that authority.
fn userinfo(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = reads(bytes, at, b"://")?;
    let mut end = None;
    let mut at = start;
    while at < bytes.len() {
        let (byte, next) = decode(bytes, at);
        match byte {
            b'@' => end = Some(at),
            b'/' | b'?' | b'#' => break,
            _ if byte.is_ascii_whitespace() => break,
            _ => {}
        }
        at = next;
    }
    end.filter(|end| *end > start).map(|end| (start, end))
}

/// Where `word` (lower case) ends if the text at `at` decodes to it.
fn reads(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    word.iter().try_fold(at, |at, expected| {
        let (byte, next) = decode(bytes, at);
        (at < bytes.len() && byte.eq_ignore_ascii_case(expected)).then_some(next)
    })
}

/// The byte that stands at `at`, percent-decoded as often as it takes, and where the next begins.
fn decode(bytes: &[u8], at: usize) -> (u8, usize) {
    let mut byte = bytes.get(at).copied().unwrap_or_default();
    let mut next = at + 1;
    while byte == b'%' {
        let digits = bytes
            .get(next..next + 2)
            .and_then(|digits| str::from_utf8(digits).ok());
        let hex = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(decoded) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
            break;
        };
        byte = decoded;
        next += 2;
    }
    (byte, next)
}
