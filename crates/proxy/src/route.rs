//! Where a request goes: by the first segment of its path, exactly.
//!
//! The path after the prefix and the query go out byte for byte; nothing here decodes, joins or
//! normalises. What this is not: it knows no methods (the stations that answer do) and looks at no
//! header.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::uri::{PathAndQuery, Scheme, Uri};
use thiserror::Error;

/// Longest host name in octets, dots included (RFC 1123 2.1, RFC 1035 2.3.4).
const MAX_NAME: usize = 253;
/// Longest label of a host name in octets (RFC 1035 2.3.4).
const MAX_LABEL: usize = 63;

/// Who answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/bewit`: signs a URL.
    Bewit,
    /// `/credentials`: takes a new credential set.
    Credentials,
    /// `/__version__`
    Version,
    /// `/__heartbeat__`
    Heartbeat,
    /// `/__lbheartbeat__`
    LbHeartbeat,
    /// `/__metrics__`
    Metrics,
    /// To be signed and forwarded.
    Upstream(Target),
    /// No such form: 404.
    None,
    /// Not a target that HTTP carries unchanged: 400.
    Malformed(TargetError),
}

/// What goes out: to whom, and which origin-form request target, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who is asked.
    pub origin: Origin,
    /// Path and query as they are signed and sent.
    pub target: PathAndQuery,
}

/// Scheme, host and port of an upstream (RFC 9110 4.3.1, 4.3.2). Cheap to clone.
#[derive(Clone)]
pub struct Origin(Arc<OriginParts>);

struct OriginParts {
    /// `https://host[:port]`; equal for equal origins.
    url: Box<str>,
    secure: bool,
    host: Box<str>,
    port: u16,
    host_header: HeaderValue,
}

/// The deployment's root URL: scheme, host and port, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootUrl(Origin);

/// Why a root URL is refused. The sentences repeat nothing of the URL: it may hold a password.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum RootUrlError {
    /// Scheme, user, host or port.
    #[error("invalid root URL: {0}")]
    Url(#[from] UrlFault),
    /// More than a trailing slash.
    #[error("invalid root URL: it must not have a path")]
    Path,
    /// `?...`
    #[error("invalid root URL: it must not have a query")]
    Query,
    /// `#...`
    #[error("invalid root URL: it must not have a fragment")]
    Fragment,
}

/// Why a text has no usable scheme and authority.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum UrlFault {
    /// Not `http://` or `https://`.
    #[error("it must begin with http:// or https://")]
    Scheme,
    /// `user@` or `user:password@`.
    #[error("it must not name a user")]
    User,
    /// Neither a host name nor an IP literal.
    #[error("it must name a host (international names in their xn-- form)")]
    Host,
    /// Not 1 to 65535.
    #[error("its port must be a number from 1 to 65535")]
    Port,
}

/// Why a request target is refused.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// `*`, an authority, or a scheme other than http and https.
    #[error("the request target must be a path or an absolute http URL")]
    Form,
    /// Absolute form with `user@` (RFC 9110 4.2.4).
    #[error("the request target must not name a user")]
    User,
    /// A byte that HTTP does not carry unchanged.
    #[error("the request target holds a character that must be percent-encoded")]
    Byte,
    /// `#`, which ends a URL before the server sees it.
    #[error("the request target holds a raw #: percent-encode it as %23")]
    Fragment,
    /// Longer than any header limit.
    #[error("the request target is too long")]
    TooLong,
}

/// Routes `target`: path and query in origin form, as they came.
pub fn route(target: &str, root: &RootUrl) -> Route {
    if let Err(error) = check_target(target.as_bytes()) {
        return Route::Malformed(error);
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let Some(path) = path.strip_prefix('/') else {
        return Route::None;
    };
    let (name, rest) = match path.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    if let Some(here) = answered_here(name) {
        return if rest.is_none() { here } else { Route::None };
    }
    if name == "api" {
        let service = rest.and_then(|rest| rest.split_once('/'));
        return match service {
            Some((service, rest)) if !service.is_empty() && has_version(rest) => {
                upstream(&root.0, Cow::Borrowed(target))
            }
            _ => Route::None,
        };
    }
    if !is_host_name(name) {
        return Route::None;
    }
    if name.contains('.') {
        return match Origin::new(true, name, 443) {
            Ok(origin) => upstream(&origin, behind_name(target, name)),
            Err(_) => Route::None,
        };
    }
    match rest {
        Some(rest) if has_version(rest) => upstream(&root.0, Cow::Owned(["/api", target].concat())),
        _ => Route::None,
    }
}

/// The origin form of a request's target: its path and query, `/` where an absolute form has no
/// path.
pub fn request_target(uri: &Uri) -> Result<Cow<'_, str>, TargetError> {
    if let Some(scheme) = uri.scheme() {
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(TargetError::Form);
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(TargetError::User);
        }
    }
    let target = uri.path_and_query().ok_or(TargetError::Form)?.as_str();
    match target.as_bytes().first() {
        Some(b'/') => Ok(Cow::Borrowed(target)),
        Some(b'?') => Ok(Cow::Owned(["/", target].concat())),
        _ => Err(TargetError::Form),
    }
}

/// Whether every byte of a raw request target is one that goes out as it came. It must be asked of
/// the bytes as they came: [`Uri`] silently drops a fragment.
pub fn check_target(target: &[u8]) -> Result<(), TargetError> {
    match target
        .iter()
        .find(|byte| !matches!(byte, 0x21..=0x22 | 0x24..=0x7e))
    {
        None => Ok(()),
        Some(b'#') => Err(TargetError::Fragment),
        Some(_) => Err(TargetError::Byte),
    }
}

