//! Platforms with a kernel that this crate cannot ask: it finds no owner, so the proxy refuses to
//! start with `--allowed-user` here. FreeBSD could answer by `sysctl net.inet.tcp.pcblist` and
//! its `xsocket.so_uid`; that is not written because there is no machine to try it on.

use crate::{AsConnection, LookupError, Presence, UserId};

pub(crate) struct Lookup;

impl Lookup {
    pub(crate) fn open() -> Result<Lookup, LookupError> {
        Err(LookupError::Unsupported)
    }

    pub(crate) fn owner(&mut self, _: &impl AsConnection) -> Result<UserId, LookupError> {
        Err(LookupError::Unsupported)
    }

    pub(crate) fn presence(&mut self, _: &impl AsConnection) -> Presence {
        Presence::Unknown
    }
}
