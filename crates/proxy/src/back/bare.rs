//! An answer from a bare socket to the client: its head, and its body out of one buffer.
//!
//! It reads only when the client can take bytes, and keeps only the part of a read that the client
//! does not take at once. So a client that stops reading costs the memory of one read, and a busy one
//! no copy but the kernel's. Meanwhile it sends the rest of the request's body.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::back::head::{self, Own};
use crate::back::rest::is_refusal;
use crate::client::writer::ClientWriter;
use crate::decision::route::Target;
use crate::exchange::answer_body::{AnswerBody, Length};
use crate::exchange::buffers::{Buffers, READ};
use crate::exchange::socket_answer::AnswerHead;
use crate::exchange::socket_wire::SocketAnswer;
#[cfg(target_os = "linux")]
use crate::exchange::splice::Lease;
use crate::exchange::upload::{Torn, Upload};
use crate::exchange::upstream::Socket;
use crate::exchange::{Answered, Order};
use crate::message::headers;
use crate::message::names::clear_ours;
use crate::message::strict_body::BodyError;
use crate::record::Record;
use crate::signing::credentials::CredentialSet;

/// How much is read at once while the client is slow, which bounds what is kept for it.
const SLOW_READ: usize = 16 * 1024;

/// Passes an answer on; the request counts as running until its last byte is written. The
/// connection ends with it where `last`. Gives whether another request may follow.
///
/// # Errors
/// When the client or upstream has left before the end.
pub async fn relay(
    client: &mut ClientWriter,
    buffers: &Buffers,
    order: &Order<'_>,
    answered: Answered<SocketAnswer>,
    mut upload: Upload<'_>,
    record: &mut Record,
    last: bool,
) -> io::Result<bool> {
    let Answered { answer, entered } = answered;
    let SocketAnswer {
        mut head,
        mut body,
        socket,
    } = answer;
    // If the answer comes before the request's body was sent whole, the rest may never come, and no
    // head could be found behind it.
    let last = last || !upload.is_sent();
    let mut bytes = buffers.take_write();
    write_head(
        &mut bytes,
        &mut head,
        &body,
        entered.set(),
        order.target,
        last,
    );
    let begun = begin(&mut body, &head, &mut bytes, record);
    let status = head.status;
    // The body may take long, and the head's fields are not needed any more.
    buffers.give_back_lines(head.fields);
    client.write_all(&bytes).await?;
    buffers.give_back_write(bytes);
    if let Err(error) = begun {
        return Err(Side::Upstream(error).tell(record));
    }
    let mut relay = Relay {
        client,
        socket,
        body,
        kept: Vec::new(),
        room: SLOW_READ,
        buffers,
        #[cfg(target_os = "linux")]
        pipe: None,
    };
    let passed = poll_fn(|cx| relay.poll_both(cx, &mut upload, status, record)).await;
    passed.map_err(|side| side.tell(record))?;
    if relay.body.keeps && upload.is_sent() {
        relay.socket.give_back();
    }
    Ok(!last)
}

/// Appends a head to `out` as the client gets it with `body`; `last` says that the connection ends.
pub fn write_head(
    out: &mut Vec<u8>,
    head: &mut AnswerHead,
    body: &AnswerBody,
    set: &CredentialSet,
    target: &Target,
    last: bool,
) {
    headers::strip_response(&mut head.fields);
    clear_ours(&mut head.fields);
    let own = Own {
        set,
        target: Some(target),
        is_chunked: body.length.is_chunked_to_client(),
        is_last: last,
    };
    let fields = head.fields.iter();
    head::write(out, head.status.as_str(), head.reason(), fields, &own);
}

/// Appends to `out` the part of the body that came with the head.
fn begin(
    body: &mut AnswerBody,
    head: &AnswerHead,
    out: &mut Vec<u8>,
    record: &mut Record,
) -> Result<(), BodyError> {
    let rest = head.rest();
    let taken = body.length.take(rest)?;
    record.relayed(taken.data);
    // Bytes that no request asked for are no part of an answer.
    body.keeps &= taken.bytes == rest.len();
    out.extend_from_slice(taken.instead.as_deref().unwrap_or(&rest[..taken.bytes]));
    Ok(())
}

/// A body on its way.
struct Relay<'a> {
    client: &'a mut ClientWriter,
    socket: Socket,
    body: AnswerBody,
    /// Bytes that have been read and that the client has not taken.
    kept: Vec<u8>,
    /// How much is read at once.
    room: usize,
    buffers: &'a Buffers,
    #[cfg(target_os = "linux")]
    pipe: Option<Lease>,
}

/// The side that has broken a body off.
enum Side {
    Client(io::Error),
    Upstream(BodyError),
}

