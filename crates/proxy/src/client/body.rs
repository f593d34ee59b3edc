//! A request's body of known length, as it comes through the gate.
//!
//! What it is not: it keeps nothing of what it has given out; that is
//! [`crate::exchange::replay`]'s.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;

use crate::client::gate::Gate;
use crate::message::strict_body::BodyError;
use crate::record::metrics::Metrics;

/// What is left of a body. The gate knows how much that is, also when this value is gone.
pub struct KnownBody<'g> {
    gate: &'g mut Gate,
    metrics: &'g Metrics,
}

impl<'g> KnownBody<'g> {
    /// The body behind the head that was taken from `gate` last.
    pub fn new(gate: &'g mut Gate, metrics: &'g Metrics) -> Self {
        Self { gate, metrics }
    }

    /// Bytes that have not been given out.
    pub fn left(&self) -> u64 {
        self.gate.body_left()
    }

    /// All that is left, if all of it has come.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let bytes = self.gate.take_body()?;
        self.metrics
            .requests()
            .request_bytes
            .add(bytes.len() as u64);
        Some(bytes)
    }

    /// The bytes that have come next; an error where the connection ends before the body.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let data = ready!(self.gate.poll_body(cx))?;
        if data.is_empty() {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        self.metrics.requests().request_bytes.add(data.len() as u64);
        Poll::Ready(Ok(data))
    }

    /// Lets `splice` move the bytes that come on the socket; to be called only while
    /// [`Self::has_held`] is false.
    ///
    /// # Errors
    /// As [`Self::poll_data`].
    #[cfg(target_os = "linux")]
    pub fn poll_splice(
        &mut self,
        splice: impl FnOnce(&TcpStream, u64) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let left = self.left();
        let moved = ready!(self.gate.poll_body_by(|stream| splice(stream, left)))?;
        if moved == 0 {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        self.metrics.requests().request_bytes.add(moved as u64);
        Poll::Ready(Ok(moved))
    }

    /// Whether some of it has been read from the socket and not been given out.
    #[cfg(target_os = "linux")]
    pub fn has_held(&self) -> bool {
        !self.gate.held().is_empty()
    }
}

impl Body for KnownBody<'_> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let data = ready!(self.poll_data(cx));
        Poll::Ready(Some(data.map(Frame::data).map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
