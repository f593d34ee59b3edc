//! What happens to every request, step by step, with the allocations that it may make. Timed
//! by `steps.rs`, and counted by `tests/allocations.rs`.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use taskcluster_proxy_bench::{allocations_of, black_box};
use taskcluster_proxy_core::Credentials;
use taskcluster_proxy_core::bench::Steps;

/// One thing that is done to a head.
pub struct Case {
    pub name: &'static str,
    /// The most allocations for one head.
    pub allocations: u64,
    pub head: fn() -> HeaderMap,
    pub run: Box<dyn FnMut(&mut HeaderMap)>,
}

impl Case {
    pub fn assert_allocations(&mut self) {
        let counted = allocations_of(self.head, &mut self.run);
        let (name, most) = (self.name, self.allocations);
        assert!(
            counted <= most,
            "{name}: {counted} allocations, at most {most}"
        );
    }
}

pub fn all() -> Vec<Case> {
    let steps = Rc::new(steps());
    let route = |name, allocations, target: &'static str| {
        let steps = Rc::clone(&steps);
        let uri = Uri::from_static(target);
        Case {
            name,
            allocations,
            head: HeaderMap::new,
            run: Box::new(move |_| steps.route(black_box(&uri))),
        }
    };
    let on_head = |name, allocations, head, step: fn(&Steps, &mut HeaderMap)| {
        let steps = Rc::clone(&steps);
        Case {
            name,
            allocations,
            head,
            run: Box::new(move |headers| step(&steps, headers)),
        }
    };
    vec![
        route(
            "route: a service",
            1,
            "/queue/v1/task/AbC/runs/0/artifacts/x?y=z",
        ),
        route(
            "route: a service under /api",
            1,
            "/api/queue/v1/task/AbC/status",
        ),
        route("route: a host", 5, "/queue.example.com/v1/task/AbC/status"),
        route("route: answered here", 0, "/bewit"),
        route("route: no such form", 0, "/queue/v1"),
        on_head("judge: no browser", 0, request, |steps, headers| {
            black_box(steps.judge(headers));
        }),
        on_head("judge: a browser", 0, browser, |steps, headers| {
            black_box(steps.judge(headers));
        }),
        on_head("headers: a request", 0, request, Steps::strip_request),
        on_head(
            "headers: a request of a browser",
            0,
            browser,
            Steps::strip_request,
        ),
        on_head(
            "headers: a request with named fields",
            2,
            named,
            Steps::strip_request,
        ),
        on_head("headers: an answer", 0, answer, Steps::strip_response),
        on_head(
            "sign: a task's credentials",
            1,
            HeaderMap::new,
            |steps, _| {
                black_box(steps.sign(black_box("/api/queue/v1/task/AbC/status")));
            },
        ),
    ]
}

/// With credentials of a task as `queue.claimWork` returns them.
fn steps() -> Steps {
    let scopes: Vec<String> = (0..10)
        .map(|i| format!("queue:route:index.project.of.some.kind.{i}"))
        .collect();
    let certificate = format!(
        r#"{{"version":1,"scopes":{scopes:?},"start":1,"expiry":2,"seed":"{0}","signature":"{0}"}}"#,
        "s".repeat(44),
    );
    let credentials = Credentials::new("task-client/AbC/0/on/w/i", "token", Some(&certificate))
        .expect("the credentials are valid");
    Steps::new("https://tc.example.com", &credentials).expect("the root URL is valid")
}

/// As Taskcluster's clients send it.
fn request() -> HeaderMap {
    head(&[
        ("host", "taskcluster"),
        ("user-agent", "python-requests/2.32.3"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
    ])
}

fn browser() -> HeaderMap {
    head(&[
        ("host", "localhost:8080"),
        ("connection", "keep-alive"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("origin", "http://localhost:8080"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "same-origin"),
        ("cookie", "a=b; c=d"),
    ])
}

fn named() -> HeaderMap {
    head(&[
        ("host", "taskcluster"),
        ("connection", "x-hop, te"),
        ("te", "trailers"),
        ("x-hop", "1"),
    ])
}

/// As a deployment's API answers.
fn answer() -> HeaderMap {
    head(&[
        ("date", "Sat, 01 Nov 2025 00:00:00 GMT"),
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", "4711"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("x-for-trace-id", "0123456789abcdef0123456789abcdef"),
        ("x-for-request-id", "01234567-89ab-cdef-0123-456789abcdef"),
        ("access-control-allow-origin", "*"),
        ("access-control-max-age", "900"),
        ("cache-control", "no-store no-cache must-revalidate"),
        ("strict-transport-security", "max-age=15768000"),
        ("etag", "W/\"1267-aBcDeFgHiJkLmNoPqRsTuVwXyZ0\""),
        ("vary", "Accept-Encoding"),
        ("via", "1.1 google"),
    ])
}

fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}
