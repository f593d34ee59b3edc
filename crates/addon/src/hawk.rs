//! Hawk for TypeScript: signing, verifying, temporary credentials. Rules are in `crates/hawk`.

use napi::{Either, Error};
use napi_derive::napi;
use taskcluster_proxy_hawk as hawk;

/// An error with its code, which becomes `code` of the JavaScript error.
pub type Coded = Error<&'static str>;

/// See `NativeCredentials` in `ts/native.ts`, which also describes the types below.
#[napi(object)]
pub struct NativeCredentials {
    pub client_id: String,
    pub access_token: String,
    #[napi(ts_type = "string | undefined")]
    pub certificate: Option<String>,
}

impl NativeCredentials {
    /// The credentials as the crates want them.
    pub fn check(&self) -> Result<hawk::Credentials, Coded> {
        hawk::Credentials::new(
            &self.client_id,
            &self.access_token,
            self.certificate.as_deref(),
        )
        .map_err(|error| Error::new("ERR_CREDENTIALS", error.to_string()))
    }
}

impl From<hawk::Credentials> for NativeCredentials {
    fn from(credentials: hawk::Credentials) -> Self {
        Self {
            client_id: credentials.client_id,
            access_token: credentials.access_token,
            certificate: credentials.certificate.map(|c| c.as_json().to_owned()),
        }
    }
}

#[napi(object)]
pub struct NativeRequest {
    pub method: String,
    pub target: String,
    pub host: String,
    pub port: u16,
}

impl NativeRequest {
    fn signed(&self) -> hawk::SignedRequest<'_> {
        hawk::SignedRequest {
            method: &self.method,
            target: &self.target,
            host: &self.host,
            port: self.port,
        }
    }
}

#[napi(object)]
pub struct NativeClaim {
    pub client_id: String,
    pub issuing_client_id: String,
}

#[napi(object)]
pub struct NativeVerification {
    pub now: i64,
    pub timestamp_skew: Option<u32>,
    pub payload_hash: Option<String>,
}

impl NativeVerification {
    fn circumstances(&self) -> hawk::Verification<'_> {
        hawk::Verification {
            now: self.now.try_into().unwrap_or(0),
            timestamp_skew: self
                .timestamp_skew
                .map_or(hawk::DEFAULT_TIMESTAMP_SKEW, u64::from),
            payload_hash: self.payload_hash.as_deref(),
        }
    }
}

#[napi(object)]
pub struct NativeTemporary {
    pub scopes: Vec<String>,
    pub start: i64,
    pub expiry: i64,
}

#[napi(object)]
pub struct NativeVerified {
    pub client_id: String,
    pub issuing_client_id: String,
    pub temporary: Option<NativeTemporary>,
    pub authorized_scopes: Option<Vec<String>>,
    pub ts: i64,
    pub nonce: Option<String>,
    pub payload_hash: Option<String>,
}

impl From<hawk::Verified> for NativeVerified {
    fn from(verified: hawk::Verified) -> Self {
        Self {
            client_id: verified.client_id,
            issuing_client_id: verified.issuing_client_id,
            temporary: verified.temporary.map(|temporary| NativeTemporary {
                scopes: temporary.scopes,
                start: temporary.start,
                expiry: temporary.expiry,
            }),
            authorized_scopes: verified.authorized_scopes,
            ts: verified.ts.try_into().unwrap_or(i64::MAX),
            nonce: verified.nonce,
            payload_hash: verified.payload_hash,
        }
    }
}

/// A failed verification is returned and not thrown: it carries more than a code.
#[napi(object)]
pub struct NativeRefusal {
    pub status: u16,
    pub reason: String,
    pub challenge: Option<String>,
}

impl From<hawk::VerifyError> for NativeRefusal {
    fn from(error: hawk::VerifyError) -> Self {
        Self {
            status: error.status(),
            reason: error.to_string(),
            challenge: match error {
                hawk::VerifyError::StaleTimestamp { challenge } => Some(challenge),
                _ => None,
            },
        }
    }
}

#[napi(object)]
pub struct NativeTemporaryOptions {
    pub client_id: Option<String>,
    pub start: i64,
    pub expiry: i64,
    pub scopes: Vec<String>,
}

#[napi]
pub fn check_credentials(credentials: NativeCredentials) -> Result<(), Coded> {
    credentials.check().map(drop)
}

