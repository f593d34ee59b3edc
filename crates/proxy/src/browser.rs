//! Guards against the pages of a task's own browser: a page of another origin must not spend the
//! task's credentials, nor one whose name was made to resolve to the proxy (DNS rebinding).
//!
//! It judges what a browser cannot forge: `Origin`, `Sec-Fetch-Site` and `Host`. It is no defence
//! against programs, which send what they like; those are a matter of admission. A page may still
//! cause a request that it cannot read where a browser sends none of the three, as for an image
//! over plain HTTP from a name that is not loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, Version};
use thiserror::Error;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Ends of names that public DNS does not serve: RFC 6761 (`localhost`, `test`), RFC 6762
/// (`local`), RFC 8375 (`home.arpa`), ICANN's `internal`, and the customary `lan`.
const PRIVATE_SUFFIXES: [&str; 6] = [
    ".localhost",
    ".internal",
    ".local",
    ".test",
    ".lan",
    ".home.arpa",
];

/// What a page may not do.
#[derive(Debug, Clone)]
pub struct BrowserGuard {
    /// Serve pages of other origins.
    pub allow_cross_site: bool,
    /// Names that a request may use for this proxy.
    pub hosts: HostRule,
}

/// Which host names are answered beside those that public DNS cannot serve.
#[derive(Debug, Clone, Default)]
pub struct HostRule {
    any: bool,
    /// In lower case, without a trailing dot.
    names: Vec<Box<str>>,
}

/// A `--host` that is neither a host name nor `*`.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0:?} is not a host name: give a name without scheme and port, or *")]
pub struct HostRuleError(String);

/// Why a request is refused.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum BrowserError {
    /// HTTP/1.1 and later without any authority (RFC 9112 3.2).
    #[error("the request has no Host")]
    NoHost,
    /// More than one `Host` field.
    #[error("the request has more than one Host")]
    ManyHosts,
    /// A `Host` or `:authority` that is no host with an optional port.
    #[error("the request's Host is not a host name or address with an optional port")]
    BadHost,
    /// `Origin` or `Sec-Fetch-Site` tell of a page that is not the proxy's own.
    #[error(
        "requests made by a web page of another origin are refused; \
         start the proxy with --allow-cross-site to serve them"
    )]
    CrossSite,
    /// A name that public DNS could serve.
    #[error(
        "this Host is not answered here: use an IP address or a private name, \
         or start the proxy with --host NAME"
    )]
    PublicHost,
}

impl BrowserError {
    /// 400, 403 or 421.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoHost | Self::ManyHosts | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::CrossSite => StatusCode::FORBIDDEN,
            Self::PublicHost => StatusCode::MISDIRECTED_REQUEST,
        }
    }
}

/// Host and port of an authority; the host as written, with brackets where it is an IPv6 literal.
#[derive(Debug, Clone, Copy)]
struct HostPort<'a> {
    host: &'a str,
    port: u16,
}

/// This machine's own name, where the system tells it.
pub fn machine_name() -> Option<String> {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_str()
        .ok()
        .map(str::to_owned);
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").ok();
    name.filter(|name| is_name(name))
}

// === impl BrowserGuard ===

impl BrowserGuard {
    /// Judges a request by its head. `authority` is that of an absolute-form target, or HTTP/2's
    /// `:authority`; where there is one it names the request's host (RFC 9112 3.2.2, RFC 9113
    /// 8.3.1), yet a `Host` beside it has to pass as well.
    pub fn check(
        &self,
        headers: &HeaderMap,
        authority: Option<&Authority>,
        version: Version,
    ) -> Result<(), BrowserError> {
        let absolute = authority
            .map(|authority| read(authority.as_str()))
            .transpose()?;
        let mut fields = headers.get_all(HOST).iter();
        let host = fields.next().map(read_field).transpose()?;
        if fields.next().is_some() {
            return Err(BrowserError::ManyHosts);
        }
        let may_lack_host =
            version < Version::HTTP_11 || (version == Version::HTTP_2 && absolute.is_some());
        if host.is_none() && !may_lack_host {
            return Err(BrowserError::NoHost);
        }
        if ![absolute, host]
            .into_iter()
            .flatten()
            .all(|named| self.hosts.allows(named.host))
        {
            return Err(BrowserError::PublicHost);
        }
        if self.allow_cross_site || is_same_origin(headers, absolute.or(host)) {
            Ok(())
        } else {
            Err(BrowserError::CrossSite)
        }
    }
}

