//! Which clients are served: the other end of a connection must belong to the allowed user or root.
//!
//! `taskcluster-proxy-peer` asks the kernel for the owner; this file has the policy. A look-up that
//! fails, or finds no owner, is a refusal. What it is not: it reads nothing from a connection. The
//! guards against a browser's pages, which need the head, are in [`crate::decision::browser`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use taskcluster_proxy_peer::{
    AsConnection, Lookup, LookupError, UserError, UserId, is_root, own_user, processes_of, user_id,
};

use crate::decision::rights::Rights;
use crate::own_addresses::OwnAddresses;

/// Why the rules cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The user is not known, or stands for all unmapped users.
    #[error("--allowed-user: {0}")]
    User(#[from] UserError),
    /// The platform cannot look a peer up.
    #[error("--allowed-user: {0}")]
    Lookup(#[from] LookupError),
    /// Not a network.
    #[error("invalid --allowed-network CIDR \"{0}\": write it as 172.17.0.0/16")]
    NotNetwork(String),
    /// The network holds all addresses.
    #[error("--allowed-network CIDR \"{0}\" is too broad: it allows all addresses")]
    TooBroad(String),
    /// This machine's own clients, which `--allowed-user` checks.
    #[error(
        "--allowed-network CIDR \"{0}\" overlaps loopback, where --allowed-user checks the \
         clients: leave loopback out"
    )]
    Loopback(String),
    /// A network alone.
    #[error("--allowed-network needs --allowed-user beside it")]
    NetworkAlone,
}

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its other end belongs to a user who is not served.
    #[error("it belongs to {0}")]
    Stranger(UserId),
    /// The look-up named no user.
    #[error("{0}")]
    Unnamed(#[from] LookupError),
    /// As many connections are open as there may be.
    #[error("too many connections are open")]
    NoPlace,
    /// The system refused a resource that serving the connection needs.
    #[error("{0}")]
    Os(std::io::Error),
}

impl Refused {
    /// Whether the client had left before its owner was known.
    pub fn has_left(&self) -> bool {
        matches!(
            self,
            Self::Unnamed(LookupError::NotAlive(_) | LookupError::Replaced)
        )
    }
}

/// The other end of a connection: its user, or its address where no user is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    User(UserId),
    Address(IpAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The rules as the options give them.
#[derive(Debug, Clone)]
pub struct Rules {
    allowed: UserId,
    networks: Vec<IpNet>,
}

impl Rules {
    /// Reads the options; `None` where no user is checked.
    ///
    /// # Errors
    /// As [`AdmitError`] says.
    pub fn new(user: Option<&str>, networks: &[String]) -> Result<Option<Self>, AdmitError> {
        let networks: Vec<IpNet> = networks
            .iter()
            .map(|text| parse_network(text))
            .collect::<Result<_, _>>()?;
        match user {
            None if networks.is_empty() => Ok(None),
            None => Err(AdmitError::NetworkAlone),
            Some(user) => Ok(Some(Self {
                allowed: user_id(user)?,
                networks,
            })),
        }
    }
}

impl Rules {
    /// A warning that names the processes that run as the allowed user before the proxy listens, and
    /// so before its task: they are served like the task. There is no warning for root, which is
    /// always served.
    pub fn already_running(&self) -> Option<String> {
        if is_root(&self.allowed) {
            return None;
        }
        let ids = processes_of(&self.allowed);
        (!ids.is_empty()).then(|| warn_of(&self.allowed, &ids))
    }
}

/// Names the processes; of many, only some.
#[cfg_attr(
    unix,
    expect(clippy::trivially_copy_pass_by_ref, reason = "it is long on Windows")
)]
fn warn_of(user: &UserId, ids: &[u32]) -> String {
    const NAMED: usize = 20;
    let named = ids.iter().take(NAMED).map(u32::to_string);
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match ids.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "Processes of the allowed user ({user}) run already and are served as the task is: \
         {named}{more}; end those that an earlier task has left behind"
    )
}

fn parse_network(text: &str) -> Result<IpNet, AdmitError> {
    let network: IpNet = text
        .parse()
        .map_err(|_| AdmitError::NotNetwork(text.to_owned()))?;
    let network = unmapped(network.trunc());
    if network.prefix_len() == 0 {
        return Err(AdmitError::TooBroad(text.to_owned()));
    }
    let loopback4 = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
    let loopback6 = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));
    let overlaps = |other: &IpNet| network.contains(other) || other.contains(&network);
    if overlaps(&loopback4) || overlaps(&loopback6) {
        return Err(AdmitError::Loopback(text.to_owned()));
    }
    // Every IPv4 address has a mapped one in it.
    let mapped = IpNet::V6(Ipv6Net::new_assert(
        Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(),
        96,
    ));
    if network.contains(&mapped) {
        return Err(AdmitError::TooBroad(text.to_owned()));
    }
    Ok(network)
}

/// An IPv4-mapped network as the IPv4 network that it means (RFC 4291 2.5.5.2).
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    match (
        v6.network().to_ipv4_mapped(),
        v6.prefix_len().checked_sub(96),
    ) {
        (Some(address), Some(prefix)) => IpNet::V4(Ipv4Net::new_assert(address, prefix)),
        _ => network,
    }
}

/// Judges the connections of one thread.
pub struct Admission {
    rules: Rules,
    own: UserId,
    lookup: Lookup,
    own_addresses: OwnAddresses,
}

