//! A request's head that the gate holds: the lines as they came.
//!
//! What it is not: it judges nothing. [`crate::message::head`] has found before that the head can be
//! read in one way only.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::Bytes;
use http::Method;

use crate::limits::HELD_FIELDS;
use crate::message::fields::{FieldLines, place};
use crate::message::target::TargetError;

/// A head of HTTP/1.1 in origin form.
pub struct HeldRequest {
    pub method: Method,
    pub fields: FieldLines,
    /// Where the head has the request target.
    target: Range<usize>,
}

impl HeldRequest {
    /// Reads a head that is [`crate::message::head::Head::plain`]; its fields go into `lines`.
    /// `None` where httparse finds no head in it.
    pub fn read(head: &[u8], lines: FieldLines) -> Option<Self> {
        let mut space = [MaybeUninit::uninit(); HELD_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(head, &mut space).ok()?;
        if status.is_partial() {
            return None;
        }
        Some(Self {
            method: Method::from_bytes(parsed.method?.as_bytes()).ok()?,
            target: place(head, parsed.path?.as_bytes()),
            fields: lines.of(head, parsed.headers),
        })
    }

    /// The request target as it came, of the `head` that this was read from.
    pub fn target_in(&self, head: &Bytes) -> Bytes {
        head.slice(self.target.clone())
    }

    /// A target as text; the gate lets nothing else pass.
    ///
    /// # Errors
    /// Where it is none.
    pub fn text(target: &[u8]) -> Result<&str, TargetError> {
        std::str::from_utf8(target).map_err(|_| TargetError::Byte)
    }
}
