//! What a client has not sent of its request's body when the answer is there.
//!
//! Behind a refusal, upstream gets nothing more of it once the client has the answer. The bare wire
//! does the same by itself ([`crate::back::bare`]).

use std::cell::Cell;
use std::rc::Rc;

use http::StatusCode;
use hyper::body::Incoming;

use crate::client::linger;
use crate::exchange::replay;
use crate::message::strict_body::StrictBody;

/// The rest of a body that hyper reads.
pub enum Rest {
    /// Of a request that is answered here.
    Unread(StrictBody<Incoming>),
    /// Of one that has been sent to upstream.
    Passing(replay::Rest),
}

/// What becomes of it behind the answer to a request whose running is a `T`.
pub enum Remainder<T> {
    /// It ends with the answer.
    Ends(Rest),
    /// It passes on, and the request runs until it has ended.
    Passes(Rc<Cell<Option<T>>>),
}

/// Whether an answer of this status means that upstream wants no more of the request.
pub fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

impl Rest {
    /// What becomes of it behind an answer of this `status`.
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
    /// The client has the answer. `running` is dropped when the body has ended, too.
    pub fn follow(self, running: T) {
        match self {
            Self::Ends(rest) => rest.end(),
            // The body has not ended: its heir is there.
            Self::Passes(kept) if Rc::strong_count(&kept) > 1 => kept.set(Some(running)),
            Self::Passes(_) => {}
        }
    }
}
