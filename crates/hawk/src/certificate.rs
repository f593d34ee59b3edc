//! The certificate of temporary credentials: what it says, how it is signed, and by which rules
//! it is accepted.
//!
//! A certificate travels as the JSON it came as: whoever checks it may know more of it than we do.
//! The rules are those of Taskcluster's auth service (`signaturevalidator.js`).

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

/// How long a certificate may last, in milliseconds: 31 days.
pub const MAX_CERTIFICATE_LIFETIME: i64 = 31 * 24 * 60 * 60 * 1000;

/// How far the clocks of issuer and verifier may differ, in milliseconds: 5 minutes.
const CLOCK_SKEW: i64 = 5 * 60 * 1000;

/// Two slugids of 22 characters.
const SEED_LEN: usize = 44;

/// A certificate: the JSON it came as, compact, and the fields that Taskcluster defines.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    json: String,
    fields: Fields,
}

/// In the order in which Taskcluster's clients write them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    #[serde(deserialize_with = "integer")]
    pub(crate) version: Option<i64>,
    pub(crate) scopes: Option<Vec<String>>,
    #[serde(deserialize_with = "integer")]
    pub(crate) start: Option<i64>,
    #[serde(deserialize_with = "integer")]
    pub(crate) expiry: Option<i64>,
    pub(crate) seed: Option<String>,
    pub(crate) signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    #[serde(rename = "clientId", skip_serializing, deserialize_with = "present")]
    pub(crate) names_client: bool,
}

/// Why a certificate was refused, by the client that was given it or by the verifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not JSON at all, or not an object. Nothing of the text is repeated: it may be a secret.
    #[error("certificate is not a JSON object: pass it as it came with the access token")]
    NotAnObject,
    /// A JSON object, but a field that Taskcluster defines is doubled or of the wrong type.
    #[error(
        "certificate has a field of the wrong type or twice: version, start and expiry are \
         integers, scopes an array of strings, seed, signature and issuer strings"
    )]
    Field,
    /// `version` is not 1.
    #[error("ext.certificate.version must be 1: create the temporary credentials anew")]
    Version,
    /// `seed` is missing or not 44 characters long.
    #[error("ext.certificate.seed must be 44 characters: create the temporary credentials anew")]
    Seed,
    /// `start` is missing.
    #[error("ext.certificate.start must be a number: milliseconds since the epoch")]
    Start,
    /// `expiry` is missing.
    #[error("ext.certificate.expiry must be a number: milliseconds since the epoch")]
    Expiry,
    /// `scopes` is missing, or one of them holds something besides printable ASCII.
    #[error("ext.certificate.scopes must be an array of valid scopes: printable ASCII only")]
    Scopes,
    /// More than five minutes before `start`.
    #[error("ext.certificate.start > now: wait until the credentials are valid, or set the clock")]
    NotYetValid,
    /// More than five minutes after `expiry`.
    #[error("ext.certificate.expiry < now: the credentials have expired, get new ones")]
    Expired,
    /// `expiry - start` exceeds [`MAX_CERTIFICATE_LIFETIME`].
    #[error("ext.certificate cannot last longer than 31 days: create it with an earlier expiry")]
    Lifetime,
    /// The issuer is named and is the client itself.
    #[error("ext.certificate.issuer must differ from the supplied clientId: leave it out")]
    IssuerIsClient,
    /// A `clientId` without an issuer.
    #[error("ext.certificate.clientId must only be used with ext.certificate.issuer: leave it out")]
    ClientIdWithoutIssuer,
    /// The signature is not the issuer's for this certificate and client id.
    #[error(
        "ext.certificate.signature is not valid: use clientId, accessToken and certificate of the \
         same temporary credentials, unchanged"
    )]
    Signature,
}

impl Certificate {
    /// Reads a certificate. Only an object will do; fields that are missing are left to the
    /// verifier to complain about, since a later version may have others.
    pub fn parse(json: &str) -> Result<Self, CertificateError> {
        // Serde would take an array for a struct.
        if !json
            .trim_start_matches([' ', '\t', '\r', '\n'])
            .starts_with('{')
        {
            return Err(CertificateError::NotAnObject);
        }
        let fields = serde_json::from_str(json).map_err(|error| {
            if error.is_data() {
                CertificateError::Field
            } else {
                CertificateError::NotAnObject
            }
        })?;
        Ok(Self {
            json: compact(json),
            fields,
        })
    }

    pub(crate) fn from_fields(fields: Fields) -> Self {
        let json = serde_json::to_string(&fields).expect("strings and integers make JSON");
        Self { json, fields }
    }

    /// The certificate as compact JSON: the text it was parsed from without insignificant space.
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// The scopes the credentials are limited to; empty where the certificate names none.
    pub fn scopes(&self) -> &[String] {
        self.fields.scopes.as_deref().unwrap_or_default()
    }

    /// From when it is valid, in milliseconds since the epoch.
    pub fn start(&self) -> Option<i64> {
        self.fields.start
    }

    /// Until when it is valid, in milliseconds since the epoch.
    pub fn expiry(&self) -> Option<i64> {
        self.fields.expiry
    }

    /// The client that issued it, where that is not the client it is for (named credentials).
    pub fn issuer(&self) -> Option<&str> {
        // The auth service takes an empty issuer for none.
        self.fields
            .issuer
            .as_deref()
            .filter(|issuer| !issuer.is_empty())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("version", &self.fields.version)
            .field("scopes", &self.fields.scopes)
            .field("start", &self.fields.start)
            .field("expiry", &self.fields.expiry)
            .field("issuer", &self.fields.issuer)
            .finish_non_exhaustive()
    }
}

/// A JSON number that is an integer, however it is written (`1e3` is one to every JavaScript
/// verifier), within what a double holds exactly; `null` as if it were missing.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    match Option::<f64>::deserialize(deserializer)? {
        None => Ok(None),
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        Some(number) if number.fract() == 0.0 && number.abs() <= EXACT => Ok(Some(number as i64)),
        Some(_) => Err(serde::de::Error::custom("not an integer")),
    }
}

/// True for any value, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Drops the space between the tokens of valid JSON, and nothing else.
fn compact(json: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    json.chars()
        .filter(|&c| {
            let keep = in_string || !matches!(c, ' ' | '\t' | '\r' | '\n');
            if c == '"' && !escaped {
                in_string = !in_string;
            }
            escaped = c == '\\' && !escaped;
            keep
        })
        .collect()
}
