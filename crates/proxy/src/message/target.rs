//! The request target: its origin form, and which of its bytes go out as they came (RFC 9112 3.2).
//!
//! What it is not: it knows no route.

use std::borrow::Cow;

use http::uri::{Scheme, Uri};
use memchr::memchr;
use thiserror::Error;

/// Why a request target is refused.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// `*`, an authority, or a scheme other than http and https.
    #[error("the request target must be a path or an absolute http URL")]
    Form,
    /// Absolute form with `user@` (RFC 9110 4.2.4).
    #[error("the request target must not name a user")]
    User,
    /// A byte that HTTP does not carry unchanged.
    #[error("the request target holds a character that must be percent-encoded")]
    Byte,
    /// `#`, which ends a URL before the server sees it.
    #[error("the request target holds a raw #: percent-encode it as %23")]
    Fragment,
    /// Longer than any header limit.
    #[error("the request target is too long")]
    TooLong,
}

/// The origin form of a request's target: its path and query, `/` where an absolute form has no
/// path.
pub fn request_target(uri: &Uri) -> Result<Cow<'_, str>, TargetError> {
    if let Some(scheme) = uri.scheme() {
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(TargetError::Form);
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(TargetError::User);
        }
    }
    let target = uri.path_and_query().ok_or(TargetError::Form)?.as_str();
    match target.as_bytes().first() {
        Some(b'/') => Ok(Cow::Borrowed(target)),
        Some(b'?') => Ok(Cow::Owned(["/", target].concat())),
        _ => Err(TargetError::Form),
    }
}

/// Whether every byte of a raw request target is one that goes out as it came: what the `http` crate
/// lets stand in a path and, past `?`, in a query, which is more than RFC 3986 has (`"` and `{` in a
/// path, `|`). It must be asked of the bytes as they came: [`Uri`] silently drops a fragment.
pub fn check_target(target: &[u8]) -> Result<(), TargetError> {
    let path_end = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path_end);
    let refused = path.iter().find(|byte| !IN_PATH[usize::from(**byte)]);
    match refused.or_else(|| query.iter().find(|byte| !stands_in_query(**byte))) {
        None => Ok(()),
        Some(b'#') => Err(TargetError::Fragment),
        Some(_) => Err(TargetError::Byte),
    }
}

const fn stands_in_path(byte: u8) -> bool {
    matches!(byte, 0x21..=0x22 | 0x24..=0x3b | 0x3d | 0x40..=0x5f | 0x61..=0x7e)
}

/// [`stands_in_path`] of every byte.
const IN_PATH: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        #[expect(clippy::cast_possible_truncation, reason = "it is less than 256")]
        let stands = stands_in_path(byte as u8);
        table[byte] = stands;
        byte += 1;
    }
    table
};

const fn stands_in_query(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e)
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;

    #[test]
    fn absolute_targets_become_origin_form() {
        for (uri, expected) in [
            ("/queue/v1/x?", Ok("/queue/v1/x?")),
            ("//x", Ok("//x")),
            ("http://taskcluster/queue/v1/x?y", Ok("/queue/v1/x?y")),
            ("http://taskcluster//queue//v1/", Ok("//queue//v1/")),
            ("https://taskcluster:80/queue/v1/", Ok("/queue/v1/")),
            ("http://taskcluster", Ok("/")),
            ("http://taskcluster/", Ok("/")),
            ("http://taskcluster?x", Ok("/?x")),
            ("http://taskcluster?", Ok("/?")),
            ("*", Err(TargetError::Form)),
            ("taskcluster:80", Err(TargetError::Form)),
            ("ftp://taskcluster/queue/v1/x", Err(TargetError::Form)),
            ("http://user@taskcluster/queue/v1/x", Err(TargetError::User)),
        ] {
            let parsed: Uri = uri.parse().expect(uri);
            let expected = expected.map(Cow::Borrowed);
            assert_eq!(request_target(&parsed), expected, "{uri}");
        }
    }

    #[test]
    fn every_target_that_passes_is_read_whole_by_the_http_crate() {
        for byte in 0..=255u8 {
            for prefix in ["/a", "/a?"] {
                let target = [prefix.as_bytes(), &[byte]].concat();
                let read = Uri::try_from(&target[..]).ok();
                let read = read
                    .as_ref()
                    .and_then(Uri::path_and_query)
                    .map(PathAndQuery::as_str);
                let whole = byte < 0x80 && read.is_some_and(|read| read.as_bytes() == target);
                assert_eq!(check_target(&target).is_ok(), whole, "{prefix}{byte:#x}");
            }
        }
    }
}
