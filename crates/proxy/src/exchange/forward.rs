//! A request goes out, and again while that may help.
//!
//! Each try runs with the credentials of its moment and is signed when its connection stands. A
//! pause between tries counts as waiting: it holds no update of the credentials back. What this is
//! not: it neither connects ([`crate::exchange::upstream`]) nor keeps the body ([`crate::exchange::replay`]) nor counts
//! the time left ([`crate::exchange::backoff`]).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CONNECTION, EXPECT, HOST, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::answers::refusal::Refusal;
use crate::decision::route::Target;
use crate::exchange::backoff::{Backoff, retry_after};
use crate::exchange::replay::{Hold, Replay};
use crate::exchange::send_error::Unanswered;
use crate::exchange::upstream::ResponseBody;
use crate::message::fields::Fields;
use crate::message::headers;
use crate::message::whole::Whole;
use crate::session::Session;
use crate::signing::clock::ClockCorrection;
use crate::signing::credentials::{AUTHORIZED_SCOPES, CredentialSet, Entered};

/// How long a body waits for a 100 that may never come: what upstreams that send none are used to
/// from other clients (RFC 9110 10.1.1 leaves it open).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// How often one request may find that the pooled connection it got has just been closed.
pub const STALE_LIMIT: u32 = 16;

/// Fields of a request that are made anew for upstream, or are for us.
static NOT_SENT: [HeaderName; 3] = [HOST, AUTHORIZATION, AUTHORIZED_SCOPES];

/// The final answer, and the set that signed the request it answers.
pub struct Forwarded {
    pub response: Response<ResponseBody>,
    pub set: Arc<CredentialSet>,
    pub entered: Entered,
    /// What the request's body still waits behind, to be kept until the answer has been relayed.
    pub held: Option<HeldBody>,
}

/// What became of a first try that was made before [`forward`] was asked.
pub enum FirstTry {
    /// It failed.
    Failed(Failure),
    /// It was answered with this status, and another one is worth this pause.
    Answered(StatusCode, Duration, Backoff),
}

/// A body that upstream answered without having asked for it (RFC 9110 10.1.1). It is given up
/// when this is dropped, and not before: giving it up ends the connection that the answer is on.
pub struct HeldBody(Hold);

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Forwards `request`, which came at `came`, to `target`, narrowed to `scopes` where it asked for
/// that.
///
/// # Errors
/// When there is no answer to hand back.
pub async fn forward(
    session: &Session,
    request: Request<Incoming>,
    came: Instant,
    target: &Target,
    scopes: Option<Vec<String>>,
) -> Result<Forwarded, Refusal> {
    let shared = &session.thread.shared;
    let (parts, body) = request.into_parts();
    let outgoing = Outgoing::new(session, parts.method, parts.headers, target, scopes);
    let replay = Replay::new(
        Whole::counted(body, parts.version, &shared.metrics),
        shared.replay_limit,
        Arc::clone(&shared.replay_budget),
    );
    let (mut backoff, mut first) = match session.first_try.take() {
        None => (Backoff::new(shared.retry, came), None),
        Some(FirstTry::Failed(failure)) => (Backoff::new(shared.retry, came), Some(failure)),
        Some(FirstTry::Answered(status, pause, backoff)) => {
            shared.log_retry(target, status.as_str(), pause);
            shared.metrics.retries.add(1);
            tokio::time::sleep(pause).await;
            (backoff, None)
        }
    };
    let mut clock = ClockCorrection::new(&shared.root, &target.origin);
    let mut stale = 0;
    loop {
        let entered = shared.in_force.enter().await;
        let set = outgoing.set(&entered);
        clock.begin(&set);
        let tried = match first.take() {
            Some(failure) => Err(failure),
            None => outgoing.attempt(&set, &replay).await,
        };
        let pause = match tried {
            Ok((response, _))
                if clock.learn(&set, response.status(), response.headers())
                    && replay.can_replay() =>
            {
                continue;
            }
            Ok((response, held)) => match replay
                .can_replay()
                .then(|| pause_after(response.status(), response.headers(), &mut backoff))
                .flatten()
            {
                None => {
                    return Ok(Forwarded {
                        response,
                        set,
                        entered,
                        held,
                    });
                }
                Some(pause) => {
                    shared.log_retry(target, response.status().as_str(), pause);
                    pause
                }
            },
            Err(Failure::Refused(refusal)) => return Err(refusal),
            Err(Failure::Send(_)) if replay.source_failed() => {
                return Err(session.torn_body());
            }
            Err(Failure::Send(failure)) if failure.is_stale() && replay.can_replay() => {
                stale += 1;
                if stale > STALE_LIMIT {
                    return Err(Refusal::Upstream(failure.error));
                }
                continue;
            }
            Err(Failure::Send(Unanswered { error, .. })) if !error.is_retryable() => {
                return Err(Refusal::Upstream(error));
            }
            Err(Failure::Send(Unanswered { error, .. })) if !replay.can_replay() => {
                return Err(Refusal::TooLargeToReplay(error));
            }
            Err(Failure::Send(Unanswered { error, .. })) => {
                match backoff.next(Instant::now(), None) {
                    None => return Err(Refusal::Upstream(error)),
                    Some(pause) => {
                        shared.log_retry(target, &error.to_string(), pause);
                        pause
                    }
                }
            }
        };
        drop(entered);
        shared.metrics.retries.add(1);
        tokio::time::sleep(pause).await;
    }
}

