//! An answer that the proxy makes itself, as lines of HTTP/1.1 to a client that is not hyper's.

use std::io;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response};
use tokio::io::AsyncWriteExt;

use crate::back::head::{self, Own};
use crate::client::writer::ClientWriter;
use crate::record::Record;
use crate::signing::credentials::CredentialSet;

/// Writes `answer`, which names `set`; the connection ends with it where `last`.
///
/// # Errors
/// When the client has left before its end.
pub async fn write(
    client: &mut ClientWriter,
    method: &Method,
    answer: &Response<Bytes>,
    set: &CredentialSet,
    record: &mut Record,
    last: bool,
) -> io::Result<()> {
    let body = answer.body();
    let mut out = Vec::with_capacity(1024 + body.len());
    let own = Own {
        set,
        target: record.target(),
        is_chunked: false,
        is_last: last,
    };
    write_head(&mut out, answer, &own);
    if method != Method::HEAD {
        out.extend_from_slice(body);
        record.relayed(body.len());
    }
    client.write_all(&out).await
}

fn write_head(out: &mut Vec<u8>, answer: &Response<Bytes>, own: &Own<'_>) {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let made = answer.headers().iter();
    let made = made.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let mut digits = itoa::Buffer::new();
    let length = digits.format(answer.body().len()).as_bytes();
    let length = (!answer.headers().contains_key(CONTENT_LENGTH))
        .then_some((b"content-length".as_slice(), length));
    head::write(
        out,
        status.as_str(),
        reason.as_bytes(),
        made.chain(length),
        own,
    );
}
