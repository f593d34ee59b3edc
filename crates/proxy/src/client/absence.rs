//! Whether the client of a connection is still there.
//!
//! If a client of this machine has left, its socket shows it: the kernel distinguishes it from the
//! socket of a client that has only shut down writing. A client in another network namespace, or on
//! another machine, cannot be looked up: keepalive asks its kernel. A client that vanishes with its
//! machine or its namespace acknowledges nothing any more. What this is not: it ends nothing.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use taskcluster_proxy_peer::{Lookup, LookupError, Presence};
use tokio::net::TcpStream;

use crate::client::clock::Clock;
use crate::client::connection::Connection;

/// How long a client is silent before it is asked, the time between questions, and their number.
const ASK_AFTER: Duration = Duration::from_secs(15);
const ASK_AGAIN: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;

/// How long a client may leave sent bytes unacknowledged: as long as the questions to a silent
/// client take. The system itself would wait for a quarter of an hour.
const UNHEARD: Duration = Duration::from_secs(30);

/// Lets the kernel ask whether the client is still there, where its socket cannot be looked up.
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

/// One thread's look-up of its clients.
pub enum ClientLookup {
    Open(Lookup),
    /// The system has refused a resource that the look-up needs, such as a free descriptor. The
    /// look-up is opened when it is needed next.
    Refused,
    /// This platform or its kernel never answers.
    Impossible,
}

impl ClientLookup {
    /// Opens the look-up. `warn` is told a reason that an operator can change.
    pub fn open(
        open: impl FnOnce() -> Result<Lookup, LookupError>,
        warn: impl FnOnce(&LookupError),
    ) -> Self {
        match open() {
            Ok(lookup) => Self::Open(lookup),
            Err(LookupError::Unsupported) => Self::Impossible,
            Err(error) => {
                warn(&error);
                match error {
                    LookupError::Os(error) if error.kind() == io::ErrorKind::Unsupported => {
                        Self::Impossible
                    }
                    _ => Self::Refused,
                }
            }
        }
    }

    /// The look-up, opened now if it was refused before.
    pub fn get(
        &mut self,
        open: impl FnOnce() -> Result<Lookup, LookupError>,
    ) -> Option<&mut Lookup> {
        if matches!(self, Self::Refused) {
            *self = Self::open(open, |_| {});
        }
        match self {
            Self::Open(lookup) => Some(lookup),
            Self::Refused | Self::Impossible => None,
        }
    }
}

impl Connection {
    /// Whether the client has left, and nothing under way goes on without it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_look_up_that_is_refused_is_opened_when_it_is_needed_next() {
        const TOO_MANY_FILES: i32 = 24;
        let refused = || {
            Err(LookupError::Os(io::Error::from_raw_os_error(
                TOO_MANY_FILES,
            )))
        };
        let mut warnings = 0;
        let mut lookup = ClientLookup::open(refused, |_| warnings += 1);
        assert!(lookup.get(refused).is_none());
        assert!(lookup.get(Lookup::open).is_some());
        assert!(lookup.get(refused).is_some(), "it stays open");
        assert_eq!(warnings, 1);
    }

    #[test]
    fn a_look_up_that_is_impossible_is_not_tried_again() {
        let no_kernel = || LookupError::Os(io::ErrorKind::Unsupported.into());
        let platform = || LookupError::Unsupported;
        for (error, expected) in [(no_kernel as fn() -> _, 1), (platform, 0)] {
            let mut warnings = 0;
            let mut lookup = ClientLookup::open(|| Err(error()), |_| warnings += 1);
            assert!(lookup.get(|| unreachable!("tried again")).is_none());
            assert_eq!(warnings, expected);
        }
    }
}
