//! The exchange with upstream: a request goes out, and is tried again while that may help.
//!
//! [`Exchange::run`] is the one loop of tries. It goes over two wires: bare sockets of HTTP/1.1
//! ([`socket_wire`]) and hyper ([`hyper_wire`]), and for a request of the proxy's own over a third
//! ([`lookup`]). A wire sends once and says what it knows ([`wire`]); [`tries`] decides what follows.
//! Each try has the credential set of its moment and is signed when its connection is open. A pause
//! between tries counts as waiting, so it delays no update of the credentials.
//!
//! What it is not: it decides nothing about a request's head ([`crate::decision`]) and passes no
//! answer on ([`crate::back`]).

pub mod answer_body;
pub mod backoff;
pub mod buffers;
pub mod hyper_wire;
pub mod lookup;
pub mod reasons;
pub mod replay;
pub mod request_fields;
pub mod send_error;
pub mod socket_answer;
pub mod socket_wire;
#[cfg(target_os = "linux")]
pub mod splice;
pub mod tries;
pub mod upload;
pub mod upstream;
pub mod wire;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use thiserror::Error;
use tokio::time::Instant;

use crate::code::Code;
use crate::decision::route::{RootUrl, Target};
use crate::record::log::Log;
use crate::record::metrics::Metrics;
use crate::signing::clock::ClockCorrection;
use crate::signing::credentials::CredentialSet;
use crate::signing::in_force::{Entered, InForce};
use crate::signing::sign::Signing;
use backoff::RetryPolicy;
use buffers::Buffers;
use replay::ReplayBudget;
use send_error::SendError;
use tries::{Step, Tries};
use upstream::{Upstream, UpstreamConfig};
use wire::{Answer, Failure, Wire};

/// What the exchanges of all threads have in common.
pub struct Settings {
    pub root: RootUrl,
    pub in_force: InForce,
    pub retry: RetryPolicy,
    pub replay_limit: u64,
    pub replay_budget: Arc<ReplayBudget>,
    pub response_timeout: Duration,
    pub metrics: Arc<Metrics>,
    pub log: Log,
}

impl Settings {
    /// Warnings before the first request goes out by these connections.
    pub fn warnings(&self, config: &UpstreamConfig) -> Vec<String> {
        let mut warnings = config.warnings();
        warnings.extend(self.in_force.current().time_warning());
        warnings
    }
}

/// One thread's means of exchange; nothing of it is locked.
pub struct Exchange {
    pub settings: Arc<Settings>,
    pub upstream: Rc<Upstream>,
    pub signing: RefCell<Signing>,
    pub buffers: Buffers,
}

/// A request to be sent.
pub struct Order<'a> {
    pub method: &'a Method,
    pub target: &'a Target,
    /// The scopes that its signature is narrowed to.
    pub scopes: Option<Vec<String>>,
    /// When it came: tries and their pauses count from here.
    pub came: Instant,
    /// How often it has been sent.
    pub sendings: Cell<u32>,
}

/// The final answer, and the set that signed the request it answers.
pub struct Answered<A> {
    pub answer: A,
    pub entered: Entered,
}

/// Why there is no answer to hand back.
#[derive(Debug, Error)]
pub enum Failed {
    /// Sending failed.
    #[error(transparent)]
    Upstream(#[from] SendError),
    /// The same, after more of the body had gone out than is kept for another try.
    #[error(
        "{0}; the request's body was too large to be sent again (see --replay-limit and \
         --replay-total)"
    )]
    TooLargeToReplay(SendError),
    /// Upstream began no answer in time.
    #[error("{upstream} began no answer within {} s (see --response-timeout)", .after.as_secs_f64())]
    ResponseTimeout {
        /// Host and port, or URL of the origin.
        upstream: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The client's body ended early.
    #[error("the request's body broke off")]
    ClientBody,
}

impl Exchange {
    /// To be made inside the thread's `LocalSet`.
    pub fn new(settings: Arc<Settings>, upstream: Rc<Upstream>) -> Self {
        Self {
            settings,
            upstream,
            signing: RefCell::new(Signing::new()),
            buffers: Buffers::default(),
        }
    }

