//! The wire of bare sockets: HTTP/1.1, one write and one read in the usual case.
//!
//! For a request with a body of known length. The wire reads while it sends: an answer that comes
//! before the end of the body is the answer, also if upstream then takes no more. Interim answers
//! pass to the client as they come. What it is not: it sends no message of unknown length, no
//! upgrade and no HTTP/2; [`crate::exchange::hyper_wire`] does.

use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_LENGTH, PROXY_AUTHORIZATION, TE};
use http::{Method, StatusCode};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::client::body::KnownBody;
use crate::client::writer::ClientWriter;
use crate::exchange::answer_body::AnswerBody;
use crate::exchange::request_fields;
use crate::exchange::socket_answer::{AnswerHead, Asked, Came, Fault, HeadReader};
use crate::exchange::upload::{Torn, Upload};
use crate::exchange::upstream::Socket;
use crate::exchange::wire::{Alarm, Answer, Awaiting, Failure, Wire, in_time};
use crate::exchange::{Exchange, Order};
use crate::message::fields::FieldLines;
use crate::message::headers;
use crate::signing::credentials::CredentialSet;

/// Sends one request by bare sockets.
pub struct SocketWire<'a, 'g> {
    exchange: &'a Exchange,
    order: &'a Order<'a>,
    /// The fields that go out as they came.
    fields: &'a FieldLines,
    length: Option<u64>,
    asked: Asked,
    upload: Upload<'g>,
    interim: Interim,
    client: &'a mut ClientWriter,
    alarm: &'a mut Alarm,
}

/// An answer with a complete head, and its connection, which is closed when this is dropped.
pub struct SocketAnswer {
    pub head: AnswerHead,
    pub body: AnswerBody,
    pub socket: Socket,
}

impl<'a, 'g> SocketWire<'a, 'g> {
    /// The wire for `order`. Only the fields that go out as they came stay in `fields`.
    pub fn new(
        exchange: &'a Exchange,
        order: &'a Order<'a>,
        fields: &'a mut FieldLines,
        body: KnownBody<'g>,
        client: &'a mut ClientWriter,
        alarm: &'a mut Alarm,
    ) -> Self {
        let asked = Asked {
            is_head: *order.method == Method::HEAD,
            takes_trailers: headers::has_token(fields, &TE, "trailers"),
        };
        let had_length = request_fields::to_upstream(fields);
        let length = request_fields::content_length(order.method, Some(body.left()), had_length);
        Self {
            exchange,
            order,
            fields,
            length,
            asked,
            upload: Upload::new(body, exchange),
            interim: Interim::default(),
            client,
            alarm,
        }
    }

