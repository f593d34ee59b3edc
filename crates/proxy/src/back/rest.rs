//! The part of a request's body that the client has not sent when the answer is there.
//!
//! Behind a refusal, upstream gets nothing more of it once the client has the answer. The bare wire
//! does the same by itself ([`crate::back::bare`]).

use std::cell::Cell;
use std::rc::Rc;

use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::client::linger;
use crate::exchange::replay;
use crate::limits::{UNREAD_BODY, UNREAD_BODY_TIME};
use crate::message::strict_body::{BodyError, StrictBody};

/// The rest of a body that hyper reads.
pub enum Rest {
    /// Of a request that is answered here.
    Unread(StrictBody<Incoming>),
    /// Of one that has been sent to upstream.
    Passing(replay::Rest),
}

/// What becomes of the rest behind the answer. `T` is what the request holds while it runs.
pub enum Remainder<T> {
    /// The body ends with the answer.
    Ends(Rest),
    /// The body goes on. Its end drops the value that is put here.
    Passes(Rc<Cell<Option<T>>>),
}

/// Whether an answer of this status means that upstream wants no more of the request.
pub fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Reads the rest of a short body before its request is answered without it: after the answer, an
/// HTTP/2 client would not learn that the body had another length than announced (RFC 9113 8.1.1).
///
/// # Errors
/// When the body breaks off.
pub async fn pass_over(body: &mut StrictBody<Incoming>) -> Result<(), BodyError> {
    let mut left = UNREAD_BODY;
    let read = async {
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            let Some(less) = left.checked_sub(data.len()) else {
                break;
            };
            left = less;
        }
        Ok(())
    };
    // A client may wait for the answer before it sends more.
    timeout(UNREAD_BODY_TIME, read).await.unwrap_or(Ok(()))
}

impl Rest {
    /// The rest of a request that is answered here, if there is any.
    pub fn unread(body: StrictBody<Incoming>) -> Option<Self> {
        (!body.is_end_stream()).then_some(Self::Unread(body))
    }

    /// What becomes of the rest behind an answer of this `status`.
    pub fn behind<T: 'static>(self, status: StatusCode) -> Remainder<T> {
        let Self::Passing(rest) = &self else {
            return Remainder::Ends(self);
        };
        let is_refused = is_refusal(status);
        if is_refused {
            rest.refuse();
        }
        if is_refused || rest.is_held() {
            return Remainder::Ends(self);
        }
        let running = Rc::new(Cell::new(None));
        let kept = Rc::clone(&running);
        rest.leave_to(move |body| {
            linger::drop_body(body);
            drop(kept);
        });
        Remainder::Passes(running)
    }

    fn end(self) {
        let body = match self {
            Self::Unread(body) => Some(body),
            Self::Passing(rest) => rest.end(),
        };
        if let Some(body) = body {
            linger::drop_body(body);
        }
    }
}

impl<T> Remainder<T> {
    /// To be called when the client has the answer. `running` is dropped when the body has ended, too.
    pub fn follow(self, running: T) {
        match self {
            Self::Ends(rest) => rest.end(),
            // The body still holds its clone: it has not ended.
            Self::Passes(kept) if Rc::strong_count(&kept) > 1 => kept.set(Some(running)),
            Self::Passes(_) => {}
        }
    }
}