    /// Sends `order` by `wire` until there is a final answer.
    ///
    /// # Errors
    /// When there is none, as [`Failed`] says.
    pub async fn run<W: Wire>(
        &self,
        order: &Order<'_>,
        wire: &mut W,
    ) -> Result<Answered<W::Answer>, Failed> {
        let Settings {
            root, retry, log, ..
        } = &*self.settings;
        let mut clock = ClockCorrection::new(root, &order.target.origin);
        let mut tries = Tries::new(*retry, order.came, order.method);
        let mut fresh = false;
        loop {
            let mut entered = self.settings.in_force.enter().await;
            if let Some(scopes) = &order.scopes {
                entered.narrow(scopes);
            }
            clock.begin(entered.set());
            order.sendings.set(order.sendings.get() + 1);
            let sent = wire.send(entered.set(), fresh).await;
            let step = match &sent {
                Ok(answer) => {
                    let (status, fields) = (answer.status(), answer.fields());
                    let corrected = clock.learn(entered.set(), status, fields);
                    tries.answered(status, fields, wire.can_resend(), corrected)
                }
                Err(Failure::Unanswered(unanswered)) => {
                    tries.unanswered(unanswered, wire.can_resend())
                }
                Err(Failure::Late | Failure::ClientBody) => Step::End,
            };
            match step {
                Step::End => {
                    return match sent {
                        Ok(answer) => Ok(Answered { answer, entered }),
                        Err(failure) => Err(self.failed(order, failure, wire.can_resend())),
                    };
                }
                Step::Again { on_new, pause } => {
                    fresh = on_new;
                    drop((sent, entered));
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Step::Try(pause) => {
                    fresh = false;
                    let reason = reason(&sent);
                    // Neither the answer nor the right to run is kept for the pause.
                    drop((sent, entered));
                    log.warn(format_args!(
                        "Retrying {} in {} ms: {reason}",
                        order.target,
                        pause.as_millis()
                    ));
                    self.settings.metrics.retries.add(1);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The request of one try as hyper takes it, signed.
    pub fn request<B>(
        &self,
        order: &Order<'_>,
        set: &CredentialSet,
        headers: HeaderMap,
        body: B,
    ) -> Request<B> {
        let Target { origin, target } = order.target;
        let mut request = Request::new(body);
        *request.method_mut() = order.method.clone();
        *request.uri_mut() = Uri::from(target.clone());
        *request.headers_mut() = headers;
        let mut signing = self.signing.borrow_mut();
        let authorization =
            signing.authorization(set, order.method.as_str(), origin, target.as_str());
        request.headers_mut().insert(AUTHORIZATION, authorization);
        request
    }

    fn failed(&self, order: &Order<'_>, failure: Failure, can_resend: bool) -> Failed {
        let Settings {
            retry,
            response_timeout,
            ..
        } = &*self.settings;
        match failure {
            Failure::ClientBody => Failed::ClientBody,
            Failure::Late => Failed::ResponseTimeout {
                upstream: order.target.origin.url().to_owned(),
                after: *response_timeout,
            },
            Failure::Unanswered(unanswered) => {
                let error = unanswered.error;
                if error.is_retryable() && !can_resend && !retry.limit.is_zero() {
                    Failed::TooLargeToReplay(error)
                } else {
                    Failed::Upstream(error)
                }
            }
        }
    }
}

/// Why there is another try, for the log.
fn reason<A: Answer>(sent: &Result<A, Failure>) -> String {
    match sent {
        Ok(answer) => answer.status().as_str().to_owned(),
        Err(Failure::Unanswered(unanswered)) => unanswered.error.to_string(),
        Err(Failure::Late | Failure::ClientBody) => String::new(),
    }
}

impl Failed {
    /// The failure's stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Upstream(error) => error.code(),
            Self::TooLargeToReplay(error) => match error.code() {
                code @ Code::Descriptors => code,
                _ => Code::TooLargeToResend,
            },
            Self::ResponseTimeout { .. } => Code::ResponseTimeout,
            Self::ClientBody => Code::Body,
        }
    }

    /// The answer's status: 400, 403, 502, 503 or 504.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Upstream(error) | Self::TooLargeToReplay(error) => match error {
                SendError::RequestBody { .. } => StatusCode::BAD_REQUEST,
                SendError::KeptOff { .. } => StatusCode::FORBIDDEN,
                SendError::Descriptors { .. } => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientBody => StatusCode::BAD_REQUEST,
        }
    }
}

#[cfg(test)]
mod tests;
