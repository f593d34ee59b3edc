//! Which operating system user owns the other end of a TCP connection, and whether a process still
//! has that end open.
//!
//! The proxy lends a task's credentials to its clients, so before it serves a connection it asks
//! the kernel for the owner of the socket at the other end. Admission also needs to know which
//! processes of a user run already, and when the process that started this one ends; both are here.
//! This crate asks and answers. It does not decide which clients are served (`admit.rs` of the
//! proxy does), reads nothing from the connection and keeps no list of connections.
//!
//! ```no_run
//! use taskcluster_proxy_peer::{Lookup, is_root, user_id};
//!
//! let allowed = user_id("task_1700000000")?;
//! let mut lookup = Lookup::open()?;
//! let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
//! let (connection, _) = listener.accept()?;
//! let owner = lookup.owner(&connection)?;
//! if owner == allowed || is_root(&owner) {
//!     // serve it
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | platform | how the owner is found | state of trial |
//! |---|---|---|
//! | Linux | `sock_diag`, exact 4-tuple, live inode, own socket checked after the answer | attacked by the tests |
//! | macOS | `net.inet.tcp.pcblist64`, exact 4-tuple | compiles; not run |
//! | Windows | `GetExtendedTcpTable`, exact 4-tuple, SID of the owning process | compiles; not run |
//! | others | [`Lookup::open`] answers [`LookupError::Unsupported`] | |
//!
//! A check of a socket's owner does not see a process of the allowed user that forwards other
//! users' data (`socat`, `ssh -L`), or that gives its connected socket away. The allowed user is
//! responsible for both.

mod launcher;
mod machine;
mod processes;
mod users;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod unsupported;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
use unsupported as platform;

use std::io;
use std::time::Duration;

pub use launcher::{Launcher, Watch};
pub use machine::{hostname, own_addresses, raise_descriptor_limit};
pub use processes::processes_of;
pub use users::{UserError, UserId, is_root, own_user, user_id};

/// What an accepted connection can be borrowed from: a `TcpStream` of std, tokio or socket2.
#[cfg(unix)]
pub use std::os::fd::AsFd as AsConnection;
/// What an accepted connection can be borrowed from: a `TcpStream` of std, tokio or socket2.
#[cfg(windows)]
pub use std::os::windows::io::AsSocket as AsConnection;

/// Asks the kernel about the other ends of accepted TCP connections.
///
/// Everything a question needs is opened by [`Lookup::open`] and kept, so that questions are
/// answered at the descriptor limit too. Not shared between threads: each opens its own.
pub struct Lookup(platform::Lookup);

impl Lookup {
    /// Opens what questions need, and asks one about a connection of this process's own making,
    /// so that a kernel that cannot answer is known before the first client comes.
    ///
    /// # Errors
    /// [`LookupError::Unsupported`] where the platform has no way to tell, [`LookupError::Os`]
    /// where it refused.
    pub fn open() -> Result<Lookup, LookupError> {
        platform::Lookup::open().map(Lookup)
    }

    /// The user who holds the other end of `accepted` open, at the moment of the answer.
    ///
    /// # Errors
    /// Every error means that the owner is not known: refuse the connection. Only after
    /// [`LookupError::NotFound`] may the caller judge by the peer's address instead.
    pub fn owner(&mut self, accepted: &impl AsConnection) -> Result<UserId, LookupError> {
        self.0.owner(accepted)
    }

    /// Whether the client still waits at the other end of `accepted`. An end of file does not say
    /// so: a client that has shut down writing and a client that has left send the same one.
    pub fn presence(&mut self, accepted: &impl AsConnection) -> Presence {
        self.0.presence(accepted)
    }
}

/// Answer of [`Lookup::presence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The connection is open both ways, or its client has shut down writing and still reads.
    Alive,
    /// The connection was reset, or no process has the other end open any more.
    Gone,
    /// The peer has shut down writing, and this machine cannot see its socket.
    Unknown,
    /// The connection is open. The peer has not acknowledged all that was sent to it, and nothing
    /// has come from it for this long. The bytes may have been sent just now, so the caller has to
    /// measure for how long they are not acknowledged. Linux alone reports this.
    Unheard(Duration),
}

/// Why [`Lookup::owner`] finds no owner.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No socket here has the peer's end, and its address is none of this machine's own: the
    /// peer is on another machine or in another network namespace.
    #[error(
        "the client is in another network namespace or on another machine, where its user cannot \
         be checked: connect from this one, or admit its address with --allowed-network"
    )]
    NotFound,
    /// The peer's address is this machine's own, but the socket is not there any more, or the
    /// connection comes by a rewritten address.
    #[error(
        "the client's socket is not on this machine any more although its address is: keep the \
         connection open until the answer is there, and connect without address translation"
    )]
    Vanished,
    /// The peer's socket is there, in this state, but no process holds it open for reading.
    #[error(
        "the client has closed its end of the connection ({0}), so it has no owner: keep it open \
         until the answer is there"
    )]
    NotAlive(TcpState),
    /// The proxy's own end was reset or closed before the answer: the address pair may belong to
    /// another user by now.
    #[error("the connection ended while its owner was looked up: connect again")]
    Replaced,
    /// The owner has no name in this user namespace; all unmapped users look the same.
    #[error(
        "the client's user is not mapped into the proxy's user namespace: run both in the same one"
    )]
    Unmapped,
    /// The operating system did not answer.
    #[error("the operating system cannot say who owns the other end of a connection: {0}")]
    Os(#[from] io::Error),
    /// This platform cannot tell who owns the other end of a connection.
    #[error(
        "this platform cannot check who owns a connection: start without --allowed-user and \
         --allowed-network, or use Linux, macOS or Windows"
    )]
    Unsupported,
}

/// The state of a TCP socket (RFC 9293 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TcpState {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl std::fmt::Display for TcpState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TcpState::Established => "ESTABLISHED",
            TcpState::SynSent => "SYN-SENT",
            TcpState::SynReceived => "SYN-RECEIVED",
            TcpState::FinWait1 => "FIN-WAIT-1",
            TcpState::FinWait2 => "FIN-WAIT-2",
            TcpState::TimeWait => "TIME-WAIT",
            TcpState::Closed => "CLOSED",
            TcpState::CloseWait => "CLOSE-WAIT",
            TcpState::LastAck => "LAST-ACK",
            TcpState::Listen => "LISTEN",
            TcpState::Closing => "CLOSING",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_sentence_that_says_what_to_do() {
        let os = io::Error::from(io::ErrorKind::PermissionDenied);
        for (error, sentence) in [
            (
                LookupError::NotFound,
                "the client is in another network namespace or on another machine, where its user \
                 cannot be checked: connect from this one, or admit its address with \
                 --allowed-network",
            ),
            (
                LookupError::Vanished,
                "the client's socket is not on this machine any more although its address is: \
                 keep the connection open until the answer is there, and connect without address \
                 translation",
            ),
            (
                LookupError::NotAlive(TcpState::FinWait2),
                "the client has closed its end of the connection (FIN-WAIT-2), so it has no \
                 owner: keep it open until the answer is there",
            ),
            (
                LookupError::Replaced,
                "the connection ended while its owner was looked up: connect again",
            ),
            (
                LookupError::Unmapped,
                "the client's user is not mapped into the proxy's user namespace: run both in the \
                 same one",
            ),
            (
                LookupError::Os(os),
                "the operating system cannot say who owns the other end of a connection: \
                 permission denied",
            ),
            (
                LookupError::Unsupported,
                "this platform cannot check who owns a connection: start without --allowed-user \
                 and --allowed-network, or use Linux, macOS or Windows",
            ),
        ] {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
