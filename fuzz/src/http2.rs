//! The frames of an HTTP/2 client, as far as the gate follows them.

use taskcluster_proxy_core::fuzzing;

use super::cut;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A header block is open from its first frame to the last byte of the one that ends it, and the
/// preface to the last byte of the first frame; how the bytes are cut changes nothing.
pub fn http2_frames(bytes: &[u8]) -> bool {
    let bytes = [PREFACE, bytes].concat();
    let open = fuzzing::in_header_block(&[&bytes]);
    assert_eq!(fuzzing::in_header_block(&cut(&bytes)), open);
    assert_eq!(open, is_open(&bytes[PREFACE.len()..]));
    !open
}

/// RFC 9113 4.1: a frame is a length of 24 bits, a type, flags, a stream, and so many bytes.
fn is_open(mut frames: &[u8]) -> bool {
    let mut is_open = true;
    let mut is_first = true;
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = frames {
        let length = usize::from(*a) * 0x1_0000 + usize::from(*b) * 0x100 + usize::from(*c);
        let is_block = matches!(kind, 1 | 9);
        is_open |= is_block;
        let Some(behind) = rest.get(length..) else {
            return is_open;
        };
        if if is_block { flags & 4 != 0 } else { is_first } {
            is_open = false;
        }
        is_first = false;
        frames = behind;
    }
    is_open
}
