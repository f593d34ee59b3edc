//! A request's one way, from its head to the end of its answer.
//!
//! It comes either as lines that the gate holds, with a body of known length ([`serve_lines`]), or
//! from hyper ([`serve`]). Both make the same steps: the verdict ([`crate::decision`]); then the
//! exchange with upstream ([`crate::exchange`]), an answer made here ([`crate::answers`]) or a
//! refusal; and the way back ([`crate::back`]). How the request came tells the wire: lines go out on
//! a bare socket, the rest by hyper. What this is not: it holds no connection
//! ([`crate::worker`]).

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::answers::refusal::{self, Refusal};
use crate::answers::{self, Made};
use crate::back::relay::{self, RelayBody};
use crate::back::rest::Rest;
use crate::back::{bare, made};
use crate::client::body::KnownBody;
use crate::client::connection::InFlight;
use crate::client::gate::Gate;
use crate::client::request_lines::RequestLines;
use crate::client::writer::ClientWriter;
use crate::decision::{Asked, Denied, Verdict, decide};
use crate::exchange::hyper_wire::HyperWire;
use crate::exchange::socket_wire::SocketWire;
use crate::exchange::upstream::ResponseBody;
use crate::exchange::wire::{Alarm, Answer};
use crate::exchange::{Answered, Failed, Order};
use crate::limits::{UNREAD_BODY, UNREAD_BODY_TIME};
use crate::message::fields::Fields;
use crate::message::head::{Head, HeadError};
use crate::message::headers;
use crate::message::strict_body::{BodyError, StrictBody};
use crate::message::target::request_target;
use crate::record::audit::Entry;
use crate::record::{Record, RequestTarget};
use crate::session::Session;

