//! Verification, by the rules of Taskcluster's auth service (`signaturevalidator.js` over npm
//! `hawk`'s `lib/server.js`), in its order.
//!
//! It has two steps, since the access token must be looked up in between: a [`Claim`] is what a
//! request says of itself, and [`Claim::verify`] finds out whether it is true. What the client may
//! then do is the caller's to find out; [`Verified`] says which scopes to ask about.

use crate::bewit::{self, Bewit, BewitError};
use crate::certificate::{CertificateError, Temporary};
use crate::challenge::{challenge, seconds};
use crate::ext::{self, Ext};
use crate::header::{self, HeaderError};
use crate::mac::{self, Kind, Normalised};
use crate::resource::SignedRequest;

/// By how many seconds the time of a header may differ from the verifier's, by Hawk's default. The
/// auth service allows 15 minutes.
pub const DEFAULT_TIMESTAMP_SKEW: u64 = 60;

/// What a request claims by its header or bewit. Nothing of it is known to be true.
pub struct Claim<'a> {
    ext: Ext,
    proof: Proof<'a>,
}

enum Proof<'a> {
    Header(Header<'a>),
    Bewit(Bewit),
}

/// The attributes of an `Authorization` header.
struct Header<'a> {
    id: &'a str,
    ts: &'a str,
    nonce: &'a str,
    hash: Option<&'a str>,
    ext: Option<&'a str>,
    mac: &'a str,
    app: Option<(&'a str, &'a str)>,
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

/// Why a request was refused. The sentences begin as npm `hawk`'s and the auth service's do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The bewit cannot be read, or has expired.
    #[error(transparent)]
    Bewit(#[from] BewitError),
    /// One of `id`, `ts`, `nonce` and `mac` is not there.
    #[error("Missing attributes: give id, ts, nonce and mac")]
    Attributes,
    /// `ext` is not base64 of a JSON object.
    #[error("Failed to parse ext: make it the base64 of a JSON object, or leave it out")]
    Ext,
    /// `authorizedScopes` in `ext` is not an array of strings of printable ASCII.
    #[error("ext.authorizedScopes must be an array of valid scopes: use printable ASCII only")]
    AuthorizedScopes,
    /// The certificate in `ext` was refused.
    #[error("ext.{0}")]
    Certificate(#[from] CertificateError),
    /// The MAC is not that of the request by the client's key.
    #[error(
        "Bad mac: check the access token, and that method and URL are sent as they were signed"
    )]
    Mac,
    /// A payload hash is asked for and there is none.
    #[error("Missing required payload hash: sign the body too")]
    NoPayloadHash,
    /// The payload hash is of another body or content type.
    #[error("Bad payload hash: send the body and content type that were signed")]
    PayloadHash,
    /// `ts` is not a number. Npm `hawk` takes that for a time that is always right.
    #[error("Invalid timestamp: give ts in whole seconds since the epoch")]
    Timestamp,
    /// The header's time is too far from ours.
    #[error("Stale timestamp: set the clock by the ts of the challenge and sign again")]
    StaleTimestamp {
        /// The value of the `WWW-Authenticate` header that tells the client the time.
        challenge: String,
    },
}

impl VerifyError {
    /// The status that npm `hawk` answers with: 400 for what is malformed, else 401.
    pub fn status(&self) -> u16 {
        match self {
            Self::Header(HeaderError::NotHawk) => 401,
            Self::Bewit(
                BewitError::TooLong
                | BewitError::Encoding
                | BewitError::Structure
                | BewitError::Attributes,
            )
            | Self::Header(_)
            | Self::Attributes => 400,
            _ => 401,
        }
    }
}

impl<'a> Claim<'a> {
    /// What a request claims: by its `Authorization` header if it has one, else by its bewit, else
    /// nothing.
    pub fn of(
        request: &SignedRequest<'_>,
        authorization: Option<&'a str>,
    ) -> Result<Option<Self>, VerifyError> {
        match authorization {
            Some(authorization) => Self::from_header(authorization).map(Some),
            None if bewit::is_present(request.target) => Self::from_bewit(request).map(Some),
            None => Ok(None),
        }
    }

    /// What a request claims by its `Authorization` header.
    pub fn from_header(authorization: &'a str) -> Result<Self, VerifyError> {
        let names = ["id", "ts", "nonce", "mac", "hash", "ext", "app", "dlg"];
        let [id, ts, nonce, mac, hash, ext, app, dlg] = header::attributes(authorization, &names)?;
        let (Some(id), Some(ts), Some(nonce), Some(mac)) = (id, ts, nonce, mac) else {
            return Err(VerifyError::Attributes);
        };
        let app = app.map(|app| (app, dlg.unwrap_or_default()));
        let proof = Proof::Header(Header {
            id,
            ts,
            nonce,
            hash,
            ext,
            mac,
            app,
        });
        Self::new(ext, proof)
    }

