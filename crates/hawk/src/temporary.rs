//! Creating temporary credentials from permanent ones, named or unnamed, byte for byte as
//! Taskcluster's clients do (`createTemporaryCredentials` in `clients/client/src/client.js`,
//! `CreateNamedTemporaryCredentials` in `clients/client-go/creds.go`). For an empty list of scopes
//! these two differ by a line feed in the signed text; the auth service agrees with the latter.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;

use crate::certificate::{Fields, MAX_CERTIFICATE_LIFETIME, is_scope, temporary_access_token};
use crate::credentials::{Credentials, CredentialsError, check_client_id};
use crate::mac;

/// The properties of the temporary credentials to create.
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
    /// Their scopes: at most those of the issuer.
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
    /// The name is not a client id, or verifiers do not read one of the times.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// More than 31 days.
    #[error("temporary credentials cannot last longer than 31 days: choose an earlier expiry")]
    Lifetime,
    /// A scope that holds something besides printable ASCII.
    #[error("scope {} is not valid: use printable ASCII only", Value::from(.0.as_str()))]
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
    let random = SystemRandom::new();
    let seed = slugid(&random) + &slugid(&random);
    create_with_seed(issuer, options, seed)
}

fn create_with_seed(
    issuer: &Credentials,
    options: &TemporaryCredentialsOptions<'_>,
    seed: String,
) -> Result<Credentials, TemporaryCredentialsError> {
    let name = options.client_id.filter(|name| !name.is_empty());
    check(issuer, name, options)?;
    let client_id = name.unwrap_or(&issuer.client_id);
    let key = mac::key(&issuer.access_token);
    let access_token = temporary_access_token(&key, &seed);
    let mut certificate = Fields {
        version: Some(1),
        scopes: Some(options.scopes.to_vec()),
        start: Some(options.start),
        expiry: Some(options.expiry),
        seed: Some(seed),
        signature: None,
        issuer: name.map(|_| issuer.client_id.clone()),
        names_client: false,
    };
    certificate.sign(&key, client_id);
    let json = serde_json::to_string(&certificate).expect("strings and integers make JSON");
    Ok(Credentials::new(client_id, &access_token, Some(&json))?)
}

fn check(
    issuer: &Credentials,
    name: Option<&str>,
    options: &TemporaryCredentialsOptions<'_>,
) -> Result<(), TemporaryCredentialsError> {
    if issuer.certificate.is_some() {
        return Err(TemporaryCredentialsError::IssuerIsTemporary);
    }
    if let Some(name) = name {
        check_client_id(name)?;
        if name == issuer.client_id {
            return Err(TemporaryCredentialsError::NameIsIssuer);
        }
    }
    if options.expiry.saturating_sub(options.start) > MAX_CERTIFICATE_LIFETIME {
        return Err(TemporaryCredentialsError::Lifetime);
    }
    match options.scopes.iter().find(|scope| !is_scope(scope)) {
        Some(scope) => Err(TemporaryCredentialsError::Scope(scope.clone())),
        None => Ok(()),
    }
}

