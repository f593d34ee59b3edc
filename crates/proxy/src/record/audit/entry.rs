//! What is gathered of a request for its line, and the line.
//!
//! Targets and URLs are written without secrets, by the one rule for that. A line is put together by
//! hand, since serde would look at the same names and values again for every request; strings with
//! something to escape are serde's.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use http::HeaderName;
use jiff::Timestamp;
use serde::Serialize;

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

/// The facts about a request that the log does not have.
#[derive(Default)]
pub struct Entry {
    peer: Option<Peer>,
    traceparent: Option<Box<str>>,
    request_id: Option<Box<str>>,
    /// The part of each line that names the set that signed it.
    signer: Option<Rc<[u8]>>,
    narrowed: bool,
    /// A URL that `/bewit` signed.
    signed_url: Option<Box<str>>,
    code: Option<Code>,
    tries: u32,
}

/// What one thread keeps between lines: a part that is the same in many lines is rendered once.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    /// RFC 3339 in UTC, to the millisecond.
    time: Vec<u8>,
    /// Unix time of `time` in seconds.
    second: i64,
    /// The last client, and how it is displayed.
    peer: Option<(Peer, String)>,
    /// The last set that signed a request, and its part of a line. While the set's place in memory is
    /// held here, no other set gets it; the set itself goes with its last request all the same.
    signer: Option<(Weak<CredentialSet>, Rc<[u8]>)>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
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

    /// The request was sent `tries` times, and last signed with `set`.
    pub fn sent(&mut self, tries: u32, set: &Arc<CredentialSet>) {
        self.tries = tries;
        self.signed_with(set);
    }

    /// What upstream's answer says.
    pub fn answered(&mut self, fields: &impl Fields) {
        self.request_id = id(fields, &REQUEST_ID);
    }

    /// `set` has signed this URL here.
    pub fn signed(&mut self, set: &Arc<CredentialSet>, url: Box<str>) {
        self.signed_with(set);
        self.signed_url = Some(url);
    }

    /// Why there is no answer of upstream's, or no whole one.
    pub fn code(&mut self, code: Code) {
        self.code = Some(code);
    }

    fn signed_with(&mut self, set: &Arc<CredentialSet>) {
        // A thread that is ending has no scratch any more, and writes no line.
        let known = SCRATCH.try_with(|scratch| scratch.borrow_mut().signer(set));
        self.signer = known.ok();
    }

    /// Hands the line over.
    pub fn write(&self, audit: &Audit, request: &RequestLine<'_>) {
        // A thread that is ending has no scratch any more.
        let _ = SCRATCH.try_with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            self.render(Timestamp::now(), request, &mut scratch);
            audit.line(&scratch.line, self.signer.is_some());
        });
    }

    fn render(&self, now: Timestamp, request: &RequestLine<'_>, scratch: &mut Scratch) {
        let mut line = Line::begin(std::mem::take(&mut scratch.line));
        line.raw("{\"time\":\"").raw(scratch.stamp(now));
        line.raw("\",\"peer\":");
        match &self.peer {
            Some(peer) => line.text(scratch.peer(peer)),
            None => line.raw("null"),
        };
        line.raw(",\"method\":").text(request.method);
        line.raw(",\"target\":").text(&redact(request.target));
        if let Some(url) = request.upstream_url() {
            line.raw(",\"upstream\":").url(&url);
        }
        line.raw(",\"verdict\":\"").raw(self.verdict());
        line.raw("\"");
        if let Some(code) = self.code {
            line.raw(",\"code\":\"").raw(code.name()).raw("\"");
        }
        if let Some(part) = &self.signer {
            line.raw(part);
        }
        if self.narrowed {
            line.raw(",\"narrowed\":true");
        }
        if let Some(url) = &self.signed_url {
            line.raw(",\"signedUrl\":").text(&redact(url));
        }
        line.raw(",\"status\":");
        match request.status {
            Some(status) => line.number(status),
            None => line.raw("null"),
        };
        line.raw(",\"bytes\":").number(request.bytes);
        line.raw(",\"ms\":").number(request.took.as_millis());
        if self.tries > 0 {
            line.raw(",\"tries\":").number(self.tries);
        }
        line.id(",\"traceparent\":", self.traceparent.as_deref());
        line.id(",\"requestId\":", self.request_id.as_deref());
        line.raw("}\n");
        scratch.line = line.0;
    }

    fn verdict(&self) -> &'static str {
        match (self.code, self.tries) {
            (None, 0) => "answered",
            (Some(_), 0) => "refused",
            (None, _) => "forwarded",
            (Some(_), _) => "failed",
        }
    }
}

