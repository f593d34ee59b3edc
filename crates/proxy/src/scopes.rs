//! Scopes that a request asks to be signed for, and whether the proxy may sign for them.
//!
//! `X-Taskcluster-Authorized-Scopes` can only ever narrow: without a restriction of the proxy any
//! list is a subset of what the credentials hold (the auth service checks that), and with one every
//! scope asked for must be satisfied by it. Roles are not expanded: only the auth service knows
//! them.

use http::header::GetAll;
use http::{HeaderName, HeaderValue, StatusCode};
use thiserror::Error;

/// Request header by which a request narrows its signature, response header by which the proxy
/// says so. It never goes upstream.
pub const AUTHORIZED_SCOPES: HeaderName =
    HeaderName::from_static("x-taskcluster-authorized-scopes");

/// Why a request's own scopes are refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NarrowingError {
    /// More than one header field: which of them counts is not certain.
    #[error("send X-Taskcluster-Authorized-Scopes once")]
    Repeated,
    /// Not a JSON array of strings.
    #[error("X-Taskcluster-Authorized-Scopes must be a JSON array of strings")]
    Malformed,
    /// A string that is no scope.
    #[error("X-Taskcluster-Authorized-Scopes must hold scopes of printable ASCII characters")]
    NotAScope,
    /// A scope that the proxy's restriction does not satisfy.
    #[error("this proxy may not sign for scope {0}")]
    NotSatisfied(String),
}

impl NarrowingError {
    /// 400 for a header that is not understood, 403 for a scope that is not to be had.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotSatisfied(_) => StatusCode::FORBIDDEN,
            Self::Repeated | Self::Malformed | Self::NotAScope => StatusCode::BAD_REQUEST,
        }
    }
}

/// The scopes that a request's header fields ask for; `None` where there is no such field, which is
/// not the same as an empty list.
pub fn parse_narrowing(
    values: GetAll<'_, HeaderValue>,
) -> Result<Option<Vec<String>>, NarrowingError> {
    let mut values = values.iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(NarrowingError::Repeated);
    }
    let scopes: Vec<String> =
        serde_json::from_slice(value.as_bytes()).map_err(|_| NarrowingError::Malformed)?;
    if scopes.iter().all(|scope| is_scope(scope)) {
        Ok(Some(scopes))
    } else {
        Err(NarrowingError::NotAScope)
    }
}

/// Whether `asked` is within `restriction`; `None` restricts nothing.
pub fn narrow(restriction: Option<&[String]>, asked: &[String]) -> Result<(), NarrowingError> {
    let Some(have) = restriction else {
        return Ok(());
    };
    match asked.iter().find(|want| !satisfies(have, want)) {
        None => Ok(()),
        Some(want) => Err(NarrowingError::NotSatisfied(want.clone())),
    }
}

/// Whether one of `have` is `want`, or ends in `*` and what comes before it begins `want`.
pub fn satisfies(have: &[String], want: &str) -> bool {
    have.iter().any(|have| match have.strip_suffix('*') {
        Some(prefix) => want.starts_with(prefix),
        None => have == want,
    })
}

/// Printable ASCII, as Taskcluster's schemas have it: `^[ -~]*$`.
pub fn is_scope(scope: &str) -> bool {
    scope.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}
