//! A connection of HTTP/1.1 as bytes: the caller writes the request and reads the answer.
//!
//! It comes from the same pools and permits as [`super::Connection`], on the same routes, and goes back
//! there. hyper has no part in it: it has no task and no buffer of its own. What it is not: it knows no
//! message.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;

use super::host::{Host, Way};
use super::stream::UpstreamIo;
use super::{Found, Need, RequestBody, Upstream};
use crate::decision::route::Origin;
use crate::exchange::replay::ReplayBody;
use crate::exchange::send_error::{Progress, SendError, Unanswered};
use crate::limits::{IDLE_LINKS, IDLE_SOCKETS};

/// A connection that one request has to itself. Dropped, it is closed.
pub struct Socket<B = ReplayBody> {
    io: UpstreamIo,
    reused: bool,
    host: Rc<Host<B>>,
    upstream: Rc<Upstream<B>>,
}

impl<B: RequestBody> Upstream<B> {
    /// Whether requests of HTTP/1.1 go out on bare sockets.
    pub fn is_bare(&self) -> bool {
        !self.config.http2
    }

    /// A socket to `origin`.
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub async fn socket(
        self: &Rc<Self>,
        origin: &Origin,
        need: Need,
    ) -> Result<Socket<B>, Unanswered> {
        let need = Need {
            http1: true,
            ..need
        };
        let socket = self.find_socket(origin, need).await;
        socket.map_err(Unanswered::not_connected)
    }

    async fn find_socket(
        self: &Rc<Self>,
        origin: &Origin,
        need: Need,
    ) -> Result<Socket<B>, SendError> {
        let host = self.host(origin)?;
        let pool = &host.pool;
        let free = || pool.take_socket(need);
        let (io, reused) = match self.free_or_new(&host, need, free).await? {
            Found::Free(io) => (io, true),
            Found::New(io, ..) => (io, false),
        };
        io.line.may_stall(need.long);
        Ok(Socket {
            io,
            reused,
            host,
            upstream: Rc::clone(self),
        })
    }
}

/// What is added to a request to an outgoing proxy that forwards http.
#[derive(Clone, Copy)]
pub struct ToProxy<'a> {
    /// Stands before the target, which has the absolute form then (RFC 9112 3.2.2).
    pub prefix: &'a str,
    /// `Proxy-Authorization`
    pub authorization: Option<&'a HeaderValue>,
}

impl<B> Socket<B> {
    /// Gives the connection back once its answer has been read to its end.
    pub fn give_back(self) {
        let pool = &self.host.pool;
        // A waiting request needs the permit more than this idle connection.
        if self.upstream.config.permits.are_wanted() && !pool.is_awaited() {
            return;
        }
        pool.put_socket(self.io);
        pool.trim(IDLE_LINKS, IDLE_SOCKETS);
    }

    /// What is added to the request where an outgoing proxy forwards it.
    pub fn to_proxy(&self) -> Option<ToProxy<'_>> {
        match &self.host.way {
            Way::Forward(proxy) => Some(ToProxy {
                prefix: self.host.origin.url(),
                authorization: proxy.authorization(),
            }),
            Way::Direct | Way::Tunnel(_) => None,
        }
    }

    /// The TCP connection where nothing is encrypted on it.
    #[cfg(target_os = "linux")]
    pub fn plain(&self) -> Option<&TcpStream> {
        self.io.plain()
    }

    /// The bytes that TLS has decrypted, where they are; they stay there until they are
    /// [consumed](Self::consume). None at the end, and `None` where nothing is encrypted.
    pub fn poll_decrypted(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<&[u8]>>> {
        self.io.poll_decrypted(cx)
    }

    /// Passes over `bytes` of the bytes that TLS has decrypted.
    pub fn consume(&mut self, bytes: usize) {
        self.io.consume(bytes);
    }

    /// What an error means for a request: whether a byte of it may have been `written`, and whether a
    /// byte of its answer was `heard`.
    pub fn failure(&self, error: &io::Error, heard: bool, written: bool) -> Unanswered {
        let progress = Progress {
            reused: self.reused,
            written,
            heard,
        };
        Unanswered::io(&self.host.origin, error, progress)
    }

    /// The error where upstream sent something that is no answer, for this `reason`.
    pub fn not_http(&self, reason: &str) -> Unanswered {
        Unanswered::not_http(&self.host.origin, reason)
    }
}

impl<B> Unpin for Socket<B> {}

impl<B> AsyncRead for Socket<B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<B> AsyncWrite for Socket<B> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
