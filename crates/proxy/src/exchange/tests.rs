//! The loop by itself, over a wire that follows a script: every row is a way that tries can go.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::time::SystemTime;

use http::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use taskcluster_proxy_hawk::{Credentials, challenge};

use super::send_error::{Sent, Unanswered};
use super::upstream::UpstreamConfig;
use super::*;
use crate::Update;
use crate::decision::route::{Route, route};
use crate::record::log::{Format, Level};
use crate::signing::credentials::{Build, CredentialSet};

const MINUTE: Duration = Duration::from_secs(60);

/// What a wire says of one sending.
#[derive(Clone)]
enum Says {
    Status(u16),
    /// With `Retry-After`.
    Later(u16, u64),
    /// A 401 that tells the time, so many seconds ahead.
    Clock(i64),
    /// Upstream is not reached.
    Refused,
    NotProcessed,
    Stale,
    BrokeOff,
    /// Final by its kind.
    NotHttp,
    Late,
    ClientBody,
}

use Says::{
    BrokeOff, ClientBody, Clock, Late, Later, NotHttp, NotProcessed, Refused, Stale, Status,
};

struct Script {
    says: VecDeque<Says>,
    can_resend: bool,
    /// Whether each sending was to go on a new connection.
    sent: Vec<bool>,
    /// The times that the signatures name, relative to now.
    signed_at: RefCell<Vec<i64>>,
}

struct ScriptedAnswer(StatusCode, HeaderMap);

impl Answer for ScriptedAnswer {
    type Fields = HeaderMap;

    fn status(&self) -> StatusCode {
        self.0
    }

    fn fields(&self) -> &HeaderMap {
        &self.1
    }
}

impl Wire for Script {
    type Answer = ScriptedAnswer;

    async fn send(&mut self, set: &CredentialSet, fresh: bool) -> Result<ScriptedAnswer, Failure> {
        self.sent.push(fresh);
        let ahead = i64::try_from(set.clock().now()).unwrap() - unix_time();
        self.signed_at.borrow_mut().push(ahead);
        let host = || "tc.example.com".into();
        let reason = || "it did".into();
        let unanswered = |error, sent| Err(Failure::Unanswered(Unanswered { error, sent }));
        let broke_off = || SendError::BrokeOff {
            host: host(),
            reason: reason(),
        };
        let status = |code| StatusCode::from_u16(code).unwrap();
        match self.says.pop_front().expect("another line of the script") {
            Status(code) => Ok(ScriptedAnswer(status(code), HeaderMap::new())),
            Later(code, seconds) => {
                let mut fields = HeaderMap::new();
                fields.insert(RETRY_AFTER, HeaderValue::from(seconds));
                Ok(ScriptedAnswer(status(code), fields))
            }
            Clock(ahead) => {
                let time = u64::try_from(unix_time() + ahead).unwrap();
                let mut fields = HeaderMap::new();
                let value = challenge("token", time);
                fields.insert(WWW_AUTHENTICATE, HeaderValue::from_str(&value).unwrap());
                Ok(ScriptedAnswer(StatusCode::UNAUTHORIZED, fields))
            }
            Refused => unanswered(
                SendError::Network {
                    host: host(),
                    reason: reason(),
                },
                Sent::NotConnected,
            ),
            NotProcessed => unanswered(broke_off(), Sent::NotProcessed),
            Stale => unanswered(broke_off(), Sent::Stale),
            BrokeOff => unanswered(broke_off(), Sent::Perhaps),
            NotHttp => unanswered(
                SendError::NotHttp {
                    host: host(),
                    reason: reason(),
                },
                Sent::Perhaps,
            ),
            Late => Err(Failure::Late),
            ClientBody => Err(Failure::ClientBody),
        }
    }

    fn can_resend(&self) -> bool {
        self.can_resend
    }
}

fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

