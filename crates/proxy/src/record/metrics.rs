//! Counters of the whole process, for `/__metrics__` in Prometheus' text format 0.0.4 and for
//! programs as a plain struct.
//!
//! Relaxed atomics: each number is right, and two of them need not be of the same instant. Counters of
//! every request are kept by thread and added up when they are read. No counter names a task, a path
//! or a client.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

/// Value of `Content-Type` for [`Metrics::prometheus`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the histogram of request durations, as Prometheus writes them and in
/// microseconds. From a local answer in a millisecond to a download of an hour.
const BOUNDS: [(&str, u64); 14] = [
    ("0.001", 1_000),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("5", 5_000_000),
    ("30", 30_000_000),
    ("120", 120_000_000),
    ("600", 600_000_000),
    ("3600", 3_600_000_000),
];

/// Labels of finished requests: the class of their status, and those that ended without one since
/// the client had left.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Threads that count requests without sharing a cache line: the serving threads, and some to spare.
const PARTS: usize = 8;

/// A number that only grows, or one that goes up and down.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

/// What is counted. Shared by all threads.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Further tries of a request after its first.
    pub retries: Number,
    /// Connections that admission or the limit on connections refused.
    pub refused_connections: Number,
    /// Requests for hosts that no signature goes to.
    pub refused_upstreams: Number,
    /// Connections that were opened to upstreams.
    pub upstream_connections: Number,
    /// Credential sets put in force after the first.
    pub credential_updates: Number,
    /// Credential sets that were refused.
    pub credential_failures: Number,
    /// Log lines that found the queue full or could not be written.
    pub dropped_log_lines: Number,
    /// Lines of the audit log that found no room, or could not be written.
    pub lost_audit_lines: Number,
    open_connections: Number,
    requests: [Requests; PARTS],
    began: Began,
}

/// When counting began, which is when the proxy was started.
#[derive(Debug)]
struct Began(SystemTime);

impl Default for Began {
    fn default() -> Self {
        Self(SystemTime::now())
    }
}

/// What stands beside the counters: the program, and the credentials in force.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub version: &'a str,
    pub revision: &'a str,
    /// When the credentials expire, if they do, in milliseconds since the epoch.
    pub credentials_expiry: Option<i64>,
}

/// A thread's part of what is counted with every request, on cache lines of its own: cores that
/// write the same line wait for each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Requests {
    /// Bytes of request bodies that came from clients.
    pub request_bytes: Number,
    /// Bytes of answer bodies that went to clients.
    pub response_bytes: Number,
    /// A request may end in another part than it began in.
    running: Number,
    finished: [Number; CLASSES.len()],
    durations: [Number; BOUNDS.len()],
    duration_sum: Number,
}

/// The counters at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that have ended, with or without an answer.
    pub requests: u64,
    /// Of these, those that ended without a status since the client had left.
    pub requests_without_answer: u64,
    /// Of these, those answered 1xx (a change of protocol).
    pub requests_1xx: u64,
    /// Of these, those answered 2xx.
    pub requests_2xx: u64,
    /// Of these, those answered 3xx.
    pub requests_3xx: u64,
    /// Of these, those answered 4xx.
    pub requests_4xx: u64,
    /// Of these, those answered 5xx.
    pub requests_5xx: u64,
    /// Sum of the durations of all ended requests, in microseconds.
    pub request_microseconds: u64,
    /// Requests that run now.
    pub running_requests: u64,
    /// Connections of clients that are open now.
    pub open_connections: u64,
    /// Further tries of a request after its first.
    pub retries: u64,
    /// Connections that admission or the limit on connections refused.
    pub refused_connections: u64,
    /// Requests for hosts that no signature goes to.
    pub refused_upstreams: u64,
    /// Connections that were opened to upstreams.
    pub upstream_connections: u64,
    /// Bytes of request bodies that came from clients.
    pub request_bytes: u64,
    /// Bytes of answer bodies that went to clients.
    pub response_bytes: u64,
    /// Credential sets put in force after the first.
    pub credential_updates: u64,
    /// Credential sets that were refused.
    pub credential_failures: u64,
    /// Log lines that found the queue full or could not be written.
    pub dropped_log_lines: u64,
    /// Lines of the audit log that found no room, or could not be written.
    pub lost_audit_lines: u64,
    /// When the set in force expires, in milliseconds since the epoch; permanent credentials never
    /// do.
    pub credentials_expiry: Option<i64>,
}

