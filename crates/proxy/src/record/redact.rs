//! Removes secrets from request targets and URLs before they are written: the values of `bewit`, and
//! the user and password of a URL.
//!
//! It reads a text as a decoder would, however often its characters are percent-encoded, since people
//! and programs that decode read a log. In doubt it removes too much. It is not a URL parser and
//! changes no request.

use std::borrow::Cow;

/// Stands where a secret stood.
const REDACTED: &str = "<redacted>";

/// How often a text is decoded round by round; after these rounds it is decoded to its end. Each
/// round may hold a secret that the others do not: a digit of an encoding is a letter to a reader
/// that decodes less.
const ROUNDS: usize = 4;

/// A character as a decoder reads it, and where it stands in the text.
#[derive(Clone, Copy)]
struct Decoded {
    byte: u8,
    start: usize,
    end: usize,
    /// How often it is percent-encoded.
    depth: usize,
}

/// `text` without secrets; borrowed where it held none.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = redact_once(text);
    // Where one secret overlaps the end of another, the other one ends later now.
    while let Cow::Owned(once) = &clean {
        let again = redact_once(once);
        if again == *once {
            break;
        }
        clean = Cow::Owned(again.into_owned());
    }
    clean
}

fn redact_once(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if memchr::memchr3(b'%', b'=', b'@', bytes).is_none() {
        return Cow::Borrowed(text);
    }
    let mut secrets = Vec::new();
    let mut read = as_it_came(bytes);
    for round in 1.. {
        find_secrets(&read, &mut secrets);
        let again = if round < ROUNDS {
            decode_once(&read)
        } else {
            // A round that is not looked at may have `%bewit=`, in which `%be` is no byte to its reader. No
            // encoding of the name has the digit `b`.
            let without_b = |digit: u8| !digit.eq_ignore_ascii_case(&b'b');
            find_secrets(&decode(bytes, without_b), &mut secrets);
            decode(bytes, |_| true)
        };
        if again.len() == read.len() {
            break;
        }
        read = again;
    }
    secrets.sort_unstable();
    let mut clean = String::new();
    let mut copied = 0;
    for (start, end) in secrets {
        if start >= copied {
            clean.push_str(&text[copied..start]);
            clean.push_str(REDACTED);
        }
        copied = copied.max(end);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

/// Adds the bounds, in the text, of the secrets that a reader of `read` sees.
fn find_secrets(read: &[Decoded], secrets: &mut Vec<(usize, usize)>) {
    let mut at = 0;
    while at < read.len() {
        let secret = match read[at].byte {
            b'b' | b'B' => bewit_value(read, at),
            b':' => userinfo(read, at),
            _ => None,
        };
        let Some((start, end)) = secret else {
            at += 1;
            continue;
        };
        secrets.push((read[start].start, read[end - 1].end));
        at = end;
    }
}

/// Whether a query has a parameter `bewit`, its name spelled in any case or percent-encoding.
pub fn has_bewit(query: &str) -> bool {
    query.split(['&', '?', ';']).any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let name = decode(name.as_bytes(), |_| true);
        reads(&name, 0, b"bewit") == Some(name.len())
    })
}

/// Bounds of the value of the `bewit=` that begins at `at`.
fn bewit_value(text: &[Decoded], at: usize) -> Option<(usize, usize)> {
    let start = reads(text, at + 1, b"ewit=")?;
    let length = text[start..].iter().position(|read| {
        // A percent-encoded `&` may be part of the value.
        read.depth == 0
            && (matches!(read.byte, b'&' | b';' | b'#') || read.byte.is_ascii_whitespace())
    });
    let end = length.map_or(text.len(), |length| start + length);
    (end > start).then_some((start, end))
}

