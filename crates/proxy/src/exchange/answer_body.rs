//! An answer's body on a bare socket: where it ends, and which of its bytes the client gets.
//!
//! What it is not: it reads and writes nothing; see [`crate::back::bare`].

use std::io::{self, Write};

use http::HeaderName;

use crate::limits::ANSWER_FIELDS;
use crate::message::chunked::{Chunked, ChunkedError};
use crate::message::fields::FieldLines;
use crate::message::headers;
use crate::message::strict_body::BodyError;

/// What is left of an answer's body.
pub struct AnswerBody {
    pub length: Length,
    /// Whether the connection may be used again behind it.
    pub keeps: bool,
}

/// How the end of a body is found (RFC 9112 6.3).
pub enum Length {
    /// The number of bytes that are left.
    Known(u64),
    /// The chunked coding; its sizes and data pass as they are.
    Chunked(Coding),
    /// The end of the connection; the client gets it in chunks.
    UntilClose,
}

impl Length {
    /// The chunked coding, behind which the trailers of these names may come.
    pub fn chunked(declared: Vec<HeaderName>) -> Self {
        Self::Chunked(Coding {
            place: Chunked::lenient(),
            trailers: Vec::new(),
            declared,
        })
    }

    pub fn is_until_close(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    pub fn is_chunked_to_client(&self) -> bool {
        !matches!(self, Self::Known(_))
    }

    pub fn is_done(&self) -> bool {
        match self {
            Self::Known(left) => *left == 0,
            Self::Chunked(coding) => coding.place.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Ends the body with upstream's connection, as some bodies end. Returns the bytes that the
    /// client gets for that.
    ///
    /// # Errors
    /// Where the body is not whole.
    pub fn end(&mut self) -> io::Result<Vec<u8>> {
        if !self.is_until_close() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *self = Self::Known(0);
        Ok(b"0\r\n\r\n".to_vec())
    }

    /// Takes the bytes of the body that `bytes` begin with.
    ///
    /// # Errors
    /// Where they break the body's coding.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Taken, BodyError> {
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

/// The part of some bytes that belongs to a body.
pub struct Taken {
    /// How many of the bytes belong to it.
    pub bytes: usize,
    /// How many of those are data.
    pub data: usize,
    /// The bytes that the client gets in their place; `None` if it gets them as they are.
    pub instead: Option<Vec<u8>>,
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
    /// Names of the trailers that `Trailer` announced.
    declared: Vec<HeaderName>,
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
            let section = std::mem::take(&mut self.trailers);
            write_trailers(&mut out, &section, &self.declared)?;
        }
        Ok(Taken {
            instead: Some(out),
            ..Taken::as_it_is(taken, data)
        })
    }
}

/// Appends the end of a chunked body with its trailers, which came as `section`. The client gets
/// those that were declared, as with hyper. Fields of the framing, of the connection or of the
/// proxy are left out (RFC 9110 6.5.1).
fn write_trailers(
    out: &mut Vec<u8>,
    section: &[u8],
    declared: &[HeaderName],
) -> Result<(), ChunkedError> {
    let mut fields = [httparse::EMPTY_HEADER; ANSWER_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields)
    else {
        return Err(ChunkedError);
    };
    let mut trailers = FieldLines::default().of(section, fields);
    headers::strip_trailers(&mut trailers);
    let is_declared = |name: &[u8]| {
        let mut names = declared.iter().map(|name| name.as_str().as_bytes());
        names.any(|declared| name.eq_ignore_ascii_case(declared))
    };
    for (name, value) in trailers.iter().filter(|(name, _)| is_declared(name)) {
        headers::write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// RFC 9112 7.1. No data gives no chunk: an empty chunk would end the body.
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

    const X_A: HeaderName = HeaderName::from_static("x-a");

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
                "2\r\n\r\n\r\n0\r\nx-a:b \r\nX-B: undeclared\r\nX-Taskcluster-Endpoint: x\r\nContent-Length: 9\r\n\r\n",
                "2\r\n\r\n\r\n0\r\nX-A: b\r\n\r\n",
                0,
                2,
            ),
            ("0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n", 0, 0),
        ] {
            for cut in 0..=body.len() {
                let passed = pass(Length::chunked(vec![X_A]), body, cut).expect("a body");
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
                assert!(
                    pass(Length::chunked(vec![X_A]), &body, cut).is_err(),
                    "{body:?}"
                );
            }
        }
        let many = "X-A: b\r\n".repeat(ANSWER_FIELDS + 1);
        assert!(pass(Length::chunked(vec![X_A]), &format!("0\r\n{many}\r\n"), 0).is_err());
    }
}
