//! Whether the head of an HTTP/1 request can be read in one way only, and how long its body is.
//!
//! hyper parses what passes; this file refuses what two parsers could read differently (RFC 9112
//! 2.2, 5.1, 5.2, 6.3, 11.2), since a task that can smuggle a request through the proxy can have it
//! signed. It builds no header map and knows nothing of what the fields mean beyond framing.

use http::StatusCode;
use memchr::memchr;

use crate::code::Code;
use crate::limits::{HELD_FIELDS, REQUEST_FIELDS, REQUEST_HEAD};
use crate::message::headers::{LengthError, length_of};
use crate::message::target::{TargetError, check_target};

/// A head that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head, its empty line included.
    pub len: usize,
    /// What follows it.
    pub body: BodyLength,
    /// It has an `Upgrade` field: what follows the body may not be HTTP/1.
    pub upgrade: bool,
    /// HTTP/1.1 in origin form, with fewer fields than [`HELD_FIELDS`], a length that is known
    /// beforehand, and no field that asks for more than an answer (`Expect`, `Upgrade`).
    pub plain: bool,
    /// The connection ends with this message (RFC 9112 9.3).
    pub closes: bool,
}

/// How the end of a body is found (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// The number of its bytes, often 0.
    Known(u64),
    /// The chunked transfer coding.
    Chunked,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("a line of the request does not end in CR LF; end every line with both")]
    LineEnd,
    #[error("the request line is not \"METHOD SP request-target SP HTTP/1.1\"")]
    RequestLine,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("a header field continues on the next line (obs-fold); write it on one line")]
    Fold,
    #[error("a header field's name is not a token followed at once by a colon")]
    FieldName,
    #[error("a header field's value holds a control character")]
    FieldValue,
    #[error("the length of the body is not certain: {0}")]
    Length(&'static str),
    #[error("the connection ended in the middle of a request's head; end it with an empty line")]
    End,
    #[error("the request's head is longer than 64 KiB or has more than 1,000 fields")]
    TooLarge,
    #[error("the request's head did not come in time (see --header-timeout)")]
    Timeout,
}

impl HeadError {
    /// The error's stable code.
    pub fn code(self) -> Code {
        match self {
            Self::TooLarge => Code::HeadTooLarge,
            Self::Timeout => Code::HeadTimeout,
            Self::Target(_) => Code::Target,
            _ => Code::Head,
        }
    }

    /// The answer's status: 400, 408 or 431.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<LengthError> for HeadError {
    fn from(_: LengthError) -> Self {
        Self::Length("Content-Length is not one number of bytes below 2^63")
    }
}

/// Reads the head at the beginning of `bytes`; `None` while its end has not come.
///
/// Empty lines before the request line are part of the head (RFC 9112 2.2).
///
/// # Errors
/// As soon as a line is complete that cannot stand in a head, or the head is too large.
pub fn inspect(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut lines = Lines { bytes, at: 0 };
    let request_line = loop {
        match lines.next()? {
            None => return Ok(None),
            Some([]) => {}
            Some(line) => break line,
        }
    };
    let version = request_line_version(request_line)?;
    let is_origin_form =
        memchr(b' ', request_line).is_some_and(|space| request_line.get(space + 1) == Some(&b'/'));
    let mut fields = Fields::default();
    loop {
        match lines.next()? {
            None => return Ok(None),
            Some([]) => break,
            Some(line) => fields.read(line)?,
        }
    }
    let body = fields.body_length(version)?;
    Ok(Some(Head {
        len: lines.at,
        body,
        upgrade: fields.upgrade,
        plain: is_origin_form
            && version == Version::Http11
            && !fields.special
            && fields.count <= HELD_FIELDS,
        closes: fields.closes || version == Version::Http10 && !fields.keeps_alive,
    }))
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, HeadError> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr(b'\n', rest) else {
            return if self.bytes.len() >= REQUEST_HEAD {
                Err(HeadError::TooLarge)
            } else {
                Ok(None)
            };
        };
        self.at += end + 1;
        if self.at > REQUEST_HEAD {
            return Err(HeadError::TooLarge);
        }
        let line = rest[..end].strip_suffix(b"\r").ok_or(HeadError::LineEnd)?;
        if memchr(b'\r', line).is_some() {
            return Err(HeadError::LineEnd);
        }
        Ok(Some(line))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn request_line_version(line: &[u8]) -> Result<Version, HeadError> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        // A raw space in the target is the usual mistake; other bytes are reported before.
        return Err(HeadError::RequestLine);
    };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) || target.is_empty() {
        return Err(HeadError::RequestLine);
    }
    check_target(target)?;
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(HeadError::RequestLine),
    }
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is another field of the head"
)]
struct Fields {
    count: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    special: bool,
    closes: bool,
    keeps_alive: bool,
}