impl Scratch {
    /// `now`; date and time are formatted once a second.
    fn stamp(&mut self, now: Timestamp) -> &[u8] {
        if self.time.is_empty() || self.second != now.as_second() {
            self.second = now.as_second();
            self.time.clear();
            // A Vec takes everything that is written to it.
            let _ = write!(self.time, "{now:.3}");
        } else {
            self.time.truncate(self.time.len() - "000Z".len());
            let mut number = itoa::Buffer::new();
            let milliseconds = number.format(1000 + now.subsec_millisecond());
            self.time.extend_from_slice(&milliseconds.as_bytes()[1..]);
            self.time.push(b'Z');
        }
        &self.time
    }

    fn peer(&mut self, peer: &Peer) -> &str {
        let known = self.peer.take().filter(|(known, _)| known == peer);
        let shown = known.unwrap_or_else(|| (peer.clone(), peer.to_string()));
        &self.peer.insert(shown).1
    }

    fn signer(&mut self, set: &Arc<CredentialSet>) -> Rc<[u8]> {
        if let Some((known, part)) = &self.signer
            && Weak::as_ptr(known) == Arc::as_ptr(set)
        {
            return Rc::clone(part);
        }
        let mut line = Line::begin(Vec::new());
        line.raw(",\"clientId\":").text(set.client_id());
        if let Some(scopes) = set.scopes() {
            line.raw(",\"scopes\":").serde(scopes);
        }
        if let Some(scopes) = set.restriction_json() {
            line.raw(",\"authorizedScopes\":").raw(scopes.get());
        }
        let part: Rc<[u8]> = line.0.into();
        self.signer = Some((Arc::downgrade(set), Rc::clone(&part)));
        part
    }
}

/// A line that is being put together.
struct Line(Vec<u8>);

impl Line {
    /// Begins a line in the memory of `room`.
    fn begin(mut room: Vec<u8>) -> Self {
        room.clear();
        Self(room)
    }

    fn raw(&mut self, json: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(json.as_ref());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        if is_plain(text) {
            self.raw("\"").raw(text).raw("\"")
        } else {
            self.serde(text)
        }
    }

    fn url(&mut self, url: &Joined<'_>) -> &mut Self {
        let [origin, target] = url.parts();
        if is_plain(origin) && is_plain(target) {
            self.raw("\"").raw(origin).raw(target).raw("\"")
        } else {
            self.serde(url)
        }
    }

    fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    fn id(&mut self, key: &str, id: Option<&str>) {
        if let Some(id) = id {
            self.raw(key).text(id);
        }
    }

    fn serde(&mut self, value: &(impl Serialize + ?Sized)) -> &mut Self {
        // A Vec takes everything, and strings can all be written.
        let _ = serde_json::to_writer(&mut self.0, value);
        self
    }
}

/// Whether `text` needs no escape in a JSON string; looked at without an early end, so that the
/// compiler takes many bytes at once.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| {
        plain & matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')
    })
}

