//! What the loop of tries knows of a wire.
//!
//! A wire sends a request once, each time it is asked, and says what it knows. What it is not: it
//! counts no try, makes no pause, and does not judge the answer.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::exchange::send_error::Unanswered;
use crate::message::fields::Fields;
use crate::signing::credentials::CredentialSet;

/// A way to send one request. It is chosen before a byte goes out, and stays for all tries.
pub trait Wire {
    type Answer: Answer;

    /// Sends the request, signed with `set`; on a new connection where `fresh`. Gives the answer
    /// when its head has come.
    async fn send(&mut self, set: &CredentialSet, fresh: bool) -> Result<Self::Answer, Failure>;

    /// Whether the whole of the request could be sent again.
    fn can_resend(&self) -> bool;
}

/// An answer whose head has come.
pub trait Answer {
    type Fields: Fields;

    fn status(&self) -> StatusCode;

    fn fields(&self) -> &Self::Fields;
}

/// Why a try has no answer.
#[derive(Debug)]
pub enum Failure {
    /// Upstream gave none.
    Unanswered(Unanswered),
    /// It began none within `--response-timeout`.
    Late,
    /// The client's body ended before its time.
    ClientBody,
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

/// A try that waits for its answer's head.
pub trait Awaiting {
    type Answer;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Answer, Failure>>;

    /// Whether the client has more of the body to send, and that is what is waited for.
    fn awaits_client(&self) -> bool;

    /// When upstream last took something of the body; `None` where there is none.
    fn last_progress(&self) -> Option<Instant>;
}

/// Waits for an answer's head; the time for it counts from when upstream last took something of the
/// request, and does not count while the client has more to send.
///
/// # Errors
/// [`Failure::Late`], beside what `awaiting` gives.
pub async fn in_time<A: Awaiting>(awaiting: &mut A, limit: Duration) -> Result<A::Answer, Failure> {
    let mut since = Instant::now();
    loop {
        let answer = pin!(std::future::poll_fn(|cx| awaiting.poll(cx)));
        if let Ok(answer) = timeout_at(since + limit, answer).await {
            return answer;
        }
        match awaiting.last_progress() {
            _ if awaiting.awaits_client() => since = Instant::now(),
            Some(last) if last > since => since = last,
            _ => return Err(Failure::Late),
        }
    }
}
