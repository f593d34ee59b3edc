//! Where signatures may go: the deployment, and of the other hosts those that the operator lists.
//!
//! It judges names and addresses. A name says nothing of where it leads, so the addresses that a name
//! resolves to are judged by the one that connects ([`crate::exchange::upstream`]), by
//! [`is_kept_off`]. What it is not: it resolves nothing, and knows no port and no path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use thiserror::Error;

use crate::decision::route::{Origin, RootUrl, is_host_name};

/// Addresses of the machine itself, and those that are good on one link alone: clouds tell a machine
/// its credentials there.
const KEPT_OFF_V4: [Ipv4Net; 6] = [
    // This host (RFC 1122 3.2.1.3): a connection to 0.0.0.0 arrives at loopback.
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    // RFC 3927
    v4([169, 254, 0, 0], 16),
    // Addresses of the same kind beside 169.254.169.254: Alibaba's, Azure's, Oracle's.
    v4([100, 100, 100, 200], 32),
    v4([168, 63, 129, 16], 32),
    v4([192, 0, 0, 192], 32),
];
const KEPT_OFF_V6: [Ipv6Net; 4] = [
    // `::` and `::1`
    v6(Ipv6Addr::UNSPECIFIED, 127),
    // RFC 4291 2.5.6
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    // Amazon's and Google's
    v6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128),
    v6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

/// Networks of IPv6 that hold an IPv4 address, and the bit that it begins at.
const HOLDS_V4: [(Ipv6Net, u32); 6] = [
    // RFC 4291 2.5.5.1 and 2.5.5.2: compatible, mapped
    (v6(Ipv6Addr::UNSPECIFIED, 96), 96),
    (v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), 96),
    // RFC 2765: translated
    (v6(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), 96),
    // RFC 6052 and RFC 8215: NAT64
    (v6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96), 96),
    (v6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48), 96),
    // RFC 3056: 6to4
    (v6(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), 16),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(address: Ipv6Addr, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(address, prefix)
}

/// The hosts that signatures may go to.
#[derive(Debug, Clone)]
pub struct Destinations {
    /// It is always served, at any address and without being listed.
    root: Origin,
    /// `None`: any name.
    names: Option<Names>,
}

#[derive(Debug, Clone, Default)]
struct Names {
    /// `*`
    any: bool,
    /// In lower case; these may lead to the machine itself.
    exact: Vec<Box<str>>,
    /// `.example.com` of `*.example.com`.
    below: Vec<Box<str>>,
}

/// A list of hosts that is not valid.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DestinationError {
    /// Not a name, an address, a wildcard or a word.
    #[error(
        "--upstream-host \"{0}\" is not a host: give a name or an IPv4 address without scheme, port \
         and path, *.example.com for all names below it, * for any name, or none"
    )]
    NotHost(String),
    /// `none` beside a name.
    #[error("--upstream-host none stands beside another one: leave none out, or the others")]
    NoneAndSome,
}

/// A host that is not on the list.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error(
    "{host} is not a host that this proxy signs for; start the proxy with --upstream-host NAME to add it"
)]
pub struct NotListed {
    /// As errors name it.
    host: Box<str>,
}

// === impl Destinations ===

impl Destinations {
    /// `listed` are the values of `--upstream-host`; without one any name is served.
    ///
    /// # Errors
    /// As [`DestinationError`] says.
    pub fn new(root: &RootUrl, listed: &[String]) -> Result<Self, DestinationError> {
        let mut names = Names::default();
        for name in listed {
            if name == "none" && listed.len() > 1 {
                return Err(DestinationError::NoneAndSome);
            }
            names.add(name)?;
        }
        Ok(Self {
            root: root.origin().clone(),
            names: (!listed.is_empty()).then_some(names),
        })
    }

    /// Whether a request for `origin` is signed, as far as its name tells.
    ///
    /// # Errors
    /// [`NotListed`] otherwise.
    pub fn check(&self, origin: &Origin) -> Result<(), NotListed> {
        let Some(names) = &self.names else {
            return Ok(());
        };
        if *origin == self.root || names.hold(origin.host()) {
            return Ok(());
        }
        let host = origin.host().into();
        Err(NotListed { host })
    }