/// Bounds of what stands between a `://` at `at` and the last `@` of that authority.
fn userinfo(text: &[Decoded], at: usize) -> Option<(usize, usize)> {
    let start = reads(text, at, b"://")?;
    // A character that is encoded once more than the URL may be part of a password.
    let url = text[at..start].iter().map(|read| read.depth).max()?;
    let ends = |read: &&Decoded| {
        let delimits = matches!(read.byte, b'/' | b'?' | b'#') || read.byte.is_ascii_whitespace();
        delimits && read.depth <= url
    };
    let authority = text[start..].iter().take_while(|read| !ends(read));
    let end = authority
        .enumerate()
        .filter(|(_, read)| read.byte == b'@')
        .last();
    end.map(|(length, _)| (start, start + length))
        .filter(|(start, end)| end > start)
}

/// Where `word` (lower case) ends if it stands at `at`.
fn reads(text: &[Decoded], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    let found = text.get(at..end)?;
    let mut pairs = found.iter().zip(word);
    pairs
        .all(|(read, expected)| read.byte.eq_ignore_ascii_case(expected))
        .then_some(end)
}

fn as_it_came(text: &[u8]) -> Vec<Decoded> {
    let places = text.iter().enumerate();
    let read = places.map(|(at, byte)| Decoded {
        byte: *byte,
        start: at,
        end: at + 1,
        depth: 0,
    });
    read.collect()
}

/// `read`, percent-decoded once more.
fn decode_once(read: &[Decoded]) -> Vec<Decoded> {
    let mut again = Vec::with_capacity(read.len());
    let mut rest = read;
    while let [first, behind @ ..] = rest {
        let encoded = match behind {
            [high, low, ..] if first.byte == b'%' => encoded_by(first, high, low),
            _ => None,
        };
        rest = if encoded.is_some() {
            &rest[3..]
        } else {
            behind
        };
        again.push(encoded.unwrap_or(*first));
    }
    again
}

/// The character that a percent sign and two digits stand for.
fn encoded_by(percent: &Decoded, high: &Decoded, low: &Decoded) -> Option<Decoded> {
    let digit = |read: &Decoded| char::from(read.byte).to_digit(16);
    let byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    Some(Decoded {
        byte,
        start: percent.start,
        end: low.end,
        depth: 1 + percent.depth.max(high.depth).max(low.depth),
    })
}

/// `text`, percent-decoded as often as it takes, the digits of an encoding included, as far as they may be
/// digits.
fn decode(text: &[u8], may_be_digit: impl Fn(u8) -> bool) -> Vec<Decoded> {
    let mut read: Vec<Decoded> = Vec::with_capacity(text.len());
    for next in as_it_came(text) {
        read.push(next);
        while let [.., percent, high, low] = &read[..]
            && percent.byte == b'%'
            && may_be_digit(high.byte)
            && may_be_digit(low.byte)
            && let Some(encoded) = encoded_by(percent, high, low)
        {
            read.truncate(read.len() - 3);
            read.push(encoded);
        }
    }
    read
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
            ("/x?b%2%3565wit=SECRET", "/x?b%2%3565wit=<redacted>"),
            ("/x?a%2bewit=SECRET", "/x?a%2bewit=<redacted>"),
            ("/x?b%65wit%bewit=SECRET", "/x?b%65wit%bewit=<redacted>"),
            ("/x?a%25bewit=SECRET", "/x?a%25bewit=<redacted>"),
            (
                "/x?b%b%2%352%3565wit=SECRET",
                "/x?b%b%2%352%3565wit=<redacted>",
            ),
            (
                "/x?%b%252525252565wit=SECRET",
                "/x?%b%252525252565wit=<redacted>",
            ),
            ("/x?%2bewit=S://E;CRET@y", "/x?%2bewit=<redacted>"),
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
            ("http://me:SE%2FC%20R%3FE%23T@h/x", "http://<redacted>@h/x"),
            (
                "/x?u=http%3A%2F%2Fme%3ASE%252FCRET%40h%2Fx%40y",
                "/x?u=http%3A%2F%2F<redacted>%40h%2Fx%40y",
            ),
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