/// A random UUID (RFC 9562 5.4) in 22 characters of base64url, as Taskcluster writes them.
fn slugid(random: &SystemRandom) -> String {
    let mut uuid = [0; 16];
    random
        .fill(&mut uuid)
        .expect("the system's random source works");
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    URL_SAFE_NO_PAD.encode(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_438_964_811_744;
    const DAY: i64 = 24 * 60 * 60 * 1000;
    const SEED: &str = "JYR4wzMCTG6XeDS2cDUCMwH0RFUXGfQjK7LgqD-e6lSQ";

    fn issuer() -> Credentials {
        Credentials::new("def/ghi@XXX", "tokenABCDEFGH", None).unwrap()
    }

    fn scopes() -> Vec<String> {
        vec![
            "scope/asd:fhjdf/X".to_owned(),
            "scope/asd:fhjdf/XYZ*".to_owned(),
        ]
    }

    fn options<'a>(
        client_id: Option<&'a str>,
        scopes: &'a [String],
    ) -> TemporaryCredentialsOptions<'a> {
        TemporaryCredentialsOptions {
            client_id,
            start: START,
            expiry: START + DAY,
            scopes,
        }
    }

    /// `clients/client-go/testcases.json` of Taskcluster.
    #[test]
    fn byte_for_byte_those_of_taskclusters_clients() {
        let head = r#"{"version":1,"scopes":["scope/asd:fhjdf/X","scope/asd:fhjdf/XYZ*"],"start":1438964811744,"expiry":1439051211744,"seed":"JYR4wzMCTG6XeDS2cDUCMwH0RFUXGfQjK7LgqD-e6lSQ","signature":"#;
        let unnamed = format!("{head}\"45AlB/hKZZZz4Tf3NaidutasfgBnr4t2AxwBiGDQF9Q=\"}}");
        let named = format!(
            "{head}\"nNEaLtZMiw627NuDbF5Z8HDFc57MGWCptXBQSYNFgBk=\",\"issuer\":\"def/ghi@XXX\"}}",
        );
        let table = [
            (None, "def/ghi@XXX", &unnamed),
            (Some(""), "def/ghi@XXX", &unnamed),
            (Some("abc/def/ghi"), "abc/def/ghi", &named),
        ];
        for (name, client_id, certificate) in table {
            let credentials =
                create_with_seed(&issuer(), &options(name, &scopes()), SEED.to_owned()).unwrap();
            assert_eq!(credentials.client_id, client_id);
            assert_eq!(
                credentials.access_token,
                "R4OVHWpIvy6KsqS4AWE51QwbvgLvsstS6e6UW8IfHUY"
            );
            assert_eq!(credentials.certificate.unwrap().as_json(), certificate);
        }
    }

    #[test]
    fn every_seed_is_two_new_slugids() {
        let create = || create_temporary_credentials(&issuer(), &options(None, &[])).unwrap();
        let (one, two) = (create(), create());
        assert_ne!(one.access_token, two.access_token);
        let json: serde_json::Value =
            serde_json::from_str(one.certificate.unwrap().as_json()).unwrap();
        let seed = json["seed"].as_str().unwrap();
        for slugid in [&seed[..22], &seed[22..]] {
            let uuid = URL_SAFE_NO_PAD.decode(slugid).unwrap();
            assert_eq!((uuid.len(), uuid[6] >> 4, uuid[8] >> 6), (16, 4, 2));
        }
    }

    #[test]
    fn refuses_what_would_not_verify() {
        use TemporaryCredentialsError as E;
        let create = |issuer: &Credentials, options: &TemporaryCredentialsOptions<'_>| {
            create_temporary_credentials(issuer, options).map(drop)
        };
        let temporary = create_temporary_credentials(&issuer(), &options(None, &[])).unwrap();
        assert_eq!(
            create(&temporary, &options(None, &[])),
            Err(E::IssuerIsTemporary)
        );
        let own = options(Some("def/ghi@XXX"), &[]);
        assert_eq!(create(&issuer(), &own), Err(E::NameIsIssuer));
        let name = options(Some("a b"), &[]);
        assert_eq!(
            create(&issuer(), &name),
            Err(E::Credentials(CredentialsError::ClientId(' ')))
        );
        let longest = TemporaryCredentialsOptions {
            expiry: START + 31 * DAY,
            ..options(None, &[])
        };
        assert_eq!(create(&issuer(), &longest), Ok(()));
        let longer = TemporaryCredentialsOptions {
            expiry: START + 31 * DAY + 1,
            ..longest
        };
        assert_eq!(create(&issuer(), &longer), Err(E::Lifetime));
        let expired = TemporaryCredentialsOptions {
            expiry: START - DAY,
            ..longest
        };
        assert_eq!(create(&issuer(), &expired), Ok(()));
        let scope = vec!["a".to_owned(), "b\nc".to_owned()];
        assert_eq!(
            create(&issuer(), &options(None, &scope)),
            Err(E::Scope("b\nc".to_owned()))
        );
    }

    #[test]
    fn says_what_to_do() {
        use TemporaryCredentialsError as E;
        let table = [
            (
                E::IssuerIsTemporary,
                "temporary credentials cannot create temporary credentials: use permanent ones",
            ),
            (
                E::NameIsIssuer,
                "the name of temporary credentials must differ from their issuer's: choose another",
            ),
            (
                E::Credentials(CredentialsError::ClientId(' ')),
                "clientId contains ' ', which cannot be part of one: use letters, digits and !@/:.+|_- only",
            ),
            (
                E::Lifetime,
                "temporary credentials cannot last longer than 31 days: choose an earlier expiry",
            ),
            (
                E::Scope("b\n".to_owned()),
                "scope \"b\\n\" is not valid: use printable ASCII only",
            ),
        ];
        for (error, sentence) in table {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
