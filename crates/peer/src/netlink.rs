//! The questions this crate asks the Linux kernel by netlink, one kept socket for each family of
//! them: the exact look-up of one TCP socket (`sock_diag(7)`), and the routes, addresses and
//! devices of this network namespace (`rtnetlink(7)`).
//!
//! Only the wire: what the answers mean is judged in `linux.rs`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "libc gives the constants of one- and two-byte fields as C ints"
)]

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A question's two ends as the owner of the socket sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) source: (IpAddr, u16),
    pub(crate) destination: (IpAddr, u16),
}

/// What `sock_diag` says about one socket (`struct inet_diag_msg`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketInfo {
    pub(crate) tuple: Tuple,
    /// The kernel's number of the TCP state, as `TCP_INFO` has it too.
    pub(crate) state: u8,
    pub(crate) uid: u32,
    /// 0 where no process holds the socket.
    pub(crate) inode: u32,
}

/// Looks single TCP sockets up.
pub(crate) struct SockDiag(Netlink);

impl SockDiag {
    pub(crate) fn open() -> io::Result<SockDiag> {
        Netlink::open(libc::NETLINK_SOCK_DIAG).map(SockDiag)
    }

    /// The socket that a segment for `tuple` arriving on `device` would be given to; 0 asks for
    /// sockets that are bound to no device. May be a listening one: compare its tuple.
    pub(crate) fn find(&mut self, tuple: &Tuple, device: u32) -> io::Result<Option<SocketInfo>> {
        let mut question = [0; 56];
        question[0] = address_family(tuple.source.0);
        question[1] = libc::IPPROTO_TCP as u8;
        question[4..8].fill(0xff);
        question[8..10].copy_from_slice(&tuple.source.1.to_be_bytes());
        question[10..12].copy_from_slice(&tuple.destination.1.to_be_bytes());
        write_address(&mut question[12..28], tuple.source.0);
        write_address(&mut question[28..44], tuple.destination.0);
        question[44..48].copy_from_slice(&device.to_ne_bytes());
        // INET_DIAG_NOCOOKIE: the socket that has the tuple now, whatever its cookie is.
        question[48..56].fill(0xff);

        let mut found = None;
        let asked = self
            .0
            .ask(SOCK_DIAG_BY_FAMILY, 0, &question, |kind, answer| {
                if kind == SOCK_DIAG_BY_FAMILY {
                    found = read_socket(answer);
                }
            });
        match asked {
            Ok(()) if found.is_none() => Err(malformed()),
            Ok(()) => Ok(found),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Asks about this network namespace's own addresses and devices.
pub(crate) struct Routes(Netlink);

impl Routes {
    pub(crate) fn open() -> io::Result<Routes> {
        Netlink::open(libc::NETLINK_ROUTE).map(Routes)
    }

    /// Whether packets to `address` stay on this machine: an address of an interface, or a prefix
    /// that a `local` route claims whole.
    pub(crate) fn is_own(&mut self, address: IpAddr) -> io::Result<bool> {
        Ok(address.is_loopback() || self.routes_here(address)? || self.has_address(address)?)
    }

    /// Indexes of every device, those that carry `address` first.
    pub(crate) fn devices(&mut self, address: IpAddr) -> io::Result<Vec<u32>> {
        let mut devices = Vec::new();
        self.each_address(|index, own| {
            if own == address && !devices.contains(&index) {
                devices.push(index);
            }
        })?;
        // struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4)
        self.0.ask(
            libc::RTM_GETLINK,
            libc::NLM_F_DUMP,
            &[0; 16],
            |kind, answer| {
                if kind == libc::RTM_NEWLINK
                    && let Some(index) = u32_at(answer, 4)
                    && !devices.contains(&index)
                {
                    devices.push(index);
                }
            },
        )?;
        Ok(devices)
    }

    fn routes_here(&mut self, address: IpAddr) -> io::Result<bool> {
        // struct rtmsg, then one attribute RTA_DST
        let mut question = [0; 12 + 4 + 16];
        let bytes = match address {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 16,
        };
        question[0] = address_family(address);
        question[1] = bytes * 8;
        question[12..14].copy_from_slice(&(4 + u16::from(bytes)).to_ne_bytes());
        question[14..16].copy_from_slice(&libc::RTA_DST.to_ne_bytes());
        write_address(&mut question[16..], address);

        let mut kind_of_route = 0;
        let length = 16 + usize::from(bytes);
        let asked = self.0.ask(
            libc::RTM_GETROUTE,
            0,
            &question[..length],
            |kind, answer| {
                if kind == libc::RTM_NEWROUTE {
                    kind_of_route = answer.get(7).copied().unwrap_or(libc::RTN_LOCAL);
                }
            },
        );
        match asked {
            Ok(()) => Ok(kind_of_route == libc::RTN_LOCAL),
            // The kernel answered: there is no way to that address, so it is not here.
            Err(error) if is_no_route(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn has_address(&mut self, address: IpAddr) -> io::Result<bool> {
        let mut found = false;
        self.each_address(|_, own| found |= own == address)?;
        Ok(found)
    }

    fn each_address(&mut self, mut visit: impl FnMut(u32, IpAddr)) -> io::Result<()> {
        // struct ifaddrmsg: family, prefix length, flags, scope, index (4)
        self.0.ask(
            libc::RTM_GETADDR,
            libc::NLM_F_DUMP,
            &[0; 8],
            |kind, answer| {
                if kind == libc::RTM_NEWADDR
                    && let (Some(index), Some(attributes)) = (u32_at(answer, 4), answer.get(8..))
                {
                    // Of a point-to-point device IFA_ADDRESS is the other end; counting it as own
                    // can only refuse.
                    for address in attribute_addresses(attributes) {
                        visit(index, address);
                    }
                }
            },
        )
    }
}

/// One netlink socket, its buffer and its sequence numbers.
struct Netlink {
    protocol: i32,
    /// None after a failure, until the next question opens another.
    socket: Option<Socket>,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Netlink {
    fn open(protocol: i32) -> io::Result<Netlink> {
        Ok(Netlink {
            protocol,
            socket: Some(open_socket(protocol)?),
            sequence: 0,
            buffer: vec![0; BUFFER_LEN].into_boxed_slice(),
        })
    }

    /// Sends one question and hands each part of its answer to `visit`. An error number in the
    /// answer is the error returned; after any other error the next question uses a new socket.
    fn ask(
        &mut self,
        kind: u16,
        flags: i32,
        payload: &[u8],
        mut visit: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        if self.socket.is_none() {
            self.socket = Some(open_socket(self.protocol)?);
        }
        match self.exchange(kind, flags, payload, &mut visit) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(answered)) => Err(answered),
            Err(broken) => {
                self.socket = None;
                Err(broken)
            }
        }
    }

    fn exchange(
        &mut self,
        kind: u16,
        flags: i32,
        payload: &[u8],
        visit: &mut impl FnMut(u16, &[u8]),
    ) -> io::Result<io::Result<()>> {
        let Some(mut socket) = self.socket.as_ref() else {
            return Err(malformed());
        };
        self.sequence = self.sequence.wrapping_add(1);
        let dump = flags & libc::NLM_F_DUMP == libc::NLM_F_DUMP;
        send(socket, kind, flags, self.sequence, payload)?;
        // Answers to questions that were given up are skipped, and so is anything else that is
        // not ours; the bound keeps a flood of them from holding the thread.
        for _ in 0..MAX_READS {
            let length = match socket.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let mut rest = &self.buffer[..length];
            while let Some((message, after)) = Message::split(rest) {
                rest = after;
                if message.sequence != self.sequence {
                    continue;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR => return answered_error(message.payload),
                    libc::NLMSG_DONE => return Ok(Ok(())),
                    libc::NLMSG_NOOP => {}
                    _ => {
                        visit(message.kind, message.payload);
                        if !dump {
                            return Ok(Ok(()));
                        }
                    }
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// A message of the kernel (`struct nlmsghdr` and what follows it).
struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
        let length = u32_at(bytes, 0)? as usize;
        let payload = bytes.get(HEADER_LEN..length)?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            sequence: u32_at(bytes, 8)?,
            payload,
        };
        Some((message, bytes.get(aligned(length)..).unwrap_or_default()))
    }
}

const HEADER_LEN: usize = 16;
/// A dump comes in pieces of at most 32 KiB, or of the reader's buffer if that is smaller.
const BUFFER_LEN: usize = 16 * 1024;
const MAX_READS: usize = 1024;
const SOCK_DIAG_BY_FAMILY: u16 = 20;

fn open_socket(protocol: i32) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(protocol)),
    )?;
    // The kernel answers within the send; this is for one that does not.
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    // Connected to the kernel (port id 0), the socket refuses what other processes send it.
    socket.connect(&kernel_address())?;
    Ok(socket)
}

fn kernel_address() -> SockAddr {
    let mut storage = socket2::SockAddrStorage::zeroed();
    // SAFETY: sockaddr_nl fits into the storage and all zeroes is a value of it.
    let address = unsafe { storage.view_as::<libc::sockaddr_nl>() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    // SAFETY: the storage holds a sockaddr_nl of exactly this length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_nl>() as libc::socklen_t) }
}

fn send(socket: &Socket, kind: u16, flags: i32, sequence: u32, payload: &[u8]) -> io::Result<()> {
    let mut message = [0; HEADER_LEN + 64];
    let length = HEADER_LEN + payload.len();
    message[0..4].copy_from_slice(&(length as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    message[HEADER_LEN..length].copy_from_slice(payload);
    socket.send(&message[..length]).map(drop)
}

/// `struct nlmsgerr` opens with a negative error number, 0 for an acknowledgement.
fn answered_error(payload: &[u8]) -> io::Result<io::Result<()>> {
    match u32_at(payload, 0).map(u32::cast_signed) {
        Some(0) => Ok(Ok(())),
        Some(number) if number < 0 => Ok(Err(io::Error::from_raw_os_error(-number))),
        _ => Err(malformed()),
    }
}

fn is_no_route(error: &io::Error) -> bool {
    // EINVAL and EACCES are how blackhole and prohibit routes answer.
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES | libc::ENODEV)
    )
}

/// `struct inet_diag_msg`: family, state, timer, retransmits, `struct inet_diag_sockid` (48),
/// expires (4), receive queue (4), write queue (4), uid (4), inode (4).
fn read_socket(answer: &[u8]) -> Option<SocketInfo> {
    let family = *answer.first()?;
    let port = |at: usize| {
        answer
            .get(at..at + 2)
            .map(|b| u16::from_be_bytes([b[0], b[1]]))
    };
    Some(SocketInfo {
        tuple: Tuple {
            source: (read_address(family, answer.get(8..24)?)?, port(4)?),
            destination: (read_address(family, answer.get(24..40)?)?, port(6)?),
        },
        state: *answer.get(1)?,
        uid: u32_at(answer, 64)?,
        inode: u32_at(answer, 68)?,
    })
}

fn attribute_addresses(mut bytes: &[u8]) -> impl Iterator<Item = IpAddr> {
    std::iter::from_fn(move || {
        loop {
            let length = usize::from(u16_at(bytes, 0)?);
            let kind = u16_at(bytes, 2)?;
            let value = bytes.get(4..length)?;
            bytes = bytes.get(aligned(length)..).unwrap_or_default();
            if matches!(kind, libc::IFA_ADDRESS | libc::IFA_LOCAL) {
                let family = if value.len() == 4 {
                    libc::AF_INET
                } else {
                    libc::AF_INET6
                };
                return read_address(family as u8, value);
            }
        }
    })
}

/// Addresses are kept in their plain form: an IPv4 address mapped into IPv6 is the IPv4 address.
fn read_address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

fn write_address(out: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => out[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => out[..16].copy_from_slice(&address.octets()),
    }
}

fn address_family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Messages and attributes start at multiples of four bytes (`NLMSG_ALIGN`).
fn aligned(length: usize) -> usize {
    length.max(1).next_multiple_of(4)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's netlink answer is not understood",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_known_by_interface_and_by_route() {
        let mut routes = Routes::open().expect("opens");
        for own in crate::own_addresses().expect("interfaces") {
            assert!(routes.is_own(own).expect("an answer"), "{own}");
            assert!(routes.has_address(own).expect("an answer"), "{own}");
        }
        // No interface has this one; the route of 127.0.0.0/8 does.
        let by_route = IpAddr::from([127, 5, 6, 7]);
        assert!(routes.routes_here(by_route).expect("an answer"));
        assert!(!routes.has_address(by_route).expect("an answer"));
        for foreign in ["203.0.113.7", "2001:db8::7", "fe80::dead:beef"] {
            let address = foreign.parse().expect("an address");
            assert!(!routes.is_own(address).expect("an answer"), "{foreign}");
        }
    }

    #[test]
    fn the_devices_of_an_address_come_first() {
        let mut routes = Routes::open().expect("opens");
        let devices = routes
            .devices(IpAddr::from([127, 0, 0, 1]))
            .expect("an answer");
        assert_eq!(devices.first(), Some(&1));
        let mut once = devices.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), devices.len());
    }

    #[test]
    fn answers_to_earlier_questions_are_skipped() {
        let mut sockets = SockDiag::open().expect("opens");
        let tuple = Tuple {
            source: (IpAddr::from([127, 0, 0, 1]), 1),
            destination: (IpAddr::from([127, 0, 0, 1]), 2),
        };
        // A question with an answer that stays unread.
        let socket = sockets.0.socket.as_ref().expect("open");
        send(socket, libc::RTM_GETLINK, 0, 0xdead, &[0; 56]).expect("sent");
        assert!(sockets.find(&tuple, 0).expect("an answer").is_none());
        assert!(sockets.find(&tuple, 0).expect("an answer").is_none());
    }

    #[test]
    fn a_broken_socket_is_replaced() {
        let mut routes = Routes::open().expect("opens");
        let unconnected = Socket::new(Domain::UNIX, Type::DGRAM, None).expect("a socket");
        routes.0.socket = Some(unconnected);
        assert!(routes.has_address(IpAddr::from([127, 0, 0, 1])).is_err());
        assert!(
            routes
                .has_address(IpAddr::from([127, 0, 0, 1]))
                .expect("an answer")
        );
    }

    #[test]
    fn torn_messages_end_an_answer() {
        for torn in [
            &[][..],
            &[1, 0, 0],
            &[0; 16],
            &[255, 0, 0, 0, 0, 0, 0, 0],
            &[15; 20],
        ] {
            assert!(Message::split(torn).is_none(), "{torn:?}");
        }
        assert!(read_socket(&[2; 71]).is_none());
        assert!(read_socket(&[2; 72]).is_some());
        assert!(read_socket(&[99; 72]).is_none());
    }
}
