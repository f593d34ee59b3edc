//! Which outgoing proxy an origin is reached by, as the environment says.
//!
//! `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are read as Go's `net/http` reads them (package
//! `golang.org/x/net/http/httpproxy`), since every Taskcluster worker is set up for that:
//!
//! - A name in capitals goes before the same name in small letters; an empty value is none.
//! - `HTTP_PROXY` is for http origins and `HTTPS_PROXY` for https ones; the proxy's own scheme does
//!   not matter. Neither replaces the other. There is no `ALL_PROXY`.
//! - A value without a scheme is an http proxy. `http`, `https`, `socks5` and `socks5h` are known.
//! - `localhost` and loopback addresses are never asked of a proxy.
//! - `NO_PROXY` is a list with commas: `*` for everything, addresses, networks, and names. A name
//!   stands for itself and what is below it; with a leading `.` or `*.` for what is below it alone.
//!   Addresses and names may have a port.
//! - In a CGI program (`REQUEST_METHOD`), `HTTP_PROXY` is a field of a client's request and is
//!   refused.
//!
//! If a value is not a proxy's URL, Go silently connects directly. Here the proxy warns at start, and
//! requests that need that outgoing proxy fail. International names in `NO_PROXY` have to be in their
//! `xn--` form.
//!
//! hyper-util's matcher has other rules: `ALL_PROXY` counts, and a value that it cannot read means a
//! direct connection, without a word.
//!
//! What this is not: it connects to nothing. That is [`super::connect`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use ipnet::{IpNet, Ipv4Net};
use percent_encoding::percent_decode_str;

use crate::decision::route::{Origin, split_url};

/// The proxies that the environment names, and what is not asked of them.
#[derive(Debug, Default, Clone)]
pub struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    bypass: Bypass,
}

/// What a variable names.
type Named = Result<Arc<ProxyServer>, ProxiesError>;

/// One outgoing proxy.
#[derive(Clone)]
pub struct ProxyServer {
    protocol: ProxyProtocol,
    origin: Origin,
    user: Option<User>,
}

/// The protocol in which a proxy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// HTTP: http origins by requests in absolute form, https ones by CONNECT.
    Http,
    /// SOCKS 5 (RFC 1928), which resolves names itself.
    Socks5,
}

/// The user and the password for the proxy.
#[derive(Clone)]
struct User {
    name: String,
    password: String,
    authorization: HeaderValue,
}

/// Why a proxy that the environment names cannot be used. The value is never repeated: it may hold a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxiesError {
    /// Neither a URL nor `host:port`.
    #[error("{0} does not hold the URL of a proxy, such as http://proxy.example.com:3128")]
    NotAUrl(&'static str),
    /// Another scheme.
    #[error(
        "{0} names a proxy of an unknown kind: its URL must begin with http://, https://, \
         socks5:// or socks5h://"
    )]
    Scheme(&'static str),
    /// `HTTP_PROXY` in a CGI program.
    #[error(
        "HTTP_PROXY is not used while REQUEST_METHOD is set, since a CGI program gets it from its \
         clients: unset one of them"
    )]
    Cgi,
}

/// What `NO_PROXY` exempts.
#[derive(Debug, Default, Clone)]
struct Bypass {
    all: bool,
    networks: Vec<IpNet>,
    addresses: Vec<(IpAddr, Port)>,
    names: Vec<Name>,
}

#[derive(Debug, Clone)]
struct Name {
    /// With a leading dot.
    suffix: String,
    /// Whether the name itself is meant, besides what is below it.
    itself: bool,
    port: Port,
}

/// A port as written; empty for all.
type Port = String;

// === impl Proxies ===

impl Proxies {
    /// Reads the process's environment.
    pub fn from_env() -> Self {
        Self::from_variables(|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// Reads an environment of which `variable` gives the values.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |capitals: &'static str| {
            [capitals.to_owned(), capitals.to_ascii_lowercase()]
                .iter()
                .find_map(|name| variable(name).filter(|value| !value.trim().is_empty()))
        };
        let proxy = |name| {
            let value = either(name)?;
            Some(ProxyServer::parse(name, &value).map(Arc::new))
        };
        let cgi = variable("REQUEST_METHOD").is_some_and(|value| !value.is_empty());
        let http = proxy("HTTP_PROXY");
        Self {
            http: http.map(|proxy| if cgi { Err(ProxiesError::Cgi) } else { proxy }),
            https: proxy("HTTPS_PROXY"),
            bypass: Bypass::parse(&either("NO_PROXY").unwrap_or_default()),
        }
    }

