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

use http::header::{CONTENT_LENGTH, TRAILER};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

#[cfg(target_os = "linux")]
use super::splice;
use super::{Buffers, READ};
use crate::client::gate::Gate;
use crate::exchange::upstream::{MAX_FIELDS, Socket};
use crate::message::chunked::{Chunked, ChunkedError};
use crate::message::fields::{FieldLines, Fields};
use crate::message::headers;
use crate::message::whole::BodyError;
use crate::record::Record;
use crate::signing::credentials::clear_ours;

/// Read at once while the client is slow, which bounds what is kept for it.
const SLOW_READ: usize = 16 * 1024;

/// What is left of an answer's body.
pub struct Body {
    pub length: Length,
    /// Whether the connection may be used again behind it.
    pub keeps: bool,
}

/// How the end of a body is found (RFC 9112 6.3).
pub enum Length {
    /// So many bytes are left.
    Known(u64),
    /// The chunked coding, whose sizes and data pass as they are.
    Chunked(Coding),
    /// The end of the connection; the client gets it in chunks.
    UntilClose,
}

impl Length {
    pub fn chunked() -> Self {
        Self::Chunked(Coding {
            place: Chunked::lenient(),
            trailers: Vec::new(),
        })
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
            Self::Chunked(coding) => coding.place.is_done(),
            Self::UntilClose => false,
        }
    }

    /// What of `bytes` is the body's.
    fn take(&mut self, bytes: &[u8]) -> Result<Taken, BodyError> {
        match self {
            Self::Known(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                Ok(Taken::as_it_is(taken, taken))
            }
            Self::Chunked(coding) => coding.take(bytes),
            Self::UntilClose => {
                let mut chunk = Vec::with_capacity(bytes.len() + 16);
                write_chunk(&mut chunk, bytes);
                Ok(Taken {
                    instead: Some(chunk),
                    ..Taken::as_it_is(bytes.len(), bytes.len())
                })
            }
        }
    }
}

/// What of some bytes is a body's.
struct Taken {
    /// So many of them.
    bytes: usize,
    /// So many of those are data.
    data: usize,
    /// What the client gets in their place.
    instead: Option<Vec<u8>>,
}

impl Taken {
    fn as_it_is(bytes: usize, data: usize) -> Self {
        Self {
            bytes,
            data,
            instead: None,
        }
    }
}

/// A chunked body on its way to a client that shares its connection with other answers: it gets
/// nothing that two readers could take differently, or that speaks of another connection.
pub struct Coding {
    place: Chunked,
    /// The trailers as they came, until they are whole.
    trailers: Vec<u8>,
}

impl Coding {
    fn take(&mut self, bytes: &[u8]) -> Result<Taken, BodyError> {
        let start = self.place;
        let taken = self.place.advance(bytes)?;
        let data = usize::try_from(self.place.data() - start.data()).unwrap_or(taken);
        if self.place.is_plain() && self.trailers.is_empty() {
            return Ok(Taken::as_it_is(taken, data));
        }
        self.place = start;
        let mut out = Vec::with_capacity(taken);
        self.place.separate(bytes, &mut out, &mut self.trailers)?;
        if self.place.is_done() {
            write_trailers(&mut out, &std::mem::take(&mut self.trailers))?;
        }
        Ok(Taken {
            instead: Some(out),
            ..Taken::as_it_is(taken, data)
        })
    }
}

