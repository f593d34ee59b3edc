//! Verification, by the rules of Taskcluster's auth service (`signaturevalidator.js` over npm
//! `hawk`'s `lib/server.js`).
//!
//! It has two steps, since the access token must be looked up in between: a [`Claim`] is what a
//! request says of itself, and [`Claim::verify`] finds out whether it is true. What the client may
//! then do is the caller's to find out; [`Verified`] says which scopes to ask about.

use crate::certificate::CertificateError;
use crate::resource::SignedRequest;

/// By how many seconds the time of a header may differ from the verifier's, by Hawk's default.
pub const DEFAULT_TIMESTAMP_SKEW: u64 = 60;

/// What a header or a bewit claims. Nothing of it is known to be true.
#[derive(Clone, Debug)]
pub struct Claim {
    client_id: String,
    issuer: Option<String>,
}

/// The circumstances of a verification.
#[derive(Clone, Copy, Debug)]
pub struct Verification<'a> {
    /// The time, in milliseconds since the epoch.
    pub now: u64,
    /// The greatest difference between `now` and the time of a header, in seconds. Bewits have an
    /// expiry instead.
    pub timestamp_skew: u64,
    /// The [`payload_hash`](crate::payload_hash) of the body that came, to have it checked against
    /// the header's; without it the header's is only covered by its MAC.
    pub payload_hash: Option<&'a str>,
}

/// A claim that has been found true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who asks.
    pub client_id: String,
    /// Whose access token signed the request, or the certificate. Where this is not `client_id`,
    /// it must have the scope `auth:create-client:<client_id>`.
    pub issuing_client_id: String,
    /// The limits of temporary credentials. The issuer must satisfy their scopes.
    pub temporary: Option<Temporary>,
    /// What the client narrowed itself to. It must satisfy these scopes, and has no others.
    pub authorized_scopes: Option<Vec<String>>,
    /// The time of the header, or the expiry of the bewit, in seconds since the epoch.
    pub ts: u64,
    /// The nonce, for a caller that refuses the same one twice; none in a bewit.
    pub nonce: Option<String>,
    /// The payload hash that the header carries.
    pub payload_hash: Option<String>,
}

/// The limits of temporary credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// All that they may do.
    pub scopes: Vec<String>,
    /// From when they are valid, in milliseconds since the epoch.
    pub start: i64,
    /// Until when they are valid, in milliseconds since the epoch.
    pub expiry: i64,
}

/// Why a header or bewit was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No Hawk header, or no bewit.
    #[error("no Hawk credentials: sign the request, or append a bewit to its URL")]
    Missing,
    /// The certificate was refused.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The header's time is too far from ours. `challenge` is the `WWW-Authenticate` that tells the
    /// client the time.
    #[error("Stale timestamp: set the clock")]
    StaleTimestamp {
        /// For the `WWW-Authenticate` header.
        challenge: String,
    },
}

impl VerifyError {
    /// The status that npm `hawk` answers with: 400 for what is malformed, else 401.
    pub fn status(&self) -> u16 {
        401
    }
}

impl Claim {
    /// Reads an `Authorization` header.
    pub fn from_header(authorization: &str) -> Result<Self, VerifyError> {
        let _ = authorization;
        Err(VerifyError::Missing)
    }

    /// Takes the bewit out of a request's target.
    pub fn from_bewit(request: &SignedRequest<'_>) -> Result<Self, VerifyError> {
        let _ = request;
        Err(VerifyError::Missing)
    }

    /// Who claims to ask.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whose access token decides: the certificate's issuer, or the client itself.
    pub fn issuing_client_id(&self) -> &str {
        self.issuer.as_deref().unwrap_or(&self.client_id)
    }

    /// Verifies the claim. `access_token` is the one of [`Claim::issuing_client_id`].
    pub fn verify(
        &self,
        request: &SignedRequest<'_>,
        access_token: &str,
        verification: &Verification<'_>,
    ) -> Result<Verified, VerifyError> {
        let _ = (request, access_token, verification);
        Err(VerifyError::Missing)
    }
}

/// Verifies an `Authorization` header where the access token is known beforehand.
pub fn verify_header(
    request: &SignedRequest<'_>,
    authorization: &str,
    access_token: &str,
    verification: &Verification<'_>,
) -> Result<Verified, VerifyError> {
    Claim::from_header(authorization)?.verify(request, access_token, verification)
}

/// Verifies the bewit in a request's target where the access token is known beforehand. `now` is in
/// milliseconds since the epoch.
pub fn verify_bewit(
    request: &SignedRequest<'_>,
    access_token: &str,
    now: u64,
) -> Result<Verified, VerifyError> {
    let verification = Verification {
        now,
        timestamp_skew: DEFAULT_TIMESTAMP_SKEW,
        payload_hash: None,
    };
    Claim::from_bewit(request)?.verify(request, access_token, &verification)
}