    /// Why proxies that the environment names cannot be used.
    pub fn faults(&self) -> impl Iterator<Item = ProxiesError> {
        let named = [&self.http, &self.https].into_iter().flatten();
        named.filter_map(|proxy| proxy.as_ref().err().copied())
    }

    /// The proxy that `origin` is reached by; `None` for a direct way.
    ///
    /// # Errors
    /// Where that proxy cannot be used.
    pub fn proxy_for(&self, origin: &Origin) -> Result<Option<&Arc<ProxyServer>>, ProxiesError> {
        let proxy = if origin.secure() {
            &self.https
        } else {
            &self.http
        };
        match proxy {
            Some(proxy) if !self.bypass.exempts(origin) => {
                proxy.as_ref().map(Some).map_err(|error| *error)
            }
            _ => Ok(None),
        }
    }
}

// === impl ProxyServer ===

impl ProxyServer {
    fn parse(variable: &'static str, value: &str) -> Result<Self, ProxiesError> {
        let value = value.trim();
        let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
        let (protocol, secure) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyProtocol::Http, false),
            "https" => (ProxyProtocol::Http, true),
            "socks5" | "socks5h" => (ProxyProtocol::Socks5, false),
            _ => return Err(ProxiesError::Scheme(variable)),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(User::parse(user)), host),
            None => (None, authority),
        };
        let has_port = host.rfind(':') > host.rfind(']');
        let url = match protocol {
            ProxyProtocol::Socks5 if !has_port => format!("http://{host}:1080"),
            _ if secure => format!("https://{host}"),
            _ => format!("http://{host}"),
        };
        let (origin, _) = split_url(&url).map_err(|_| ProxiesError::NotAUrl(variable))?;
        Ok(Self {
            protocol,
            origin,
            user,
        })
    }

    /// The protocol in which it is asked.
    pub fn protocol(&self) -> ProxyProtocol {
        self.protocol
    }

    /// Where it is, and whether TLS is spoken to it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// `Proxy-Authorization`, where its URL names a user.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.user.as_ref().map(|user| &user.authorization)
    }

    /// User and password, where its URL names them.
    pub fn user(&self) -> Option<(&str, &str)> {
        self.user
            .as_ref()
            .map(|user| (user.name.as_str(), user.password.as_str()))
    }
}

impl fmt::Debug for ProxyServer {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer")
            .field("protocol", &self.protocol)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

// === impl User ===

impl User {
    /// Reads `name` or `name:password`, percent-encoded.
    fn parse(user: &str) -> Self {
        let decode = |part| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let (name, password) = (decode(name), decode(password));
        let basic = format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{name}:{password}"))
        );
        let mut authorization =
            HeaderValue::try_from(basic).unwrap_or_else(|_| unreachable!("base64 is ASCII"));
        authorization.set_sensitive(true);
        Self {
            name,
            password,
            authorization,
        }
    }
}

// === impl Bypass ===

impl Bypass {
    /// Entries that are not valid are left out, as Go does.
    fn parse(list: &str) -> Self {
        let mut bypass = Self::default();
        for entry in list.split(',') {
            let entry = entry.trim().to_ascii_lowercase();
            if entry == "*" {
                return Self {
                    all: true,
                    ..Self::default()
                };
            }
            if let Some(network) = network(&entry) {
                bypass.networks.push(canonical(network));
                continue;
            }
            let (host, port) = split_port(&entry);
            if let Ok(address) = host.parse::<IpAddr>() {
                bypass
                    .addresses
                    .push((address.to_canonical(), port.to_owned()));
                continue;
            }
            let host = if host.starts_with("*.") {
                &host[1..]
            } else {
                host
            };
            if !host.is_empty() {
                let itself = !host.starts_with('.');
                let suffix = if itself {
                    format!(".{host}")
                } else {
                    host.to_owned()
                };
                bypass.names.push(Name {
                    suffix,
                    itself,
                    port: port.to_owned(),
                });
            }
        }
        bypass
    }

