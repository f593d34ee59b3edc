//! The normalised string, the MAC over it and the hash of a payload: the one place where Hawk's
//! signature is defined. Text of the standard: npm `hawk`, `lib/crypto.js`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};

use crate::resource::SignedRequest;

/// An HMAC-SHA256 in base64.
pub(crate) const MAC_LEN: usize = 44;

/// What is signed; each kind has its own first line, so that no MAC can stand in for another.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Header,
    Bewit,
}

/// Everything that enters a MAC, in the order in which it does.
pub(crate) struct Normalised<'a> {
    pub(crate) kind: Kind,
    /// The time of signing, or the expiry of a bewit.
    pub(crate) ts: &'a str,
    /// Empty in a bewit.
    pub(crate) nonce: &'a str,
    pub(crate) request: &'a SignedRequest<'a>,
    pub(crate) hash: &'a str,
    pub(crate) ext: &'a str,
    /// `app` and `dlg` of Oz: only ever verified, never sent.
    pub(crate) app: Option<(&'a str, &'a str)>,
}

impl Normalised<'_> {
    /// Hands the normalised string to `sink`, piece by piece.
    fn feed(&self, sink: &mut impl FnMut(&[u8])) {
        sink(match self.kind {
            Kind::Header => b"hawk.1.header\n",
            Kind::Bewit => b"hawk.1.bewit\n",
        });
        sink(self.ts.as_bytes());
        sink(b"\n");
        sink(self.nonce.as_bytes());
        sink(b"\n");
        feed_mapped(self.request.method, u8::to_ascii_uppercase, sink);
        sink(b"\n");
        sink(self.request.target.as_bytes());
        sink(b"\n");
        feed_mapped(self.request.host, u8::to_ascii_lowercase, sink);
        sink(b"\n");
        sink(itoa::Buffer::new().format(self.request.port).as_bytes());
        sink(b"\n");
        sink(self.hash.as_bytes());
        sink(b"\n");
        feed_escaped(self.ext, sink);
        sink(b"\n");
        if let Some((app, dlg)) = self.app {
            for part in [app, dlg] {
                sink(part.as_bytes());
                sink(b"\n");
            }
        }
    }

    /// The MAC in base64. Allocates nothing.
    pub(crate) fn mac(&self, key: &hmac::Key) -> [u8; MAC_LEN] {
        let mut context = hmac::Context::with_key(key);
        self.feed(&mut |piece| context.update(piece));
        let mut encoded = [0; MAC_LEN];
        STANDARD
            .encode_slice(context.sign(), &mut encoded)
            .expect("32 bytes make 44 characters of base64");
        encoded
    }

    /// Whether `mac` is the MAC in base64, in constant time.
    pub(crate) fn verify(&self, key: &hmac::Key, mac: &str) -> bool {
        let mut normalised = Vec::with_capacity(256 + self.request.target.len() + self.ext.len());
        self.feed(&mut |piece| normalised.extend_from_slice(piece));
        verify(key, &normalised, mac)
    }
}

/// Whether `mac` is the base64 of the HMAC of `message`, in constant time. Base64 that is not
/// canonical is no match: npm `hawk` compares the encoded strings.
pub(crate) fn verify(key: &hmac::Key, message: &[u8], mac: &str) -> bool {
    STANDARD
        .decode(mac)
        .is_ok_and(|mac| hmac::verify(key, message, &mac).is_ok())
}

/// The key for an access token: its bytes as they stand.
pub(crate) fn key(access_token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, access_token.as_bytes())
}

/// The `hash` attribute for a body: base64 of the SHA-256 over Hawk's payload string. Of the
/// content type only the media type counts, without parameters and in lower case.
pub fn payload_hash(content_type: &str, body: &[u8]) -> String {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"hawk.1.payload\n");
    context.update(media_type.to_ascii_lowercase().as_bytes());
    context.update(b"\n");
    context.update(body);
    context.update(b"\n");
    STANDARD.encode(context.finish())
}

fn feed_mapped(text: &str, map: impl Fn(&u8) -> u8, sink: &mut impl FnMut(&[u8])) {
    let mut mapped = [0; 64];
    for piece in text.as_bytes().chunks(mapped.len()) {
        for (to, from) in mapped.iter_mut().zip(piece) {
            *to = map(from);
        }
        sink(&mapped[..piece.len()]);
    }
}

/// `\` and line feed are escaped in the normalised string.
fn feed_escaped(ext: &str, sink: &mut impl FnMut(&[u8])) {
    for (i, line) in ext.split('\n').enumerate() {
        if i > 0 {
            sink(b"\\n");
        }
        for (j, part) in line.split('\\').enumerate() {
            if j > 0 {
                sink(b"\\\\");
            }
            sink(part.as_bytes());
        }
    }
}
