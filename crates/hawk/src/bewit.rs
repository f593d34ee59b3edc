//! Bewits: a signature in the query of a URL. Every client that has the URL can GET it until the
//! bewit expires.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use ring::hmac;

use crate::header::MAX_HEADER_LEN;
use crate::mac::{Kind, Normalised};
use crate::resource::SignedRequest;

/// Ignores the bits beyond the last whole byte, as Node's decoder and so npm `hawk` do.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Why a bewit could not be read. The sentences begin as npm `hawk`'s do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BewitError {
    /// The target has no parameter `bewit` that can be read up to its end.
    #[error("no bewit: append one to the URL as its last query parameter")]
    Missing,
    /// The target is longer than [`MAX_HEADER_LEN`].
    #[error("Resource path exceeds max length: keep it within 4096 characters, bewit included")]
    TooLong,
    /// `bewit=` with nothing behind it.
    #[error("Empty bewit: put the value behind bewit= in the URL")]
    Empty,
    /// Neither GET nor HEAD.
    #[error("Invalid method: a bewit is good for GET and HEAD only")]
    Method,
    /// Not base64url.
    #[error("Invalid bewit encoding: use the bewit unchanged, it is base64url without padding")]
    Encoding,
    /// Not four parts.
    #[error("Invalid bewit structure: use the bewit unchanged, it has id, expiry, mac and ext")]
    Structure,
    /// Id, expiry or MAC is empty.
    #[error("Missing bewit attributes: make the bewit with a client id, an expiry and a mac")]
    Attributes,
    /// The expiry is not a number of seconds.
    #[error("Invalid bewit expiry: make the bewit with an expiry in whole seconds")]
    Expiry,
    /// The expiry has passed.
    #[error("Access expired: get a new signed URL")]
    Expired,
}

/// A bewit that came in a URL.
#[derive(Clone)]
pub(crate) struct Bewit {
    pub(crate) id: String,
    pub(crate) expires: String,
    pub(crate) mac: String,
    pub(crate) ext: String,
}

/// `id\expires\mac\ext` in base64url; the backslash can be in none of them.
pub(crate) fn encode(
    id: &str,
    key: &hmac::Key,
    ext: Option<&str>,
    resource: &SignedRequest<'_>,
    expires: u64,
) -> String {
    let mut digits = itoa::Buffer::new();
    let expires = digits.format(expires);
    let ext = ext.unwrap_or_default();
    let request = SignedRequest {
        method: "GET",
        ..*resource
    };
    let mac = normalised(&request, expires, ext).mac(key);
    let parts = [id.as_bytes(), expires.as_bytes(), &mac, ext.as_bytes()];
    URL_SAFE_NO_PAD.encode(parts.join(&b'\\'))
}

impl Bewit {
    /// Takes the bewit out of a request's target.
    pub(crate) fn read(request: &SignedRequest<'_>) -> Result<Self, BewitError> {
        let (_, bewit) = split(request)?;
        let bytes = decode(bewit).ok_or(BewitError::Encoding)?;
        // Npm `hawk` takes every byte for a character, on both sides.
        let text: String = bytes.into_iter().map(char::from).collect();
        let parts: Vec<&str> = text.split('\\').collect();
        let &[id, expires, mac, ext] = parts.as_slice() else {
            return Err(BewitError::Structure);
        };
        if id.is_empty() || expires.is_empty() || mac.is_empty() {
            return Err(BewitError::Attributes);
        }
        Ok(Self {
            id: id.to_owned(),
            expires: expires.to_owned(),
            mac: mac.to_owned(),
            ext: ext.to_owned(),
        })
    }

    /// Whether the MAC is that of `request`, in constant time.
    pub(crate) fn signs(
        &self,
        request: &SignedRequest<'_>,
        key: &hmac::Key,
    ) -> Result<bool, BewitError> {
        let (target, _) = split(request)?;
        let request = SignedRequest {
            method: "GET",
            target: &target,
            ..*request
        };
        Ok(normalised(&request, &self.expires, &self.ext).verify(key, &self.mac))
    }