/// Serves `request`. The gate has its `head`, and `length` bytes of body follow. `ends` says whether
/// the connection has to end with it. Returns whether another request may follow.
///
/// # Errors
/// When the client or upstream has left before the end.
pub async fn serve_lines(
    session: &Session,
    gate: &mut Gate,
    mut request: RequestLines,
    (head, length): (Head, u64),
    alarm: &mut Alarm,
    ends: impl Fn() -> bool,
) -> io::Result<bool> {
    let (_running, _) = session.connection.begin();
    let exchange = &session.thread.exchange;
    let shared = &session.thread.shared;
    let buffers = &exchange.buffers;
    let mut client = ClientWriter::new(&session.connection);
    gate.pass(head, length);
    let recorder = &session.thread.recorder;
    let mut record = Record::begin(
        recorder,
        &request.method,
        RequestTarget::Origin(Rc::clone(&request.target)),
        false,
    );
    record.audit(|entry| entry.asked(&session.peer, &request.fields));
    let asked = Asked {
        method: &request.method,
        target: Ok(&request.target),
        authority: None,
        version: Version::HTTP_11,
        fields: &request.fields,
    };
    let verdict = judge(session, &asked);
    let body = KnownBody::new(gate, &shared.metrics);
    let mut is_within_interim = false;
    let outcome = match verdict {
        Verdict::Forward(target, scopes) => {
            let target = record.goes_to(target);
            let order = Order {
                method: &request.method,
                target: &target,
                scopes,
                came: record.came().into(),
                sendings: Cell::default(),
            };
            record.audit(|entry| entry.narrowed(order.scopes.is_some()));
            let fields = &mut request.fields;
            let mut wire = SocketWire::new(exchange, &order, fields, body, &mut client, alarm);
            match exchange.run(&order, &mut wire).await {
                Ok(answered) => {
                    let upload = wire.into_upload();
                    buffers.give_back_lines(request.fields);
                    record.answered(answered.answer.status());
                    record.audit(|entry| record_answered(entry, &order, &answered));
                    let last = head.closes || ends();
                    return bare::relay(
                        &mut client,
                        buffers,
                        &order,
                        answered,
                        upload,
                        &mut record,
                        last,
                    )
                    .await;
                }
                Err(failed) => {
                    is_within_interim = wire.is_within_interim();
                    record.audit(|entry| record_unanswered(entry, &order, session));
                    Err(refusal_of(failed, session))
                }
            }
        }
        Verdict::Here(here, scopes) => answers::make(session, here, scopes, body).await,
        Verdict::Refuse(denied, target) => {
            record.would_go_to(target);
            Err(denied.into())
        }
    };
    let (Made { answer, set, .. }, closes) = made_here(session, outcome, &mut record);
    // Its reader would take any answer for more fields of the interim one.
    if is_within_interim {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    // The part of an unread body that has come is skipped. Behind a part that has not come, no head
    // could be found, so the connection ends.
    gate.skip_held_body();
    let last = closes || head.closes || gate.body_left() > 0 || ends();
    let method = &request.method;
    made::write(&mut client, method, &answer, &set, &mut record, last).await?;
    Ok(!last)
}

/// Serves a request that hyper has read.
///
/// # Errors
/// Never: what goes wrong is an answer.
pub async fn serve(
    session: Rc<Session>,
    request: Request<Incoming>,
) -> Result<Response<RelayBody>, Infallible> {
    let (running, refused) = session.connection.begin();
    let (parts, body) = request.into_parts();
    let is_old = parts.version < Version::HTTP_11;
    if is_old {
        session.connection.closes_answers();
    }
    let uri = RequestTarget::Uri(parts.uri.clone());
    let recorder = &session.thread.recorder;
    let mut record = Record::begin(recorder, &parts.method, uri, refused.is_some());
    record.audit(|entry| entry.asked(&session.peer, &parts.headers));
    let (outcome, rest) = match refused {
        Some(error) => (Err(Refusal::Framing(error)), None),
        None => pass(&session, parts, body, &mut record).await,
    };
    // Behind a body that has not been read, no head could be found.
    let is_unread = rest.is_some() && !session.http2;
    let (mut response, closes) = match outcome {
        Ok(Passed::Upstream(answered)) => {
            let response = relay_upstream(&session, *answered, record, running, rest);
            // A client of HTTP/1.0 has no chunks: only the close tells such an answer's end.
            let is_open = is_old && response.body().is_of_unknown_length();
            (response, is_open)
        }
        Ok(Passed::Here(made)) => answer_here(&session, Ok(made), record, running, rest),
        Err(refusal) => answer_here(&session, Err(refusal), record, running, rest),
    };
    if closes || is_unread {
        end_with(&session, &mut response);
    }
    Ok(response)
}

/// Makes `response` the last one of its connection.
fn end_with(session: &Session, response: &mut Response<RelayBody>) {
    session.connection.ends();
    if !session.http2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        if session.connection.tells_ends_by_closing() {
            // hyper would tell a client that asked for it that the connection is kept.
            *response.version_mut() = Version::HTTP_10;
        }
    }
}

enum Passed {
    Upstream(Box<Answered<Response<ResponseBody>>>),
    Here(Made),
}

/// The steps up to the answer of a request that hyper has read, and what is left of its body then.
async fn pass(
    session: &Session,
    mut parts: Parts,
    body: Incoming,
    record: &mut Record,
) -> (Result<Passed, Refusal>, Option<Rest>) {
    let mut body = StrictBody::counted(body, parts.version, &session.thread.shared.metrics);
    // The gate has looked at it where the request came by HTTP/1.
    if let Err(error) = headers::content_length(&mut parts.headers) {
        return (Err(HeadError::from(error).into()), unread(body));
    }
    let exchange = &session.thread.exchange;
    let target = request_target(&parts.uri);
    let asked = Asked {
        method: &parts.method,
        target: target.as_deref().map_err(|error| *error),
        authority: parts.uri.authority(),
        version: parts.version,
        fields: &parts.headers,
    };
    let verdict = judge(session, &asked);
    let outcome = match verdict {
        Verdict::Forward(target, scopes) => {
            let target = record.goes_to(target);
            let order = Order {
                method: &parts.method,
                target: &target,
                scopes,
                came: record.came().into(),
                sendings: Cell::default(),
            };
            record.audit(|entry| entry.narrowed(order.scopes.is_some()));
            let mut wire = HyperWire::new(exchange, &order, parts.headers, body, session.http2);
            let answered = exchange.run(&order, &mut wire).await;
            let rest = wire.into_rest().map(Rest::Passing);
            let outcome = match answered {
                Ok(answered) => {
                    record.audit(|entry| record_answered(entry, &order, &answered));
                    Ok(Passed::Upstream(Box::new(answered)))
                }
                Err(failed) => {
                    record.audit(|entry| record_unanswered(entry, &order, session));
                    Err(refusal_of(failed, session))
                }
            };
            return (outcome, rest);
        }
        Verdict::Here(here, scopes) => {
            let made = answers::make(session, here, scopes, &mut body).await;
            made.map(Passed::Here)
        }
        Verdict::Refuse(denied, target) => {
            record.would_go_to(target);
            Err(denied.into())
        }
    };
    let passed_over = pass_over(session, &mut body).await;
    (passed_over.and(outcome), unread(body))
}

