//! The gate that a client's bytes pass before hyper reads them.
//!
//! It lets a message through only when its framing is certain ([`head`], [`chunked`]) and keeps the
//! times that a head may take; hyper does the rest. A head that is refused is replaced by the
//! shortest valid one, and [`Connection::begin`] tells the service that this request is to be
//! answered with the refusal: so the answer comes in its turn behind pipelined requests and is made
//! like every other.
//!
//! It copies nothing in the usual case: bytes are read into hyper's own buffer and inspected there;
//! only what is not yet certain is held back.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
#[cfg(target_os = "linux")]
use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::answers::refusal::Refusal;

use crate::client::connection::{Connection, Phase};
use crate::client::http2::{Frames, HTTP2_PREFACE};
use crate::message::chunked::{Chunked, ChunkedError};
use crate::message::head::{self, BodyLength, Head, HeadError};

/// What stands in for a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Bytes asked of the socket for a head, which most heads do not fill; what the allocator has at
/// hand.
const FIRST_READ: usize = 1000;
/// Bytes asked of the socket while a head is incomplete.
const HEAD_READ: usize = 4096;

/// How a connection's client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// The socket as hyper sees it.
pub struct Gate {
    connection: Rc<Connection>,
    place: Place,
    heads: u32,
    /// Bytes that have been read and not been handed on.
    held: BytesMut,
    /// How many of `held` may be handed on.
    certain: usize,
    at_end: bool,
}

/// What comes next on a connection of HTTP/1.
pub enum Next {
    /// A head that is held whole, see [`Head::plain`].
    Plain(Head),
    /// Another one, or what is none.
    Other,
    /// Nothing more.
    End,
}

enum Place {
    Head,
    Body(u64),
    Chunked(Chunked),
    /// The chunked coding is broken: the rest cannot be read.
    Broken,
    Refused,
    Http2(Frames),
}

impl Gate {
    pub fn new(connection: Rc<Connection>) -> Self {
        Self {
            connection,
            place: Place::Head,
            heads: 0,
            held: BytesMut::new(),
            certain: 0,
            at_end: false,
        }
    }

    /// Tells how the client speaks by its first bytes; `None` when it left or stayed silent.
    pub async fn protocol(&mut self) -> io::Result<Option<Protocol>> {
        loop {
            if !HTTP2_PREFACE.starts_with(&self.held[..self.held.len().min(HTTP2_PREFACE.len())]) {
                return Ok(Some(Protocol::Http1));
            }
            if self.held.len() >= HTTP2_PREFACE.len() {
                self.place = Place::Http2(Frames::new());
                self.connection.http2.set(true);
                self.connection.enter(Phase::Head);
                return Ok(Some(Protocol::Http2));
            }
            if std::future::poll_fn(|cx| self.poll_hold(cx)).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// What had been read and not been handed on, for a tunnel.
    pub fn into_held(self) -> BytesMut {
        self.held
    }

    /// Reads more into `held`; 0 at the end or when the time for it is over.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.connection.overdue.get() {
            return Poll::Ready(Ok(0));
        }
        if !self.held.is_empty() && self.connection.phase.get() != Phase::Head {
            self.connection.enter(Phase::Head);
        }
        let held = &mut self.held;
        let read = self.connection.poll_stream(|stream| {
            ready!(stream.poll_read_ready(cx))?;
            held.reserve(if held.is_empty() {
                FIRST_READ
            } else {
                HEAD_READ
            });
            pin!(stream.get_mut().read_buf(held)).poll(cx)
        });
        if read.is_pending() {
            self.connection.remember(cx);
            // A connection that waits for a request costs no buffer.
            if self.held.is_empty() {
                self.held = BytesMut::new();
            }
        }
        read
    }

    /// Waits for the next head; to be asked only where the last message has been passed on whole.
    pub async fn next(&mut self) -> Next {
        loop {
            if !self.held.is_empty() {
                match head::inspect(&self.held) {
                    Ok(Some(head)) if head.plain => {
                        // Whatever time it takes from here on is not the head's.
                        self.connection.enter(Phase::Idle);
                        return Next::Plain(head);
                    }
                    Ok(None) => {}
                    Ok(Some(_)) | Err(_) => return Next::Other,
                }
            }
            match std::future::poll_fn(|cx| self.poll_hold(cx)).await {
                Ok(0) if self.held.is_empty() => return Next::End,
                Ok(0) | Err(_) => return Next::Other,
                Ok(_) => {}
            }
        }
    }

