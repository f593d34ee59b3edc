//! After a 101 (RFC 9110 7.8): bytes in both directions until both have ended.
//!
//! What passes is not HTTP any more and is not looked at. The request that led here was signed; the
//! tunnel does not count as running, so it holds no update of the credentials back. It keeps its
//! connection in use, for however long. A client that leaves ends it once all that it sent has been
//! passed on; one that vanishes is noticed by its connection.

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
    // An error is the end of one side, which the other side sees by the close.
    let _ = tokio::try_join!(up, down);
    connection.usage.end();
}
