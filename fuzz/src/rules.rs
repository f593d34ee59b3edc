//! What the rules read beside the target: the page and the host behind a request, its scopes, and the
//! outgoing proxy that the environment names.

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
pub fn browser(bytes: &[u8]) {
    let mut fields = HeaderMap::new();
    let mut values = bytes.split(|byte| *byte == b'\n');
    let names = [HOST, ORIGIN, HeaderName::from_static("sec-fetch-site")];
    for (name, value) in names.iter().zip(&mut values) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.insert(name, value);
        }
    }
    if fuzzing::guard(&fields).is_err() {
        return;
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
        return;
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
}

/// What a request is narrowed to is a list of scopes as `serde_json` reads it, and gives nothing that
/// the restriction does not give.
pub fn scopes(bytes: &[u8]) {
    let Some([restriction, probe, value]) = lines::<3>(bytes) else {
        return;
    };
    let restriction: Vec<String> = restriction.split(',').map(str::to_owned).collect();
    let Ok(asked) = fuzzing::narrowed(value.as_bytes(), &restriction) else {
        return;
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
}

/// Scope satisfaction as Taskcluster's documents define it: the scope itself, or its beginning and `*`.
fn gives(scopes: &[String], wanted: &str) -> bool {
    let beginnings = (0..=wanted.len()).filter(|end| wanted.is_char_boundary(*end));
    let mut patterns = beginnings.map(|end| format!("{}*", &wanted[..end]));
    scopes.iter().any(|scope| scope == wanted) || patterns.any(|pattern| scopes.contains(&pattern))
}

/// The name of an outgoing proxy shows no password, an error repeats nothing of a variable, and
/// loopback and the exceptions of `NO_PROXY` are reached directly, with any other exceptions beside.
pub fn outgoing_proxy(bytes: &[u8]) {
    let Some([proxy, no_proxy, host]) = lines::<3>(bytes) else {
        return;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if !host.bytes().all(is_plain) {
        return;
    }
    let url = format!("https://{host}/");
    let way = |no_proxy: &str| {
        let no_proxy = no_proxy.to_owned();
        fuzzing::outgoing(
            move |name| match name {
                "HTTPS_PROXY" => Some(proxy.to_owned()),
                "NO_PROXY" => Some(no_proxy.clone()),
                _ => None,
            },
            &url,
        )
    };
    match way(no_proxy) {
        Err(sentence) => {
            // The sentence is one of few, for every value of the variable.
            assert!(sentence.len() < 200 && !sentence.contains('@'));
        }
        Ok(Some(shown)) => {
            assert!(!shown.contains('@'), "{shown}");
            assert!(!proxy.trim().is_empty());
            assert_eq!(way(&format!("{no_proxy},*")), Ok(None));
            assert_eq!(way(&format!("{no_proxy}, {host} ")), Ok(None));
            let host = host.to_ascii_lowercase();
            assert!(!no_proxy.split(',').any(|entry| entry.trim() == host));
            let address = host.parse::<std::net::Ipv4Addr>();
            assert!(host != "localhost" && !address.is_ok_and(|ip| ip.is_loopback()));
        }
        Ok(None) => {
            // An exception stays one beside others.
            if !proxy.trim().is_empty() {
                assert_eq!(way(&format!("{no_proxy},other.example.com")), Ok(None));
            }
        }
    }
}
