//! Which of a request's fields go out, on either wire.
//!
//! Hop-by-hop fields stop here; `Host`, `Authorization` and the framing are made anew; all else
//! passes as it came.

use std::sync::LazyLock;

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};

use crate::message::fields::{Fields, Names};
use crate::message::headers;
use crate::message::names::AUTHORIZED_SCOPES;

/// Fields that are made anew for upstream, or are for the proxy.
static NOT_SENT: LazyLock<Names> =
    LazyLock::new(|| Names::from_iter([HOST, AUTHORIZATION, CONTENT_LENGTH, AUTHORIZED_SCOPES]));

/// Leaves only the fields that go out as they came. Returns whether a length was among the fields.
pub fn to_upstream(fields: &mut impl Fields) -> bool {
    let had_length = fields.has(&CONTENT_LENGTH);
    headers::strip_request(fields);
    fields.remove_all(&NOT_SENT);
    had_length
}

/// The one `Content-Length` that goes out, in plain decimal; `None` where there is none, or where
/// the length is not known. A request that could have a body says that it has none (RFC 9110 8.6):
/// otherwise load balancers answer 411.
pub fn content_length(method: &Method, length: Option<u64>, had_length: bool) -> Option<u64> {
    let anticipates_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    length.filter(|length| *length > 0 || had_length || anticipates_body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_length_goes_out() {
        for (method, length, had, sent) in [
            (Method::GET, Some(0), false, None),
            (Method::GET, Some(0), true, Some(0)),
            (Method::GET, Some(7), true, Some(7)),
            (Method::DELETE, Some(0), false, None),
            (Method::POST, Some(0), false, Some(0)),
            (Method::PUT, Some(0), false, Some(0)),
            (Method::PATCH, Some(0), false, Some(0)),
            (Method::POST, None, false, None),
            (Method::POST, None, true, None),
        ] {
            assert_eq!(
                content_length(&method, length, had),
                sent,
                "{method} {length:?}"
            );
        }
    }
}
