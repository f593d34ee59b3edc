//! Why a request has no answer, and what is known of its sending: one type, one set of sentences for
//! both wires, and the one place that reads errors of hyper, h2 and the system. What these say is put
//! into words by [`reasons`].
//!
//! What it is not: it decides neither whether nor when a request is sent again.

use std::error::Error as StdError;
use std::io;

use crate::code::Code;
use crate::decision::route::Origin;
use crate::exchange::reasons;
use crate::exchange::replay::ReplayError;

/// Why the proxy refuses an answer: its body has no certain length.
pub const INVALID_LENGTH: &str = "its Content-Length tells no length";
/// The same: the client would take the coded bytes for the content.
pub const UNKNOWN_CODING: &str =
    "its transfer coding is not chunked, and no other is understood here";
/// The same, for HTTP/1.0.
pub const CODING_IN_HTTP10: &str = "it has a transfer coding, though its version is HTTP/1.0";
/// Its head is over a limit.
pub const LONG_HEAD: &str = "its head is longer than 64 KiB, or has more than 512 fields";
/// Its interim answers are over a limit.
pub const LONG_INTERIM: &str = "its interim answers (1xx) are longer than 64 KiB together";
/// A line of its head is no field; folded lines were deprecated (RFC 9112 5.2).
pub const INVALID_FIELD: &str = "a field of its head is malformed, or folded over several lines";
/// Its status is no number of three digits.
pub const INVALID_STATUS: &str = "its status code is malformed";
/// Its version is not HTTP/1.
pub const INVALID_VERSION: &str = "it does not begin with HTTP/1.1 or HTTP/1.0";
/// It accepts an upgrade that the request did not ask for.
pub const UNASKED_UPGRADE: &str = "it changes to a protocol that was not requested";
/// It came before there was a request.
pub const SPOKE_FIRST: &str = "it spoke before it was asked";

/// How hyper names the faults of an answer that it cannot read, and the words for them here.
const HYPER_SAYS: &[(&str, &str)] = &[
    ("invalid HTTP header parsed", INVALID_FIELD),
    ("invalid HTTP status-code parsed", INVALID_STATUS),
    ("invalid HTTP version parsed", INVALID_VERSION),
    ("invalid content-length parsed", INVALID_LENGTH),
    ("message head is too large", LONG_HEAD),
    ("unexpected transfer-encoding parsed", CODING_IN_HTTP10),
];

/// An end of the connection before the end of the answer's head.
const CUT_SHORT: &str = "connection closed before message completed";
/// An end of a connection that had served before, without a byte of an answer.
const CLOSED_IDLE: &str =
    "it closed a connection that had been idle, when the request was on its way";
/// RFC 9113 6.8
const GO_AWAY: &str = "it ended the HTTP/2 connection before it had processed the request";

/// Why a request has no answer, and what is known of its sending.
#[derive(Debug, Clone)]
pub struct Unanswered {
    pub error: SendError,
    pub sent: Sent,
}

/// What is known of the sending of a request that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// No connection came about (refused, timed out, no such name, certificate), or a new one
    /// closed before anything was written: nothing was sent.
    NotConnected,
    /// A connection that had served before was closed before anything of the request was written,
    /// or upstream says by HTTP/2 that it processed none of it (`REFUSED_STREAM`, `GOAWAY` below
    /// its stream): it is sent again at once, and that is no try.
    NotProcessed,
    /// Something was written on a connection that had served before, which closed without a byte of
    /// an answer.
    Stale,
    /// Perhaps processed: anything else.
    Perhaps,
}

/// What had happened on a connection when it failed.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// It had served a request before.
    pub reused: bool,
    /// Something of this request may have been written.
    pub written: bool,
    /// Bytes have come since the request began.
    pub heard: bool,
}

