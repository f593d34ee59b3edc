//! Whether an HTTP/2 client is in the middle of a header block or of its preface (RFC 9113 3.4,
//! 4.1, 4.3).
//!
//! It follows frames by their nine-byte headers and looks at nothing else. A header block that begins
//! and does not end occupies a server's memory, so `--header-timeout` limits it.

/// RFC 9113 3.4.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// A place in the stream of frames that a client sends.
pub struct Frames {
    header: [u8; FRAME_HEADER],
    have: usize,
    /// Bytes of the preface, then of the frame's payload, that are still to come.
    left: usize,
    in_block: bool,
    ends_block: bool,
    /// The preface ends with the first frame (RFC 9113 3.4).
    in_preface: bool,
}

impl Frames {
    /// Before the preface.
    pub fn new() -> Self {
        Self {
            header: [0; FRAME_HEADER],
            have: 0,
            left: HTTP2_PREFACE.len(),
            in_block: true,
            ends_block: false,
            in_preface: true,
        }
    }

    /// Whether the preface or a header block has begun and not ended.
    pub fn in_header_block(&self) -> bool {
        self.in_block
    }

    /// Goes on through `bytes`.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            if self.left > 0 {
                return;
            }
            if self.ends_block {
                self.in_block = false;
                self.ends_block = false;
            }
            let taken = (FRAME_HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < FRAME_HEADER {
                return;
            }
            self.begin_frame();
        }
    }

    fn begin_frame(&mut self) {
        self.have = 0;
        let [a, b, c, kind, flags, ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_block = true;
            self.ends_block = flags & END_HEADERS != 0;
        } else if self.in_preface {
            self.ends_block = true;
        }
        self.in_preface = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEADER + payload, 0);
        frame
    }

    #[test]
    fn knows_when_a_header_block_is_open() {
        let data = frame(0, 0, 300);
        let cases = [
            (
                vec![
                    frame(4, 0, 6),
                    frame(HEADERS, END_HEADERS, 20),
                    data.clone(),
                ],
                false,
            ),
            (vec![], true),
            (vec![frame(4, 0, 6)], false),
            (vec![frame(HEADERS, 0, 20)], true),
            (vec![frame(HEADERS, 0, 20), frame(CONTINUATION, 0, 5)], true),
            (
                vec![frame(HEADERS, 0, 20), frame(CONTINUATION, END_HEADERS, 5)],
                false,
            ),
            (vec![data, frame(HEADERS, END_HEADERS, 0)], false),
        ];
        for (frames, open) in cases {
            let bytes = [HTTP2_PREFACE.to_vec(), frames.concat()].concat();
            for step in [1, 7, bytes.len()] {
                let mut followed = Frames::new();
                bytes.chunks(step).for_each(|chunk| followed.advance(chunk));
                assert_eq!(followed.in_header_block(), open);
            }
        }
    }

    #[test]
    fn counts_a_block_as_open_until_its_last_byte() {
        let mut followed = Frames::new();
        let block = frame(HEADERS, END_HEADERS, 20);
        followed.advance(HTTP2_PREFACE);
        followed.advance(&block[..block.len() - 1]);
        assert!(followed.in_header_block());
        followed.advance(&block[block.len() - 1..]);
        assert!(!followed.in_header_block());
    }
}
