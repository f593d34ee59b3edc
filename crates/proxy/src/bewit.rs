//! What `POST /bewit` asks to be signed: one absolute URL.
//!
//! The URL is signed as it is written. A client that rewrites it before it fetches (dot segments,
//! characters that it percent-encodes) asks for something else, and the bewit will not verify. No
//! MAC is made here.

use http::StatusCode;
use thiserror::Error;

use crate::redact::has_bewit;
use crate::route::{Origin, UrlFault, split_url};

/// Longest body of `POST /bewit` in bytes.
pub const MAX_BODY: usize = 64 * 1024;

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
    /// More than [`MAX_BODY`].
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
    /// 413 or 400.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Url(_) | Self::Byte | Self::Signed => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads the body of `POST /bewit`: a URL, with white space around it or not.
pub fn resource(body: &[u8]) -> Result<BewitResource, BewitError> {
    if body.len() > MAX_BODY {
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
    /// Whom the URL names.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query, as they are signed.
    pub fn target(&self) -> &str {
        &self.url[self.target..]
    }

    /// The URL with its bewit last. Behind a bare `?` an `&` is put as well: verifiers take the
    /// one character before `bewit=` away and nothing else.
    pub fn signed_url(&self, bewit: &str) -> String {
        let separator = if self.target().contains('?') {
            "&bewit="
        } else {
            "?bewit="
        };
        [&self.url, separator, bewit].concat()
    }
}