impl Fields {
    fn read(&mut self, line: &[u8]) -> Result<(), HeadError> {
        self.count += 1;
        if self.count > REQUEST_FIELDS {
            return Err(HeadError::TooLarge);
        }
        if matches!(line[0], b' ' | b'\t') {
            return Err(HeadError::Fold);
        }
        let colon = memchr(b':', line).ok_or(HeadError::FieldName)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(HeadError::FieldName);
        }
        // All of them are looked at, also behind a bad one, so that the compiler takes many at once.
        if !value
            .iter()
            .fold(true, |all, &byte| all & is_of_value(byte))
        {
            return Err(HeadError::FieldValue);
        }
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                self.special = true;
                Ok(())
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.special = true;
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let length = length_of(value.trim_ascii()).ok_or(LengthError)?;
        if self.length.is_some_and(|earlier| earlier != length) {
            return Err(HeadError::Length("two Content-Length fields differ"));
        }
        self.length = Some(length);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::Length(
                "the only Transfer-Encoding understood here is one \"chunked\"",
            ));
        }
        self.chunked = true;
        self.special = true;
        Ok(())
    }

    fn body_length(&self, version: Version) -> Result<BodyLength, HeadError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadError::Length(
                "both Content-Length and Transfer-Encoding are given",
            )),
            (true, None) if version == Version::Http10 => {
                Err(HeadError::Length("HTTP/1.0 has no Transfer-Encoding"))
            }
            (true, None) => Ok(BodyLength::Chunked),
            (false, length) => Ok(BodyLength::Known(length.unwrap_or(0))),
        }
    }
}

/// RFC 9110 5.5.
fn is_of_value(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7F
}

/// RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

