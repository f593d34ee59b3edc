//! A connection of HTTP/1.1 as bytes: the caller writes the request and reads the answer.
//!
//! It comes from the same pools, permits and ways as [`super::Connection`] and goes back there, but
//! nothing of hyper is on it: no task, no buffer of its own. What it is not: it knows no message.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;

use super::connect::{UpstreamIo, Way};
use super::tls::Protocol;
use super::{Found, Host, MAX_IDLE, MAX_IDLE_SOCKETS, Upstream};
use crate::decision::route::Origin;
use crate::exchange::replay::ReplayBody;
use crate::exchange::send_error::{Progress, SendError, Unanswered};

/// A connection that one request has to itself. Dropped, it is closed.
pub struct Socket<B = ReplayBody> {
    io: UpstreamIo,
    reused: bool,
    host: Rc<Host<B>>,
    upstream: Rc<Upstream<B>>,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// A socket to `origin` on which HTTP/1.1 is spoken, never one that has served before where
    /// `fresh`; `None` where that is not what is spoken there, or where the way there takes another
    /// form of request.
    ///
    /// # Errors
    /// As [`Unanswered`] says.
    pub async fn socket(
        self: &Rc<Self>,
        origin: &Origin,
        fresh: bool,
    ) -> Result<Option<Socket<B>>, Unanswered> {
        let socket = self.find_socket(origin, fresh).await;
        socket.map_err(Unanswered::not_connected)
    }

    async fn find_socket(
        self: &Rc<Self>,
        origin: &Origin,
        fresh: bool,
    ) -> Result<Option<Socket<B>>, SendError> {
        let host = self.host(origin)?;
        if matches!(host.way, Way::Forward(_)) {
            return Ok(None);
        }
        let pool = &host.pool;
        let free = || match pool.take_socket() {
            None if pool.protocol() == Some(Protocol::Http2) => Some(None),
            socket => socket.map(Some),
        };
        let (io, reused) = match self.free_or_new(&host, false, fresh, free).await? {
            Found::Free(None) => return Ok(None),
            Found::Free(Some(io)) => (io, true),
            Found::New(io, Protocol::Http1, _) => {
                pool.speaks(Protocol::Http1);
                (io, false)
            }
            Found::New(io, protocol, _maker) => {
                let link = self.connector.begin(&host.origin, io, protocol).await?;
                drop(pool.add(link, false));
                return Ok(None);
            }
        };
        Ok(Some(Socket {
            io,
            reused,
            host,
            upstream: Rc::clone(self),
        }))
    }
}

impl<B> Socket<B> {
    /// Gives the connection back once its answer has been read to its end.
    pub fn give_back(self) {
        let pool = &self.host.pool;
        // Somebody else may have it sooner as a permit.
        if self.upstream.config.is_starving() && !pool.is_awaited() {
            return;
        }
        pool.put_socket(self.io);
        pool.trim(MAX_IDLE, MAX_IDLE_SOCKETS);
    }

    /// The TCP connection where nothing is encrypted on it.
    #[cfg(target_os = "linux")]
    pub fn plain(&self) -> Option<&TcpStream> {
        self.io.plain()
    }

    /// What an error means for a request of which something may have been `written`, and of whose
    /// answer nothing has come, or something where `heard`.
    pub fn failure(&self, error: &io::Error, heard: bool, written: bool) -> Unanswered {
        let progress = Progress {
            reused: self.reused,
            written,
            heard,
        };
        Unanswered::io(&self.host.origin, error, progress)
    }

    /// What came is no answer, for this reason.
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
