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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bewits_are_taken_out_however_they_are_spelled() {
        for (text, clean) in [
            ("/x?bewit=SECRET", "/x?bewit=<redacted>"),
            ("/x?a=b&bewit=SECRET", "/x?a=b&bewit=<redacted>"),
            ("/x?bewit=SECRET&a=b", "/x?bewit=<redacted>&a=b"),
            (
                "/x?bewit=SECRET&bewit=SECRET",
                "/x?bewit=<redacted>&bewit=<redacted>",
            ),
            ("/x?a=b?bewit=SECRET", "/x?a=b?bewit=<redacted>"),
            ("/x?a=b;bewit=SECRET;c", "/x?a=b;bewit=<redacted>;c"),
            ("/x?bewit=SECRET#f", "/x?bewit=<redacted>#f"),
            ("/x?bewit=SECRET== | GET", "/x?bewit=<redacted> | GET"),
            ("/x?BeWit=SECRET", "/x?BeWit=<redacted>"),
            ("/x?b%65wit=SECRET", "/x?b%65wit=<redacted>"),
            ("/x?%62%45%77%69%54=SECRET", "/x?%62%45%77%69%54=<redacted>"),
            ("/x?bewit%3DSECRET", "/x?bewit%3D<redacted>"),
            ("/x?b%2565wit=SECRET", "/x?b%2565wit=<redacted>"),
            ("/x?b%252565wit%253dSECRET", "/x?b%252565wit%253d<redacted>"),
            (
                "/x?u=http%3A%2F%2Fh%2F%3Fbewit%3DSECRET&b",
                "/x?u=http%3A%2F%2Fh%2F%3Fbewit%3D<redacted>&b",
            ),
            ("/x%3Fbewit=SECRET", "/x%3Fbewit=<redacted>"),
            ("https://h/x?bewit=%53ECRET", "https://h/x?bewit=<redacted>"),
            (
                "fetching https://h/?bewit=SECRET failed",
                "fetching https://h/?bewit=<redacted> failed",
            ),
            (
                "/x?\u{e9}bewit=SECRET\u{e9}&\u{e9}",
                "/x?\u{e9}bewit=<redacted>&\u{e9}",
            ),
            ("/x?bbewit=SECRET", "/x?bbewit=<redacted>"),
            ("/x?bebewit=SECRET", "/x?bebewit=<redacted>"),
            ("/x?bewit=<redacted>", "/x?bewit=<redacted>"),
        ] {
            assert_eq!(redact(text), clean);
            assert!(!redact(text).contains("ECRET"), "{text}");
        }
    }

    #[test]
    fn what_a_url_says_of_a_user_is_taken_out() {
        for (text, clean) in [
            ("http://me:SECRET@h/x", "http://<redacted>@h/x"),
            ("http://me@h", "http://<redacted>@h"),
            ("http://a@b:SECRET@h/x@y", "http://<redacted>@h/x@y"),
            ("http://me:S:E/x@y", "http://me:S:E/x@y"),
            ("/x?u=http://me:SECRET@h/", "/x?u=http://<redacted>@h/"),
            (
                "/x?u=http%3A%2F%2Fme%3ASECRET%40h%2Fx",
                "/x?u=http%3A%2F%2F<redacted>%40h%2Fx",
            ),
            ("http://me:SECRET%40@h/x", "http://<redacted>@h/x"),
            (
                "http://me:SECRET@h/?bewit=SECRET",
                "http://<redacted>@h/?bewit=<redacted>",
            ),
            ("http://@h/x", "http://@h/x"),
        ] {
            assert_eq!(redact(text), clean);
        }
    }

    #[test]
    fn what_holds_no_secret_is_not_copied() {
        for text in [
            "",
            "/queue/v1/task/x/artifacts/public%2Flog.txt?a=b&c=%20%",
            "/x?bewit",
            "/x?bewit=",
            "/x?bewit=&a",
            "/x?bewi=t",
            "/bewit",
            "/bewit/x",
            "mail@example.com",
            "/x@y?a=b:c/d@e",
            "http://h:8080/x@y",
            "http://h?x@y",
            "%",
            "%%%4",
            "b%",
            "bewi%7",
            "\u{e9}\u{10ffff}=@%",
        ] {
            assert!(
                matches!(redact(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn finds_a_bewit_among_the_parameters() {
        for (query, has) in [
            ("", false),
            ("a=b", false),
            ("bewit=x", true),
            ("a&bewit=x&b", true),
            ("bewit", true),
            ("bewit=", true),
            ("BEWIT=x", true),
            ("a=b&b%65w%69t=x", true),
            ("a=b?bewit=x", true),
            ("a;bewit=x", true),
            ("a=bewit", false),
            ("bewits=x", false),
            ("a=bewit=x", false),
            ("mybewit=x", false),
        ] {
            assert_eq!(has_bewit(query), has, "{query}");
        }
    }
}