#[napi]
pub fn sign_header(
    credentials: NativeCredentials,
    method: String,
    url: String,
    authorized_scopes: Option<Vec<String>>,
    ts: i64,
) -> Result<String, Coded> {
    let resource = resource(&url)?;
    let request = resource.request(&method).map_err(unsignable)?;
    let signer = hawk::Signer::new(&credentials.check()?, authorized_scopes.as_deref());
    let nonce = hawk::NonceSource::new().next();
    let mut header = Vec::new();
    signer.write_authorization(&mut header, &request, seconds(ts)?, &nonce);
    String::from_utf8(header).map_err(|error| Error::new("ERR_HAWK", error.to_string()))
}

#[napi]
pub fn make_bewit(
    credentials: NativeCredentials,
    url: String,
    authorized_scopes: Option<Vec<String>>,
    expires: i64,
) -> Result<String, Coded> {
    let resource = resource(&url)?;
    let signer = hawk::Signer::new(&credentials.check()?, authorized_scopes.as_deref());
    let request = resource.request("GET").map_err(unsignable)?;
    Ok(signer.bewit(&request, seconds(expires)?))
}

#[napi]
pub fn claim_of_header(authorization: String) -> Either<NativeClaim, NativeRefusal> {
    claim(hawk::Claim::from_header(&authorization))
}

#[napi]
pub fn claim_of_bewit(request: NativeRequest) -> Either<NativeClaim, NativeRefusal> {
    claim(hawk::Claim::from_bewit(&request.signed()))
}

#[napi]
pub fn verify_header(
    request: NativeRequest,
    authorization: String,
    access_token: String,
    verification: NativeVerification,
) -> Either<NativeVerified, NativeRefusal> {
    let claim = hawk::Claim::from_header(&authorization);
    verify(claim, &request, &access_token, &verification)
}

#[napi]
pub fn verify_bewit(
    request: NativeRequest,
    access_token: String,
    verification: NativeVerification,
) -> Either<NativeVerified, NativeRefusal> {
    let claim = hawk::Claim::from_bewit(&request.signed());
    verify(claim, &request, &access_token, &verification)
}

#[napi]
pub fn payload_hash(content_type: String, body: &[u8]) -> String {
    hawk::payload_hash(&content_type, body)
}

#[napi(ts_return_type = "NativeCredentials & { certificate: string }")]
pub fn create_temporary_credentials(
    issuer: NativeCredentials,
    options: NativeTemporaryOptions,
) -> Result<NativeCredentials, Coded> {
    let options = hawk::TemporaryCredentialsOptions {
        client_id: options.client_id.as_deref(),
        start: options.start,
        expiry: options.expiry,
        scopes: &options.scopes,
    };
    hawk::create_temporary_credentials(&issuer.check()?, &options)
        .map(NativeCredentials::from)
        .map_err(|error| Error::new("ERR_CREDENTIALS", error.to_string()))
}

fn resource(url: &str) -> Result<hawk::Resource, Coded> {
    hawk::Resource::parse(url).map_err(unsignable)
}

fn unsignable(error: hawk::ResourceError) -> Coded {
    Error::new("ERR_URL", error.to_string())
}

fn seconds(value: i64) -> Result<u64, Coded> {
    value
        .try_into()
        .map_err(|_| Error::new("ERR_HAWK", "a time is before 1970".to_owned()))
}

fn claim(result: Result<hawk::Claim, hawk::VerifyError>) -> Either<NativeClaim, NativeRefusal> {
    match result {
        Ok(claim) => Either::A(NativeClaim {
            client_id: claim.client_id().to_owned(),
            issuing_client_id: claim.issuing_client_id().to_owned(),
        }),
        Err(error) => Either::B(error.into()),
    }
}

fn verify(
    claim: Result<hawk::Claim, hawk::VerifyError>,
    request: &NativeRequest,
    access_token: &str,
    verification: &NativeVerification,
) -> Either<NativeVerified, NativeRefusal> {
    let verified = claim.and_then(|claim| {
        claim.verify(
            &request.signed(),
            access_token,
            &verification.circumstances(),
        )
    });
    match verified {
        Ok(verified) => Either::A(verified.into()),
        Err(error) => Either::B(error.into()),
    }
}
