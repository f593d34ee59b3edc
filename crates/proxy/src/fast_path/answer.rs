//! An answer's head as it comes from upstream and as it goes to the client.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, ReadBuf};

use super::body::Length;
use super::request::{header_map, part};
use crate::credentials::{CredentialSet, clear_ours};
use crate::headers;
use crate::record::Record;
use crate::upstream::{SendError, Socket};

/// Most bytes in a head, as on the way in.
const MAX_HEAD: usize = 64 * 1024;
/// Most fields in a head.
const MAX_FIELDS: usize = 512;

/// An answer whose head has come.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// What is left of its body.
    pub length: Length,
    /// What has come behind the head.
    pub rest: Vec<u8>,
    /// Whether the connection may be used again.
    pub keeps: bool,
    reason: Bytes,
}

/// Reads until the head of the final answer has come.
///
/// # Errors
/// As [`SendError`] says.
pub async fn read(
    socket: &mut Socket,
    buffer: &RefCell<Box<[u8]>>,
    to_head: bool,
) -> Result<Answer, SendError> {
    let mut partial = Vec::new();
    let read = poll_fn(|cx| {
        loop {
            let buffer = &mut **buffer.borrow_mut();
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
            match parse(bytes, to_head) {
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
        Fault::Io(error) => socket.failure(&error, !partial.is_empty()),
        Fault::TooLong => socket.not_http("message head is too large"),
        Fault::Parse(error) => socket.not_http(&error.to_string()),
        Fault::Field => socket.not_http("invalid HTTP header parsed"),
        Fault::Length => socket.not_http("invalid content-length parsed"),
        Fault::Upgrade => socket.not_http("it changes to a protocol that nobody asked for"),
    })
}

/// Why there is no answer.
enum Fault {
    Io(io::Error),
    TooLong,
    Parse(httparse::Error),
    Field,
    Length,
    Upgrade,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The final answer that `bytes` begin with, behind any interim ones; `None` while it is not whole.
fn parse(mut bytes: &[u8], to_head: bool) -> Result<Option<Answer>, Fault> {
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
        match code {
            101 => return Err(Fault::Upgrade),
            100..=199 => bytes = &bytes[len..],
            _ => return Answer::new(&parsed, &bytes[..len], &bytes[len..], to_head).map(Some),
        }
    }
}

impl Answer {
    fn new(
        parsed: &httparse::Response<'_, '_>,
        head: &[u8],
        rest: &[u8],
        to_head: bool,
    ) -> Result<Self, Fault> {
        let bytes = Bytes::copy_from_slice(head);
        let code = parsed.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| Fault::Field)?;
        let reason = parsed.reason.unwrap_or_default().as_bytes();
        let mut headers = header_map(&bytes, head, parsed.headers).ok_or(Fault::Field)?;
        let is_http11 = parsed.version == Some(1);
        let length = Length::of(status, &mut headers, to_head).ok_or(Fault::Length)?;
        let closes = headers::has_token(&headers, &CONNECTION, "close");
        Ok(Self {
            status,
            keeps: is_http11 && !closes && !length.is_until_close(),
            length,
            rest: rest.to_vec(),
            reason: part(&bytes, head, reason),
            headers,
        })
    }

    /// Appends the head to `out` as the client gets it; `last` says that the connection ends.
    pub fn write_head(
        &mut self,
        out: &mut Vec<u8>,
        set: &CredentialSet,
        record: &Record,
        last: bool,
    ) {
        headers::strip_response(&mut self.headers);
        clear_ours(&mut self.headers);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(&self.reason);
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            headers::write_field(out, name, value.as_bytes());
        }
        out.extend_from_slice(set.answer_lines());
        if let Some(target) = record.target() {
            out.extend_from_slice(b"X-Taskcluster-Endpoint: ");
            out.extend_from_slice(target.origin.url().as_bytes());
            out.extend_from_slice(target.target.as_str().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.length.is_chunked_to_client() {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if last {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Length {
    /// RFC 9112 6.3; a length that the transfer coding overrides is taken out.
    fn of(status: StatusCode, headers: &mut HeaderMap, to_head: bool) -> Option<Self> {
        if to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Some(Self::Known(0));
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
            let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
            let last = codings
                .next_back()
                .and_then(|codings| codings.as_bytes().rsplit(|byte| *byte == b',').next());
            let chunked =
                last.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            return Some(if chunked {
                Self::chunked()
            } else {
                Self::UntilClose
            });
        }
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
        });
        let Some(first) = lengths.next() else {
            return Some(Self::UntilClose);
        };
        let same = lengths.all(|other| other == first);
        let digits = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(first).ok()?.parse().ok()?;
        (same && digits).then_some(Self::Known(length))
    }
}
