//! The properties of each parser of untrusted bytes, beyond "no panic": an independent parser reads
//! accepted input in the same way; output is canonical; redacted text has no secret. There is one
//! function for each fuzz target, of the same name. The test `corpora` of `crates/proxy` runs them over
//! `corpus/`.
//!
//! What it is not: it checks results, and repeats none of the parsers' code. The independent parsers
//! are httparse, the grammar of RFC 9112, `http::Uri`, the `url` crate, `serde_json`, and npm `hawk`'s own
//! regular expressions and MACs.

mod hawk;
mod http1;
mod http2;
mod records;
mod rules;
mod urls;

pub use hawk::{bewit, certificate, challenge, credentials, hawk_header};
pub use http1::{answer_body, answer_head, fields, request_chunks, request_head};
pub use http2::http2_frames;
pub use records::{clock, redaction, retry_after};
pub use rules::{browser, outgoing_proxy, scopes};
pub use urls::{route, url_to_sign};

/// Panics where the property does not hold of an input. Returns whether the parser has accepted it.
pub type Property = fn(&[u8]) -> bool;

/// Every property by the name of its target.
pub const ALL: [(&str, Property); 19] = [
    ("request_head", request_head),
    ("request_chunks", request_chunks),
    ("answer_head", answer_head),
    ("answer_body", answer_body),
    ("fields", fields),
    ("http2_frames", http2_frames),
    ("route", route),
    ("url_to_sign", url_to_sign),
    ("browser", browser),
    ("hawk_header", hawk_header),
    ("certificate", certificate),
    ("bewit", bewit),
    ("challenge", challenge),
    ("credentials", credentials),
    ("scopes", scopes),
    ("outgoing_proxy", outgoing_proxy),
    ("retry_after", retry_after),
    ("clock", clock),
    ("redaction", redaction),
];

/// `bytes` cut in two at a place that follows from them.
fn cut(bytes: &[u8]) -> [&[u8]; 2] {
    let sum: usize = bytes.iter().map(|byte| usize::from(*byte)).sum();
    let (before, behind) = bytes.split_at(sum % (bytes.len() + 1));
    [before, behind]
}

/// The lines of an input that holds several texts; those that are missing are empty.
fn lines<const N: usize>(bytes: &[u8]) -> Option<[&str; N]> {
    let mut lines = std::str::from_utf8(bytes).ok()?.splitn(N, '\n');
    Some(std::array::from_fn(|_| lines.next().unwrap_or_default()))
}
