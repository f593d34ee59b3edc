//! Where a chunked body ends (RFC 9112 7.1).
//!
//! It follows the coding without decoding it, so that the head behind the body is inspected like
//! the first, and refuses a coding that could be read in two ways.

/// A place in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    place: Place,
    left: u64,
    overhead: u32,
    /// Bytes of data passed.
    data: u64,
    lenient: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    SizeStart,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// The coding is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the chunked transfer coding of the body is broken; send each size in hexadecimal digits and end every line with CR LF"
)]
pub struct ChunkedError;

/// Bytes of extensions and trailers in one body; a client has no use for more.
const MAX_OVERHEAD: u32 = 64 * 1024;

impl Chunked {
    /// The beginning of a body.
    pub const fn new() -> Self {
        Self {
            place: Place::SizeStart,
            left: 0,
            overhead: 0,
            data: 0,
            lenient: false,
        }
    }

    /// The beginning of a body in which white space may follow a size, as some servers pad them.
    pub const fn lenient() -> Self {
        Self {
            lenient: true,
            ..Self::new()
        }
    }

    /// Whether the body's end has been passed.
    pub fn is_done(self) -> bool {
        self.place == Place::Done
    }

    /// How many bytes of data have been passed.
    pub fn data(self) -> u64 {
        self.data
    }

    /// Goes on through `bytes` and tells how many of them belong to the body.
    ///
    /// # Errors
    /// At the first byte that cannot stand where it does.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, ChunkedError> {
        let mut at = 0;
        while at < bytes.len() && self.place != Place::Done {
            if self.place == Place::Data {
                let skipped = self.left.min((bytes.len() - at) as u64);
                self.left -= skipped;
                self.data += skipped;
                at += usize::try_from(skipped).map_err(|_| ChunkedError)?;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
            } else {
                self.place = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<Place, ChunkedError> {
        match (self.place, byte) {
            (Place::SizeStart | Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).ok_or(ChunkedError)?);
                if self.left >> 58 != 0 {
                    return Err(ChunkedError);
                }
                self.left = self.left << 4 | digit;
                Ok(Place::Size)
            }
            (Place::Size, b';') => Ok(Place::Extension),
            (Place::Size, b' ' | b'\t') if self.lenient => self.counted(Place::Extension),
            (Place::Size | Place::Extension, b'\r') => Ok(Place::SizeEnd),
            (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.counted(Place::Extension),
            (Place::SizeEnd, b'\n') if self.left == 0 => Ok(Place::TrailerStart),
            (Place::SizeEnd, b'\n') => Ok(Place::Data),
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(Place::SizeStart),
            (Place::TrailerStart, b'\r') => Ok(Place::EndLf),
            (Place::TrailerStart, b' ' | b'\t') => Err(ChunkedError),
            (Place::Trailer, b'\r') => Ok(Place::TrailerLf),
            (Place::TrailerStart | Place::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.counted(Place::Trailer)
            }
            (Place::TrailerLf, b'\n') => Ok(Place::TrailerStart),
            (Place::EndLf, b'\n') => Ok(Place::Done),
            _ => Err(ChunkedError),
        }
    }

    fn counted(&mut self, place: Place) -> Result<Place, ChunkedError> {
        self.overhead += 1;
        if self.overhead > MAX_OVERHEAD {
            Err(ChunkedError)
        } else {
            Ok(place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(bytes: &[u8]) -> Result<Option<usize>, ChunkedError> {
        let mut body = Chunked::new();
        let end = body.advance(bytes)?;
        Ok(body.is_done().then_some(end))
    }

    #[test]
    fn finds_the_end_wherever_the_bytes_are_cut() {
        let cases: &[&[u8]] = &[
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"00A;name=\"v\"\r\n0123456789\r\n0\r\nETag: x\r\nMD5: y\r\n\r\n",
            b"3\r\n\r\n0\r\n1\r\n\n\r\n0\r\n\r\n",
        ];
        for case in cases {
            let mut bytes = case.to_vec();
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
            assert_eq!(length(&bytes), Ok(Some(case.len())));
            for cut in 0..case.len() {
                let mut body = Chunked::new();
                assert_eq!(body.advance(&bytes[..cut]), Ok(cut));
                assert!(!body.is_done());
                assert_eq!(body.advance(&bytes[cut..]), Ok(case.len() - cut));
                assert!(body.is_done());
            }
        }
    }

    #[test]
    fn refuses_what_is_not_the_coding() {
        let cases: &[&[u8]] = &[
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"5\n",
            b"5;a\n",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"0\r\nA: b\n",
            b"0\r\n A: b\r\n",
            b"0\r\n\rX",
            b"11111111111111111\r\n",
        ];
        for case in cases {
            assert_eq!(
                length(case),
                Err(ChunkedError),
                "{:?}",
                String::from_utf8_lossy(case)
            );
        }
    }
}
