//! The body of an answer, and what becomes of the connection that it comes on.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::InUse;
use super::http2::Http2Body;
use crate::exchange::replay::ReplayBody;
use crate::message::strict_body::BodyError;

/// Up to this many bytes, the rest of an unwanted answer is read to keep its connection.
const MAX_DRAIN: u64 = 8 * 1024;

/// The body of an answer; it holds the connection until its end.
pub struct ResponseBody<B = ReplayBody>(Source<B>);

enum Source<B> {
    Http1(Incoming, Option<InUse<B>>),
    Http2(Http2Body<B>),
}

impl<B> ResponseBody<B> {
    pub(super) fn http1(incoming: Incoming, held: Option<InUse<B>>) -> Self {
        Self(Source::Http1(incoming, held))
    }

    pub(super) fn http2(body: Http2Body<B>) -> Self {
        Self(Source::Http2(body))
    }
}

impl<B> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (incoming, held) = match &mut self.0 {
            Source::Http1(incoming, held) => (incoming, held),
            Source::Http2(body) => {
                return Pin::new(body).poll_frame(cx).map_err(BodyError::from);
            }
        };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        match &frame {
            // Behind the last data, dropping the body frees the connection.
            Some(Ok(frame)) if frame.is_data() => {}
            // Nothing follows trailers, and not every caller polls again.
            Some(Ok(_)) | None => {
                if let Some(held) = held.take() {
                    held.give_back();
                }
            }
            Some(Err(_)) => *held = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Http1(incoming, _) => incoming.is_end_stream(),
            Source::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Http1(incoming, _) => incoming.size_hint(),
            Source::Http2(body) => body.size_hint(),
        }
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        let Source::Http1(incoming, held) = &mut self.0 else {
            return;
        };
        let left = incoming.size_hint().upper();
        if left.is_some_and(|left| left <= MAX_DRAIN)
            && let Some(held) = held.take()
        {
            // hyper reads the rest if it has come already, and closes the connection otherwise.
            held.give_back();
        }
    }
}

impl<B> Unpin for ResponseBody<B> {}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("length", &self.size_hint())
            .finish_non_exhaustive()
    }
}
