//! What `POST /bewit` asks to be signed: one absolute URL.
//!
//! The URL is signed as it is written. A client that rewrites it before it fetches (dot segments,
//! characters that it percent-encodes) asks for something else, and the bewit will not verify. No
//! MAC is made here.

use http::StatusCode;
use thiserror::Error;

use crate::code::Code;
use crate::decision::route::{Origin, UrlFault, split_url};
use crate::limits::BEWIT_BODY;
use crate::record::redact::has_bewit;

/// A URL that can be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BewitResource {
    origin: Origin,
    /// The URL as written, with a path and without a fragment.
    url: String,
    /// Where its request target begins.
    target: usize,
}

/// Why a body is not signed. The sentences repeat nothing of it.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum BewitError {
    /// More than [`BEWIT_BODY`].
    #[error("the URL to sign is longer than 64 KiB")]
    TooLong,
    /// Not one absolute http or https URL.
    #[error("the body must be one absolute URL: {0}")]
    Url(#[from] UrlFault),
    /// White space, control characters or anything beyond ASCII.
    #[error("the URL to sign holds a character that must be percent-encoded")]
    Byte,
    /// A second bewit would hide the first.
    #[error("the URL to sign has a bewit already: leave it out")]
    Signed,
}

impl BewitError {
    /// The error's stable code.
    pub fn code(self) -> Code {
        match self {
            Self::TooLong => Code::BewitTooLong,
            Self::Url(_) | Self::Byte | Self::Signed => Code::BewitUrl,
        }
    }

    /// The answer's status: 413 or 400.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Url(_) | Self::Byte | Self::Signed => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads the body of `POST /bewit`: a URL, with white space around it or not.
pub fn resource(body: &[u8]) -> Result<BewitResource, BewitError> {
    if body.len() > BEWIT_BODY {
        return Err(BewitError::TooLong);
    }
    let url = str::from_utf8(body.trim_ascii()).map_err(|_| BewitError::Byte)?;
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BewitError::Byte);
    }
    let (origin, rest) = split_url(url)?;
    if rest
        .split_once('?')
        .is_some_and(|(_, query)| has_bewit(query))
    {
        return Err(BewitError::Signed);
    }
    let target = url.len() - rest.len();
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Ok(BewitResource {
        origin,
        url: [&url[..target], slash, rest].concat(),
        target,
    })
}

// === impl BewitResource ===

impl BewitResource {
    /// The origin that the URL names.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query, as they are signed.
    pub fn target(&self) -> &str {
        &self.url[self.target..]
    }

