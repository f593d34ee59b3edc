//! What the libraries' errors say, in words.
//!
//! Several libraries show an error as debug text (`Other(OtherError(..))`), which does not help a user.
//! A [`super::send_error::SendError`] gets its words for a library's error here. What this is not: it
//! does not decide whether a failure is worth another try.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use tokio::time::error::Elapsed;
use webpki::Error as ChainError;

type Words = Cow<'static, str>;

/// The words for `error`, or for the error behind it.
pub fn of(error: &(dyn StdError + 'static)) -> Words {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return tls(error);
    }
    if let Some(error) = error.downcast_ref::<h2::Error>()
        && let Some(reason) = error.reason()
    {
        return http2(error, reason);
    }
    if error.is::<Elapsed>() {
        return "it does not answer in time".into();
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return match error.get_ref() {
            Some(inner) => of(inner),
            None => error.to_string().into(),
        };
    }
    match error.source() {
        Some(cause) => of(cause),
        None => error.to_string().into(),
    }
}

/// How HTTP/2 ended (RFC 9113 7). The error's own words end in the bytes that came with a GOAWAY.
fn http2(error: &h2::Error, reason: h2::Reason) -> Words {
    use h2::Reason as R;
    let why = match reason {
        R::NO_ERROR => "without an error",
        R::INTERNAL_ERROR => "it had an internal error",
        R::REFUSED_STREAM => "it refused the request unread",
        R::CANCEL => "it has no use for the stream any more",
        R::ENHANCE_YOUR_CALM => "it gets more than it can take",
        R::INADEQUATE_SECURITY => "TLS is too weak for it",
        R::HTTP_1_1_REQUIRED => "it wants HTTP/1.1",
        _ => reason.description(),
    };
    if error.is_library() {
        format!("what it sent breaks the rules of HTTP/2: {why}").into()
    } else if error.is_go_away() {
        format!("it ended the HTTP/2 connection: {why}").into()
    } else {
        format!("it ended the HTTP/2 stream: {why}").into()
    }
}

/// Why TLS failed.
pub fn tls(error: &rustls::Error) -> Words {
    use rustls::Error as E;
    Cow::Borrowed(match error {
        E::InvalidCertificate(error) => return certificate(error),
        E::AlertReceived(alert) => return alerted(*alert),
        E::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "what it sends is not TLS: is this port one for https?",
        E::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => "it speaks neither TLS 1.2 nor TLS 1.3",
        E::PeerIncompatible(_) => "it and this proxy have no cipher or key exchange in common",
        E::NoCertificatesPresented => "it shows no certificate",
        E::DecryptError => "what it sends does not decrypt",
        E::PeerSentOversizedRecord => "it sends records that are too long",
        E::NoApplicationProtocol => "it speaks no protocol that was offered (ALPN)",
        E::InvalidMessage(_)
        | E::PeerMisbehaved(_)
        | E::InappropriateMessage { .. }
        | E::InappropriateHandshakeMessage { .. } => "it breaks the rules of TLS",
        _ => "TLS cannot be begun",
    })
}

/// The reason that the peer gave when it broke off (RFC 8446 6.2).
fn alerted(alert: AlertDescription) -> Words {
    use AlertDescription as A;
    let what = match alert {
        A::HandshakeFailure => {
            "handshake failure (often no cipher or key exchange in common, or a client's certificate \
             that it wants)"
        }
        A::ProtocolVersion => "no version of TLS in common",
        A::InsufficientSecurity => "the ciphers offered are too weak for it",
        A::CertificateRequired | A::NoCertificate => "it wants a client's certificate",
        A::AccessDenied => "access denied",
        A::UnrecognisedName => "it does not know the host's name",
        A::NoApplicationProtocol => "no protocol in common (ALPN)",
        A::InternalError => "internal error",
        A::UserCanceled | A::CloseNotify => "cancelled",
        A::BadRecordMac | A::DecryptError | A::DecodeError | A::IllegalParameter => {
            "it cannot read what was sent"
        }
        other => return format!("it broke off with TLS alert {}", u8::from(other)).into(),
    };
    format!("it broke off: {what}").into()
}

/// Why a certificate does not verify, as what is said of it.
pub fn certificate(error: &CertificateError) -> Words {
    use CertificateError as E;
    Cow::Borrowed(match error {
        E::ExpiredContext { time, not_after } => {
            return format!(
                "it expired at {}, and here it is {}",
                at(*not_after),
                at(*time)
            )
            .into();
        }
        E::NotValidYetContext { time, not_before } => {
            return format!(
                "it is not valid before {}, and here it is {}",
                at(*not_before),
                at(*time)
            )
            .into();
        }
        E::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            return format!("it is not for this host, but for {}", presented.join(", ")).into();
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "it is not for this host, and names none (subjectAltName)"
        }
        E::Expired => "it has expired",
        E::NotValidYet => "it is not valid yet",
        E::UnknownIssuer => {
            "it is signed by no authority that is trusted here (SSL_CERT_FILE names others)"
        }
        E::Revoked => "it has been revoked",
        E::BadSignature => {
            "it is not signed by the authority of its issuer's name that is trusted here"
        }
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed in a way that is not trusted any more, or not known here"
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "it is not for servers (extended key usage)"
        }
        E::UnhandledCriticalExtension => "it has a critical extension that is not known here",
        E::BadEncoding => "it is not well-formed",
        E::Other(other) => match other.0.downcast_ref::<ChainError>() {
            Some(error) => chain(error),
            None => NOT_BY_THE_RULES,
        },
        _ => NOT_BY_THE_RULES,
    })
}

