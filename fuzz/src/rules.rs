//! What the rules read beside the target: the page and the host behind a request, its scopes, and the
//! outgoing proxy that the environment names.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use taskcluster_proxy_core::fuzzing;
use url::{Host, Url};

use super::lines;

const PRIVATE: [&str; 10] = [
    "localhost",
    "internal",
    "local",
    "test",
    "lan",
    "home.arpa",
    "localdomain",
    "localdomain4",
    "localdomain6",
    "svc",
];

/// A request that the guard lets pass names a host that a browser, which reads it as the `url` crate
/// does, takes for an address or a name that public DNS does not serve; and its `Origin` is that host's.
pub fn browser(bytes: &[u8]) -> bool {
    let mut fields = HeaderMap::new();
    let mut values = bytes.split(|byte| *byte == b'\n');
    let names = [HOST, ORIGIN, HeaderName::from_static("sec-fetch-site")];
    for (name, value) in names.iter().zip(&mut values) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.insert(name, value);
        }
    }
    if fuzzing::guard(&fields).is_err() {
        return false;
    }
    let text = |name| {
        fields
            .get(name)
            .map(|value| value.to_str().unwrap_or_default().trim())
    };
    let host = text(&names[0]).expect("a Host");
    let site = text(&names[2]).unwrap_or_default().to_ascii_lowercase();
    assert!(site != "cross-site" && site != "same-site");
    // A zone is not a browser's, nor is an underscore in front of a number.
    let Ok(own) = Url::parse(&format!("http://{host}/")) else {
        assert!(text(&names[1]).is_none_or(|origin| {
            origin.ends_with(host)
                || origin
                    .to_ascii_lowercase()
                    .ends_with(&host.to_ascii_lowercase())
                || origin.ends_with(|last: char| last.is_ascii_digit() || last == ':')
                || host.ends_with(|last: char| last.is_ascii_digit() || last == ':')
        }));
        return true;
    };
    assert!(own.username().is_empty() && own.path() == "/" && own.query().is_none());
    if let Some(Host::Domain(name)) = own.host() {
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_below = |suffix: &&str| {
            name.strip_suffix(*suffix)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        assert!(
            !name.contains('.') || PRIVATE.iter().any(is_below),
            "{name}"
        );
    }
    if let Some(origin) = text(&names[1]) {
        // `null` is the origin of a page that has none (HTML Standard 7.1.1).
        assert!(!origin.eq_ignore_ascii_case("null"));
        if let Ok(page) = Url::parse(origin) {
            assert_eq!(page.origin(), own.origin());
        }
    }
    true
}

/// The scopes to which a request is narrowed are a list as `serde_json` reads it, and give nothing
/// that the restriction does not give.
pub fn scopes(bytes: &[u8]) -> bool {
    let Some([restriction, probe, value]) = lines::<3>(bytes) else {
        return false;
    };
    let restriction: Vec<String> = restriction.split(',').map(str::to_owned).collect();
    let Ok(asked) = fuzzing::narrowed(value.as_bytes(), &restriction) else {
        return false;
    };
    assert_eq!(
        serde_json::from_str::<Vec<String>>(value).ok().as_ref(),
        Some(&asked)
    );
    for scope in asked.iter().map(String::as_str).chain([probe]) {
        assert!(scope == probe || scope.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        for given in [&asked, &restriction] {
            assert_eq!(fuzzing::satisfies(given, scope), gives(given, scope));
        }
        if gives(&asked, scope) {
            assert!(gives(&restriction, scope), "{scope} was not to be had");
        }
    }
    true
}

/// Scope satisfaction as Taskcluster's documents define it: the scope itself, or its beginning and `*`.
/// What a scope with `*` at its end stands for is more than itself, so `a**` does not give `a*`.
fn gives(scopes: &[String], wanted: &str) -> bool {
    let stem = wanted.strip_suffix('*').unwrap_or(wanted);
    let beginnings = (0..=stem.len()).filter(|end| stem.is_char_boundary(*end));
    let mut patterns = beginnings.map(|end| format!("{}*", &stem[..end]));
    scopes.iter().any(|scope| scope == wanted) || patterns.any(|pattern| scopes.contains(&pattern))
}

/// The name of an outgoing proxy shows no password, an error repeats nothing of a variable, and what
/// is reached directly is what Go's rules exempt.
pub fn outgoing_proxy(bytes: &[u8]) -> bool {
    let Some([proxy, no_proxy, host]) = lines::<3>(bytes) else {
        return false;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let is_literal = in_brackets(host).is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    if !host.bytes().all(is_plain) && !is_literal {
        return false;
    }
    let way = fuzzing::outgoing(
        |name| match name {
            "HTTPS_PROXY" => Some(proxy.to_owned()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        },
        &format!("https://{host}/"),
    );
    match &way {
        Err(sentence) => {
            // The sentence is one of few, for every value of the variable.
            assert!(sentence.len() < 200 && !sentence.contains('@'));
        }
        Ok(shown) => {
            assert!(!shown.as_ref().is_some_and(|shown| shown.contains('@')));
            let is_direct = proxy.trim().is_empty() || is_exempt(no_proxy, host);
            assert_eq!(shown.is_none(), is_direct, "{shown:?}");
        }
    }
    way.is_ok()
}

/// Whether https requests to `host` go past the proxy, as package `golang.org/x/net/http/httpproxy`
/// judges (`config.useProxy`). A name is compared with names alone, an address with addresses.
fn is_exempt(no_proxy: &str, host: &str) -> bool {
    let host = in_brackets(host).unwrap_or(host).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|ip| ip.to_canonical().is_loopback()) {
        return true;
    }
    no_proxy
        .split(',')
        .map(|entry| entry.trim().to_ascii_lowercase())
        .any(|entry| entry == "*" || exempts(&entry, &host, address))
}

fn exempts(entry: &str, host: &str, address: Option<IpAddr>) -> bool {
    if let Some((network, mask)) = network(entry) {
        let first = Ipv6Addr::from_bits(bits(network) & mask);
        return address.is_some_and(|ip| {
            ip.to_canonical().is_ipv4() == first.to_ipv4_mapped().is_some()
                && bits(ip) & mask == first.to_bits()
        });
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains([':', '[', ']']) => (name, port),
        Some((name, port)) => in_brackets(name).map_or((entry, ""), |name| (name, port)),
        None => (entry, ""),
    };
    if !matches!(port, "" | "443") {
        return false;
    }
    match (name.parse::<IpAddr>(), address) {
        (Ok(named), Some(ip)) => named.to_canonical() == ip.to_canonical(),
        (Ok(_), None) | (Err(_), Some(_)) => false,
        (Err(_), None) => {
            let name = name
                .strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(name);
            match name.strip_prefix('.') {
                _ if name.is_empty() => false,
                Some(_) => host.ends_with(name),
                None => host == name || host.ends_with(&format!(".{name}")),
            }
        }
    }
}

fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// A network and its mask, in the bits of an IPv6 address.
fn network(entry: &str) -> Option<(IpAddr, u128)> {
    let (address, prefix) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let length: u32 = prefix.parse().ok().filter(|_| digits)?;
    let width: u32 = if address.is_ipv4() { 32 } else { 128 };
    let host_bits = width.checked_sub(length)?;
    Some((address, u128::MAX.checked_shl(host_bits).unwrap_or(0)))
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}
