//! Which outgoing proxy an origin is reached by, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.

/// The proxies that the environment names.
#[derive(Debug, Default, Clone)]
pub struct Proxies {}

/// Why the environment's proxies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProxiesError {}

impl Proxies {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Self, ProxiesError> {
        Ok(Self {})
    }
}