    /// What a request claims by the bewit in its target.
    pub fn from_bewit(request: &SignedRequest<'_>) -> Result<Self, VerifyError> {
        let bewit = Bewit::read(request)?;
        let ext = bewit.ext.clone();
        Self::new(
            Some(ext.as_str()).filter(|ext| !ext.is_empty()),
            Proof::Bewit(bewit),
        )
    }

    fn new(ext: Option<&str>, proof: Proof<'a>) -> Result<Self, VerifyError> {
        let ext = ext.map(ext::decode).transpose()?.unwrap_or_default();
        let claim = Self { ext, proof };
        if claim.issuer() == Some(claim.client_id()) {
            return Err(CertificateError::IssuerIsClient.into());
        }
        Ok(claim)
    }

    /// Who claims to ask.
    pub fn client_id(&self) -> &str {
        match &self.proof {
            Proof::Header(header) => header.id,
            Proof::Bewit(bewit) => &bewit.id,
        }
    }

    /// Whose access token decides: the certificate's issuer, or the client itself.
    pub fn issuing_client_id(&self) -> &str {
        self.issuer().unwrap_or_else(|| self.client_id())
    }

    fn issuer(&self) -> Option<&str> {
        self.ext.certificate.as_ref()?.issuer()
    }

    /// Finds out whether the claim is true of `request`. `access_token` is the one of
    /// [`Claim::issuing_client_id`].
    pub fn verify(
        &self,
        request: &SignedRequest<'_>,
        access_token: &str,
        verification: &Verification<'_>,
    ) -> Result<Verified, VerifyError> {
        let temporary = match &self.ext.certificate {
            Some(certificate) => {
                Some(certificate.verify(self.client_id(), access_token, verification.now)?)
            }
            None => None,
        };
        let key = temporary
            .as_ref()
            .map_or(access_token, |(_, access_token)| access_token);
        let (ts, nonce, payload_hash) = match &self.proof {
            Proof::Header(header) => {
                let ts = header.verify(request, key, verification)?;
                (
                    ts,
                    Some(header.nonce.to_owned()),
                    header.hash.map(str::to_owned),
                )
            }
            Proof::Bewit(bewit) => {
                if !bewit.signs(request, &mac::key(key))? {
                    return Err(VerifyError::Mac);
                }
                (bewit.expiry(verification.now)?, None, None)
            }
        };
        Ok(Verified {
            client_id: self.client_id().to_owned(),
            issuing_client_id: self.issuing_client_id().to_owned(),
            temporary: temporary.map(|(limits, _)| limits),
            authorized_scopes: self.ext.authorized_scopes.clone(),
            ts,
            nonce,
            payload_hash,
        })
    }
}

impl std::fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("client_id", &self.client_id())
            .field("ext", &self.ext)
            .finish_non_exhaustive()
    }
}

impl Header<'_> {
    /// Checks MAC, payload hash and time, in this order, and returns the time.
    fn verify(
        &self,
        request: &SignedRequest<'_>,
        access_token: &str,
        verification: &Verification<'_>,
    ) -> Result<u64, VerifyError> {
        let normalised = Normalised {
            kind: Kind::Header,
            ts: self.ts,
            nonce: self.nonce,
            request,
            hash: self.hash.unwrap_or_default(),
            ext: self.ext.unwrap_or_default(),
            app: self.app,
        };
        if !normalised.verify(&mac::key(access_token), self.mac) {
            return Err(VerifyError::Mac);
        }
        // Both hashes are known to whoever sent the body, so there is no timing to hide.
        match (verification.payload_hash, self.hash) {
            (Some(_), None) => return Err(VerifyError::NoPayloadHash),
            (Some(body), Some(signed)) if body != signed => return Err(VerifyError::PayloadHash),
            _ => {}
        }
        let ts = seconds(self.ts).ok_or(VerifyError::Timestamp)?;
        let difference = ts.saturating_mul(1000).abs_diff(verification.now);
        if difference > verification.timestamp_skew.saturating_mul(1000) {
            let challenge = challenge(access_token, verification.now / 1000);
            return Err(VerifyError::StaleTimestamp { challenge });
        }
        Ok(ts)
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
