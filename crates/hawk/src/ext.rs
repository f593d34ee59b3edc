//! The `ext` attribute as Taskcluster fills it: base64 of `{"certificate":{...},
//! "authorizedScopes":[...]}`, each key only when it applies.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::Value;

use crate::certificate::{Certificate, Fields, is_scope};
use crate::verify::VerifyError;

/// The auth service reads base64 with Node's decoder, which is lenient; of that we follow what
/// clients do: either alphabet, with or without padding.
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

/// The `ext` for a certificate and a restriction; none where neither applies. A restriction to no
/// scopes at all is one, and is not the same as no restriction.
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
pub(crate) fn decode(ext: &str) -> Result<Ext, VerifyError> {
    let standard = ext.replace('-', "+").replace('_', "/");
    let json = LENIENT.decode(standard).map_err(|_| VerifyError::Ext)?;
    let ext: Value = serde_json::from_slice(&json).map_err(|_| VerifyError::Ext)?;
    let ext = ext.as_object().ok_or(VerifyError::Ext)?;
    let get = |name| ext.get(name).filter(|value: &&Value| !value.is_null());
    Ok(Ext {
        certificate: get("certificate").map(Fields::read).transpose()?,
        authorized_scopes: get("authorizedScopes").map(scopes).transpose()?,
    })
}

fn scopes(value: &Value) -> Result<Vec<String>, VerifyError> {
    let scope = |value: &Value| value.as_str().filter(|s| is_scope(s)).map(str::to_owned);
    value
        .as_array()
        .and_then(|scopes| scopes.iter().map(scope).collect())
        .ok_or(VerifyError::AuthorizedScopes)
}