impl Relay<'_> {
    /// Passes the answer's body to the client, and what is left of the request's to upstream. An
    /// answer that refuses the request ends both: upstream wants no more of it.
    fn poll_both(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<'_>,
        status: StatusCode,
        record: &mut Record,
    ) -> Poll<Result<(), Side>> {
        let sent = upload.poll_send(cx, &mut self.socket);
        let is_refused = is_refusal(status);
        // A client that ends an unwanted body early still gets all of the answer.
        if let Poll::Ready(Err(Torn::Client)) = sent
            && !is_refused
        {
            return Poll::Ready(Err(Side::Client(ErrorKind::UnexpectedEof.into())));
        }
        ready!(self.poll_body(cx, record))?;
        if sent.is_ready() || is_refused {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, record: &mut Record) -> Poll<Result<(), Side>> {
        loop {
            ready!(self.poll_kept(cx)).map_err(Side::Client)?;
            #[cfg(target_os = "linux")]
            ready!(self.poll_splice(cx, record))?;
            ready!(self.poll_decrypted(cx, record))?;
            if self.body.length.is_done() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_some(cx, record))?;
        }
    }

    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            match ready!(Pin::new(&mut *self.client).poll_write(cx, &self.kept))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written if written == self.kept.len() => self.kept = Vec::new(),
                written => drop(self.kept.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Moves all that is left of a long body of known length, where both sockets are plain.
    #[cfg(target_os = "linux")]
    fn poll_splice(&mut self, cx: &mut Context<'_>, record: &mut Record) -> Poll<Result<(), Side>> {
        let (Length::Known(left), Some(upstream)) = (&mut self.body.length, self.socket.plain())
        else {
            return Poll::Ready(Ok(()));
        };
        let pipes = &self.buffers.pipes;
        self.pipe = self.pipe.take().or_else(|| pipes.lease(*left));
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        loop {
            if pipe.held() > 0 {
                let drained = self.client.poll_by(|client| pipe.poll_drain(cx, client));
                record.relayed(ready!(drained).map_err(Side::Client)?);
            } else if *left == 0 {
                self.pipe = None;
                return Poll::Ready(Ok(()));
            } else {
                let filled = ready!(pipe.poll_fill(cx, upstream, *left));
                match filled.map_err(Side::upstream)? {
                    0 => return Poll::Ready(Err(Side::upstream(ErrorKind::UnexpectedEof.into()))),
                    filled => *left -= filled as u64,
                }
            }
        }
    }

    /// Passes on all that is left of a body of known length, out of the buffer into which TLS has
    /// decrypted it. Bytes that the client does not take stay there.
    fn poll_decrypted(
        &mut self,
        cx: &mut Context<'_>,
        record: &mut Record,
    ) -> Poll<Result<(), Side>> {
        let Length::Known(left) = &mut self.body.length else {
            return Poll::Ready(Ok(()));
        };
        while *left > 0 {
            ready!(self.client.poll_ready(cx)).map_err(Side::Client)?;
            let Some(decrypted) = self.socket.poll_decrypted(cx) else {
                break;
            };
            let bytes = ready!(decrypted).map_err(Side::upstream)?;
            if bytes.is_empty() {
                return Poll::Ready(Err(Side::upstream(ErrorKind::UnexpectedEof.into())));
            }
            let most = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let written = Pin::new(&mut *self.client).poll_write(cx, &bytes[..most]);
            let written = ready!(written).map_err(Side::Client)?;
            if written == 0 {
                return Poll::Ready(Err(Side::Client(ErrorKind::WriteZero.into())));
            }
            self.socket.consume(written);
            *left -= written as u64;
            record.relayed(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on the bytes of one read.
    fn poll_some(&mut self, cx: &mut Context<'_>, record: &mut Record) -> Poll<Result<(), Side>> {
        ready!(self.client.poll_ready(cx)).map_err(Side::Client)?;
        let buffer = &mut **self.buffers.read.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer[..self.room]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read)).map_err(Side::upstream)?;
        let bytes = read.filled();
        if bytes.is_empty() {
            return Poll::Ready(self.body.length.end().map_err(Side::upstream).map(|end| {
                self.kept = end;
            }));
        }
        let taken = self.body.length.take(bytes).map_err(Side::Upstream)?;
        record.relayed(taken.data);
        self.body.keeps &= taken.bytes == bytes.len();
        if let Some(instead) = taken.instead {
            self.kept = instead;
            return Poll::Ready(Ok(()));
        }
        let bytes = &bytes[..taken.bytes];
        let written = match Pin::new(&mut *self.client).poll_write(cx, bytes) {
            Poll::Ready(written) => written.map_err(Side::Client)?,
            Poll::Pending => 0,
        };
        if written == bytes.len() {
            self.room = (self.room * 2).min(READ);
        } else {
            self.room = SLOW_READ;
            self.kept = bytes[written..].to_vec();
        }
        Poll::Ready(Ok(()))
    }
}

impl Side {
    fn upstream(error: io::Error) -> Self {
        Self::Upstream(error.into())
    }

    /// Logs where upstream broke off; the caller only has to close the connection.
    fn tell(self, record: &mut Record) -> io::Error {
        match self {
            Self::Client(error) => error,
            Self::Upstream(error) => {
                record.broke_off(&error);
                ErrorKind::UnexpectedEof.into()
            }
        }
    }
}
