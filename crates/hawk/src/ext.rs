//! The `ext` attribute as Taskcluster fills it: base64 of `{"certificate":{...},
//! "authorizedScopes":[...]}`, each key only when it applies.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::Value;
use thiserror::Error;

use crate::certificate::{Certificate, CertificateError, Fields, is_scope};

/// The auth service reads base64 with Node's lenient decoder. Of its leniency, this one has what
/// clients make use of: either alphabet, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What an `ext` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ext {
    pub(crate) certificate: Option<Fields>,
    pub(crate) authorized_scopes: Option<Vec<String>>,
}

/// Why an `ext` is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExtError {
    /// It is not base64 of a JSON object.
    #[error("Failed to parse ext: make it the base64 of a JSON object, or leave it out")]
    Malformed,
    /// Its `authorizedScopes` is not an array of strings of printable ASCII.
    #[error("ext.authorizedScopes must be an array of valid scopes: use printable ASCII only")]
    AuthorizedScopes,
    /// Its certificate was refused.
    #[error("ext.{0}")]
    Certificate(#[from] CertificateError),
}

/// The `ext` for a certificate and a restriction; `None` where neither applies. An empty
/// restriction is a restriction, and is not the same as none.
pub(crate) fn encode(
    certificate: Option<&Certificate>,
    authorized_scopes: Option<&[String]>,
) -> Option<String> {
    let certificate = certificate.map(|c| format!("\"certificate\":{}", c.as_json()));
    let authorized_scopes = authorized_scopes.map(|scopes| {
        let scopes = serde_json::to_string(scopes).expect("strings make JSON");
        format!("\"authorizedScopes\":{scopes}")
    });
    let json = match (certificate, authorized_scopes) {
        (None, None) => return None,
        (Some(one), None) | (None, Some(one)) => format!("{{{one}}}"),
        (Some(certificate), Some(scopes)) => format!("{{{certificate},{scopes}}}"),
    };
    Some(STANDARD.encode(json))
}

/// Reads an `ext`. Keys that it does not know are ignored, as newer clients may send them.
pub(crate) fn decode(ext: &str) -> Result<Ext, ExtError> {
    let standard = ext.replace('-', "+").replace('_', "/");
    let json = LENIENT.decode(standard).map_err(|_| ExtError::Malformed)?;
    let ext: Value = serde_json::from_slice(&json).map_err(|_| ExtError::Malformed)?;
    let ext = ext.as_object().ok_or(ExtError::Malformed)?;
    let get = |name| ext.get(name).filter(|value: &&Value| !value.is_null());
    Ok(Ext {
        certificate: get("certificate").map(Fields::read).transpose()?,
        authorized_scopes: get("authorizedScopes").map(scopes).transpose()?,
    })
}

fn scopes(value: &Value) -> Result<Vec<String>, ExtError> {
    let scope = |value: &Value| value.as_str().filter(|s| is_scope(s)).map(str::to_owned);
    value
        .as_array()
        .and_then(|scopes| scopes.iter().map(scope).collect())
        .ok_or(ExtError::AuthorizedScopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::CertificateError;

    fn json(ext: &str) -> String {
        String::from_utf8(STANDARD.decode(ext).unwrap()).unwrap()
    }

    fn scopes(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|&scope| scope.to_owned()).collect()
    }

    #[test]
    fn each_key_only_when_it_applies() {
        let limits = concat!(
            r#""version":1,"scopes":[],"start":1,"expiry":2,"#,
            r#""seed":"JYR4wzMCTG6XeDS2cDUCMwH0RFUXGfQjK7LgqD-e6lSQ","signature":"x""#
        );
        let certificate =
            Certificate::parse(&format!("{{ {limits},\n\t\"b\": \" x \" }}"), "c").unwrap();
        let certificate = Some(&certificate);
        let certified = format!(r#""certificate":{{{limits},"b":" x "}}"#);
        let (some, none) = (scopes(&["a", "q\"\\\u{7}é"]), scopes(&[]));
        let table = [
            (None, None, None),
            (
                None,
                Some(&none),
                Some("{\"authorizedScopes\":[]}".to_owned()),
            ),
            (
                None,
                Some(&some),
                Some(r#"{"authorizedScopes":["a","q\"\\\u0007é"]}"#.to_owned()),
            ),
            (certificate, None, Some(format!("{{{certified}}}"))),
            (
                certificate,
                Some(&none),
                Some(format!("{{{certified},\"authorizedScopes\":[]}}")),
            ),
        ];
        for (certificate, scopes, expected) in table {
            let ext = encode(certificate, scopes.map(Vec::as_slice));
            assert_eq!(ext.as_deref().map(json), expected);
        }
    }

    #[test]
    fn reads_what_clients_write() {
        let read = |json: &str| {
            let ext = decode(&STANDARD.encode(json)).unwrap();
            (ext.certificate.is_some(), ext.authorized_scopes)
        };
        assert_eq!(read("{}"), (false, None));
        assert_eq!(read("{\"somefield\":\"foo\"}"), (false, None));
        assert_eq!(
            read("{\"certificate\":null,\"authorizedScopes\":null}"),
            (false, None)
        );
        assert_eq!(read("{\"certificate\":{}}"), (true, None));
        assert_eq!(read("{\"authorizedScopes\":[]}"), (false, Some(vec![])));
        assert_eq!(
            read("{\"authorizedScopes\":[\"a b\"]}"),
            (false, Some(scopes(&["a b"])))
        );
    }

    #[test]
    fn either_alphabet_with_or_without_padding() {
        let json = r#"{"authorizedScopes":["~~~???>>>"]}"#;
        let standard = STANDARD.encode(json);
        assert!(
            standard.contains(['+', '/']) && standard.ends_with('='),
            "{standard}"
        );
        let url_safe = standard.replace('+', "-").replace('/', "_");
        for ext in [&standard, &url_safe] {
            for ext in [ext, ext.trim_end_matches('=')] {
                let scopes = decode(ext).unwrap().authorized_scopes;
                assert_eq!(scopes, Some(vec!["~~~???>>>".to_owned()]), "{ext}");
            }
        }
    }

    #[test]
    fn refuses_what_is_neither() {
        for ext in ["abcd", "", "e30=e30=", "e", "some-app-ext-data", "e3 0="] {
            assert_eq!(decode(ext).unwrap_err(), ExtError::Malformed, "{ext}");
        }
        for json in [
            "null",
            "1",
            "\"x\"",
            "[]",
            "true",
            "{",
            "{}{}",
            "\u{feff}{}",
            "{'a':1}",
        ] {
            assert_eq!(
                decode(&STANDARD.encode(json)).unwrap_err(),
                ExtError::Malformed,
                "{json}"
            );
        }
        assert_eq!(
            decode(&STANDARD.encode(b"{\"a\":\"\xff\"}")).unwrap_err(),
            ExtError::Malformed
        );
        for value in [
            "\"a\"",
            "{}",
            "1",
            "[1]",
            "[\"a\",null]",
            r#"["one\ntwo"]"#,
            "[\"é\"]",
        ] {
            let json = format!("{{\"authorizedScopes\":{value}}}");
            let error = decode(&STANDARD.encode(json)).unwrap_err();
            assert_eq!(error, ExtError::AuthorizedScopes, "{value}");
        }
        for value in ["true", "\"{}\"", "[]", "1"] {
            let json = format!("{{\"certificate\":{value}}}");
            let error = decode(&STANDARD.encode(json)).unwrap_err();
            assert_eq!(
                error,
                ExtError::Certificate(CertificateError::NotAnObject),
                "{value}"
            );
        }
    }
}
