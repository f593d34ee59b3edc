//! The parts of a request that Hawk signs, and how a URL is split into them without changing a byte.

use crate::character::named;

/// The parts of a request that enter the normalised string.
///
/// The caller vouches for the bytes: no control characters in any part, `target` in origin form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedRequest<'a> {
    /// As sent; counts in upper case.
    pub method: &'a str,
    /// The request target in origin form: path and query, byte for byte as sent.
    pub target: &'a str,
    /// Host name in any case (it counts in lower case); an IPv6 address with its brackets.
    pub host: &'a str,
    /// The port of the URL, or the scheme's own.
    pub port: u16,
}

/// An absolute URL, taken apart into what [`SignedRequest`] needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Path and query as they stand in the URL, `/` in place of an empty path, no fragment.
    pub target: String,
    /// Host as it stands in the URL; an IPv6 address with its brackets.
    pub host: String,
    /// The URL's port, or 80 for `http` and 443 for `https`.
    pub port: u16,
}

/// Why a request to a URL cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Not `http://` or `https://`.
    #[error("not an absolute http or https URL: begin it with https:// and a host name")]
    Scheme,
    /// A space, a control character, a backslash or a character above 0x7F.
    #[error("the URL contains {}, which no request target can: percent-encode it", named(*.0))]
    Character(char),
    /// `user:password@`.
    #[error("the URL names a user: remove everything up to the @")]
    User,
    /// Empty, or brackets that do not hold an IPv6 address.
    #[error("the URL names no valid host: put a host name or a bracketed IPv6 address after //")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535: correct it or leave it out")]
    Port,
    /// Not a token.
    #[error("the method is not an HTTP method: use letters, digits and !#$%&'*+-.^_`|~ only")]
    Method,
}

impl Resource {
    /// Takes an absolute http or https URL apart. Nothing is normalised: dot segments, `//` and
    /// percent-encodings stay, since what is signed must be what is sent.
    pub fn parse(url: &str) -> Result<Self, ResourceError> {
        let (default_port, rest) = split_scheme(url)?;
        if let Some(c) = url.chars().find(|&c| !c.is_ascii_graphic() || c == '\\') {
            return Err(ResourceError::Character(c));
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(ResourceError::User);
        }
        let (host, port) = split_port(authority)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            target: format!("{slash}{target}"),
            host: host.to_owned(),
            port: port.unwrap_or(default_port),
        })
    }

    /// This resource as a request with `method`, which must be a token (RFC 9110 5.6.2): with a
    /// line feed in it, one request could pass for another.
    pub fn request<'a>(&'a self, method: &'a str) -> Result<SignedRequest<'a>, ResourceError> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if method.is_empty() || !method.chars().all(token) {
            return Err(ResourceError::Method);
        }
        Ok(SignedRequest {
            method,
            target: &self.target,
            host: &self.host,
            port: self.port,
        })
    }
}