fn exchange(limit: Duration) -> Exchange {
    let credentials = Credentials::new("client", "token", None).unwrap();
    let build = Build {
        version: HeaderValue::from_static("1"),
        revision: HeaderValue::from_static("r"),
    };
    let set = CredentialSet::new(&credentials, None, build, Arc::default());
    let metrics = Arc::new(Metrics::default());
    let log = Log::new(
        Level::Error,
        Format::Text,
        Box::new(io::sink()),
        Arc::clone(&metrics),
    );
    let settings = Settings {
        root: RootUrl::parse("https://tc.example.com").unwrap(),
        in_force: InForce::new(set, Update::Immediate),
        retry: RetryPolicy {
            first: Duration::from_millis(500),
            cap: MINUTE,
            limit,
        },
        replay_limit: 0,
        replay_budget: Arc::new(ReplayBudget::new(0)),
        response_timeout: MINUTE,
        metrics,
        log: log.unwrap(),
    };
    Exchange::new(
        Arc::new(settings),
        Upstream::new(Arc::new(UpstreamConfig::from_env(1))),
    )
}

/// How it ends, in a few letters, and on which connections it was sent: `n` for a new one.
struct Outcome {
    ends: String,
    sent: String,
    retries: u64,
    took: Duration,
    signed_at: Vec<i64>,
}

fn run(method: &Method, limit: Duration, can_resend: bool, says: &[Says]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let exchange = exchange(limit);
        let Route::Upstream(target) = route("/queue/v1/ping", &exchange.settings.root) else {
            panic!("no target");
        };
        let came = Instant::now();
        let order = Order {
            method,
            target: &target,
            scopes: None,
            came,
            sendings: std::cell::Cell::default(),
        };
        let mut wire = Script {
            says: says.iter().cloned().collect(),
            can_resend,
            sent: Vec::new(),
            signed_at: RefCell::default(),
        };
        let ends = match exchange.run(&order, &mut wire).await {
            Ok(answered) => answered.answer.0.as_str().to_owned(),
            Err(failed) => format!("{} {}", failed.status().as_str(), kind(&failed)),
        };
        assert!(wire.says.is_empty(), "not all of the script was asked for");
        Outcome {
            ends,
            sent: wire
                .sent
                .iter()
                .map(|fresh| if *fresh { 'n' } else { '.' })
                .collect(),
            retries: exchange.settings.metrics.retries.get(),
            took: came.elapsed(),
            signed_at: wire.signed_at.into_inner(),
        }
    })
}

fn kind(failed: &Failed) -> &'static str {
    match failed {
        Failed::Upstream(_) => "upstream",
        Failed::TooLargeToReplay(_) => "too large",
        Failed::ResponseTimeout { .. } => "late",
        Failed::ClientBody => "client",
    }
}

/// A request, the time for tries, whether it could be sent again; what the wire says; how it ends, on
/// which connections it was sent, and how many tries that were.
type Row<'a> = (
    &'a Method,
    Duration,
    bool,
    &'a [Says],
    &'a str,
    &'a str,
    u64,
);

const QUARTER: Duration = Duration::from_secs(15 * 60);
const NONE: Duration = Duration::ZERO;

