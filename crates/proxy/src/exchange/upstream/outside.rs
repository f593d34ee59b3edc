//! Names resolved for the hosts of `/<host.name>/...`: what they resolve to without the addresses that
//! are kept off ([`crate::decision::destination`]).
//!
//! The proxy connects to the addresses that result, so a name that resolves to another address the
//! next time gains nothing. What this is not: it has no rule of its own, and does not see the addresses
//! that an outgoing proxy resolves.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use thiserror::Error;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::decision::destination::{Destinations, is_kept_off, is_kept_off_by_name};
use crate::decision::route::Origin;
use crate::own_addresses::OwnAddresses;

/// The rules for connections to hosts that the client has named; the same for all threads.
#[derive(Debug)]
pub struct Outside {
    destinations: Destinations,
    own: OwnAddresses,
}

/// All addresses of the name are kept off.
#[derive(Debug, Error)]
#[error("it is kept off")]
pub(super) struct KeptOff;

impl Outside {
    /// The rules by `destinations`: the hosts that it lists may be anywhere.
    pub fn new(destinations: Destinations) -> Arc<Self> {
        let own = OwnAddresses::default();
        Arc::new(Self { destinations, own })
    }

    /// Whether `origin` may only be reached where nothing is kept off.
    pub(super) fn guards(&self, origin: &Origin) -> bool {
        !self.destinations.may_lead_anywhere(origin)
    }

    /// Whether the name of `origin` alone says that it is kept off.
    pub(super) fn names_kept_off(&self, origin: &Origin) -> bool {
        is_kept_off_by_name(origin, |address| self.own.contain(address))
    }

    /// Whether a connection leads to this machine after all: the system may serve networks that
    /// none of its interfaces shows. Then both ends have one address.
    pub(super) fn came_home(tcp: &TcpStream) -> bool {
        match (tcp.local_addr(), tcp.peer_addr()) {
            (Ok(local), Ok(peer)) => local.ip() == peer.ip(),
            // The peer has gone already; using the connection fails.
            _ => false,
        }
    }
}

/// Resolves by the system, and leaves out the addresses that are kept off.
#[derive(Clone)]
pub(super) struct OutsideResolver {
    system: GaiResolver,
    outside: Option<Arc<Outside>>,
}

impl OutsideResolver {
    pub(super) fn new(outside: Option<Arc<Outside>>) -> Self {
        let system = GaiResolver::new();
        Self { system, outside }
    }
}

impl Service<Name> for OutsideResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.system.call(name);
        let outside = self.outside.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolving.await?.collect();
            let Some(outside) = outside else {
                return Ok(found.into_iter());
            };
            let own = |address| outside.own.contain(address);
            let mut kept = found.clone();
            kept.retain(|address| !is_kept_off(address.ip(), own));
            if kept.is_empty() && !found.is_empty() {
                return Err(io::Error::other(KeptOff));
            }
            Ok(kept.into_iter())
        })
    }
}
