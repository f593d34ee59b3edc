//! An answer's head as it comes from upstream and as it goes to the client.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Poll, ready};

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use tokio::io::{AsyncRead, ReadBuf};

use super::Buffers;
use super::body::{Body, Length};
use crate::exchange::send_error::{
    LONG_HEAD, ODD_CODING, ODD_FIELD, ODD_LENGTH, ODD_UPGRADE, Unanswered,
};
use crate::exchange::upstream::{MAX_FIELDS, MAX_HEAD, Socket};
use crate::message::fields::{FieldLines, Fields, place};
use crate::message::headers;
use crate::record::Record;
use crate::signing::credentials::{CredentialSet, clear_ours};

/// An answer whose head has come.
pub struct Answer {
    pub head: AnswerHead,
    pub body: Body,
}

/// The head, and what has come behind it.
pub struct AnswerHead {
    pub status: StatusCode,
    pub fields: FieldLines,
    /// Where the text has them.
    reason: Range<usize>,
    rest: Range<usize>,
}

/// Reads until the head of the final answer has come.
///
/// # Errors
/// As [`Unanswered`] says.
pub async fn read(
    socket: &mut Socket,
    buffers: &Buffers,
    to_head: bool,
) -> Result<Answer, Unanswered> {
    let mut partial = Vec::new();
    let read = poll_fn(|cx| {
        loop {
            let buffer = &mut **buffers.read.borrow_mut();
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(Fault::Io(ErrorKind::UnexpectedEof.into())));
            }
            let bytes = if partial.is_empty() {
                read.filled()
            } else {
                partial.extend_from_slice(read.filled());
                partial.as_slice()
            };
            match parse(bytes, to_head, buffers) {
                Ok(None) if bytes.len() > MAX_HEAD => return Poll::Ready(Err(Fault::TooLong)),
                Ok(None) if partial.is_empty() => partial = read.filled().to_vec(),
                Ok(None) => {}
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    });
    let read = read.await;
    read.map_err(|fault| match fault {
        Fault::Io(error) => socket.failure(&error, !partial.is_empty(), true),
        Fault::TooLong => socket.not_http(LONG_HEAD),
        Fault::Parse(error) => socket.not_http(&error.to_string()),
        Fault::Field => socket.not_http(ODD_FIELD),
        Fault::Length => socket.not_http(ODD_LENGTH),
        Fault::Coding => socket.not_http(ODD_CODING),
        Fault::Upgrade => socket.not_http(ODD_UPGRADE),
    })
}

/// Why there is no answer.
enum Fault {
    Io(io::Error),
    TooLong,
    Parse(httparse::Error),
    Field,
    Length,
    Coding,
    Upgrade,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The final answer that `bytes` begin with, behind any interim ones; `None` while it is not whole.
fn parse(mut bytes: &[u8], to_head: bool, buffers: &Buffers) -> Result<Option<Answer>, Fault> {
    loop {
        let mut fields = [MaybeUninit::uninit(); MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let status = config
            .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
            .map_err(Fault::Parse)?;
        let (httparse::Status::Complete(len), Some(code)) = (status, parsed.code) else {
            return Ok(None);
        };
        if len > MAX_HEAD {
            return Err(Fault::TooLong);
        }
        match code {
            101 => return Err(Fault::Upgrade),
            100..=199 => bytes = &bytes[len..],
            _ => {
                let lines = buffers.take_lines();
                return Answer::new(&parsed, bytes, len, to_head, lines).map(Some);
            }
        }
    }
}

impl Answer {
    /// Reads the answer that `text` begins with, whose head has `len` bytes, into `lines`.
    fn new(
        parsed: &httparse::Response<'_, '_>,
        text: &[u8],
        len: usize,
        to_head: bool,
        lines: FieldLines,
    ) -> Result<Self, Fault> {
        let code = parsed.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| Fault::Field)?;
        let mut fields = lines.of(text, parsed.headers);
        let is_http11 = parsed.version == Some(1);
        // RFC 9112 6.3: what has both may be an attempt at response splitting.
        let is_odd = fields.has(&TRANSFER_ENCODING) && fields.has(&CONTENT_LENGTH);
        let length = Length::of(status, is_http11, &mut fields, to_head)?;
        let closes = headers::has_token(&fields, &CONNECTION, "close");
        let reason = parsed.reason.unwrap_or_default();
        let head = AnswerHead {
            status,
            fields,
            reason: place(text, reason.as_bytes()),
            rest: len..text.len(),
        };
        let body = Body {
            keeps: is_http11 && !closes && !is_odd && !length.is_until_close(),
            length,
        };
        Ok(Self { head, body })
    }
}

impl AnswerHead {
    /// What has come behind it.
    pub fn rest(&self) -> &[u8] {
        self.fields.text(&self.rest)
    }