/// Whether nothing tells of a page other than the proxy's own, which is `http://` and the host
/// that the request names. A browser's user who types an address is `Sec-Fetch-Site: none`.
fn is_same_origin(headers: &HeaderMap, own: Option<HostPort<'_>>) -> bool {
    let own_page = headers.get_all(ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().ok().and_then(read_origin);
        origin.zip(own).is_some_and(|(origin, own)| {
            origin.host.eq_ignore_ascii_case(own.host) && origin.port == own.port
        })
    });
    own_page
        && headers.get_all(SEC_FETCH_SITE).iter().all(|site| {
            let site = site.as_bytes().trim_ascii();
            !site.eq_ignore_ascii_case(b"cross-site") && !site.eq_ignore_ascii_case(b"same-site")
        })
}

/// The host and port of a serialised origin of scheme http (RFC 6454 6.2); `null` has none.
fn read_origin(origin: &str) -> Option<HostPort<'_>> {
    let (scheme, authority) = origin.split_once("://")?;
    scheme
        .eq_ignore_ascii_case("http")
        .then(|| read(authority).ok())
        .flatten()
}

fn read_field(host: &HeaderValue) -> Result<HostPort<'_>, BrowserError> {
    read(
        host.to_str()
            .map_err(|_| BrowserError::BadHost)?
            .trim_matches([' ', '\t']),
    )
}

/// Reads `host[:port]`; the port of plain HTTP where none is written.
fn read(authority: &str) -> Result<HostPort<'_>, BrowserError> {
    let (host, port) = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => authority.split_at(at),
        _ => (authority, ""),
    };
    let digits = port.strip_prefix(':').unwrap_or_default();
    let port = match digits {
        "" => Some(80),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    let port = port.ok_or(BrowserError::BadHost)?;
    if is_name(host) || is_bracketed(host) {
        Ok(HostPort { host, port })
    } else {
        Err(BrowserError::BadHost)
    }
}

/// Dotted labels, at most one trailing dot. Percent-encoding is refused: what it decodes to is
/// what a client would have asked DNS for.
fn is_name(host: &str) -> bool {
    host.strip_suffix('.')
        .unwrap_or(host)
        .split('.')
        .all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

/// An IPv6 literal in brackets, with a zone or without (RFC 6874).
fn is_bracketed(host: &str) -> bool {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.is_some_and(|inner| {
        inner
            .split('%')
            .next()
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
    })
}

// === impl HostRule ===

impl HostRule {
    /// Answers the `--host` names (`*` for all) and this machine's own name.
    pub fn new(names: &[String], machine: Option<&str>) -> Result<Self, HostRuleError> {
        let mut rule = Self::default();
        for name in names {
            if name == "*" {
                rule.any = true;
            } else if is_name(name) {
                rule.add(name);
            } else if name.parse::<Ipv6Addr>().is_err() && !is_bracketed(name) {
                return Err(HostRuleError(name.clone()));
            }
        }
        if let Some(name) = machine {
            rule.add(name);
        }
        Ok(rule)
    }

    fn add(&mut self, name: &str) {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.names.push(name.to_ascii_lowercase().into_boxed_str());
    }

    fn allows(&self, host: &str) -> bool {
        if self.any || host.starts_with('[') {
            return true;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        !host.contains('.')
            || host.parse::<Ipv4Addr>().is_ok()
            || PRIVATE_SUFFIXES
                .iter()
                .any(|suffix| ends_with(host, suffix))
            || self
                .names
                .iter()
                .any(|name| host.eq_ignore_ascii_case(name))
    }
}

fn ends_with(host: &str, suffix: &str) -> bool {
    let start = host.len().checked_sub(suffix.len());
    start
        .and_then(|start| host.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}
