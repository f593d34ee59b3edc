//! The addresses of this machine's interfaces, read again when they are a second old. What this is
//! not: it judges no address.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use taskcluster_proxy_peer::own_addresses;

/// How long a list of this machine's addresses is believed.
const FRESH: Duration = Duration::from_secs(1);

/// This machine's addresses, as they were a second ago at most.
#[derive(Debug, Default)]
pub struct OwnAddresses(Mutex<Option<(Instant, Vec<IpAddr>)>>);

impl OwnAddresses {
    /// Whether `address` is among them; where they cannot be had, every one may be.
    pub fn contain(&self, address: IpAddr) -> bool {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if read.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
            let addresses = own_addresses().ok();
            *read = addresses.map(|addresses| (Instant::now(), addresses));
        }
        read.as_ref().is_none_or(|(_, own)| own.contains(&address))
    }
}