    /// Appends it to `out` as the client gets it with `body`; `last` says that the connection ends.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        body: &Body,
        set: &CredentialSet,
        record: &Record,
        last: bool,
    ) {
        headers::strip_response(&mut self.fields);
        clear_ours(&mut self.fields);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.fields.text(&self.reason));
        out.extend_from_slice(b"\r\n");
        for (name, value) in self.fields.iter() {
            headers::write_field(out, name, value);
        }
        out.extend_from_slice(set.answer_lines());
        if let Some(target) = record.target() {
            out.extend_from_slice(b"X-Taskcluster-Endpoint: ");
            out.extend_from_slice(target.origin.url().as_bytes());
            out.extend_from_slice(target.target.as_str().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if body.length.is_chunked_to_client() {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if last {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Length {
    /// RFC 9112 6.3. A `Content-Length` that says nothing about the body is taken out, and one that
    /// is repeated is left once.
    fn of(
        status: StatusCode,
        is_http11: bool,
        fields: &mut FieldLines,
        to_head: bool,
    ) -> Result<Self, Fault> {
        let is_coded = fields.has(&TRANSFER_ENCODING);
        if is_coded || status == StatusCode::NO_CONTENT {
            fields.remove_all(&[CONTENT_LENGTH]);
        }
        let length = headers::content_length(fields).map_err(|_| Fault::Length)?;
        let is_chunked = headers::is_chunked(fields).ok_or(Fault::Coding)?;
        if to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Self::Known(0));
        }
        match is_chunked {
            // RFC 9112 6.1: the framing of such a message is faulty.
            _ if is_coded && !is_http11 => Err(Fault::Coding),
            true => Ok(Self::chunked()),
            false => Ok(length.map_or(Self::UntilClose, Self::Known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the answer's body ends and whether its connection is kept, in a few letters.
    fn read(text: &str, to_head: bool) -> String {
        match parse(text.as_bytes(), to_head, &Buffers::default()) {
            Ok(None) => "more".into(),
            Ok(Some(answer)) => {
                let length = match answer.body.length {
                    Length::Known(length) => length.to_string(),
                    Length::Chunked(_) => "chunked".into(),
                    Length::UntilClose => "close".into(),
                };
                let keeps = if answer.body.keeps { "" } else { ", not kept" };
                format!("{} {length}{keeps}", answer.head.status.as_u16())
            }
            Err(Fault::Parse(_)) => "parse".into(),
            Err(Fault::Length) => "length".into(),
            Err(Fault::Coding) => "coding".into(),
            Err(Fault::Upgrade) => "upgrade".into(),
            Err(Fault::TooLong) => "too long".into(),
            Err(Fault::Field) => "field".into(),
            Err(Fault::Io(_)) => "io".into(),
        }
    }

    #[test]
    fn tells_how_a_body_ends() {
        for (start, fields, to_get, to_head) in [
            ("1.1 200", "", "200 close, not kept", "200 0"),
            ("1.1 200", "Content-Length: 5", "200 5", "200 0"),
            ("1.1 200", "Content-Length: 5, 5", "200 5", "200 0"),
            ("1.1 200", "Content-Length: 5, 6", "length", "length"),
            ("1.1 200", "Content-Length: +5", "length", "length"),
            (
                "1.1 200",
                "Transfer-Encoding: chunked",
                "200 chunked",
                "200 0",
            ),
            (
                "1.1 200",
                "Transfer-Encoding: identity",
                "200 close, not kept",
                "200 0",
            ),
            (
                "1.1 200",
                "Transfer-Encoding: gzip, chunked",
                "coding",
                "coding",
            ),
            (
                "1.1 200",
                "Transfer-Encoding: chunked\r\nContent-Length: 5",
                "200 chunked, not kept",
                "200 0, not kept",
            ),
            (
                "1.1 200",
                "Connection: a, CLOSE\r\nContent-Length: 5",
                "200 5, not kept",
                "200 0, not kept",
            ),
            (
                "1.0 200",
                "Content-Length: 5",
                "200 5, not kept",
                "200 0, not kept",
            ),
            (
                "1.0 200",
                "Transfer-Encoding: chunked",
                "coding",
                "200 0, not kept",
            ),
            ("1.1 204", "Content-Length: 5", "204 0", "204 0"),
            ("1.1 204", "Transfer-Encoding: chunked", "204 0", "204 0"),
            ("1.1 205", "Content-Length: 0", "205 0", "205 0"),
            ("1.1 304", "Content-Length: 5", "304 0", "304 0"),
            ("1.1 101", "Upgrade: x", "upgrade", "upgrade"),
            ("1.1 100", "", "more", "more"),
            ("1.1 099", "", "field", "field"),
            ("1.1 200", "A : b", "parse", "parse"),
            ("1.1 200", "A: b\r\n c", "parse", "parse"),
            ("2.0 200", "", "parse", "parse"),
        ] {
            let end = if fields.is_empty() { "" } else { "\r\n" };
            let text = format!("HTTP/{start} OK\r\n{fields}{end}\r\n");
            assert_eq!(read(&text, false), to_get, "{text:?}");
            assert_eq!(read(&text, true), to_head, "HEAD {text:?}");
            let behind_another = format!("HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n{text}");
            assert_eq!(read(&behind_another, false), to_get, "{behind_another:?}");
        }
    }

    #[test]
    fn a_head_is_taken_when_it_is_whole_and_only_it() {
        let interim = "HTTP/1.1 100 Go\r\n\r\n";
        let head = "HTTP/1.1 200 Fine\r\nA:\r\nContent-Length: 2\r\n\r\n";
        let text = format!("{interim}{head}");
        for end in 0..text.len() {
            assert_eq!(read(&text[..end], false), "more", "{end}");
        }
        let answer = parse(
            format!("{text}okHTTP").as_bytes(),
            false,
            &Buffers::default(),
        );
        let head = answer.ok().flatten().expect("an answer").head;
        assert_eq!(head.rest(), b"okHTTP");
        assert_eq!(head.fields.text(&head.reason), b"Fine");
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(fields, [(&b"A"[..], &b""[..]), (b"Content-Length", b"2")]);
        let fields = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert_eq!(read(&fields(MAX_FIELDS), false), "200 close, not kept");
        assert_eq!(read(&fields(MAX_FIELDS + 1), false), "parse");
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(MAX_HEAD));
        assert_eq!(read(&long, false), "too long");
    }
}
