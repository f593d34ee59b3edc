//! Nonces: unpredictable, never twice the same, and cheap, since the system's random source is
//! asked for many at a time.

use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

/// 96 random bits: no repetition to be expected in 2^48 nonces.
const NONCE_BYTES: usize = 12;
/// Four characters of base64 for every three bytes.
pub(crate) const NONCE_LEN: usize = NONCE_BYTES / 3 * 4;
/// How many nonces one read of the system's random source gives.
const BLOCK: usize = 64;

/// A nonce of 16 URL-safe base64 characters, on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; NONCE_LEN]);

/// Makes nonces. One per thread; it is not shared.
pub struct NonceSource {
    random: SystemRandom,
    block: [u8; NONCE_BYTES * BLOCK],
    used: usize,
}

impl NonceSource {
    /// A source that asks the system's random source with its first nonce.
    pub fn new() -> Self {
        Self {
            random: SystemRandom::new(),
            block: [0; NONCE_BYTES * BLOCK],
            used: usize::MAX,
        }
    }

    /// The next nonce.
    ///
    /// # Panics
    /// Where the system's random source fails: there is no safe way to go on without it.
    #[expect(
        clippy::should_implement_trait,
        reason = "never ends, so an Option would mislead"
    )]
    pub fn next(&mut self) -> Nonce {
        if self.used >= BLOCK {
            self.random
                .fill(&mut self.block)
                .expect("the system's random source works");
            self.used = 0;
        }
        let random = &self.block[self.used * NONCE_BYTES..][..NONCE_BYTES];
        let mut nonce = [0; NONCE_LEN];
        URL_SAFE_NO_PAD
            .encode_slice(random, &mut nonce)
            .expect("12 bytes make 16 characters of base64");
        self.used += 1;
        Nonce(nonce)
    }
}

impl Default for NonceSource {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Nonce {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn never_twice_the_same_across_blocks_and_sources() {
        let (mut one, mut two) = (NonceSource::new(), NonceSource::new());
        let nonces: HashSet<Nonce> = (0..BLOCK * 4)
            .flat_map(|_| [one.next(), two.next()])
            .collect();
        assert_eq!(nonces.len(), BLOCK * 8);
    }

    #[test]
    fn fits_a_header() {
        let nonce = NonceSource::new().next();
        assert_eq!(nonce.len(), NONCE_LEN);
        assert!(
            nonce
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
    }
}
