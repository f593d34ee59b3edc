//! Which servers are trusted as an upstream: those with a certificate by a trusted authority, and
//! those with a certificate that is itself among the trusted ones.
//!
//! `webpki` judges the first. It refuses the second if the certificate has the form of an
//! authority's, as from `openssl req -x509`, or if its issuer is not trusted as well. Go, curl and
//! Node accept it, and so does this file: the operator has named the server's certificate, to the
//! byte. Its name, its validity and its purpose are still checked.
//!
//! What this is not: it reads no files. That is [`super::tls`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

/// How many of a certificate's names an error shows.
const SHOWN_NAMES: usize = 5;

/// Certificates that are trusted.
#[derive(Clone)]
pub struct Trusted {
    authorities: RootCertStore,
    servers: Vec<OwnCertificate>,
}

/// Judges the certificates of upstreams.
pub struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    servers: Box<[OwnCertificate]>,
}

/// A trusted certificate that names a server: it may be that server's own.
#[derive(Clone)]
struct OwnCertificate {
    der: CertificateDer<'static>,
    not_before: UnixTime,
    not_after: UnixTime,
    is_for_servers: bool,
}

// === impl Trusted ===

impl Trusted {
    /// None.
    pub fn none() -> Self {
        Self {
            authorities: RootCertStore::empty(),
            servers: Vec::new(),
        }
    }

    /// Adds those that are certificates; tells how many are.
    pub fn add(&mut self, certificates: Vec<CertificateDer<'static>>) -> usize {
        let own = certificates.iter().filter_map(OwnCertificate::read);
        self.servers.extend(own);
        self.authorities.add_parsable_certificates(certificates).0
    }

    /// Adds the authorities that Mozilla trusts.
    pub fn add_mozilla_s(&mut self) {
        let authorities = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        self.authorities.extend(authorities);
    }

    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }

    /// Trusts these and no others; `None` where there are none.
    pub fn verifier(self, provider: Arc<CryptoProvider>) -> Option<Verifier> {
        let authorities = Arc::new(self.authorities);
        let webpki = WebPkiServerVerifier::builder_with_provider(authorities, provider).build();
        Some(Verifier {
            webpki: webpki.ok()?,
            servers: self.servers.into(),
        })
    }
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trusted")
            .field("authorities", &self.authorities.len())
            .field("servers", &self.servers.len())
            .finish()
    }
}

// === impl Verifier ===

impl Verifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(own) = self.servers.iter().find(|own| own.der == *end_entity) else {
            return self.webpki.verify_server_cert(
                end_entity,
                intermediates,
                name,
                ocsp_response,
                now,
            );
        };
        own.check(now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verify(end_entity, intermediates, name, ocsp_response, now);
        verified.map_err(|error| match error {
            // `webpki` shows names as Rust writes its values.
            Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected,
                ..
            }) => CertificateError::NotValidForNameContext {
                expected,
                presented: shown_names(end_entity),
            }
            .into(),
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("servers", &self.servers.len())
            .finish_non_exhaustive()
    }
}

// === impl OwnCertificate ===

impl OwnCertificate {
    /// `None` for one that names no server, as most authorities' do.
    fn read(der: &CertificateDer<'static>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        certificate.get_extension::<SubjectAltName>().ok()??;
        let is_for_servers = match certificate.get_extension::<ExtendedKeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, usage))) => [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE]
                .iter()
                .any(|purpose| usage.0.contains(purpose)),
            Err(_) => false,
        };
        let validity = certificate.validity();
        let time =
            |time: x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
        Some(Self {
            der: der.clone(),
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
            is_for_servers,
        })
    }

    fn check(&self, now: UnixTime) -> Result<(), CertificateError> {
        if now < self.not_before {
            return Err(CertificateError::NotValidYetContext {
                time: now,
                not_before: self.not_before,
            });
        }
        if now > self.not_after {
            return Err(CertificateError::ExpiredContext {
                time: now,
                not_after: self.not_after,
            });
        }
        if self.is_for_servers {
            Ok(())
        } else {
            Err(CertificateError::InvalidPurpose)
        }
    }
}

/// The hosts that a certificate is for, as they can stand in a sentence.
fn shown_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let names = || {
        let certificate = Certificate::from_der(certificate).ok()?;
        let names = certificate
            .tbs_certificate()
            .get_extension::<SubjectAltName>();
        Some(names.ok()??.1.0)
    };
    let is_shown = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
    names()
        .into_iter()
        .flatten()
        .filter_map(shown_name)
        .filter(is_shown)
        .take(SHOWN_NAMES)
        .collect()
}

fn shown_name(name: GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(ip) => {
            let ip = ip.as_bytes();
            let v4 = || <[u8; 4]>::try_from(ip).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(ip).map(IpAddr::from);
            Some(v4().or_else(|_| v6()).ok()?.to_string())
        }
        _ => None,
    }
}
