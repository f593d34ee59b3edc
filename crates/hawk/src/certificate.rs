//! The certificate of temporary credentials: what it says, how it is signed, and by which rules
//! it is accepted.
//!
//! A certificate stays the JSON as it came: its verifier may know keys that this crate does not.
//! The rules are those of Taskcluster's auth service (`limitClientWithExt` in
//! `services/auth/src/signaturevalidator.js`).

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::mac;

/// How long a certificate may last, in milliseconds: 31 days.
pub const MAX_CERTIFICATE_LIFETIME: i64 = 31 * 24 * 60 * 60 * 1000;

/// How far the clocks of issuer and verifier may differ, in milliseconds: 5 minutes.
const CLOCK_SKEW: i64 = 5 * 60 * 1000;

/// Two slugids of 22 characters.
const SEED_LEN: usize = 44;

/// A certificate: the JSON it came as, compact, and the limits that it sets.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    json: String,
    limits: Temporary,
}

/// What Taskcluster defines, as far as it is there; in the order in which its clients write it.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Fields {
    pub(crate) version: Option<i64>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) start: Option<i64>,
    pub(crate) expiry: Option<i64>,
    pub(crate) seed: Option<String>,
    pub(crate) signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    #[serde(skip)]
    pub(crate) names_client: bool,
}

/// The limits of temporary credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// The scopes that the credentials are limited to.
    pub scopes: Vec<String>,
    /// From when they are valid, in milliseconds since the epoch.
    pub start: i64,
    /// Until when they are valid, in milliseconds since the epoch.
    pub expiry: i64,
}

/// Why a certificate was refused, by the client that was given it or by the verifier. Nothing of
/// its text is repeated, since that may be a secret. The sentences begin as the auth service's do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not JSON at all, or not an object.
    #[error("certificate must be a JSON object: pass it as it came with the access token")]
    NotAnObject,
    /// `version` is not 1.
    #[error("certificate.version must be 1: create the temporary credentials anew")]
    Version,
    /// `seed` is not a string of 44 characters.
    #[error("certificate.seed must be 44 characters: create the temporary credentials anew")]
    Seed,
    /// `start` is not an integer.
    #[error("certificate.start must be a number: give whole milliseconds since the epoch")]
    Start,
    /// `expiry` is not an integer.
    #[error("certificate.expiry must be a number: give whole milliseconds since the epoch")]
    Expiry,
    /// `scopes` is not an array of strings of printable ASCII.
    #[error("certificate.scopes must be an array of valid scopes: use printable ASCII only")]
    Scopes,
    /// More than five minutes before `start`.
    #[error("certificate.start > now: set the clock, or wait until the credentials are valid")]
    NotYetValid,
    /// More than five minutes after `expiry`.
    #[error("certificate.expiry < now: get new temporary credentials, these have expired")]
    Expired,
    /// `expiry - start` exceeds [`MAX_CERTIFICATE_LIFETIME`].
    #[error("certificate cannot last longer than 31 days: create it with an earlier expiry")]
    Lifetime,
    /// `issuer` is not a string.
    #[error("certificate.issuer must be a string: give the client id of the issuer")]
    Issuer,
    /// The issuer is named and is the client itself.
    #[error("certificate.issuer must differ from the supplied clientId: leave it out")]
    IssuerIsClient,
    /// A `clientId` without an issuer.
    #[error("certificate.clientId must only be used with certificate.issuer: leave it out")]
    ClientIdWithoutIssuer,
    /// The signature is not the issuer's for this certificate and client id.
    #[error(
        "certificate.signature is not valid: use clientId, accessToken and certificate of the same \
         temporary credentials, unchanged"
    )]
    Signature,
}

impl Certificate {
    /// Reads the certificate that `client_id` was given. Every key that each verifier requires must
    /// be there. Whether the certificate is valid now and signed by the issuer is left to the
    /// verifier.
    pub fn parse(json: &str, client_id: &str) -> Result<Self, CertificateError> {
        let value = serde_json::from_str(json).map_err(|_| CertificateError::NotAnObject)?;
        let fields = Fields::read(&value)?;
        let limits = fields.limits()?;
        fields.check_issuer(client_id)?;
        if fields.signature.as_deref().is_none_or(str::is_empty) {
            return Err(CertificateError::Signature);
        }
        Ok(Self {
            json: compact(json),
            limits,
        })
    }

