//! TLS towards upstream: which certificates are trusted, and which protocol is spoken on top.
//!
//! The system's roots are trusted. If `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, its certificates alone
//! are trusted; if the system has none, Mozilla's are. Reading the system's roots takes longer than
//! the rest of the start, so they are read at the first request for an https origin. Named files are
//! read at start, since a path may be misspelt: the proxy warns of unusable ones then, and requests
//! that fail for them get the same sentence. The system's roots never replace named ones.
//! [`super::verifier`] judges servers by them.
//!
//! What this is not: there are no client certificates, no revocation lists, and no way to leave
//! verification out.

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
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

/// The trusted certificates for upstreams. Shared by all threads.
pub struct Roots {
    /// `None` are the system's, which are not read yet.
    given: Option<Trusted>,
    /// Why the given ones are not all that were named.
    faults: Vec<RootsError>,
    clients: OnceLock<Option<Clients>>,
}

/// The ways TLS is begun; sessions are resumed across them.
pub(super) struct Clients {
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

/// Why roots that the environment names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// It is not there, or not for us to read, or broken.
    #[error("{variable} names {path}, which cannot be read: {reason}")]
    Unreadable {
        /// `SSL_CERT_FILE` or `SSL_CERT_DIR`.
        variable: &'static str,
        /// The path it holds.
        path: String,
        /// The system's reason.
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
    /// `SSL_CERT_DIR` names no directory.
    #[error("SSL_CERT_DIR names no folder: name one, or unset it")]
    NoDirectory,
}

// === impl Roots ===

impl Roots {
    /// The roots that the process's environment names, else the system's.
    pub fn from_env() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self::from_paths(
            variable("SSL_CERT_FILE").map(PathBuf::from).as_deref(),
            &variable("SSL_CERT_DIR")
                .map(|paths| env::split_paths(&paths).collect::<Vec<_>>())
                .unwrap_or_default(),
        )
    }

    /// As [`Self::from_env`], with `SSL_CERT_FILE` and `SSL_CERT_DIR` as given.
    fn from_paths(file: Option<&Path>, directories: &[PathBuf]) -> Self {
        if file.is_none() && directories.is_empty() {
            return Self::new(None, Vec::new());
        }
        let mut roots = Trusted::none();
        let mut faults = Vec::new();
        if let Some(file) = file {
            faults.extend(add(&mut roots, "SSL_CERT_FILE", file, None).err());
        }
        let named = |path: &&PathBuf| !path.as_os_str().is_empty();
        if !directories.is_empty() && !directories.iter().any(|path| named(&path)) {
            faults.push(RootsError::NoDirectory);
        }
        for directory in directories.iter().filter(named) {
            faults.extend(add(&mut roots, "SSL_CERT_DIR", directory, Some(directory)).err());
        }
        Self::new(Some(roots), faults)
    }

    /// Why the roots that were named cannot all be used.
    pub fn faults(&self) -> &[RootsError] {
        &self.faults
    }

    /// These and no others.
    #[cfg(test)]
    pub(super) fn only(certificates: Vec<rustls::pki_types::CertificateDer<'static>>) -> Self {
        let mut roots = Trusted::none();
        roots.add(certificates);
        Self::new(Some(roots), Vec::new())
    }

    fn new(given: Option<Trusted>, faults: Vec<RootsError>) -> Self {
        Self {
            given,
            faults,
            clients: OnceLock::new(),
        }
    }

    /// Reads what is trusted, once.
    ///
    /// # Errors
    /// [`SendError::Setup`] where that is nothing: no try can help.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<&Clients, SendError> {
        if self.clients.get().is_none() {
            // Some 150 certificates are read and parsed: not on the thread that serves.
            let roots = Arc::clone(self);
            let read = tokio::task::spawn_blocking(move || _ = roots.clients());
            // Where reading failed, the next line reads again and says why.
            let _ = read.await;
        }
        self.clients().ok_or_else(|| {
            let faults = self.fault_sentences();
            SendError::Setup(faults.unwrap_or_else(|| "no certificate is trusted here".into()))
        })
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
        let clients = self.ready().await?;
        let client = if only_http1 {
            &clients.http1
        } else {
            &clients.http1_or_2
        };
        let stream = client
            .connect(name, io)
            .await
            .map_err(|error| self.handshake_error(origin, &error))?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok((stream, protocol))
    }

    /// What went wrong before TLS stood.
    fn handshake_error(&self, origin: &Origin, error: &io::Error) -> SendError {
        let host = name_of(origin);
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(rustls::Error::InvalidCertificate(error)) => {
                let reason = reasons::certificate(error);
                let reason = match (error, self.fault_sentences()) {
                    // The certificate's authority may be among the roots that could not be read.
                    (CertificateError::UnknownIssuer, Some(faults)) => {
                        format!("{reason}; {faults}").into()
                    }
                    _ => reason.into(),
                };
                SendError::Certificate { host, reason }
            }
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                SendError::NoProtocol { host }
            }
            Some(error) => SendError::Tls {
                host,
                reason: reasons::tls(error).into(),
            },
            None => io_error(host, error),
        }
    }

    fn fault_sentences(&self) -> Option<Box<str>> {
        let sentences: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        (!sentences.is_empty()).then(|| sentences.join("; ").into())
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
                // The library's sentence shows bytes of the file.
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
    // Files that cannot be read or parsed are left out; the others count.
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

    fn paths(file: Option<&str>, directories: &[&str]) -> Roots {
        let directories: Vec<_> = directories.iter().map(PathBuf::from).collect();
        Roots::from_paths(file.map(Path::new), &directories)
    }

    #[test]
    fn the_system_s_roots_are_not_read_at_start() {
        let roots = paths(None, &[]);
        assert!(roots.given.is_none() && roots.clients.get().is_none());
        assert_eq!(roots.faults(), []);
    }

    /// The warning names every unusable file, and the system's roots do not replace it.
    #[test]
    fn what_cannot_be_used_is_named_and_nothing_takes_its_place() {
        let there = env!("CARGO_MANIFEST_DIR");
        let file = format!("{there}/Cargo.toml");
        let no_file = "SSL_CERT_FILE names /nowhere/ca.pem, which cannot be read: ";
        let no_folder = "SSL_CERT_DIR names /nowhere, which cannot be read: ";
        for (roots, expected) in [
            (paths(Some("/nowhere/ca.pem"), &[]), vec![no_file]),
            (
                paths(Some(there), &[]),
                vec![&*format!(
                    "SSL_CERT_FILE names {there}, which cannot be read: "
                )],
            ),
            (paths(None, &["/nowhere"]), vec![no_folder]),
            (
                paths(Some("/nowhere/ca.pem"), &["/nowhere"]),
                vec![no_file, no_folder],
            ),
            (
                paths(Some(&file), &[]),
                vec![&*format!(
                    "SSL_CERT_FILE names {file}, which holds no certificate in PEM form"
                )],
            ),
            (
                paths(None, &["", there]),
                vec![&*format!(
                    "SSL_CERT_DIR names {there}, which holds no certificate in PEM form"
                )],
            ),
            (
                paths(None, &["", ""]),
                vec!["SSL_CERT_DIR names no folder: name one, or unset it"],
            ),
        ] {
            let sentences: Vec<_> = roots.faults().iter().map(ToString::to_string).collect();
            assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
            for (sentence, expected) in sentences.iter().zip(expected) {
                assert!(sentence.starts_with(expected), "{sentence}");
            }
            assert_eq!(
                roots.fault_sentences().as_deref(),
                Some(&*sentences.join("; "))
            );
            assert!(roots.clients().is_none());
        }
    }
}
