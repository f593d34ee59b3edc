//! What the loop of tries knows of a wire.
//!
//! A wire sends a request once, each time it is asked, and says what it knows. What it is not: it
//! counts no try, makes no pause, and does not judge the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, Sleep, sleep_until};

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

/// An answer; its head is complete.
pub trait Answer {
    type Fields: Fields;

    fn status(&self) -> StatusCode;

    fn fields(&self) -> &Self::Fields;
}

/// Why a try has no answer.
#[derive(Debug)]
pub enum Failure {
    /// Upstream gave no answer.
    Unanswered(Unanswered),
    /// Upstream began no answer within `--response-timeout`.
    Late,
    /// The client's body ended early.
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

/// The timer that the requests of one connection use in turn. It is set once, and anew only when it
/// goes off too early: to set one for each request costs a good part of what the request does.
#[derive(Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once it is `time`.
    fn poll(&mut self, cx: &mut Context<'_>, time: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(time)));
        if sleep.deadline() > time {
            sleep.as_mut().reset(time);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() == time {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(time);
        }
    }
}

/// Waits for an answer's head; the time for it counts from when upstream last took something of the
/// request, and does not count while the client has more to send.
///
/// # Errors
/// [`Failure::Late`], beside what `awaiting` gives.
pub async fn in_time<A: Awaiting>(
    awaiting: &mut A,
    limit: Duration,
    alarm: &mut Alarm,
) -> Result<A::Answer, Failure> {
    let mut since = Instant::now();
    loop {
        let answer = poll_fn(|cx| match awaiting.poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => alarm.poll(cx, since + limit).map(|()| None),
        });
        if let Some(answer) = answer.await {
            return answer;
        }
        match awaiting.last_progress() {
            _ if awaiting.awaits_client() => since = Instant::now(),
            Some(last) if last > since => since = last,
            _ => return Err(Failure::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const LIMIT: Duration = Duration::from_secs(10);

    /// An upstream that answers when this time is over.
    struct After(Pin<Box<Sleep>>);

    impl Awaiting for After {
        type Answer = ();

        fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            self.0.as_mut().poll(cx).map(Ok)
        }

        fn awaits_client(&self) -> bool {
            false
        }

        fn last_progress(&self) -> Option<Instant> {
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_of_a_connection_has_all_of_the_time() {
        let mut alarm = Alarm::default();
        for (after, answered) in [(9, true), (9, true), (11, false), (9, true), (11, false)] {
            let began = Instant::now();
            let mut upstream = After(Box::pin(sleep(Duration::from_secs(after))));
            let answer = in_time(&mut upstream, LIMIT, &mut alarm).await;
            assert_eq!(answer.is_ok(), answered);
            let took = Duration::from_secs(after).min(LIMIT);
            assert_eq!(began.elapsed().as_secs(), took.as_secs());
        }
        // The same holds where the limit is shorter.
        let mut upstream = After(Box::pin(sleep(LIMIT)));
        let late = in_time(&mut upstream, LIMIT / 2, &mut alarm).await;
        assert!(matches!(late, Err(Failure::Late)));
    }
}
