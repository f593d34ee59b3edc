//! Whether a request is sent again. What is known of the last sending decides, not its answer alone.
//!
//! The cases, each with its reason, as golang's `net/http` has them in `shouldRetryRequest`:
//! - Upstream processed nothing of it: at once, and that is no try, until it happens too often.
//! - Something was written on a connection that had served before and closed without a byte of an
//!   answer: most likely upstream had let it go. Once, at once, on a new connection; but only where
//!   running twice does no harm (RFC 9110 9.2.2), or where tries are allowed at all.
//! - A 401 that tells the time: once, with the clock corrected.
//! - A 5xx, or a failure that may pass: a try, after a pause, while time is left.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::exchange::backoff::{Backoff, RetryPolicy, retry_after};
use crate::exchange::send_error::{Sent, Unanswered};
use crate::message::fields::Fields;

/// A sending may end with nothing of it processed ([`Sent::NotProcessed`]). After
/// this many, a short pause precedes the next sending, so that an upstream that sends nothing else
/// costs little.
const UNPROCESSED_AT_ONCE: u32 = 16;
const UNPROCESSED_PAUSE: Duration = Duration::from_millis(20);
/// The most such ends of one request that count as no failure: nginx with `keepalive_requests 1` serves
/// one request of each connection, so a burst of requests may meet that many. Any further one is a
/// failure like any other.
const MAX_UNPROCESSED: u32 = 100;

/// What follows a sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: its outcome is final.
    End,
    /// Another sending that is no try.
    Again {
        /// It goes on a new connection.
        on_new: bool,
        /// Zero in the usual case.
        pause: Duration,
    },
    /// Another try after this pause.
    Try(Duration),
}

/// What is remembered of a request's sendings.
pub struct Tries {
    backoff: Backoff,
    /// Running the request twice does no harm, or the operator has it tried again.
    may_run_twice: bool,
    resent: bool,
    unprocessed: u32,
}

impl Tries {
    /// The sendings of a request that came at `came`.
    pub fn new(policy: RetryPolicy, came: Instant, method: &Method) -> Self {
        Self {
            backoff: Backoff::new(policy, came),
            may_run_twice: method.is_idempotent() || !policy.limit.is_zero(),
            resent: false,
            unprocessed: 0,
        }
    }

    /// What follows an answer; `corrected` says that the answer has corrected the clock.
    pub fn answered(
        &mut self,
        status: StatusCode,
        fields: &impl Fields,
        can_resend: bool,
        corrected: bool,
    ) -> Step {
        if !can_resend {
            return Step::End;
        }
        if corrected {
            return Step::Again {
                on_new: false,
                pause: Duration::ZERO,
            };
        }
        if !status.is_server_error() {
            return Step::End;
        }
        let asked = fields.values(&RETRY_AFTER).next();
        self.next_try(asked.and_then(|value| retry_after(value, SystemTime::now())))
    }

    /// What follows where there is no answer.
    pub fn unanswered(&mut self, unanswered: &Unanswered, can_resend: bool) -> Step {
        if !can_resend {
            return Step::End;
        }
        match unanswered.sent {
            Sent::NotProcessed if self.unprocessed < MAX_UNPROCESSED => {
                self.unprocessed += 1;
                let pause = if self.unprocessed > UNPROCESSED_AT_ONCE {
                    UNPROCESSED_PAUSE
                } else {
                    Duration::ZERO
                };
                return Step::Again {
                    on_new: false,
                    pause,
                };
            }
            Sent::Stale if !self.resent && self.may_run_twice => {
                self.resent = true;
                return Step::Again {
                    on_new: true,
                    pause: Duration::ZERO,
                };
            }
            _ => {}
        }
        if unanswered.error.is_retryable() {
            self.next_try(None)
        } else {
            Step::End
        }
    }

    fn next_try(&mut self, asked: Option<Duration>) -> Step {
        let pause = self.backoff.next(Instant::now(), asked);
        pause.map_or(Step::End, Step::Try)
    }
}