    /// What may still have to be sent of the body, once there is an answer.
    pub fn into_upload(self) -> Upload<'g> {
        self.upload
    }

    /// Whether the client has got a part of an interim answer, behind which no other can begin.
    pub fn is_within_interim(&self) -> bool {
        self.interim.written > 0
    }

    /// Appends the head to `out`, signed for one try.
    fn write_head(&self, out: &mut Vec<u8>, set: &CredentialSet, socket: &Socket) {
        let Order { method, target, .. } = self.order;
        let (method, path) = (method.as_str(), target.target.as_str());
        let to_proxy = socket.to_proxy();
        for part in [
            method,
            " ",
            to_proxy.map_or("", |proxy| proxy.prefix),
            path,
            " HTTP/1.1\r\nhost: ",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(target.origin.host_header().as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in self.fields.iter() {
            headers::write_lower_field(out, name, value);
        }
        if let Some(length) = self.length {
            let mut digits = itoa::Buffer::new();
            let length = digits.format(length).as_bytes();
            headers::write_lower_field(out, CONTENT_LENGTH.as_str().as_bytes(), length);
        }
        if let Some(authorization) = to_proxy.and_then(|proxy| proxy.authorization) {
            let name = PROXY_AUTHORIZATION.as_str().as_bytes();
            headers::write_lower_field(out, name, authorization.as_bytes());
        }
        out.extend_from_slice(b"authorization: ");
        let mut signing = self.exchange.signing.borrow_mut();
        signing.write_authorization(out, set, method, &target.origin, path);
        out.extend_from_slice(b"\r\n\r\n");
    }
}

impl Wire for SocketWire<'_, '_> {
    type Answer = SocketAnswer;

    async fn send(&mut self, set: &CredentialSet, fresh: bool) -> Result<SocketAnswer, Failure> {
        let Exchange {
            upstream,
            buffers,
            settings,
            ..
        } = self.exchange;
        let mut need = self.upload.need();
        need.new |= fresh;
        let socket = upstream.socket(&self.order.target.origin, need).await?;
        let mut head = buffers.take_write();
        self.write_head(&mut head, set, &socket);
        self.upload.begin(&mut head);
        let mut sending = Sending {
            socket,
            head,
            written: 0,
            upload: &mut self.upload,
            refused: None,
            reader: HeadReader::new(self.asked),
            interim: &mut self.interim,
            client: self.client,
            exchange: self.exchange,
        };
        let answer = in_time(&mut sending, settings.response_timeout, self.alarm).await;
        let socket = sending.socket;
        answer.map(|(head, body)| SocketAnswer { head, body, socket })
    }

    fn can_resend(&self) -> bool {
        self.upload.can_resend()
    }
}

impl Answer for SocketAnswer {
    type Fields = FieldLines;

    fn status(&self) -> StatusCode {
        self.head.status
    }

    fn fields(&self) -> &FieldLines {
        &self.head.fields
    }
}

/// Interim answers on their way to the client.
#[derive(Default)]
struct Interim {
    lines: Vec<u8>,
    /// How many of their bytes the client has; zero once it has all.
    written: usize,
}

/// One try.
struct Sending<'t, 'g> {
    socket: Socket,
    head: Vec<u8>,
    /// Bytes of the head that have been written.
    written: usize,
    upload: &'t mut Upload<'g>,
    /// Why upstream takes no more; an answer that it sent before may still be there to be read.
    refused: Option<io::Error>,
    reader: HeadReader,
    interim: &'t mut Interim,
    client: &'t mut ClientWriter,
    exchange: &'t Exchange,
}

impl Awaiting for Sending<'_, '_> {
    type Answer = (AnswerHead, AnswerBody);

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Answer, Failure>> {
        if self.refused.is_none() {
            match self.poll_request(cx) {
                Poll::Ready(Err(Torn::Client)) => return Poll::Ready(Err(Failure::ClientBody)),
                Poll::Ready(Err(Torn::Upstream(error))) => self.refused = Some(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            ready!(self.poll_interim(cx))?;
            let came = self
                .reader
                .poll(cx, &mut self.socket, &self.exchange.buffers);
            match ready!(came).map_err(|fault| self.fault(fault))? {
                Came::Interim(lines) => self.interim.lines = lines,
                Came::Final(head, body) => return Poll::Ready(Ok((head, body))),
            }
        }
    }

    fn awaits_client(&self) -> bool {
        self.upload.awaits_client() || !self.interim.lines.is_empty()
    }

    fn last_progress(&self) -> Option<Instant> {
        self.upload.last_progress()
    }
}

impl Sending<'_, '_> {
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Torn>> {
        while self.written < self.head.len() {
            let socket = Pin::new(&mut self.socket);
            let written = ready!(socket.poll_write(cx, &self.head[self.written..]));
            match written.map_err(Torn::Upstream)? {
                0 => return Poll::Ready(Err(Torn::Upstream(ErrorKind::WriteZero.into()))),
                written => self.written += written,
            }
        }
        if !self.head.is_empty() {
            // Other requests of the thread use the buffer while this one waits.
            let head = mem::take(&mut self.head);
            self.exchange.buffers.give_back_write(head);
        }
        self.upload.poll_send(cx, &mut self.socket)
    }

    /// The client gets an interim answer before more is read. A client that has left is noticed
    /// elsewhere.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Interim { lines, written } = &mut *self.interim;
        while *written < lines.len() {
            match ready!(Pin::new(&mut *self.client).poll_write(cx, &lines[*written..])) {
                Ok(more) if more > 0 => *written += more,
                Ok(_) | Err(_) => return Poll::Ready(Err(Failure::ClientBody)),
            }
        }
        *self.interim = Interim::default();
        Poll::Ready(Ok(()))
    }

    fn fault(&mut self, fault: Fault) -> Failure {
        let unanswered = match fault {
            Fault::Io(error) => {
                let error = self.refused.take().unwrap_or(error);
                let heard = self.reader.has_heard();
                self.socket.failure(&error, heard, self.written > 0)
            }
            fault => self.socket.not_http(fault.reason()),
        };
        Failure::Unanswered(unanswered)
    }
}