    /// The certificate as compact JSON: the text it was parsed from without insignificant space.
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// The scopes the credentials are limited to.
    pub fn scopes(&self) -> &[String] {
        &self.limits.scopes
    }

    /// From when it is valid, in milliseconds since the epoch.
    pub fn start(&self) -> i64 {
        self.limits.start
    }

    /// Until when it is valid, in milliseconds since the epoch.
    pub fn expiry(&self) -> i64 {
        self.limits.expiry
    }

    /// Whether it is valid at `now`, in milliseconds since the epoch. Verifiers accept it for five
    /// more minutes; a signer must not rely on that.
    pub fn check_time(&self, now: i64) -> Result<(), CertificateError> {
        self.limits.check_time(now, 0)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("scopes", &self.limits.scopes)
            .field("start", &self.limits.start)
            .field("expiry", &self.limits.expiry)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields")
            .field("version", &self.version)
            .field("scopes", &self.scopes)
            .field("start", &self.start)
            .field("expiry", &self.expiry)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Temporary {
    /// `grace` says for how long after the expiry the credentials are still accepted, in
    /// milliseconds.
    fn check_time(&self, now: i64, grace: i64) -> Result<(), CertificateError> {
        if self.start > now.saturating_add(CLOCK_SKEW) {
            return Err(CertificateError::NotYetValid);
        }
        if self.expiry < now.saturating_sub(grace) {
            return Err(CertificateError::Expired);
        }
        if self.expiry.saturating_sub(self.start) > MAX_CERTIFICATE_LIFETIME {
            return Err(CertificateError::Lifetime);
        }
        Ok(())
    }
}

impl Fields {
    /// Takes from a JSON value what is there; `null` counts as missing.
    pub(crate) fn read(certificate: &Value) -> Result<Self, CertificateError> {
        let object = certificate
            .as_object()
            .ok_or(CertificateError::NotAnObject)?;
        let field = |name, error| Field {
            value: get(object, name),
            error,
        };
        Ok(Self {
            version: field("version", CertificateError::Version).integer()?,
            seed: field("seed", CertificateError::Seed).string()?,
            start: field("start", CertificateError::Start).integer()?,
            expiry: field("expiry", CertificateError::Expiry).integer()?,
            scopes: field("scopes", CertificateError::Scopes).strings()?,
            signature: field("signature", CertificateError::Signature).string()?,
            issuer: field("issuer", CertificateError::Issuer).string()?,
            names_client: object.contains_key("clientId"),
        })
    }

    /// The auth service takes an empty issuer for none.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref().filter(|issuer| !issuer.is_empty())
    }

    /// Finds out whether the certificate is what `access_token`'s owner issued for `client_id` and
    /// is valid at `now`, in milliseconds since the epoch. Returns its limits and the access token
    /// that goes with it.
    pub(crate) fn verify(
        &self,
        client_id: &str,
        access_token: &str,
        now: u64,
    ) -> Result<(Temporary, String), CertificateError> {
        let limits = self.limits()?;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        limits.check_time(now, CLOCK_SKEW)?;
        self.check_issuer(client_id)?;
        let signature = self.signature.as_deref().unwrap_or_default();
        let key = mac::key(access_token);
        if !mac::verify(&key, self.signed_text(client_id).as_bytes(), signature) {
            return Err(CertificateError::Signature);
        }
        let seed = self.seed.as_deref().unwrap_or_default();
        Ok((limits, temporary_access_token(&key, seed)))
    }

    /// Named credentials have another client as their issuer; unnamed ones name no client.
    fn check_issuer(&self, client_id: &str) -> Result<(), CertificateError> {
        match self.issuer() {
            Some(issuer) if issuer == client_id => Err(CertificateError::IssuerIsClient),
            None if self.names_client => Err(CertificateError::ClientIdWithoutIssuer),
            _ => Ok(()),
        }
    }

    /// Checks that every required key is there, and returns the limits.
    fn limits(&self) -> Result<Temporary, CertificateError> {
        if self.version != Some(1) {
            return Err(CertificateError::Version);
        }
        // JavaScript counts UTF-16 units.
        if self
            .seed
            .as_deref()
            .is_none_or(|seed| seed.encode_utf16().count() != SEED_LEN)
        {
            return Err(CertificateError::Seed);
        }
        let start = self.start.ok_or(CertificateError::Start)?;
        let expiry = self.expiry.ok_or(CertificateError::Expiry)?;
        let scopes = self.scopes.as_deref().ok_or(CertificateError::Scopes)?;
        if !scopes.iter().all(|scope| is_scope(scope)) {
            return Err(CertificateError::Scopes);
        }
        Ok(Temporary {
            scopes: scopes.to_vec(),
            start,
            expiry,
        })
    }

    /// Adds the issuer's signature, by the issuer's `key`.
    pub(crate) fn sign(&mut self, key: &hmac::Key, client_id: &str) {
        let signature = hmac::sign(key, self.signed_text(client_id).as_bytes());
        self.signature = Some(STANDARD.encode(signature));
    }

    fn signed_text(&self, client_id: &str) -> String {
        let mut text = String::from("version:1");
        let mut line = |name: &str, value: &dyn fmt::Display| {
            write!(text, "\n{name}:{value}").expect("a string takes all that is written");
        };
        if let Some(issuer) = self.issuer() {
            line("clientId", &client_id);
            line("issuer", &issuer);
        }
        line("seed", &self.seed.as_deref().unwrap_or_default());
        line("start", &self.start.unwrap_or_default());
        line("expiry", &self.expiry.unwrap_or_default());
        line("scopes", &"");
        for scope in self.scopes.as_deref().unwrap_or_default() {
            text.push('\n');
            text.push_str(scope);
        }
        text
    }
}

/// The access token that belongs to a certificate with this seed, given the issuer's key.
pub(crate) fn temporary_access_token(issuer: &hmac::Key, seed: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(issuer, seed.as_bytes()))
}

