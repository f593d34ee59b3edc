//! Bewits: a signature in the query of a URL, which lets whoever holds the URL GET it until it
//! expires.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use ring::hmac;

use crate::header::MAX_HEADER_LEN;
use crate::mac::{Kind, Normalised};
use crate::resource::SignedRequest;

/// Node's decoder, and so npm `hawk`, does not look at the bits beyond the last byte.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Why a bewit could not be read. The sentences begin as npm `hawk`'s do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BewitError {
    /// The target has no parameter `bewit`, or nothing that can be taken for its end.
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
        let bytes = URL_SAFE.decode(bewit).map_err(|_| BewitError::Encoding)?;
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

/// Whether there is anything in a target that the auth service tries to read as a bewit.
pub(crate) fn is_present(target: &str) -> bool {
    target.starts_with('/')
        && ["?bewit=", "&bewit="]
            .iter()
            .any(|name| target.contains(name))
}

/// Splits the target of a request that may have a bewit into what is signed of it, and the bewit.
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

/// As npm `hawk` has it, `^(\/.*)([\?&])bewit\=([^&$]*)(?:&(.+))?$`: of several bewits the last
/// counts that reads to its end.
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
