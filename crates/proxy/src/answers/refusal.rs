//! Every answer that is the proxy's own refusal: one type, its status and one sentence that says
//! what to do. No sentence holds a secret; what a client sent is repeated only where it is a scope.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use thiserror::Error;

use crate::answers::bewit::BewitError;
use crate::client::connection::Connection;
use crate::code::Code;
use crate::decision::Denied;
use crate::exchange::Failed;
use crate::message::chunked::ChunkedError;
use crate::message::head::HeadError;
use crate::message::names::ERROR;

/// Why the proxy itself answers a request, and not upstream.
#[derive(Debug, Error)]
pub enum Refusal {
    /// A malformed head, or a message without a certain end; the connection is closed. The sentence
    /// names no value.
    #[error(transparent)]
    Framing(#[from] HeadError),
    /// The request's head asks for something that is refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No answer came from upstream.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// A URL that is not signed.
    #[error(transparent)]
    Bewit(#[from] BewitError),
    /// A credential set that is not taken; the reason names no value.
    #[error("{0}")]
    Credentials(String),
    /// A body that ended before its announced end.
    #[error("the request's body broke off")]
    TornBody,
    /// A body that breaks the rules of the chunked coding.
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
    /// A credentials body over 1 MiB.
    #[error("the credentials are longer than 1 MiB")]
    CredentialsTooLong,
    /// The proxy is being stopped.
    #[error("the proxy is being stopped")]
    Stopping,
}

/// The answer to a refused request: its sentence as text.
pub fn answer(refusal: &Refusal) -> Response<Bytes> {
    let body = Bytes::from(format!("{refusal}\n"));
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(ERROR, HeaderValue::from_static(refusal.code().name()));
    if let Refusal::Denied(Denied::Method { allow }) = refusal {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

impl Refusal {
    /// Why the body of a request on `connection` ended early.
    pub fn torn_body(connection: &Connection) -> Self {
        if connection.body_is_broken() {
            ChunkedError.into()
        } else {
            Self::TornBody
        }
    }

    /// The refusal's stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Framing(error) => error.code(),
            Self::Denied(denied) => denied.code(),
            Self::Failed(failed) => failed.code(),
            Self::Bewit(error) => error.code(),
            Self::Credentials(_) => Code::Credentials,
            Self::TornBody | Self::Chunked(_) => Code::Body,
            Self::CredentialsTooLong => Code::CredentialsTooLong,
            Self::Stopping => Code::Stopping,
        }
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Framing(error) => error.status(),
            Self::Credentials(_) | Self::TornBody | Self::Chunked(_) => StatusCode::BAD_REQUEST,
            Self::Denied(denied) => denied.status(),
            Self::Failed(failed) => failed.status(),
            Self::Bewit(error) => error.status(),
            Self::CredentialsTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether nothing more is read from the connection: two parsers may read differently what was
    /// sent, and therefore what follows it.
    pub fn closes(&self) -> bool {
        match self {
            Self::Framing(_) | Self::Chunked(_) | Self::TornBody => true,
            Self::Denied(denied) => denied.closes(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::browser::BrowserError;
    use crate::decision::route::UrlFault;
    use crate::decision::scopes::NarrowingError;
    use crate::exchange::send_error::SendError;
    use crate::message::target::TargetError;

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
            (Denied::from(TargetError::Fragment).into(), 400, None),
            (Denied::from(TargetError::Byte).into(), 400, None),
            (Denied::from(NarrowingError::Malformed).into(), 400, None),
            (
                Denied::from(NarrowingError::NotSatisfied("queue:x".to_owned())).into(),
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
                Denied::User.into(),
                403,
                Some("this proxy does not serve your user"),
            ),
            (
                Denied::UpdateUser.into(),
                403,
                Some("only root and the user that the proxy runs as may update its credentials"),
            ),
            (Denied::from(BrowserError::CrossSite).into(), 403, None),
            (Denied::from(BrowserError::PublicHost).into(), 421, None),
            (Denied::from(BrowserError::NoHost).into(), 400, None),
            (
                Denied::NoRoute.into(),
                404,
                Some(
                    "no such route: use /api/<service>/<version>/<path>, /<host.name>/<path> \
                     or /<service>/<version>/<path>",
                ),
            ),
            (
                Denied::Method { allow: "GET, HEAD" }.into(),
                405,
                Some("this method is not allowed here: use GET, HEAD"),
            ),
            (
                HeadError::Timeout.into(),
                408,
                Some("the request's head did not come in time (see --header-timeout)"),
            ),
            (
                Refusal::CredentialsTooLong,
                413,
                Some("the credentials are longer than 1 MiB"),
            ),
            (
                HeadError::TooLarge.into(),
                431,
                Some("the request's head is longer than 64 KiB or has more than 1,000 fields"),
            ),
        ]
    }

    fn of_the_way_out() -> Vec<Case> {
        vec![
            (
                Failed::from(unreachable()).into(),
                502,
                Some("cannot reach tc.example.com: connection refused"),
            ),
            (
                Failed::from(SendError::KeptOff { host: "h".into() }).into(),
                403,
                Some(
                    "h is an address of this machine or of its link, where nothing is signed for; \
                     start the proxy with --upstream-host NAME to name it",
                ),
            ),
            (
                Failed::from(SendError::Descriptors { host: "h".into() }).into(),
                503,
                None,
            ),
            (
                Failed::from(SendError::RequestBody {
                    host: "h".into(),
                    reason: "r".into(),
                })
                .into(),
                400,
                None,
            ),
            (
                Failed::TooLargeToReplay(unreachable()).into(),
                502,
                Some(
                    "cannot reach tc.example.com: connection refused; the request's body was too \
                     large to be sent again (see --replay-limit and --replay-total)",
                ),
            ),
            (Refusal::Stopping, 503, Some("the proxy is being stopped")),
            (
                Denied::Busy.into(),
                503,
                Some("the proxy is busy: try again later"),
            ),
            (
                Failed::ResponseTimeout {
                    upstream: "https://tc.example.com".to_owned(),
                    after: std::time::Duration::from_millis(1500),
                }
                .into(),
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
            let (_, statuses) = Code::ALL
                .iter()
                .find(|(name, _)| *name == refusal.code().name())
                .expect("a code of the table");
            assert!(statuses.contains(&status), "{refusal}");
        }
    }

    #[test]
    fn the_answer_is_text_of_a_known_length() {
        for (refusal, status, _) in refusals() {
            let (head, body) = answer(&refusal).into_parts();
            assert_eq!(head.status, status);
            assert_eq!(body, format!("{refusal}\n"));
            assert_eq!(head.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
            assert_eq!(head.headers[ERROR], refusal.code().name());
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
