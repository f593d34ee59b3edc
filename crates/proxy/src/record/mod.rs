//! The record of requests: the log, the counters, and a request's place in both.

pub mod audit;
pub mod log;
pub mod metrics;
pub mod redact;

use std::borrow::Cow;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode, Uri, Version};

use crate::code::Code;
use crate::decision::route::Target;
use crate::message::strict_body::BodyError;
use crate::record::audit::{Audit, Entry};
use crate::record::log::{Log, RequestLine};
use crate::record::metrics::Metrics;

/// Where one thread's requests are recorded.
pub struct Recorder {
    pub metrics: Arc<Metrics>,
    pub log: Log,
    pub audit: Option<Audit>,
}

impl Recorder {
    /// Whether a request may be signed: where the audit log is required, it can be written.
    pub fn may_sign(&self) -> bool {
        self.audit.as_ref().is_none_or(Audit::may_sign)
    }
}

/// What is recorded of a request; it is settled when this is dropped.
pub struct Record {
    recorder: Rc<Recorder>,
    came: Instant,
    method: Method,
    request_target: RequestTarget,
    /// The request stands in for one with a refused head.
    stands_in: bool,
    target: Option<Rc<Target>>,
    status: Option<StatusCode>,
    bytes: u64,
    /// The further data for the audit log, where there is one.
    entry: Option<Box<Entry>>,
}

/// A request target as it came.
pub enum RequestTarget {
    /// As hyper reads it.
    Uri(Uri, Version),
    /// In origin form.
    Origin(Rc<str>),
}

impl RequestTarget {
    /// As it is logged: in the form in which it came, an authority without its user.
    fn text(&self) -> Cow<'_, str> {
        let (uri, version) = match self {
            Self::Uri(uri, version) => (uri, *version),
            Self::Origin(target) => return Cow::Borrowed(target),
        };
        // HTTP/2 sends the scheme and the authority apart from the target (RFC 9113 8.3.1).
        let is_absolute = uri.scheme().is_some() && version < Version::HTTP_2;
        match (uri.path_and_query(), uri.authority()) {
            (Some(target), _) if !is_absolute => Cow::Borrowed(target.as_str()),
            (None, Some(authority)) => {
                let named = authority.as_str();
                Cow::Borrowed(named.rsplit('@').next().unwrap_or(named))
            }
            _ => Cow::Owned(uri.to_string()),
        }
    }
}

impl Record {
    /// Counts a request in. `stands_in` says that its head was refused and another stands for it.
    pub fn begin(
        recorder: &Rc<Recorder>,
        method: &Method,
        request_target: RequestTarget,
        stands_in: bool,
    ) -> Self {
        recorder.metrics.requests().began();
        Self {
            entry: recorder.audit.is_some().then(Box::default),
            came: Instant::now(),
            recorder: Rc::clone(recorder),
            method: method.clone(),
            request_target,
            stands_in,
            target: None,
            status: None,
            bytes: 0,
        }
    }

    /// Has `tell` add to the data for the audit log. Does nothing where there is none.
    pub fn audit(&mut self, tell: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entry.as_deref_mut() {
            tell(entry);
        }
    }

    /// When the request came.
    pub fn came(&self) -> Instant {
        self.came
    }

    /// Where the request goes, once that is known.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_deref()
    }

    /// Says where the request goes.
    pub fn goes_to(&mut self, target: Target) -> Rc<Target> {
        Rc::clone(self.target.insert(Rc::new(target)))
    }

    /// Says where a request that is refused would have gone.
    pub fn would_go_to(&mut self, target: Option<Target>) {
        self.target = target.map(Rc::new);
    }

    /// Says with what the client is answered.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Counts `bytes` of the answer's body that have been passed on.
    pub fn relayed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Says why the proxy answers itself.
    pub fn refused(&mut self, status: StatusCode, code: Code, reason: &dyn Display) {
        self.audit(|entry| entry.code(code));
        let log = &self.recorder.log;
        let method = &self.method;
        if matches!(code, Code::NotListed | Code::KeptOff) {
            self.recorder.metrics.refused_upstreams.add(1);
            log.warn(format_args!("{method} refused: {reason}"));
        } else if status.is_server_error() {
            log.error(format_args!("{method} failed: {reason}"));
        } else {
            log.debug(format_args!("{method} refused: {reason}"));
        }
    }

    /// Says that the answer ended before its end.
    pub fn broke_off(&mut self, error: &BodyError) {
        self.audit(|entry| entry.code(Code::BrokeOff));
        let host = self
            .target
            .as_ref()
            .map_or("upstream", |target| target.origin.url());
        self.recorder.log.warn(format_args!(
            "{host} broke off in the middle of its answer: {error}"
        ));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.came.elapsed();
        let requests = self.recorder.metrics.requests();
        requests.response_bytes.add(self.bytes);
        requests.ended(self.status, took);
        let target = self.request_target.text();
        let (method, target) = if self.stands_in {
            ("-", "-")
        } else {
            (self.method.as_str(), target.as_ref())
        };
        let line = RequestLine {
            target,
            method,
            upstream: self.target.as_deref(),
            status: self.status.map(|status| status.as_u16()),
            bytes: self.bytes,
            took,
        };
        if let (Some(entry), Some(audit)) = (&self.entry, &self.recorder.audit) {
            entry.write(audit, &line);
        }
        self.recorder.log.request(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_logged_in_the_form_in_which_it_came() {
        for (uri, version, expected) in [
            ("/queue/v1/ping?x", Version::HTTP_11, "/queue/v1/ping?x"),
            (
                "http://a.example/v1?x",
                Version::HTTP_11,
                "http://a.example/v1?x",
            ),
            ("http://a.example", Version::HTTP_10, "http://a.example/"),
            ("*", Version::HTTP_11, "*"),
            ("a.example:443", Version::HTTP_11, "a.example:443"),
            (
                "user:secret@a.example:443",
                Version::HTTP_11,
                "a.example:443",
            ),
            ("http://a.example/v1?x", Version::HTTP_2, "/v1?x"),
            ("a.example:443", Version::HTTP_2, "a.example:443"),
        ] {
            let uri: Uri = uri.parse().expect(uri);
            let text = RequestTarget::Uri(uri, version);
            assert_eq!(text.text(), expected);
        }
    }
}
