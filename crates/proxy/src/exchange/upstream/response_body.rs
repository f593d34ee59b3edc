//! The body of an answer, and what becomes of the connection that it comes on.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::Held;
use crate::exchange::replay::ReplayBody;

/// What is left of an answer that nobody wants is worth reading for its connection up to this.
const MAX_DRAIN: u64 = 8 * 1024;

/// The body of an answer; it holds the connection until its end.
pub struct ResponseBody<B = ReplayBody> {
    incoming: Incoming,
    held: Option<Held<B>>,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(incoming: Incoming, held: Option<Held<B>>) -> Self {
        Self { incoming, held }
    }
}

impl<B> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            // Where it was the last one, the connection is free when the body is dropped.
            Some(Ok(frame)) if frame.is_data() => {}
            // Nothing follows trailers, and not everybody asks.
            Some(Ok(_)) | None => {
                if let Some(held) = self.held.take() {
                    held.give_back();
                }
            }
            Some(Err(_)) => self.held = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        let left = self.incoming.size_hint().upper();
        if left.is_some_and(|left| left <= MAX_DRAIN)
            && let Some(held) = self.held.take()
        {
            // hyper reads the rest where it has come already, and else closes the connection.
            held.give_back();
        }
    }
}

impl<B> Unpin for ResponseBody<B> {}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}
