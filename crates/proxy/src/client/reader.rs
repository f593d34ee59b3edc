//! The reading side of a client's connection that speaks HTTP no more.
//!
//! What it is not: the [`gate`](crate::client::gate), which requests pass.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::client::connection::Connection;

/// Reads what a client sends as it comes.
pub struct ClientReader(Rc<Connection>);

impl ClientReader {
    pub fn new(connection: &Rc<Connection>) -> Self {
        Self(Rc::clone(connection))
    }
}

impl AsyncRead for ClientReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_stream(|stream| stream.poll_read(cx, buf))
    }
}
