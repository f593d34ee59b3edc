//! TLS towards upstream: which certificates are trusted, and which protocol is spoken on top.
//!
//! Trusted are the roots of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name (then
//! only those), or Mozilla's where the system has none. Reading them
//! takes longer than all else at start, so the system's are read when the first https origin is
//! asked for; those that the environment names are read at start, since somebody may have
//! misspelt them. What is made of them is [`super::verifier`]'s.
//!
//! What this is not: there are no client certificates, no revocation lists, and no way to leave
//! verification out.

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls_native_certs::ErrorKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::verifier::{Trusted, Verifier};
use crate::decision::route::Origin;
use crate::exchange::reasons;
use crate::exchange::send_error::{SendError, io_error, name_of};

/// Sessions that are kept for resumption, over all hosts.
const SESSIONS: usize = 256;

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Who vouches for upstream's certificates. Shared by all threads.
pub struct Roots {
    /// `None` are the system's, which are not read yet.
    given: Option<Trusted>,
    clients: OnceLock<Option<Clients>>,
}

/// The ways TLS is begun; sessions are resumed across them.
struct Clients {
    http1_or_2: TlsConnector,
    http1: TlsConnector,
}

/// What the peer has agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why the roots that the environment names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// It is not there, or not for us to read, or broken.
    #[error("{variable} names {path}, which cannot be read: {reason}")]
    Unreadable {
        /// `SSL_CERT_FILE` or `SSL_CERT_DIR`.
        variable: &'static str,
        /// The path it holds.
        path: String,
        /// The system's word.
        reason: String,
    },
    /// There is nothing in it that could be trusted.
    #[error("{variable} names {path}, which holds no certificate in PEM form")]
    Empty {
        /// `SSL_CERT_FILE` or `SSL_CERT_DIR`.
        variable: &'static str,
        /// The path it holds.
        path: String,
    },
}

// === impl Roots ===

impl Roots {
    /// What the process's environment names, else the system's.
    ///
    /// # Errors
    /// Where a variable names what cannot be read or holds no certificate.
    pub fn from_env() -> Result<Self, RootsError> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self::from_paths(
            variable("SSL_CERT_FILE").map(PathBuf::from).as_deref(),
            &variable("SSL_CERT_DIR")
                .map(|paths| env::split_paths(&paths).collect::<Vec<_>>())
                .unwrap_or_default(),
        )
    }

    /// As [`Self::from_env`], with `SSL_CERT_FILE` and `SSL_CERT_DIR` as given.
    fn from_paths(file: Option<&Path>, directories: &[PathBuf]) -> Result<Self, RootsError> {
        if file.is_none() && directories.is_empty() {
            return Ok(Self::new(None));
        }
        let mut roots = Trusted::none();
        if let Some(file) = file {
            add(&mut roots, "SSL_CERT_FILE", file, None)?;
        }
        for directory in directories
            .iter()
            .filter(|path| !path.as_os_str().is_empty())
        {
            add(&mut roots, "SSL_CERT_DIR", directory, Some(directory))?;
        }
        Ok(Self::new(Some(roots)))
    }

    /// These and no others.
    #[cfg(test)]
    pub(super) fn only(certificates: Vec<rustls::pki_types::CertificateDer<'static>>) -> Self {
        let mut roots = Trusted::none();
        roots.add(certificates);
        Self::new(Some(roots))
    }

    fn new(given: Option<Trusted>) -> Self {
        Self {
            given,
            clients: OnceLock::new(),
        }
    }

    /// Begins TLS with `origin` over `io`; HTTP/2 is offered unless `only_http1`.
    pub(super) async fn handshake<IO>(
        self: &Arc<Self>,
        origin: &Origin,
        io: IO,
        only_http1: bool,
    ) -> Result<(TlsStream<IO>, Protocol), SendError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(origin)?;
        if self.clients.get().is_none() {
            // Some 150 certificates are read and parsed: not on the thread that serves.
            let roots = Arc::clone(self);
            let read = tokio::task::spawn_blocking(move || _ = roots.clients());
            // Where it failed, it is done below.
            let _ = read.await;
        }
        let clients = self.clients().ok_or_else(|| SendError::Certificate {
            host: name_of(origin),
            reason: "no certificate is trusted here".into(),
        })?;
        let client = if only_http1 {
            &clients.http1
        } else {
            &clients.http1_or_2
        };
        let stream = client
            .connect(name, io)
            .await
            .map_err(|error| handshake_error(origin, &error))?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok((stream, protocol))
    }

    /// `None` where no certificate is trusted.
    fn clients(&self) -> Option<&Clients> {
        let make = || {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let trusted = self.given.clone().unwrap_or_else(system_roots);
            let verifier = trusted.verifier(Arc::clone(&provider))?;
            Some(Clients::new(verifier, provider))
        };
        self.clients.get_or_init(make).as_ref()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots")
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

/// Adds the certificates of `path`, which is the directory `directory` or else a file.
fn add(
    roots: &mut Trusted,
    variable: &'static str,
    path: &Path,
    directory: Option<&Path>,
) -> Result<(), RootsError> {
    let file = directory.is_none().then_some(path);
    let found = rustls_native_certs::load_certs_from_paths(file, directory);
    let added = roots.add(found.certs);
    let path = path.display().to_string();
    match found.errors.first() {
        // A directory may hold other things besides certificates.
        Some(error) if added == 0 || directory.is_none() => {
            let reason = match &error.kind {
                ErrorKind::Io { inner, .. } => inner.to_string(),
                ErrorKind::Os(error) => error.to_string(),
                // Its own words show bytes.
                _ => "it is not well-formed PEM".to_owned(),
            };
            Err(RootsError::Unreadable {
                variable,
                path,
                reason,
            })
        }
        _ if added == 0 => Err(RootsError::Empty { variable, path }),
        _ => Ok(()),
    }
}

fn system_roots() -> Trusted {
    let mut roots = Trusted::none();
    // What cannot be read or parsed vouches for nobody; the others still do.
    roots.add(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.add_mozilla_s();
    }
    roots
}

fn server_name(origin: &Origin) -> Result<ServerName<'static>, SendError> {
    match origin.ip() {
        Some(ip) => Ok(ServerName::from(ip)),
        None => {
            ServerName::try_from(origin.host().to_owned()).map_err(|_| SendError::Certificate {
                host: name_of(origin),
                reason: "no certificate can hold this name".into(),
            })
        }
    }
}

