//! Guards against the pages of a task's own browser: a page of another origin must not spend the
//! task's credentials, and neither must a page from a name that was made to resolve to the proxy
//! (DNS rebinding).
//!
//! It judges fields that a page cannot forge: `Origin`, `Sec-Fetch-Site` and `Host`. It is no defence
//! against programs, which can forge them; admission is for those. If a browser sends none of the
//! three, as for an image over plain HTTP from a name that is not loopback, a page may still cause a
//! request, but cannot read the answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{StatusCode, Version};
use memchr::memrchr;
use taskcluster_proxy_peer::hostname;
use thiserror::Error;

use crate::code::Code;
use crate::message::fields::{self, Fields};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Ends of names that public DNS does not serve: RFC 6761 (`localhost`, `test`), RFC 6762
/// (`local`), RFC 8375 (`home.arpa`), ICANN's `internal`, and what is customary: `lan`,
/// `localdomain` (of `localhost` in the hosts files of many systems) and `svc` (of Kubernetes'
/// services, `<service>.<namespace>.svc`, with `.cluster.local` behind it or not).
const PRIVATE_SUFFIXES: [&str; 10] = [
    ".localhost",
    ".internal",
    ".local",
    ".test",
    ".lan",
    ".home.arpa",
    ".localdomain",
    ".localdomain4",
    ".localdomain6",
    ".svc",
];

/// Which requests of a browser's pages are served.
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
#[error("--host \"{0}\" is not a host name: give a name without scheme and port, or *")]
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
    /// The error's stable code.
    pub fn code(self) -> Code {
        match self {
            Self::NoHost | Self::ManyHosts | Self::BadHost => Code::Host,
            Self::CrossSite => Code::CrossSite,
            Self::PublicHost => Code::PublicHost,
        }
    }

    /// The answer's status: 400, 403 or 421.
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
    hostname().filter(|name| is_name(name))
}

// === impl BrowserGuard ===

