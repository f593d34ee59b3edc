//! An answer's head as it comes on a bare socket.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use tokio::io::{AsyncRead, ReadBuf};

use crate::exchange::answer_body::{AnswerBody, Length};
use crate::exchange::buffers::Buffers;
use crate::exchange::send_error::{
    CODING_IN_HTTP10, INVALID_FIELD, INVALID_LENGTH, INVALID_STATUS, INVALID_VERSION, LONG_HEAD,
    LONG_INTERIM, UNASKED_UPGRADE, UNKNOWN_CODING,
};
use crate::exchange::upstream::Socket;
use crate::limits::{ANSWER_FIELDS, ANSWER_HEAD, INTERIM_ANSWERS};
use crate::message::fields::{FieldLines, Fields, Names, place};
use crate::message::headers;
use crate::message::names::clear_ours;

static LENGTH: LazyLock<Names> = LazyLock::new(|| Names::from_iter([CONTENT_LENGTH]));

/// The head, and what has come behind it.
pub struct AnswerHead {
    pub status: StatusCode,
    pub fields: FieldLines,
    /// Where the text has them.
    reason: Range<usize>,
    rest: Range<usize>,
}

/// What has come.
pub enum Came {
    /// Interim answers (RFC 9110 15.2), as lines for the client.
    Interim(Vec<u8>),
    /// The head of the final answer.
    Final(AnswerHead, AnswerBody),
}

/// The properties of a request that say how its answer is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// It was a HEAD.
    pub is_head: bool,
    /// It said `TE: trailers` (RFC 9110 6.5.1).
    pub takes_trailers: bool,
}

/// Reads the heads of one answer.
pub struct HeadReader {
    asked: Asked,
    /// What has come of a head that is not whole.
    partial: Vec<u8>,
    /// Bytes of interim answers so far.
    interim: usize,
}

impl HeadReader {
    /// A reader of the answer to a request.
    pub fn new(asked: Asked) -> Self {
        Self {
            asked,
            partial: Vec::new(),
            interim: 0,
        }
    }

    /// Whether anything of an answer has come.
    pub fn has_heard(&self) -> bool {
        self.interim > 0 || !self.partial.is_empty()
    }

