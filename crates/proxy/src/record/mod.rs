//! The record of requests: the log, the counters, and a request's place in both.

pub mod log;
pub mod metrics;
pub mod redact;

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};

use crate::answers::refusal::Refusal;
use crate::decision::route::Target;
use crate::message::target::request_target;
use crate::message::whole::BodyError;
use crate::record::log::RequestLine;
use crate::record::metrics::RunningRequest;
use crate::session::Session;

/// What is recorded of a request; it is settled when this is dropped.
pub struct Record {
    session: Rc<Session>,
    running: RunningRequest,
    method: Method,
    request_target: RequestTarget,
    /// The request stands in for one whose head was refused.
    stands_in: bool,
    target: Option<Target>,
    status: Option<StatusCode>,
    bytes: u64,
    withdrawn: bool,
}

/// A request target as it came.
pub enum RequestTarget {
    /// As hyper reads it.
    Uri(Uri),
    /// In origin form, of bytes that [`crate::message::target::check_target`] lets pass.
    Origin(Bytes),
}

impl RequestTarget {
    /// As it is logged.
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Uri(uri) => request_target(uri).ok(),
            Self::Origin(target) => std::str::from_utf8(target).ok().map(Cow::Borrowed),
        }
    }
}

impl Record {
    /// Counts a request in. `stands_in` says that its head was refused and another stands for it.
    pub fn begin(
        session: &Rc<Session>,
        method: &Method,
        request_target: RequestTarget,
        stands_in: bool,
    ) -> Self {
        let mut running = session.thread.shared.metrics.request();
        if let Some(came) = session.came.take() {
            running.came_at(came);
        }
        Self {
            session: Rc::clone(session),
            running,
            method: method.clone(),
            request_target,
            stands_in,
            target: None,
            status: None,
            bytes: 0,
            withdrawn: false,
        }
    }

    /// When the request came.
    pub fn came(&self) -> Instant {
        self.running.came()
    }

    /// Where the request goes, once that is known.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Where the request goes.
    pub fn goes_to(&mut self, target: &Target) {
        self.target = Some(target.clone());
    }

    pub fn answered(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self.running.answered(status);
        self
    }

    /// Takes the record back: somebody else keeps one of this request.
    pub fn withdraw(mut self) {
        self.withdrawn = true;
        self.session.came.set(Some(self.running.withdraw()));
    }

    pub fn relayed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Says why the proxy answers itself.
    pub fn refused(&self, refusal: &Refusal) {
        let log = &self.session.thread.shared.log;
        let method = &self.method;
        if refusal.status().is_server_error() {
            log.error(format_args!("{method} failed: {refusal}"));
        } else {
            log.debug(format_args!("{method} refused: {refusal}"));
        }
    }

    /// Says that the answer ended before its end.
    pub fn broke_off(&self, error: &BodyError) {
        let host = self
            .target
            .as_ref()
            .map_or("upstream", |target| target.origin.url());
        self.session.thread.shared.log.warn(format_args!(
            "{host} broke off in the middle of its answer: {error}"
        ));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.withdrawn {
            self.session.connection.withdraw();
            return;
        }
        self.session.connection.end();
        let shared = &self.session.thread.shared;
        shared.metrics.response_bytes.add(self.bytes);
        let target = self.request_target.text();
        let (method, target) = match &target {
            Some(target) if !self.stands_in => (self.method.as_str(), target.as_ref()),
            Some(_) => ("-", "-"),
            None => (self.method.as_str(), "-"),
        };
        shared.log.request(&RequestLine {
            target,
            method,
            upstream: self.target.as_ref(),
            status: self.status.map(|status| status.as_u16()),
            bytes: self.bytes,
            took: self.running.end(),
        });
    }
}
