//! What is gathered of a request for its line, and the line.
//!
//! Targets and URLs are written without secrets, by the one rule for that.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderName;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Audit;
use crate::client::admit::Peer;
use crate::code::Code;
use crate::message::fields::Fields;
use crate::record::log::{Joined, RequestLine};
use crate::record::redact::redact;
use crate::signing::credentials::CredentialSet;

/// W3C Trace Context 3.2
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The name that Taskcluster's services give a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-for-request-id");
/// A longer value is no id.
const ID: usize = 128;

/// What is known of a request beside what the log has of it.
#[derive(Default)]
pub struct Entry {
    peer: Option<Peer>,
    traceparent: Option<Box<str>>,
    request_id: Option<Box<str>>,
    /// Signed it.
    set: Option<Arc<CredentialSet>>,
    narrowed: bool,
    /// A URL that `/bewit` signed.
    signed_url: Option<Box<str>>,
    code: Option<Code>,
    tries: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: &'a str,
    peer: Option<Shown<'a>>,
    method: &'a str,
    target: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Joined<'a>>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_scopes: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    narrowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_url: Option<Cow<'a, str>>,
    status: Option<u16>,
    bytes: u64,
    ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// A peer as it is displayed.
struct Shown<'a>(&'a Peer);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// What one thread needs to render a line, kept between lines.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    /// RFC 3339 in UTC, to the millisecond.
    time: String,
    /// Unix time of `time` in seconds.
    second: i64,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Makes `time` that of `now`; date and time are formatted once a second.
    fn stamp(&mut self, now: Timestamp) {
        if self.time.is_empty() || self.second != now.as_second() {
            self.second = now.as_second();
            self.time.clear();
            // A String takes everything that is written to it.
            let _ = write!(self.time, "{now:.3}");
        } else {
            self.time.truncate(self.time.len() - "000Z".len());
            let _ = write!(self.time, "{:03}Z", now.subsec_millisecond());
        }
    }
}

impl Entry {
    /// The client, and the fields of its head that are recorded.
    pub fn asked(&mut self, peer: &Peer, fields: &impl Fields) {
        self.peer = Some(peer.clone());
        self.traceparent = id(fields, &TRACEPARENT);
    }

    /// Whether the request asks to be narrowed.
    pub fn narrowed(&mut self, is_narrowed: bool) {
        self.narrowed = is_narrowed;
    }

    /// It was sent so many times, and last signed with `set`.
    pub fn sent(&mut self, tries: u32, set: &Arc<CredentialSet>) {
        self.tries = tries;
        self.set = Some(Arc::clone(set));
    }

    /// What upstream's answer says.
    pub fn answered(&mut self, fields: &impl Fields) {
        self.request_id = id(fields, &REQUEST_ID);
    }

    /// `set` has signed this URL here.
    pub fn signed(&mut self, set: &Arc<CredentialSet>, url: Box<str>) {
        self.set = Some(Arc::clone(set));
        self.signed_url = Some(url);
    }

    /// Why there is no answer of upstream's, or no whole one.
    pub fn code(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// Hands the line over.
    pub fn write(&self, audit: &Audit, request: &RequestLine<'_>) {
        // A thread that is ending has no scratch buffer any more.
        let _ = SCRATCH.try_with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            scratch.stamp(Timestamp::now());
            let Scratch { line, time, .. } = &mut *scratch;
            line.clear();
            if serde_json::to_writer(&mut *line, &self.line(time, request)).is_ok() {
                line.push(b'\n');
                audit.line(line);
            }
        });
    }

    fn line<'a>(&'a self, time: &'a str, request: &RequestLine<'a>) -> Line<'a> {
        let set = self.set.as_deref();
        Line {
            time,
            peer: self.peer.as_ref().map(Shown),
            method: request.method,
            target: redact(request.target),
            upstream: request.upstream_url(),
            verdict: match (self.code, self.tries) {
                (None, 0) => "answered",
                (Some(_), 0) => "refused",
                (None, _) => "forwarded",
                (Some(_), _) => "failed",
            },
            code: self.code.map(Code::name),
            client_id: set.map(CredentialSet::client_id),
            scopes: set.and_then(CredentialSet::scopes_json),
            authorized_scopes: set.and_then(CredentialSet::restriction_json),
            narrowed: self.narrowed,
            signed_url: self.signed_url.as_deref().map(redact),
            status: request.status,
            bytes: request.bytes,
            ms: request.took.as_millis(),
            tries: (self.tries > 0).then_some(self.tries),
            traceparent: self.traceparent.as_deref(),
            request_id: self.request_id.as_deref(),
        }
    }
}

/// The value of a field that holds one id.
fn id(fields: &impl Fields, name: &HeaderName) -> Option<Box<str>> {
    let value = fields.values(name).next()?;
    let text = str::from_utf8(value).ok()?;
    (text.len() <= ID).then(|| text.into())
}
