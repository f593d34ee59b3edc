//! Where a chunked body ends (RFC 9112 7.1).
//!
//! It follows the coding without decoding it, so that the head behind the body is inspected like
//! the first, and refuses a coding that could be read in two ways.

/// A place in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    place: Place,
    left: u64,
    /// Digits of the size.
    digits: u8,
    overhead: u32,
    /// Bytes of data passed.
    data: u64,
    lenient: bool,
    /// Whether the last [`Self::advance`] has passed anything but sizes and data.
    other: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    SizeStart,
    Size,
    Padding,
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

use crate::limits::CHUNK_OVERHEAD;

/// Most digits of a size, leading zeros included: as many as other readers take (httparse among them).
const MAX_DIGITS: u8 = 16;

impl Chunked {
    /// The beginning of a body.
    pub const fn new() -> Self {
        Self {
            place: Place::SizeStart,
            left: 0,
            digits: 0,
            overhead: 0,
            data: 0,
            lenient: false,
            other: false,
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

    /// Whether the last [`Self::advance`] has passed only sizes and data.
    pub fn is_plain(self) -> bool {
        !self.other
    }

    /// Goes on as [`Self::advance`] does; sizes and data go to `out`, what is behind the last chunk
    /// to `trailers`, padding and extensions nowhere.
    ///
    /// # Errors
    /// As for [`Self::advance`].
    pub fn separate(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        trailers: &mut Vec<u8>,
    ) -> Result<usize, ChunkedError> {
        let mut at = 0;
        while at < bytes.len() && self.place != Place::Done {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let step = match self.place {
                Place::Data => left.min(bytes.len() - at),
                _ => 1,
            };
            let part = &bytes[at..at + step];
            let from = self.place;
            self.advance(part)?;
            match (from, self.place) {
                (_, Place::Padding | Place::Extension) => {}
                (Place::TrailerStart | Place::Trailer | Place::TrailerLf | Place::EndLf, _) => {
                    trailers.extend_from_slice(part);
                }
                _ => out.extend_from_slice(part),
            }
            at += step;
        }
        Ok(at)
    }

    /// Goes on through `bytes` and tells how many of them belong to the body.
    ///
    /// # Errors
    /// At the first byte that cannot stand where it does.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, ChunkedError> {
        self.other = false;
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
                self.other |= matches!(
                    self.place,
                    Place::Padding | Place::Extension | Place::Trailer
                );
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<Place, ChunkedError> {
        match (self.place, byte) {
            (Place::SizeStart | Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).ok_or(ChunkedError)?);
                if self.place == Place::SizeStart {
                    self.digits = 0;
                }
                self.digits += 1;
                if self.digits > MAX_DIGITS || self.left >> 58 != 0 {
                    return Err(ChunkedError);
                }
                self.left = self.left << 4 | digit;
                Ok(Place::Size)
            }
            (Place::Size | Place::Padding, b';') => Ok(Place::Extension),
            // Extensions are not counted: each chunk of a long body may have one.
            (Place::Size | Place::Padding, b' ' | b'\t') if self.lenient => Ok(Place::Padding),
            (Place::Size | Place::Padding | Place::Extension, b'\r') => Ok(Place::SizeEnd),
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
        if self.overhead > CHUNK_OVERHEAD {
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
            b"00000000000000005\r\n",
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

    #[test]
    fn separates_what_a_client_gets_from_what_it_does_not() {
        let cases: &[(&str, &str, &str)] = &[
            ("2\r\nok\r\n0\r\n\r\n", "2\r\nok\r\n0\r\n", "\r\n"),
            (
                "2 \t ;a;b=\"c; 9\"\r\nok\r\n00;d\r\n\r\n",
                "2\r\nok\r\n00\r\n",
                "\r\n",
            ),
            (
                "2  \r\n; \r\n0 \r\nA: b\r\n\r\n",
                "2\r\n; \r\n0\r\n",
                "A: b\r\n\r\n",
            ),
        ];
        for (text, body, section) in cases {
            let bytes = [text.as_bytes(), b"HTTP/1.1"].concat();
            for cut in 0..text.len() {
                let (mut out, mut trailers) = (Vec::new(), Vec::new());
                let mut coding = Chunked::lenient();
                let mut separate = |part| coding.separate(part, &mut out, &mut trailers);
                assert_eq!(separate(&bytes[..cut]), Ok(cut));
                assert_eq!(separate(&bytes[cut..]), Ok(text.len() - cut));
                assert!(coding.is_done());
                assert_eq!(String::from_utf8_lossy(&out), *body);
                assert_eq!(String::from_utf8_lossy(&trailers), *section);
            }
        }
    }

    #[test]
    fn white_space_behind_a_size_is_lenience_and_nothing_else() {
        for (bytes, lenient) in [
            ("5 \r\n", true),
            ("5 \t;a\r\n", true),
            ("5 5\r\n", false),
            ("5 a\r\n", false),
            (" 5\r\n", false),
            ("\t\r\n", false),
            ("5 \n", false),
            ("5 \r\r\n", false),
        ] {
            let passed = Chunked::lenient().advance(bytes.as_bytes());
            assert_eq!(passed.is_ok(), lenient, "{bytes:?}");
            assert_eq!(Chunked::new().advance(bytes.as_bytes()), Err(ChunkedError));
        }
        let padded = "1      \r\na\r\n".repeat(CHUNK_OVERHEAD as usize);
        assert!(Chunked::lenient().advance(padded.as_bytes()).is_ok());
        let extended = format!("1;{}\r\n", "a".repeat(CHUNK_OVERHEAD as usize + 1));
        assert_eq!(
            Chunked::lenient().advance(extended.as_bytes()),
            Err(ChunkedError)
        );
    }
}
