//! The names of the header fields that are the proxy's own, and of those it takes out, each once.

use std::sync::LazyLock;

use http::HeaderName;

use crate::message::fields::{Fields, Names};

/// The proxy's version.
pub const VERSION: HeaderName = HeaderName::from_static("x-taskcluster-proxy-version");
/// The git revision that the proxy was built from.
pub const REVISION: HeaderName = HeaderName::from_static("x-taskcluster-proxy-revision");
/// Client id of permanent credentials.
pub const PERM_CLIENT_ID: HeaderName = HeaderName::from_static("x-taskcluster-proxy-perm-clientid");
/// Client id of temporary credentials.
pub const TEMP_CLIENT_ID: HeaderName = HeaderName::from_static("x-taskcluster-proxy-temp-clientid");
/// Scopes of temporary credentials, as JSON.
pub const TEMP_SCOPES: HeaderName = HeaderName::from_static("x-taskcluster-proxy-temp-scopes");
/// Names of our fields that were left out since they would be too long.
pub const OMITTED: HeaderName = HeaderName::from_static("x-taskcluster-proxy-omitted");
/// The stable code of a refusal.
pub const ERROR: HeaderName = HeaderName::from_static("x-taskcluster-proxy-error");
/// The upstream URL of an answer.
pub const ENDPOINT: HeaderName = HeaderName::from_static("x-taskcluster-endpoint");
/// Restriction of an answer's signature; in a request, the scopes it asks to be narrowed to.
pub const AUTHORIZED_SCOPES: HeaderName =
    HeaderName::from_static("x-taskcluster-authorized-scopes");

/// Every name that is ours to set in an answer.
static OURS: LazyLock<Names> = LazyLock::new(|| {
    Names::from_iter([
        ENDPOINT,
        VERSION,
        REVISION,
        PERM_CLIENT_ID,
        TEMP_CLIENT_ID,
        TEMP_SCOPES,
        AUTHORIZED_SCOPES,
        OMITTED,
        ERROR,
    ])
});

/// Takes out of an answer what upstream sent under our names.
pub fn clear_ours(headers: &mut impl Fields) {
    headers.remove_all(&OURS);
}