fn split_scheme(url: &str) -> Result<(u16, &str), ResourceError> {
    let (scheme, rest) = url.split_once("://").ok_or(ResourceError::Scheme)?;
    match scheme {
        s if s.eq_ignore_ascii_case("https") => Ok((443, rest)),
        s if s.eq_ignore_ascii_case("http") => Ok((80, rest)),
        _ => Err(ResourceError::Scheme),
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), ResourceError> {
    let host_end = match authority.strip_prefix('[') {
        Some(inner) => {
            let (address, _) = inner.split_once(']').ok_or(ResourceError::Host)?;
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| ResourceError::Host)?;
            address.len() + 2
        }
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if host.is_empty() || host[1..].contains('[') {
        return Err(ResourceError::Host);
    }
    match port {
        // RFC 3986 3.2.3: an empty port means the scheme's own.
        "" | ":" => Ok((host, None)),
        _ => {
            let digits = port.strip_prefix(':').ok_or(ResourceError::Host)?;
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ResourceError::Port);
            }
            match digits.parse() {
                Ok(0) | Err(_) => Err(ResourceError::Port),
                Ok(port) => Ok((host, Some(port))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart_and_changes_nothing() {
        let table = [
            ("https://example.com", "example.com", 443, "/"),
            ("http://example.com", "example.com", 80, "/"),
            ("HTTPS://Example.COM/", "Example.COM", 443, "/"),
            ("https://example.com:8443/a", "example.com", 8443, "/a"),
            ("https://example.com:/a", "example.com", 443, "/a"),
            ("https://example.com:443", "example.com", 443, "/"),
            ("https://example.com?x=/@:[", "example.com", 443, "/?x=/@:["),
            ("https://example.com/?", "example.com", 443, "/?"),
            (
                "https://example.com/a//b/../c/./%2F%252f;d+e//",
                "example.com",
                443,
                "/a//b/../c/./%2F%252f;d+e//",
            ),
            (
                "https://example.com/a?b=1&c=%20&&d?e=f#fragment?g",
                "example.com",
                443,
                "/a?b=1&c=%20&&d?e=f",
            ),
            ("https://example.com#/x", "example.com", 443, "/"),
            ("http://127.0.0.1:1/", "127.0.0.1", 1, "/"),
            ("http://[::1]/", "[::1]", 80, "/"),
            ("http://[FE80::1]:8080/x", "[FE80::1]", 8080, "/x"),
            ("https://example.com/x@y:z", "example.com", 443, "/x@y:z"),
        ];
        for (url, host, port, target) in table {
            let resource = Resource::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            let request = resource.request("GET").unwrap();
            let expected = SignedRequest {
                method: "GET",
                target,
                host,
                port,
            };
            assert_eq!(request, expected, "{url}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_take_apart() {
        use ResourceError::{Character, Host, Port, Scheme, User};
        let table = [
            ("", Scheme),
            ("/queue/v1/ping", Scheme),
            ("//example.com/", Scheme),
            ("example.com/", Scheme),
            ("ftp://example.com/", Scheme),
            (" https://example.com/", Scheme),
            ("https:/example.com/", Scheme),
            ("https://example.com/a b", Character(' ')),
            ("https://example.com/\n", Character('\n')),
            ("https://example.com\\@evil.com/", Character('\\')),
            ("https://exämple.com/", Character('ä')),
            ("https://user@example.com/", User),
            ("https://user:password@example.com/", User),
            ("https://@example.com/", User),
            ("https:///a", Host),
            ("https://", Host),
            ("https://:443/", Host),
            ("https://[::1/", Host),
            ("https://[]/", Host),
            ("https://[example.com]/", Host),
            ("https://[::1]x/", Host),
            ("https://a[::1]/", Host),
            ("https://example.com:0/", Port),
            ("https://example.com:65536/", Port),
            ("https://example.com:+80/", Port),
            ("https://example.com:80x/", Port),
            ("https://example.com:80:80/", Port),
            ("https://::1/", Host),
        ];
        for (url, error) in table {
            assert_eq!(Resource::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_method_is_a_token() {
        let resource = Resource::parse("https://example.com/").unwrap();
        for method in ["GET", "get", "M-SEARCH", "!#$%&'*+-.^_`|~9"] {
            assert_eq!(resource.request(method).map(|r| r.method), Ok(method));
        }
        for method in [
            "", " ", "GET ", "GET\n/", "G\rT", "GÉT", "G/T", "\"GET\"", "G\0T",
        ] {
            assert_eq!(
                resource.request(method),
                Err(ResourceError::Method),
                "{method}"
            );
        }
    }

    #[test]
    fn says_what_to_do() {
        let table = [
            (
                ResourceError::Method,
                "the method is not an HTTP method: use letters, digits and !#$%&'*+-.^_`|~ only",
            ),
            (
                ResourceError::Scheme,
                "not an absolute http or https URL: begin it with https:// and a host name",
            ),
            (
                ResourceError::Character(' '),
                "the URL contains ' ', which no request target can: percent-encode it",
            ),
            (
                ResourceError::User,
                "the URL names a user: remove everything up to the @",
            ),
            (
                ResourceError::Host,
                "the URL names no valid host: put a host name or a bracketed IPv6 address after //",
            ),
            (
                ResourceError::Port,
                "the URL's port is not a number from 1 to 65535: correct it or leave it out",
            ),
        ];
        for (error, sentence) in table {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
