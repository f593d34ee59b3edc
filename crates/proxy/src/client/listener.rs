//! A listening socket that hands out connections as the system gives them.
//!
//! Tokio's own registers each connection with the accepting thread's runtime, and removes it when it
//! goes to another thread or is refused, which is a fifth of the cost of a refusal. Here only the
//! serving thread registers a connection. What this is not: it decides on no connection.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

#[cfg(unix)]
use tokio::io::unix::AsyncFd;

/// A listening socket of the thread that made it.
pub struct Listener(
    #[cfg(unix)] AsyncFd<TcpListener>,
    #[cfg(not(unix))] tokio::net::TcpListener,
);

#[cfg(unix)]
impl Listener {
    /// Takes a socket that does not block.
    ///
    /// # Errors
    /// The system's.
    #[expect(
        deprecated,
        reason = "it trusts the descriptor to stay the same, as that of a TcpListener does"
    )]
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        AsyncFd::new(listener).map(Self)
    }

    /// Waits for a connection; it may block.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        // A listener that always has a client would keep the others waiting.
        tokio::task::consume_budget().await;
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
                return accepted;
            }
        }
    }
}

#[cfg(not(unix))]
impl Listener {
    /// Takes a socket that does not block.
    ///
    /// # Errors
    /// The system's.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        tokio::net::TcpListener::from_std(listener).map(Self)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((stream.into_std()?, peer))
    }
}