/// A client's connection; closed when it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Metrics>);

// === impl Number ===

impl Number {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The number as it stands.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn take_one(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

// === impl Metrics ===

impl Metrics {
    /// The part of the thread that asks.
    pub fn requests(&self) -> &Requests {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static PART: usize = NEXT.fetch_add(1, Relaxed) % PARTS);
        &self.requests[PART.with(|part| *part)]
    }

    /// A number of every request, of all threads.
    fn sum(&self, number: impl Fn(&Requests) -> &Number) -> u64 {
        let parts = self.requests.iter().map(|part| number(part).get());
        parts.fold(0, u64::wrapping_add)
    }

    /// Counts a client's connection as open until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> OpenConnection {
        self.open_connections.add(1);
        OpenConnection(Arc::clone(self))
    }

    /// The counters as they stand.
    pub fn snapshot(&self) -> Counters {
        let finished = self.finished();
        let [
            none,
            informational,
            successful,
            redirection,
            client_error,
            server_error,
        ] = finished;
        Counters {
            requests: finished.iter().sum(),
            requests_without_answer: none,
            requests_1xx: informational,
            requests_2xx: successful,
            requests_3xx: redirection,
            requests_4xx: client_error,
            requests_5xx: server_error,
            request_microseconds: self.sum(|part| &part.duration_sum),
            running_requests: self.sum(|part| &part.running),
            open_connections: self.open_connections.get(),
            retries: self.retries.get(),
            refused_connections: self.refused_connections.get(),
            refused_upstreams: self.refused_upstreams.get(),
            upstream_connections: self.upstream_connections.get(),
            request_bytes: self.sum(|part| &part.request_bytes),
            response_bytes: self.sum(|part| &part.response_bytes),
            credential_updates: self.credential_updates.get(),
            credential_failures: self.credential_failures.get(),
            dropped_log_lines: self.dropped_log_lines.get(),
            lost_audit_lines: self.lost_audit_lines.get(),
            credentials_expiry: None,
        }
    }

    /// The counters in Prometheus' text format, and what stands beside them.
    pub fn prometheus(&self, about: About<'_>) -> String {
        let mut text = String::with_capacity(4096);
        // A String takes everything that is written to it.
        let _ = self.write(&mut text, about);
        text
    }

    fn write(&self, out: &mut String, about: About<'_>) -> fmt::Result {
        head(
            out,
            "requests_total",
            "counter",
            "Requests that have ended, by class of status.",
        )?;
        for (class, number) in CLASSES.iter().zip(self.finished()) {
            writeln!(out, "{PREFIX}requests_total{{class=\"{class}\"}} {number}")?;
        }
        self.write_durations(out)?;
        for (name, kind, help, number) in self.plain_series() {
            head(out, name, kind, help)?;
            writeln!(out, "{PREFIX}{name} {number}")?;
        }
        self.write_program(out, about)?;
        let Some(expiry) = about.credentials_expiry else {
            return Ok(());
        };
        let name = "credentials_expiry_timestamp_seconds";
        head(
            out,
            name,
            "gauge",
            "When the credentials in force expire, in seconds since the epoch.",
        )?;
        let (seconds, milliseconds) = (expiry.div_euclid(1000), expiry.rem_euclid(1000));
        writeln!(out, "{PREFIX}{name} {seconds}.{milliseconds:03}")
    }

    /// Writes the program, and when it started, by the name that Prometheus' own clients use for that.
    fn write_program(&self, out: &mut String, about: About<'_>) -> fmt::Result {
        let About {
            version, revision, ..
        } = about;
        let name = "build_info";
        head(
            out,
            name,
            "gauge",
            "1, labelled with what it was built from.",
        )?;
        writeln!(
            out,
            "{PREFIX}{name}{{version=\"{version}\",revision=\"{revision}\"}} 1"
        )?;
        let name = "process_start_time_seconds";
        let began = self.began.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        writeln!(
            out,
            "# HELP {name} When it was started, in seconds since the epoch."
        )?;
        writeln!(out, "# TYPE {name} gauge")?;
        writeln!(
            out,
            "{name} {}.{:03}",
            began.as_secs(),
            began.subsec_millis()
        )
    }