    /// Whether `origin` may lead to addresses that are kept off: the operator has named it.
    pub fn may_lead_anywhere(&self, origin: &Origin) -> bool {
        let names = self.names.as_ref();
        *origin == self.root || names.is_some_and(|names| names.name(origin.host()))
    }
}

impl Names {
    fn add(&mut self, name: &str) -> Result<(), DestinationError> {
        let not_host = || DestinationError::NotHost(name.to_owned());
        let lower = name.to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            _ if name == "none" => {}
            _ if name == "*" => self.any = true,
            Some(below) if is_host_name(below) => self.below.push([".", below].concat().into()),
            // A request can only name a host with a dot; `none` and the like are slips.
            None if is_host_name(&lower) && lower.contains('.') => {
                self.exact.push(lower.into_boxed_str());
            }
            _ => return Err(not_host()),
        }
        Ok(())
    }

    fn hold(&self, host: &str) -> bool {
        let mut below = self.below.iter();
        self.any || self.name(host) || below.any(|end| host.ends_with(&**end))
    }

    fn name(&self, host: &str) -> bool {
        self.exact.iter().any(|name| **name == *host)
    }
}

// === Addresses ===

/// Whether the host of `origin` is kept off by its address or its name, with any resolver.
pub fn is_kept_off_by_name(origin: &Origin, is_own: impl Fn(IpAddr) -> bool) -> bool {
    if let Some(address) = origin.ip() {
        return is_kept_off(address, is_own);
    }
    let host = origin.host();
    let last = host.rsplit('.').next().unwrap_or_default();
    // RFC 6761 6.3, and what resolvers take for an IPv4 address: 127.1, 0x7f.1.
    last == "localhost" || last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether requests to `address` are signed only if the operator has named the host. So it is for
/// addresses of this machine (`is_own` knows those of its interfaces), and for those that are good
/// on one link alone.
pub fn is_kept_off(address: IpAddr, is_own: impl Fn(IpAddr) -> bool) -> bool {
    let held = match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => held_v4(address),
    };
    let v6 = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => KEPT_OFF_V6.iter().any(|network| network.contains(&address)),
    };
    let v4 = |address| KEPT_OFF_V4.iter().any(|network| network.contains(&address));
    v6 || is_own(address) || held.is_some_and(|address| v4(address) || is_own(address.into()))
}

