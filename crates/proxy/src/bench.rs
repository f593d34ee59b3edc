//! The steps of a request's way that wait for nothing, each to be called alone: for the
//! micro-benchmarks and for the tests that count allocations. What this is not: part of the API.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Uri, Version};
use taskcluster_proxy_hawk::Credentials;

use crate::StartError;
use crate::decision::browser::{BrowserGuard, HostRule};
use crate::decision::route::{RootUrl, route};
use crate::message::headers;
use crate::message::target::request_target;
use crate::signing::credentials::{Build, CredentialSet};
use crate::signing::sign::Signing;

/// What the steps of one thread have between requests.
pub struct Steps {
    root: RootUrl,
    guard: BrowserGuard,
    set: CredentialSet,
    signing: RefCell<Signing>,
}

impl Steps {
    /// For the deployment at `root_url`.
    ///
    /// # Errors
    /// As [`StartError::Options`] says of a root URL.
    pub fn new(root_url: &str, credentials: &Credentials) -> Result<Self, StartError> {
        let root = RootUrl::parse(root_url).map_err(StartError::invalid)?;
        let build = Build {
            version: HeaderValue::from_static("1.0.0"),
            revision: HeaderValue::from_static("0123456789abcdef0123456789abcdef01234567"),
        };
        Ok(Self {
            root,
            guard: BrowserGuard {
                allow_cross_site: false,
                hosts: HostRule::default(),
            },
            set: CredentialSet::new(credentials, None, build, Arc::default()),
            signing: RefCell::new(Signing::new()),
        })
    }

    /// Whether a request's head shows no page that must not spend the credentials.
    pub fn judge(&self, headers: &HeaderMap) -> bool {
        self.guard.check(headers, None, Version::HTTP_11).is_ok()
    }

    /// Finds out where a request goes.
    pub fn route(&self, uri: &Uri) {
        if let Ok(target) = request_target(uri) {
            black_box(route(&target, &self.root));
        }
    }

    /// Strips a request on its way to upstream.
    pub fn strip_request(&self, headers: &mut HeaderMap) {
        black_box(headers::upgrade_protocol(headers));
        headers::strip_request(headers);
        headers::join_cookies(headers);
    }

    /// The `Authorization` of a GET request for `target` of the deployment.
    pub fn sign(&self, target: &str) -> HeaderValue {
        let mut signing = self.signing.borrow_mut();
        signing.authorization(&self.set, "GET", self.root.origin(), target)
    }

    /// Strips an answer on its way to the client, and names the credential set in it.
    pub fn strip_response(&self, headers: &mut HeaderMap) {
        headers::strip_response(headers);
        self.set.name_in(headers, None);
    }
}