    /// The expiry in seconds since the epoch, if `now`, in milliseconds, is before it. Npm `hawk`
    /// takes what is not a number for an expiry that never comes; here it is refused.
    pub(crate) fn expiry(&self, now: u64) -> Result<u64, BewitError> {
        if !self.expires.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BewitError::Expiry);
        }
        let expires: u64 = self.expires.parse().map_err(|_| BewitError::Expiry)?;
        if expires.saturating_mul(1000) <= now {
            Err(BewitError::Expired)
        } else {
            Ok(expires)
        }
    }
}

/// Whether the target holds a parameter that the auth service tries to read as a bewit.
pub(crate) fn is_present(target: &str) -> bool {
    target.starts_with('/')
        && ["?bewit=", "&bewit="]
            .iter()
            .any(|name| target.contains(name))
}

/// Splits the target of a request that may have a bewit into its signed part and the bewit.
fn split<'a>(request: &SignedRequest<'a>) -> Result<(String, &'a str), BewitError> {
    if request.target.len() > MAX_HEADER_LEN {
        return Err(BewitError::TooLong);
    }
    let (target, bewit) = split_target(request.target).ok_or(BewitError::Missing)?;
    if bewit.is_empty() {
        return Err(BewitError::Empty);
    }
    if !["GET", "HEAD"]
        .iter()
        .any(|method| method.eq_ignore_ascii_case(request.method))
    {
        return Err(BewitError::Method);
    }
    Ok((target, bewit))
}

/// By npm `hawk`'s pattern, `^(\/.*)([\?&])bewit\=([^&$]*)(?:&(.+))?$`: of several bewits, the last
/// one with which the pattern matches the whole target counts.
fn split_target(target: &str) -> Option<(String, &str)> {
    if !target.starts_with('/') || target.contains(['\r', '\n', '\u{2028}', '\u{2029}']) {
        return None;
    }
    target.rmatch_indices("bewit=").find_map(|(at, name)| {
        let (before, rest) = (&target[..at], &target[at + name.len()..]);
        let separator = before
            .chars()
            .next_back()
            .filter(|c| matches!(c, '?' | '&'))?;
        let path = &before[..before.len() - 1];
        let (bewit, after) = rest.split_at(rest.find(['&', '$']).unwrap_or(rest.len()));
        match after.strip_prefix('&') {
            Some("") => None,
            Some(after) => Some((format!("{path}{separator}{after}"), bewit)),
            None if after.is_empty() => Some((path.to_owned(), bewit)),
            None => None,
        }
    })
}

fn decode(bewit: &str) -> Option<Vec<u8>> {
    let dangling = usize::from(bewit.len() % 4 == 1);
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let whole = &bewit.as_bytes()[..bewit.len() - dangling];
    bewit
        .bytes()
        .all(alphabet)
        .then(|| URL_SAFE.decode(whole).ok())?
}

