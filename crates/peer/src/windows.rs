//! The owner of a connection's other end on Windows: the IP helper's table of TCP connections
//! names the process, and the process's token the user.
//!
//! 1. The row of the exact 4-tuple (IPv4 or IPv6) names a process and when the connection began.
//! 2. The process is opened, which keeps its id from being given to another. It must be older
//!    than the connection: the row of a client that has ended keeps an id that a newcomer may
//!    have got since.
//! 3. The table is read again: the row must still be there, and our own end's row ESTABLISHED or
//!    CLOSE-WAIT.
//!
//! Windows does not say whether a connection that has been shut down is still held open, so
//! [`Presence`] is unknown then.
//!
//! The Go program's `connectionverifier_windows.go` looks for the client's address alone, reads
//! IPv4 only, and does not notice an id that has changed hands.
//!
//! Compiled for this platform, not run on it.

#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths of small structures are 32 bits wide in this API"
)]

use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::windows::io::AsSocket;
use std::{fmt, io, ptr};

use socket2::SockRef;
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_INSUFFICIENT_BUFFER, ERROR_NONE_MAPPED, FILETIME, GetLastError, HANDLE,
};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, MIB_TCP6ROW_OWNER_MODULE, MIB_TCPROW_OWNER_MODULE,
    TCP_TABLE_OWNER_MODULE_CONNECTIONS,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};
use windows_sys::Win32::Security::{
    GetLengthSid, GetTokenInformation, LookupAccountNameW, PSID, SidTypeUser, TOKEN_QUERY,
    TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessTimes, INFINITE, OpenProcess, OpenProcessToken,
    PROCESS_ACCESS_RIGHTS, PROCESS_QUERY_LIMITED_INFORMATION, WaitForSingleObject,
};

use crate::users::UserError;
use crate::{LookupError, Presence, TcpState};

pub(crate) struct Lookup {
    /// Words, because the rows hold 64-bit numbers.
    table: Vec<u64>,
}

impl Lookup {
    pub(crate) fn open() -> Result<Lookup, LookupError> {
        let mut lookup = Lookup { table: Vec::new() };
        lookup.try_own_connection()?;
        Ok(lookup)
    }

    pub(crate) fn owner(&mut self, accepted: &impl AsSocket) -> Result<UserId, LookupError> {
        let tuple = Tuple::of_peer(accepted)?;
        let Some(row) = self.find(&tuple)? else {
            return Err(if is_own(tuple.source.0)? {
                LookupError::Vanished
            } else {
                LookupError::NotFound
            });
        };
        if !row.is_open() {
            return Err(LookupError::NotAlive(row.state));
        }
        let process = Process::open(row.process, PROCESS_QUERY_LIMITED_INFORMATION)?;
        if process.began()? > row.began {
            return Err(LookupError::NotAlive(row.state));
        }
        let user = process.user()?;
        let again = self.find(&tuple)?;
        let ours = self.find(&tuple.mirrored())?;
        let same = again.is_some_and(|again| {
            again.is_open() && again.process == row.process && again.began == row.began
        });
        let open = ours.is_some_and(|ours| {
            ours.process == std::process::id()
                && matches!(ours.state, TcpState::Established | TcpState::CloseWait)
        });
        if same && open {
            Ok(user)
        } else {
            Err(LookupError::Replaced)
        }
    }

    pub(crate) fn presence(&mut self, accepted: &impl AsSocket) -> Presence {
        let tuple = match Tuple::of_peer(accepted) {
            Ok(tuple) => tuple,
            Err(LookupError::Replaced) => return Presence::Gone,
            Err(_) => return Presence::Unknown,
        };
        match self.find(&tuple.mirrored()) {
            Ok(Some(ours)) => match ours.state {
                TcpState::Established
                | TcpState::SynReceived
                | TcpState::FinWait1
                | TcpState::FinWait2 => Presence::Alive,
                TcpState::CloseWait => Presence::Unknown,
                _ => Presence::Gone,
            },
            Ok(None) => Presence::Gone,
            Err(_) => Presence::Unknown,
        }
    }

    fn find(&mut self, tuple: &Tuple) -> io::Result<Option<Row>> {
        if tuple.source.0.is_ipv4() {
            self.find_in::<MIB_TCPROW_OWNER_MODULE>(tuple)
        } else {
            self.find_in::<MIB_TCP6ROW_OWNER_MODULE>(tuple)
        }
    }

