//! After a 101 (RFC 9110 7.8): bytes in both directions until both have ended.
//!
//! What passes is not HTTP any more and is not looked at. The request that led here was signed; the
//! tunnel does not count as running, so it holds no update of the credentials back.

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

/// Relays between a client, from whom `held` has been read already, and upstream.
pub async fn run(mut client: TcpStream, held: BytesMut, upstream: Upgraded) {
    let mut upstream = TokioIo::new(upstream);
    if upstream.write_all(&held).await.is_ok() {
        drop(held);
        // Its error is the end of one side, which the other side sees by the close.
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    }
}
