//! A request's head that the gate holds: the lines as they came.
//!
//! What it is not: it judges nothing. [`crate::message::head`] has found before that the head can be
//! read in one way only.

use std::mem::MaybeUninit;
use std::rc::Rc;

use http::Method;

use crate::limits::HELD_FIELDS;
use crate::message::fields::FieldLines;

/// A head of HTTP/1.1 in origin form.
pub struct RequestLines {
    pub method: Method,
    /// The request target as it came.
    pub target: Rc<str>,
    pub fields: FieldLines,
}

impl RequestLines {
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
            target: parsed.path?.into(),
            fields: lines.of(head, parsed.headers),
        })
    }
}
