//! A connection's bytes: over TCP, through TLS or through an outgoing proxy.
//!
//! What this is not: it knows no message.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::client::TlsStream;

use super::permits::Permit;
use crate::limits::{BODY_WITH_HEAD, REQUEST_HEAD};

/// A connection's bytes, and its permit.
pub(super) struct UpstreamIo {
    stream: Stream,
    pub(super) line: Line,
    /// As it is set on the socket.
    may_stall: bool,
    /// Bytes of the request that is on it.
    sent: u64,
    unacknowledged: Duration,
    _permit: Permit,
}

/// The same for an HTTP/1.1 client library that gives a connection up at the first failed write, though
/// the answer may have come before: such a write waits until reading has reached the end.
pub(super) struct ReadsOn {
    io: UpstreamIo,
    refusal: Option<Refusal>,
    /// Reading has come to the end or to an error.
    is_read: bool,
}

/// A write has failed.
struct Refusal {
    kind: io::ErrorKind,
    /// Nothing has been read for so long, where reading has been given up.
    unread: Pin<Box<Sleep>>,
}

/// What fits a peer's receive window in any case: a head, and a body that goes out with it.
const SURELY_TAKEN: u64 = REQUEST_HEAD as u64 + BODY_WITH_HEAD;

/// Longer than a slow client takes to read an answer that came before its request was refused.
const UNREAD: Duration = Duration::from_secs(60);

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// To the origin, through a tunnel of an https proxy.
    TlsInTls(Box<TlsStream<Box<TlsStream<TcpStream>>>>),
}

/// What a connection's bytes and its user tell each other.
#[derive(Clone, Default)]
pub(super) struct Line(Arc<LineState>);

#[derive(Default)]
struct LineState {
    /// How often something has been received.
    heard: AtomicU64,
    may_stall: AtomicBool,
    /// A request begins.
    begins: AtomicBool,
}

// === impl Line ===

impl Line {
    /// How often something has been received.
    pub(super) fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// Counts one more time. No other thread does this at the same time.
    fn hear(&self) {
        self.0.heard.store(self.heard() + 1, Ordering::Relaxed);
    }

    /// Says of the request that begins whether the peer may let what is sent of it wait.
    ///
    /// A peer that has vanished acknowledges nothing, and the system gives it up by its timeout. It
    /// gives up one that is there and has no room, too: so the timeout holds only until more has been
    /// sent than fits a peer's receive window.
    pub(super) fn may_stall(&self, may_stall: bool) {
        self.0.may_stall.store(may_stall, Ordering::Relaxed);
        self.0.begins.store(true, Ordering::Relaxed);
    }
}

// === impl UpstreamIo ===

impl UpstreamIo {
    /// `unacknowledged` is how long the peer may leave sent bytes unacknowledged.
    pub(super) fn new(stream: Stream, unacknowledged: Duration, permit: Permit) -> Self {
        limit_unacknowledged(stream.tcp(), Some(unacknowledged));
        Self {
            stream,
            line: Line::default(),
            may_stall: false,
            sent: 0,
            unacknowledged,
            _permit: permit,
        }
    }

    /// Tells the socket what has been set since it last wrote.
    fn tell_socket(&mut self) {
        let state = &*self.line.0;
        if state.begins.load(Ordering::Relaxed) {
            state.begins.store(false, Ordering::Relaxed);
            self.sent = 0;
        }
        let may_stall = state.may_stall.load(Ordering::Relaxed) || self.sent > SURELY_TAKEN;
        if may_stall != self.may_stall {
            self.may_stall = may_stall;
            let limit = (!may_stall).then_some(self.unacknowledged);
            limit_unacknowledged(self.stream.tcp(), limit);
        }
    }

    fn count(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.sent = self.sent.saturating_add(*bytes as u64);
            self.tell_socket();
        }
    }

    /// The socket itself where the bytes on it are the message's own.
    #[cfg(target_os = "linux")]
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(_) | Stream::TlsInTls(_) => None,
        }
    }

    /// The bytes that TLS has decrypted, where they are; they stay there until they are
    /// [consumed](Self::consume). None at the end, and `None` where nothing is encrypted.
    pub(super) fn poll_decrypted(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<Poll<io::Result<&[u8]>>> {
        let decrypted = match &mut self.stream {
            Stream::Plain(_) => return None,
            Stream::Tls(tls) => Pin::new(tls).poll_fill_buf(cx),
            Stream::TlsInTls(tls) => Pin::new(tls).poll_fill_buf(cx),
        };
        if matches!(decrypted, Poll::Ready(Ok(bytes)) if !bytes.is_empty()) {
            self.line.hear();
        }
        Some(decrypted)
    }

    /// Passes over `bytes` of the bytes that TLS has decrypted.
    pub(super) fn consume(&mut self, bytes: usize) {
        match &mut self.stream {
            Stream::Plain(_) => {}
            Stream::Tls(tls) => Pin::new(tls).consume(bytes),
            Stream::TlsInTls(tls) => Pin::new(tls).consume(bytes),
        }
    }

    /// Whether nothing has come since the last answer: neither an end nor unrequested bytes.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        // To a task without budget, tokio says that everything is pending.
        let look = pin!(unconstrained(poll_fn(|cx| {
            Pin::new(&mut *self).poll_read(cx, &mut ReadBuf::new(&mut byte))
        })));
        look.poll(&mut context).is_pending()
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.line.hear();
        }
        read
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tell_socket();
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tell_socket();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// === impl ReadsOn ===

impl ReadsOn {
    pub(super) fn new(io: UpstreamIo) -> Self {
        Self {
            io,
            refusal: None,
            is_read: false,
        }
    }

    fn unless_refused<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut UpstreamIo>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.refusal.is_none() {
            match write(Pin::new(&mut self.io), cx) {
                Poll::Ready(Err(error)) => {
                    let kind = error.kind();
                    let unread = Box::pin(sleep(UNREAD));
                    self.refusal = Some(Refusal { kind, unread });
                }
                written => return written,
            }
        }
        let Some(refusal) = &mut self.refusal else {
            return Poll::Pending;
        };
        if !self.is_read {
            ready!(refusal.unread.as_mut().poll(cx));
        }
        Poll::Ready(Err(refusal.kind.into()))
    }
}

impl AsyncRead for ReadsOn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        self.is_read = read.is_err() || buffer.filled().len() == before;
        if let Some(refusal) = &mut self.refusal {
            refusal.unread.as_mut().reset(Instant::now() + UNREAD);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for ReadsOn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unless_refused(cx, |io, cx| io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_refused(cx, |io, cx| io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_refused(cx, UpstreamIo::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Sets the timeout of RFC 5482.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn limit_unacknowledged(tcp: &TcpStream, limit: Option<Duration>) {
    // If the socket refuses the option it has failed; reading and writing say so.
    let _ = socket2::SockRef::from(tcp).set_tcp_user_timeout(limit);
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn limit_unacknowledged(_tcp: &TcpStream, _limit: Option<Duration>) {}

// === impl Stream ===

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
            Self::TlsInTls(tls) => tls.get_ref().0.get_ref().0,
        }
    }
}

/// The same call on whichever stream it is.
macro_rules! each {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream {
            Stream::Plain($io) => $call,
            Stream::Tls($io) => $call,
            Stream::TlsInTls($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(&mut *self, io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, io => io.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, io => Pin::new(io).poll_shutdown(cx))
    }
}