/// Appends the end of a chunked body, whose trailers came as `section`. Those that would be of the
/// framing, of the connection, or ours if they stood in the head are left out (RFC 9110 6.5.1).
fn write_trailers(out: &mut Vec<u8>, section: &[u8]) -> Result<(), ChunkedError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields)
    else {
        return Err(ChunkedError);
    };
    let mut trailers = FieldLines::default().of(section, fields);
    headers::strip_response(&mut trailers);
    clear_ours(&mut trailers);
    trailers.remove_all(&[CONTENT_LENGTH, TRAILER]);
    for (name, value) in trailers.iter() {
        headers::write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends to `out` what of the body is the `rest` that came with the head.
///
/// # Errors
/// When that is no body.
pub fn begin(
    body: &mut Body,
    rest: &[u8],
    out: &mut Vec<u8>,
    record: &mut Record,
) -> Result<(), BodyError> {
    let taken = body.length.take(rest)?;
    record.relayed(taken.data);
    // What nobody asked for is nobody's answer.
    body.keeps &= taken.bytes == rest.len();
    out.extend_from_slice(taken.instead.as_deref().unwrap_or(&rest[..taken.bytes]));
    Ok(())
}

/// Passes on what is left of the body, then gives the connection back.
///
/// # Errors
/// When the client or upstream has left before the end.
pub async fn pass(
    gate: &mut Gate,
    mut socket: Socket,
    mut body: Body,
    buffers: &Buffers,
    record: &mut Record,
) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Length::Known(left) = &mut body.length {
        let spliced = splice::pass(gate, &socket, left, &buffers.pipes, record).await;
        spliced.map_err(|side| side.tell(record))?;
    }
    let mut room = SLOW_READ;
    while !body.length.is_done() {
        let kept =
            match pass_some(gate, &mut socket, &mut body, &buffers.read, record, room).await? {
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
    if body.keeps {
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
    body: &mut Body,
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
            return Poll::Ready(match body.length {
                Length::UntilClose => Ok(Passed::End),
                _ => Err(Side::upstream(ErrorKind::UnexpectedEof.into())),
            });
        }
        let taken = body.length.take(bytes).map_err(Side::Upstream)?;
        record.relayed(taken.data);
        body.keeps &= taken.bytes == bytes.len();
        if let Some(instead) = taken.instead {
            return Poll::Ready(Ok(Passed::Some(instead)));
        }
        let bytes = &bytes[..taken.bytes];
        let written = match Pin::new(&mut *gate).poll_write(cx, bytes) {
            Poll::Ready(written) => written.map_err(Side::Client)?,
            Poll::Pending => 0,
        };
        Poll::Ready(Ok(Passed::Some(bytes[written..].to_vec())))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client gets of `body` where it comes in two parts, and what is left over.
    fn pass(mut length: Length, body: &str, cut: usize) -> Result<(String, usize, u64), BodyError> {
        let (mut out, mut left, mut data) = (Vec::new(), 0, 0);
        for part in [&body.as_bytes()[..cut], &body.as_bytes()[cut..]] {
            let taken = length.take(part)?;
            out.extend(taken.instead.as_deref().unwrap_or(&part[..taken.bytes]));
            left += part.len() - taken.bytes;
            data += taken.data as u64;
        }
        assert!(length.is_done() || length.is_until_close());
        Ok((String::from_utf8_lossy(&out).into_owned(), left, data))
    }

    #[test]
    fn a_body_ends_where_it_ends_however_it_is_cut() {
        for (body, gets, left, data) in [
            ("0\r\n\r\n", "0\r\n\r\n", 0, 0),
            ("2\r\nok\r\n0\r\n\r\n", "2\r\nok\r\n0\r\n\r\n", 0, 2),
            ("2\r\nok\r\n0\r\n\r\nHTTP", "2\r\nok\r\n0\r\n\r\n", 4, 2),
            ("2 ;a\r\nok\r\n0 \r\n\r\n", "2\r\nok\r\n0\r\n\r\n", 0, 2),
            (
                "2\r\n\r\n\r\n0\r\nx-a:b \r\nX-Taskcluster-Endpoint: x\r\nContent-Length: 9\r\n\r\n",
                "2\r\n\r\n\r\n0\r\nX-A: b\r\n\r\n",
                0,
                2,
            ),
            ("0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n", 0, 0),
        ] {
            for cut in 0..=body.len() {
                let passed = pass(Length::chunked(), body, cut).expect("a body");
                assert_eq!(passed, (gets.to_owned(), left, data), "{body:?} at {cut}");
            }
        }
        for cut in 0..=4 {
            let passed = pass(Length::Known(2), "okay", cut).expect("a body");
            assert_eq!(passed, ("ok".to_owned(), 2, 2));
        }
        let passed = pass(Length::UntilClose, "okay", 1).expect("a body");
        assert_eq!(passed, ("1\r\no\r\n3\r\nkay\r\n".to_owned(), 0, 4));
        let passed = pass(Length::UntilClose, "okay", 0).expect("a body");
        assert_eq!(passed, ("4\r\nokay\r\n".to_owned(), 0, 4));
        assert!(Length::Known(0).is_done());
        assert!(!Length::Known(u64::MAX).is_done());
    }

    #[test]
    fn trailers_are_fields() {
        for section in [
            "X-A\r\n\r\n",
            ": b\r\n\r\n",
            "X-A : b\r\n\r\n",
            "X A: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            let body = format!("0\r\n{section}");
            for cut in 0..=body.len() {
                assert!(pass(Length::chunked(), &body, cut).is_err(), "{body:?}");
            }
        }
        let many = "X-A: b\r\n".repeat(MAX_FIELDS + 1);
        assert!(pass(Length::chunked(), &format!("0\r\n{many}\r\n"), 0).is_err());
    }
}