#[test]
fn tries_go_by_what_is_known_of_the_sending_before() {
    let (get, post) = (&Method::GET, &Method::POST);
    #[rustfmt::skip]
    let table: &[Row<'_>] = &[
        // An answer is final, but for a 5xx while there is time.
        (get, QUARTER, true, &[Status(200)], "200", ".", 0),
        (post, QUARTER, true, &[Status(413)], "413", ".", 0),
        (get, QUARTER, true, &[Status(503), Status(200)], "200", "..", 1),
        (post, QUARTER, true, &[Status(500), Status(502), Status(200)], "200", "...", 2),
        (get, NONE, true, &[Status(503)], "503", ".", 0),
        (get, QUARTER, false, &[Status(503)], "503", ".", 0),
        (get, QUARTER, true, &[Later(503, 901)], "503", ".", 0),
        // Upstream is not reached.
        (get, QUARTER, true, &[Refused, Status(200)], "200", "..", 1),
        (get, NONE, true, &[Refused], "502 upstream", ".", 0),
        (post, QUARTER, false, &[Refused], "502 too large", ".", 0),
        (post, NONE, false, &[Refused], "502 upstream", ".", 0),
        // Upstream has processed nothing: sent again at once, every time, for every method.
        (post, NONE, true, &[NotProcessed, NotProcessed, Status(200)], "200", "...", 0),
        (post, NONE, false, &[NotProcessed], "502 upstream", ".", 0),
        // A pooled connection closed after something was written: once, on a new connection.
        (get, NONE, true, &[Stale, Status(200)], "200", ".n", 0),
        (get, NONE, true, &[Stale, Stale], "502 upstream", ".n", 0),
        (post, NONE, true, &[Stale], "502 upstream", ".", 0),
        (post, QUARTER, true, &[Stale, Status(200)], "200", ".n", 0),
        (post, QUARTER, true, &[Stale, Stale, Status(200)], "200", ".n.", 1),
        (&Method::PUT, NONE, true, &[Stale, Status(200)], "200", ".n", 0),
        (&Method::DELETE, NONE, true, &[Stale, NotProcessed, Status(200)], "200", ".n.", 0),
        (&Method::PATCH, NONE, true, &[Stale], "502 upstream", ".", 0),
        // Upstream may have processed it: the next one is a try.
        (post, QUARTER, true, &[BrokeOff, Status(200)], "200", "..", 1),
        (post, NONE, true, &[BrokeOff], "502 upstream", ".", 0),
        (post, QUARTER, false, &[BrokeOff], "502 too large", ".", 0),
        // No try can help.
        (get, QUARTER, true, &[NotHttp], "502 upstream", ".", 0),
        (get, QUARTER, true, &[Late], "504 late", ".", 0),
        (post, QUARTER, true, &[ClientBody], "400 client", ".", 0),
        // The clock is corrected once a request, also where tries lie between.
        (get, NONE, true, &[Clock(3600), Status(200)], "200", "..", 0),
        (get, NONE, true, &[Clock(3600), Clock(7200)], "401", "..", 0),
        (get, QUARTER, true, &[Clock(3600), Status(503), Clock(7200)], "401", "...", 1),
        (post, QUARTER, false, &[Clock(3600)], "401", ".", 0),
        (get, QUARTER, true, &[Status(401)], "401", ".", 0),
    ];
    for (row, (method, limit, can_resend, says, ends, sent, retries)) in table.iter().enumerate() {
        let outcome = run(method, *limit, *can_resend, says);
        assert_eq!(outcome.ends, *ends, "row {row}");
        assert_eq!(outcome.sent, *sent, "row {row}");
        assert_eq!(outcome.retries, *retries, "row {row}");
    }
}

#[test]
fn pauses_come_only_between_tries() {
    let at_once = run(
        &Method::GET,
        QUARTER,
        true,
        &[Stale, NotProcessed, Status(200)],
    );
    assert_eq!(at_once.took, Duration::ZERO);
    let tried = run(&Method::GET, QUARTER, true, &[Status(503), Status(200)]);
    assert!(tried.took >= Duration::from_millis(250), "{:?}", tried.took);
    let asked = run(&Method::GET, QUARTER, true, &[Later(503, 7), Status(200)]);
    assert_eq!(asked.took, Duration::from_secs(7));
}

#[test]
fn many_unprocessed_sendings_end_in_an_answer_and_cost_little() {
    let mut says = vec![NotProcessed; 100];
    says.push(Status(200));
    let outcome = run(&Method::POST, NONE, true, &says);
    assert_eq!(outcome.ends, "200");
    assert_eq!(outcome.retries, 0);
    assert!(outcome.took > Duration::from_secs(1), "{:?}", outcome.took);
    let endless = vec![NotProcessed; 101];
    assert_eq!(run(&Method::GET, NONE, true, &endless).ends, "502 upstream");
}

#[test]
fn unprocessed_sendings_without_an_end_are_tries_and_the_time_for_tries_limits_them() {
    let mut says = vec![NotProcessed; 102];
    says.push(Status(200));
    let tried = run(&Method::GET, QUARTER, true, &says);
    assert_eq!((tried.ends.as_str(), tried.retries), ("200", 2));
    // The pauses between the sendings take longer than --retry-for.
    let late = vec![NotProcessed; 101];
    let outcome = run(&Method::GET, Duration::from_secs(1), true, &late);
    assert_eq!(
        (outcome.ends.as_str(), outcome.retries),
        ("502 upstream", 0)
    );
}

#[test]
fn each_try_is_signed_with_the_clock_of_its_moment() {
    let outcome = run(
        &Method::GET,
        QUARTER,
        true,
        &[Clock(-3600), Status(503), Status(200)],
    );
    assert_eq!(outcome.ends, "200");
    let ahead = outcome.signed_at;
    assert_eq!(ahead.len(), 3);
    assert!(
        ahead[0].abs() <= 1 && ahead[1..].iter().all(|at| (at + 3600).abs() <= 1),
        "{ahead:?}"
    );
}
