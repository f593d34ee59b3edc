//! Request targets and URLs.

use http::Uri;
use taskcluster_proxy_core::fuzzing::{self, Way};
use taskcluster_proxy_hawk::Resource;
use url::{Host, Url};

use super::lines;

const ROOT: &str = "https://tc.example.com";

/// The target goes out as it came, without the name that it was routed by. Scheme, host and port are
/// those that `http::Uri` reads in the upstream's URL, and the `url` crate where it has a name. An
/// absolute form is routed as its path is. Only a name that stands alone is answered here. A host that
/// `url` takes for this machine or one of its link, in whichever notation, is kept off.
pub fn route(bytes: &[u8]) -> bool {
    let Ok(target) = std::str::from_utf8(bytes) else {
        return false;
    };
    if let Ok(uri) = target.parse::<Uri>()
        && let Some(origin_form) = fuzzing::origin_form(&uri)
    {
        assert!(origin_form.starts_with('/') && !origin_form.contains('#'));
        let authority = uri.authority();
        assert!(authority.is_none_or(|authority| !authority.as_str().contains('@')));
    }
    let way = fuzzing::way(target, ROOT).expect("a root URL");
    if !fuzzing::is_target(bytes) {
        assert_eq!(way, Way::Malformed);
        return false;
    }
    if target.starts_with('/') && target.len() < 60_000 {
        let absolute = format!("http://taskcluster{target}")
            .parse::<Uri>()
            .expect("a URL");
        assert_eq!(fuzzing::origin_form(&absolute).as_deref(), Some(target));
    }
    let path = target.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').collect();
    match &way {
        Way::Here => assert!(segments.len() == 2 && segments[0].is_empty()),
        Way::Upstream(origin, host, port, sent) => {
            if *origin == ROOT {
                let is_whole = segments[1] == "api";
                assert_eq!(
                    *sent,
                    if is_whole {
                        target.to_owned()
                    } else {
                        format!("/api{target}")
                    }
                );
                let [_, api, service, version, _, ..] = sent.split('/').collect::<Vec<_>>()[..]
                else {
                    panic!("no service: {sent}");
                };
                assert!(api == "api" && !service.is_empty() && !version.is_empty());
            } else {
                let rest = &target[1 + segments[1].len()..];
                assert!(*sent == rest || *sent == format!("/{rest}") && !rest.starts_with('/'));
                assert_eq!(*host, segments[1].to_ascii_lowercase());
                assert!(host.contains('.') && *port == 443 && *origin == format!("https://{host}"));
                assert!(!is_near(origin) || fuzzing::is_kept_off(origin));
            }
            reads_alike(&format!("{origin}{sent}"), host, *port, sent);
        }
        Way::None | Way::Malformed => {}
    }
    matches!(way, Way::Upstream(..))
}

fn is_near(origin: &str) -> bool {
    let url = Url::parse(origin).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Ipv4(ip)) => ip.octets()[0] == 0 || ip.is_loopback() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unicast_link_local(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Three readers of ours read the URL of `POST /bewit`, the root URL and a URL that Hawk signs. If two
/// of them accept a URL, they read the same in it, and so do `http::Uri` and `url`.
pub fn url_to_sign(bytes: &[u8]) -> bool {
    let Some([url]) = lines::<1>(bytes) else {
        return false;
    };
    if let Ok(way) = fuzzing::way("/queue/v1/ping", url) {
        let Way::Upstream(origin, host, port, _) = way else {
            panic!("no route");
        };
        let read = Url::parse(url);
        if let Ok(read) = &read {
            assert!(read.username().is_empty() && read.password().is_none());
            assert!(read.path() == "/" && read.query().is_none() && read.fragment().is_none());
        }
        reads_alike(&origin, &host, port, "/");
    }
    let Some((host, port, target, signed)) = fuzzing::bewit_url(bytes) else {
        return false;
    };
    assert!(signed.ends_with("bewit=x"));
    assert!(!fuzzing::has_bewit(
        target.split_once('?').map_or("", |(_, query)| query)
    ));
    let unsigned = &signed[..signed.len() - "?bewit=x".len()];
    assert!(unsigned.ends_with(&target) && !unsigned.contains('#'));
    assert!(
        fuzzing::bewit_url(signed.as_bytes()).is_none(),
        "it would be signed twice"
    );
    if let Ok(resource) = Resource::parse(unsigned) {
        assert_eq!(resource.target, target);
        assert_eq!(
            (resource.host.to_ascii_lowercase(), resource.port),
            (host.clone(), port)
        );
    }
    reads_alike(unsigned, &host, port, &target);
    true
}

/// Host, port and target of a URL are what other readers find in it.
fn reads_alike(text: &str, host: &str, port: u16, target: &str) {
    if let Ok(uri) = text.parse::<Uri>() {
        assert_eq!(
            uri.host().map(str::to_ascii_lowercase).as_deref(),
            Some(host)
        );
        if let Some(named) = uri.port_u16() {
            assert_eq!(named, port);
        }
        assert_eq!(
            uri.path_and_query().map_or("/", |target| target.as_str()),
            target
        );
    }
    // `url` reads numbers as addresses, decodes names, and takes `\` for `/`.
    if let Ok(url) = Url::parse(text) {
        match url.host() {
            Some(Host::Domain(name)) if !text.contains('\\') => assert_eq!(name, host),
            Some(Host::Ipv6(ip)) => {
                assert_eq!(host[1..host.len() - 1].parse(), Ok(ip));
            }
            Some(Host::Ipv4(ip)) => {
                // `1.2` is an address to `url` and to resolvers; a dotted quad is one to every
                // reader.
                assert!(host.parse() == Ok(ip) || host.parse::<std::net::Ipv4Addr>().is_err());
            }
            _ => {}
        }
        assert_eq!(url.port_or_known_default(), Some(port));
    }
}
