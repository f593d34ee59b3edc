//! An answer's body, from upstream's socket to the client's, out of one buffer.
//!
//! Nothing is read before the client can take something, and what it does not take at once is all
//! that is kept: so a client that stops reading costs one read, and a busy one no copy but the
//! kernel's.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Write};
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::answer::Answer;
#[cfg(target_os = "linux")]
use super::splice;
use super::{Buffers, READ};
use crate::framing::{Chunked, Gate};
use crate::record::Record;
use crate::upstream::Socket;
use crate::whole::BodyError;

/// Read at once while the client is slow, which bounds what is kept for it.
const SLOW_READ: usize = 16 * 1024;

/// How the end of a body is found (RFC 9112 6.3).
pub enum Length {
    /// So many bytes are left.
    Known(u64),
    /// The chunked coding, which passes as it is.
    Chunked(Chunked),
    /// The end of the connection; the client gets it in chunks.
    UntilClose,
}

impl Length {
    pub fn chunked() -> Self {
        Self::Chunked(Chunked::lenient())
    }

    pub fn is_until_close(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    pub fn is_chunked_to_client(&self) -> bool {
        !matches!(self, Self::Known(_))
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Known(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// How many of `bytes` are the body's, and how many of those are data.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, usize), BodyError> {
        match self {
            Self::Known(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                Ok((taken, taken))
            }
            Self::Chunked(chunked) => {
                let before = chunked.data();
                let taken = chunked.advance(bytes)?;
                let data = usize::try_from(chunked.data() - before).unwrap_or(taken);
                Ok((taken, data))
            }
            Self::UntilClose => Ok((bytes.len(), bytes.len())),
        }
    }
}

/// Appends to `out` what came of the body with the head.
///
/// # Errors
/// When that is no body.
pub fn begin(answer: &mut Answer, out: &mut Vec<u8>, record: &mut Record) -> Result<(), BodyError> {
    let rest = std::mem::take(&mut answer.rest);
    let (taken, data) = answer.length.take(&rest)?;
    record.relayed(data);
    // What nobody asked for is nobody's answer.
    answer.keeps &= taken == rest.len();
    if answer.length.is_until_close() {
        write_chunk(out, &rest);
    } else {
        out.extend_from_slice(&rest[..taken]);
    }
    Ok(())
}

/// Passes on what is left of the body, then gives the connection back.
///
/// # Errors
/// When the client or upstream has left before the end.
pub async fn pass(
    gate: &mut Gate,
    mut socket: Socket,
    mut answer: Answer,
    buffers: &Buffers,
    record: &mut Record,
) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Length::Known(left) = &mut answer.length {
        let spliced = splice::pass(gate, &socket, left, &buffers.pipes, record).await;
        spliced.map_err(|side| side.tell(record))?;
    }
    let mut room = SLOW_READ;
    while !answer.length.is_done() {
        let kept =
            match pass_some(gate, &mut socket, &mut answer, &buffers.read, record, room).await? {
                Passed::Some(kept) => kept,
                Passed::End => {
                    gate.write_all(b"0\r\n\r\n").await?;
                    return Ok(());
                }
            };
        if kept.is_empty() {
            room = (room * 2).min(READ);
        } else {
            room = SLOW_READ;
            gate.write_all(&kept).await?;
        }
    }
    if answer.keeps {
        socket.give_back();
    }
    Ok(())
}

/// What one read has come to.
enum Passed {
    /// Bytes, of which these are still to be written.
    Some(Vec<u8>),
    /// The end of a body that ends with the connection.
    End,
}

async fn pass_some(
    gate: &mut Gate,
    socket: &mut Socket,
    answer: &mut Answer,
    buffer: &RefCell<Box<[u8]>>,
    record: &mut Record,
    room: usize,
) -> io::Result<Passed> {
    let passed = poll_fn(|cx| {
        ready!(gate.poll_write_ready(cx)).map_err(Side::Client)?;
        let buffer = &mut **buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer[..room]);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut read)).map_err(Side::upstream)?;
        let bytes = read.filled();
        if bytes.is_empty() {
            return Poll::Ready(match answer.length {
                Length::UntilClose => Ok(Passed::End),
                _ => Err(Side::upstream(ErrorKind::UnexpectedEof.into())),
            });
        }
        let (taken, data) = answer.length.take(bytes).map_err(Side::Upstream)?;
        record.relayed(data);
        answer.keeps &= taken == bytes.len();
        if answer.length.is_until_close() {
            let mut chunk = Vec::with_capacity(bytes.len() + 16);
            write_chunk(&mut chunk, bytes);
            return Poll::Ready(Ok(Passed::Some(chunk)));
        }
        let written = match Pin::new(&mut *gate).poll_write(cx, &bytes[..taken]) {
            Poll::Ready(written) => written.map_err(Side::Client)?,
            Poll::Pending => 0,
        };
        Poll::Ready(Ok(Passed::Some(bytes[written..taken].to_vec())))
    });
    let passed = passed.await;
    passed.map_err(|side| side.tell(record))
}

/// Whose fault it is that a body does not come to its end.
pub enum Side {
    Client(io::Error),
    Upstream(BodyError),
}

impl Side {
    pub fn upstream(error: io::Error) -> Self {
        Self::Upstream(error.into())
    }

    /// Says in the log where upstream broke off; what is left to do is to close the connection.
    fn tell(self, record: &Record) -> io::Error {
        match self {
            Self::Client(error) => error,
            Self::Upstream(error) => {
                record.broke_off(&error);
                ErrorKind::UnexpectedEof.into()
            }
        }
    }
}

/// RFC 9112 7.1; nothing for nothing, which would be the end.
fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        // A Vec takes everything that is written to it.
        let _ = write!(out, "{:x}\r\n", data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}
