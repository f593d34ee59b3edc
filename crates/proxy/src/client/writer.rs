//! The writing side of a client's connection.
//!
//! It is apart from the [`gate`](crate::client::gate), which reads, so that an answer can be written
//! while a request's body still comes in.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::client::connection::Connection;

/// Writes to a client.
#[derive(Clone)]
pub struct ClientWriter(Rc<Connection>);

impl ClientWriter {
    pub fn new(connection: &Rc<Connection>) -> Self {
        Self(Rc::clone(connection))
    }

    /// Waits until the client takes more.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_by(|stream| stream.poll_write_ready(cx))
    }

    /// Writes by calling `write` with the socket.
    #[cfg(target_os = "linux")]
    pub fn poll_by(
        &self,
        write: impl FnOnce(&TcpStream) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.write_by(|stream| write(&stream))
    }

    /// Tells the connection how many bytes have been written.
    fn write_bytes(
        &self,
        write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = self.write_by(write);
        if let Poll::Ready(Ok(bytes)) = written {
            self.0.has_written(bytes);
        }
        written
    }

    /// Tells the connection whether bytes wait for the client to read.
    fn write_by<T>(
        &self,
        write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = self.0.poll_stream(write);
        self.0.usage.block(written.is_pending());
        written
    }
}

impl AsyncWrite for ClientWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write_bytes(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_bytes(|stream| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_stream(|stream| stream.poll_shutdown(cx))
    }
}
