//! One request, from its head to whoever answers it.
//!
//! The guards come first, then the route; what is not forwarded is answered here: `/bewit`,
//! `/credentials` and the endpoints for operators. What this is not: it holds no connection
//! ([`crate::client::worker`]) and sends nothing out ([`crate::exchange::forward`]).

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use crate::answers::bewit;
use crate::answers::refusal::{self, Refusal};
use crate::back::relay::{self, RelayBody};
use crate::decision::route::{Route, route};
use crate::decision::scopes;
use crate::exchange::forward::{Forwarded, forward};
use crate::message::head::HeadError;
use crate::message::headers;
use crate::message::target::request_target;
use crate::message::whole::Whole;
use crate::record::metrics;
use crate::record::{Record, RequestTarget};
use crate::session::{Session, Shared};
use crate::signing::credentials::{AUTHORIZED_SCOPES, Abandoned, CredentialSet};
use crate::signing::sign;

/// Longest body of `PUT /credentials` in bytes.
const MAX_CREDENTIALS: usize = 1024 * 1024;

/// Answers `request`.
///
/// # Errors
/// Never: what goes wrong is an answer.
pub async fn respond(
    session: Rc<Session>,
    request: Request<Incoming>,
) -> Result<Response<RelayBody>, Infallible> {
    let refusal = session.connection.begin();
    let mut record = Record::begin(
        &session,
        request.method(),
        RequestTarget::Uri(request.uri().clone()),
        refusal.is_some(),
    );
    let outcome = match refusal {
        Some(refusal) => Err(refusal),
        None => dispatch(&session, request, &mut record).await,
    };
    let upgrades = matches!(&outcome, Ok(Outcome::Forwarded(forwarded))
        if forwarded.response.status() == StatusCode::SWITCHING_PROTOCOLS);
    if !upgrades {
        session.connection.no_upgrade();
    }
    let closes = session.reserved || matches!(&outcome, Err(refusal) if refusal.closes());
    let mut response = match outcome {
        Ok(Outcome::Forwarded(mut forwarded)) => {
            if upgrades {
                let upstream = hyper::upgrade::on(&mut forwarded.response);
                session.connection.upgrade_to(upstream);
            }
            relay::relay(*forwarded, record)
        }
        Ok(Outcome::Made(response, set)) => relay::answer(response, &set, record),
        Err(refusal) => {
            record.refused(&refusal);
            let set = session.thread.shared.in_force.current();
            relay::answer(refusal::answer(&refusal), &set, record)
        }
    };
    if closes && !session.http2 {
        let close = HeaderValue::from_static("close");
        response
            .headers_mut()
            .insert(http::header::CONNECTION, close);
    }
    Ok(response)
}

enum Outcome {
    Forwarded(Box<Forwarded>),
    Made(Response<Full<Bytes>>, Arc<CredentialSet>),
}

async fn dispatch(
    session: &Session,
    mut request: Request<Incoming>,
    record: &mut Record,
) -> Result<Outcome, Refusal> {
    let shared = &session.thread.shared;
    headers::content_length(request.headers_mut()).map_err(HeadError::from)?;
    if request.method() == Method::CONNECT {
        return Err(Refusal::Method {
            allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        });
    }
    shared.guard.check(
        request.headers(),
        request.uri().authority(),
        request.version(),
    )?;
    let route = {
        let target = request_target(request.uri())?;
        route(&target, &shared.root)
    };
    let needs_proxying = matches!(route, Route::Upstream(_) | Route::Bewit);
    if needs_proxying && !session.rights.proxy {
        return Err(Refusal::User);
    }
    if needs_proxying && session.reserved {
        return Err(Refusal::Busy);
    }
    match route {
        Route::Upstream(target) => {
            record.goes_to(&target);
            let scopes = narrowing(shared, &request)?;
            let forwarded =
                forward(session, request, record.came().into(), &target, scopes).await?;
            Ok(Outcome::Forwarded(Box::new(forwarded)))
        }
        Route::Bewit => sign_url(session, request).await,
        Route::Credentials => update(session, request).await,
        Route::Version => health(session, &request, "application/json", version(shared)),
        Route::Heartbeat | Route::LbHeartbeat => {
            health(session, &request, "application/json", "{}\n".to_owned())
        }
        Route::Metrics => health(
            session,
            &request,
            metrics::CONTENT_TYPE,
            shared
                .metrics
                .prometheus(shared.in_force.current().expiry()),
        ),
        Route::None => Err(Refusal::NoRoute),
        Route::Malformed(error) => Err(Refusal::Target(error)),
    }
}

