//! An answer goes back to the client: upstream's, or one made here.
//!
//! Bodies pass in the chunks in which they came. A running request has a place in its credential set
//! and a line for the log. Both are released when the last byte has been handed over, or when the body
//! is dropped because one side has left.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::answers::Made;
use crate::back::rest::{Remainder, Rest};
use crate::client::connection::{Connection, InFlight};
use crate::exchange::Answered;
use crate::exchange::upstream::ResponseBody;
use crate::message::headers;
use crate::message::names::ERROR;
use crate::message::strict_body::{BodyError, StrictBody};
use crate::record::Record;
use crate::signing::in_force::Entered;

/// The body of an answer.
pub struct RelayBody {
    source: Source,
    guards: Option<Guards>,
    /// The body seems to follow, though it is empty: a 304 may name the length of what it stands
    /// for (RFC 9110 8.6), and hyper keeps that field only before a body, which it then does not
    /// send.
    seems_to_follow: bool,
}

enum Source {
    Made(Full<Bytes>),
    Upstream(StrictBody<ResponseBody>),
}

/// The guards that end with the answer, or with the request's body where that takes longer.
struct Guards {
    running: Running,
    rest: Option<Remainder<Running>>,
}

struct Running {
    record: Record,
    in_flight: InFlight,
    _entered: Option<Entered>,
}

/// Upstream's answer as the client gets it; `in_flight` is kept to the end of both bodies. `rest`
/// decides what becomes of the request's body.
pub fn relay(
    answered: Answered<Response<ResponseBody>>,
    record: Record,
    in_flight: InFlight,
    rest: Option<Rest>,
) -> Response<RelayBody> {
    let Answered {
        mut answer,
        entered,
    } = answered;
    let connection = in_flight.connection();
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.upgrade_to(hyper::upgrade::on(&mut answer));
    } else {
        connection.no_upgrade();
    }
    let (mut parts, body) = answer.into_parts();
    let body = StrictBody::new(body, parts.version);
    parts.version = Version::HTTP_11;
    let upgrade = (parts.status == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| headers::upgrade_protocol(&parts.headers))
        .flatten();
    headers::strip_response(&mut parts.headers);
    if let Some(protocol) = upgrade {
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol);
    }
    entered.set().name_in(&mut parts.headers, record.target());
    let rest = rest.map(|rest| rest.behind(parts.status));
    let running = Running {
        record,
        in_flight,
        _entered: Some(entered),
    };
    let seems_to_follow =
        parts.status == StatusCode::NOT_MODIFIED && parts.headers.contains_key(CONTENT_LENGTH);
    Response::from_parts(
        parts,
        RelayBody {
            source: Source::Upstream(body),
            guards: Some(Guards { running, rest }),
            seems_to_follow,
        },
    )
}

/// An answer made here.
pub fn answer(
    made: Made,
    record: Record,
    in_flight: InFlight,
    rest: Option<Rest>,
) -> Response<RelayBody> {
    in_flight.connection().no_upgrade();
    let (mut parts, body) = made.answer.into_parts();
    let error = parts.headers.remove(&ERROR);
    made.set.name_in(&mut parts.headers, record.target());
    if let Some(error) = error {
        parts.headers.insert(ERROR, error);
    }
    let running = Running {
        record,
        in_flight,
        _entered: None,
    };
    let rest = rest.map(Remainder::Ends);
    Response::from_parts(
        parts,
        RelayBody {
            source: Source::Made(Full::new(body)),
            guards: Some(Guards { running, rest }),
            seems_to_follow: false,
        },
    )
}

/// Makes `response` the last one of its HTTP/1 connection.
pub fn say_last(response: &mut Response<RelayBody>, connection: &Connection) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    if connection.tells_ends_by_closing() {
        // To a client that asked to keep the connection, hyper would say that it is kept.
        *response.version_mut() = Version::HTTP_10;
    }
}

impl RelayBody {
    /// Whether the body's length is not known before its end comes.
    pub fn is_of_unknown_length(&self) -> bool {
        matches!(&self.source, Source::Upstream(body) if body.size_hint().exact().is_none())
    }

    fn end(&mut self) {
        if let Some(Guards { running, rest }) = self.guards.take()
            && let Some(rest) = rest
        {
            rest.follow(running);
        }
    }
}

impl Drop for RelayBody {
    fn drop(&mut self) {
        self.end();
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(guards) = &this.guards {
            ready!(guards.running.in_flight.connection().poll_takes_more(cx));
        }
        let polled = match &mut this.source {
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
            Source::Made(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|infallible| match infallible {}),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(guards), Some(data)) = (&mut this.guards, frame.data_ref()) {
                    let running = &mut guards.running;
                    running.record.relayed(data.len());
                    running.in_flight.connection().takes(data.len());
                }
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(guards) = &mut this.guards {
                    guards.running.record.broke_off(error);
                }
                this.end();
            }
            Poll::Ready(None) => this.end(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            _ if self.seems_to_follow => false,
            Source::Upstream(body) => body.is_end_stream(),
            Source::Made(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            _ if self.seems_to_follow => SizeHint::default(),
            Source::Upstream(body) => body.size_hint(),
            Source::Made(body) => body.size_hint(),
        }
    }
}