/// Why there is no answer. Each is one sentence that names the host and holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// Refused, timed out, not found: worth another try.
    #[error("cannot reach {host}: {reason}")]
    Network {
        /// The host, or the outgoing proxy on the way.
        host: Box<str>,
        /// What happened, in a few words.
        reason: Box<str>,
    },
    /// The connection, or the HTTP/2 stream, was lost before an answer had come: worth another try.
    #[error("{host} broke off before it had answered: {reason}")]
    BrokeOff {
        /// The host that broke off.
        host: Box<str>,
        /// What happened, in a few words.
        reason: Box<str>,
    },
    /// The certificate does not verify.
    #[error("the certificate of {host} does not verify: {reason}")]
    Certificate {
        /// The server of the certificate.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// The handshake failed: an alert, or bytes that are not TLS. It says nothing of the certificate.
    /// A load balancer that is replacing its servers may cause it, so it is worth another try.
    #[error("{host} does not speak TLS as expected: {reason}")]
    Tls {
        /// The host.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// The handshake failed since there is no protocol that both speak (RFC 7301 3.2). Another try
    /// would be offered the same.
    #[error(
        "{host} speaks no protocol that it was offered (ALPN): --upstream-http2 offers HTTP/2 beside \
         HTTP/1.1"
    )]
    NoProtocol {
        /// The host.
        host: Box<str>,
    },
    /// What came is no HTTP answer.
    #[error("the answer of {host} is not HTTP: {reason}")]
    NotHttp {
        /// The host that sent it.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// The request's body failed.
    #[error("the request to {host} ended early: {reason}")]
    RequestBody {
        /// The host that it was for.
        host: Box<str>,
        /// Why, in a few words.
        reason: Box<str>,
    },
    /// No descriptor is left for another connection.
    #[error(
        "cannot open a connection to {host}: there are as many as the limit on open files allows (see \
         ulimit -Hn)"
    )]
    Descriptors {
        /// The host that the connection was for.
        host: Box<str>,
    },
    /// An outgoing proxy refuses to connect to the host.
    #[error("the outgoing proxy {proxy} refused a tunnel to {host} with status {status}")]
    Tunnel {
        /// The host that the tunnel was for.
        host: Box<str>,
        /// The proxy's host and port.
        proxy: Box<str>,
        /// Its answer to CONNECT.
        status: u16,
    },
    /// The client has named a host that is this machine, or is on its link.
    #[error(
        "{host} is an address of this machine or of its link, where nothing is signed for; start the \
         proxy with --upstream-host NAME to name it"
    )]
    KeptOff {
        /// The host.
        host: Box<str>,
    },
    /// The roots, or the proxies, cannot be used.
    #[error("{0}")]
    Setup(Box<str>),
}

// === impl Unanswered ===

impl Unanswered {
    /// The error where there was no connection to send the request on.
    pub fn not_connected(error: SendError) -> Self {
        Self {
            error,
            sent: Sent::NotConnected,
        }
    }

    /// The error where upstream may have processed the request.
    pub fn perhaps(error: SendError) -> Self {
        Self {
            error,
            sent: Sent::Perhaps,
        }
    }

    /// The error where `origin` sent something that is no answer, for this `reason`.
    pub fn not_http(origin: &Origin, reason: &str) -> Self {
        Self::perhaps(SendError::NotHttp {
            host: name_of(origin),
            reason: reason.into(),
        })
    }

    /// What an error of the system means for a request to `origin`.
    pub fn io(origin: &Origin, error: &io::Error, progress: Progress) -> Self {
        let failure = match io_error(name_of(origin), error) {
            SendError::BrokeOff { host, .. } if error.kind() == io::ErrorKind::UnexpectedEof => {
                let reason = CUT_SHORT.into();
                SendError::BrokeOff { host, reason }
            }
            failure => failure,
        };
        Self::after(failure, progress)
    }

    /// What an error of hyper's means for a request to `origin` by HTTP/1.1.
    pub fn hyper(origin: &Origin, error: &hyper::Error, progress: Progress) -> Self {
        Self::after(hyper_error(origin, error), progress)
    }

    /// What an error of h2's means for a request to `origin`.
    pub fn h2(origin: &Origin, error: &h2::Error, progress: Progress) -> Self {
        let failure = h2_error(origin, error);
        if is_not_processed(error) {
            return Self {
                error: failure,
                sent: Sent::NotProcessed,
            };
        }
        Self::after(failure, progress)
    }

    fn after(error: SendError, progress: Progress) -> Self {
        let lost = matches!(
            error,
            SendError::BrokeOff { .. } | SendError::Network { .. }
        );
        let sent = match progress {
            _ if !lost => Sent::Perhaps,
            Progress { written: false, .. } if progress.reused => Sent::NotProcessed,
            Progress { written: false, .. } => Sent::NotConnected,
            Progress { heard: false, .. } if progress.reused => Sent::Stale,
            _ => Sent::Perhaps,
        };
        let error = match (error, sent) {
            (SendError::BrokeOff { host, .. }, Sent::NotProcessed | Sent::Stale) => {
                let reason = CLOSED_IDLE.into();
                SendError::BrokeOff { host, reason }
            }
            (error, _) => error,
        };
        Self { error, sent }
    }
}

