//! The wire that hyper makes: for messages of unknown length, `Expect`, upgrades, HTTP/2, and
//! requests that came to hyper.
//!
//! What it is not: it neither connects ([`crate::exchange::upstream`]) nor keeps the body
//! ([`crate::exchange::replay`]).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::exchange::replay::{Hold, Replay, Rest};
use crate::exchange::request_fields;
use crate::exchange::send_error::{LONG_INTERIM, UNASKED_UPGRADE, Unanswered};
use crate::exchange::upstream::{Need, ResponseBody};
use crate::exchange::wire::{Alarm, Answer, Awaiting, Failure, Wire, in_time};
use crate::exchange::{Exchange, Order};
use crate::limits::INTERIM_ANSWERS;
use crate::message::headers;
use crate::message::strict_body::StrictBody;
use crate::signing::credentials::CredentialSet;

/// How long a body waits for a 100 that may never come: as long as other clients wait for upstreams
/// that send none (RFC 9110 10.1.1 leaves the time open).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The least that an interim answer begins with.
const STATUS_LINE: &str = "HTTP/1.1 100 \r\n";

/// Sends one request by hyper.
pub struct HyperWire<'a> {
    exchange: &'a Exchange,
    order: &'a Order<'a>,
    headers: HeaderMap,
    replay: Replay,
    /// Length of the body, where it is known.
    length: Option<u64>,
    upgrades: bool,
    expects_continue: bool,
}

impl<'a> HyperWire<'a> {
    /// The wire for `order`. Its request came with `headers` and `body`, over HTTP/2 where
    /// `from_http2`.
    pub fn new(
        exchange: &'a Exchange,
        order: &'a Order<'a>,
        mut headers: HeaderMap,
        body: StrictBody<Incoming>,
        from_http2: bool,
    ) -> Self {
        // An upgrade is a matter of HTTP/1.1 (RFC 9113 8.6).
        let protocol = (!from_http2)
            .then(|| headers::upgrade_protocol(&headers))
            .flatten();
        let had_length = request_fields::to_upstream(&mut headers);
        if from_http2 {
            headers::join_cookies(&mut headers);
        }
        let length = body.size_hint().exact();
        let announced = request_fields::content_length(order.method, length, had_length);
        if let Some(length) = announced {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let upgrades = protocol.is_some();
        if let Some(protocol) = protocol {
            headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        let expects_continue = headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let settings = &exchange.settings;
        let budget = Arc::clone(&settings.replay_budget);
        Self {
            exchange,
            order,
            headers,
            replay: Replay::new(body, settings.replay_limit, budget),
            length,
            upgrades,
            expects_continue,
        }
    }

    /// The part of the body that the client has not sent, if any.
    pub fn into_rest(self) -> Option<Rest> {
        self.replay.into_rest()
    }

    fn need(&self, fresh: bool) -> Need {
        let length = if self.upgrades { None } else { self.length };
        let need = Need::of_body(length, self.replay.is_kept());
        Need {
            http1: self.upgrades,
            new: need.new || fresh,
            // A tunnel may be silent for long.
            long: need.long || self.upgrades,
        }
    }

    /// Lets only an answer pass that fits what was asked.
    fn answer(&self, response: Response<ResponseBody>) -> Result<Response<ResponseBody>, Failure> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && !self.upgrades {
            let origin = &self.order.target.origin;
            return Err(Unanswered::not_http(origin, UNASKED_UPGRADE).into());
        }
        Ok(response)
    }
}

impl Wire for HyperWire<'_> {
    type Answer = Response<ResponseBody>;

    async fn send(
        &mut self,
        set: &CredentialSet,
        fresh: bool,
    ) -> Result<Response<ResponseBody>, Failure> {
        let origin = &self.order.target.origin;
        let upstream = &self.exchange.upstream;
        let connection = upstream.connect(origin, self.need(fresh)).await?;
        // Many servers send no 100 by HTTP/2.
        let hold = (self.expects_continue && !connection.is_http2()).then(Hold::default);
        let body = match &hold {
            None => self.replay.attempt(),
            Some(hold) => self.replay.attempt_held(hold.clone()),
        };
        let headers = self.headers.clone();
        let request = self.exchange.request(self.order, set, headers, body);
        let interim = Arc::new(Interim {
            hold: hold.clone(),
            ..Interim::default()
        });
        let told = Arc::clone(&interim);
        let mut sending = Sending {
            answer: Box::pin(
                connection.send(request, move |status, fields| told.came(status, fields)),
            ),
            replay: &self.replay,
        };
        let limit = self.exchange.settings.response_timeout;
        let mut alarm = Alarm::default();
        let answer = async {
            if let Some(hold) = hold {
                tokio::select! {
                    biased;
                    answer = in_time(&mut sending, limit, &mut alarm) => {
                        return self.answer(answer?);
                    }
                    () = tokio::time::sleep(CONTINUE_WAIT) => hold.release(),
                }
            }
            self.answer(in_time(&mut sending, limit, &mut alarm).await?)
        };
        let answer = tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = interim.too_many.notified() => None,
        };
        // The final answer may have come in one piece with the interim ones.
        let answer = answer.filter(|_| !interim.are_too_many());
        answer.unwrap_or_else(|| Err(Unanswered::not_http(origin, LONG_INTERIM).into()))
    }

    fn can_resend(&self) -> bool {
        self.replay.can_replay()
    }
}

/// The interim answers to one try; none of them can be passed on.
#[derive(Default)]
struct Interim {
    /// The hold on the body, which a 100 releases.
    hold: Option<Hold>,
    bytes: AtomicUsize,
    too_many: Notify,
}

impl Interim {
    fn came(&self, status: StatusCode, fields: &HeaderMap) {
        if status == StatusCode::CONTINUE
            && let Some(hold) = &self.hold
        {
            hold.release();
        }
        let fields = fields.iter();
        let lines: usize = fields
            .map(|(name, value)| name.as_str().len() + ": \r\n".len() + value.len())
            .sum();
        let bytes = STATUS_LINE.len() + lines + "\r\n".len();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.are_too_many() {
            self.too_many.notify_one();
        }
    }

    fn are_too_many(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > INTERIM_ANSWERS
    }
}

impl Answer for Response<ResponseBody> {
    type Fields = HeaderMap;

    fn status(&self) -> StatusCode {
        self.status()
    }

    fn fields(&self) -> &HeaderMap {
        self.headers()
    }
}

/// One try.
struct Sending<'t, F> {
    answer: Pin<Box<F>>,
    replay: &'t Replay,
}

impl<F> Awaiting for Sending<'_, F>
where
    F: Future<Output = Result<Response<ResponseBody>, Unanswered>>,
{
    type Answer = Response<ResponseBody>;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Answer, Failure>> {
        self.answer.as_mut().poll(cx).map_err(|unanswered| {
            if self.replay.source_failed() {
                Failure::ClientBody
            } else {
                Failure::Unanswered(unanswered)
            }
        })
    }

    fn awaits_client(&self) -> bool {
        self.replay.awaits_client()
    }

    fn last_progress(&self) -> Option<Instant> {
        Some(self.replay.last_progress())
    }
}
