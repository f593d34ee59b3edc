//! The owner of a connection's other end on Linux, in three steps.
//!
//! 1. `sock_diag` looks the exact 4-tuple of the peer's socket up, as the kernel would for a
//!    segment: first among sockets bound to no device, then as if the segment came in on
//!    loopback, then on a bounded number of other devices (clients bound by `SO_BINDTODEVICE`).
//! 2. The socket found must have that very tuple (the kernel falls back to listening sockets), be
//!    held open by some process (a live inode), and be ESTABLISHED, FIN-WAIT-1 or FIN-WAIT-2.
//! 3. After the answer our own accepted socket must still be ESTABLISHED or CLOSE-WAIT.
//!
//! Why step 3 ties the answer to this connection: a socket of that tuple can become ESTABLISHED
//! only by a handshake with the socket of the mirrored tuple. While ours is alive it is that one,
//! and it shakes hands once. A second client that takes the pair over sends a SYN which ours
//! answers with a challenge (RFC 5961 4.2); the client resets it, and step 3 sees the reset.
//! Asking before the answer would prove nothing about the moment of the answer.
//!
//! What the Go program's `connectionverifier_linux.go` gets wrong, all of it attacked in this
//! repository's tests: `/proc/net/tcp` is searched for the client's local address and port alone,
//! so a socket of the same port towards elsewhere answers for it; the first line that fits wins,
//! TIME-WAIT and listening sockets included; a closed socket shows uid 0 there, which counts as
//! root; the answer is not tied to the accepted connection, which may be over and its pair in
//! other hands; and each check opens and reads a file as long as the machine's socket table, so
//! that it costs milliseconds and fails at the descriptor limit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::fs::MetadataExt;
use std::time::Duration;

use socket2::SockRef;

use crate::netlink::{Routes, SockDiag, SocketInfo, Tuple};
use crate::users::{UserId, overflow_user, own_user};
use crate::{LookupError, Presence, TcpState};

pub(crate) struct Lookup {
    sockets: SockDiag,
    routes: Routes,
    overflow: u32,
}

impl Lookup {
    pub(crate) fn open() -> Result<Lookup, LookupError> {
        let mut lookup = Lookup {
            sockets: SockDiag::open()?,
            routes: Routes::open()?,
            overflow: overflow_user(),
        };
        lookup.try_own_connection()?;
        Ok(lookup)
    }

    pub(crate) fn owner(&mut self, accepted: &impl AsFd) -> Result<UserId, LookupError> {
        let ends = Ends::of(accepted)?;
        self.owner_of(&ends, accepted)
    }

    fn owner_of(&mut self, ends: &Ends, accepted: &impl AsFd) -> Result<UserId, LookupError> {
        let found = self.find(ends);
        // An ended connection is refused as such, even if its owner was found.
        if !matches!(
            own_state(accepted)?,
            TcpState::Established | TcpState::CloseWait
        ) {
            return Err(LookupError::Replaced);
        }
        let socket = match found? {
            Found::Socket(socket) => socket,
            Found::Nothing => return Err(LookupError::Vanished),
            Found::Foreign => return Err(LookupError::NotFound),
        };
        let state = tcp_state(socket.state).ok_or_else(unknown_state)?;
        let open = matches!(
            state,
            TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
        );
        if socket.inode == 0 || !open {
            return Err(LookupError::NotAlive(state));
        }
        if socket.uid == self.overflow {
            return Err(LookupError::Unmapped);
        }
        Ok(UserId::from_raw(socket.uid))
    }

    pub(crate) fn presence(&mut self, accepted: &impl AsFd) -> Presence {
        let Ok(info) = own_info(accepted) else {
            return Presence::Gone;
        };
        let presence = match tcp_state(info.tcpi_state) {
            // The peer has not shut down, or has not even finished its handshake.
            Some(
                TcpState::Established
                | TcpState::SynReceived
                | TcpState::FinWait1
                | TcpState::FinWait2,
            ) => Presence::Alive,
            Some(TcpState::CloseWait) => self.half_closed_presence(accepted),
            Some(_) | None => Presence::Gone,
        };
        // Segments that are under way, or questions whether the peer's window has opened.
        if presence != Presence::Gone && (info.tcpi_unacked > 0 || info.tcpi_probes > 1) {
            return Presence::Unheard(Duration::from_millis(info.tcpi_last_ack_recv.into()));
        }
        presence
    }

    /// CLOSE-WAIT on this end means that the peer's socket, while there is one, is in FIN-WAIT. A
    /// socket of the tuple in another state is another process's attempt to connect.
    fn half_closed_presence(&mut self, accepted: &impl AsFd) -> Presence {
        let ends = match Ends::of(accepted) {
            Ok(ends) => ends,
            Err(LookupError::Replaced) => return Presence::Gone,
            Err(_) => return Presence::Unknown,
        };
        match self.find(&ends) {
            Ok(Found::Socket(socket)) => {
                let waits = matches!(
                    tcp_state(socket.state),
                    Some(TcpState::FinWait1 | TcpState::FinWait2)
                );
                if socket.inode != 0 && waits {
                    Presence::Alive
                } else {
                    Presence::Gone
                }
            }
            Ok(Found::Nothing) => Presence::Gone,
            Ok(Found::Foreign) | Err(_) => Presence::Unknown,
        }
    }