const NOT_BY_THE_RULES: &str = "it, or an issuer of it, is not as RFC 5280 has certificates";

fn chain(error: &ChainError) -> &'static str {
    match error {
        ChainError::CaUsedAsEndEntity => {
            "it is an authority's and not a server's: name it in SSL_CERT_FILE to trust it itself"
        }
        ChainError::EndEntityUsedAsCa => "it is issued by what is no authority",
        ChainError::NameConstraintViolation => "its issuer may not vouch for this name",
        ChainError::PathLenConstraintViolated | ChainError::MaximumPathDepthExceeded => {
            "there are more issuers than there may be between it and its root"
        }
        ChainError::MaximumPathBuildCallsExceeded
        | ChainError::MaximumSignatureChecksExceeded
        | ChainError::MaximumNameConstraintComparisonsExceeded => {
            "to verify it takes more work than is done for one"
        }
        ChainError::UnsupportedCertVersion => "it is not an X.509 certificate of version 3",
        _ => NOT_BY_THE_RULES,
    }
}

fn at(time: UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::{ContentType, HandshakeType, OtherError, PeerMisbehaved};

    use super::*;

    fn time(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn of_chain(error: ChainError) -> CertificateError {
        CertificateError::Other(OtherError(Arc::new(error)))
    }

    #[test]
    fn a_certificate_s_fault_is_said_of_it() {
        use CertificateError as E;
        let elsewhere = |presented: &[&str]| E::NotValidForNameContext {
            expected: "tc.example.com".try_into().expect("a name"),
            presented: presented.iter().map(ToString::to_string).collect(),
        };
        for (error, words) in [
            (
                E::ExpiredContext {
                    time: time(1_764_354_855),
                    not_after: time(1_577_836_800),
                },
                "it expired at 2020-01-01T00:00:00Z, and here it is 2025-11-28T18:34:15Z",
            ),
            (
                E::NotValidYetContext {
                    time: time(0),
                    not_before: time(u64::MAX),
                },
                "it is not valid before 9999-12-30T22:00:00.999999999Z, and here it is \
                 1970-01-01T00:00:00Z",
            ),
            (
                elsewhere(&["a.example", "10.0.0.1"]),
                "it is not for this host, but for a.example, 10.0.0.1",
            ),
            (
                elsewhere(&[]),
                "it is not for this host, and names none (subjectAltName)",
            ),
            (
                E::UnknownIssuer,
                "it is signed by no authority that is trusted here (SSL_CERT_FILE names others)",
            ),
            (
                of_chain(ChainError::CaUsedAsEndEntity),
                "it is an authority's and not a server's: name it in SSL_CERT_FILE to trust it \
                 itself",
            ),
            (
                E::InvalidPurpose,
                "it is not for servers (extended key usage)",
            ),
        ] {
            assert_eq!(certificate(&error), words);
        }
    }

    /// Words of a language, and none of a program: no `CamelCase`, no `snake_case`, no brackets of a
    /// structure, no bytes.
    fn are_words(words: &str) -> bool {
        let is_name = |word: &str| {
            let mut letters = word.chars().skip(1);
            word.contains('_') && !word.starts_with("SSL_")
                || (letters.clone().any(|letter| letter.is_ascii_uppercase())
                    && letters.any(|letter| letter.is_ascii_lowercase())
                    && !words.contains(&format!("({word})")))
        };
        !words.contains(['{', '[', '"', '\n'])
            && !words.split([' ', '(', ')', ',', ':']).any(is_name)
    }

    #[test]
    fn no_error_shows_its_program_s_text() {
        use rustls::Error as E;
        let errors: Vec<Box<dyn StdError + Send + Sync>> = vec![
            Box::new(E::InvalidMessage(InvalidMessage::InvalidContentType)),
            Box::new(E::InvalidMessage(InvalidMessage::MissingData("u8"))),
            Box::new(E::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon,
            )),
            Box::new(E::PeerIncompatible(PeerIncompatible::Tls12NotOffered)),
            Box::new(E::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments)),
            Box::new(E::InappropriateMessage {
                expect_types: vec![ContentType::Handshake],
                got_type: ContentType::Alert,
            }),
            Box::new(E::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::Finished],
                got_type: HandshakeType::ServerHello,
            }),
            Box::new(E::InvalidCertificate(CertificateError::UnknownIssuer)),
            Box::new(E::InvalidCertificate(CertificateError::BadEncoding)),
            Box::new(E::InvalidCertificate(of_chain(
                ChainError::NameConstraintViolation,
            ))),
            Box::new(E::InvalidCertificate(of_chain(
                ChainError::MalformedExtensions,
            ))),
            Box::new(E::General("x".to_owned())),
            Box::new(E::NoCertificatesPresented),
            Box::new(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM)),
            Box::new(io::Error::from(io::ErrorKind::ConnectionReset)),
            Box::new(io::Error::other("plain words")),
        ];
        for error in errors {
            let words = of(error.as_ref()).into_owned();
            assert!(are_words(&words), "{error}: {words}");
            let wrapped = io::Error::new(io::ErrorKind::InvalidData, error);
            assert_eq!(of(&wrapped), words);
        }
        for alert in 0..=u8::MAX {
            let words = tls(&E::AlertReceived(alert.into()));
            assert!(are_words(&words), "{words}");
        }
        assert!(!are_words(
            "other error: Other(OtherError(CaUsedAsEndEntity))"
        ));
        assert!(!are_words("received fatal alert: HandshakeFailure"));
    }
}