// === impl SendError ===

impl SendError {
    /// The error's stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Network { .. } => Code::Unreachable,
            Self::BrokeOff { .. } => Code::BrokeOff,
            Self::Certificate { .. } => Code::Certificate,
            Self::Tls { .. } | Self::NoProtocol { .. } => Code::Tls,
            Self::NotHttp { .. } => Code::NotHttp,
            Self::RequestBody { .. } => Code::Body,
            Self::Descriptors { .. } => Code::Descriptors,
            Self::Tunnel { .. } => Code::OutgoingProxy,
            Self::KeptOff { .. } => Code::KeptOff,
            Self::Setup(_) => Code::Setup,
        }
    }

    /// Whether another try after a pause may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Network { .. }
            | Self::BrokeOff { .. }
            | Self::Tls { .. }
            | Self::Descriptors { .. } => true,
            Self::Tunnel { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// How errors name an origin: host, and port where it is not the scheme's own.
pub fn name_of(origin: &Origin) -> Box<str> {
    let authority = origin.url();
    authority
        .split_once("://")
        .map_or(authority, |(_, authority)| authority)
        .into()
}

/// What an error of the system means for a connection to `host`.
pub fn io_error(host: Box<str>, error: &io::Error) -> SendError {
    /// `EMFILE` and `ENFILE`, or `WSAEMFILE`.
    const TOO_MANY_FILES: &[i32] = if cfg!(windows) { &[10_024] } else { &[23, 24] };
    if error
        .raw_os_error()
        .is_some_and(|code| TOO_MANY_FILES.contains(&code))
    {
        return SendError::Descriptors { host };
    }
    let reason = reasons::of(error).into();
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SendError::BrokeOff {
            host,
            reason: CUT_SHORT.into(),
        },
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::WriteZero => SendError::BrokeOff { host, reason },
        _ => SendError::Network { host, reason },
    }
}

/// What an error of hyper's means for a request to `origin` by HTTP/1.1 that has no answer.
pub fn hyper_error(origin: &Origin, error: &hyper::Error) -> SendError {
    let host = name_of(origin);
    if error.is_parse() {
        let said = error.to_string();
        let known = HYPER_SAYS.iter().find(|(hyper, _)| *hyper == said);
        let reason = known.map_or(said.as_str(), |(_, here)| here).into();
        return SendError::NotHttp { host, reason };
    }
    let reason = reasons::of(error).into();
    if find::<ReplayError>(error).is_some() {
        return SendError::RequestBody { host, reason };
    }
    match find::<io::Error>(error) {
        Some(error) => io_error(host, error),
        None => SendError::BrokeOff { host, reason },
    }
}

/// What an error of h2's means for a request to `origin` that has no answer.
pub fn h2_error(origin: &Origin, error: &h2::Error) -> SendError {
    let host = name_of(origin);
    let reason = reasons::of(error).into();
    match error.get_io() {
        Some(error) => io_error(host, error),
        None if error.is_go_away() && error.is_remote() => SendError::BrokeOff {
            host,
            reason: GO_AWAY.into(),
        },
        // The fault is this stream's. A fault of the connection may be another stream's.
        None if error.is_reset() && error.is_library() => SendError::NotHttp { host, reason },
        None => SendError::BrokeOff { host, reason },
    }
}

/// Whether upstream says that it has not processed the request (RFC 9113 8.7). Of streams that a
/// GOAWAY leaves standing, h2 gives another error when they end.
fn is_not_processed(error: &h2::Error) -> bool {
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (error.is_go_away() || refused)
}