    /// The peer's socket, bound to whichever device. The first that has the tuple decides, dead
    /// or alive.
    fn find(&mut self, ends: &Ends) -> io::Result<Found> {
        for device in ends.scope.into_iter().chain([ANY_DEVICE, LOOPBACK_DEVICE]) {
            if let Some(socket) = self.find_on(ends, device)? {
                return Ok(Found::Socket(socket));
            }
        }
        // A peer that this namespace can see has an address of this namespace.
        if !self.routes.is_own(ends.tuple.source.0)? {
            return Ok(Found::Foreign);
        }
        let devices = self.routes.devices(ends.tuple.source.0)?;
        let others = devices
            .into_iter()
            .filter(|&device| device != LOOPBACK_DEVICE);
        for device in others.take(MAX_DEVICES) {
            if let Some(socket) = self.find_on(ends, device)? {
                return Ok(Found::Socket(socket));
            }
        }
        Ok(Found::Nothing)
    }

    fn find_on(&mut self, ends: &Ends, device: u32) -> io::Result<Option<SocketInfo>> {
        let found = self.sockets.find(&ends.tuple, device)?;
        Ok(found.filter(|socket| socket.tuple == ends.tuple))
    }

    /// Looks a connection of our own up: a kernel without the `tcp_diag` module answers every
    /// question with "not found", which must not pass for a peer in another namespace.
    fn try_own_connection(&mut self) -> Result<(), LookupError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let tuple = Tuple {
            source: plain(client.local_addr()?),
            destination: plain(client.peer_addr()?),
        };
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", client.as_raw_fd()))
            .map(|metadata| metadata.st_ino());
        let found = self
            .sockets
            .find(&tuple, ANY_DEVICE)?
            .ok_or_else(no_sock_diag)?;
        let as_expected = found.tuple == tuple
            && tcp_state(found.state) == Some(TcpState::Established)
            && UserId::from_raw(found.uid) == own_user()
            && inode.map_or(found.inode != 0, |inode| inode == u64::from(found.inode));
        if as_expected {
            Ok(())
        } else {
            Err(no_sock_diag().into())
        }
    }
}

/// What the kernel has at the peer's end.
enum Found {
    Socket(SocketInfo),
    /// An address of this machine, and no socket.
    Nothing,
    /// An address of another machine, or of another network namespace.
    Foreign,
}

/// The peer's socket as its owner sees it, and the device that a link-local address belongs to.
struct Ends {
    tuple: Tuple,
    scope: Option<u32>,
}

impl Ends {
    fn of(accepted: &impl AsFd) -> Result<Ends, LookupError> {
        let socket = SockRef::from(accepted);
        let peer = socket
            .peer_addr()
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENOTCONN) => LookupError::Replaced,
                _ => LookupError::Os(error),
            })?;
        let (Some(peer), Some(local)) = (peer.as_socket(), socket.local_addr()?.as_socket()) else {
            return Err(LookupError::Os(not_tcp()));
        };
        Ok(Ends {
            tuple: Tuple {
                source: plain(peer),
                destination: plain(local),
            },
            scope: scope(peer).or(scope(local)),
        })
    }
}

const ANY_DEVICE: u32 = 0;
/// `LOOPBACK_IFINDEX`: in every network namespace the first device is its loopback.
const LOOPBACK_DEVICE: u32 = 1;
const MAX_DEVICES: usize = 32;

fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

fn scope(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => Some(address.scope_id()),
        _ => None,
    }
}

fn own_state(accepted: &impl AsFd) -> Result<TcpState, LookupError> {
    tcp_state(own_info(accepted)?.tcpi_state).ok_or_else(|| unknown_state().into())
}

/// What the kernel tells of our own socket. An older kernel leaves the last fields at zero.
fn own_info(accepted: &impl AsFd) -> io::Result<libc::tcp_info> {
    // SAFETY: all of its fields are integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes at most `length`
    // bytes, the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            accepted.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(info)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The kernel's numbers (`include/net/tcp_states.h`).
fn tcp_state(number: u8) -> Option<TcpState> {
    Some(match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 | 12 => TcpState::SynReceived,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 | 13 => TcpState::Closed,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        _ => return None,
    })
}

fn unknown_state() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel names an unknown state of a TCP socket",
    )
}

fn not_tcp() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the connection is not a TCP one",
    )
}

fn no_sock_diag() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "sock_diag does not find a connection of this process: load the kernel module tcp_diag, \
         or use a sandbox that lets it through",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// The pair changes hands between the question's making and its answer, where the addresses
    /// of the accepted socket can no longer tell.
    #[test]
    fn a_live_owner_of_the_pair_does_not_speak_for_a_connection_that_is_over() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let target = listener.local_addr().expect("bound").into();
        let first = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        first.set_reuse_address(true).expect("an option");
        // An address of this test's own: on 127.0.0.1 the port may be in another test's TIME_WAIT.
        let own_address = SocketAddr::from(([127, 11, 12, 13], 0));
        first.bind(&own_address.into()).expect("a free port");
        first.connect(&target).expect("connects");
        let own = first.local_addr().expect("bound");
        let (accepted, _) = listener.accept().expect("accepts");
        let ends = Ends::of(&accepted).expect("still open");
        let mut lookup = Lookup::open().expect("opens");
        assert!(lookup.owner_of(&ends, &accepted).is_ok());

        first.set_linger(Some(Duration::ZERO)).expect("an option");
        drop(first);
        let second = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        second.set_reuse_address(true).expect("an option");
        second.bind(&own).expect("free again");
        // A process that another test spawns holds `first` until it has executed its program.
        let until = Instant::now() + Duration::from_secs(5);
        while let Err(error) = second.connect(&target) {
            assert!(Instant::now() < until, "{error}");
        }
        let found = lookup.find(&ends).expect("an answer");
        assert!(matches!(found, Found::Socket(socket) if socket.inode != 0));
        let owner = lookup.owner_of(&ends, &accepted);
        assert!(matches!(owner, Err(LookupError::Replaced)), "{owner:?}");
    }
}