impl BrowserGuard {
    /// Judges a request by its head. `authority` is that of an absolute-form target, or HTTP/2's
    /// `:authority`; where there is one it names the request's host (RFC 9112 3.2.2, RFC 9113
    /// 8.3.1), yet a `Host` beside it has to pass as well.
    pub fn check(
        &self,
        headers: &impl Fields,
        authority: Option<&Authority>,
        version: Version,
    ) -> Result<(), BrowserError> {
        let absolute = authority
            .map(|authority| read(authority.as_str()))
            .transpose()?;
        let mut fields = headers.values(&HOST);
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

/// Whether the fields tell of no page but the proxy's own, whose origin is `http://` and the host
/// that the request names. An address that the browser's user types is `Sec-Fetch-Site: none`.
fn is_same_origin(headers: &impl Fields, own: Option<HostPort<'_>>) -> bool {
    let own_page = headers.values(&ORIGIN).all(|origin| {
        let origin = fields::text(origin).and_then(read_origin);
        origin.zip(own).is_some_and(|(origin, own)| {
            origin.host.eq_ignore_ascii_case(own.host) && origin.port == own.port
        })
    });
    own_page
        && headers.values(&SEC_FETCH_SITE).all(|site| {
            let site = site.trim_ascii();
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

fn read_field(host: &[u8]) -> Result<HostPort<'_>, BrowserError> {
    read(fields::text(host.trim_ascii()).ok_or(BrowserError::BadHost)?)
}

/// Reads `host[:port]`; the port of plain HTTP where none is written.
fn read(authority: &str) -> Result<HostPort<'_>, BrowserError> {
    let (host, port) = match memrchr(b':', authority.as_bytes()) {
        Some(at) if !authority.ends_with(']') => authority.split_at(at),
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

/// Dotted labels, at most one trailing dot. Percent-encoding is refused: the client has asked DNS
/// for the decoded name.
fn is_name(host: &str) -> bool {
    let mut label_is_empty = true;
    for byte in host.strip_suffix('.').unwrap_or(host).bytes() {
        match byte {
            b'.' if label_is_empty => return false,
            b'.' => label_is_empty = true,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label_is_empty = false,
            _ => return false,
        }
    }
    !label_is_empty
}

/// An IPv6 literal in brackets, with a zone or without (RFC 6874 2).
fn is_bracketed(host: &str) -> bool {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.is_some_and(|inner| {
        let (ip, zone) = inner.split_once('%').unwrap_or((inner, "0"));
        ip.parse::<Ipv6Addr>().is_ok() && is_zone(zone)
    })
}

/// Characters that may stand there unencoded. With others, one reader's zone is another reader's
/// user, port or path.
fn is_zone(zone: &str) -> bool {
    let is_unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !zone.is_empty() && zone.bytes().all(is_unreserved)
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::message::fields::FieldLines;

    const OK: u16 = 200;

    /// Judges a head with fields written as `name: value` and separated by `|`.
    fn judged(guard: &BrowserGuard, version: Version, target: Option<&str>, head: &str) -> u16 {
        let mut headers = HeaderMap::new();
        for field in head.split('|').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once(": ").expect("a field");
            headers.append(
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            );
        }
        let authority = target.map(|target| target.parse::<Authority>().expect("an authority"));
        let verdict = guard.check(&headers, authority.as_ref(), version);
        let lines = FieldLines::from_map(&headers);
        let of_lines = guard.check(&lines, authority.as_ref(), version);
        assert_eq!(of_lines, verdict, "lines of {head}");
        verdict.map_or_else(|error| error.status().as_u16(), |()| OK)
    }

    fn guard(names: &[&str], machine: Option<&str>) -> BrowserGuard {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let hosts = HostRule::new(&names, machine).expect("host names");
        BrowserGuard {
            allow_cross_site: false,
            hosts,
        }
    }

    #[test]
    fn names_that_public_dns_could_serve_are_misdirected() {
        let guard = guard(&[], None);
        for (host, status) in [
            // IP literals.
            ("127.0.0.1", OK),
            ("127.0.0.1:8080", OK),
            ("10.1.2.3:80", OK),
            ("8.8.8.8", OK),
            ("127.0.0.1.", OK),
            ("[::1]", OK),
            ("[::1]:8080", OK),
            ("[::ffff:127.0.0.1]:8080", OK),
            ("[fe80::1%25eth0]:80", OK),
            ("[fe80::1%eth0]", OK),
            // Names of one label.
            ("localhost", OK),
            ("LocalHost:8080", OK),
            ("localhost.", OK),
            ("taskcluster", OK),
            ("task_proxy:80", OK),
            ("taskcluster:", OK),
            ("2130706433", OK),
            // Private ends.
            ("x.localhost", OK),
            ("proxy.service.internal:8080", OK),
            ("PRINTER.LOCAL", OK),
            ("a.test", OK),
            ("a.lan", OK),
            ("a.b.home.arpa", OK),
            ("a.home.arpa.:80", OK),
            ("localhost.localdomain", OK),
            ("LocalHost.LocalDomain.:8080", OK),
            ("worker-1.localdomain", OK),
            ("localhost4.localdomain4", OK),
            ("localhost6.localdomain6:8080", OK),
            ("taskcluster.ci.svc", OK),
            ("taskcluster.ci.svc.:8080", OK),
            ("taskcluster.ci.svc.cluster.local", OK),
            ("10-0-0-1.ci.pod.cluster.local:8080", OK),
            ("svc", OK),
            // What DNS could serve.
            ("evil.com", 421),
            ("evil.com.", 421),
            ("EVIL.COM:8080", 421),
            ("rebind.127.0.0.1.nip.io", 421),
            ("127.0.0.1.evil.com", 421),
            ("localhost.evil.com", 421),
            ("x.internal.evil.com", 421),
            ("evil-internal.com", 421),
            ("evil.notlocal", 421),
            ("evil.notlocalhost", 421),
            ("evil.notinternal", 421),
            ("evil.notlan", 421),
            ("evil.nothome.arpa", 421),
            ("evil.xtest", 421),
            ("evil.notsvc", 421),
            ("evil.svc.com", 421),
            ("taskcluster.ci.svc.example.com", 421),
            ("taskcluster.ci", 421),
            ("evil.notlocaldomain", 421),
            ("localhost.localdomain.evil.com", 421),
            ("localdomain.evil", 421),
            ("arpa.home", 421),
            ("home.arpa", 421),
            ("1.2.3", 421),
            ("127.1", 421),
            ("0x7f.0.0.1", 421),
            ("1.2.3.4.5", 421),
            ("a.onion", 421),
            // No host at all.
            ("evil%2ecom", 400),
            ("evil.com..", 400),
            ("localhost..", 400),
            (".", 400),
            (".localhost", 400),
            ("", 400),
            (":80", 400),
            ("a b", 400),
            ("a,b", 400),
            ("a/b", 400),
            ("a\\b", 400),
            ("user@localhost", 400),
            ("localhost:port", 400),
            ("[::1%\u{e9}]", 400),
            ("localhost:99999", 400),
            ("localhost:80:80", 400),
            ("::1", 400),
            ("[::1", 400),
            ("[evil.com]", 400),
            ("[]", 400),
            ("[::1]x", 400),
            ("[::1].evil.com", 400),
            ("evil\u{3002}com", 400),
            ("b\u{fc}cher", 400),
        ] {
            let head = format!("host: {host}");
            assert_eq!(
                judged(&guard, Version::HTTP_11, None, &head),
                status,
                "{host:?}"
            );
        }
    }

    #[test]
    fn a_zone_is_a_name() {
        let guard = guard(&[], None);
        for (host, status) in [
            ("[fe80::1%br-0.1_a~]", OK),
            ("[::1%]", 400),
            ("[::1%@evil.com/]", 400),
            ("[::1%x@evil.com?]", 400),
            ("[::1%x:80]", 400),
            ("[::1%#]", 400),
            ("[::1%\\]", 400),
            ("[::1%eth0%]", 400),
            ("[::1%a%2eb]", 400),
        ] {
            let head = format!("host: {host}");
            assert_eq!(
                judged(&guard, Version::HTTP_11, None, &head),
                status,
                "{host:?}"
            );
        }
    }

    #[test]
    fn names_can_be_added() {
        let named = guard(
            &["proxy.example.com", "Other.Example.", "::1"],
            Some("Worker-1.Example.Net"),
        );
        let any = guard(&["*"], None);
        for (host, by_name, by_any) in [
            ("proxy.example.com", OK, OK),
            ("Proxy.Example.COM.:8080", OK, OK),
            ("other.example", OK, OK),
            ("worker-1.example.net:80", OK, OK),
            ("x.proxy.example.com", 421, OK),
            ("example.com", 421, OK),
            ("worker-1.example.net.evil.com", 421, OK),
            ("evil%2ecom", 400, 400),
        ] {
            let head = format!("host: {host}");
            assert_eq!(
                judged(&named, Version::HTTP_11, None, &head),
                by_name,
                "{host}"
            );
            assert_eq!(
                judged(&any, Version::HTTP_11, None, &head),
                by_any,
                "{host} under *"
            );
        }
        for name in [
            "",
            "a b",
            "http://proxy",
            "proxy:80",
            "*.example.com",
            "[proxy]",
        ] {
            let error = HostRule::new(&[name.to_owned()], None).expect_err(name);
            let sentence = format!(
                "--host {name:?} is not a host name: give a name without scheme and port, or *"
            );
            assert_eq!(error.to_string(), sentence);
        }
    }

    #[test]
    fn the_machine_knows_its_name() {
        let name = machine_name().expect("a name");
        let guard = guard(&[], Some(&name));
        assert_eq!(
            judged(&guard, Version::HTTP_11, None, &format!("host: {name}")),
            OK
        );
    }

    #[test]
    fn a_request_names_one_host() {
        let guard = guard(&[], None);
        for (version, target, head, status) in [
            (Version::HTTP_11, None, "", 400),
            (Version::HTTP_11, Some("taskcluster"), "", 400),
            (Version::HTTP_11, None, "host: a|host: a", 400),
            (Version::HTTP_11, None, "host: a|host: b", 400),
            (
                Version::HTTP_11,
                Some("taskcluster"),
                "host: taskcluster",
                OK,
            ),
            (
                Version::HTTP_11,
                Some("taskcluster:80"),
                "host: localhost",
                OK,
            ),
            (Version::HTTP_11, Some("evil.com"), "host: localhost", 421),
            (Version::HTTP_11, Some("localhost"), "host: evil.com", 421),
            (
                Version::HTTP_11,
                Some("u@localhost"),
                "host: localhost",
                400,
            ),
            (Version::HTTP_10, None, "", OK),
            (Version::HTTP_10, None, "host: localhost", OK),
            (Version::HTTP_10, None, "host: evil.com", 421),
            (Version::HTTP_10, None, "host: a|host: b", 400),
            (Version::HTTP_10, Some("evil.com"), "", 421),
            (Version::HTTP_2, Some("localhost:8080"), "", OK),
            (Version::HTTP_2, Some("evil.com"), "", 421),
            (Version::HTTP_2, Some("evil.com"), "host: localhost", 421),
            (Version::HTTP_2, Some("localhost"), "host: evil.com", 421),
            (Version::HTTP_2, None, "host: localhost", OK),
            (Version::HTTP_2, None, "host: evil.com", 421),
            (Version::HTTP_2, None, "", 400),
            (Version::HTTP_2, Some("localhost"), "host: a|host: b", 400),
        ] {
            let verdict = judged(&guard, version, target, head);
            assert_eq!(verdict, status, "{version:?} {target:?} {head:?}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let mut guard = guard(&[], None);
        for (head, status) in [
            ("host: localhost:8080", OK),
            // The proxy's own page.
            ("host: localhost:8080|origin: http://localhost:8080", OK),
            ("host: LOCALHOST:8080|origin: HTTP://localhost:8080", OK),
            ("host: localhost|origin: http://localhost", OK),
            ("host: localhost:80|origin: http://localhost", OK),
            ("host: localhost|origin: http://localhost:80", OK),
            ("host: [::1]:8080|origin: http://[::1]:8080", OK),
            ("host: 127.0.0.1|origin: http://127.0.0.1", OK),
            // Another origin.
            ("host: localhost:8080|origin: http://localhost", 403),
            ("host: localhost:8080|origin: http://localhost:8081", 403),
            ("host: localhost|origin: https://localhost", 403),
            ("host: localhost|origin: https://localhost:80", 403),
            ("host: localhost|origin: http://127.0.0.1", 403),
            ("host: localhost|origin: http://evil.com", 403),
            ("host: localhost|origin: http://localhost.evil.com", 403),
            ("host: localhost|origin: http://localhost@evil.com", 403),
            ("host: localhost|origin: http://localhost/", 403),
            ("host: localhost|origin: null", 403),
            ("host: localhost|origin: ", 403),
            ("host: localhost|origin: localhost", 403),
            ("host: localhost|origin: chrome-extension://localhost", 403),
            (
                "host: localhost|origin: http://localhost http://evil.com",
                403,
            ),
            ("host: localhost|origin: http://localhost|origin: null", 403),
            ("host: localhost|origin: null|origin: http://localhost", 403),
            // What the browser says of the page.
            ("host: localhost|sec-fetch-site: none", OK),
            ("host: localhost|sec-fetch-site: same-origin", OK),
            ("host: localhost|sec-fetch-site: cross-site", 403),
            ("host: localhost|sec-fetch-site: same-site", 403),
            ("host: localhost|sec-fetch-site: Cross-Site", 403),
            (
                "host: localhost|sec-fetch-site: none|sec-fetch-site: cross-site",
                403,
            ),
            (
                "host: localhost|origin: http://localhost|sec-fetch-site: same-site",
                403,
            ),
        ] {
            guard.allow_cross_site = false;
            assert_eq!(
                judged(&guard, Version::HTTP_11, None, head),
                status,
                "{head}"
            );
            guard.allow_cross_site = true;
            assert_eq!(
                judged(&guard, Version::HTTP_11, None, head),
                OK,
                "allowed {head}"
            );
        }
    }

    #[test]
    fn the_effective_host_is_what_an_origin_is_compared_with() {
        let guard = guard(&[], None);
        for (version, target, head, status) in [
            (
                Version::HTTP_2,
                Some("proxy:81"),
                "origin: http://proxy:81",
                OK,
            ),
            (
                Version::HTTP_2,
                Some("proxy:81"),
                "origin: http://proxy",
                403,
            ),
            (
                Version::HTTP_11,
                Some("proxy"),
                "host: other|origin: http://proxy",
                OK,
            ),
            (
                Version::HTTP_11,
                Some("proxy"),
                "host: other|origin: http://other",
                403,
            ),
            (Version::HTTP_10, None, "origin: http://proxy", 403),
        ] {
            let verdict = judged(&guard, version, target, head);
            assert_eq!(verdict, status, "{version:?} {target:?} {head:?}");
        }
    }

    #[test]
    fn cross_site_does_not_open_public_names() {
        let mut guard = guard(&[], None);
        guard.allow_cross_site = true;
        let head = "host: evil.com|origin: http://evil.com|sec-fetch-site: same-origin";
        assert_eq!(judged(&guard, Version::HTTP_11, None, head), 421);
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for (error, sentence) in [
            (BrowserError::NoHost, "the request has no Host"),
            (
                BrowserError::ManyHosts,
                "the request has more than one Host",
            ),
            (
                BrowserError::BadHost,
                "the request's Host is not a host name or address with an optional port",
            ),
            (
                BrowserError::CrossSite,
                "requests made by a web page of another origin are refused; \
                 start the proxy with --allow-cross-site to serve them",
            ),
            (
                BrowserError::PublicHost,
                "this Host is not answered here: use an IP address or a private name, \
                 or start the proxy with --host NAME",
            ),
        ] {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
