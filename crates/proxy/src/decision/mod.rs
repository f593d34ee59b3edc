//! What is to be done with a request: one verdict, from its head alone.
//!
//! [`decide`] asks the rules in their order: the page and `Host` that a request tells of
//! ([`browser`]), its route ([`route`]), what its connection may do ([`rights`]), whether there are
//! signatures for its destination ([`destination`]), and the scopes that it narrows itself to
//! ([`scopes`]). What it is not: it waits for nothing, answers nothing, and does not depend on how
//! fields are stored.

pub mod browser;
pub mod destination;
pub mod rights;
pub mod route;
pub mod scopes;

use http::uri::Authority;
use http::{Method, StatusCode, Version};
use thiserror::Error;

use crate::code::Code;
use crate::message::fields::Fields;
use crate::message::target::TargetError;
use browser::{BrowserError, BrowserGuard};
use destination::{Destinations, NotListed};
use rights::Rights;
use route::{Here, RootUrl, Route, Target, route};
use scopes::NarrowingError;

/// What requests are judged by; the same for every request of a proxy.
#[derive(Clone)]
pub struct Rules {
    /// The deployment's root URL.
    pub root: RootUrl,
    /// Pages and hosts that are served.
    pub guard: BrowserGuard,
    /// Where signatures may go.
    pub destinations: Destinations,
    /// The proxy's own restriction. `None` restricts nothing; an empty list permits no scope.
    pub restriction: Option<Vec<String>>,
}

impl Rules {
    /// The same rules for a thread of its own. Each request counts the users of the root URL's
    /// origin, and threads that shared that count would wait for each other.
    pub fn apart(&self) -> Self {
        Self {
            root: self.root.apart(),
            ..self.clone()
        }
    }
}

/// The parts of a request's head on which the verdict depends.
pub struct Asked<'a, F> {
    pub method: &'a Method,
    /// Path and query in origin form, or why there are none.
    pub target: Result<&'a str, TargetError>,
    /// Of an absolute-form target, or HTTP/2's `:authority`.
    pub authority: Option<&'a Authority>,
    pub version: Version,
    pub fields: &'a F,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Sign it and send it there, with its scopes narrowed to these.
    Forward(Target, Option<Vec<String>>),
    /// Answer it here; a bewit is narrowed to these scopes.
    Here(Here, Option<Vec<String>>),
    /// Refuse it; the target is where it would have gone.
    Refuse(Denied, Option<Target>),
}

/// Why a request is refused for its head.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum Denied {
    /// A page, or a `Host` that is not answered.
    #[error(transparent)]
    Browser(#[from] BrowserError),
    /// A request target that HTTP does not carry unchanged.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No route.
    #[error(
        "no such route: use /api/<service>/<version>/<path>, /<host.name>/<path> \
         or /<service>/<version>/<path>"
    )]
    NoRoute,
    /// A method that this resource does not have.
    #[error("this method is not allowed here: use {allow}")]
    Method {
        /// Value of `Allow`.
        allow: &'static str,
    },
    /// The connection's other end belongs to another user.
    #[error("this proxy does not serve your user")]
    User,
    /// The connection's other end may not change the credentials.
    #[error("only root and the user that the proxy runs as may update its credentials")]
    UpdateUser,
    /// The connection is reserved for updates, since all others are in use.
    #[error("the proxy is busy: try again later")]
    Busy,
    /// A host that no signature goes to.
    #[error(transparent)]
    NotListed(#[from] NotListed),
    /// The audit log takes nothing.
    #[error(
        "the audit log cannot be written, and nothing is signed without it (see --audit-log and \
         --audit-required)"
    )]
    NotRecorded,
    /// `X-Taskcluster-Authorized-Scopes` is malformed (400), or the proxy may not sign for its
    /// scopes (403).
    #[error(transparent)]
    Scopes(#[from] NarrowingError),
}

/// Judges a request of a connection that has `rights`.
pub fn decide<F: Fields>(asked: &Asked<'_, F>, rights: Rights, rules: &Rules) -> Verdict {
    match find(asked, rights, rules) {
        Ok(Route::Upstream(target)) => match may_be_signed(&target, asked.fields, rules) {
            Ok(scopes) => Verdict::Forward(target, scopes),
            Err(denied) => Verdict::Refuse(denied, Some(target)),
        },
        Ok(Route::Here(Here::Bewit)) => match narrowing(asked.fields, rules) {
            Ok(scopes) => Verdict::Here(Here::Bewit, scopes),
            Err(error) => Verdict::Refuse(error.into(), None),
        },
        Ok(Route::Here(here)) => Verdict::Here(here, None),
        Ok(Route::None) => Verdict::Refuse(Denied::NoRoute, None),
        Ok(Route::Malformed(error)) => Verdict::Refuse(error.into(), None),
        Err(denied) => Verdict::Refuse(denied, None),
    }
}