    /// A histogram of Prometheus is cumulative, and its last bucket is its count; the count is
    /// taken from the buckets so that the two never differ.
    fn write_durations(&self, out: &mut String) -> fmt::Result {
        let name = "request_duration_seconds";
        let sum = self.sum(|part| &part.duration_sum);
        let ended: u64 = self.finished().iter().sum();
        head(
            out,
            name,
            "histogram",
            "From a request's head to the end of its answer.",
        )?;
        let mut count = 0;
        for (at, (bound, _)) in BOUNDS.iter().enumerate() {
            count += self.sum(|part| &part.durations[at]);
            writeln!(out, "{PREFIX}{name}_bucket{{le=\"{bound}\"}} {count}")?;
        }
        let count = count.max(ended);
        writeln!(out, "{PREFIX}{name}_bucket{{le=\"+Inf\"}} {count}")?;
        writeln!(
            out,
            "{PREFIX}{name}_sum {}.{:06}",
            sum / 1_000_000,
            sum % 1_000_000
        )?;
        writeln!(out, "{PREFIX}{name}_count {count}")
    }

    /// Name, type and meaning of every number without labels.
    fn plain_series(&self) -> [(&'static str, &'static str, &'static str, u64); 12] {
        [
            (
                "running_requests",
                "gauge",
                "Requests that run now.",
                self.sum(|part| &part.running),
            ),
            (
                "open_connections",
                "gauge",
                "Connections of clients that are open now.",
                self.open_connections.get(),
            ),
            (
                "retries_total",
                "counter",
                "Further tries of a request after its first.",
                self.retries.get(),
            ),
            (
                "refused_connections_total",
                "counter",
                "Connections that admission or the limit on connections refused.",
                self.refused_connections.get(),
            ),
            (
                "refused_upstreams_total",
                "counter",
                "Requests for hosts that no signature goes to.",
                self.refused_upstreams.get(),
            ),
            (
                "upstream_connections_total",
                "counter",
                "Connections that were opened to upstreams.",
                self.upstream_connections.get(),
            ),
            (
                "request_body_bytes_total",
                "counter",
                "Bytes of request bodies that came from clients.",
                self.sum(|part| &part.request_bytes),
            ),
            (
                "response_body_bytes_total",
                "counter",
                "Bytes of answer bodies that went to clients.",
                self.sum(|part| &part.response_bytes),
            ),
            (
                "credential_updates_total",
                "counter",
                "Credential sets put in force after the first.",
                self.credential_updates.get(),
            ),
            (
                "credential_update_failures_total",
                "counter",
                "Credential sets that were refused.",
                self.credential_failures.get(),
            ),
            (
                "dropped_log_lines_total",
                "counter",
                "Log lines that found the queue full or could not be written.",
                self.dropped_log_lines.get(),
            ),
            (
                "lost_audit_lines_total",
                "counter",
                "Lines of the audit log that found no room or could not be written.",
                self.lost_audit_lines.get(),
            ),
        ]
    }

    fn finished(&self) -> [u64; CLASSES.len()] {
        std::array::from_fn(|class| self.sum(|part| &part.finished[class]))
    }
}

// === impl Requests ===

impl Requests {
    /// Counts a request as running.
    pub fn began(&self) {
        self.running.add(1);
    }

    /// Counts a request that began as ended; without a status where its client has left.
    pub fn ended(&self, status: Option<StatusCode>, after: Duration) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        if let Some(number) = self.finished.get(class).or(self.finished.first()) {
            number.add(1);
        }
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.duration_sum.add(after);
        let bucket = BOUNDS.iter().position(|(_, bound)| after <= *bound);
        if let Some(number) = bucket.and_then(|bucket| self.durations.get(bucket)) {
            number.add(1);
        }
        self.running.take_one();
    }
}