fn find<T: StdError + 'static>(error: &hyper::Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_one_sentence_that_names_the_host() {
        let host = || Box::from("tc.example.com");
        let reason = || Box::from("it is so");
        let sentences = [
            (
                SendError::Network {
                    host: host(),
                    reason: reason(),
                },
                "cannot reach tc.example.com: it is so",
                true,
            ),
            (
                SendError::BrokeOff {
                    host: host(),
                    reason: reason(),
                },
                "tc.example.com broke off before it had answered: it is so",
                true,
            ),
            (
                SendError::Certificate {
                    host: host(),
                    reason: reason(),
                },
                "the certificate of tc.example.com does not verify: it is so",
                false,
            ),
            (
                SendError::Tls {
                    host: host(),
                    reason: reason(),
                },
                "tc.example.com does not speak TLS as expected: it is so",
                true,
            ),
            (
                SendError::NoProtocol { host: host() },
                "tc.example.com speaks no protocol that it was offered (ALPN): --upstream-http2 offers \
                 HTTP/2 beside HTTP/1.1",
                false,
            ),
            (
                SendError::NotHttp {
                    host: host(),
                    reason: reason(),
                },
                "the answer of tc.example.com is not HTTP: it is so",
                false,
            ),
            (
                SendError::RequestBody {
                    host: host(),
                    reason: reason(),
                },
                "the request to tc.example.com ended early: it is so",
                false,
            ),
            (
                SendError::Descriptors { host: host() },
                "cannot open a connection to tc.example.com: there are as many as the limit on open files \
                 allows (see ulimit -Hn)",
                true,
            ),
            (
                SendError::Tunnel {
                    host: host(),
                    proxy: "proxy:3128".into(),
                    status: 407,
                },
                "the outgoing proxy proxy:3128 refused a tunnel to tc.example.com with status 407",
                false,
            ),
            (
                SendError::Tunnel {
                    host: host(),
                    proxy: "proxy:3128".into(),
                    status: 503,
                },
                "the outgoing proxy proxy:3128 refused a tunnel to tc.example.com with status 503",
                true,
            ),
        ];
        for (error, sentence, retryable) in sentences {
            assert_eq!(error.to_string(), sentence);
            assert_eq!(error.is_retryable(), retryable, "{sentence}");
        }
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        use std::io::{Error, ErrorKind};
        let kind = |error: Error| match io_error("h".into(), &error) {
            SendError::Descriptors { .. } => "descriptors",
            SendError::BrokeOff { .. } => "broke off",
            SendError::Network { .. } => "network",
            _ => "other",
        };
        if cfg!(unix) {
            assert_eq!(kind(Error::from_raw_os_error(24)), "descriptors");
            assert_eq!(kind(Error::from_raw_os_error(23)), "descriptors");
        }
        for broke_off in [
            ErrorKind::ConnectionReset,
            ErrorKind::BrokenPipe,
            ErrorKind::UnexpectedEof,
            ErrorKind::ConnectionAborted,
        ] {
            assert_eq!(kind(broke_off.into()), "broke off");
        }
        for network in [
            ErrorKind::ConnectionRefused,
            ErrorKind::TimedOut,
            ErrorKind::NotFound,
        ] {
            assert_eq!(kind(network.into()), "network");
        }
    }

    #[test]
    fn what_a_connection_had_come_to_tells_what_is_known() {
        use std::io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof};
        let (origin, _) = crate::decision::route::split_url("http://h/").expect("a URL");
        for (reused, written, heard, expected) in [
            (false, false, false, Sent::NotConnected),
            (false, true, false, Sent::Perhaps),
            (false, true, true, Sent::Perhaps),
            (true, false, false, Sent::NotProcessed),
            (true, true, false, Sent::Stale),
            (true, true, true, Sent::Perhaps),
        ] {
            let progress = Progress {
                reused,
                written,
                heard,
            };
            for kind in [ConnectionReset, UnexpectedEof, TimedOut] {
                let unanswered = Unanswered::io(&origin, &kind.into(), progress);
                assert_eq!(unanswered.sent, expected, "{kind:?} {progress:?}");
                assert!(unanswered.error.is_retryable());
            }
        }
        let after = |reused, kind: io::ErrorKind| {
            let progress = Progress {
                reused,
                written: true,
                heard: false,
            };
            Unanswered::io(&origin, &kind.into(), progress)
                .error
                .to_string()
        };
        assert_eq!(
            after(true, UnexpectedEof),
            "h broke off before it had answered: it closed a connection that had been idle, when the \
             request was on its way"
        );
        assert_eq!(
            after(false, UnexpectedEof),
            "h broke off before it had answered: connection closed before message completed"
        );
        assert_eq!(after(true, TimedOut), "cannot reach h: timed out");
    }
}
