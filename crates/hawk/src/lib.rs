//! Hawk as Taskcluster uses it: MACs, `Authorization` headers, bewits, temporary credentials,
//! and the verification of all of them.
//!
//! What it is for: signing requests at a microsecond each ([`Signer`]), and checking them by the
//! rules of Taskcluster's auth service ([`Claim`], [`verify_header`], [`verify_bewit`]).
//!
//! What it is not: a client or a server. It does no I/O, has no clock (every time is passed in),
//! decides no scope questions and keeps no nonces. Only SHA-256 is supported, as in Taskcluster.
//!
//! ```
//! use taskcluster_proxy_hawk::{Credentials, NonceSource, Resource, Signer};
//!
//! let credentials = Credentials::new("project/builder", "no-secret", None)?;
//! let signer = Signer::new(&credentials, None);
//! let resource = Resource::parse("https://tc.example.com/api/queue/v1/ping?x=1")?;
//! let request = resource.request("GET")?;
//! let mut header = Vec::new();
//! let nonce = NonceSource::new().next();
//! signer.write_authorization(&mut header, &request, 1_700_000_000, &nonce);
//! assert!(header.starts_with(b"Hawk id=\"project/builder\", ts=\"1700000000\", nonce=\""));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Units: `ts` and the expiry of a bewit are seconds since the epoch, as Hawk has them; the times
//! of certificates and `now` are milliseconds since the epoch, as Taskcluster has them.

#![forbid(unsafe_code)]

mod bewit;
mod certificate;
mod challenge;
mod character;
mod credentials;
mod ext;
mod header;
mod mac;
mod nonce;
mod resource;
mod signer;
mod temporary;
mod verify;

pub use bewit::BewitError;
pub use certificate::{Certificate, CertificateError, MAX_CERTIFICATE_LIFETIME, Temporary};
pub use challenge::challenge;
pub use credentials::{Credentials, CredentialsError};
pub use ext::ExtError;
pub use header::{HeaderError, MAX_HEADER_LEN};
pub use mac::payload_hash;
pub use nonce::{Nonce, NonceSource};
pub use resource::{Resource, ResourceError, SignedRequest};
pub use signer::Signer;
pub use temporary::{
    TemporaryCredentialsError, TemporaryCredentialsOptions, create_temporary_credentials,
};
pub use verify::{
    Claim, DEFAULT_TIMESTAMP_SKEW, Verification, Verified, VerifyError, verify_bewit, verify_header,
};
