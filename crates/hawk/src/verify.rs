//! Verification, by the rules of Taskcluster's auth service (`signaturevalidator.js` over npm
//! `hawk`'s `lib/server.js`), in its order.
//!
//! It has two steps, since the access token must be looked up in between: a [`Claim`] is what a
//! request says of itself, and [`Claim::verify`] finds out whether it is true. The caller then decides
//! what the client may do; [`Verified`] has the scopes for that.

use crate::bewit::{self, Bewit, BewitError};
use crate::certificate::{CertificateError, Temporary};
use crate::challenge::{challenge, seconds};
use crate::ext::{self, Ext, ExtError};
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
    /// The client of the request.
    pub client_id: String,
    /// The client that signed the request or the certificate by its access token. If it is not
    /// `client_id`, it must have the scope `auth:create-client:<client_id>`.
    pub issuing_client_id: String,
    /// The limits of temporary credentials. The issuer must satisfy their scopes.
    pub temporary: Option<Temporary>,
    /// The scopes to which the client narrowed itself. It must satisfy them, and has no others.
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
    /// `ext` was refused.
    #[error(transparent)]
    Ext(#[from] ExtError),
    /// The certificate in `ext` was refused.
    #[error("ext.{0}")]
    Certificate(#[from] CertificateError),
    /// No client has the client id, or that of the certificate's issuer.
    #[error("Unknown credentials: check the client id")]
    UnknownClient,
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
    /// `ts` is not a number. Npm `hawk` accepts such a time always.
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

    /// The client id that the claim names.
    pub fn client_id(&self) -> &str {
        match &self.proof {
            Proof::Header(header) => header.id,
            Proof::Bewit(bewit) => &bewit.id,
        }
    }

    /// The client whose access token decides: the certificate's issuer, or else the client itself.
    pub fn issuing_client_id(&self) -> &str {
        self.issuer().unwrap_or_else(|| self.client_id())
    }

    fn issuer(&self) -> Option<&str> {
        self.ext.certificate.as_ref()?.issuer()
    }

    /// Finds out whether the claim is true of `request`. `access_token` must be the one of
    /// [`Claim::issuing_client_id`] and of no other client: only the token proves the id, which the
    /// MAC does not cover.
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
        // The sender of the body knows both hashes, so there is no timing to hide.
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

/// Verifies an `Authorization` header. `access_token` looks up a client's access token by its id;
/// `None` if there is no such client.
pub fn verify_header(
    request: &SignedRequest<'_>,
    authorization: &str,
    access_token: impl FnOnce(&str) -> Option<String>,
    verification: &Verification<'_>,
) -> Result<Verified, VerifyError> {
    let claim = Claim::from_header(authorization)?;
    let access_token = access_token(claim.issuing_client_id()).ok_or(VerifyError::UnknownClient)?;
    claim.verify(request, &access_token, verification)
}

/// Verifies the bewit in a request's target. `access_token` is as in [`verify_header`], `now` in
/// milliseconds since the epoch.
pub fn verify_bewit(
    request: &SignedRequest<'_>,
    access_token: impl FnOnce(&str) -> Option<String>,
    now: u64,
) -> Result<Verified, VerifyError> {
    let verification = Verification {
        now,
        timestamp_skew: DEFAULT_TIMESTAMP_SKEW,
        payload_hash: None,
    };
    let claim = Claim::from_bewit(request)?;
    let access_token = access_token(claim.issuing_client_id()).ok_or(VerifyError::UnknownClient)?;
    claim.verify(request, &access_token, &verification)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;
    use crate::signer::Signer;
    use crate::temporary::{TemporaryCredentialsOptions, create_temporary_credentials};

    const NOW: u64 = 1_700_000_000_500;
    const TS: u64 = NOW / 1000;
    const GET: SignedRequest<'_> = SignedRequest {
        method: "GET",
        target: "/api/queue/v1/ping?a=1",
        host: "tc.example.com",
        port: 443,
    };

    fn root(client_id: &str) -> Option<String> {
        (client_id == "root").then(|| "root-secret".to_owned())
    }

    fn issuer() -> Credentials {
        Credentials::new("root", "root-secret", None).unwrap()
    }

    fn temporary(client_id: Option<&str>) -> Credentials {
        let now = i64::try_from(NOW).unwrap();
        let scopes = vec!["tmpscope".to_owned()];
        let (start, expiry) = (now, now + 1000);
        let options = TemporaryCredentialsOptions {
            client_id,
            start,
            expiry,
            scopes: &scopes,
        };
        create_temporary_credentials(&issuer(), &options).unwrap()
    }

    fn header(credentials: &Credentials, scopes: Option<&[String]>, ts: u64) -> String {
        let mut out = Vec::new();
        Signer::new(credentials, scopes).write_authorization(&mut out, &GET, ts, "nonce");
        String::from_utf8(out).unwrap()
    }

    fn verification() -> Verification<'static> {
        Verification {
            now: NOW,
            timestamp_skew: 60,
            payload_hash: None,
        }
    }

    fn verify(header: &str) -> Result<Verified, VerifyError> {
        verify_header(&GET, header, root, &verification())
    }

    #[test]
    fn permanent_credentials() {
        let verified = verify(&header(&issuer(), None, TS)).unwrap();
        let expected = Verified {
            client_id: "root".to_owned(),
            issuing_client_id: "root".to_owned(),
            temporary: None,
            authorized_scopes: None,
            ts: TS,
            nonce: Some("nonce".to_owned()),
            payload_hash: None,
        };
        assert_eq!(verified, expected);
    }

    #[test]
    fn temporary_credentials_named_and_not_with_and_without_restriction() {
        for name in [None, Some("named/x")] {
            for scopes in [
                None,
                Some(vec![]),
                Some(vec!["a".to_owned(), "b c".to_owned()]),
            ] {
                let header = header(&temporary(name), scopes.as_deref(), TS);
                let claim = Claim::of(&GET, Some(&header)).unwrap().unwrap();
                assert_eq!(claim.client_id(), name.unwrap_or("root"));
                assert_eq!(claim.issuing_client_id(), "root");
                let verified = claim.verify(&GET, "root-secret", &verification()).unwrap();
                assert_eq!(verified.client_id, name.unwrap_or("root"));
                assert_eq!(verified.issuing_client_id, "root");
                assert_eq!(verified.temporary.unwrap().scopes, ["tmpscope"]);
                assert_eq!(verified.authorized_scopes, scopes);
            }
        }
    }

    #[test]
    fn a_bewit_is_for_get_and_head_until_it_expires() {
        for name in [None, Some("named/x")] {
            let bewit = Signer::new(&temporary(name), None).bewit(&GET, TS + 1);
            let target = format!("{}&bewit={bewit}", GET.target);
            let request = SignedRequest {
                target: &target,
                ..GET
            };
            for method in ["GET", "HEAD"] {
                let request = SignedRequest { method, ..request };
                let verified = verify_bewit(&request, root, NOW).unwrap();
                assert_eq!(verified.client_id, name.unwrap_or("root"));
                assert_eq!((verified.ts, verified.nonce), (TS + 1, None));
            }
            let claim = Claim::of(&request, None).unwrap().unwrap();
            let post = SignedRequest {
                method: "POST",
                ..request
            };
            let elsewhere = SignedRequest {
                host: "other.example.com",
                ..request
            };
            let table = [
                (verify_bewit(&post, root, NOW), BewitError::Method.into()),
                (
                    claim.verify(&post, "root-secret", &verification()),
                    BewitError::Method.into(),
                ),
                (
                    claim.verify(&elsewhere, "root-secret", &verification()),
                    VerifyError::Mac,
                ),
                (
                    claim.verify(&GET, "root-secret", &verification()),
                    BewitError::Missing.into(),
                ),
                (
                    verify_bewit(&request, root, (TS + 1) * 1000),
                    BewitError::Expired.into(),
                ),
            ];
            for (result, error) in table {
                assert_eq!(result, Err(error));
            }
        }
    }

    #[test]
    fn without_header_or_bewit_there_is_no_claim() {
        assert!(Claim::of(&GET, None).unwrap().is_none());
        let request = SignedRequest {
            target: "/?bewit=",
            ..GET
        };
        let error = Claim::of(&request, None).map(|_| ()).unwrap_err();
        assert_eq!(error, BewitError::Empty.into());
        let error = Claim::of(&request, Some("")).map(|_| ()).unwrap_err();
        assert_eq!(error, HeaderError::NotHawk.into());
    }

    #[test]
    fn whatever_is_signed_cannot_be_changed() {
        let signed = header(&issuer(), Some(&["a".to_owned()]), TS);
        assert!(verify(&signed).is_ok());
        let other_ext = Signer::new(&issuer(), Some(&[])).ext().unwrap().to_owned();
        let ext = Signer::new(&issuer(), Some(&["a".to_owned()]))
            .ext()
            .unwrap()
            .to_owned();
        let headers = [
            signed.replace("nonce=\"nonce", "nonce=\"other"),
            signed.replace(&TS.to_string(), &(TS + 1).to_string()),
            signed.replace(&ext, &other_ext),
            signed.replace("mac=\"", "hash=\"x\", mac=\""),
            signed.replace("mac=\"", "app=\"x\", mac=\""),
        ];
        for header in headers {
            assert_eq!(verify(&header), Err(VerifyError::Mac), "{header}");
        }
        let requests = [
            SignedRequest {
                method: "PUT",
                ..GET
            },
            SignedRequest {
                target: "/api/queue/v1/ping?a=2",
                ..GET
            },
            SignedRequest {
                target: "/api/queue/v1//ping?a=1",
                ..GET
            },
            SignedRequest {
                host: "tc.example.org",
                ..GET
            },
            SignedRequest { port: 80, ..GET },
        ];
        for request in requests {
            let result = verify_header(&request, &signed, root, &verification());
            assert_eq!(result, Err(VerifyError::Mac), "{request:?}");
        }
        let result = verify_header(&GET, &signed, |_| Some("other".to_owned()), &verification());
        assert_eq!(result, Err(VerifyError::Mac));
        let renamed = signed.replace("id=\"root\"", "id=\"r00t\"");
        assert_eq!(verify(&renamed), Err(VerifyError::UnknownClient));
        // Temporary credentials are made with the issuer's key, not with their own.
        let mixed = temporary(None);
        let mixed = Credentials {
            access_token: "root-secret".to_owned(),
            ..mixed
        };
        assert_eq!(verify(&header(&mixed, None, TS)), Err(VerifyError::Mac));
    }

    #[test]
    fn certificates_are_refused_with_their_reason() {
        let credentials = temporary(Some("named"));
        let renamed = Credentials {
            client_id: "other".to_owned(),
            ..credentials.clone()
        };
        let error = verify(&header(&renamed, None, TS)).unwrap_err();
        assert_eq!(error, CertificateError::Signature.into());
        let own = Credentials {
            client_id: "root".to_owned(),
            ..credentials
        };
        let signed = header(&own, None, TS);
        let error = Claim::from_header(&signed).map(|_| ()).unwrap_err();
        assert_eq!(error, CertificateError::IssuerIsClient.into());
    }

    #[test]
    fn a_stale_timestamp_is_answered_with_the_time() {
        for ts in [TS - 59, TS, TS + 60] {
            assert!(verify(&header(&issuer(), None, ts)).is_ok(), "{ts}");
        }
        for ts in [0, TS - 60, TS + 61, u64::MAX] {
            for credentials in [issuer(), temporary(None)] {
                let error = verify(&header(&credentials, None, ts)).unwrap_err();
                let VerifyError::StaleTimestamp { challenge } = error else {
                    panic!("{error}")
                };
                let signer = Signer::new(&credentials, None);
                assert_eq!(signer.challenge_time(&challenge), Some(TS));
            }
        }
        let patient = Verification {
            timestamp_skew: u64::MAX,
            ..verification()
        };
        let late = header(&issuer(), None, 0);
        assert!(verify_header(&GET, &late, root, &patient).is_ok());
    }

    /// Signs values that [`Signer`] never writes.
    fn forge(ts: &str, hash: Option<&str>) -> String {
        let request = &GET;
        let (nonce, ext, app) = ("n", "", None);
        let kind = Kind::Header;
        let hash_text = hash.unwrap_or_default();
        let normalised = Normalised {
            kind,
            ts,
            nonce,
            request,
            hash: hash_text,
            ext,
            app,
        };
        let mac = normalised.mac(&mac::key("root-secret"));
        let mac = std::str::from_utf8(&mac).unwrap();
        let hash = hash
            .map(|hash| format!(", hash=\"{hash}\""))
            .unwrap_or_default();
        format!("Hawk id=\"root\", ts=\"{ts}\", nonce=\"n\", mac=\"{mac}\"{hash}")
    }

    #[test]
    fn a_timestamp_is_seconds_and_nothing_else() {
        assert!(verify(&forge(&TS.to_string(), None)).is_ok());
        for ts in [
            "x",
            "NaN",
            "1.7e9",
            "1700000000.5",
            "+1700000000",
            " 1700000000",
            "0x6553f100",
        ] {
            assert_eq!(
                verify(&forge(ts, None)),
                Err(VerifyError::Timestamp),
                "{ts}"
            );
        }
    }

    #[test]
    fn a_payload_hash_is_checked_where_one_is_asked_for() {
        let ts = TS.to_string();
        let hash = crate::payload_hash("application/json", b"{}");
        let signed = forge(&ts, Some(&hash));
        let check = |header: &str, payload_hash| {
            let verification = Verification {
                payload_hash,
                ..verification()
            };
            verify_header(&GET, header, root, &verification)
        };
        let verified = check(&signed, None).unwrap();
        assert_eq!(verified.payload_hash.as_deref(), Some(hash.as_str()));
        assert!(check(&signed, Some(&hash)).is_ok());
        let other = crate::payload_hash("application/json", b"{ }");
        assert_eq!(check(&signed, Some(&other)), Err(VerifyError::PayloadHash));
        assert_eq!(
            check(&forge(&ts, None), Some(&hash)),
            Err(VerifyError::NoPayloadHash)
        );
    }

    #[test]
    fn each_required_attribute_is_required() {
        let all = ["id=\"root\"", "ts=\"1\"", "nonce=\"n\"", "mac=\"m\""];
        assert_eq!(
            verify(&format!("Hawk {}", all.join(", "))),
            Err(VerifyError::Mac)
        );
        for missing in all {
            let rest: Vec<&str> = all.into_iter().filter(|&name| name != missing).collect();
            let error = verify(&format!("Hawk {}", rest.join(", "))).unwrap_err();
            assert_eq!(
                (error.status(), error),
                (400, VerifyError::Attributes),
                "{missing}"
            );
        }
    }

    #[test]
    fn status_and_sentence_of_every_refusal() {
        let challenge = String::new();
        let table = [
            (
                HeaderError::NotHawk.into(),
                401,
                "no Hawk credentials: sign the request, or append a bewit to its URL",
            ),
            (
                HeaderError::Format.into(),
                400,
                "Bad header format: write attributes as name=\"value\", separated by commas",
            ),
            (
                BewitError::Missing.into(),
                401,
                "no bewit: append one to the URL as its last query parameter",
            ),
            (
                BewitError::Structure.into(),
                400,
                "Invalid bewit structure: use the bewit unchanged, it has id, expiry, mac and ext",
            ),
            (
                VerifyError::Attributes,
                400,
                "Missing attributes: give id, ts, nonce and mac",
            ),
            (
                ExtError::Malformed.into(),
                401,
                "Failed to parse ext: make it the base64 of a JSON object, or leave it out",
            ),
            (
                ExtError::AuthorizedScopes.into(),
                401,
                "ext.authorizedScopes must be an array of valid scopes: use printable ASCII only",
            ),
            (
                CertificateError::Expired.into(),
                401,
                "ext.certificate.expiry < now: get new temporary credentials, these have expired",
            ),
            (
                VerifyError::UnknownClient,
                401,
                "Unknown credentials: check the client id",
            ),
            (
                VerifyError::Mac,
                401,
                "Bad mac: check the access token, and that method and URL are sent as they were signed",
            ),
            (
                VerifyError::NoPayloadHash,
                401,
                "Missing required payload hash: sign the body too",
            ),
            (
                VerifyError::PayloadHash,
                401,
                "Bad payload hash: send the body and content type that were signed",
            ),
            (
                VerifyError::Timestamp,
                401,
                "Invalid timestamp: give ts in whole seconds since the epoch",
            ),
            (
                VerifyError::StaleTimestamp { challenge },
                401,
                "Stale timestamp: set the clock by the ts of the challenge and sign again",
            ),
        ];
        for (error, status, sentence) in table {
            assert_eq!(
                (error.status(), error.to_string().as_str()),
                (status, sentence)
            );
        }
    }
}
