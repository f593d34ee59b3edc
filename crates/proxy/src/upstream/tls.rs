//! TLS towards upstream: roots, sessions and protocols.

/// Who vouches for upstream's certificates.
#[derive(Debug, Clone)]
pub struct Roots {}

/// Why the roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {}

impl Roots {
    /// The roots of the system.
    pub fn from_env() -> Result<Self, RootsError> {
        Ok(Self {})
    }
}