/// The route of a request, if the request may take it.
fn find<F: Fields>(asked: &Asked<'_, F>, rights: Rights, rules: &Rules) -> Result<Route, Denied> {
    if asked.method == Method::CONNECT {
        return Err(Denied::Method {
            allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        });
    }
    let guard = &rules.guard;
    guard.check(asked.fields, asked.authority, asked.version)?;
    let route = route(asked.target?, &rules.root);
    let is_signed = matches!(route, Route::Upstream(_) | Route::Here(Here::Bewit));
    if is_signed && !rights.proxy {
        return Err(Denied::User);
    }
    if is_signed && rights.reserved {
        return Err(Denied::Busy);
    }
    if let Route::Here(here) = &route {
        let allow = here.allow();
        if !allow.split(", ").any(|allowed| allowed == asked.method) {
            return Err(Denied::Method { allow });
        }
        if *here == Here::Credentials && !rights.update {
            return Err(Denied::UpdateUser);
        }
    }
    Ok(route)
}

/// The scopes that a request for `target` is narrowed to, where there are signatures for it.
fn may_be_signed<F: Fields>(
    target: &Target,
    fields: &F,
    rules: &Rules,
) -> Result<Option<Vec<String>>, Denied> {
    rules.destinations.check(&target.origin)?;
    Ok(narrowing(fields, rules)?)
}

/// The scopes that a request asks to be narrowed to, within the restriction.
fn narrowing<F: Fields>(fields: &F, rules: &Rules) -> Result<Option<Vec<String>>, NarrowingError> {
    let asked = scopes::parse_narrowing(fields)?;
    if let Some(asked) = &asked {
        scopes::narrow(rules.restriction.as_deref(), asked)?;
    }
    Ok(asked)
}

impl Verdict {
    /// Whether the verdict leads to a signature.
    pub fn signs(&self) -> bool {
        matches!(self, Self::Forward(..) | Self::Here(Here::Bewit, _))
    }

    /// The same request, refused.
    pub fn refused(self, denied: Denied) -> Self {
        match self {
            Self::Forward(target, _) => Self::Refuse(denied, Some(target)),
            _ => Self::Refuse(denied, None),
        }
    }
}

