//! A connection of hyper's that one request has, from before it is signed until its answer's head
//! is in.

use std::error::Error as StdError;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::host::Host;
use super::pool::Lease;
use super::{ResponseBody, Upstream};
use crate::exchange::replay::ReplayBody;
use crate::exchange::send_error::{ODD_CODING, ODD_LENGTH, Progress, SPOKE_FIRST, Unanswered};
use crate::message::headers;

/// A connection that is free for one request. Dropped unused, it goes back to the pool.
pub struct Connection<B = ReplayBody> {
    /// `None` once it is used.
    held: Option<Held<B>>,
}

/// A connection while a request has it.
pub(super) struct Held<B> {
    pub(super) lease: Lease<B>,
    pub(super) host: Rc<Host<B>>,
    pub(super) upstream: Rc<Upstream<B>>,
}

// === impl Connection ===

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    pub(super) fn new(held: Held<B>) -> Self {
        Self { held: Some(held) }
    }

    /// Whether the request will go out over HTTP/2. Nothing tells of 1xx answers there, so a body
    /// must not be held back for one.
    pub fn is_http2(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.lease.is_http2())
    }

    /// Sends `request` and returns the answer once its head is in.
    ///
    /// The request has an origin-form target, which goes out byte for byte, and the end-to-end
    /// fields; `Host` and framing are set here. Dropping the future ends the request.
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub async fn send(
        mut self,
        mut request: Request<B>,
    ) -> Result<Response<ResponseBody<B>>, Unanswered> {
        let Some(mut held) = self.held.take() else {
            unreachable!("it is taken only here and when it is dropped");
        };
        held.host.shape(&mut request, held.lease.is_http2());
        held.lease.begin();
        let sent = match &mut held.lease {
            Lease::Http1(link) => link.sender.try_send_request(request).await,
            Lease::Http2(stream) => {
                let sending = stream
                    .shared
                    .link
                    .borrow_mut()
                    .sender
                    .try_send_request(request);
                sending.await
            }
        };
        let mut response = sent.map_err(|failure| held.failure(&failure))?;
        let headers = response.headers_mut();
        // RFC 9112 6.3: what has both may be an attempt at response splitting.
        let is_last =
            headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
        match odd_framing(headers) {
            None => Ok(held.answer(response, is_last)),
            Some(reason) => Err(Unanswered::not_http(&held.host.origin, reason)),
        }
    }
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.give_back();
        }
    }
}

impl<B> fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.held.as_ref().map(|held| &held.host.origin);
        f.debug_struct("Connection")
            .field("origin", &origin)
            .finish_non_exhaustive()
    }
}

// === impl Held ===

impl<B> Held<B> {
    pub(super) fn give_back(self) {
        self.upstream.give_back(self.lease, &self.host.pool);
    }

    /// The answer, behind which the connection is used again unless `is_last`.
    fn answer(self, response: Response<Incoming>, is_last: bool) -> Response<ResponseBody<B>> {
        // After 101 the connection is no HTTP connection any more. On one that speaks HTTP/1.0,
        // the next request could have no body whose length is not known beforehand.
        let last = is_last
            || response.status() == StatusCode::SWITCHING_PROTOCOLS
            || response.version() == Version::HTTP_10;
        let held = (!last).then_some(self);
        response.map(|incoming| ResponseBody::new(incoming, held))
    }

    fn failure(&self, failure: &TrySendError<Request<B>>) -> Unanswered {
        let origin = &self.host.origin;
        let progress = Progress {
            reused: self.lease.is_reused(),
            // hyper gives the request back where it has not begun to write it.
            written: failure.message().is_none(),
            heard: self.lease.has_heard(),
        };
        let is_new = !progress.reused && !self.lease.is_http2();
        if is_new && progress.heard && failure.error().is_canceled() {
            return Unanswered::not_http(origin, SPOKE_FIRST);
        }
        Unanswered::hyper(origin, failure.error(), progress)
    }
}

/// Why nobody can tell what the body of an answer is, though hyper took it.
fn odd_framing(headers: &mut HeaderMap) -> Option<&'static str> {
    // RFC 9112 6.3: the coding overrides it, and who forwards takes it out.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers::content_length(headers).is_err() {
        return Some(ODD_LENGTH);
    }
    headers::is_chunked(headers).is_none().then_some(ODD_CODING)
}
