//! A body that ends in an error where it was cut short.
//!
//! If the sender of an HTTP/2 stream resets it with `CANCEL` or `NO_ERROR`, hyper reports its end, and
//! a part of a body would pass for a complete one. Here only `END_STREAM` (RFC 9113 8.1) ends a body.
//! HTTP/1 bodies pass unchanged, since hyper distinguishes their ends. Trailers lose fields that they
//! may not contain.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};

use crate::message::chunked::ChunkedError;
use crate::message::headers;
use crate::record::metrics::Metrics;

/// A body as hyper hands it out, made strict about its end.
pub struct StrictBody<B> {
    body: B,
    http2: bool,
    /// It has been read to its end.
    ended: bool,
    counted: Option<Arc<Metrics>>,
}

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The error that hyper reports.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    /// The stream it came on ended early.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// The stream was reset as if nothing were wrong.
    #[error("the HTTP/2 stream was reset before its end")]
    CutShort,
    /// The connection it came on failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its chunked coding is broken.
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
}

impl<B> StrictBody<B> {
    /// The body of an answer of this version.
    pub fn new(body: B, version: Version) -> Self {
        Self {
            body,
            http2: version == Version::HTTP_2,
            ended: false,
            counted: None,
        }
    }

    /// Whether it comes by HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.http2
    }

    /// The body of a client's request of this version; its bytes are counted.
    pub fn counted(body: B, version: Version, metrics: &Arc<Metrics>) -> Self {
        Self {
            counted: Some(Arc::clone(metrics)),
            ..Self::new(body, version)
        }
    }
}

impl<B> Body for StrictBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    BodyError: From<B::Error>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() && self.http2 && !self.body.is_end_stream() {
            // The error comes once; the next poll gives the end.
            self.http2 = false;
            return Poll::Ready(Some(Err(BodyError::CutShort)));
        }
        self.ended |= frame.is_none();
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::strip_trailers(trailers);
        }
        if let Some(metrics) = &self.counted
            && let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            metrics.requests().request_bytes.add(data.len() as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
