//! Every answer that is the proxy's own refusal: one type, its status and one sentence that says
//! what to do. No sentence holds a secret; what a client sent is repeated only where it is a scope.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use thiserror::Error;

use crate::answers::bewit::BewitError;
use crate::decision::browser::BrowserError;
use crate::decision::scopes::NarrowingError;
use crate::exchange::send_error::SendError;
use crate::message::chunked::ChunkedError;
use crate::message::head::HeadError;
use crate::message::target::TargetError;

/// Why the proxy itself answers a request, and not upstream.
#[derive(Debug, Error)]
pub enum Refusal {
    /// A head that is not well formed, or a message whose end is not certain; the connection is
    /// closed. The sentence names no value.
    #[error(transparent)]
    Framing(#[from] HeadError),
    /// A request target that HTTP does not carry unchanged.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// `X-Taskcluster-Authorized-Scopes`, not understood (400) or not to be had (403).
    #[error(transparent)]
    Scopes(#[from] NarrowingError),
    /// A URL that is not signed.
    #[error(transparent)]
    Bewit(#[from] BewitError),
    /// A credential set that is not taken; the reason names no value.
    #[error("{0}")]
    Credentials(String),
    /// A body that ended before its time.
    #[error("the request's body broke off")]
    TornBody,
    /// A chunked body that is none.
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
    /// The other end belongs to somebody else.
    #[error("this proxy does not serve your user")]
    User,
    /// The other end may not change the credentials.
    #[error("only root and the user that the proxy runs as may update its credentials")]
    UpdateUser,
    /// A page, or a `Host` that is not answered.
    #[error(transparent)]
    Browser(#[from] BrowserError),
    /// No route.
    #[error(
        "no such route: use /api/<service>/<version>/<path>, /<host.name>/<path> \
         or /<service>/<version>/<path>"
    )]
    NoRoute,
    /// A method that this resource does not have.
    #[error("this method is not allowed here: use {allow}")]
    Method {
        /// Value of `Allow`.
        allow: &'static str,
    },
    /// A head that did not come in time.
    #[error("the request's head did not come in time")]
    HeadTimeout,
    /// A credentials body over 1 MiB.
    #[error("the credentials are longer than 1 MiB")]
    CredentialsTooLong,
    /// A head over 64 KiB, or of too many fields.
    #[error("{}", HeadError::TooLarge)]
    HeadTooLarge,
    /// No answer came from upstream.
    #[error(transparent)]
    Upstream(#[from] SendError),
    /// The same, after more of the body had gone out than is kept for another try.
    #[error(
        "{0}; the request's body was too large to be sent again (see --replay-limit and \
         --replay-total)"
    )]
    TooLargeToReplay(SendError),
    /// The proxy is being stopped.
    #[error("the proxy is being stopped")]
    Stopping,
    /// A limit of this process is reached.
    #[error("the proxy is busy: try again later")]
    Busy,
    /// Upstream began no answer in time.
    #[error("{upstream} began no answer within {} s (see --response-timeout)", .after.as_secs_f64())]
    ResponseTimeout {
        /// Host and port, or URL of the origin.
        upstream: String,
        /// How long it was waited for.
        after: Duration,
    },
}

/// The answer to a refused request: its sentence as text.
pub fn answer(refusal: &Refusal) -> Response<Full<Bytes>> {
    let body = Bytes::from(format!("{refusal}\n"));
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CONTENT_LENGTH, length);
    if let Some(allow) = refusal.allow() {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// The status that tells whose fault it was that no answer came.
fn without_answer(error: &SendError) -> StatusCode {
    match error {
        SendError::RequestBody { .. } => StatusCode::BAD_REQUEST,
        SendError::Descriptors { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}

// === impl Refusal ===

impl Refusal {
    /// The status of its answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Framing(_)
            | Self::Target(_)
            | Self::Credentials(_)
            | Self::TornBody
            | Self::Chunked(_) => StatusCode::BAD_REQUEST,
            Self::Scopes(error) => error.status(),
            Self::Bewit(error) => error.status(),
            Self::Browser(error) => error.status(),
            Self::User | Self::UpdateUser => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::CredentialsTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Upstream(error) | Self::TooLargeToReplay(error) => without_answer(error),
            Self::Stopping | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether nothing more is read from the connection: what was sent is no request that two
    /// parsers read alike, so neither may be what follows it.
    pub fn closes(&self) -> bool {
        match self {
            Self::Framing(_)
            | Self::Chunked(_)
            | Self::TornBody
            | Self::Target(_)
            | Self::HeadTimeout
            | Self::HeadTooLarge => true,
            Self::Browser(error) => error.status() == StatusCode::BAD_REQUEST,
            _ => false,
        }
    }

    /// Value of `Allow`, which every 405 carries (RFC 9110 15.5.6).
    pub fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Method { allow } => Some(allow),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::decision::route::UrlFault;

    fn unreachable() -> SendError {
        SendError::Network {
            host: "tc.example.com".into(),
            reason: "connection refused".into(),
        }
    }

    /// A refusal, its status, and its sentence where no other file pins that.
    type Case = (Refusal, u16, Option<&'static str>);

    fn refusals() -> Vec<Case> {
        let mut cases = of_the_request();
        cases.extend(of_the_way_out());
        cases
    }

    fn of_the_request() -> Vec<Case> {
        vec![
            (HeadError::LineEnd.into(), 400, None),
            (TargetError::Fragment.into(), 400, None),
            (TargetError::Byte.into(), 400, None),
            (NarrowingError::Malformed.into(), 400, None),
            (
                NarrowingError::NotSatisfied("queue:x".to_owned()).into(),
                403,
                None,
            ),
            (BewitError::Url(UrlFault::Scheme).into(), 400, None),
            (BewitError::TooLong.into(), 413, None),
            (
                Refusal::Credentials("no clientId".to_owned()),
                400,
                Some("no clientId"),
            ),
            (Refusal::TornBody, 400, Some("the request's body broke off")),
            (ChunkedError.into(), 400, None),
            (
                Refusal::User,
                403,
                Some("this proxy does not serve your user"),
            ),
            (
                Refusal::UpdateUser,
                403,
                Some("only root and the user that the proxy runs as may update its credentials"),
            ),
            (BrowserError::CrossSite.into(), 403, None),
            (BrowserError::PublicHost.into(), 421, None),
            (BrowserError::NoHost.into(), 400, None),
            (
                Refusal::NoRoute,
                404,
                Some(
                    "no such route: use /api/<service>/<version>/<path>, /<host.name>/<path> \
                     or /<service>/<version>/<path>",
                ),
            ),
            (
                Refusal::Method { allow: "GET, HEAD" },
                405,
                Some("this method is not allowed here: use GET, HEAD"),
            ),
            (
                Refusal::HeadTimeout,
                408,
                Some("the request's head did not come in time"),
            ),
            (
                Refusal::CredentialsTooLong,
                413,
                Some("the credentials are longer than 1 MiB"),
            ),
            (
                Refusal::HeadTooLarge,
                431,
                Some("the request's head is longer than 64 KiB or has more than 1,000 fields"),
            ),
        ]
    }

    fn of_the_way_out() -> Vec<Case> {
        vec![
            (
                unreachable().into(),
                502,
                Some("cannot reach tc.example.com: connection refused"),
            ),
            (
                SendError::Descriptors { host: "h".into() }.into(),
                503,
                None,
            ),
            (
                SendError::RequestBody {
                    host: "h".into(),
                    reason: "r".into(),
                }
                .into(),
                400,
                None,
            ),
            (
                Refusal::TooLargeToReplay(unreachable()),
                502,
                Some(
                    "cannot reach tc.example.com: connection refused; the request's body was too \
                     large to be sent again (see --replay-limit and --replay-total)",
                ),
            ),
            (Refusal::Stopping, 503, Some("the proxy is being stopped")),
            (
                Refusal::Busy,
                503,
                Some("the proxy is busy: try again later"),
            ),
            (
                Refusal::ResponseTimeout {
                    upstream: "https://tc.example.com".to_owned(),
                    after: Duration::from_millis(1500),
                },
                504,
                Some(
                    "https://tc.example.com began no answer within 1.5 s (see --response-timeout)",
                ),
            ),
        ]
    }

    #[test]
    fn each_refusal_is_its_status_and_one_sentence() {
        for (refusal, status, sentence) in refusals() {
            assert_eq!(refusal.status(), status, "{refusal}");
            if let Some(sentence) = sentence {
                assert_eq!(refusal.to_string(), sentence);
            }
            assert!(!refusal.to_string().contains('\n'), "{refusal}");
        }
    }

    #[tokio::test]
    async fn the_answer_is_text_of_a_known_length() {
        for (refusal, status, _) in refusals() {
            let (head, body) = answer(&refusal).into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            assert_eq!(head.status, status);
            assert_eq!(body, format!("{refusal}\n"));
            assert_eq!(head.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
            assert_eq!(head.headers[CONTENT_LENGTH], body.len().to_string());
            let allow = head.headers.get(ALLOW).map(HeaderValue::as_bytes);
            assert_eq!(
                allow,
                (status == 405).then_some(b"GET, HEAD".as_slice()),
                "{refusal}"
            );
        }
    }
}