    /// Reads on until the next interim or final answer is complete.
    ///
    /// # Errors
    /// As [`Fault`] says.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        buffers: &Buffers,
    ) -> Poll<Result<Came, Fault>> {
        loop {
            if self.interim > 0 && !self.partial.is_empty() {
                // These bytes came behind an interim answer.
                let held = std::mem::take(&mut self.partial);
                if let Some(came) = self.read(&held, buffers)? {
                    return Poll::Ready(Ok(came));
                }
                self.partial = held;
            }
            let buffer = &mut **buffers.read.borrow_mut();
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(Fault::Io(ErrorKind::UnexpectedEof.into())));
            }
            let mut held = std::mem::take(&mut self.partial);
            let came = if held.is_empty() {
                self.read(read.filled(), buffers)?
            } else {
                held.extend_from_slice(read.filled());
                self.read(&held, buffers)?
            };
            match came {
                Some(came) => return Poll::Ready(Ok(came)),
                None if held.is_empty() => self.partial = read.filled().to_vec(),
                None => self.partial = held,
            }
        }
    }

    /// The head that `bytes` begin with; `None` while no head is whole. Bytes behind an interim
    /// answer are kept.
    fn read(&mut self, bytes: &[u8], buffers: &Buffers) -> Result<Option<Came>, Fault> {
        match parse(bytes, self.asked, buffers)? {
            None if bytes.len() > ANSWER_HEAD => Err(Fault::TooLong),
            None => Ok(None),
            Some(Parsed::Interim(len, lines)) => {
                self.interim += len;
                if self.interim > INTERIM_ANSWERS {
                    return Err(Fault::LongInterim);
                }
                self.partial = bytes[len..].to_vec();
                Ok(Some(Came::Interim(lines)))
            }
            Some(Parsed::Final(head, body)) => Ok(Some(Came::Final(head, body))),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    Io(io::Error),
    TooLong,
    LongInterim,
    Parse(httparse::Error),
    Length,
    Coding,
    /// A transfer coding in HTTP/1.0, which has none.
    OldCoding,
    Upgrade,
}

impl Fault {
    /// What is wrong with what came, in a few words.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io(_) => "it broke off",
            Self::TooLong | Self::Parse(httparse::Error::TooManyHeaders) => LONG_HEAD,
            Self::LongInterim => LONG_INTERIM,
            Self::Parse(httparse::Error::Status) => INVALID_STATUS,
            Self::Parse(httparse::Error::Version) => INVALID_VERSION,
            Self::Parse(_) => INVALID_FIELD,
            Self::Length => INVALID_LENGTH,
            Self::Coding => UNKNOWN_CODING,
            Self::OldCoding => CODING_IN_HTTP10,
            Self::Upgrade => UNASKED_UPGRADE,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A head that is whole.
pub enum Parsed {
    /// The number of bytes of an interim answer, and its lines for the client.
    Interim(usize, Vec<u8>),
    Final(AnswerHead, AnswerBody),
}

/// The head that `bytes` begin with; `None` while it is not whole.
///
/// # Errors
/// As [`Fault`] says.
pub fn parse(bytes: &[u8], asked: Asked, buffers: &Buffers) -> Result<Option<Parsed>, Fault> {
    let mut fields = [MaybeUninit::uninit(); ANSWER_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .map_err(Fault::Parse)?;
    let (httparse::Status::Complete(len), Some(code)) = (status, parsed.code) else {
        return Ok(None);
    };
    if len > ANSWER_HEAD {
        return Err(Fault::TooLong);
    }
    let lines = buffers.take_lines();
    match code {
        101 => Err(Fault::Upgrade),
        100..=199 => {
            let lines = interim(&parsed, lines.of(bytes, parsed.headers));
            Ok(Some(Parsed::Interim(len, lines)))
        }
        _ => read_final(&parsed, bytes, len, asked, lines).map(Some),
    }
}

/// The lines of an interim answer as the client gets them. It never has a body, even if its fields
/// announce one (RFC 9110 15.2).
fn interim(parsed: &httparse::Response<'_, '_>, mut fields: FieldLines) -> Vec<u8> {
    headers::strip_response(&mut fields);
    clear_ours(&mut fields);
    fields.remove_all(&LENGTH);
    let mut lines = Vec::new();
    let mut code = itoa::Buffer::new();
    let code = code.format(parsed.code.unwrap_or_default());
    headers::write_status_line(
        &mut lines,
        code,
        parsed.reason.unwrap_or_default().as_bytes(),
    );
    for (name, value) in fields.iter() {
        headers::write_field(&mut lines, name, value);
    }
    lines.extend_from_slice(b"\r\n");
    lines
}

/// Reads the answer at the beginning of `text`, with a head of `len` bytes, into `lines`.
fn read_final(
    parsed: &httparse::Response<'_, '_>,
    text: &[u8],
    len: usize,
    asked: Asked,
    lines: FieldLines,
) -> Result<Parsed, Fault> {
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| Fault::Parse(httparse::Error::Status))?;
    let mut fields = lines.of(text, parsed.headers);
    let is_http11 = parsed.version == Some(1);
    // RFC 9112 6.3: a message that has both may be an attempt at response splitting.
    let has_both = fields.has(&TRANSFER_ENCODING) && fields.has(&CONTENT_LENGTH);
    let length = Length::of(status, is_http11, &mut fields, asked)?;
    let closes = headers::has_token(&fields, &CONNECTION, "close");
    let reason = parsed.reason.unwrap_or_default();
    let head = AnswerHead {
        status,
        fields,
        reason: place(text, reason.as_bytes()),
        rest: len..text.len(),
    };
    let body = AnswerBody {
        keeps: is_http11 && !closes && !has_both && !length.is_until_close(),
        length,
    };
    Ok(Parsed::Final(head, body))
}

impl AnswerHead {
    /// The bytes that have come behind the head.
    pub fn rest(&self) -> &[u8] {
        self.fields.text(&self.rest)
    }

    /// Its reason phrase, as it came.
    pub fn reason(&self) -> &[u8] {
        self.fields.text(&self.reason)
    }
}

impl Length {
    /// RFC 9112 6.3. A `Content-Length` that says nothing about the body is taken out, and one that
    /// is repeated is left once.
    fn of(
        status: StatusCode,
        is_http11: bool,
        fields: &mut FieldLines,
        asked: Asked,
    ) -> Result<Self, Fault> {
        let is_coded = fields.has(&TRANSFER_ENCODING);
        if is_coded || status == StatusCode::NO_CONTENT {
            fields.remove_all(&LENGTH);
        }
        let length = headers::content_length(fields).map_err(|_| Fault::Length)?;
        let has_body =
            !asked.is_head && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if has_body && is_coded && !is_http11 {
            // RFC 9112 6.1: the framing of such a message is faulty.
            return Err(Fault::OldCoding);
        }
        let is_chunked = headers::is_chunked(fields).ok_or(Fault::Coding)?;
        if !has_body {
            return Ok(Self::Known(0));
        }
        match is_chunked {
            true if asked.takes_trailers => Ok(Self::chunked(headers::list(fields, &TRAILER))),
            true => Ok(Self::chunked(Vec::new())),
            false => Ok(length.map_or(Self::UntilClose, Self::Known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `text`, which comes as a whole.
    fn parsed(text: &[u8], to_head: bool) -> Result<Option<Parsed>, Fault> {
        let mut text = text;
        loop {
            let asked = Asked {
                is_head: to_head,
                takes_trailers: false,
            };
            match parse(text, asked, &Buffers::default())? {
                Some(Parsed::Interim(len, _)) => text = &text[len..],
                other => return Ok(other),
            }
        }
    }

    /// How the answer's body ends and whether its connection is kept, in a few letters.
    fn read(text: &str, to_head: bool) -> String {
        match parsed(text.as_bytes(), to_head) {
            Ok(None | Some(Parsed::Interim(..))) => "more".into(),
            Ok(Some(Parsed::Final(head, body))) => {
                let length = match body.length {
                    Length::Known(length) => length.to_string(),
                    Length::Chunked(_) => "chunked".into(),
                    Length::UntilClose => "close".into(),
                };
                let keeps = if body.keeps { "" } else { ", not kept" };
                format!("{} {length}{keeps}", head.status.as_u16())
            }
            Err(Fault::Parse(_)) => "parse".into(),
            Err(Fault::Length) => "length".into(),
            Err(Fault::Coding) => "coding".into(),
            Err(Fault::OldCoding) => "old coding".into(),
            Err(Fault::Upgrade) => "upgrade".into(),
            Err(Fault::TooLong | Fault::LongInterim) => "too long".into(),
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
            ("1.1 200", "Transfer-Encoding: identity", "coding", "coding"),
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
                "old coding",
                "200 0, not kept",
            ),
            ("1.1 204", "Content-Length: 5", "204 0", "204 0"),
            ("1.1 204", "Transfer-Encoding: chunked", "204 0", "204 0"),
            ("1.1 205", "Content-Length: 0", "205 0", "205 0"),
            ("1.1 304", "Content-Length: 5", "304 0", "304 0"),
            ("1.1 101", "Upgrade: x", "upgrade", "upgrade"),
            ("1.1 100", "", "more", "more"),
            ("1.1 099", "", "parse", "parse"),
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
        let answer = parsed(format!("{text}okHTTP").as_bytes(), false);
        let Ok(Some(Parsed::Final(head, _))) = answer else {
            panic!("no answer");
        };
        assert_eq!(head.rest(), b"okHTTP");
        assert_eq!(head.fields.text(&head.reason), b"Fine");
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(fields, [(&b"A"[..], &b""[..]), (b"Content-Length", b"2")]);
        let fields = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert_eq!(read(&fields(ANSWER_FIELDS), false), "200 close, not kept");
        assert_eq!(read(&fields(ANSWER_FIELDS + 1), false), "parse");
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(ANSWER_HEAD));
        assert_eq!(read(&long, false), "too long");
    }

    #[test]
    fn an_interim_answer_keeps_what_speaks_of_the_request() {
        let text = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nconnection: x-b\r\nX-B: c\r\n\
                    X-Taskcluster-Endpoint: theirs\r\nlink: </b>\r\n\r\nHTTP";
        let Ok(Some(Parsed::Interim(len, lines))) =
            parse(text.as_bytes(), Asked::default(), &Buffers::default())
        else {
            panic!("no interim answer");
        };
        assert_eq!(&text[len..], "HTTP");
        assert_eq!(
            String::from_utf8_lossy(&lines),
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
        );
    }
}
