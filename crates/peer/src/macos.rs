//! The owner of a connection's other end on macOS: the kernel's table of TCP sockets, which names
//! the user who opened each one (`sysctl net.inet.tcp.pcblist64`, the one `netstat` reads too).
//!
//! The row of the exact 4-tuple counts, as on Linux: held open by a process (no `SS_NOFDREF`),
//! ESTABLISHED or FIN-WAIT, and our own socket asked after it. The table is read whole for every
//! question, so a question costs more the more sockets the machine has.
//!
//! The Go program's `connectionverifier_darwin.go` runs `lsof` for the client's address alone,
//! takes the first process that is not the proxy, and does not look at its own socket afterwards.
//!
//! Compiled for this platform, not run on it.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockRef;

use crate::users::{UserId, own_user};
use crate::{LookupError, Presence, TcpState};

pub(crate) struct Lookup {
    table: Vec<u8>,
}

impl Lookup {
    pub(crate) fn open() -> Result<Lookup, LookupError> {
        let mut lookup = Lookup { table: Vec::new() };
        lookup.try_own_connection()?;
        Ok(lookup)
    }

    pub(crate) fn owner(&mut self, accepted: &impl AsFd) -> Result<UserId, LookupError> {
        let tuple = Tuple::of_peer(accepted)?;
        let found = self.find(&tuple);
        if !matches!(
            own_state(accepted)?,
            TcpState::Established | TcpState::CloseWait
        ) {
            return Err(LookupError::Replaced);
        }
        match found? {
            Some(row) if row.is_open() => Ok(UserId::from_raw(row.uid)),
            Some(row) => Err(LookupError::NotAlive(row.state)),
            None if is_own(tuple.source.0)? => Err(LookupError::Vanished),
            None => Err(LookupError::NotFound),
        }
    }

    pub(crate) fn presence(&mut self, accepted: &impl AsFd) -> Presence {
        match own_state(accepted) {
            Ok(
                TcpState::Established
                | TcpState::SynReceived
                | TcpState::FinWait1
                | TcpState::FinWait2,
            ) => return Presence::Alive,
            Ok(TcpState::CloseWait) => {}
            Ok(_) | Err(_) => return Presence::Gone,
        }
        let Ok(tuple) = Tuple::of_peer(accepted) else {
            return Presence::Gone;
        };
        match self.find(&tuple) {
            Ok(Some(row)) if row.is_open() => Presence::Alive,
            Ok(Some(_)) => Presence::Gone,
            Ok(None) if is_own(tuple.source.0).unwrap_or(false) => Presence::Gone,
            Ok(None) | Err(_) => Presence::Unknown,
        }
    }

    /// The row of `tuple`; an open one before those that linger.
    fn find(&mut self, tuple: &Tuple) -> io::Result<Option<Row>> {
        read_table(&mut self.table)?;
        let mut found: Option<Row> = None;
        for row in rows(&self.table)? {
            if row.tuple == *tuple && found.as_ref().is_none_or(|other| !other.is_open()) {
                found = Some(row);
            }
        }
        Ok(found)
    }

    fn try_own_connection(&mut self) -> Result<(), LookupError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let tuple = Tuple {
            source: plain(client.local_addr()?),
            destination: plain(client.peer_addr()?),
        };
        let named = self
            .find(&tuple)?
            .is_some_and(|row| row.is_open() && UserId::from_raw(row.uid) == own_user());
        if named {
            Ok(())
        } else {
            Err(LookupError::Unsupported)
        }
    }
}

/// The two ends as the peer sees them, IPv4-mapped addresses as IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tuple {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
}

impl Tuple {
    fn of_peer(accepted: &impl AsFd) -> Result<Tuple, LookupError> {
        let socket = SockRef::from(accepted);
        let peer = socket
            .peer_addr()
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENOTCONN | libc::EINVAL) => LookupError::Replaced,
                _ => LookupError::Os(error),
            })?;
        match (peer.as_socket(), socket.local_addr()?.as_socket()) {
            (Some(peer), Some(local)) => Ok(Tuple {
                source: plain(peer),
                destination: plain(local),
            }),
            _ => Err(LookupError::Os(io::ErrorKind::InvalidInput.into())),
        }
    }
}

struct Row {
    tuple: Tuple,
    state: TcpState,
    held: bool,
    uid: u32,
}

impl Row {
    fn is_open(&self) -> bool {
        let open = matches!(
            self.state,
            TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
        );
        self.held && open
    }

    fn read(raw: &XTcpcb64) -> Option<Row> {
        let pcb = raw.xt_inpcb;
        let address = |bytes: [u8; 16]| {
            if pcb.inp_vflag & INP_IPV4 != 0 {
                let [.., a, b, c, d] = bytes;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            } else {
                IpAddr::V6(without_scope(Ipv6Addr::from(bytes))).to_canonical()
            }
        };
        Some(Row {
            tuple: Tuple {
                source: (address(pcb.inp_laddr), u16::from_be(pcb.inp_lport)),
                destination: (address(pcb.inp_faddr), u16::from_be(pcb.inp_fport)),
            },
            state: tcp_state(raw.t_state)?,
            held: pcb.xi_socket.so_state & SS_NOFDREF == 0,
            uid: pcb.xi_socket.so_uid,
        })
    }
}