/// Taskcluster's scopes are of printable ASCII (`validScope` in `libraries/scopes`).
pub(crate) fn is_scope(scope: &str) -> bool {
    scope.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A field that may be missing, and the complaint if it is there with another type.
struct Field<'a> {
    value: Option<&'a Value>,
    error: CertificateError,
}

impl Field<'_> {
    fn read<T>(self, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, CertificateError> {
        self.value
            .map(|value| read(value).ok_or(self.error))
            .transpose()
    }

    /// An integer in any notation, within the range that a double holds exactly: every JavaScript
    /// verifier reads `1e3` as one.
    fn integer(self) -> Result<Option<i64>, CertificateError> {
        const EXACT: f64 = 9_007_199_254_740_991.0;
        let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= EXACT;
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        self.read(|value| value.as_f64().filter(whole).map(|number| number as i64))
    }

    fn string(self) -> Result<Option<String>, CertificateError> {
        self.read(|value| value.as_str().map(str::to_owned))
    }

    fn strings(self) -> Result<Option<Vec<String>>, CertificateError> {
        self.read(|value| {
            value
                .as_array()?
                .iter()
                .map(|s| s.as_str().map(str::to_owned))
                .collect()
        })
    }
}

fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_438_964_811_744;
    const TOKEN: &str = "tokenABCDEFGH";
    const HOUR: i64 = 60 * 60 * 1000;

    type Change = fn(&mut Fields);

    fn now() -> i64 {
        NOW.try_into().unwrap()
    }

    fn issued(change: impl FnOnce(&mut Fields)) -> Fields {
        let mut fields = Fields {
            version: Some(1),
            scopes: Some(vec![
                "scope/asd:fhjdf/X".to_owned(),
                "scope/asd:fhjdf/XYZ*".to_owned(),
            ]),
            start: Some(now()),
            expiry: Some(now() + 24 * HOUR),
            seed: Some("JYR4wzMCTG6XeDS2cDUCMwH0RFUXGfQjK7LgqD-e6lSQ".to_owned()),
            signature: None,
            issuer: None,
            names_client: false,
        };
        change(&mut fields);
        fields.sign(&mac::key(TOKEN), "abc/def/ghi");
        fields
    }

    fn verify(change: impl FnOnce(&mut Fields)) -> Result<(), CertificateError> {
        issued(change).verify("abc/def/ghi", TOKEN, NOW).map(drop)
    }

    /// `clients/client-go/testcases.json` of Taskcluster.
    #[test]
    fn signatures_are_those_of_taskclusters_clients() {
        let unnamed = issued(|_| {});
        assert_eq!(
            unnamed.signature.as_deref(),
            Some("45AlB/hKZZZz4Tf3NaidutasfgBnr4t2AxwBiGDQF9Q="),
        );
        let named = issued(|fields| fields.issuer = Some("def/ghi@XXX".to_owned()));
        assert_eq!(
            named.signature.as_deref(),
            Some("nNEaLtZMiw627NuDbF5Z8HDFc57MGWCptXBQSYNFgBk="),
        );
        let (limits, access_token) = named.verify("abc/def/ghi", TOKEN, NOW).unwrap();
        assert_eq!(access_token, "R4OVHWpIvy6KsqS4AWE51QwbvgLvsstS6e6UW8IfHUY");
        assert_eq!(limits.scopes, named.scopes.unwrap());
        assert_eq!((limits.start, limits.expiry), (now(), now() + 24 * HOUR));
    }

    #[test]
    fn accepted_by_the_auth_services_rules() {
        let table: [Change; 8] = [
            |_| {},
            |c| c.scopes = Some(vec![]),
            |c| c.start = Some(now() + CLOCK_SKEW),
            |c| (c.start, c.expiry) = (Some(now() - HOUR), Some(now() - CLOCK_SKEW)),
            |c| c.expiry = Some(now() + MAX_CERTIFICATE_LIFETIME),
            |c| c.issuer = Some(String::new()),
            |c| c.issuer = Some("def".to_owned()),
            |c| (c.issuer, c.names_client) = (Some("def".to_owned()), true),
        ];
        for (i, change) in table.into_iter().enumerate() {
            assert_eq!(verify(change), Ok(()), "{i}");
        }
    }

    #[test]
    fn refused_by_the_auth_services_rules() {
        use CertificateError as E;
        let table: [(Change, E); 18] = [
            (|c| c.version = None, E::Version),
            (|c| c.version = Some(999), E::Version),
            (|c| c.seed = None, E::Seed),
            (|c| c.seed = Some("x".repeat(22)), E::Seed),
            (|c| c.seed = Some("x".repeat(45)), E::Seed),
            (|c| c.start = None, E::Start),
            (|c| c.expiry = None, E::Expiry),
            (|c| c.scopes = None, E::Scopes),
            (|c| c.scopes = Some(vec!["one\ntwo".to_owned()]), E::Scopes),
            (|c| c.scopes = Some(vec!["é".to_owned()]), E::Scopes),
            (|c| c.start = Some(now() + CLOCK_SKEW + 1), E::NotYetValid),
            (
                |c| (c.start, c.expiry) = (Some(0), Some(now() - CLOCK_SKEW - 1)),
                E::Expired,
            ),
            (|c| c.start = Some(now() - 31 * 24 * HOUR), E::Lifetime),
            (
                |c| c.expiry = Some(now() + MAX_CERTIFICATE_LIFETIME + 1),
                E::Lifetime,
            ),
            (
                |c| c.issuer = Some("abc/def/ghi".to_owned()),
                E::IssuerIsClient,
            ),
            (|c| c.names_client = true, E::ClientIdWithoutIssuer),
            (
                |c| (c.issuer, c.names_client) = (Some(String::new()), true),
                E::ClientIdWithoutIssuer,
            ),
            (
                |c| (c.start, c.expiry) = (Some(i64::MIN), Some(0)),
                E::Expired,
            ),
        ];
        for (i, (change, error)) in table.into_iter().enumerate() {
            assert_eq!(verify(change), Err(error), "{i}");
        }
    }

    #[test]
    fn any_change_breaks_the_signature() {
        let changes: [Change; 9] = [
            |c| c.scopes = Some(vec!["*".to_owned()]),
            |c| c.scopes.as_mut().unwrap().reverse(),
            |c| c.start = Some(now() - 1),
            |c| c.expiry = Some(now() + 25 * HOUR),
            |c| c.seed = Some("x".repeat(44)),
            |c| c.issuer = None,
            |c| c.issuer = Some("other".to_owned()),
            |c| c.signature = None,
            |c| c.signature = Some("baguette".to_owned()),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut fields = issued(|c| c.issuer = Some("def".to_owned()));
            assert!(fields.verify("abc/def/ghi", TOKEN, NOW).is_ok());
            change(&mut fields);
            let error = fields.verify("abc/def/ghi", TOKEN, NOW).unwrap_err();
            assert_eq!(error, CertificateError::Signature, "{i}");
        }
        let named = issued(|c| c.issuer = Some("def".to_owned()));
        for (client_id, token) in [("abc/def", TOKEN), ("abc/def/ghi", "another")] {
            let error = named.verify(client_id, token, NOW).unwrap_err();
            assert_eq!(error, CertificateError::Signature);
        }
    }

    /// A certificate with `more` among its keys.
    fn json(more: &str) -> String {
        format!("{{{more}{REST}")
    }

    const REST: &str = r#""version":1,"scopes":["a"],"start":1000,"expiry":2000,"seed":"JYR4wzMCTG6XeDS2cDUCMwH0RFUXGfQjK7LgqD-e6lSQ","signature":"s"}"#;

    #[test]
    fn kept_as_it_came() {
        let table = [
            ("", ""),
            (" \n\t", ""),
            (
                r#""x y": " \" { ", "n": [1, 2], "#,
                r#""x y":" \" { ","n":[1,2],"#,
            ),
            (
                r#""a": "\\", "b": "c d\\\" e", "#,
                r#""a":"\\","b":"c d\\\" e","#,
            ),
            (
                "\"z\": 12345678901234567890, \"é\": \" é\", ",
                "\"z\":12345678901234567890,\"é\":\" é\",",
            ),
            (
                r#""issuer": null, "issuer": "", "issuer": "i", "#,
                r#""issuer":null,"issuer":"","issuer":"i","#,
            ),
            (
                r#""clientId": "c", "issuer": "i", "#,
                r#""clientId":"c","issuer":"i","#,
            ),
        ];
        for (more, compact) in table {
            let certificate = Certificate::parse(&json(more), "c").unwrap();
            assert_eq!(certificate.as_json(), json(compact));
            assert_eq!(
                Certificate::parse(certificate.as_json(), "c").unwrap(),
                certificate
            );
        }
        // JavaScript takes the last of two fields with one name, and a number in any notation.
        let certificate = Certificate::parse(&json(r#""expiry":1,"scopes":[],"#), "c").unwrap();
        assert_eq!(
            (certificate.scopes(), certificate.expiry()),
            (&["a".to_owned()][..], 2000)
        );
        let spelt = json("").replace("2000", "2.0E3");
        assert_eq!(Certificate::parse(&spelt, "c").unwrap().expiry(), 2000);
    }

    /// Each key that a verifier requires, left out and with a wrong type, and the rules for issuers.
    #[test]
    fn refuses_what_is_no_certificate() {
        use CertificateError as E;
        for text in [
            "",
            " ",
            "null",
            "1",
            "\"{}\"",
            "[]",
            "[1,[],0,0,\"\",\"\"]",
            "{",
            "{}}",
            "{} x",
            "\u{feff}{}",
            "{'version':1}",
        ] {
            assert_eq!(Certificate::parse(text, "c"), Err(E::NotAnObject), "{text}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(Certificate::parse(&deep, "c"), Err(E::NotAnObject));

        let kinds: [(&str, &[&str], E); 6] = [
            ("version", &["2", "\"1\"", "1.5", "0"], E::Version),
            ("seed", &["123", "\"\"", "\"short\""], E::Seed),
            (
                "start",
                &[
                    "\"2016-07-27T14:32:15.407820Z\"",
                    "1e300",
                    "1.5",
                    // A reader that rounds twice takes this for a whole number.
                    "-4316808868835107.5",
                ],
                E::Start,
            ),
            ("expiry", &["[]", "\"2000\"", "{}"], E::Expiry),
            (
                "scopes",
                &[
                    "\"all of them\"",
                    "[1,2]",
                    "[null]",
                    "[\"é\"]",
                    "[\"a\\n\"]",
                    "{}",
                ],
                E::Scopes,
            ),
            ("signature", &["{}", "\"\"", "1"], E::Signature),
        ];
        let whole: Map<String, Value> = serde_json::from_str(&json("")).unwrap();
        for (key, wrong, error) in kinds {
            let parse = |value: Option<&str>| {
                let mut changed = whole.clone();
                changed.remove(key).expect("a key of every certificate");
                if let Some(value) = value {
                    changed.insert(key.to_owned(), serde_json::from_str(value).unwrap());
                }
                Certificate::parse(&Value::from(changed).to_string(), "c")
            };
            assert_eq!(parse(None), Err(error.clone()), "no {key}");
            for value in ["null"].iter().chain(wrong) {
                assert_eq!(parse(Some(value)), Err(error.clone()), "{key}: {value}");
            }
        }
        for (more, error) in [
            (r#""issuer":true,"#, E::Issuer),
            (r#""issuer":"c","#, E::IssuerIsClient),
            (r#""clientId":"c","#, E::ClientIdWithoutIssuer),
            (r#""clientId":"c","issuer":"","#, E::ClientIdWithoutIssuer),
        ] {
            assert_eq!(Certificate::parse(&json(more), "c"), Err(error), "{more}");
        }
    }

    #[test]
    fn says_when_it_is_of_no_use() {
        use CertificateError as E;
        let minute = 60 * 1000;
        for (start, expiry, expected) in [
            (-HOUR, HOUR, Ok(())),
            (-HOUR, 0, Ok(())),
            (-HOUR, -1, Err(E::Expired)),
            (-HOUR, -4 * minute, Err(E::Expired)),
            // Issuers' clocks differ.
            (5 * minute, HOUR, Ok(())),
            (5 * minute + 1, HOUR, Err(E::NotYetValid)),
            (0, MAX_CERTIFICATE_LIFETIME, Ok(())),
            (-1, MAX_CERTIFICATE_LIFETIME, Err(E::Lifetime)),
            (i64::MIN, i64::MAX, Err(E::Lifetime)),
        ] {
            let limits = Temporary {
                scopes: vec![],
                start,
                expiry,
            };
            assert_eq!(limits.check_time(0, 0), expected, "{start} {expiry}");
        }
    }

    #[test]
    fn says_what_to_do() {
        use CertificateError as E;
        let table = [
            (
                E::NotAnObject,
                "certificate must be a JSON object: pass it as it came with the access token",
            ),
            (
                E::Version,
                "certificate.version must be 1: create the temporary credentials anew",
            ),
            (
                E::Seed,
                "certificate.seed must be 44 characters: create the temporary credentials anew",
            ),
            (
                E::Start,
                "certificate.start must be a number: give whole milliseconds since the epoch",
            ),
            (
                E::Expiry,
                "certificate.expiry must be a number: give whole milliseconds since the epoch",
            ),
            (
                E::Scopes,
                "certificate.scopes must be an array of valid scopes: use printable ASCII only",
            ),
            (
                E::NotYetValid,
                "certificate.start > now: set the clock, or wait until the credentials are valid",
            ),
            (
                E::Expired,
                "certificate.expiry < now: get new temporary credentials, these have expired",
            ),
            (
                E::Lifetime,
                "certificate cannot last longer than 31 days: create it with an earlier expiry",
            ),
            (
                E::Issuer,
                "certificate.issuer must be a string: give the client id of the issuer",
            ),
            (
                E::IssuerIsClient,
                "certificate.issuer must differ from the supplied clientId: leave it out",
            ),
            (
                E::ClientIdWithoutIssuer,
                "certificate.clientId must only be used with certificate.issuer: leave it out",
            ),
            (
                E::Signature,
                "certificate.signature is not valid: use clientId, accessToken and certificate \
                            of the same temporary credentials, unchanged",
            ),
        ];
        for (error, sentence) in table {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