fn unread(body: StrictBody<Incoming>) -> Option<Rest> {
    (!body.is_end_stream()).then_some(Rest::Unread(body))
}

/// Reads the rest of a short body before its request is answered without it: after the answer, an
/// HTTP/2 client would not learn that the body had another length than announced (RFC 9113 8.1.1). On
/// HTTP/1 the body ends where the head says.
async fn pass_over(session: &Session, body: &mut StrictBody<Incoming>) -> Result<(), Refusal> {
    if !session.http2 {
        return Ok(());
    }
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
    let read: Result<(), BodyError> = timeout(UNREAD_BODY_TIME, read).await.unwrap_or(Ok(()));
    read.map_err(|_| Refusal::torn_body(&session.connection))
}

/// Upstream's answer, by hyper; a change of protocol takes the connection with it.
fn relay_upstream(
    session: &Session,
    mut answered: Answered<Response<ResponseBody>>,
    record: Record,
    running: InFlight,
    rest: Option<Rest>,
) -> Response<RelayBody> {
    let response = &mut answered.answer;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upstream = hyper::upgrade::on(response);
        session.connection.upgrade_to(upstream);
    } else {
        session.connection.no_upgrade();
    }
    relay::relay(answered, record, running, rest)
}

/// An answer made here, and whether the connection ends with it.
fn answer_here(
    session: &Session,
    outcome: Result<Made, Refusal>,
    mut record: Record,
    running: InFlight,
    rest: Option<Rest>,
) -> (Response<RelayBody>, bool) {
    session.connection.no_upgrade();
    let (Made { answer, set, .. }, closes) = made_here(session, outcome, &mut record);
    (relay::answer(answer, &set, record, running, rest), closes)
}

/// The verdict on a request; nothing is signed that would not be recorded.
fn judge<F: Fields>(session: &Session, asked: &Asked<'_, F>) -> Verdict {
    let verdict = decide(asked, session.rights, &session.thread.rules);
    if verdict.signs() && !session.thread.recorder.may_sign() {
        return verdict.refused(Denied::NotRecorded);
    }
    verdict
}

/// What the audit log has of an exchange.
fn record_answered<A: Answer>(entry: &mut Entry, order: &Order<'_>, answered: &Answered<A>) {
    entry.sent(order.sendings.get(), answered.entered.set());
    entry.answered(answered.answer.fields());
}

/// The same of one without an answer.
fn record_unanswered(entry: &mut Entry, order: &Order<'_>, session: &Session) {
    let set = session.thread.exchange.settings.in_force.current();
    entry.sent(order.sendings.get(), &set);
}

fn refusal_of(failed: Failed, session: &Session) -> Refusal {
    match failed {
        Failed::ClientBody => Refusal::torn_body(&session.connection),
        failed => Refusal::Failed(failed),
    }
}

/// The answer that is made here, a refusal among them, and whether the connection ends with it.
fn made_here(
    session: &Session,
    outcome: Result<Made, Refusal>,
    record: &mut Record,
) -> (Made, bool) {
    let is_reserved = session.rights.reserved;
    let (made, closes) = match outcome {
        Ok(made) => (made, is_reserved),
        Err(refusal) => {
            record.refused(refusal.status(), refusal.code(), &refusal);
            let answer = refusal::answer(&refusal);
            let set = session.thread.exchange.settings.in_force.current();
            (Made::plain(answer, set), is_reserved || refusal.closes())
        }
    };
    if let Some(url) = &made.signed_url {
        record.audit(|entry| entry.signed(&made.set, url.clone()));
    }
    record.answered(made.answer.status());
    (made, closes)
}
