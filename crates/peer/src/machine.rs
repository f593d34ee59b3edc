//! The machine on which the proxy runs: its addresses, its name, and its limit on descriptors.

use std::io;
use std::net::IpAddr;

/// Every address of this machine's interfaces, loopback included, in no particular order.
///
/// # Errors
/// As the operating system says.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    imp::own_addresses()
}

/// Raises the number of descriptors this process may open to the most it may give itself, and
/// returns that. On Windows there is no such limit: `u64::MAX`.
///
/// # Errors
/// As the operating system says; the limit is then what it was.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    imp::raise_descriptor_limit()
}

/// The name this machine gives itself, as `hostname` prints it.
pub fn hostname() -> Option<String> {
    imp::hostname().filter(|name| !name.is_empty())
}

#[cfg(unix)]
mod imp {
    use std::ffi::CStr;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::{io, ptr};

    pub(super) fn own_addresses() -> io::Result<Vec<IpAddr>> {
        let mut list: *mut libc::ifaddrs = ptr::null_mut();
        // SAFETY: on success `list` is set to a list that freeifaddrs takes back.
        if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut addresses = Vec::new();
        let mut entry = list;
        while !entry.is_null() {
            // SAFETY: `entry` is a non-null node of the list, which is not freed yet; its address
            // is null or points to a socket address of its family.
            unsafe {
                addresses.extend(read_address((*entry).ifa_addr));
                entry = (*entry).ifa_next;
            }
        }
        // SAFETY: `list` came from getifaddrs and is not used after.
        unsafe { libc::freeifaddrs(list) };
        Ok(addresses)
    }

    /// # Safety
    /// `address` is null or points to a whole socket address of the family it names.
    unsafe fn read_address(address: *const libc::sockaddr) -> Option<IpAddr> {
        if address.is_null() {
            return None;
        }
        // SAFETY: not null, so by the contract above it is whole for its family.
        unsafe {
            match i32::from((*address).sa_family) {
                libc::AF_INET => {
                    let v4 = ptr::read_unaligned(address.cast::<libc::sockaddr_in>());
                    Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
                }
                libc::AF_INET6 => {
                    let v6 = ptr::read_unaligned(address.cast::<libc::sockaddr_in6>());
                    Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
                }
                _ => None,
            }
        }
    }

    pub(super) fn raise_descriptor_limit() -> io::Result<u64> {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limit` is a whole rlimit for the kernel to fill.
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // macOS says "unlimited" but takes no more than OPEN_MAX (setrlimit(2)).
        let most = if cfg!(target_os = "macos") {
            limit.rlim_max.min(10240)
        } else {
            limit.rlim_max
        };
        if limit.rlim_cur < most {
            limit.rlim_cur = most;
            // SAFETY: `limit` is a whole rlimit that the kernel reads.
            if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        #[allow(clippy::unnecessary_cast, reason = "rlim_t is signed on FreeBSD")]
        Ok(limit.rlim_cur as u64)
    }

    pub(super) fn hostname() -> Option<String> {
        let mut buffer = [0_u8; 256];
        // SAFETY: the last byte is kept for a terminator that gethostname may leave out.
        let result = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
        if result != 0 {
            return None;
        }
        CStr::from_bytes_until_nul(&buffer)
            .ok()?
            .to_str()
            .ok()
            .map(str::to_owned)
    }
}

#[cfg(windows)]
use crate::windows::machine as imp;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_own_address() {
        let addresses = own_addresses().expect("interfaces");
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
    }

    #[test]
    fn the_descriptor_limit_is_at_its_highest_afterwards() {
        let first = raise_descriptor_limit().expect("a limit");
        assert!(first >= 64);
        assert_eq!(raise_descriptor_limit().expect("a limit"), first);
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(hostname().is_some_and(|name| !name.contains('\0')));
    }
}
