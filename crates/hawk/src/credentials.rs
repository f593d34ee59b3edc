//! A client id, its access token and, for temporary credentials, the certificate. They are checked
//! once, so that all later code can put them into a header.

use std::fmt;

use crate::certificate::{Certificate, CertificateError};
use crate::character::named;

/// Credentials that have been found fit to sign with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Taskcluster's name for the client: letters, digits and `!@/:.+|_-`.
    pub client_id: String,
    /// The secret. It is the HMAC key as it stands, never decoded.
    pub access_token: String,
    /// Present where the credentials are temporary.
    pub certificate: Option<Certificate>,
}

/// Why a set of credentials was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The client id is empty.
    #[error("clientId is empty: pass the client id that belongs to the access token")]
    NoClientId,
    /// The client id holds a character that Taskcluster's client ids never have. Some of these
    /// cannot stand in a quoted attribute of Hawk.
    #[error(
        "clientId contains {}, which cannot be part of one: use letters, digits and !@/:.+|_- only",
        named(*.0)
    )]
    ClientId(char),
    /// The access token is empty.
    #[error("accessToken is empty: pass the access token of the client")]
    NoAccessToken,
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Credentials {
    /// Checks a set of credentials. A certificate that is the empty string counts as none, which
    /// is how `queue.claimWork` and environment variables write it.
    pub fn new(
        client_id: &str,
        access_token: &str,
        certificate: Option<&str>,
    ) -> Result<Self, CredentialsError> {
        check_client_id(client_id)?;
        if access_token.is_empty() {
            return Err(CredentialsError::NoAccessToken);
        }
        let certificate = certificate
            .filter(|json| !json.is_empty())
            .map(|json| Certificate::parse(json, client_id))
            .transpose()?;
        Ok(Self {
            client_id: client_id.to_owned(),
            access_token: access_token.to_owned(),
            certificate,
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// The pattern is the one of `clientId` in Taskcluster's auth schemas.
pub(crate) fn check_client_id(client_id: &str) -> Result<(), CredentialsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!@/:.+|_-".contains(c);
    match client_id.chars().find(|&c| !allowed(c)) {
        _ if client_id.is_empty() => Err(CredentialsError::NoClientId),
        Some(c) => Err(CredentialsError::ClientId(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = r#"{"version": 1, "scopes": ["a"], "start": 1, "expiry": 2,
        "seed": "s33d5s33d5s33d5s33d5s33d5s33d5s33d5s33d5s33d", "signature": "s1gn"}"#;

    #[test]
    fn takes_what_taskcluster_gives() {
        for client_id in [
            "x",
            "project/a/b",
            "mozilla-auth0/ad|Mozilla-LDAP|x",
            "task-client/Ab_c/0/on/w+.@:!",
        ] {
            assert!(
                Credentials::new(client_id, "token", None).is_ok(),
                "{client_id}"
            );
        }
        let none = Credentials::new("x", "token", Some("")).unwrap();
        assert_eq!(none.certificate, None);
        let some = Credentials::new("x", "token", Some(CERTIFICATE)).unwrap();
        assert_eq!(some.certificate.unwrap().scopes(), ["a"]);
    }

    #[test]
    fn refuses_what_no_header_could_carry() {
        assert_eq!(
            Credentials::new("", "t", None),
            Err(CredentialsError::NoClientId)
        );
        assert_eq!(
            Credentials::new("x", "", None),
            Err(CredentialsError::NoAccessToken)
        );
        for c in [
            '"', '\\', '\n', '\r', '\0', ' ', '\u{7f}', 'é', '*', '<', ',', '=', '~', '\u{202e}',
        ] {
            let client_id = format!("a{c}b");
            assert_eq!(
                Credentials::new(&client_id, "t", None),
                Err(CredentialsError::ClientId(c))
            );
        }
        for certificate in [" ", "null", "[]", "{", "\"{}\""] {
            assert_eq!(
                Credentials::new("x", "t", Some(certificate)),
                Err(CredentialsError::Certificate(CertificateError::NotAnObject)),
                "{certificate}",
            );
        }
    }

    #[test]
    fn shows_no_secret() {
        let credentials = Credentials::new("x/y", "t0ken", Some(CERTIFICATE)).unwrap();
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(shown.contains("x/y"));
        for secret in ["t0ken", "s33d", "s1gn"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn says_what_to_do() {
        let table = [
            (
                CredentialsError::NoClientId,
                "clientId is empty: pass the client id that belongs to the access token",
            ),
            (
                CredentialsError::ClientId('"'),
                "clientId contains '\"', which cannot be part of one: use letters, digits and !@/:.+|_- only",
            ),
            (
                CredentialsError::NoAccessToken,
                "accessToken is empty: pass the access token of the client",
            ),
            (
                CredentialsError::Certificate(CertificateError::NotAnObject),
                "certificate must be a JSON object: pass it as it came with the access token",
            ),
        ];
        for (error, sentence) in table {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
