//! The gate that a client's bytes pass before hyper reads them.
//!
//! It passes a message only if its framing is certain ([`head`], [`chunked`]), and limits the time of
//! a head; hyper does the rest. It replaces a refused head by the shortest valid one, and
//! [`Connection::begin`] gives the refusal to the service as the answer. So the answer comes in its
//! turn behind pipelined requests and is made like every other.
//!
//! In the usual case it copies nothing: it reads bytes into hyper's own buffer and inspects them
//! there. It keeps back only bytes that are not yet certain.

use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;

use crate::client::connection::{Connection, Phase};
use crate::client::http2::{Frames, HTTP2_PREFACE};
use crate::client::writer::ClientWriter;
use crate::message::chunked::{Chunked, ChunkedError};
use crate::message::head::{self, BodyLength, Head, HeadError};

/// The head that stands in for a refused one.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Bytes asked of the socket for a head: more than most heads have, and a size that the allocator
/// has at hand.
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
    writer: ClientWriter,
    place: Place,
    heads: u32,
    /// The number of heads after whose messages the connection seems to end.
    last_head: Option<u32>,
    /// Bytes left of the body behind a head that was taken.
    body_left: u64,
    /// Bytes that have been read and not been handed on.
    held: BytesMut,
    /// How many of `held` may be handed on.
    certain: usize,
    at_end: bool,
}

/// What comes next on a connection of HTTP/1.
pub enum Next {
    /// A head that is held whole, with a body of known length: see [`Head::plain`].
    Plain(Head, u64),
    /// Another head, or bytes that are no valid head; true if the connection ends with that
    /// message.
    Other(bool),
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
            writer: ClientWriter::new(&connection),
            connection,
            place: Place::Head,
            heads: 0,
            last_head: None,
            body_left: 0,
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

