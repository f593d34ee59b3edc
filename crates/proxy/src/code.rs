//! The table of stable codes: the names of refusals in `X-Taskcluster-Proxy-Error` and in the audit
//! log. Sentences may change, codes do not. Each error type says which code is its own.

/// Defines the codes with their names, and the list of all.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $($status:literal)|+;)+) => {
        /// Why a request has no answer of upstream's, or only a part of one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// The code as answers and the audit log show it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The name of each code, and the statuses that it comes with.
            #[cfg(test)]
            pub const ALL: &[(&str, &[u16])] = &[$(($name, &[$($status),+])),+];
        }
    };
}

codes! {
    /// Two parsers could read the head in two ways.
    Head = "malformed-head": 400;
    HeadTimeout = "head-timeout": 408;
    HeadTooLarge = "head-too-large": 431;
    Target = "malformed-target": 400;
    Host = "malformed-host": 400;
    CrossSite = "cross-site": 403;
    PublicHost = "host-not-answered": 421;
    NoRoute = "no-route": 404;
    Method = "method-not-allowed": 405;
    User = "user-not-served": 403;
    UpdateUser = "user-may-not-update": 403;
    Busy = "busy": 503;
    NotListed = "upstream-not-listed": 403;
    KeptOff = "upstream-kept-off": 403;
    NarrowingMalformed = "malformed-scopes": 400;
    NarrowingRefused = "scopes-not-satisfied": 403;
    NotRecorded = "audit-not-writable": 503;
    Body = "broken-body": 400;
    BewitUrl = "malformed-url": 400;
    BewitTooLong = "url-too-long": 413;
    Credentials = "malformed-credentials": 400;
    CredentialsTooLong = "credentials-too-long": 413;
    Stopping = "stopping": 503;
    Unreachable = "upstream-unreachable": 502;
    BrokeOff = "upstream-broke-off": 502;
    Certificate = "upstream-certificate": 502;
    Tls = "upstream-tls": 502;
    NotHttp = "upstream-not-http": 502;
    TooLargeToResend = "body-too-large-to-resend": 502;
    Descriptors = "too-many-files": 503;
    OutgoingProxy = "outgoing-proxy-refused": 502;
    Setup = "way-out-unusable": 502;
    ResponseTimeout = "upstream-timeout": 504;
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn every_code_is_documented_with_its_statuses_and_no_other_is() {
        let documentation = include_str!("../../../docs/audit.md");
        let rows = documentation.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            rest.starts_with(|first: char| first.is_ascii_digit())
                .then(|| {
                    let statuses = rest.split(" | ").next().unwrap_or_default();
                    format!("{name} {statuses}")
                })
        });
        let codes = Code::ALL.iter().map(|(name, statuses)| {
            let statuses: Vec<String> = statuses.iter().map(ToString::to_string).collect();
            format!("{name} {}", statuses.join(", "))
        });
        assert_eq!(rows.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
    }
}