/// How long to wait before another try; `None` where the answer is final.
pub fn pause_after(
    status: StatusCode,
    headers: &impl Fields,
    backoff: &mut Backoff,
) -> Option<Duration> {
    if !status.is_server_error() {
        return None;
    }
    let asked = headers
        .values(&RETRY_AFTER)
        .next()
        .and_then(|value| retry_after(value, SystemTime::now()));
    backoff.next(Instant::now(), asked)
}

/// What all tries of a request have in common.
struct Outgoing<'a> {
    session: &'a Session,
    method: Method,
    headers: HeaderMap,
    target: &'a Target,
    scopes: Option<Vec<String>>,
    upgrade: bool,
    expects_continue: bool,
}

/// Why a try has no answer.
pub enum Failure {
    /// What sending came to.
    Send(Unanswered),
    /// What the client is told at once.
    Refused(Refusal),
}

/// Leaves of a request's fields what goes out as it came.
pub fn to_upstream(headers: &mut impl Fields) {
    headers::strip_request(headers);
    headers.remove_all(&NOT_SENT);
}

impl<'a> Outgoing<'a> {
    fn new(
        session: &'a Session,
        method: Method,
        mut headers: HeaderMap,
        target: &'a Target,
        scopes: Option<Vec<String>>,
    ) -> Self {
        let upgrade = session
            .may_upgrade()
            .then(|| headers::upgrade_protocol(&headers))
            .flatten();
        to_upstream(&mut headers);
        if session.http2 {
            headers::join_cookies(&mut headers);
        }
        let upgrades = upgrade.is_some();
        if let Some(protocol) = upgrade {
            headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        let expects_continue = headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            session,
            method,
            headers,
            target,
            scopes,
            upgrade: upgrades,
            expects_continue,
        }
    }

    fn set(&self, entered: &Entered) -> Arc<CredentialSet> {
        match &self.scopes {
            None => Arc::clone(&entered.set),
            Some(scopes) => Arc::new(entered.set.narrowed(scopes)),
        }
    }

    async fn attempt(
        &self,
        set: &CredentialSet,
        replay: &Replay,
    ) -> Result<(Response<ResponseBody>, Option<HeldBody>), Failure> {
        let thread = &self.session.thread;
        let connection = thread
            .upstream
            .connect(&self.target.origin, self.upgrade, false)
            .await
            .map_err(Failure::Send)?;
        let hold = (self.expects_continue && !connection.is_http2()).then(Hold::default);
        let body = match &hold {
            None => replay.attempt(),
            Some(hold) => replay.attempt_held(hold.clone()),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.target.clone());
        *request.headers_mut() = self.headers.clone();
        let authorization = thread.signing.borrow_mut().authorization(
            set,
            self.method.as_str(),
            &self.target.origin,
            self.target.target.as_str(),
        );
        request.headers_mut().insert(AUTHORIZATION, authorization);
        if let Some(hold) = hold.clone() {
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    hold.release();
                }
            });
        }
        self.await_answer(connection.send(request), replay, hold)
            .await
    }

    /// Waits for the head of the answer; the time for it counts from when upstream last took
    /// something of the request.
    async fn await_answer(
        &self,
        answer: impl Future<Output = Result<Response<ResponseBody>, Unanswered>>,
        replay: &Replay,
        hold: Option<Hold>,
    ) -> Result<(Response<ResponseBody>, Option<HeldBody>), Failure> {
        let limit = self.session.thread.shared.response_timeout;
        tokio::pin!(answer);
        if let Some(hold) = hold {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    return answer.map(|answer| (answer, Some(HeldBody(hold)))).map_err(Failure::Send);
                }
                () = tokio::time::sleep(CONTINUE_WAIT) => hold.release(),
            }
        }
        let mut since = Instant::now();
        loop {
            match tokio::time::timeout_at(since + limit, &mut answer).await {
                Ok(answer) => return answer.map(|answer| (answer, None)).map_err(Failure::Send),
                // As long as the client has more to send, it is not upstream that is waited for.
                Err(_) if replay.awaits_client() => since = Instant::now(),
                Err(_) if replay.last_progress() > since => since = replay.last_progress(),
                Err(_) => {
                    return Err(Failure::Refused(Refusal::ResponseTimeout {
                        upstream: self.target.origin.url().to_owned(),
                        after: limit,
                    }));
                }
            }
        }
    }
}