    /// The bytes that have been read and not been handed on, for a tunnel.
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
            if held.is_empty() {
                *held = self.connection.share.take_room();
                held.reserve(FIRST_READ);
            } else {
                held.reserve(HEAD_READ);
            }
            pin!(stream.get_mut().read_buf(held)).poll(cx)
        });
        if read.is_pending() {
            self.connection.remember(cx);
            self.give_room();
        }
        read
    }

    /// Waits for the next head; to be asked only where the last message has been passed on whole.
    pub async fn next(&mut self) -> Next {
        loop {
            if !self.held.is_empty() {
                match head::inspect(&self.held) {
                    Ok(None) => {}
                    Ok(Some(head)) => match head.body {
                        BodyLength::Known(length) if head.plain => {
                            // The time from here on does not count as the head's.
                            self.connection.enter(Phase::Idle);
                            return Next::Plain(head, length);
                        }
                        _ => return Next::Other(head.closes),
                    },
                    Err(_) => return Next::Other(false),
                }
            }
            match std::future::poll_fn(|cx| self.poll_hold(cx)).await {
                Ok(0) if self.held.is_empty() => return Next::End,
                Ok(0) | Err(_) => return Next::Other(false),
                Ok(_) => {}
            }
        }
    }

    /// The bytes from the next head on, as far as they have come.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Passes over `head`, behind which a body of `body` bytes comes.
    pub fn pass(&mut self, head: Head, body: u64) {
        self.heads += 1;
        self.body_left = body;
        self.held.advance(head.len);
    }

    /// Bytes that are left of the body behind the head that was taken last.
    pub fn body_left(&self) -> u64 {
        self.body_left
    }

    /// All that is left of the body, where it is held.
    pub fn take_body(&mut self) -> Option<Bytes> {
        let left = usize::try_from(self.body_left).ok()?;
        if left > self.held.len() {
            return None;
        }
        Some(self.take_held(left))
    }

    /// The bytes of the body that have come next; none at its end, or at the end of the connection.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let left = usize::try_from(self.body_left).unwrap_or(usize::MAX);
        if self.held.is_empty() && left > 0 {
            let most = self.connection.share.read().min(left);
            let held = &mut self.held;
            let read = self.connection.poll_stream(|stream| {
                ready!(stream.poll_read_ready(cx))?;
                held.reserve(most);
                let mut stream = stream.get_mut().take(most as u64);
                pin!(stream.read_buf(held)).poll(cx)
            });
            if read.is_pending() {
                self.held = BytesMut::new();
            }
            ready!(read)?;
        }
        let taken = self.held.len().min(left);
        Poll::Ready(Ok(self.take_held(taken)))
    }

    /// Lets `read` move bytes of the body from the socket, while nothing is held.
    ///
    /// # Errors
    /// The errors of `read`.
    #[cfg(target_os = "linux")]
    pub fn poll_body_by(
        &mut self,
        read: impl FnOnce(&TcpStream) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let moved = ready!(self.connection.poll_stream(|stream| read(&stream)))?;
        self.body_left -= moved as u64;
        Poll::Ready(Ok(moved))
    }

    /// Passes over what is held of the body.
    pub fn skip_held_body(&mut self) {
        let held = self.held.len() as u64;
        let skipped = held.min(self.body_left);
        drop(self.take_held(usize::try_from(skipped).unwrap_or(self.held.len())));
    }

    /// A connection that waits costs no buffer.
    fn give_room(&mut self) {
        if self.held.is_empty() {
            self.connection.share.give_room(mem::take(&mut self.held));
        }
    }

    fn take_held(&mut self, len: usize) -> Bytes {
        self.body_left -= len as u64;
        if len == 0 {
            self.give_room();
            Bytes::new()
        } else if len == self.held.len() {
            mem::take(&mut self.held).freeze()
        } else {
            self.held.split_to(len).freeze()
        }
    }

    /// Lets a reader have the next message and nothing behind it: what follows is held, and looks
    /// like the end of the connection until this is asked again.
    pub fn give_one_message(&mut self) {
        self.last_head = Some(self.heads + 1);
    }

    /// Whether the messages that were let pass have been read whole, so that another may follow.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.place, Place::Head) && self.certain == 0 && !self.at_end
    }

    fn is_message_given(&self) -> bool {
        matches!(self.place, Place::Head) && self.last_head.is_some_and(|last| self.heads >= last)
    }

    /// How many of `bytes` are certain.
    ///
    /// # Errors
    /// When the first of them begin a head that cannot pass.
    fn scan(&mut self, bytes: &[u8]) -> Result<usize, HeadError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let is_given = self.is_message_given();
            match &mut self.place {
                Place::Head if is_given || self.connection.awaits_upgrade.get() => break,
                Place::Head => match head::inspect(rest) {
                    Err(error) if at == 0 => return Err(error),
                    // Requests before a refused head go first; the gate meets that head again.
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
    fn passed(&mut self, head: Head) {
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

    fn refuse(&mut self, refusal: HeadError) {
        *self.connection.refusal.borrow_mut() = Some((self.heads, refusal));
        self.heads += 1;
        self.place = Place::Refused;
        self.held.clear();
        self.held.extend_from_slice(STAND_IN);
        self.certain = STAND_IN.len();
    }

    fn scan_held(&mut self) {
        let held = mem::take(&mut self.held);
        let scanned = self.scan(&held);
        self.held = held;
        match scanned {
            Ok(certain) => self.certain = certain,
            Err(error) => self.refuse(error),
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
        let most = self.connection.share.read() as u64;
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
                if matches!(self.place, Place::Head) && !self.connection.usage.is_busy() {
                    self.connection.enter(Phase::Head);
                }
            }
            Err(error) => {
                buf.set_filled(before);
                self.refuse(error);
            }
        }
        Poll::Ready(Ok(()))
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
                _ if gate.is_message_given() && !gate.connection.awaits_upgrade.get() => {
                    return Poll::Ready(Ok(()));
                }
                _ => {}
            }
            if gate.connection.overdue.get() {
                gate.refuse(HeadError::Timeout);
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
                gate.refuse(HeadError::End);
            }
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    /// Where a reader was given one message, its end is not the connection's.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.last_head.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