const PREFIX: &str = "taskcluster_proxy_";

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {PREFIX}{name} {help}")?;
    writeln!(out, "# TYPE {PREFIX}{name} {kind}")
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open_connections.take_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metrics after a request each of the given statuses and durations.
    fn after(requests: &[(Option<u16>, Duration)]) -> Metrics {
        let metrics = Metrics::default();
        for (status, took) in requests {
            let status = status.map(|status| StatusCode::from_u16(status).expect("a status"));
            metrics.requests().began();
            metrics.requests().ended(status, *took);
        }
        metrics
    }

    fn about(credentials_expiry: Option<i64>) -> About<'static> {
        About {
            version: "1.2.3",
            revision: "abc",
            credentials_expiry,
        }
    }

    #[test]
    fn requests_are_counted_by_class() {
        type Class = fn(&mut Counters) -> &mut u64;
        let took = Duration::from_millis(3);
        let cases: [(Option<u16>, Class); 9] = [
            (None, |counters| &mut counters.requests_without_answer),
            (Some(101), |counters| &mut counters.requests_1xx),
            (Some(200), |counters| &mut counters.requests_2xx),
            (Some(206), |counters| &mut counters.requests_2xx),
            (Some(303), |counters| &mut counters.requests_3xx),
            (Some(499), |counters| &mut counters.requests_4xx),
            (Some(500), |counters| &mut counters.requests_5xx),
            (Some(599), |counters| &mut counters.requests_5xx),
            (Some(999), |counters| &mut counters.requests_without_answer),
        ];
        for (status, class) in cases {
            let mut expected = Counters {
                requests: 1,
                request_microseconds: 3000,
                ..Counters::default()
            };
            *class(&mut expected) = 1;
            assert_eq!(after(&[(status, took)]).snapshot(), expected, "{status:?}");
        }
    }

    #[test]
    fn open_connections_are_counted_until_they_close() {
        let metrics = Arc::new(Metrics::default());
        let first = metrics.connection();
        let _second = metrics.connection();
        assert_eq!(metrics.snapshot().open_connections, 2);
        drop(first);
        assert_eq!(metrics.snapshot().open_connections, 1);
    }

    #[test]
    fn what_all_threads_count_is_added_up() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * PARTS {
                scope.spawn(|| metrics.requests().began());
            }
        });
        assert_eq!(metrics.snapshot().running_requests, 2 * PARTS as u64);
        // One thread may end requests that others began.
        for _ in 0..2 * PARTS {
            metrics.requests().ended(None, Duration::from_millis(1));
        }
        let counters = metrics.snapshot();
        assert_eq!((counters.running_requests, counters.requests), (0, 16));
        assert_eq!(counters.request_microseconds, 16_000);
    }

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass() {
        for (took, first) in [
            (Duration::ZERO, Some("0.001")),
            (Duration::from_millis(1), Some("0.001")),
            (Duration::from_micros(1001), Some("0.005")),
            (Duration::from_secs(1), Some("1")),
            (Duration::from_secs(3600), Some("3600")),
            (Duration::from_secs(3601), None),
            (Duration::MAX, None),
        ] {
            let text = after(&[(None, took)]).prometheus(about(None));
            let found = text.lines().find_map(|line| {
                let line =
                    line.strip_prefix("taskcluster_proxy_request_duration_seconds_bucket")?;
                line.strip_prefix("{le=\"")?.strip_suffix("\"} 1")
            });
            assert_eq!(found, first.or(Some("+Inf")), "{took:?}");
        }
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = after(&[
            (Some(200), Duration::from_millis(2)),
            (Some(200), Duration::from_millis(700)),
            (Some(502), Duration::from_secs(7200)),
            (None, Duration::from_micros(1)),
        ]);
        metrics.retries.add(7);
        metrics
            .requests()
            .response_bytes
            .add(u64::from(u32::MAX) + 1);
        let text = metrics.prometheus(about(Some(1_764_354_855_007)));
        for line in [
            "# HELP taskcluster_proxy_requests_total Requests that have ended, by class of status.",
            "# TYPE taskcluster_proxy_requests_total counter",
            r#"taskcluster_proxy_requests_total{class="none"} 1"#,
            r#"taskcluster_proxy_requests_total{class="2xx"} 2"#,
            r#"taskcluster_proxy_requests_total{class="5xx"} 1"#,
            "# TYPE taskcluster_proxy_request_duration_seconds histogram",
            r#"taskcluster_proxy_request_duration_seconds_bucket{le="0.001"} 1"#,
            r#"taskcluster_proxy_request_duration_seconds_bucket{le="0.005"} 2"#,
            r#"taskcluster_proxy_request_duration_seconds_bucket{le="0.5"} 2"#,
            r#"taskcluster_proxy_request_duration_seconds_bucket{le="1"} 3"#,
            r#"taskcluster_proxy_request_duration_seconds_bucket{le="3600"} 3"#,
            r#"taskcluster_proxy_request_duration_seconds_bucket{le="+Inf"} 4"#,
            "taskcluster_proxy_request_duration_seconds_sum 7200.702001",
            "taskcluster_proxy_request_duration_seconds_count 4",
            "# TYPE taskcluster_proxy_running_requests gauge",
            "taskcluster_proxy_running_requests 0",
            "taskcluster_proxy_open_connections 0",
            "taskcluster_proxy_retries_total 7",
            "taskcluster_proxy_refused_connections_total 0",
            "taskcluster_proxy_refused_upstreams_total 0",
            "taskcluster_proxy_upstream_connections_total 0",
            "taskcluster_proxy_request_body_bytes_total 0",
            "taskcluster_proxy_response_body_bytes_total 4294967296",
            "taskcluster_proxy_credential_updates_total 0",
            "taskcluster_proxy_credential_update_failures_total 0",
            "taskcluster_proxy_dropped_log_lines_total 0",
            r#"taskcluster_proxy_build_info{version="1.2.3",revision="abc"} 1"#,
            "# TYPE process_start_time_seconds gauge",
            "taskcluster_proxy_lost_audit_lines_total 0",
            "# TYPE taskcluster_proxy_credentials_expiry_timestamp_seconds gauge",
            "taskcluster_proxy_credentials_expiry_timestamp_seconds 1764354855.007",
        ] {
            assert_eq!(
                text.lines().filter(|found| *found == line).count(),
                1,
                "{line}"
            );
        }
        assert!(text.ends_with('\n'));
        assert!(!metrics.prometheus(about(None)).contains("expiry"));
    }

    #[test]
    fn every_series_has_its_help_and_type_right_before_it() {
        let text = Metrics::default().prometheus(about(None));
        let mut family = "";
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, meaning) = help.split_once(' ').expect("a meaning");
                assert!(meaning.ends_with('.'), "{line}");
                let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
                assert!(kind.is_some_and(|kind| kind.starts_with(name)), "{line}");
                family = name;
            } else {
                assert!(line.starts_with(family), "{line}");
                let (_, value) = line.rsplit_once(' ').expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn every_plain_number_reaches_the_text_and_the_snapshot() {
        let metrics = Metrics::default();
        let requests = metrics.requests();
        for (number, value) in [
            (&requests.running, 1),
            (&metrics.open_connections, 2),
            (&metrics.retries, 3),
            (&metrics.refused_connections, 4),
            (&metrics.refused_upstreams, 5),
            (&metrics.upstream_connections, 6),
            (&requests.request_bytes, 7),
            (&requests.response_bytes, 8),
            (&metrics.credential_updates, 9),
            (&metrics.credential_failures, 10),
            (&metrics.dropped_log_lines, 11),
            (&metrics.lost_audit_lines, 12),
        ] {
            number.add(value);
        }
        let values = metrics.plain_series().map(|(.., value)| value);
        assert_eq!(values, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let expected = Counters {
            running_requests: 1,
            open_connections: 2,
            retries: 3,
            refused_connections: 4,
            refused_upstreams: 5,
            upstream_connections: 6,
            request_bytes: 7,
            response_bytes: 8,
            credential_updates: 9,
            credential_failures: 10,
            dropped_log_lines: 11,
            lost_audit_lines: 12,
            ..Counters::default()
        };
        assert_eq!(metrics.snapshot(), expected);
    }
}