    fn exempts(&self, origin: &Origin) -> bool {
        if self.all || origin.is_loopback() {
            return true;
        }
        let host = origin.host();
        let port = origin.port().to_string();
        let is_port = |wanted: &Port| wanted.is_empty() || *wanted == port;
        if let Some(ip) = origin.ip().map(|ip| ip.to_canonical()) {
            return self.networks.iter().any(|network| network.contains(&ip))
                || self
                    .addresses
                    .iter()
                    .any(|(address, port)| *address == ip && is_port(port));
        }
        self.names.iter().any(|name| {
            is_port(&name.port)
                && (host.ends_with(&name.suffix) || (name.itself && host == &name.suffix[1..]))
        })
    }
}

/// Splits `host:port` or `[host]:port`; everything else has no port.
fn split_port(entry: &str) -> (&str, &str) {
    if let Some((host, port)) = entry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"))
    {
        return (host, port);
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port),
        _ => (entry, ""),
    }
}

/// A network in CIDR notation. ipnet's own parser takes numbers with leading zeros, which other readers
/// take for octal ones.
fn network(entry: &str) -> Option<IpNet> {
    let (address, prefix) = entry.split_once('/')?;
    let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// An IPv4-mapped network as the IPv4 one that it is.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(mapped) = network
        && let Some(address) = mapped.addr().to_ipv4_mapped()
        && let Some(prefix) = mapped.prefix_len().checked_sub(96)
        && let Ok(network) = Ipv4Net::new(address, prefix)
    {
        return network.into();
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn origin(url: &str) -> Origin {
        split_url(url).expect("a URL").0
    }

    /// The proxy for `url`, as `scheme host:port`; `None` for a direct way.
    fn way(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = proxies(variables);
        let proxy = proxies.proxy_for(&origin(url)).expect("a usable proxy")?;
        let scheme = match (proxy.protocol(), proxy.origin().secure()) {
            (ProxyProtocol::Socks5, _) => "socks5",
            (ProxyProtocol::Http, true) => "https",
            (ProxyProtocol::Http, false) => "http",
        };
        Some(format!(
            "{scheme} {}:{}",
            proxy.origin().host(),
            proxy.origin().port()
        ))
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host() {
        for (value, expected) in [
            ("127.0.0.1:8080", "http 127.0.0.1:8080"),
            (
                "cache.corp.example.com:1234",
                "http cache.corp.example.com:1234",
            ),
            ("cache.corp.example.com", "http cache.corp.example.com:80"),
            ("localhost", "http localhost:80"),
            (
                "https://cache.corp.example.com",
                "https cache.corp.example.com:443",
            ),
            (
                "HTTP://127.0.0.1:8080/ignored?too#also",
                "http 127.0.0.1:8080",
            ),
            ("http://[2001:db8::1]:8080", "http [2001:db8::1]:8080"),
            ("http://[2001:db8::1]", "http [2001:db8::1]:80"),
            ("http://squid_1:3128", "http squid_1:3128"),
            ("http://user:pass@proxy", "http proxy:80"),
            ("user:p%40ss@proxy:81", "http proxy:81"),
            ("socks5://127.0.0.1", "socks5 127.0.0.1:1080"),
            ("socks5h://user@[::1]", "socks5 [::1]:1080"),
            ("socks5://proxy:9050/", "socks5 proxy:9050"),
            (" http://proxy ", "http proxy:80"),
        ] {
            let seen = way(&[("HTTP_PROXY", value)], "http://example.com/");
            assert_eq!(seen.as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_repeating_it() {
        for (value, expected) in [
            ("http://", ProxiesError::NotAUrl("HTTPS_PROXY")),
            ("http://user:secret@", ProxiesError::NotAUrl("HTTPS_PROXY")),
            ("http://secret:port", ProxiesError::NotAUrl("HTTPS_PROXY")),
            ("http://proxy:99999", ProxiesError::NotAUrl("HTTPS_PROXY")),
            ("no proxy", ProxiesError::NotAUrl("HTTPS_PROXY")),
            ("foo://secret", ProxiesError::Scheme("HTTPS_PROXY")),
            ("socks4://secret", ProxiesError::Scheme("HTTPS_PROXY")),
        ] {
            let variables = [("https_proxy", value), ("NO_PROXY", "direct.tld")];
            let proxies = proxies(&variables);
            let faults: Vec<_> = proxies.faults().collect();
            assert_eq!(faults, [expected], "{value:?}");
            assert!(!expected.to_string().contains("secret"));
            // Only requests for that proxy fail, and none of them goes out directly.
            let for_url = |url| proxies.proxy_for(&origin(url));
            assert_eq!(for_url("https://a.tld").err(), Some(expected));
            for url in ["http://a.tld", "https://direct.tld", "https://localhost"] {
                assert!(matches!(for_url(url), Ok(None)), "{url}");
            }
        }
        assert_eq!(
            ProxiesError::NotAUrl("HTTP_PROXY").to_string(),
            "HTTP_PROXY does not hold the URL of a proxy, such as http://proxy.example.com:3128"
        );
        assert_eq!(
            ProxiesError::Scheme("HTTP_PROXY").to_string(),
            "HTTP_PROXY names a proxy of an unknown kind: its URL must begin with http://, \
             https://, socks5:// or socks5h://"
        );
    }

    #[test]
    fn the_origin_s_scheme_chooses_the_variable() {
        let both = [("HTTP_PROXY", "plain"), ("HTTPS_PROXY", "https://secure")];
        assert_eq!(
            way(&both, "http://a.tld/").as_deref(),
            Some("http plain:80")
        );
        assert_eq!(
            way(&both, "https://a.tld/").as_deref(),
            Some("https secure:443")
        );
        assert_eq!(way(&both[..1], "https://a.tld/"), None);
        assert_eq!(way(&both[1..], "http://a.tld/"), None);
        assert_eq!(way(&[("ALL_PROXY", "all")], "http://a.tld/"), None);
    }

    #[test]
    fn capitals_go_before_small_letters_and_empty_is_none() {
        let names = ["HTTP_PROXY", "http_proxy"];
        for (upper, lower, expected) in [
            (Some("upper"), Some("lower"), Some("http upper:80")),
            (None, Some("lower"), Some("http lower:80")),
            (Some(""), Some("lower"), Some("http lower:80")),
            (Some(""), None, None),
        ] {
            let variables: Vec<_> = names
                .into_iter()
                .zip([upper, lower])
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            assert_eq!(
                way(&variables, "http://a.tld").as_deref(),
                expected,
                "{variables:?}"
            );
        }
        let bypass = [
            ("http_proxy", "proxy"),
            ("NO_PROXY", "a.tld"),
            ("no_proxy", "b.tld"),
        ];
        assert_eq!(way(&bypass, "http://a.tld"), None);
        assert!(way(&bypass, "http://b.tld").is_some());
    }

    #[test]
    fn a_cgi_program_s_http_proxy_is_its_client_s() {
        let variables = [
            ("HTTP_PROXY", "plain"),
            ("HTTPS_PROXY", "secure"),
            ("REQUEST_METHOD", "GET"),
        ];
        let proxies = proxies(&variables);
        let error = proxies
            .proxy_for(&origin("http://a.tld"))
            .expect_err("refused");
        assert_eq!(proxies.faults().collect::<Vec<_>>(), [error]);
        assert_eq!(
            error.to_string(),
            "HTTP_PROXY is not used while REQUEST_METHOD is set, since a CGI program gets it \
             from its clients: unset one of them"
        );
        assert!(
            proxies
                .proxy_for(&origin("https://a.tld"))
                .is_ok_and(|proxy| proxy.is_some())
        );
        assert_eq!(way(&variables[2..], "http://a.tld"), None);
        assert!(way(&[variables[0], ("REQUEST_METHOD", "")], "http://a.tld").is_some());
    }

    /// `url` by whether a proxy is asked for it.
    fn check(no_proxy: &str, cases: &[(&str, bool)]) {
        let variables = [
            ("HTTP_PROXY", "proxy"),
            ("HTTPS_PROXY", "proxy"),
            ("NO_PROXY", no_proxy),
        ];
        for (host, expected) in cases {
            let seen = way(&variables, &format!("http://{host}")).is_some();
            assert_eq!(seen, *expected, "{host} with NO_PROXY={no_proxy:?}");
        }
    }

    #[test]
    fn this_machine_is_never_asked_of_a_proxy() {
        check(
            "",
            &[
                ("localhost", false),
                ("LOCALHOST:8080", false),
                ("127.0.0.1", false),
                ("127.0.0.2:81", false),
                ("[::1]", false),
                ("[::ffff:127.0.0.1]", false),
                ("[::2]", true),
                ("localhost.net", true),
                ("local.localhost", true),
                ("128.0.0.1", true),
            ],
        );
    }

    #[test]
    fn names_stand_for_what_is_below_them() {
        check(
            "foobar.com, .barbaz.net, *.wildcard.io, PORT.example:8443,any.example:",
            &[
                ("foobar.com", false),
                ("www.foobar.com", false),
                ("foofoobar.com", true),
                ("foobar.com.net", true),
                ("barbaz.net", true),
                ("www.barbaz.net", false),
                ("barbarbaz.net", true),
                ("baz.net", true),
                ("wildcard.io", true),
                ("nested.wildcard.io", false),
                ("deeper.nested.wildcard.io", false),
                ("awildcard.io", true),
                ("port.example", true),
                ("port.example:8443", false),
                ("www.port.example:8443", false),
                ("port.example:443", true),
                ("any.example:1", false),
            ],
        );
        check(
            "xn--fsq092h.com",
            &[("www.xn--fsq092h.com", false), ("www.com", true)],
        );
    }

    #[test]
    fn addresses_and_networks_are_compared_as_such() {
        check(
            "192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, \
             [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, 2002:db8:a::45/64, ::ffff:172.16.0.0/108, \
             ::ffff:192.0.2.1",
            &[
                ("192.168.1.1", false),
                ("192.168.1.1:99", false),
                ("[::ffff:192.168.1.1]", false),
                ("192.168.1.2", true),
                ("192.168.1.2:81", false),
                ("192.168.1.3", false),
                ("192.168.1.4", true),
                ("10.0.0.2", false),
                ("10.0.0.4", true),
                ("[2001:db8::52:0:1]", false),
                ("[2001:db8:0:0:0:52:0:1]", false),
                ("[2001:db8::52:0:2]", true),
                ("[2001:db8::52:0:2]:443", false),
                ("[2001:db8::52:0:3]", false),
                ("[2002:db8:a::123]", false),
                ("[2002:db8:b::123]", true),
                ("172.16.9.9", false),
                ("172.32.0.1", true),
                ("192.0.2.1", false),
                ("[fe80::424b:c8be:1643:a1b6]", true),
            ],
        );
        // An address never counts as a name, with any ending.
        check(".1.1, 1.1", &[("192.168.1.1", true)]);
        // IPv4 is in no network of IPv6.
        check("::/0", &[("192.168.1.1", true), ("[2001:db8::1]", false)]);
    }

    #[test]
    fn entries_that_are_none_exempt_nothing() {
        check(
            ":1, , ,:,[::2],10.0.0.0/33,.",
            &[("example.com:1", true), ("[::2]", true)],
        );
        // Leading zeros are octal to some readers.
        check(
            "10.0.0.010/24, 10.0.1.010",
            &[("10.0.0.8", true), ("10.0.1.10", true)],
        );
        check("", &[("example.com", true)]);
    }

    #[test]
    fn an_asterisk_exempts_everything() {
        check(
            "foo.com, * ,bar",
            &[("example.com", false), ("192.168.1.1:1", false)],
        );
        check("*com", &[("example.com", true)]);
    }

    #[test]
    fn user_and_password_are_decoded_for_the_proxy_and_shown_to_no_other_server() {
        for (value, user, authorization) in [
            (
                "http://user:p%40ss@proxy",
                ("user", "p@ss"),
                "Basic dXNlcjpwQHNz",
            ),
            ("http://user@proxy", ("user", ""), "Basic dXNlcjo="),
            (
                "http://us%3Aer:a:b@proxy",
                ("us:er", "a:b"),
                "Basic dXM6ZXI6YTpi",
            ),
        ] {
            let proxies = proxies(&[("HTTP_PROXY", value)]);
            let Some(Ok(proxy)) = &proxies.http else {
                panic!("a proxy");
            };
            assert_eq!(proxy.user(), Some(user), "{value}");
            let header = proxy.authorization().expect("a user");
            assert_eq!(header.as_bytes(), authorization.as_bytes());
            assert!(header.is_sensitive());
            let shown = format!("{proxies:?}");
            assert!(
                !shown.contains("Basic") && !shown.contains(user.0),
                "{shown}"
            );
            assert!(user.1.is_empty() || !shown.contains(user.1), "{shown}");
        }
        let proxies = proxies(&[("HTTP_PROXY", "http://proxy")]);
        assert!(matches!(&proxies.http, Some(Ok(proxy)) if proxy.authorization().is_none()));
    }
}