const PCB_LIST: &CStr = c"net.inet.tcp.pcblist64";
/// No descriptor refers to the socket any more.
const SS_NOFDREF: i16 = 0x0001;
const INP_IPV4: u8 = 0x1;
/// Length of `struct xinpgen`, which opens and closes the table.
const XINPGEN_LEN: usize = 24;

// The structures of <sys/socketvar.h>, <netinet/in_pcb.h> and <netinet/tcp_var.h>, all of them
// under `#pragma pack(4)`.

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "the layout is the kernel's")]
struct XSocket64 {
    xso_len: u32,
    xso_so: u64,
    so_type: i16,
    so_options: i16,
    so_linger: i16,
    so_state: i16,
    so_pcb: u64,
    xso_protocol: i32,
    xso_family: i32,
    so_queues: [i16; 4],
    so_error: u16,
    so_pgid: i32,
    so_oobmark: u32,
    so_rcv: [u32; 6],
    so_snd: [u32; 6],
    so_uid: u32,
}

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "the layout is the kernel's")]
struct XInpcb64 {
    xi_len: u64,
    xi_inpp: u64,
    inp_fport: u16,
    inp_lport: u16,
    inp_list: [u64; 2],
    inp_ppcb: u64,
    inp_pcbinfo: u64,
    inp_portlist: [u64; 2],
    inp_phd: u64,
    inp_gencnt: u64,
    inp_flags: i32,
    inp_flow: u32,
    inp_vflag: u8,
    inp_ip_ttl: u8,
    inp_ip_p: u8,
    padding: u8,
    inp_faddr: [u8; 16],
    inp_laddr: [u8; 16],
    inp_depend: [u32; 4],
    xi_socket: XSocket64,
    xi_alignment_hack: u64,
}

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "the layout is the kernel's")]
struct XTcpcb64 {
    xt_len: u32,
    xt_inpcb: XInpcb64,
    t_segq: u64,
    t_dupacks: i32,
    t_timer: [i32; 4],
    t_state: i32,
}

fn read_table(table: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut length = 0;
        // SAFETY: without a buffer the kernel only writes the length it would need.
        let asked = unsafe {
            libc::sysctlbyname(
                PCB_LIST.as_ptr(),
                std::ptr::null_mut(),
                &raw mut length,
                std::ptr::null_mut(),
                0,
            )
        };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // Room for sockets that are opened in between.
        table.resize(length + length / 8 + 4096, 0);
        length = table.len();
        // SAFETY: the buffer has `length` bytes, and the kernel writes at most as many.
        let read = unsafe {
            libc::sysctlbyname(
                PCB_LIST.as_ptr(),
                table.as_mut_ptr().cast(),
                &raw mut length,
                std::ptr::null_mut(),
                0,
            )
        };
        if read == 0 {
            table.truncate(length);
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ENOMEM) {
            return Err(error);
        }
    }
}

fn rows(table: &[u8]) -> io::Result<impl Iterator<Item = Row> + '_> {
    let mut rest = length_at(table)
        .and_then(|length| table.get(length..))
        .ok_or_else(malformed)?;
    Ok(std::iter::from_fn(move || {
        loop {
            let length = length_at(rest).filter(|&length| length > XINPGEN_LEN)?;
            let bytes = rest.get(..length)?;
            rest = &rest[length..];
            if length < size_of::<XTcpcb64>() {
                return None;
            }
            // SAFETY: at least that many bytes are there, every bit pattern is a value of the
            // structure, and the read does not need alignment.
            let raw = unsafe { bytes.as_ptr().cast::<XTcpcb64>().read_unaligned() };
            if let Some(row) = Row::read(&raw) {
                return Some(row);
            }
        }
    }))
}

fn length_at(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.get(..4)?.try_into().ok()?;
    usize::try_from(u32::from_ne_bytes(bytes)).ok()
}

/// The kernel keeps the device of a link-local address inside it, in its second pair of bytes.
fn without_scope(address: Ipv6Addr) -> Ipv6Addr {
    let mut segments = address.segments();
    if address.is_unicast_link_local() {
        segments[1] = 0;
    }
    Ipv6Addr::from(segments)
}

fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

fn is_own(address: IpAddr) -> io::Result<bool> {
    Ok(address.is_loopback() || crate::own_addresses()?.contains(&address))
}

fn own_state(accepted: &impl AsFd) -> Result<TcpState, LookupError> {
    // SAFETY: all zeroes is a value of the structure, which is plain numbers.
    let mut info: libc::tcp_connection_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_connection_info>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes at most `length`.
    let result = unsafe {
        libc::getsockopt(
            accepted.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONNECTION_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        // How the system says that the connection was reset.
        return match error.raw_os_error() {
            Some(libc::EINVAL | libc::ECONNRESET) => Ok(TcpState::Closed),
            _ => Err(error.into()),
        };
    }
    tcp_state(i32::from(info.tcpi_state)).ok_or_else(|| malformed().into())
}

/// The kernel's numbers (`<netinet/tcp_fsm.h>`).
fn tcp_state(number: i32) -> Option<TcpState> {
    Some(match number {
        0 => TcpState::Closed,
        1 => TcpState::Listen,
        2 => TcpState::SynSent,
        3 => TcpState::SynReceived,
        4 => TcpState::Established,
        5 => TcpState::CloseWait,
        6 => TcpState::FinWait1,
        7 => TcpState::Closing,
        8 => TcpState::LastAck,
        9 => TcpState::FinWait2,
        10 => TcpState::TimeWait,
        _ => return None,
    })
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's table of sockets is not understood",
    )
}
