//! After a 101 (RFC 9110 7.8): bytes in both directions until both have ended.
//!
//! The bytes are not HTTP any more, and the proxy does not inspect them. The request that led here was
//! signed. The tunnel does not count as running, so it delays no update of the credentials. It keeps
//! its connection in use, for however long. When its client leaves, it ends after the client's last
//! byte has been forwarded. The connection notices a client that vanishes.

use std::io;
use std::rc::Rc;

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy, split};

use crate::client::connection::Connection;
use crate::client::reader::ClientReader;
use crate::client::writer::ClientWriter;

/// Relays between a client, from whom `held` has been read already, and upstream.
pub async fn run(connection: &Rc<Connection>, held: BytesMut, upstream: Upgraded) {
    connection.usage.begin();
    connection.outlive_client(true);
    let (mut from_upstream, mut to_upstream) = split(TokioIo::new(upstream));
    let (mut from_client, mut to_client) =
        (ClientReader::new(connection), ClientWriter::new(connection));
    let up = async {
        to_upstream.write_all(&held).await?;
        drop(held);
        copy(&mut from_client, &mut to_upstream).await?;
        to_upstream.shutdown().await?;
        connection.outlive_client(false);
        io::Result::Ok(())
    };
    let down = async {
        copy(&mut from_upstream, &mut to_client).await?;
        to_client.shutdown().await
    };
    // An error ends one side; the other side sees the close.
    let _ = tokio::try_join!(up, down);
    connection.usage.end();
}