/// The IPv4 address that `address` stands for.
fn held_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let mut networks = HOLDS_V4.iter();
    let (_, from) = networks.find(|(network, _)| network.contains(&address))?;
    let shifted = (address.to_bits() << from) >> 96;
    u32::try_from(shifted).ok().map(Ipv4Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::route::split_url;

    fn origin(url: &str) -> Origin {
        split_url(url).expect("a URL").0
    }

    fn destinations(listed: &[&str]) -> Result<Destinations, DestinationError> {
        let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
        Destinations::new(&RootUrl::parse("http://127.0.0.1:8080").unwrap(), &listed)
    }

    /// What is served, whether it may lead anywhere, and what is refused.
    type Case = (
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
    );

    const LISTS: [Case; 6] = [
        (&[], &["a.example.com", "127.0.0.1", "10.0.0.1"], &[], &[]),
        (
            &["none"],
            &[],
            &[],
            &["a.example.com", "10.0.0.1", "none.example.com"],
        ),
        (
            &["A.Example.com"],
            &["a.example.com"],
            &["a.example.com"],
            &[
                "example.com",
                "b.a.example.com",
                "xa.example.com",
                "a.example.com.evil.net",
            ],
        ),
        (
            &["*.Example.com", "10.0.0.1"],
            &["a.example.com", "b.a.example.com", "10.0.0.1"],
            &["10.0.0.1"],
            &[
                "example.com",
                "aexample.com",
                "x.example.com.evil.net",
                "10.0.0.2",
            ],
        ),
        (
            &["*", "127.0.0.1"],
            &["a.example.com", "127.0.0.1", "127.0.0.2"],
            &["127.0.0.1"],
            &[],
        ),
        (
            &["*.com"],
            &["example.com"],
            &[],
            &["example.org", "127.0.0.1"],
        ),
    ];

    #[test]
    fn a_list_serves_what_it_names_beside_the_root_url() {
        for (listed, served, anywhere, refused) in LISTS {
            let destinations = destinations(listed).expect("a list");
            let root = origin("http://127.0.0.1:8080");
            assert_eq!(destinations.check(&root), Ok(()), "{listed:?}");
            assert!(destinations.may_lead_anywhere(&root), "{listed:?}");
            for host in served {
                let origin = origin(&format!("https://{host}"));
                assert_eq!(destinations.check(&origin), Ok(()), "{listed:?} {host}");
                let anywhere = anywhere.contains(host);
                assert_eq!(
                    destinations.may_lead_anywhere(&origin),
                    anywhere,
                    "{listed:?} {host}"
                );
            }
            for host in refused {
                let origin = origin(&format!("https://{host}"));
                let refusal = destinations.check(&origin).unwrap_err().to_string();
                assert!(refusal.starts_with(host), "{listed:?} {refusal}");
                assert!(
                    !destinations.may_lead_anywhere(&origin),
                    "{listed:?} {host}"
                );
            }
        }
    }

    #[test]
    fn a_slip_is_no_list() {
        for slip in [
            "",
            " ",
            "None",
            "NONE",
            "non",
            "any",
            "localhost",
            "example",
            "a.example.com ",
            "a.example.com.",
            "https://a.example.com",
            "a.example.com:443",
            "a.example.com/",
            "*example.com",
            "*.",
            "*.*.com",
            "a.*.com",
            "**",
            ".example.com",
            "a,b.example.com",
            "[::1]",
            "::1",
            "a_b.example.com",
            "10.0.0.0/8",
        ] {
            let error = DestinationError::NotHost(slip.to_owned());
            assert_eq!(destinations(&[slip]).err(), Some(error.clone()), "{slip}");
            assert_eq!(
                destinations(&["a.example.com", slip]).err(),
                Some(error),
                "{slip}"
            );
        }
        for both in [
            ["none", "a.example.com"],
            ["a.example.com", "none"],
            ["none", "none"],
        ] {
            assert_eq!(
                destinations(&both).err(),
                Some(DestinationError::NoneAndSome)
            );
        }
    }

    #[test]
    fn addresses_of_the_machine_and_of_a_link_are_kept_off() {
        let own: Vec<IpAddr> = ["10.1.2.3", "2001:db8::7"]
            .map(|text| text.parse().unwrap())
            .into();
        let is_own = |address: IpAddr| own.contains(&address);
        for address in [
            "127.0.0.1",
            "127.255.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "10.1.2.3",
            "::",
            "::1",
            "fe80::1",
            "febf:ffff::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "2001:db8::7",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.1.2.3",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a01:203",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1:2:3:4:127.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_kept_off(address.parse().unwrap(), is_own), "{address}");
        }
        for address in [
            "1.0.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "10.1.2.4",
            "172.16.0.1",
            "192.168.1.1",
            "100.100.100.201",
            "192.0.0.193",
            "8.8.8.8",
            "fd00::1",
            "fd00:ec2::253",
            "fec0::1",
            "fe7f::1",
            "2001:db8::8",
            "::ffff:10.1.2.4",
            "64:ff9b::8.8.8.8",
            "64:ff9c::127.0.0.1",
            "2003:7f00:1::",
        ] {
            assert!(!is_kept_off(address.parse().unwrap(), is_own), "{address}");
        }
    }

    #[test]
    fn names_that_stand_for_an_address_are_kept_off() {
        for (host, kept) in [
            ("127.0.0.1", true),
            ("127.1", true),
            ("127.0.1", true),
            ("0x7f.1", true),
            ("0177.0.0.1", true),
            ("1.0x1", true),
            ("tc.localhost", true),
            ("1.2.3.4.5", true),
            ("[::1]", true),
            ("10.0.0.1", false),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("a.x0", false),
        ] {
            let origin = origin(&format!("https://{host}"));
            assert_eq!(is_kept_off_by_name(&origin, |_| false), kept, "{host}");
        }
    }
}