    /// Waits until the client takes more.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = self
            .connection
            .poll_stream(|stream| stream.poll_write_ready(cx));
        self.connection.blocked.set(ready.is_pending());
        ready
    }

    /// Writes by what `write` does with the socket, whenever the client takes more.
    #[cfg(target_os = "linux")]
    pub fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let written = self
                .connection
                .with_stream(|stream| stream.try_io(Interest::WRITABLE, || write(stream)));
            match written {
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(written) => return Poll::Ready(written),
                None => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
    }

    /// The bytes from the next head on, as far as they have come.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Takes `head` out of what is held. It is to be put back, or passed.
    pub fn take(&mut self, head: Head) -> Bytes {
        if self.held.len() == head.len {
            return std::mem::take(&mut self.held).freeze();
        }
        self.held.split_to(head.len).freeze()
    }

    /// Puts a head back that is left to others.
    pub fn put_back(&mut self, head: &[u8]) {
        let behind = std::mem::take(&mut self.held);
        self.held.reserve(head.len() + behind.len());
        self.held.extend_from_slice(head);
        self.held.extend_from_slice(&behind);
    }

    /// How many of `bytes` are certain.
    ///
    /// # Errors
    /// When the first of them begin a head that cannot pass.
    fn scan(&mut self, bytes: &[u8]) -> Result<usize, HeadError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.place {
                Place::Head if self.connection.awaits_upgrade.get() => break,
                Place::Head => match head::inspect(rest) {
                    Err(error) if at == 0 => return Err(error),
                    // What came before a head that is refused goes first; it is met again then.
                    Ok(None) | Err(_) => break,
                    Ok(Some(head)) => {
                        at += head.len;
                        self.passed(head);
                    }
                },
                Place::Body(left) => {
                    let taken = (*left).min(rest.len() as u64);
                    *left -= taken;
                    if *left == 0 {
                        self.place = Place::Head;
                    }
                    at += usize::try_from(taken).unwrap_or(rest.len());
                }
                Place::Chunked(chunked) => {
                    if let Ok(taken) = chunked.advance(rest) {
                        if chunked.is_done() {
                            self.place = Place::Head;
                        }
                        at += taken;
                    } else {
                        self.connection.broken.set(true);
                        self.place = Place::Broken;
                    }
                }
                Place::Http2(frames) => {
                    frames.advance(rest);
                    self.connection.enter_block(frames.in_header_block());
                    at = bytes.len();
                }
                Place::Broken | Place::Refused => break,
            }
        }
        Ok(at)
    }

    /// Goes on behind `head`: it has been handed on, or dealt with.
    pub fn passed(&mut self, head: Head) {
        self.heads += 1;
        self.connection.phase.set(Phase::Idle);
        if head.upgrade {
            self.connection.awaits_upgrade.set(true);
        }
        self.place = match head.body {
            BodyLength::Known(0) => Place::Head,
            BodyLength::Known(length) => Place::Body(length),
            BodyLength::Chunked => Place::Chunked(Chunked::new()),
        };
    }

    fn refuse(&mut self, refusal: Refusal) {
        *self.connection.refusal.borrow_mut() = Some((self.heads, refusal));
        self.heads += 1;
        self.place = Place::Refused;
        self.held.clear();
        self.held.extend_from_slice(STAND_IN);
        self.certain = STAND_IN.len();
    }

    fn scan_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let scanned = self.scan(&held);
        self.held = held;
        match scanned {
            Ok(certain) => self.certain = certain,
            Err(error) => self.refuse(refusal_of(error)),
        }
    }

    /// Hands on what is certain of `held`.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.certain.min(buf.remaining());
        buf.put_slice(&self.held[..given]);
        self.held.advance(given);
        self.certain -= given;
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    /// Reads into hyper's buffer and takes back what is not certain.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let most = self.connection.crowd.read() as u64;
        let read = self
            .connection
            .poll_stream(|stream| pin!(stream.get_mut().take(most)).poll_read(cx, buf));
        if read.is_pending() {
            self.connection.remember(cx);
        }
        ready!(read)?;
        let bytes = &buf.filled()[before..];
        if bytes.is_empty() {
            self.at_end = true;
            return Poll::Ready(Ok(()));
        }
        // `scan` does not look at the buffer's owner, so the borrow ends with the numbers.
        match self.scan(bytes) {
            Ok(certain) if certain == bytes.len() => {}
            Ok(certain) => {
                self.held.extend_from_slice(&bytes[certain..]);
                buf.set_filled(before + certain);
                if matches!(self.place, Place::Head) && !self.connection.is_busy() {
                    self.connection.enter(Phase::Head);
                }
            }
            Err(error) => {
                buf.set_filled(before);
                self.refuse(refusal_of(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn refusal_of(error: HeadError) -> Refusal {
    match error {
        HeadError::TooLarge => Refusal::HeadTooLarge,
        error => Refusal::Framing(error),
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        let before = buf.filled().len();
        loop {
            if gate.certain > 0 {
                gate.give(buf);
                return Poll::Ready(Ok(()));
            }
            match gate.place {
                Place::Refused => return Poll::Ready(Ok(())),
                Place::Broken => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        ChunkedError,
                    )));
                }
                _ if gate.at_end && gate.held.is_empty() => return Poll::Ready(Ok(())),
                _ => {}
            }
            if gate.connection.overdue.get() {
                gate.refuse(Refusal::HeadTimeout);
                continue;
            }
            if gate.held.is_empty() {
                ready!(gate.poll_through(cx, buf))?;
                if gate.at_end || buf.filled().len() > before {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            gate.scan_held();
            if gate.certain > 0 || matches!(gate.place, Place::Broken | Place::Refused) {
                continue;
            }
            if gate.connection.awaits_upgrade.get() {
                gate.connection.remember(cx);
                return Poll::Pending;
            }
            if gate.at_end || (ready!(gate.poll_hold(cx))? == 0 && !gate.connection.overdue.get()) {
                gate.at_end = true;
                gate.refuse(Refusal::Framing(HeadError::End));
            }
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self
            .connection
            .poll_stream(|stream| stream.poll_write(cx, buf));
        self.connection.blocked.set(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self
            .connection
            .poll_stream(|stream| stream.poll_write_vectored(cx, bufs));
        self.connection.blocked.set(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection
            .poll_stream(|stream| stream.poll_shutdown(cx))
    }
}
