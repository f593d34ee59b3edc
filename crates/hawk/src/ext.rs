//! The `ext` attribute as Taskcluster fills it: base64 of `{"certificate":{...},
//! "authorizedScopes":[...]}`, each key only when it applies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificate::Certificate;

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
