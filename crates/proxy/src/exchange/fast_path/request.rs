//! A request that the fast path may serve, and how it goes out.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Method, Version};

use crate::decision::route::{Route, Target, route};
use crate::exchange::forward::to_upstream;
use crate::message::fields::FieldLines;
use crate::session::{Session, Thread};
use crate::signing::credentials::CredentialSet;
use crate::signing::sign::Signing;

/// Fields of a request that is read here; one with more is hyper's.
const MAX_FIELDS: usize = 100;

/// A request without a body.
pub struct Request {
    pub method: Method,
    /// The request target as it came.
    pub came_as: Bytes,
    pub target: Target,
    /// Those that go out as they came.
    pub fields: FieldLines,
}

impl Request {
    /// Reads a head that is [`crate::message::head::Head::plain`]; `None` where its answer is not simply
    /// upstream's.
    pub fn read(session: &Session, head: &Bytes) -> Option<Self> {
        if !session.rights.proxy || session.reserved {
            return None;
        }
        let Thread {
            shared, buffers, ..
        } = &*session.thread;
        let mut space = [MaybeUninit::uninit(); MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(head, &mut space).ok()?;
        if status.is_partial() {
            return None;
        }
        let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
        let path = parsed.path?;
        let mut fields = buffers.take_lines().of(head, parsed.headers);
        shared.guard.check(&fields, None, Version::HTTP_11).ok()?;
        let Route::Upstream(target) = route(path, &shared.root) else {
            return None;
        };
        to_upstream(&mut fields);
        Some(Self {
            method,
            came_as: head.slice_ref(path.as_bytes()),
            target,
            fields,
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
        for (name, value) in self.fields.iter() {
            let start = out.len();
            out.extend_from_slice(name);
            out[start..].make_ascii_lowercase();
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"authorization: ");
        signing.write_authorization(out, set, method, origin, target.as_str());
        out.extend_from_slice(b"\r\n\r\n");
    }
}