fn normalised<'a>(
    request: &'a SignedRequest<'a>,
    expires: &'a str,
    ext: &'a str,
) -> Normalised<'a> {
    let ts = expires;
    Normalised {
        kind: Kind::Bewit,
        ts,
        nonce: "",
        request,
        hash: "",
        ext,
        app: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac;
    use crate::resource::Resource;

    const NOW: u64 = 1_356_420_407_232;

    fn get(target: &str) -> SignedRequest<'_> {
        SignedRequest {
            method: "GET",
            target,
            host: "example.com",
            port: 8080,
        }
    }

    fn read(target: &str) -> Result<Bewit, BewitError> {
        Bewit::read(&get(target))
    }

    /// `test/uri.js` of mozilla/hawk, `getBewit()`.
    #[test]
    fn bewits_are_those_hawk_publishes() {
        let key = mac::key("2983d45yun89q");
        let table = [
            (
                "https://example.com/somewhere/over/the/rainbow",
                Some("xandyandz"),
                "MTIzNDU2XDEzNTY0MjA3MDdca3NjeHdOUjJ0SnBQMVQxekRMTlBiQjVVaUtJVTl0T1NKWFRVZEc3WDloOD1ceGFuZHlhbmR6",
            ),
            (
                "https://example.com:8080/somewhere/over/the/rainbow",
                Some("xandyandz"),
                "MTIzNDU2XDEzNTY0MjA3MDdcaFpiSjNQMmNLRW80a3kwQzhqa1pBa1J5Q1p1ZWc0V1NOYnhWN3ZxM3hIVT1ceGFuZHlhbmR6",
            ),
            (
                "https://example.com/somewhere/over/the/rainbow",
                None,
                "MTIzNDU2XDEzNTY0MjA3MDdcSUdZbUxnSXFMckNlOEN4dktQczRKbFdJQStValdKSm91d2dBUmlWaENBZz1c",
            ),
        ];
        for (url, ext, expected) in table {
            let resource = Resource::parse(url).unwrap();
            for method in ["GET", "POST"] {
                let bewit = encode(
                    "123456",
                    &key,
                    ext,
                    &resource.request(method).unwrap(),
                    NOW / 1000 + 300,
                );
                assert_eq!(bewit, expected, "{url}");
            }
        }
    }

    /// `test/uri.js` of mozilla/hawk, `authenticate()`.
    #[test]
    fn bewits_that_hawk_publishes_verify() {
        let key = mac::key("werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn");
        let with_query = "MTIzNDU2XDQ1MTE0ODQ2MjFcMzFjMmNkbUJFd1NJRVZDOVkva1NFb2c3d3YrdEVNWjZ3RXNmOGNHU2FXQT1cc29tZS1hcHAtZGF0YQ";
        let alone = "MTIzNDU2XDQ1MTE0ODQ2NDFcZm1CdkNWT3MvcElOTUUxSTIwbWhrejQ3UnBwTmo4Y1VrSHpQd3Q5OXJ1cz1cc29tZS1hcHAtZGF0YQ";
        let table = [
            format!("/resource/4?a=1&b=2&bewit={with_query}"),
            format!("/resource/4?bewit={with_query}&a=1&b=2"),
            format!("/resource/4?a=1&bewit={with_query}&b=2"),
            format!("/resource/4?bewit={alone}"),
        ];
        for target in table {
            let bewit = read(&target).unwrap();
            assert_eq!(
                (bewit.id.as_str(), bewit.ext.as_str()),
                ("123456", "some-app-data")
            );
            assert!(bewit.signs(&get(&target), &key).unwrap(), "{target}");
            for other in [
                get(&target.replace("/4", "/5")),
                SignedRequest {
                    port: 80,
                    ..get(&target)
                },
            ] {
                assert!(!bewit.signs(&other, &key).unwrap(), "{other:?}");
            }
            assert!(bewit.expiry(4_511_484_620_999).is_ok());
            assert_eq!(bewit.expiry(4_511_484_641_000), Err(BewitError::Expired));
        }
    }

    #[test]
    fn reads_the_bewit_that_hawk_reads() {
        let table = [
            ("/a?bewit=x", "/a", "x"),
            ("/a?bewit=x&b", "/a?b", "x"),
            ("/a?b&bewit=x", "/a?b", "x"),
            ("/a?b&bewit=x&c", "/a?b&c", "x"),
            ("/?bewit=x", "/", "x"),
            ("/a?bewit=x&bewit=y", "/a?bewit=x", "y"),
            ("/a?bewit=x&bewit=y&c", "/a?bewit=x&c", "y"),
            ("/a?bewit=x&bewit=y$z", "/a?bewit=y$z", "x"),
            ("/a?bewit=x&bewit=y&", "/a?bewit=y&", "x"),
            ("/a?bewit=x&xbewit=y", "/a?xbewit=y", "x"),
            ("/a&bewit=x", "/a", "x"),
            ("/a?bewit=x?bewit=y", "/a?bewit=x", "y"),
            ("/é?bewit=x", "/é", "x"),
        ];
        for (target, url, bewit) in table {
            assert_eq!(
                split_target(target),
                Some((url.to_owned(), bewit)),
                "{target}"
            );
            assert!(is_present(target), "{target}");
        }
        for target in [
            "/a",
            "a?bewit=x",
            "/a?b=bewit=x",
            "/a/bewit=x",
            "/a?xbewit=x",
            "/a?Bewit=x",
        ] {
            assert_eq!(split_target(target), None, "{target}");
            assert!(!is_present(target), "{target}");
        }
        for target in [
            "/a?bewit=x&",
            "/a?bewit=x$",
            "/a?bewit=x$y&b",
            "/a\n?bewit=x",
        ] {
            assert_eq!(split_target(target), None, "{target}");
            assert!(is_present(target), "{target}");
        }
    }

    #[test]
    fn refuses_what_hawk_refuses() {
        use BewitError::{Attributes, Empty, Encoding, Missing, Structure, TooLong};
        let bewit = |text: &str| format!("/a?bewit={}", URL_SAFE_NO_PAD.encode(text));
        let table = [
            ("/resource/4".to_owned(), Missing),
            ("/resource/4?bewit=".to_owned(), Empty),
            ("/resource/4?bewit=&a=1".to_owned(), Empty),
            ("/resource/4?bewit=*".to_owned(), Encoding),
            ("/resource/4?bewit=YQ==".to_owned(), Encoding),
            ("/resource/4?bewit=Y%51".to_owned(), Encoding),
            ("/resource/4?bewit=YX/x".to_owned(), Encoding),
            ("/resource/4?bewit=a".to_owned(), Structure),
            ("/resource/4?bewit=abc".to_owned(), Structure),
            ("/resource/4?bewit=YVxcY1xk".to_owned(), Attributes),
            (bewit("a\\1\\m"), Structure),
            (bewit("a\\1\\m\\e\\x"), Structure),
            (bewit("\\1\\m\\e"), Attributes),
            (bewit("a\\1\\\\e"), Attributes),
            (bewit("a\\\\m\\e"), Attributes),
            (
                format!("/{}?bewit=x", "a".repeat(MAX_HEADER_LEN - 8)),
                TooLong,
            ),
        ];
        for (target, error) in table {
            assert_eq!(read(&target).err(), Some(error), "{target}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "GETX", ""] {
            let request = SignedRequest {
                method,
                ..get("/a?bewit=x")
            };
            assert_eq!(
                Bewit::read(&request).err(),
                Some(BewitError::Method),
                "{method}"
            );
        }
        for method in ["GET", "HEAD", "get", "Head"] {
            let target = bewit("a\\1\\m\\");
            assert!(
                Bewit::read(&SignedRequest {
                    method,
                    ..get(&target)
                })
                .is_ok(),
                "{method}"
            );
        }
    }

    #[test]
    fn an_expiry_is_seconds_and_nothing_else() {
        let expiry = |expires: &str, now| {
            let (id, mac, ext) = Default::default();
            Bewit {
                id,
                expires: expires.to_owned(),
                mac,
                ext,
            }
            .expiry(now)
        };
        assert_eq!(expiry("2", 1999), Ok(2));
        assert_eq!(expiry("2", 2000), Err(BewitError::Expired));
        assert_eq!(expiry("18446744073709551615", 2000), Ok(u64::MAX));
        for expires in [
            "x",
            "1e9",
            "-1",
            "+5",
            "5 ",
            "0x10",
            "5.0",
            "18446744073709551616",
        ] {
            assert_eq!(expiry(expires, 0), Err(BewitError::Expiry), "{expires}");
        }
    }

    #[test]
    fn says_what_to_do() {
        let table = [
            (
                BewitError::Missing,
                "no bewit: append one to the URL as its last query parameter",
            ),
            (
                BewitError::TooLong,
                "Resource path exceeds max length: keep it within 4096 characters, bewit included",
            ),
            (
                BewitError::Empty,
                "Empty bewit: put the value behind bewit= in the URL",
            ),
            (
                BewitError::Method,
                "Invalid method: a bewit is good for GET and HEAD only",
            ),
            (
                BewitError::Encoding,
                "Invalid bewit encoding: use the bewit unchanged, it is base64url without padding",
            ),
            (
                BewitError::Structure,
                "Invalid bewit structure: use the bewit unchanged, it has id, expiry, mac and ext",
            ),
            (
                BewitError::Attributes,
                "Missing bewit attributes: make the bewit with a client id, an expiry and a mac",
            ),
            (
                BewitError::Expiry,
                "Invalid bewit expiry: make the bewit with an expiry in whole seconds",
            ),
            (BewitError::Expired, "Access expired: get a new signed URL"),
        ];
        for (error, sentence) in table {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