/// What went wrong before TLS stood.
fn handshake_error(origin: &Origin, error: &io::Error) -> SendError {
    let host = name_of(origin);
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(error)) => SendError::Certificate {
            host,
            reason: reasons::certificate(error).into(),
        },
        Some(error) => SendError::Tls {
            host,
            reason: reasons::tls(error).into(),
        },
        None => io_error(host, error),
    }
}

// === impl Clients ===

impl Clients {
    fn new(verifier: Verifier, provider: Arc<CryptoProvider>) -> Self {
        let mut http1 = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for every version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        http1.resumption = Resumption::in_memory_sessions(SESSIONS);
        http1.alpn_protocols = vec![HTTP1.to_vec()];
        let mut http1_or_2 = http1.clone();
        http1_or_2.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        Self {
            http1_or_2: TlsConnector::from(Arc::new(http1_or_2)),
            http1: TlsConnector::from(Arc::new(http1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(file: Option<&str>, directories: &[&str]) -> Result<Roots, RootsError> {
        let directories: Vec<_> = directories.iter().map(PathBuf::from).collect();
        Roots::from_paths(file.map(Path::new), &directories)
    }

    #[test]
    fn the_system_s_roots_are_not_read_at_start() {
        let roots = paths(None, &[]).expect("nothing to go wrong");
        assert!(roots.given.is_none() && roots.clients.get().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let there = env!("CARGO_MANIFEST_DIR");
        let file = format!("{there}/Cargo.toml");
        for (roots, expected) in [
            (
                paths(Some("/nowhere/ca.pem"), &[]),
                "SSL_CERT_FILE names /nowhere/ca.pem, which cannot be read: ",
            ),
            (
                paths(Some(there), &[]),
                &format!("SSL_CERT_FILE names {there}, which cannot be read: "),
            ),
            (
                paths(None, &["/nowhere"]),
                "SSL_CERT_DIR names /nowhere, which cannot be read: ",
            ),
            (
                paths(Some(&file), &[]),
                &format!("SSL_CERT_FILE names {file}, which holds no certificate in PEM form"),
            ),
            (
                paths(None, &["", there]),
                &format!("SSL_CERT_DIR names {there}, which holds no certificate in PEM form"),
            ),
        ] {
            let error = roots.expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
