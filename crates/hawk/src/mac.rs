//! The normalised string, the MAC over it and the hash of a payload: the one place where Hawk's
//! signature is defined. Text of the standard: npm `hawk`, `lib/crypto.js`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr2_iter;
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
        let mut gathered = Gathered::new(hmac::Context::with_key(key));
        self.feed(&mut |piece| gathered.update(piece));
        let mut encoded = [0; MAC_LEN];
        STANDARD
            .encode_slice(gathered.sign(), &mut encoded)
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

/// An HMAC that is fed many short pieces, each of which would cost as much as a block by itself.
struct Gathered {
    context: hmac::Context,
    pieces: [u8; 512],
    len: usize,
}

impl Gathered {
    fn new(context: hmac::Context) -> Self {
        Self {
            context,
            pieces: [0; 512],
            len: 0,
        }
    }

    fn update(&mut self, piece: &[u8]) {
        if let Some(room) = self.pieces[self.len..].get_mut(..piece.len()) {
            room.copy_from_slice(piece);
            self.len += piece.len();
        } else {
            self.flush();
            self.context.update(piece);
        }
    }

    fn flush(&mut self) {
        self.context.update(&self.pieces[..self.len]);
        self.len = 0;
    }

    fn sign(mut self) -> hmac::Tag {
        self.flush();
        self.context.sign()
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

/// `\` and line feed are escaped in the normalised string. An `ext` of base64 has neither, and is
/// the longest part of it by far.
fn feed_escaped(ext: &str, sink: &mut impl FnMut(&[u8])) {
    let ext = ext.as_bytes();
    let mut fed = 0;
    for at in memchr2_iter(b'\n', b'\\', ext) {
        sink(&ext[fed..at]);
        sink(if ext[at] == b'\n' { b"\\n" } else { b"\\\\" });
        fed = at + 1;
    }
    sink(&ext[fed..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const README_KEY: &str = "werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn";

    fn text(normalised: &Normalised<'_>) -> String {
        let mut text = Vec::new();
        normalised.feed(&mut |piece| text.extend_from_slice(piece));
        String::from_utf8(text).unwrap()
    }

    fn mac(normalised: &Normalised<'_>, key: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mac = String::from_utf8(normalised.mac(&key).to_vec()).unwrap();
        assert!(normalised.verify(&key, &mac));
        mac
    }

    fn request<'a>(
        method: &'a str,
        target: &'a str,
        host: &'a str,
        port: u16,
    ) -> SignedRequest<'a> {
        SignedRequest {
            method,
            target,
            host,
            port,
        }
    }

    fn header<'a>(request: &'a SignedRequest<'a>, ts: &'a str, nonce: &'a str) -> Normalised<'a> {
        Normalised {
            kind: Kind::Header,
            ts,
            nonce,
            request,
            hash: "",
            ext: "",
            app: None,
        }
    }

    /// However the pieces fall, the MAC is that of the whole string.
    #[test]
    fn a_string_of_any_length_is_signed_whole() {
        let get = request("GET", "/", "example.com", 80);
        for len in 0..1200 {
            let ext = "e".repeat(len);
            let normalised = Normalised {
                ext: &ext,
                ..header(&get, "1", "n")
            };
            mac(&normalised, README_KEY.as_bytes());
        }
    }

    /// `test/crypto.js` and `test/readme.js` of mozilla/hawk.
    #[test]
    fn normalised_strings_are_those_hawk_publishes() {
        let get = request("GET", "/resource/something", "example.com", 8080);
        let plain = header(&get, "1357747017", "k3k4j5");
        let head =
            "hawk.1.header\n1357747017\nk3k4j5\nGET\n/resource/something\nexample.com\n8080\n";
        assert_eq!(text(&plain), format!("{head}\n\n"));

        let ext = Normalised {
            ext: "this is some app data",
            ..plain
        };
        assert_eq!(text(&ext), format!("{head}\nthis is some app data\n"));

        let hash = Normalised {
            hash: "U4MKKSmiVxk37JCCrAVIjV/OhB3y+NdwoCr6RShbVkE=",
            ..ext
        };
        assert_eq!(
            text(&hash),
            format!("{head}U4MKKSmiVxk37JCCrAVIjV/OhB3y+NdwoCr6RShbVkE=\nthis is some app data\n"),
        );
    }

    #[test]
    fn what_counts_in_which_case_and_what_is_escaped() {
        let long = "Ab-".repeat(50);
        let request = request("pro_pFind", "/A%2fb?C", &long, 443);
        let mut normalised = header(&request, "1", "N");
        normalised.ext = "a\\b\nc\\\n";
        normalised.app = Some(("app", "dlg"));
        assert_eq!(
            text(&normalised),
            format!(
                "hawk.1.header\n1\nN\nPRO_PFIND\n/A%2fb?C\n{}\n443\n\na\\\\b\\nc\\\\\\n\napp\ndlg\n",
                "ab-".repeat(50),
            ),
        );
    }

    /// The examples of Hawk's API.md, and those of `test/server.js`.
    #[test]
    fn macs_are_those_hawk_publishes() {
        let get = request("GET", "/resource/1?b=1&a=2", "example.com", 8000);
        let post = SignedRequest {
            method: "POST",
            ..get
        };
        let ext = "some-app-ext-data";
        let key = README_KEY.as_bytes();

        let without = Normalised {
            ext,
            ..header(&get, "1353832234", "j4h3g2")
        };
        assert_eq!(
            mac(&without, key),
            "6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE="
        );

        let hash = payload_hash("text/plain", b"Thank you for flying Hawk");
        assert_eq!(hash, "Yi9LfIIFRtBEPt74PVmbTF/xVAwPn7ub15ePICfgnuY=");
        let with = Normalised {
            ext,
            hash: &hash,
            ..header(&post, "1353832234", "j4h3g2")
        };
        assert_eq!(
            mac(&with, key),
            "aSe1DERmZuRl3pI36/9BdZmnErTw3sNzOOAUlfeKjVw="
        );

        let other = Normalised {
            ext: "some-app-data",
            ..header(&get, "1353832234", "j4h3g2")
        };
        assert_eq!(
            mac(&other, key),
            "m8r1rHbXN6NgO+KIIhjO7sFRyd78RNGVUwehe8Cp2dU="
        );
    }

    /// `test/client.js` of mozilla/hawk.
    #[test]
    fn macs_are_those_of_hawks_client() {
        let post = request("POST", "/somewhere/over/the/rainbow", "example.net", 443);
        let plain = header(&post, "1353809207", "Ygvqdz");
        let key = b"2983d45yun89q";
        let hash = payload_hash("text/plain", b"something to write about");
        assert_eq!(hash, "2QfCt3GuY9HQnHWyWD3wX68ZOKbynqlfYmuO2ZBRqtY=");
        let no_ext = Normalised {
            hash: &hash,
            ..plain
        };
        assert_eq!(
            mac(&no_ext, key),
            "HTgtd0jPI6E4izx8e4OHdO36q00xFCU0FolNq3RiCYs="
        );
        let ext = Normalised {
            ext: "Bazinga!",
            ..no_ext
        };
        assert_eq!(
            mac(&ext, key),
            "q1CwFoSHzPZSkbIvl0oYlD+91rBUEvFk763nMjMndj8="
        );

        let hash = payload_hash("text/plain", b"");
        assert_eq!(hash, "q/t+NNAkQZNlq/aAD6PlexImwQTxwgT2MahfTa9XRLA=");
        let header = header(&post, "1353809207", "Ygvqdz");
        let empty = Normalised {
            hash: &hash,
            ..header
        };
        assert_eq!(
            mac(&empty, key),
            "U5k16YEzn3UnBHKeBzsDXn067Gu3R4YaY6xOt9PYRZM="
        );
    }

    /// `src/mac.rs` and `src/request.rs` of taskcluster/rust-hawk.
    #[test]
    fn macs_are_those_of_rust_hawk() {
        let key = [
            11, 19, 228, 209, 79, 189, 200, 59, 166, 47, 86, 254, 235, 184, 120, 197, 75, 152, 201,
            79, 115, 61, 111, 242, 219, 187, 173, 14, 227, 108, 60, 232,
        ];
        let post = request("POST", "/v1/api", "mysite.com", 443);
        let plain = header(&post, "1000", "nonny");
        assert_eq!(
            STANDARD.decode(mac(&plain, &key)).unwrap(),
            [
                192, 227, 235, 121, 157, 185, 197, 79, 189, 214, 235, 139, 9, 232, 99, 55, 67, 30,
                68, 0, 150, 187, 192, 238, 21, 200, 209, 107, 245, 159, 243, 178,
            ],
        );
        let ext = Normalised {
            ext: "ext-data",
            ..plain
        };
        assert_eq!(
            STANDARD.decode(mac(&ext, &key)).unwrap(),
            [
                187, 104, 238, 100, 168, 112, 37, 68, 187, 141, 168, 155, 177, 193, 113, 0, 50,
                105, 127, 36, 24, 117, 200, 251, 138, 199, 108, 14, 105, 123, 234, 119,
            ],
        );
        let get = request("GET", "/foo", "example.com", 443);
        let plain = header(&get, "1000", "nonny");
        let hash = Normalised {
            hash: "AA==",
            ext: "ext",
            ..plain
        };
        assert_eq!(
            STANDARD.decode(mac(&hash, &[99; 32])).unwrap(),
            [
                72, 123, 243, 214, 145, 81, 129, 54, 183, 90, 22, 136, 192, 146, 208, 53, 216, 138,
                145, 94, 175, 204, 217, 8, 77, 16, 202, 50, 10, 144, 133, 162,
            ],
        );
    }

    #[test]
    fn only_the_mac_itself_verifies() {
        let get = request("GET", "/", "example.com", 80);
        let normalised = header(&get, "1", "n");
        let key = key("token");
        let right = String::from_utf8(normalised.mac(&key).to_vec()).unwrap();
        assert!(normalised.verify(&key, &right));
        let unpadded = right.trim_end_matches('=');
        for wrong in [
            "",
            "=",
            "x",
            unpadded,
            &right[..40],
            &format!("{right} "),
            &"A".repeat(44),
        ] {
            assert!(!normalised.verify(&key, wrong), "{wrong}");
        }
        // 43 characters of base64 hold two bits more than 32 bytes.
        let last = unpadded.as_bytes()[42];
        let other_bits = (b'A'..=b'z').map(|c| format!("{}{}=", &right[..42], char::from(c)));
        let accepted = other_bits
            .filter(|mac| normalised.verify(&key, mac))
            .collect::<Vec<_>>();
        let expected = last.is_ascii_alphabetic().then(|| right.clone());
        assert_eq!(accepted, Vec::from_iter(expected));
        let bewit = Normalised {
            kind: Kind::Bewit,
            ..normalised
        };
        assert!(!bewit.verify(&key, &right));
    }

    #[test]
    fn of_a_content_type_only_the_media_type_counts() {
        let plain = payload_hash("text/plain", b"body");
        for same in [
            "TEXT/Plain",
            "text/plain;charset=utf-8",
            " text/plain ; x=y",
        ] {
            assert_eq!(payload_hash(same, b"body"), plain);
        }
        assert_ne!(payload_hash("", b"body"), plain);
        // `signaturevalidator_test.js` of Taskcluster's auth service.
        assert_eq!(
            payload_hash("", b"{}"),
            "XtNvx1FqrUYVOLlne3l2WzcyRfj9QeC6YtmhMKKFMGY="
        );
    }
}
