//! Whether the client of a connection is still there.
//!
//! If a client of this machine has left, its socket shows it: the kernel distinguishes it from the
//! socket of a client that has only shut down writing. A client in another network namespace, or on
//! another machine, cannot be looked up: keepalive asks its kernel. A client that vanishes with its
//! machine or its namespace acknowledges nothing any more. What this is not: it ends nothing.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use taskcluster_proxy_peer::{Lookup, Presence};
use tokio::net::TcpStream;

use crate::client::clock::Clock;
use crate::client::connection::Connection;

/// When a silent client is asked, how often it is asked again, and how often in all.
const ASK_AFTER: Duration = Duration::from_secs(15);
const ASK_AGAIN: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;

/// How long a client may leave unacknowledged what was sent to it: as long as with questions. The
/// system itself would wait for a quarter of an hour.
const UNHEARD: Duration = Duration::from_secs(30);

/// Has the client asked whether it is still there, where it cannot be looked up.
///
/// # Errors
/// The system's.
pub fn ask_for_it(stream: &TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    if peer.is_loopback() || peer == stream.local_addr()?.ip().to_canonical() {
        return Ok(());
    }
    let asking = TcpKeepalive::new()
        .with_time(ASK_AFTER)
        .with_interval(ASK_AGAIN)
        .with_retries(ASK_TIMES);
    SockRef::from(stream).set_tcp_keepalive(&asking)
}

impl Connection {
    /// Whether its client waits for nothing any more.
    pub fn is_abandoned(&self, lookup: &mut Lookup) -> bool {
        match self.with_stream(|stream| lookup.presence(stream)) {
            Some(Presence::Gone) => !self.outlives_client(),
            Some(Presence::Unheard(silence)) => {
                let ticks = self.owes_acknowledgement();
                silence.min(Clock::TICK * ticks) > UNHEARD
            }
            Some(Presence::Alive | Presence::Unknown) | None => {
                self.owes_nothing();
                false
            }
        }
    }
}