    /// The URL with its bewit last. An `&` is added behind a bare `?`, too: verifiers remove
    /// exactly one character before `bewit=`.
    pub fn signed_url(&self, bewit: &str) -> String {
        let separator = if self.target().contains('?') {
            "&bewit="
        } else {
            "?bewit="
        };
        [&self.url, separator, bewit].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_signed_as_it_is_written() {
        for (body, target, signed) in [
            ("https://h.example/x", "/x", "https://h.example/x?bewit=B"),
            (
                " \r\n\thttps://h.example/x \n",
                "/x",
                "https://h.example/x?bewit=B",
            ),
            ("https://h.example", "/", "https://h.example/?bewit=B"),
            ("https://h.example?a", "/?a", "https://h.example/?a&bewit=B"),
            (
                "https://h.example/x?a=b&c",
                "/x?a=b&c",
                "https://h.example/x?a=b&c&bewit=B",
            ),
            (
                "https://h.example/x?",
                "/x?",
                "https://h.example/x?&bewit=B",
            ),
            (
                "https://h.example/x?a=%2F;+&",
                "/x?a=%2F;+&",
                "https://h.example/x?a=%2F;+&&bewit=B",
            ),
            ("https://h.example/x#f", "/x", "https://h.example/x?bewit=B"),
            (
                "https://h.example/x?a#f?bewit=x",
                "/x?a",
                "https://h.example/x?a&bewit=B",
            ),
            ("https://h.example#f", "/", "https://h.example/?bewit=B"),
            (
                "HTTP://H.example:80/X",
                "/X",
                "HTTP://H.example:80/X?bewit=B",
            ),
            ("http://[::1]:8080/x", "/x", "http://[::1]:8080/x?bewit=B"),
            (
                "http://localhost/a//b/../c/%2e/%252F/",
                "/a//b/../c/%2e/%252F/",
                "http://localhost/a//b/../c/%2e/%252F/?bewit=B",
            ),
            (
                "https://h.example/bewit=x",
                "/bewit=x",
                "https://h.example/bewit=x?bewit=B",
            ),
            (
                "https://h.example/x?bewits=y",
                "/x?bewits=y",
                "https://h.example/x?bewits=y&bewit=B",
            ),
        ] {
            let resource = resource(body.as_bytes()).expect(body);
            assert_eq!(resource.target(), target, "{body}");
            assert_eq!(resource.signed_url("B"), signed, "{body}");
        }
    }

    #[test]
    fn the_origin_gives_host_and_port_to_sign() {
        for (body, host, port) in [
            ("https://H.example/x", "h.example", 443),
            ("http://h.example/x", "h.example", 80),
            ("http://h.example:/x", "h.example", 80),
            ("https://h.example:8443/x", "h.example", 8443),
            ("https://[::1]/x", "[::1]", 443),
        ] {
            let resource = resource(body.as_bytes()).expect(body);
            assert_eq!(
                (resource.origin().host(), resource.origin().port()),
                (host, port)
            );
        }
    }

    #[test]
    fn a_verifier_finds_the_target_that_was_signed() {
        // As Hawk has it: the last `?` or `&` before `bewit=`, and nothing behind it.
        for url in [
            "https://h/x",
            "https://h/x?",
            "https://h/x?a",
            "https://h?",
            "https://h/?&",
        ] {
            let resource = resource(url.as_bytes()).expect(url);
            let signed = resource.signed_url("B");
            let (verified, bewit) = signed.rsplit_once(['?', '&']).expect("a parameter");
            assert_eq!(bewit, "bewit=B");
            assert_eq!(&verified["https://h".len()..], resource.target());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (body, error) in [
            ("", BewitError::Url(UrlFault::Scheme)),
            ("   ", BewitError::Url(UrlFault::Scheme)),
            ("/queue/v1/x", BewitError::Url(UrlFault::Scheme)),
            ("h.example/x", BewitError::Url(UrlFault::Scheme)),
            ("//h.example/x", BewitError::Url(UrlFault::Scheme)),
            ("ftp://h.example/x", BewitError::Url(UrlFault::Scheme)),
            ("javascript:alert(1)", BewitError::Url(UrlFault::Scheme)),
            (
                "{\"url\":\"https://h.example/x\"}",
                BewitError::Url(UrlFault::Scheme),
            ),
            ("https://", BewitError::Url(UrlFault::Host)),
            ("https:///x", BewitError::Url(UrlFault::Host)),
            ("https://h..example/x", BewitError::Url(UrlFault::Host)),
            (
                "https://good.example\\.evil.example/x",
                BewitError::Url(UrlFault::Host),
            ),
            (
                "https://me:secret@h.example/x",
                BewitError::Url(UrlFault::User),
            ),
            ("https://h.example:0/x", BewitError::Url(UrlFault::Port)),
            ("https://h.example/a b", BewitError::Byte),
            ("https://h.example/a\nb", BewitError::Byte),
            ("https://h.example/x\r\nSet-Cookie: a", BewitError::Byte),
            ("https://h.example/b\u{fc}cher", BewitError::Byte),
            ("https://h.example/\u{7f}", BewitError::Byte),
            ("https://h.example/x?bewit=y", BewitError::Signed),
            ("https://h.example/x?a&b%65wit=y", BewitError::Signed),
            ("https://h.example/x?a?bewit=y", BewitError::Signed),
        ] {
            assert_eq!(resource(body.as_bytes()), Err(error), "{body}");
        }
        assert_eq!(resource(b"https://h.example/\xff"), Err(BewitError::Byte));
        assert_eq!(
            resource(&vec![b'x'; BEWIT_BODY + 1]),
            Err(BewitError::TooLong)
        );
        let longest = format!("https://h.example/{}", "x".repeat(BEWIT_BODY - 18));
        assert!(resource(longest.as_bytes()).is_ok());
    }

    #[test]
    fn each_refusal_has_its_status_and_says_what_to_do() {
        for (error, status, sentence) in [
            (
                BewitError::TooLong,
                413,
                "the URL to sign is longer than 64 KiB",
            ),
            (
                BewitError::Url(UrlFault::Scheme),
                400,
                "the body must be one absolute URL: it must begin with http:// or https://",
            ),
            (
                BewitError::Byte,
                400,
                "the URL to sign holds a character that must be percent-encoded",
            ),
            (
                BewitError::Signed,
                400,
                "the URL to sign has a bewit already: leave it out",
            ),
        ] {
            assert_eq!(error.status(), status);
            assert_eq!(error.to_string(), sentence);
        }
    }
}
