//! An origin as connectors and proxies take it. What it is not: nothing is looked up or dialled here.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::decision::route::Origin;
use crate::exchange::send_error::{SendError, name_of};

/// The URI that connectors dial.
///
/// # Errors
/// Where the host is no name.
pub fn uri(origin: &Origin) -> Result<Uri, SendError> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if origin.secure() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    parts.authority = Some(authority_with_port(origin)?);
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|_| unusable(origin))
}

/// Host and port, always both: the request target of a CONNECT (RFC 9112 3.2.3).
///
/// # Errors
/// Where the host is no name.
pub fn authority_with_port(origin: &Origin) -> Result<Authority, SendError> {
    Authority::try_from(format!("{}:{}", origin.host(), origin.port()))
        .map_err(|_| unusable(origin))
}

/// The error for such a host.
pub fn unusable(origin: &Origin) -> SendError {
    SendError::Network {
        host: name_of(origin),
        reason: "this is no host's name".into(),
    }
}