/// The value of a field that holds one id.
fn id(fields: &impl Fields, name: &HeaderName) -> Option<Box<str>> {
    let value = fields.values(name).next()?;
    let text = str::from_utf8(value).ok()?;
    (text.len() <= ID).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};
    use serde_json::{Value, json};
    use taskcluster_proxy_hawk::Credentials;

    use super::*;
    use crate::decision::route::{RootUrl, Route, Target, route};
    use crate::signing::credentials::Build;

    /// Text with all that JSON escapes, and some that it does not.
    const ODD: &str = "q\"b\\n\nt\tz\0\u{7f}é\u{2028}\u{1f4da}";

    fn peer() -> Peer {
        Peer::Address(IpAddr::V6(Ipv6Addr::LOCALHOST))
    }

    fn request<'a>(target: &'a str, upstream: Option<&'a Target>) -> RequestLine<'a> {
        RequestLine {
            target,
            method: "GET",
            upstream,
            status: Some(200),
            bytes: u64::MAX,
            took: Duration::from_micros(56_789),
        }
    }

    fn set(client_id: &str, restriction: &[&str]) -> Arc<CredentialSet> {
        let credentials = Credentials::new(client_id, "token", None).expect("valid credentials");
        let restriction: Vec<_> = restriction.iter().map(ToString::to_string).collect();
        let build = Build {
            version: HeaderValue::from_static("1.2.3"),
            revision: HeaderValue::from_static("abc"),
        };
        let set = CredentialSet::new(&credentials, Some(&restriction), build, Arc::default());
        Arc::new(set)
    }

    /// The line as its readers see it, and that it is one.
    fn line(entry: &Entry, at: Timestamp, request: &RequestLine<'_>, room: &mut Scratch) -> Value {
        entry.render(at, request, room);
        let (last, rest) = room.line.split_last().expect("a line");
        assert_eq!((*last, memchr::memchr(b'\n', rest)), (b'\n', None));
        serde_json::from_slice(rest).expect("a JSON object")
    }

    #[test]
    fn what_must_be_escaped_is_and_the_keys_stand_in_their_order() {
        let root = RootUrl::parse("https://tc.example.com").expect("a root URL");
        let Route::Upstream(to) = route("/queue/v1/x\"y", &root) else {
            panic!("it goes upstream");
        };
        let mut fields = HeaderMap::new();
        fields.insert(TRACEPARENT, HeaderValue::from_static("a\"b"));
        fields.insert(REQUEST_ID, HeaderValue::from_static("c\\d"));
        let mut entry = Entry::default();
        entry.asked(&peer(), &fields);
        entry.narrowed(true);
        entry.answered(&fields);
        entry.signed(&set("a/client", &["a:*", ODD]), ODD.into());
        entry.sent(3, &set("a/client", &["a:*", ODD]));
        entry.code(Code::BrokeOff);
        let at = Timestamp::from_millisecond(1_709_164_799_007).expect("a time");
        let mut scratch = Scratch::default();
        let found = line(&entry, at, &request(ODD, Some(&to)), &mut scratch);
        let expected = json!({
            "time": "2024-02-28T23:59:59.007Z", "peer": "::1", "method": "GET", "target": ODD,
            "upstream": "https://tc.example.com/api/queue/v1/x\"y", "verdict": "failed",
            "code": "upstream-broke-off", "clientId": "a/client", "authorizedScopes": ["a:*", ODD],
            "narrowed": true, "signedUrl": ODD, "status": 200, "bytes": u64::MAX, "ms": 56,
            "tries": 3, "traceparent": "a\"b", "requestId": "c\\d",
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_known_is_null_or_absent() {
        let found = line(
            &Entry::default(),
            Timestamp::UNIX_EPOCH,
            &RequestLine {
                status: None,
                ..request("/x?bewit=SECRET", None)
            },
            &mut Scratch::default(),
        );
        let expected = json!({
            "time": "1970-01-01T00:00:00.000Z", "peer": null, "method": "GET",
            "target": "/x?bewit=<redacted>", "verdict": "answered", "status": null,
            "bytes": u64::MAX, "ms": 56,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_line_has_its_own_time_client_and_set_whatever_the_one_before_had() {
        let mut scratch = Scratch::default();
        let user = Peer::Address([10, 0, 0, 1].into());
        let sets = [set("first", &["a"]), set("second", &[])];
        let mut entries = Vec::new();
        for (ms, shown, peer, signed_with) in [
            (1_000, "1970-01-01T00:00:01.000Z", peer(), 0),
            (1_999, "1970-01-01T00:00:01.999Z", peer(), 0),
            (1_030, "1970-01-01T00:00:01.030Z", user.clone(), 1),
            (2_007, "1970-01-01T00:00:02.007Z", user, 0),
            (-1, "1969-12-31T23:59:59.999Z", peer(), 1),
        ] {
            let mut entry = Entry::default();
            entry.asked(&peer, &HeaderMap::new());
            entry.sent(1, &sets[signed_with]);
            entries.push((ms, shown, peer, signed_with, entry));
        }
        for (ms, shown, peer, signed_with, entry) in entries {
            let at = Timestamp::from_millisecond(ms).expect("a time");
            let found = line(&entry, at, &request("/x", None), &mut scratch);
            assert_eq!(found["time"], shown);
            assert_eq!(found["peer"], peer.to_string());
            assert_eq!(found["clientId"], ["first", "second"][signed_with]);
            let scopes = [json!(["a"]), json!([])];
            assert_eq!(found["authorizedScopes"], scopes[signed_with]);
        }
    }

    #[test]
    fn a_set_that_is_gone_is_not_taken_for_one_in_its_place() {
        for number in 0..100 {
            let client_id = format!("client/{number}");
            let mut entry = Entry::default();
            entry.sent(1, &set(&client_id, &[]));
            let at = Timestamp::UNIX_EPOCH;
            let found = line(&entry, at, &request("/x", None), &mut Scratch::default());
            assert_eq!(found["clientId"], client_id);
        }
    }
}
