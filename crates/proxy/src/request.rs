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

use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;

use crate::answers::refusal::Refusal;
use crate::answers::{self, Made};
use crate::back::relay::{self, RelayBody};
use crate::back::rest::{self, Rest};
use crate::back::{bare, made};
use crate::client::body::KnownBody;
use crate::client::gate::Gate;
use crate::client::request_lines::RequestLines;
use crate::client::writer::ClientWriter;
use crate::decision::route::Target;
use crate::decision::{Asked, Denied, Verdict, decide};
use crate::exchange::hyper_wire::HyperWire;
use crate::exchange::socket_wire::SocketWire;
use crate::exchange::upstream::ResponseBody;
use crate::exchange::wire::{Alarm, Answer, Wire};
use crate::exchange::{Answered, Failed, Order};
use crate::message::fields::Fields;
use crate::message::head::{Head, HeadError};
use crate::message::headers;
use crate::message::strict_body::StrictBody;
use crate::message::target::request_target;
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
            let order = order(&request.method, &target, scopes, &mut record);
            let fields = &mut request.fields;
            let mut wire = SocketWire::new(exchange, &order, fields, body, &mut client, alarm);
            match send(session, &order, &mut wire, &mut record).await {
                Ok(answered) => {
                    let upload = wire.into_upload();
                    buffers.give_back_lines(request.fields);
                    let last = head.closes || ends();
                    let record = &mut record;
                    let passed =
                        bare::relay(&mut client, buffers, &order, answered, upload, record, last);
                    return passed.await;
                }
                Err(refusal) => {
                    is_within_interim = wire.is_within_interim();
                    Err(refusal)
                }
            }
        }
        Verdict::Here(here, scopes) => {
            record.audit(|entry| entry.narrowed(scopes.is_some()));
            answers::make(session, here, scopes, body).await
        }
        Verdict::Refuse(denied, target) => {
            record.would_go_to(target);
            Err(denied.into())
        }
    };
    let (Made { answer, set, .. }, closes) = answers::settle(session, outcome, &mut record);
    // The client would take any answer for more fields of the interim one.
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
/// Never: each failure becomes an answer.
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
    let uri = RequestTarget::Uri(parts.uri.clone(), parts.version);
    let recorder = &session.thread.recorder;
    let mut record = Record::begin(recorder, &parts.method, uri, refused.is_some());
    record.audit(|entry| entry.asked(&session.peer, &parts.headers));
    let (passed, rest) = match refused {
        Some(error) => (Passed::Here(Err(error.into())), None),
        None => pass(&session, parts, body, &mut record).await,
    };
    // Behind a body that has not been read, no head could be found.
    let mut is_last = rest.is_some() && !session.http2;
    let mut response = match passed {
        Passed::Upstream(answered) => {
            let response = relay::relay(*answered, record, running, rest);
            // A client of HTTP/1.0 has no chunks: only the close tells such an answer's end.
            is_last |= is_old && response.body().is_of_unknown_length();
            response
        }
        Passed::Here(outcome) => {
            let (made, closes) = answers::settle(&session, outcome, &mut record);
            is_last |= closes;
            relay::answer(made, record, running, rest)
        }
    };
    if is_last {
        session.connection.ends();
        if !session.http2 {
            relay::say_last(&mut response, &session.connection);
        }
    }
    Ok(response)
}

enum Passed {
    Upstream(Box<Answered<Response<ResponseBody>>>),
    Here(Result<Made, Refusal>),
}

/// The steps up to the answer of a request that hyper has read, and what is left of its body then.
async fn pass(
    session: &Session,
    mut parts: Parts,
    body: Incoming,
    record: &mut Record,
) -> (Passed, Option<Rest>) {
    let mut body = StrictBody::counted(body, parts.version, &session.thread.shared.metrics);
    // The gate has looked at it where the request came by HTTP/1.
    if let Err(error) = headers::content_length(&mut parts.headers) {
        let refusal = HeadError::from(error).into();
        return (Passed::Here(Err(refusal)), Rest::unread(body));
    }
    let target = request_target(&parts.uri);
    let asked = Asked {
        method: &parts.method,
        target: target.as_deref().map_err(|error| *error),
        authority: parts.uri.authority(),
        version: parts.version,
        fields: &parts.headers,
    };
    let mut outcome = match judge(session, &asked) {
        Verdict::Forward(target, scopes) => {
            let exchange = &session.thread.exchange;
            let target = record.goes_to(target);
            let order = order(&parts.method, &target, scopes, record);
            let mut wire = HyperWire::new(exchange, &order, parts.headers, body, session.http2);
            let passed = match send(session, &order, &mut wire, record).await {
                Ok(answered) => Passed::Upstream(Box::new(answered)),
                Err(refusal) => Passed::Here(Err(refusal)),
            };
            return (passed, wire.into_rest().map(Rest::Passing));
        }
        Verdict::Here(here, scopes) => {
            record.audit(|entry| entry.narrowed(scopes.is_some()));
            answers::make(session, here, scopes, &mut body).await
        }
        Verdict::Refuse(denied, target) => {
            record.would_go_to(target);
            Err(denied.into())
        }
    };
    // On HTTP/1 the body ends where the head says.
    if session.http2 && rest::pass_over(&mut body).await.is_err() {
        outcome = Err(Refusal::torn_body(&session.connection));
    }
    (Passed::Here(outcome), Rest::unread(body))
}

/// The verdict on a request; nothing is signed that would not be recorded.
fn judge<F: Fields>(session: &Session, asked: &Asked<'_, F>) -> Verdict {
    let verdict = decide(asked, session.rights, &session.thread.rules);
    if verdict.signs() && !session.thread.recorder.may_sign() {
        return verdict.refused(Denied::NotRecorded);
    }
    verdict
}

fn order<'a>(
    method: &'a Method,
    target: &'a Target,
    scopes: Option<Vec<String>>,
    record: &mut Record,
) -> Order<'a> {
    record.audit(|entry| entry.narrowed(scopes.is_some()));
    Order {
        method,
        target,
        scopes,
        came: record.came().into(),
        sendings: Cell::default(),
    }
}

/// Sends `order` by `wire` until there is an answer to record.
async fn send<W: Wire>(
    session: &Session,
    order: &Order<'_>,
    wire: &mut W,
    record: &mut Record,
) -> Result<Answered<W::Answer>, Refusal> {
    let exchange = &session.thread.exchange;
    match exchange.run(order, wire).await {
        Ok(answered) => {
            record.answered(answered.answer.status());
            record.audit(|entry| {
                entry.sent(order.sendings.get(), answered.entered.set());
                entry.answered(answered.answer.fields());
            });
            Ok(answered)
        }
        Err(failed) => {
            let set = exchange.settings.in_force.current();
            record.audit(|entry| entry.sent(order.sendings.get(), &set));
            Err(match failed {
                Failed::ClientBody => Refusal::torn_body(&session.connection),
                failed => failed.into(),
            })
        }
    }
}
