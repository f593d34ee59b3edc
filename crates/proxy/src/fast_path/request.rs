//! A request that the fast path may serve, and how it goes out.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::credentials::CredentialSet;
use crate::forward::to_upstream;
use crate::route::{Route, Target, route};
use crate::session::Session;
use crate::sign::Signing;

/// Fields of a request that is read here; one with more is hyper's.
const MAX_FIELDS: usize = 100;

/// A request without a body.
pub struct Request {
    pub method: Method,
    /// The request target as it came.
    pub came_as: Bytes,
    pub target: Target,
    /// Those that go out as they came.
    headers: HeaderMap,
}

impl Request {
    /// Reads a head that is [`crate::framing::Head::plain`]; `None` where its answer is not simply
    /// upstream's.
    pub fn read(session: &Session, head: &Bytes) -> Option<Self> {
        if !session.rights.proxy || session.reserved {
            return None;
        }
        let shared = &session.thread.shared;
        let mut fields = [MaybeUninit::uninit(); MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(head, &mut fields).ok()?;
        if status.is_partial() {
            return None;
        }
        let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
        let path = parsed.path?;
        let mut headers = header_map(head, head, parsed.headers)?;
        shared.guard.check(&headers, None, Version::HTTP_11).ok()?;
        let Route::Upstream(target) = route(path, &shared.root) else {
            return None;
        };
        to_upstream(&mut headers);
        Some(Self {
            method,
            came_as: head.slice_ref(path.as_bytes()),
            target,
            headers,
        })
    }

    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Appends the request to `out`, signed for one try.
    pub fn write(&self, out: &mut Vec<u8>, signing: &mut Signing, set: &CredentialSet) {
        let Target { origin, target } = &self.target;
        let method = self.method.as_str();
        for part in [method, " ", target.as_str(), " HTTP/1.1\r\nhost: "] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(origin.host_header().as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"authorization: ");
        signing.write_authorization(out, set, method, origin, target.as_str());
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// The fields of `head`, of which `bytes` are a copy to keep.
pub fn header_map(
    bytes: &Bytes,
    head: &[u8],
    fields: &[httparse::Header<'_>],
) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(part(bytes, head, field.value)).ok()?;
        headers.append(name, value);
    }
    Some(headers)
}

/// Where `bytes`, a copy of `head`, have what is `part` of it.
pub fn part(bytes: &Bytes, head: &[u8], part: &[u8]) -> Bytes {
    // An empty part may be anywhere.
    if part.is_empty() {
        return Bytes::new();
    }
    let start = part.as_ptr().addr() - head.as_ptr().addr();
    bytes.slice(start..start + part.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_head_is_the_same_part_of_its_copy() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        let bytes = Bytes::copy_from_slice(head);
        for start in 0..=head.len() {
            for end in start..=head.len() {
                assert_eq!(part(&bytes, head, &head[start..end]), head[start..end]);
            }
        }
        assert_eq!(part(&bytes, head, b""), "");
    }

    #[test]
    fn fields_keep_their_bytes_and_their_order() {
        for (section, fields) in [
            ("\r\n", &[] as &[(&str, &[u8])]),
            ("A:\r\n\r\n", &[("a", b"")]),
            ("A: \t \r\nB:b\r\n\r\n", &[("a", b""), ("b", b"b")]),
            (
                "A: 1\r\nB: \u{e9} \t2 \r\na: 3\r\n\r\n",
                &[("a", b"1"), ("a", b"3"), ("b", b"\xc3\xa9 \t2")],
            ),
            ("!#$%&'*+-.^_`|~9: x\r\n\r\n", &[("!#$%&'*+-.^_`|~9", b"x")]),
        ] {
            let head = section.as_bytes();
            let mut space = [httparse::EMPTY_HEADER; 8];
            let Ok(httparse::Status::Complete((_, parsed))) =
                httparse::parse_headers(head, &mut space)
            else {
                panic!("{section:?}");
            };
            let map = header_map(&Bytes::copy_from_slice(head), head, parsed).expect("fields");
            let read: Vec<_> = map
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect();
            assert_eq!(read, fields, "{section:?}");
        }
    }
}
