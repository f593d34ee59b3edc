//! The head of an answer, upstream's or made here, as lines of HTTP/1.1 to a client that is not
//! hyper's.

use crate::decision::route::Target;
use crate::message::headers;
use crate::signing::credentials::CredentialSet;

/// What the proxy itself adds to an answer's head.
pub struct Own<'a> {
    /// The credential set that the answer names.
    pub set: &'a CredentialSet,
    /// The endpoint that the answer names.
    pub target: Option<&'a Target>,
    /// The body comes in chunks.
    pub is_chunked: bool,
    /// The connection ends with the answer.
    pub is_last: bool,
}

/// Appends a head to `out`.
pub fn write<'f>(
    out: &mut Vec<u8>,
    status: &str,
    reason: &[u8],
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    own: &Own<'_>,
) {
    headers::write_status_line(out, status, reason);
    for (name, value) in fields {
        headers::write_field(out, name, value);
    }
    own.set.write_lines(out, own.target);
    if own.is_chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if own.is_last {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
