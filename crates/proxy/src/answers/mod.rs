//! The answers that the proxy makes itself: refusals, `/bewit`, `/credentials` and the endpoints for
//! operators.
//!
//! What it is not: it decides nothing about a request's head ([`crate::decision`]).

pub mod bewit;
pub mod refusal;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::oneshot;

use crate::decision::Denied;
use crate::decision::route::Here;
use crate::limits::{BEWIT_BODY, CREDENTIALS_BODY};
use crate::message::strict_body::BodyError;
use crate::record::Record;
use crate::record::metrics::{self, About};
use crate::session::{Session, Shared};
use crate::signing::credentials::CredentialSet;
use crate::signing::in_force::Abandoned;
use crate::signing::sign;
use refusal::Refusal;

const JSON: &str = "application/json";

/// An answer, and the credential set that it names.
pub struct Made {
    pub answer: Response<Bytes>,
    pub set: Arc<CredentialSet>,
    /// The URL that it signs.
    pub signed_url: Option<Box<str>>,
}

impl Made {
    /// An answer that signs nothing.
    pub fn plain(answer: Response<Bytes>, set: Arc<CredentialSet>) -> Self {
        Self {
            answer,
            set,
            signed_url: None,
        }
    }
}

/// Records `outcome`. Returns its answer, or the one to its refusal, and whether the connection ends
/// with it.
pub fn settle(
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

/// Makes the answer of `here`; a bewit is narrowed to `scopes`.
///
/// # Errors
/// Where the body does not hold what it should.
pub async fn make<B>(
    session: &Session,
    here: Here,
    scopes: Option<Vec<String>>,
    body: B,
) -> Result<Made, Refusal>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let shared = &session.thread.shared;
    let answer = match here {
        Here::Bewit => return sign_url(session, scopes, body).await,
        Here::Credentials => return update(session, body).await,
        Here::Version => text(JSON, version(shared)),
        Here::Heartbeat if !session.thread.recorder.may_sign() => {
            return Err(Denied::NotRecorded.into());
        }
        Here::Heartbeat | Here::LbHeartbeat => text(JSON, "{}\n".to_owned()),
        Here::Metrics => {
            let about = About {
                version: shared.build.version.to_str().unwrap_or_default(),
                revision: shared.build.revision.to_str().unwrap_or_default(),
                credentials_expiry: shared.exchange.in_force.current().expiry(),
            };
            text(metrics::CONTENT_TYPE, shared.metrics.prometheus(about))
        }
    };
    let set = shared.exchange.in_force.current();
    Ok(Made::plain(answer, set))
}

fn text(content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// `POST /bewit`.
async fn sign_url<B>(
    session: &Session,
    scopes: Option<Vec<String>>,
    body: B,
) -> Result<Made, Refusal>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let too_long = || Refusal::Bewit(bewit::BewitError::TooLong);
    let body = collect(session, body, BEWIT_BODY, too_long).await?;
    let resource = bewit::resource(&body)?;
    let destinations = &session.thread.rules.destinations;
    destinations
        .check(resource.origin())
        .map_err(Denied::from)?;
    let mut entered = session.thread.exchange.settings.in_force.enter().await;
    if let Some(scopes) = scopes {
        entered.narrow(&scopes);
    }
    let set = Arc::clone(entered.set());
    let url = resource.signed_url(&sign::bewit(&set, resource.origin(), resource.target()));
    let location =
        HeaderValue::from_str(&url).map_err(|_| Refusal::Bewit(bewit::BewitError::Byte))?;
    let mut response = text("text/plain; charset=utf-8", url);
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, location);
    Ok(Made {
        answer: response,
        set,
        signed_url: Some([resource.origin().url(), resource.target()].concat().into()),
    })
}

/// `PUT /credentials`.
async fn update<B>(session: &Session, body: B) -> Result<Made, Refusal>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let shared = &session.thread.shared;
    let too_long = || Refusal::CredentialsTooLong;
    let body = collect(session, body, CREDENTIALS_BODY, too_long).await?;
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
            "Credentials dropped: the client that sent them has left"
        ));
        return Err(Refusal::TornBody);
    }
    let set = shared.exchange.in_force.current();
    Ok(Made::plain(Response::new(Bytes::new()), set))
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

async fn collect<B>(
    session: &Session,
    body: B,
    limit: usize,
    too_long: impl Fn() -> Refusal,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
        Err(_) => Err(Refusal::torn_body(&session.connection)),
    }
}