/// The scopes that a request asks to be narrowed to, within what there is.
fn narrowing(shared: &Shared, request: &Request<Incoming>) -> Result<Option<Vec<String>>, Refusal> {
    let asked = scopes::parse_narrowing(request.headers().get_all(AUTHORIZED_SCOPES))?;
    if let Some(asked) = &asked {
        scopes::narrow(shared.restriction.as_deref(), asked)?;
    }
    Ok(asked)
}

/// `POST /bewit`.
async fn sign_url(session: &Session, request: Request<Incoming>) -> Result<Outcome, Refusal> {
    let shared = &session.thread.shared;
    allow(&request, &[Method::POST], "POST")?;
    let scopes = narrowing(shared, &request)?;
    let too_long = || Refusal::Bewit(bewit::BewitError::TooLong);
    let body = collect(session, request, bewit::MAX_BODY, too_long).await?;
    let resource = bewit::resource(&body)?;
    let entered = shared.in_force.enter().await;
    let set = match scopes {
        None => Arc::clone(&entered.set),
        Some(scopes) => Arc::new(entered.set.narrowed(&scopes)),
    };
    let url = resource.signed_url(&sign::bewit(&set, resource.origin(), resource.target()));
    let location =
        HeaderValue::from_str(&url).map_err(|_| Refusal::Bewit(bewit::BewitError::Byte))?;
    let mut response = Response::new(Full::from(url));
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, location);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    Ok(Outcome::Made(response, set))
}

/// `PUT /credentials`.
async fn update(session: &Session, request: Request<Incoming>) -> Result<Outcome, Refusal> {
    let shared = &session.thread.shared;
    allow(&request, &[Method::PUT], "PUT")?;
    if !session.rights.update {
        return Err(Refusal::UpdateUser);
    }
    let body = collect(session, request, MAX_CREDENTIALS, || {
        Refusal::CredentialsTooLong
    })
    .await?;
    let (verdict, judged) = oneshot::channel();
    shared.validator.validate(body, verdict);
    let judged = judged.await.map_err(|_| Refusal::Stopping)?;
    let credentials = judged.map_err(|reason| {
        shared.metrics.credential_failures.add(1);
        shared
            .log
            .warn(format_args!("Credentials refused: {reason}"));
        Refusal::Credentials(reason)
    })?;
    let still_there = || !session.thread.is_gone(&session.connection);
    if shared.update(&credentials, still_there).await == Err(Abandoned) {
        shared.log.warn(format_args!(
            "Credentials dropped: whoever sent them has left"
        ));
        return Err(Refusal::TornBody);
    }
    Ok(Outcome::Made(
        Response::new(Full::default()),
        shared.in_force.current(),
    ))
}

fn health(
    session: &Session,
    request: &Request<Incoming>,
    content_type: &'static str,
    body: String,
) -> Result<Outcome, Refusal> {
    allow(request, &[Method::GET, Method::HEAD], "GET, HEAD")?;
    let mut response = Response::new(Full::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(Outcome::Made(
        response,
        session.thread.shared.in_force.current(),
    ))
}

/// The shape of Mozilla's Dockerflow `/__version__`.
fn version(shared: &Shared) -> String {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let version = serde_json::json!({
        "source": env!("CARGO_PKG_REPOSITORY"),
        "version": text(&shared.build.version),
        "commit": text(&shared.build.revision),
    });
    format!("{version}\n")
}

fn allow(
    request: &Request<Incoming>,
    methods: &[Method],
    allow: &'static str,
) -> Result<(), Refusal> {
    if methods.contains(request.method()) {
        Ok(())
    } else {
        Err(Refusal::Method { allow })
    }
}

async fn collect(
    session: &Session,
    request: Request<Incoming>,
    limit: usize,
    too_long: impl Fn() -> Refusal,
) -> Result<Bytes, Refusal> {
    let version = request.version();
    let metrics = &session.thread.shared.metrics;
    let body = Whole::counted(request.into_body(), version, metrics);
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
        Err(_) => Err(session.torn_body()),
    }
}
