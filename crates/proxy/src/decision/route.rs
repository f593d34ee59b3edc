//! Where a request goes: by the first segment of its path, exactly.
//!
//! The path after the prefix and the query go out byte for byte; nothing here decodes, joins or
//! normalises. What this is not: it knows no methods (the code that answers does) and looks at no
//! header.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::uri::PathAndQuery;
use memchr::memchr;
use thiserror::Error;

use crate::limits::{HOST_LABEL, HOST_NAME};
use crate::message::target::{TargetError, check_target};

/// Where a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By the proxy itself.
    Here(Here),
    /// To be signed and forwarded.
    Upstream(Target),
    /// No route has this form: 404.
    None,
    /// Not a target that HTTP carries unchanged: 400.
    Malformed(TargetError),
}

/// What the proxy answers itself, each under a name that stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
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
}

/// Where a request goes: its upstream, and its origin-form request target, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The upstream.
    pub origin: Origin,
    /// Path and query as they are signed and sent.
    pub target: PathAndQuery,
}

/// Scheme, host and port of an upstream (RFC 9110 4.3.1, 4.3.2). Cheap to clone.
#[derive(Clone)]
pub struct Origin(Arc<OriginParts>);

#[derive(Clone)]
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

/// Routes `target`: path and query in origin form, as they came.
pub fn route(target: &str, root: &RootUrl) -> Route {
    if let Err(error) = check_target(target.as_bytes()) {
        return Route::Malformed(error);
    }
    let path = split_at(target, b'?').map_or(target, |(path, _)| path);
    let Some(path) = path.strip_prefix('/') else {
        return Route::None;
    };
    let (name, rest) = match split_at(path, b'/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    if let Some(here) = answered_here(name) {
        return rest.map_or(Route::Here(here), |_| Route::None);
    }
    if name == "api" {
        let service = rest.and_then(|rest| split_at(rest, b'/'));
        return match service {
            Some((service, rest)) if !service.is_empty() && has_version(rest) => {
                upstream(root.origin(), Cow::Borrowed(target))
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
        Some(rest) if has_version(rest) => {
            upstream(root.origin(), Cow::Owned(["/api", target].concat()))
        }
        _ => Route::None,
    }
}

/// [`str::split_once`] for an ASCII character, which a search for bytes finds in a third of the time.
fn split_at(text: &str, at: u8) -> Option<(&str, &str)> {
    let (before, from) = text.split_at_checked(memchr(at, text.as_bytes())?)?;
    Some((before, from.get(1..)?))
}

/// The names that the proxy answers itself.
fn answered_here(name: &str) -> Option<Here> {
    Some(match name {
        "bewit" => Here::Bewit,
        "credentials" => Here::Credentials,
        "__version__" => Here::Version,
        "__heartbeat__" => Here::Heartbeat,
        "__lbheartbeat__" => Here::LbHeartbeat,
        "__metrics__" => Here::Metrics,
        _ => return None,
    })
}

/// `<version>/<rest>`, of which the rest may be empty.
fn has_version(path: &str) -> bool {
    split_at(path, b'/').is_some_and(|(version, _)| !version.is_empty())
}

/// What follows `/<name>` in a target. A `/` is put in front of it if it begins with none.
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
pub fn is_host_name(name: &str) -> bool {
    is_dotted(name, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_dotted(name: &str, allowed: impl Fn(u8) -> bool) -> bool {
    name.len() <= HOST_NAME
        && name.split('.').all(|label| {
            (1..=HOST_LABEL).contains(&label.len())
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

impl Here {
    /// The methods it has, as `Allow` lists them.
    pub fn allow(self) -> &'static str {
        match self {
            Self::Bewit => "POST",
            Self::Credentials => "PUT",
            Self::Version | Self::Heartbeat | Self::LbHeartbeat | Self::Metrics => "GET, HEAD",
        }
    }
}

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

    /// The deployment's origin.
    pub fn origin(&self) -> &Origin {
        &self.0
    }

    /// The same, with an origin that has no clone yet.
    pub fn apart(&self) -> Self {
        let Self(Origin(parts)) = self;
        Self(Origin(Arc::new(OriginParts::clone(parts))))
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

    /// Whether it is on this machine, by its name or address alone.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.host() == "localhost",
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The route: a name answered here, a target at the root, the URL of another host, or a refusal.
    fn shown(root: &str, target: &str) -> String {
        let root = RootUrl::parse(root).expect("a root URL");
        match route(target, &root) {
            Route::Upstream(to) if to.origin == *root.origin() => to.target.to_string(),
            Route::Upstream(to) => to.to_string(),
            Route::Malformed(error) => format!("400 {error}"),
            Route::None => "404".to_owned(),
            Route::Here(here) => format!("{here:?}"),
        }
    }

    const ROUTES: &[(&str, &str)] = &[
        // Answered here, and only where the name stands alone.
        ("/bewit", "Bewit"),
        ("/bewit?x=/y/", "Bewit"),
        ("/bewit?", "Bewit"),
        ("/credentials", "Credentials"),
        ("/__version__", "Version"),
        ("/__heartbeat__", "Heartbeat"),
        ("/__heartbeat__?probe", "Heartbeat"),
        ("/__lbheartbeat__", "LbHeartbeat"),
        ("/__metrics__", "Metrics"),
        ("/bewit/", "404"),
        ("/bewit/x", "404"),
        ("/bewit/v1/x", "404"),
        ("/credentials/v1/x", "404"),
        ("/__version__/v1/x", "404"),
        ("/Bewit", "404"),
        ("/%62ewit", "404"),
        ("//bewit", "404"),
        ("/bewit.example.com/x", "https://bewit.example.com/x"),
        ("/bewitness/v1/x", "/api/bewitness/v1/x"),
        (
            "/credentials.example.com",
            "https://credentials.example.com/",
        ),
        ("/credentials-new/v1/", "/api/credentials-new/v1/"),
        // The deployment's own form.
        ("/api/queue/v1/task/x", "/api/queue/v1/task/x"),
        ("/api/queue/v1/", "/api/queue/v1/"),
        ("/api/queue/v1/?", "/api/queue/v1/?"),
        ("/api/queue/v1/?a=b", "/api/queue/v1/?a=b"),
        ("/api/queue/v1", "404"),
        ("/api/queue/v1?a=/b/", "404"),
        ("/api/queue", "404"),
        ("/api/", "404"),
        ("/api", "404"),
        ("/api?/queue/v1/x", "404"),
        ("/api//v1/x", "404"),
        ("/api/queue//x", "404"),
        ("/API/queue/v1/x", "/api/API/queue/v1/x"),
        ("/api.example.com/v1/x", "https://api.example.com/v1/x"),
        ("/apis/v1/x", "/api/apis/v1/x"),
        // A host of its own.
        ("/host.name", "https://host.name/"),
        ("/host.name/", "https://host.name/"),
        ("/host.name?", "https://host.name/?"),
        ("/host.name?x", "https://host.name/?x"),
        ("/host.name?x=/y", "https://host.name/?x=/y"),
        ("/host.name//", "https://host.name//"),
        ("/host.name//x//", "https://host.name//x//"),
        ("/host.name/../x/./y", "https://host.name/../x/./y"),
        ("/myserver.com/v1/stuff", "https://myserver.com/v1/stuff"),
        ("/Host.NAME/Path", "https://host.name/Path"),
        ("/10.0.0.1/x", "https://10.0.0.1/x"),
        (
            "/xn--bcher-kva.example/x",
            "https://xn--bcher-kva.example/x",
        ),
        ("/host.name./x", "404"),
        ("/.host.name/x", "404"),
        ("/host..name/x", "404"),
        ("/./x/y", "404"),
        ("/../x/y", "404"),
        ("/host.name:8443/x", "404"),
        ("/user@host.name/x", "404"),
        ("/-host.name/x", "404"),
        ("/host-.name/x", "404"),
        ("/host_a.name/x", "404"),
        ("/host%2Ename/v1/x", "404"),
        ("/[::1]/x", "404"),
        // The short form.
        ("/queue/v1/task/x", "/api/queue/v1/task/x"),
        ("/queue/v1/", "/api/queue/v1/"),
        ("/queue/v1//", "/api/queue/v1//"),
        ("/queue/v1/?q", "/api/queue/v1/?q"),
        ("/aws-provisioner/v1/y/z", "/api/aws-provisioner/v1/y/z"),
        ("/queue/v1/y%2fz", "/api/queue/v1/y%2fz"),
        (
            "/queue/v1/double//slash/encode1%2F/encode2%252F/encode3%25252F",
            "/api/queue/v1/double//slash/encode1%2F/encode2%252F/encode3%25252F",
        ),
        ("/queue/v1/a;b+c/./../d/", "/api/queue/v1/a;b+c/./../d/"),
        ("/queue/v1/a?b?c/d&&=?", "/api/queue/v1/a?b?c/d&&=?"),
        ("/queue/v1/a?", "/api/queue/v1/a?"),
        ("/queue/v1/%zz%", "/api/queue/v1/%zz%"),
        ("/queue/v1/a|b\\c^d\"e{f}", "/api/queue/v1/a|b\\c^d\"e{f}"),
        ("/queue", "404"),
        ("/queue/", "404"),
        ("/queue/v1", "404"),
        ("/queue/v1?x/y", "404"),
        ("/queue//x", "404"),
        ("/queue%2Fv1/x/y", "404"),
        ("/queue-/v1/x", "404"),
        ("/que_ue/v1/x", "404"),
        ("/x@/", "404"),
        ("/x@/v1/y", "404"),
        ("/", "404"),
        ("/?x", "404"),
        ("//", "404"),
        ("//x", "404"),
        ("//queue/v1/x", "404"),
        ("", "404"),
        ("queue/v1/x", "404"),
        ("*", "404"),
        ("?x", "404"),
        // Not carried unchanged.
        (
            "/queue/v1/#x",
            "400 the request target holds a raw #: percent-encode it as %23",
        ),
        (
            "/queue/v1/?#",
            "400 the request target holds a raw #: percent-encode it as %23",
        ),
        ("/b\u{fc}cher/v1/x", MUST_ENCODE),
        ("/queue/v1/b\u{fc}cher", MUST_ENCODE),
        ("/queue/v1/ x", MUST_ENCODE),
        ("/queue/v1/\t", MUST_ENCODE),
        ("/queue/v1/\u{7f}", MUST_ENCODE),
        ("/queue/v1/<x>", MUST_ENCODE),
        ("/queue/v1/`", MUST_ENCODE),
        ("/queue/v1/?\"", MUST_ENCODE),
    ];

    const MUST_ENCODE: &str =
        "400 the request target holds a character that must be percent-encoded";

    #[test]
    fn routes_by_the_first_segment() {
        for (target, expected) in ROUTES {
            assert_eq!(
                shown("https://tc.example.com", target),
                *expected,
                "{target:?}"
            );
        }
    }

    #[test]
    fn the_root_url_names_scheme_and_port() {
        for root in [
            "https://tc.example.com",
            "http://localhost:8080",
            "http://[::1]:8080",
        ] {
            let url = RootUrl::parse(root).expect(root);
            for target in ["/queue/v1/x", "/api/queue/v1/x"] {
                let Route::Upstream(to) = route(target, &url) else {
                    panic!("{target} went nowhere");
                };
                assert_eq!(to.to_string(), format!("{root}/api/queue/v1/x"));
            }
        }
    }

    #[test]
    fn labels_and_names_have_their_limits() {
        let label = |length| "a".repeat(length);
        for (name, served) in [
            (format!("{}.example", label(63)), true),
            (format!("{}.example", label(64)), false),
            (format!("{0}.{0}.{0}.{1}", label(63), label(61)), true),
            (format!("{0}.{0}.{0}.{1}", label(63), label(62)), false),
        ] {
            let expected = if served {
                format!("https://{name}/x")
            } else {
                "404".to_owned()
            };
            assert_eq!(
                shown("https://tc.example.com", &format!("/{name}/x")),
                expected
            );
        }
        let service = format!("/{}/v1/x", label(64));
        assert_eq!(shown("https://tc.example.com", &service), "404");
    }

    #[test]
    fn a_long_query_goes_out_whole_and_one_beyond_http_is_refused() {
        let target = format!("/queue/v1/x?{}", "q=%2F;+&".repeat(1024));
        let expected = format!("/api{target}");
        assert_eq!(shown("https://tc.example.com", &target), expected);
        let target = format!("/queue/v1/{}", "x".repeat(70_000));
        let refused = shown("https://tc.example.com", &target);
        assert_eq!(refused, "400 the request target is too long");
    }

    #[test]
    fn root_urls_are_read_or_refused_with_a_sentence() {
        for (url, expected) in [
            ("https://tc.example.com", Ok("https://tc.example.com")),
            ("https://tc.example.com/", Ok("https://tc.example.com")),
            ("HTTPS://TC.Example.com:443", Ok("https://tc.example.com")),
            ("https://tc.example.com:/", Ok("https://tc.example.com")),
            ("http://tc_proxy:80/", Ok("http://tc_proxy")),
            ("http://localhost:443", Ok("http://localhost:443")),
            ("https://10.0.0.1:8443", Ok("https://10.0.0.1:8443")),
            ("http://[::1]", Ok("http://[::1]")),
            ("http://[FE80::1]:8080/", Ok("http://[fe80::1]:8080")),
            ("", Err(UrlFault::Scheme.into())),
            ("tc.example.com", Err(UrlFault::Scheme.into())),
            ("ftp://tc.example.com", Err(UrlFault::Scheme.into())),
            (" https://tc.example.com", Err(UrlFault::Scheme.into())),
            ("https:tc.example.com", Err(UrlFault::Scheme.into())),
            (
                "https://user:password@tc.example.com",
                Err(UrlFault::User.into()),
            ),
            ("https://@tc.example.com", Err(UrlFault::User.into())),
            ("https://", Err(UrlFault::Host.into())),
            ("https://:8080", Err(UrlFault::Host.into())),
            ("https:///api", Err(UrlFault::Host.into())),
            ("https://tc.example.com.", Err(UrlFault::Host.into())),
            ("https://tc..example.com", Err(UrlFault::Host.into())),
            ("https://tc.example.com\\x", Err(UrlFault::Host.into())),
            ("https://tc.example.com ", Err(UrlFault::Host.into())),
            ("https://b\u{fc}cher.example", Err(UrlFault::Host.into())),
            ("https://[::1", Err(UrlFault::Host.into())),
            ("https://[::g]", Err(UrlFault::Host.into())),
            ("https://[fe80::1%25eth0]", Err(UrlFault::Host.into())),
            ("https://::1", Err(UrlFault::Host.into())),
            ("https://tc.example.com:0", Err(UrlFault::Port.into())),
            ("https://tc.example.com:65536", Err(UrlFault::Port.into())),
            ("https://tc.example.com:+443", Err(UrlFault::Port.into())),
            ("https://tc.example.com:https", Err(UrlFault::Port.into())),
            ("https://tc.example.com/api", Err(RootUrlError::Path)),
            ("https://tc.example.com//", Err(RootUrlError::Path)),
            ("https://tc.example.com?", Err(RootUrlError::Query)),
            ("https://tc.example.com/?a", Err(RootUrlError::Query)),
            ("https://tc.example.com#", Err(RootUrlError::Fragment)),
            ("https://tc.example.com/#/a?b", Err(RootUrlError::Fragment)),
        ] {
            let root = RootUrl::parse(url);
            let read = root.as_ref().map(|root| root.origin().url());
            assert_eq!(read.map_err(|error| *error), expected, "{url:?}");
        }
    }

    #[test]
    fn root_url_sentences_say_what_to_change_and_repeat_nothing() {
        for (url, sentence) in [
            (
                "secret",
                "invalid root URL: it must begin with http:// or https://",
            ),
            (
                "https://me:secret@host",
                "invalid root URL: it must not name a user",
            ),
            (
                "https://sec ret",
                "invalid root URL: it must name a host (international names in their xn-- form)",
            ),
            (
                "https://host:secret",
                "invalid root URL: its port must be a number from 1 to 65535",
            ),
            (
                "https://host/secret",
                "invalid root URL: it must not have a path",
            ),
            (
                "https://host?secret",
                "invalid root URL: it must not have a query",
            ),
            (
                "https://host#secret",
                "invalid root URL: it must not have a fragment",
            ),
        ] {
            let error = RootUrl::parse(url).expect_err(url);
            assert_eq!(error.to_string(), sentence);
        }
    }

    #[test]
    fn an_origin_says_what_host_and_endpoint_need() {
        for (url, host, port, host_header, ip) in [
            ("https://A.example:443", "a.example", 443, "a.example", None),
            (
                "http://a.example:443",
                "a.example",
                443,
                "a.example:443",
                None,
            ),
            (
                "https://a.example:80",
                "a.example",
                80,
                "a.example:80",
                None,
            ),
            (
                "http://10.0.0.1",
                "10.0.0.1",
                80,
                "10.0.0.1",
                Some("10.0.0.1"),
            ),
            ("https://[::1]:80", "[::1]", 80, "[::1]:80", Some("::1")),
        ] {
            let root = RootUrl::parse(url).expect(url);
            let origin = root.origin();
            assert_eq!(origin.secure(), url.starts_with("https"));
            assert_eq!((origin.host(), origin.port()), (host, port));
            assert_eq!(origin.host_header(), host_header);
            assert_eq!(origin.ip(), ip.map(|ip| ip.parse().expect("an address")));
        }
    }

    #[test]
    fn equal_origins_are_equal_however_they_were_made() {
        let root = RootUrl::parse("https://tc.example.com").expect("a root URL");
        let other = RootUrl::parse("https://TC.example.com:443/").expect("a root URL");
        let plain = RootUrl::parse("http://tc.example.com:443").expect("a root URL");
        assert_eq!(root, other);
        assert_ne!(root, plain);
        let Route::Upstream(target) = route("/tc.example.com/x", &root) else {
            panic!("no upstream");
        };
        assert_eq!(target.origin, *root.origin());
        let shared = route("/queue/v1/x", &root);
        assert!(matches!(shared, Route::Upstream(to) if Arc::ptr_eq(&to.origin.0, &root.0.0)));
    }

    #[test]
    fn every_string_gets_an_answer() {
        let root = RootUrl::parse("https://tc.example.com").expect("a root URL");
        let pieces = [
            "/",
            "/",
            ".",
            "?",
            "#",
            "%2F",
            "%",
            "api",
            "bewit",
            "queue",
            "v1",
            "x.y",
            "-",
            "@",
            ":",
            "[::1]",
            "\\",
            " ",
            "\0",
            "\u{e9}",
            "\u{10ffff}",
            "*",
            "&",
            "=",
            "..",
            "__version__",
        ];
        // xorshift64; a failure names the string.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap_or_default()
        };
        for _ in 0..200_000 {
            let target: String = (0..next() % 12)
                .map(|_| pieces[next() % pieces.len()])
                .collect();
            let target = if next() % 4 == 0 {
                target
            } else {
                format!("/{target}")
            };
            match route(&target, &root) {
                Route::Upstream(to) => {
                    let sent = to.target.as_str();
                    assert!(
                        target == sent
                            || sent.strip_prefix("/api") == Some(&target)
                            || target.ends_with(sent.strip_prefix('/').unwrap_or(sent)),
                        "{target:?} became {sent:?}"
                    );
                    assert!(
                        check_target(target.as_bytes()).is_ok(),
                        "{target:?} went out"
                    );
                }
                Route::Malformed(_) => {
                    assert!(check_target(target.as_bytes()).is_err(), "{target:?}");
                }
                _ => {}
            }
        }
    }
}