    fn find_in<R: RawRow>(&mut self, tuple: &Tuple) -> io::Result<Option<Row>> {
        let bytes = read_table(&mut self.table, R::FAMILY)?;
        let base = self.table.as_ptr().cast::<u8>();
        // SAFETY: the table opens with its number of rows, and read_table saw to one word.
        let count = unsafe { base.cast::<u32>().read() } as usize;
        // The rows follow at the alignment of the 64-bit numbers in them.
        let first = size_of::<u64>();
        let fits = bytes.saturating_sub(first) / size_of::<R>();
        for at in 0..count.min(fits) {
            // SAFETY: `at` is below the number of whole rows within the table's bytes, and a row
            // is plain numbers.
            let raw = unsafe {
                base.add(first + at * size_of::<R>())
                    .cast::<R>()
                    .read_unaligned()
            };
            match raw.row() {
                Some(row) if row.tuple == *tuple => return Ok(Some(row)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn try_own_connection(&mut self) -> Result<(), LookupError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (accepted, _) = listener.accept()?;
        let named = self.owner(&accepted)? == own_user();
        drop(client);
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
    fn of_peer(accepted: &impl AsSocket) -> Result<Tuple, LookupError> {
        let socket = SockRef::from(accepted);
        let peer = socket.peer_addr().map_err(|error| match error.kind() {
            io::ErrorKind::NotConnected => LookupError::Replaced,
            _ => LookupError::Os(error),
        })?;
        let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        match (peer.as_socket(), socket.local_addr()?.as_socket()) {
            (Some(peer), Some(local)) => Ok(Tuple {
                source: plain(peer),
                destination: plain(local),
            }),
            _ => Err(LookupError::Os(io::ErrorKind::InvalidInput.into())),
        }
    }

    fn mirrored(&self) -> Tuple {
        Tuple {
            source: self.destination,
            destination: self.source,
        }
    }
}

#[derive(Clone, Copy)]
struct Row {
    tuple: Tuple,
    state: TcpState,
    process: u32,
    /// When the connection's socket was bound, in 100 ns since 1601.
    began: i64,
}

impl Row {
    fn is_open(&self) -> bool {
        matches!(
            self.state,
            TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
        )
    }
}

/// A row of the IPv4 or of the IPv6 table.
trait RawRow {
    const FAMILY: u16;
    fn row(&self) -> Option<Row>;
}

impl RawRow for MIB_TCPROW_OWNER_MODULE {
    const FAMILY: u16 = AF_INET;

    fn row(&self) -> Option<Row> {
        let address = |bytes: u32| IpAddr::V4(Ipv4Addr::from(bytes.to_ne_bytes()));
        Some(Row {
            tuple: Tuple {
                source: (address(self.dwLocalAddr), port(self.dwLocalPort)),
                destination: (address(self.dwRemoteAddr), port(self.dwRemotePort)),
            },
            state: tcp_state(self.dwState)?,
            process: self.dwOwningPid,
            began: self.liCreateTimestamp,
        })
    }
}

impl RawRow for MIB_TCP6ROW_OWNER_MODULE {
    const FAMILY: u16 = AF_INET6;

    fn row(&self) -> Option<Row> {
        let address = |bytes: [u8; 16]| IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical();
        Some(Row {
            tuple: Tuple {
                source: (address(self.ucLocalAddr), port(self.dwLocalPort)),
                destination: (address(self.ucRemoteAddr), port(self.dwRemotePort)),
            },
            state: tcp_state(self.dwState)?,
            process: self.dwOwningPid,
            began: self.liCreateTimestamp,
        })
    }
}

/// The low 16 bits, in network order.
fn port(bytes: u32) -> u16 {
    u16::from_be(bytes as u16)
}

/// `MIB_TCP_STATE`.
fn tcp_state(number: u32) -> Option<TcpState> {
    Some(match number {
        1 | 12 => TcpState::Closed,
        2 => TcpState::Listen,
        3 => TcpState::SynSent,
        4 => TcpState::SynReceived,
        5 => TcpState::Established,
        6 => TcpState::FinWait1,
        7 => TcpState::FinWait2,
        8 => TcpState::CloseWait,
        9 => TcpState::Closing,
        10 => TcpState::LastAck,
        11 => TcpState::TimeWait,
        _ => return None,
    })
}

/// Reads the table of one family and returns its length in bytes, at least one word.
fn read_table(table: &mut Vec<u64>, family: u16) -> io::Result<usize> {
    if table.is_empty() {
        table.resize(2048, 0);
    }
    loop {
        let mut length = (table.len() * size_of::<u64>()) as u32;
        // SAFETY: the buffer has `length` bytes, and no more are written.
        let result = unsafe {
            GetExtendedTcpTable(
                table.as_mut_ptr().cast::<c_void>(),
                &raw mut length,
                0,
                u32::from(family),
                TCP_TABLE_OWNER_MODULE_CONNECTIONS,
                0,
            )
        };
        match result {
            0 => return Ok((length as usize).min(table.len() * size_of::<u64>())),
            // Room for connections that are made in between.
            ERROR_INSUFFICIENT_BUFFER => {
                let words = length as usize / size_of::<u64>();
                table.resize((words + words / 8 + 512).max(table.len() + 512), 0);
            }
            error => return Err(io::Error::from_raw_os_error(error.cast_signed())),
        }
    }
}

fn is_own(address: IpAddr) -> io::Result<bool> {
    Ok(address.is_loopback() || crate::own_addresses()?.contains(&address))
}

/// An open process. While it is open, no other process gets its id.
#[derive(Debug)]
pub(crate) struct Process(HANDLE);

// SAFETY: a handle is the process's, not a thread's.
unsafe impl Send for Process {}

impl Process {
    pub(crate) fn open(id: u32, access: PROCESS_ACCESS_RIGHTS) -> io::Result<Process> {
        // SAFETY: no pointers; the handle is closed by drop.
        let handle = unsafe { OpenProcess(access, 0, id) };
        if handle.is_null() {
            Err(io::Error::last_os_error())
        } else {
            Ok(Process(handle))
        }
    }

    /// In 100 ns since 1601.
    pub(crate) fn began(&self) -> io::Result<i64> {
        began(self.0)
    }

    /// Blocks until it has ended; it was opened with `PROCESS_SYNCHRONIZE`.
    pub(crate) fn wait(&self) {
        // SAFETY: an open handle.
        unsafe { WaitForSingleObject(self.0, INFINITE) };
    }

    fn user(&self) -> io::Result<UserId> {
        token_user(self.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the handle is open and closed once.
        unsafe { CloseHandle(self.0) };
    }
}

/// When this process began, as [`Process::began`].
pub(crate) fn began_this() -> io::Result<i64> {
    // SAFETY: the pseudo handle of this process needs no closing.
    began(unsafe { GetCurrentProcess() })
}

fn began(process: HANDLE) -> io::Result<i64> {
    let mut times = [FILETIME {
        dwLowDateTime: 0,
        dwHighDateTime: 0,
    }; 4];
    let [began, ended, kernel, user] = &mut times;
    // SAFETY: an open handle and four places to write to.
    if unsafe { GetProcessTimes(process, began, ended, kernel, user) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i64::from(began.dwHighDateTime) << 32 | i64::from(began.dwLowDateTime))
}

fn token_user(process: HANDLE) -> io::Result<UserId> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: an open process handle and a place for the token's.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let token = Process(token);
    // A TOKEN_USER and the longest SID (68 bytes) behind it.
    let mut buffer = [0_u64; 16];
    let mut length = 0;
    // SAFETY: an open token, and a buffer with its own length.
    let read = unsafe {
        GetTokenInformation(
            token.0,
            TokenUser,
            buffer.as_mut_ptr().cast(),
            size_of_val(&buffer) as u32,
            &raw mut length,
        )
    };
    if read == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the buffer holds a TOKEN_USER with a SID that lies within the buffer.
    Ok(unsafe { UserId::from_sid((*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid) })
}

/// A user: the uid on Unix, the SID on Windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(Box<[u8]>);

/// S-1-5-18, as its bytes are.
const SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];

impl UserId {
    /// # Safety
    /// `sid` points to a valid SID.
    unsafe fn from_sid(sid: PSID) -> UserId {
        // SAFETY: valid by the contract above, so its length is that of its bytes.
        unsafe {
            let length = GetLengthSid(sid) as usize;
            UserId(std::slice::from_raw_parts(sid.cast::<u8>(), length).into())
        }
    }
}

impl fmt::Display for UserId {
    /// As the system writes it: `S-1-5-21-...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [revision, _, authority @ ..] = &*self.0 else {
            return f.write_str("S-?");
        };
        let Some((authority, parts)) = authority.split_at_checked(6) else {
            return f.write_str("S-?");
        };
        let authority = authority
            .iter()
            .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        write!(f, "S-{revision}-{authority}")?;
        for part in parts.chunks_exact(4) {
            write!(
                f,
                "-{}",
                u32::from_le_bytes([part[0], part[1], part[2], part[3]])
            )?;
        }
        Ok(())
    }
}

/// The user of that name (`name`, `DOMAIN\name` or `name@domain`).
///
/// # Errors
/// No user has that name, the name is not a user's, or the database does not answer.
pub fn user_id(name: &str) -> Result<UserId, UserError> {
    let unknown = || UserError::Unknown(name.to_owned());
    if name.is_empty() || name.contains('\0') {
        return Err(unknown());
    }
    let wide: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let mut sid = [0_u32; 17];
    let mut sid_length = size_of_val(&sid) as u32;
    let mut domain = [0_u16; 256];
    let mut domain_length = domain.len() as u32;
    let mut kind = 0;
    // SAFETY: a terminated name, and buffers with their own lengths.
    let found = unsafe {
        LookupAccountNameW(
            ptr::null(),
            wide.as_ptr(),
            sid.as_mut_ptr().cast(),
            &raw mut sid_length,
            domain.as_mut_ptr(),
            &raw mut domain_length,
            &raw mut kind,
        )
    };
    if found == 0 {
        // SAFETY: no preconditions.
        return Err(match unsafe { GetLastError() } {
            ERROR_NONE_MAPPED => unknown(),
            error => {
                let error = io::Error::from_raw_os_error(error.cast_signed());
                UserError::Database(name.to_owned(), error)
            }
        });
    }
    if kind != SidTypeUser {
        return Err(unknown());
    }
    // SAFETY: the call above wrote a valid SID.
    Ok(unsafe { UserId::from_sid(sid.as_mut_ptr().cast()) })
}

/// The user this process acts as.
///
/// # Panics
/// Where a process may not read its own token, which no system refuses.
pub fn own_user() -> UserId {
    // SAFETY: the pseudo handle of this process needs no closing.
    token_user(unsafe { GetCurrentProcess() }).expect("this process's own token")
}

/// Whether `user` is root (on Windows: SYSTEM).
pub fn is_root(user: &UserId) -> bool {
    *user.0 == SYSTEM
}

/// The parts of `machine.rs`.
pub(crate) mod machine {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::{io, ptr};

    use windows_sys::Win32::Foundation::ERROR_BUFFER_OVERFLOW;
    use windows_sys::Win32::NetworkManagement::IpHelper::{
        GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_DNS_SERVER, GAA_FLAG_SKIP_MULTICAST,
        GetAdaptersAddresses, IP_ADAPTER_ADDRESSES_LH,
    };
    use windows_sys::Win32::Networking::WinSock::{
        AF_INET, AF_INET6, AF_UNSPEC, SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6,
    };
    use windows_sys::Win32::System::SystemInformation::{
        ComputerNameDnsHostname, GetComputerNameExW,
    };

    pub(crate) fn own_addresses() -> io::Result<Vec<IpAddr>> {
        let buffer = read_adapters()?;
        let mut addresses = Vec::new();
        let mut adapter = buffer.as_ptr().cast::<IP_ADAPTER_ADDRESSES_LH>();
        // SAFETY: the buffer holds a list that ends with null, and every pointer in it points
        // into it or is null.
        unsafe {
            while !adapter.is_null() {
                let mut unicast = (*adapter).FirstUnicastAddress;
                while !unicast.is_null() {
                    addresses.extend(read_address((*unicast).Address.lpSockaddr));
                    unicast = (*unicast).Next;
                }
                adapter = (*adapter).Next;
            }
        }
        Ok(addresses)
    }

    fn read_adapters() -> io::Result<Vec<u64>> {
        let mut buffer = vec![0_u64; 4096];
        loop {
            let mut length = (buffer.len() * size_of::<u64>()) as u32;
            // SAFETY: the buffer has `length` bytes at an alignment that fits.
            let result = unsafe {
                GetAdaptersAddresses(
                    u32::from(AF_UNSPEC),
                    GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER,
                    ptr::null(),
                    buffer.as_mut_ptr().cast(),
                    &raw mut length,
                )
            };
            match result {
                0 => return Ok(buffer),
                ERROR_BUFFER_OVERFLOW => {
                    let words = length as usize / size_of::<u64>() + 512;
                    buffer.resize(words.max(buffer.len() + 512), 0);
                }
                error => return Err(io::Error::from_raw_os_error(error.cast_signed())),
            }
        }
    }

    /// # Safety
    /// `address` is null or points to a whole socket address of the family it names.
    unsafe fn read_address(address: *const SOCKADDR) -> Option<IpAddr> {
        if address.is_null() {
            return None;
        }
        // SAFETY: not null, so by the contract above it is whole for its family.
        unsafe {
            match (*address).sa_family {
                AF_INET => {
                    let v4 = address.cast::<SOCKADDR_IN>().read_unaligned();
                    Some(IpAddr::V4(Ipv4Addr::from(
                        v4.sin_addr.S_un.S_addr.to_ne_bytes(),
                    )))
                }
                AF_INET6 => {
                    let v6 = address.cast::<SOCKADDR_IN6>().read_unaligned();
                    Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.u.Byte)))
                }
                _ => None,
            }
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the signature of every platform")]
    pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
        Ok(u64::MAX)
    }

    pub(crate) fn hostname() -> Option<String> {
        let mut name = [0_u16; 256];
        let mut length = name.len() as u32;
        // SAFETY: the buffer has `length` characters.
        let read = unsafe {
            GetComputerNameExW(ComputerNameDnsHostname, name.as_mut_ptr(), &raw mut length)
        };
        (read != 0).then(|| String::from_utf16_lossy(&name[..length as usize]))
    }
}
