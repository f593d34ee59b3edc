//! What a client has not sent of its request's body when the answer is there.
//!
//! Behind a refusal, upstream gets nothing more of it once the client has the answer. The bare wire
//! does the same by itself ([`crate::back::bare`]).

use http::StatusCode;
use hyper::body::Incoming;

use crate::client::connection::InFlight;
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

/// Whether an answer of this status means that upstream wants no more of the request.
pub fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

impl Rest {
    /// What has to end with an answer of this `status`; `None` where the body passes on behind it, and
    /// the connection stays in use until then.
    pub fn behind(self, status: StatusCode, running: &InFlight) -> Option<Self> {
        let Self::Passing(rest) = &self else {
            return Some(self);
        };
        let is_refused = is_refusal(status);
        if is_refused {
            rest.refuse();
        }
        if is_refused || rest.is_held() {
            return Some(self);
        }
        let running = running.again();
        rest.leave_to(move |body| {
            linger::drop_body(body);
            drop(running);
        });
        None
    }

    /// The client has the answer.
    pub fn end(self) {
        let body = match self {
            Self::Unread(body) => Some(body),
            Self::Passing(rest) => rest.end(),
        };
        if let Some(body) = body {
            linger::drop_body(body);
        }
    }
}
