//! An answer that the proxy makes itself, as lines of HTTP/1.1 to a client that is not hyper's.

use std::io;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response};
use tokio::io::AsyncWriteExt;

use crate::client::writer::ClientWriter;
use crate::decision::route::Target;
use crate::message::headers;
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
    write_head(&mut out, answer, set, record.target(), last);
    if method != Method::HEAD {
        out.extend_from_slice(body);
        record.relayed(body.len());
    }
    client.write_all(&out).await
}

fn write_head(
    out: &mut Vec<u8>,
    answer: &Response<Bytes>,
    set: &CredentialSet,
    target: Option<&Target>,
    last: bool,
) {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in answer.headers() {
        headers::write_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    if !answer.headers().contains_key(CONTENT_LENGTH) {
        let mut digits = itoa::Buffer::new();
        let length = digits.format(answer.body().len());
        headers::write_field(out, b"content-length", length.as_bytes());
    }
    set.write_lines(out, target);
    if last {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