impl Denied {
    /// The refusal's stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Browser(error) => error.code(),
            Self::Scopes(error) => error.code(),
            Self::Target(_) => Code::Target,
            Self::NoRoute => Code::NoRoute,
            Self::Method { .. } => Code::Method,
            Self::User => Code::User,
            Self::UpdateUser => Code::UpdateUser,
            Self::NotListed(_) => Code::NotListed,
            Self::Busy => Code::Busy,
            Self::NotRecorded => Code::NotRecorded,
        }
    }

    /// The answer's status: 400, 403, 404, 405, 421 or 503.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Browser(error) => error.status(),
            Self::Scopes(error) => error.status(),
            Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::User | Self::UpdateUser | Self::NotListed(_) => StatusCode::FORBIDDEN,
            Self::Busy | Self::NotRecorded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether nothing more is read from the connection: two parsers may read differently what was
    /// sent, and therefore what follows it.
    pub fn closes(&self) -> bool {
        match self {
            Self::Target(_) => true,
            Self::Browser(error) => error.status() == StatusCode::BAD_REQUEST,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{HOST, HeaderValue, ORIGIN};

    use super::browser::HostRule;
    use super::*;
    use crate::message::fields::FieldLines;
    use crate::message::names::AUTHORIZED_SCOPES;

    const TASK: Rights = Rights {
        proxy: true,
        update: false,
        reserved: false,
    };
    const LAUNCHER: Rights = Rights {
        proxy: false,
        update: true,
        reserved: false,
    };
    const HELD_BACK: Rights = Rights {
        reserved: true,
        ..Rights::ALL
    };

    fn rules() -> Rules {
        let root = RootUrl::parse("https://tc.example.com").unwrap();
        let listed = ["*.example.org".to_owned()];
        Rules {
            destinations: Destinations::new(&root, &listed).unwrap(),
            root,
            guard: BrowserGuard {
                allow_cross_site: false,
                hosts: HostRule::new(&[], None).unwrap(),
            },
            restriction: Some(vec!["a:*".to_owned()]),
        }
    }

    /// The verdict in a few letters; the same for a map and for lines.
    fn judged(
        request: &str,
        fields: &[(http::HeaderName, &'static str)],
        rights: Rights,
    ) -> String {
        let (method, target) = request.split_once(' ').unwrap();
        let method = method.parse().unwrap();
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("taskcluster"));
        for (name, value) in fields {
            map.insert(name.clone(), HeaderValue::from_static(value));
        }
        let lines = FieldLines::from_map(&map);
        let of_map = decide(&asked(&method, target, &map), rights, &rules());
        let of_lines = decide(&asked(&method, target, &lines), rights, &rules());
        assert_eq!(of_map, of_lines, "{request}");
        match of_map {
            Verdict::Forward(target, scopes) => format!("{target} {scopes:?}"),
            Verdict::Here(here, scopes) => format!("{here:?} {scopes:?}"),
            Verdict::Refuse(denied, target) => {
                let target = target.map_or(String::new(), |target| format!(" {target}"));
                format!("{}{target}", denied.status().as_u16())
            }
        }
    }

    fn asked<'a, F>(method: &'a Method, target: &'a str, fields: &'a F) -> Asked<'a, F> {
        Asked {
            method,
            target: Ok(target),
            authority: None,
            version: Version::HTTP_11,
            fields,
        }
    }

    #[test]
    fn each_request_gets_one_verdict() {
        let all = Rights::ALL;
        let ping = "https://tc.example.com/api/queue/v1/ping";
        let foreign = (ORIGIN, "http://evil.example.com");
        let public = (HOST, "tc.example.com");
        let within = (AUTHORIZED_SCOPES, r#"["a:b"]"#);
        let beyond = (AUTHORIZED_SCOPES, r#"["b"]"#);
        for (request, fields, rights, verdict) in [
            ("GET /queue/v1/ping", vec![], all, format!("{ping} None")),
            ("GET /queue/v1/ping", vec![], TASK, format!("{ping} None")),
            ("GET /queue/v1/ping", vec![], LAUNCHER, "403".into()),
            ("GET /queue/v1/ping", vec![], HELD_BACK, "503".into()),
            (
                "GET /queue/v1/ping",
                vec![foreign.clone()],
                all,
                "403".into(),
            ),
            (
                "GET /queue/v1/ping",
                vec![public.clone()],
                all,
                "421".into(),
            ),
            (
                "GET /queue/v1/ping",
                vec![within.clone()],
                all,
                format!(r#"{ping} Some(["a:b"])"#),
            ),
            (
                "GET /queue/v1/ping",
                vec![beyond.clone()],
                all,
                format!("403 {ping}"),
            ),
            (
                "GET /a.example.org/x",
                vec![],
                all,
                "https://a.example.org/x None".into(),
            ),
            (
                "GET /a.example.net/x",
                vec![],
                all,
                "403 https://a.example.net/x".into(),
            ),
            ("GET /a.example.net/x", vec![], HELD_BACK, "503".into()),
            ("GET /nowhere", vec![], all, "404".into()),
            ("GET /nowhere", vec![], LAUNCHER, "404".into()),
            ("GET /queue/v1/<x>", vec![], all, "400".into()),
            ("CONNECT /queue/v1/ping", vec![], all, "405".into()),
            ("POST /bewit", vec![], all, "Bewit None".into()),
            (
                "POST /bewit",
                vec![within],
                all,
                r#"Bewit Some(["a:b"])"#.into(),
            ),
            ("POST /bewit", vec![beyond], all, "403".into()),
            ("GET /bewit", vec![], all, "405".into()),
            ("POST /bewit", vec![], LAUNCHER, "403".into()),
            ("GET /bewit", vec![], LAUNCHER, "403".into()),
            ("POST /bewit", vec![], HELD_BACK, "503".into()),
            ("PUT /credentials", vec![], all, "Credentials None".into()),
            ("PUT /credentials", vec![], TASK, "403".into()),
            (
                "PUT /credentials",
                vec![],
                LAUNCHER,
                "Credentials None".into(),
            ),
            (
                "PUT /credentials",
                vec![],
                HELD_BACK,
                "Credentials None".into(),
            ),
            ("PUT /credentials", vec![foreign], all, "403".into()),
            ("PUT /credentials", vec![public], all, "421".into()),
            ("GET /credentials", vec![], TASK, "405".into()),
            ("GET /__metrics__", vec![], LAUNCHER, "Metrics None".into()),
            (
                "HEAD /__heartbeat__",
                vec![],
                HELD_BACK,
                "Heartbeat None".into(),
            ),
            ("POST /__version__", vec![], all, "405".into()),
        ] {
            assert_eq!(
                judged(request, &fields, rights),
                verdict,
                "{request} {rights:?}"
            );
        }
    }

    #[test]
    fn a_target_that_is_none_is_refused_behind_the_guard() {
        let map = HeaderMap::from_iter([(HOST, HeaderValue::from_static("taskcluster"))]);
        let asked = Asked {
            target: Err(TargetError::Form),
            ..asked(&Method::OPTIONS, "", &map)
        };
        assert_eq!(
            decide(&asked, Rights::ALL, &rules()),
            Verdict::Refuse(Denied::Target(TargetError::Form), None)
        );
    }
}