impl Admission {
    /// # Errors
    /// Where this platform cannot look a peer up.
    pub fn open(rules: Rules) -> Result<Self, AdmitError> {
        Ok(Self {
            rules,
            own: own_user(),
            lookup: Lookup::open()?,
            own_addresses: OwnAddresses::default(),
        })
    }

    /// What the other end of `accepted` may do, and who it is; an error is a refusal.
    ///
    /// # Errors
    /// One sentence for the log.
    pub fn admit(
        &mut self,
        accepted: &impl AsConnection,
        peer: SocketAddr,
    ) -> Result<(Rights, Peer), Refused> {
        match self.lookup.owner(accepted) {
            Ok(owner) => match self.rights(&owner) {
                Some(rights) => Ok((rights, Peer::User(owner))),
                None => Err(Refused::Stranger(owner)),
            },
            Err(LookupError::NotFound) if self.is_admitted_from(peer.ip().to_canonical()) => {
                let rights = Rights {
                    reserved: false,
                    proxy: true,
                    update: false,
                };
                Ok((rights, Peer::Address(peer.ip().to_canonical())))
            }
            Err(error) => Err(error.into()),
        }
    }

    #[cfg_attr(
        unix,
        expect(clippy::trivially_copy_pass_by_ref, reason = "it is long on Windows")
    )]
    fn rights(&self, owner: &UserId) -> Option<Rights> {
        let root = is_root(owner);
        let rights = Rights {
            reserved: false,
            proxy: root || *owner == self.rules.allowed,
            update: root || *owner == self.own,
        };
        (rights.proxy || rights.update).then_some(rights)
    }

    fn is_admitted_from(&self, address: IpAddr) -> bool {
        let inside = self
            .rules
            .networks
            .iter()
            .any(|network| network.contains(&address));
        // A client at an address of this machine without a visible socket is never admitted.
        inside && !self.own_addresses.contain(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_refused() {
        let read = |text| parse_network(text).map(|network| network.to_string());
        for (text, network) in [
            ("172.17.0.0/16", "172.17.0.0/16"),
            ("172.17.0.5/16", "172.17.0.0/16"),
            ("10.0.0.1/32", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("fd00::/8", "fd00::/8"),
            ("128.0.0.0/1", "128.0.0.0/1"),
            ("::ffff:128.0.0.0/97", "128.0.0.0/1"),
            ("8000::/1", "8000::/1"),
            ("::fffe:0:0/96", "::fffe:0:0/96"),
            ("fd00:17::5/64", "fd00:17::/64"),
        ] {
            assert_eq!(read(text).unwrap(), network);
        }
        for (text, error) in [
            ("0.0.0.0/0", "invalid: too broad"),
            ("1.2.3.4/0", "invalid: too broad"),
            ("::/0", "invalid: too broad"),
            ("::ffff:0.0.0.0/96", "invalid: too broad"),
            ("::ffff:1.2.3.4/96", "invalid: too broad"),
            ("0:0:0:0:0:0:0:0/0", "invalid: too broad"),
            ("fd00::/0", "invalid: too broad"),
            ("::ffff:0:0/95", "invalid: too broad"),
            ("::fffe:0:0/95", "invalid: too broad"),
            ("::8000:0:0/81", "invalid: too broad"),
            ("::/80", "overlaps loopback"),
            ("::/1", "overlaps loopback"),
            ("0.0.0.0/1", "overlaps loopback"),
            ("127.0.0.0/8", "overlaps loopback"),
            ("127.1.2.3/32", "overlaps loopback"),
            ("::1/128", "overlaps loopback"),
            ("::/64", "overlaps loopback"),
            ("::ffff:127.0.0.1/128", "overlaps loopback"),
            ("::ffff:0.0.0.0/97", "overlaps loopback"),
            ("0:0:0:0:0:ffff:7f00:0/104", "overlaps loopback"),
            ("172.17.0.0", "invalid --allowed-network CIDR"),
            ("docker0", "invalid --allowed-network CIDR"),
            ("172.17.0.0/33", "invalid --allowed-network CIDR"),
        ] {
            let sentence = parse_network(text).unwrap_err().to_string();
            let part = error.strip_prefix("invalid: ").unwrap_or(error);
            assert!(
                sentence.contains(part) && sentence.contains(text),
                "{text}: {sentence}"
            );
        }
    }

    #[test]
    fn a_warning_names_a_bounded_number_of_processes() {
        let user = user_id("4242").expect("a number");
        let sentence = |last| warn_of(&user, &(101..=last).collect::<Vec<_>>());
        let begin = "Processes of the allowed user (uid 4242) run already and are served as the \
                     task is: 101";
        let end = "; end those that an earlier task has left behind";
        assert_eq!(sentence(101), format!("{begin}{end}"));
        assert_eq!(sentence(103), format!("{begin}, 102, 103{end}"));
        let ids = (101..=120).map(|id| id.to_string()).collect::<Vec<_>>();
        let ids = ids.join(", ");
        let begin = begin.trim_end_matches("101");
        assert_eq!(sentence(120), format!("{begin}{ids}{end}"));
        assert_eq!(sentence(1120), format!("{begin}{ids} and 1000 more{end}"));
    }

    #[test]
    fn a_network_needs_a_user_beside_it() {
        assert!(Rules::new(None, &[]).unwrap().is_none());
        let error = Rules::new(None, &["10.0.0.0/8".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--allowed-network needs --allowed-user beside it"
        );
    }
}