/// The names that the proxy answers itself.
fn answered_here(name: &str) -> Option<Route> {
    Some(match name {
        "bewit" => Route::Bewit,
        "credentials" => Route::Credentials,
        "__version__" => Route::Version,
        "__heartbeat__" => Route::Heartbeat,
        "__lbheartbeat__" => Route::LbHeartbeat,
        "__metrics__" => Route::Metrics,
        _ => return None,
    })
}

/// `<version>/<rest>`, of which the rest may be empty.
fn has_version(path: &str) -> bool {
    path.split_once('/')
        .is_some_and(|(version, _)| !version.is_empty())
}

/// What follows `/<name>` in a target, with the `/` that a name alone stands for.
fn behind_name<'a>(target: &'a str, name: &str) -> Cow<'a, str> {
    let rest = &target[1 + name.len()..];
    if rest.starts_with('/') {
        Cow::Borrowed(rest)
    } else {
        Cow::Owned(["/", rest].concat())
    }
}

fn upstream(origin: &Origin, target: Cow<'_, str>) -> Route {
    let length = target.len();
    match PathAndQuery::from_maybe_shared(Bytes::from(target.into_owned())) {
        Ok(target) => Route::Upstream(Target {
            origin: origin.clone(),
            target,
        }),
        Err(_) if length >= usize::from(u16::MAX) => Route::Malformed(TargetError::TooLong),
        Err(_) => Route::Malformed(TargetError::Byte),
    }
}

/// Whether `name` is a host name by RFC 1123 2.1: labels of letters, digits and inner hyphens.
fn is_host_name(name: &str) -> bool {
    is_dotted(name, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_dotted(name: &str, allowed: impl Fn(u8) -> bool) -> bool {
    name.len() <= MAX_NAME
        && name.split('.').all(|label| {
            (1..=MAX_LABEL).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(&allowed)
        })
}

/// Whether a URL may name this host: an IPv6 literal in brackets, an IPv4 one, or a name, in which
/// an underscore is let pass since private networks use it.
fn is_url_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    }
    is_dotted(host, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
    })
}

/// Splits an absolute http or https URL after its authority; the second part begins with `/`, `?`
/// or `#`, or is empty.
pub fn split_url(url: &str) -> Result<(Origin, &str), UrlFault> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlFault::Scheme)?;
    let secure = scheme.eq_ignore_ascii_case("https");
    if !secure && !scheme.eq_ignore_ascii_case("http") {
        return Err(UrlFault::Scheme);
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(UrlFault::User);
    }
    let (host, port) = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => authority.split_at(at),
        _ => (authority, ""),
    };
    let port = match port.strip_prefix(':').unwrap_or_default() {
        "" => default_port(secure),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(UrlFault::Port)?,
        _ => return Err(UrlFault::Port),
    };
    Origin::new(secure, host, port).map(|origin| (origin, rest))
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

// === impl RootUrl ===

impl RootUrl {
    /// Reads a root URL such as `https://tc.example.com`, with or without a trailing slash.
    pub fn parse(url: &str) -> Result<Self, RootUrlError> {
        let (origin, rest) = split_url(url)?;
        match rest.as_bytes() {
            [] | [b'/'] => Ok(Self(origin)),
            rest if rest.contains(&b'#') => Err(RootUrlError::Fragment),
            rest if rest.contains(&b'?') => Err(RootUrlError::Query),
            _ => Err(RootUrlError::Path),
        }
    }

    /// Who answers for the deployment.
    pub fn origin(&self) -> &Origin {
        &self.0
    }

    /// Whether it is https.
    pub fn secure(&self) -> bool {
        self.0.secure()
    }
}

impl fmt::Display for RootUrl {
    /// Without a trailing slash, and without the port where it is the scheme's own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.url())
    }
}

// === impl Target ===

impl fmt::Display for Target {
    /// The upstream URL, as `X-Taskcluster-Endpoint` names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin.url())?;
        f.write_str(self.target.as_str())
    }
}

// === impl Origin ===

impl Origin {
    /// `host` with brackets where it is an IPv6 literal.
    fn new(secure: bool, host: &str, port: u16) -> Result<Self, UrlFault> {
        if !is_url_host(host) {
            return Err(UrlFault::Host);
        }
        let host = host.to_ascii_lowercase();
        let scheme = if secure { "https://" } else { "http://" };
        let mut url = [scheme, &host].concat();
        if port != default_port(secure) {
            url.push(':');
            url.push_str(&port.to_string());
        }
        let host_header =
            HeaderValue::from_str(&url[scheme.len()..]).map_err(|_| UrlFault::Host)?;
        Ok(Self(Arc::new(OriginParts {
            url: url.into_boxed_str(),
            secure,
            host: host.into_boxed_str(),
            port,
            host_header,
        })))
    }

    /// Whether TLS is spoken.
    pub fn secure(&self) -> bool {
        self.0.secure
    }

    /// The host as written, in lower case, an IPv6 literal in its brackets.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The host's address where it is a literal.
    pub fn ip(&self) -> Option<IpAddr> {
        let host = self.host();
        match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(ip) => ip.parse().ok(),
            None => host.parse().ok(),
        }
    }

    /// The port, the scheme's own where none was written.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// What `Host` says: the host, and the port where it is not the scheme's own.
    pub fn host_header(&self) -> &HeaderValue {
        &self.0.host_header
    }

    /// `https://host[:port]`, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.0.url
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.url == other.0.url
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.url.hash(state);
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}