static TOKEN: [bool; 256] = {
    let characters = b"!#$%&'*+-.^_`|~0123456789\
        ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut table = [false; 256];
    let mut at = 0;
    while at < characters.len() {
        table[characters[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_certain() {
        let cases: &[(&str, BodyLength)] = &[
            ("GET / HTTP/1.1\r\n\r\n", BodyLength::Known(0)),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", BodyLength::Known(0)),
            (
                "get /a\"?b={c} HTTP/1.0\r\nHost: x\r\n\r\n",
                BodyLength::Known(0),
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length:  12 \r\n\r\n",
                BodyLength::Known(12),
            ),
            (
                "PUT / HTTP/1.1\r\ncontent-length: 7\r\nContent-Length: 7\r\n\r\n",
                BodyLength::Known(7),
            ),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
                BodyLength::Chunked,
            ),
            (
                "PUT / HTTP/1.1\r\nX:\r\nY: \t \r\nZ: \u{e9}\r\n\r\n",
                BodyLength::Known(0),
            ),
        ];
        for (text, body) in cases {
            let head = inspect(text.as_bytes());
            assert_eq!(
                head.map(|head| head.map(|head| (head.len, head.body, head.upgrade))),
                Ok(Some((text.len(), *body, false))),
                "{text:?}"
            );
            for end in 0..text.len() {
                assert_eq!(
                    inspect(&text.as_bytes()[..end]),
                    Ok(None),
                    "{:?}",
                    &text.get(..end)
                );
            }
        }
        let upgrade = inspect(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\nrest")
            .unwrap()
            .unwrap();
        assert!(upgrade.upgrade);
        assert_eq!(upgrade.len, 38);
    }

    #[test]
    fn tells_what_asks_for_an_answer_and_nothing_else() {
        let cases = [
            ("GET /", "Host: x", true),
            ("HEAD /a?b", "Host: x\r\nRange: bytes=0-1", true),
            ("POST /", "Content-Length: 300", true),
            ("PUT /", "Content-Length: 0", true),
            ("get /", "Host: x", true),
            ("DELETE /", "Connection: close", true),
            ("GET /", "Connection: keep-alive, x", true),
            ("GET /", "TE: trailers", true),
            ("GET /", "Trailer: etag", true),
            ("GET /", "X-Taskcluster-Authorized-Scopes: []", true),
            ("GET /", "X-Expect: a\r\nUpgrade-Insecure-Requests: 1", true),
            ("OPTIONS *", "Host: x", false),
            ("GET http://x/", "Host: x", false),
            ("GET /", "EXPECT: 100-continue", false),
            ("POST /", "Transfer-Encoding: chunked", false),
            ("GET /", "Upgrade: websocket", false),
        ];
        for (start, field, plain) in cases {
            let text = format!("{start} HTTP/1.1\r\n{field}\r\n\r\n");
            let head = inspect(text.as_bytes()).unwrap().unwrap();
            assert_eq!(head.plain, plain, "{text:?}");
        }
        let old = inspect(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert!(!old.plain);
        let full = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(HELD_FIELDS + 1)
        );
        assert!(!inspect(full.as_bytes()).unwrap().unwrap().plain);
    }

    #[test]
    fn tells_whether_the_connection_ends() {
        for (version, field, closes) in [
            ("1.1", "Host: x", false),
            ("1.1", "Connection: Keep-Alive", false),
            ("1.1", "Connection: a,\tCLOSE", true),
            ("1.1", "X-Connection: close", false),
            ("1.0", "Host: x", true),
            ("1.0", "Connection: keep-alive", false),
        ] {
            let text = format!("GET / HTTP/{version}\r\n{field}\r\n\r\n");
            let head = inspect(text.as_bytes()).unwrap().unwrap();
            assert_eq!(head.closes, closes, "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_not() {
        use HeadError::{FieldName, FieldValue, Fold, LineEnd, RequestLine, TooLarge};
        let byte = HeadError::Target(TargetError::Byte);
        let fragment = HeadError::Target(TargetError::Fragment);
        let length = |text| HeadError::Length(text);
        let two = "both Content-Length and Transfer-Encoding are given";
        let only = "the only Transfer-Encoding understood here is one \"chunked\"";
        let number = "Content-Length is not one number of bytes below 2^63";
        let cases: &[(&[u8], HeadError)] = &[
            (b"GET / HTTP/1.1\n", LineEnd),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", LineEnd),
            (b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", LineEnd),
            (b"GET / HTTP/1.1\rA: b\r\n\r\n", LineEnd),
            (b"GET  / HTTP/1.1\r\n", RequestLine),
            (b"GET / b HTTP/1.1\r\n", RequestLine),
            (b"GET /\r\n", RequestLine),
            (b"GET / HTTP/2.0\r\n", RequestLine),
            (b"G(T / HTTP/1.1\r\n", RequestLine),
            (b" GET / HTTP/1.1\r\n", RequestLine),
            (b"GET /a#b HTTP/1.1\r\n", fragment),
            (b"GET /?a#b HTTP/1.1\r\n", fragment),
            (b"GET /\xc3\xa9 HTTP/1.1\r\n", byte),
            (b"GET /\x01 HTTP/1.1\r\n", byte),
            (b"GET /<a> HTTP/1.1\r\n", byte),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n", Fold),
            (b"GET / HTTP/1.1\r\n\tc: d\r\n", Fold),
            (b"GET / HTTP/1.1\r\nA : b\r\n", FieldName),
            (b"GET / HTTP/1.1\r\n: b\r\n", FieldName),
            (b"GET / HTTP/1.1\r\nnothing\r\n", FieldName),
            (b"GET / HTTP/1.1\r\nA: \x00\r\n", FieldValue),
            (b"GET / HTTP/1.1\r\nA: \x7f\r\n", FieldValue),
            (
                b"P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                length(two),
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
                length(two),
            ),
            (
                b"P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
                length("two Content-Length fields differ"),
            ),
            (b"P / HTTP/1.1\r\nContent-Length: 1, 1\r\n", length(number)),
            (b"P / HTTP/1.1\r\nContent-Length: +1\r\n", length(number)),
            (b"P / HTTP/1.1\r\nContent-Length: -1\r\n", length(number)),
            (b"P / HTTP/1.1\r\nContent-Length:\r\n", length(number)),
            (
                b"P / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
                length(number),
            ),
            (
                b"P / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n",
                length(number),
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
                length(only),
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: identity\r\n",
                length(only),
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                length(only),
            ),
            (
                b"P / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                length("HTTP/1.0 has no Transfer-Encoding"),
            ),
        ];
        for (bytes, error) in cases {
            assert_eq!(
                inspect(bytes),
                Err(*error),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        let many = format!(
            "GET / HTTP/1.1\r\n{}",
            "a: b\r\n".repeat(REQUEST_FIELDS + 1)
        );
        assert_eq!(inspect(many.as_bytes()), Err(TooLarge));
        assert_eq!(inspect(&vec![b'a'; REQUEST_HEAD]), Err(TooLarge));
        let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(REQUEST_HEAD));
        assert_eq!(inspect(long.as_bytes()), Err(TooLarge));
    }
}
