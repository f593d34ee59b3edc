//! A connection that one request has, from before it is signed until its answer's head is in.

use std::fmt;
use std::rc::Rc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::client::conn::TrySendError;

use super::connect::Http1Link;
use super::host::Host;
use super::http2::{self, NoAnswer};
use super::pool::{Lease, StreamLease};
use super::{RequestBody, ResponseBody, Upstream};
use crate::exchange::replay::ReplayBody;
use crate::exchange::send_error::{
    INVALID_LENGTH, Progress, SPOKE_FIRST, SendError, UNKNOWN_CODING, Unanswered, name_of,
};
use crate::message::headers;

/// A connection that is free for one request. Dropped unused, it goes back to the pool.
pub struct Connection<B = ReplayBody> {
    /// `None` once it is used.
    lease: Option<Lease<B>>,
    host: Rc<Host<B>>,
    upstream: Rc<Upstream<B>>,
}

/// A connection of HTTP/1.1 while a request has it.
pub(super) struct InUse<B> {
    link: Http1Link<B>,
    host: Rc<Host<B>>,
    upstream: Rc<Upstream<B>>,
}

// === impl Connection ===

impl<B: RequestBody> Connection<B> {
    pub(super) fn new(lease: Lease<B>, host: Rc<Host<B>>, upstream: Rc<Upstream<B>>) -> Self {
        Self {
            lease: Some(lease),
            host,
            upstream,
        }
    }

    /// Whether the request will go out over HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.lease, Some(Lease::Http2(_)))
    }

    /// Sends `request` and returns the answer once its head is in; interim ones go to `on_interim`.
    ///
    /// The request has an origin-form target, which goes out byte for byte, and the end-to-end
    /// fields; `Host` and framing are set here. Dropping the future ends the request.
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub async fn send(
        mut self,
        mut request: Request<B>,
        on_interim: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static,
    ) -> Result<Response<ResponseBody<B>>, Unanswered> {
        let Some(lease) = self.lease.take() else {
            unreachable!("it is taken only here and when it is dropped");
        };
        let host = Rc::clone(&self.host);
        match lease {
            Lease::Http1(link) => {
                host.shape(&mut request, false);
                let upstream = Rc::clone(&self.upstream);
                let held = InUse {
                    link,
                    host,
                    upstream,
                };
                held.send(request, on_interim).await
            }
            Lease::Http2(stream) => {
                host.shape(&mut request, true);
                send_http2(&host, stream, request, on_interim).await
            }
        }
    }
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        if let Some(Lease::Http1(link)) = self.lease.take() {
            self.upstream.give_back(link, &self.host.pool);
        }
    }
}

impl<B> fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("origin", &self.host.origin)
            .finish_non_exhaustive()
    }
}

// === HTTP/1.1 ===

impl<B> InUse<B> {
    pub(super) fn give_back(self) {
        self.upstream.give_back(self.link, &self.host.pool);
    }

    async fn send(
        mut self,
        mut request: Request<B>,
        on_interim: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static,
    ) -> Result<Response<ResponseBody<B>>, Unanswered>
    where
        B: RequestBody,
    {
        hyper::ext::on_informational(&mut request, move |interim| {
            on_interim(interim.status(), interim.headers());
        });
        self.link.begin();
        let sent = self.link.sender.try_send_request(request).await;
        let mut response = sent.map_err(|failure| self.failure(&failure))?;
        // RFC 9112 6.3: an answer that has both may be an attempt at response splitting.
        let fields = response.headers();
        let has_both =
            fields.contains_key(TRANSFER_ENCODING) && fields.contains_key(CONTENT_LENGTH);
        if let Some(reason) = settle_framing(&mut response) {
            return Err(Unanswered::not_http(&self.host.origin, reason));
        }
        // After 101 the connection is no HTTP connection any more. On one that speaks HTTP/1.0,
        // the next request could not have a body of unknown length.
        let is_last = has_both
            || response.status() == StatusCode::SWITCHING_PROTOCOLS
            || response.version() == Version::HTTP_10;
        let held = (!is_last).then_some(self);
        Ok(response.map(|incoming| ResponseBody::http1(incoming, held)))
    }

    fn failure(&self, failure: &TrySendError<Request<B>>) -> Unanswered {
        let origin = &self.host.origin;
        let progress = Progress {
            reused: self.link.reused,
            // hyper gives the request back where it has not begun to write it.
            written: failure.message().is_none(),
            heard: self.link.has_heard(),
        };
        if !progress.reused && progress.heard && failure.error().is_canceled() {
            return Unanswered::not_http(origin, SPOKE_FIRST);
        }
        Unanswered::hyper(origin, failure.error(), progress)
    }
}

/// Removes a `Content-Length` that says nothing, and returns why the end of the body is not certain,
/// though hyper accepted it.
fn settle_framing<T>(response: &mut Response<T>) -> Option<&'static str> {
    let status = response.status();
    let headers = response.headers_mut();
    // RFC 9112 6.3: the coding overrides the length, and an intermediary removes it. RFC 9110 8.6:
    // without content, the length says nothing.
    if headers.contains_key(TRANSFER_ENCODING) || status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    }
    if headers::content_length(headers).is_err() {
        return Some(INVALID_LENGTH);
    }
    headers::is_chunked(headers)
        .is_none()
        .then_some(UNKNOWN_CODING)
}

// === HTTP/2 ===

async fn send_http2<B: RequestBody>(
    host: &Host<B>,
    stream: StreamLease<B>,
    request: Request<B>,
    on_interim: impl Fn(StatusCode, &HeaderMap),
) -> Result<Response<ResponseBody<B>>, Unanswered> {
    let origin = &host.origin;
    let reused = stream.reused;
    let line = stream.connection.line().clone();
    let before = line.heard();
    let failure = |failure| {
        let (error, written) = match failure {
            NoAnswer::Unsent(error) => (error, false),
            NoAnswer::Sent(error) => (error, true),
            NoAnswer::Body(reason) => {
                return Unanswered::perhaps(SendError::RequestBody {
                    host: name_of(origin),
                    reason,
                });
            }
        };
        let progress = Progress {
            reused,
            written,
            heard: line.heard() != before,
        };
        Unanswered::h2(origin, &error, progress)
    };
    let sent = http2::send(stream, request, on_interim).await;
    let mut response = sent.map_err(failure)?;
    match settle_framing(&mut response) {
        None => Ok(response.map(ResponseBody::http2)),
        Some(reason) => Err(Unanswered::not_http(origin, reason)),
    }
}
