//! The verifiers' clock, learned from the refusal of a signature.
//!
//! A signature contains its time, and verifiers refuse one that is a minute off (npm `hawk`). With a
//! wrong clock they refuse all. A Hawk challenge contains the right time and proves its maker.
//! Taskcluster's services make no challenge. There the `Date` of the refusal serves, if an attacker
//! on the network cannot have written it. What this is not: it sends no request again.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::header::{AGE, DATE, WWW_AUTHENTICATE};

use crate::decision::route::{Origin, RootUrl};
use crate::message::fields::{self, Fields};
use crate::signing::credentials::CredentialSet;

/// A `Date` within this many seconds of our time teaches nothing: it has whole seconds, and an
/// answer takes its time. Half of what npm `hawk` allows.
const TOLERANCE: u64 = 30;

/// The verifiers' clock as far as it is known. It outlives the credentials.
#[derive(Debug, Default)]
pub struct VerifierClock {
    /// Seconds that it is ahead of ours.
    skew: AtomicI64,
}

/// One request's right to correct that clock, once, from the answer that refuses its signature.
pub struct ClockCorrection<'a> {
    root: &'a RootUrl,
    origin: &'a Origin,
    /// The skew that the try was signed with: another request may have corrected it since.
    signed_with: i64,
    done: bool,
}

impl VerifierClock {
    /// The verifiers' time, in seconds since the epoch.
    pub fn now(&self) -> u64 {
        machine_time().saturating_add_signed(self.skew())
    }

    fn skew(&self) -> i64 {
        self.skew.load(Ordering::Relaxed)
    }

    fn set(&self, time: u64) {
        if let (Ok(theirs), Ok(ours)) = (i64::try_from(time), i64::try_from(machine_time())) {
            self.skew.store(theirs - ours, Ordering::Relaxed);
        }
    }
}

impl<'a> ClockCorrection<'a> {
    /// For a request to `origin`, through a proxy for the deployment at `root`.
    pub fn new(root: &'a RootUrl, origin: &'a Origin) -> Self {
        Self {
            root,
            origin,
            signed_with: 0,
            done: false,
        }
    }

    /// To be called before a try is signed.
    pub fn begin(&mut self, set: &CredentialSet) {
        self.signed_with = set.clock().skew();
    }

    /// Takes over the verifier's time from an answer to a request that was signed with `set`.
    /// Returns whether that makes the request worth another try.
    pub fn learn(
        &mut self,
        set: &CredentialSet,
        status: StatusCode,
        headers: &impl Fields,
    ) -> bool {
        if status != StatusCode::UNAUTHORIZED || self.done {
            return false;
        }
        let signed_at = machine_time().saturating_add_signed(self.signed_with);
        let learned = challenge_time(set, headers).or_else(|| {
            self.date(headers)
                .filter(|date| date.abs_diff(signed_at) > TOLERANCE)
        });
        if let Some(time) = learned {
            set.clock().set(time);
            self.done = true;
        }
        self.done
    }

    /// The `Date` of an answer, where the deployment itself wrote it: by TLS or from this machine,
    /// and not out of a cache (RFC 9111 5.1).
    fn date(&self, headers: &impl Fields) -> Option<u64> {
        let is_its_word = self.origin == self.root.origin()
            && (self.origin.secure() || self.origin.is_loopback())
            && !headers.has(&AGE);
        let mut dates = headers.values(&DATE);
        match (dates.next(), dates.next()) {
            (Some(date), None) if is_its_word => {
                let date = httpdate::parse_http_date(fields::text(date)?).ok()?;
                Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
            }
            _ => None,
        }
    }
}

/// The time in a challenge that was made with our key.
fn challenge_time(set: &CredentialSet, headers: &impl Fields) -> Option<u64> {
    headers
        .values(&WWW_AUTHENTICATE)
        .filter_map(fields::text)
        .find_map(|value| set.signer().challenge_time(value))
}

fn machine_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};
    use taskcluster_proxy_hawk::{Credentials, challenge};

    use super::*;
    use crate::decision::route::split_url;
    use crate::message::fields::FieldLines;
    use crate::signing::credentials::Build;

    const ROOT: &str = "https://tc.example.com";
    const HOUR: i64 = 3600;

    fn set(clock: &Arc<VerifierClock>) -> CredentialSet {
        let credentials = Credentials::new("c", "token", None).expect("credentials");
        let build = Build {
            version: HeaderValue::from_static("1"),
            revision: HeaderValue::from_static("r"),
        };
        CredentialSet::new(&credentials, None, build, Arc::clone(clock))
    }

    fn in_seconds(seconds: i64) -> u64 {
        machine_time().saturating_add_signed(seconds)
    }

    /// A `Date` so many seconds from now.
    fn date(seconds: i64) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(in_seconds(seconds)))
    }

    fn headers(fields: &[(http::HeaderName, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    /// The skew after an answer with these fields to a request to `origin`, if it taught one.
    fn learnt(
        root: &str,
        origin: &str,
        status: u16,
        fields: &[(http::HeaderName, String)],
    ) -> Option<i64> {
        let root = RootUrl::parse(root).expect("a root URL");
        let (origin, _) = split_url(origin).expect("a URL");
        let status = StatusCode::from_u16(status).expect("a status");
        let map = headers(fields);
        let by = |fields: &dyn Fn(&mut ClockCorrection<'_>, &CredentialSet) -> bool| {
            let clock = Arc::default();
            let set = set(&clock);
            let mut correction = ClockCorrection::new(&root, &origin);
            correction.begin(&set);
            let worth_it = fields(&mut correction, &set);
            assert_eq!(worth_it, clock.skew() != 0);
            worth_it.then(|| clock.skew())
        };
        let of_map = by(&|correction, set| correction.learn(set, status, &map));
        let lines = FieldLines::from_map(&map);
        let of_lines = by(&|correction, set| correction.learn(set, status, &lines));
        assert!(of_map.is_some() == of_lines.is_some(), "lines of {map:?}");
        of_map
    }

    fn is_about(skew: Option<i64>, expected: Option<i64>) -> bool {
        match (skew, expected) {
            (Some(skew), Some(expected)) => skew.abs_diff(expected) <= 2,
            (skew, expected) => skew == expected,
        }
    }

    #[test]
    fn a_date_teaches_where_it_is_the_deployment_s_own_word() {
        for (root, origin, expected) in [
            (ROOT, "https://tc.example.com", Some(HOUR)),
            (ROOT, "https://TC.example.com:443", Some(HOUR)),
            (ROOT, "https://other.example.com", None),
            (ROOT, "https://tc.example.com:8443", None),
            (ROOT, "http://tc.example.com", None),
            ("http://tc.example.com", "http://tc.example.com", None),
            ("http://10.0.0.1", "http://10.0.0.1", None),
            ("http://localhost.example", "http://localhost.example", None),
            ("http://127.0.0.1:80", "http://127.0.0.1", Some(HOUR)),
            ("http://127.1.2.3:1", "http://127.1.2.3:1", Some(HOUR)),
            ("http://[::1]:1", "http://[::1]:1", Some(HOUR)),
            ("http://localhost:1", "http://localhost:1", Some(HOUR)),
            ("http://localhost:1", "http://localhost:2", None),
        ] {
            let skew = learnt(root, origin, 401, &[(DATE, date(HOUR))]);
            assert!(is_about(skew, expected), "{root} {origin}: {skew:?}");
        }
    }

    #[test]
    fn only_a_refusal_with_one_date_far_from_ours_teaches() {
        let hawk = || (WWW_AUTHENTICATE, "Hawk".to_owned());
        for (what, status, fields, expected) in [
            ("ahead", 401, vec![hawk(), (DATE, date(HOUR))], Some(HOUR)),
            (
                "behind",
                401,
                vec![hawk(), (DATE, date(-HOUR))],
                Some(-HOUR),
            ),
            ("just far enough", 401, vec![(DATE, date(33))], Some(33)),
            ("near", 401, vec![hawk(), (DATE, date(28))], None),
            ("near, behind", 401, vec![hawk(), (DATE, date(-28))], None),
            (
                "another status",
                403,
                vec![hawk(), (DATE, date(HOUR))],
                None,
            ),
            ("a success", 200, vec![(DATE, date(HOUR))], None),
            ("no date", 401, vec![hawk()], None),
            (
                "two dates",
                401,
                vec![(DATE, date(HOUR)), (DATE, date(HOUR))],
                None,
            ),
            ("no date's text", 401, vec![(DATE, "soon".to_owned())], None),
            (
                "out of a cache",
                401,
                vec![(DATE, date(-HOUR)), (AGE, "3600".to_owned())],
                None,
            ),
        ] {
            let skew = learnt(ROOT, ROOT, status, &fields);
            assert!(is_about(skew, expected), "{what}: {skew:?}");
        }
    }

    #[test]
    fn a_challenge_that_verifies_goes_before_the_date_and_is_believed_of_every_host() {
        let ours = (WWW_AUTHENTICATE, challenge("token", in_seconds(2 * HOUR)));
        let forged = (WWW_AUTHENTICATE, challenge("other", in_seconds(2 * HOUR)));
        let (date, elsewhere) = ((DATE, date(HOUR)), "https://elsewhere.example");
        for (origin, fields, expected) in [
            (ROOT, vec![ours.clone(), date.clone()], Some(2 * HOUR)),
            (elsewhere, vec![ours], Some(2 * HOUR)),
            (elsewhere, vec![forged.clone(), date.clone()], None),
            (ROOT, vec![forged, date], Some(HOUR)),
        ] {
            let skew = learnt(ROOT, origin, 401, &fields);
            assert!(is_about(skew, expected), "{fields:?}: {skew:?}");
        }
    }

    #[test]
    fn each_request_that_was_signed_with_the_wrong_time_is_worth_one_more_try() {
        let clock = Arc::default();
        let set = set(&clock);
        let root = RootUrl::parse(ROOT).expect("a root URL");
        let refusal = headers(&[(DATE, date(HOUR))]);
        let mut requests = [(); 2].map(|()| ClockCorrection::new(&root, root.origin()));
        for request in &mut requests {
            request.begin(&set);
        }
        for request in &mut requests {
            assert!(request.learn(&set, StatusCode::UNAUTHORIZED, &refusal));
        }
        // Signed with the time that has been learnt, it was refused for something else.
        let mut later = ClockCorrection::new(&root, root.origin());
        later.begin(&set);
        assert!(!later.learn(&set, StatusCode::UNAUTHORIZED, &refusal));
        // A clock that jumps on is followed once for each request.
        let again = headers(&[(DATE, date(3 * HOUR))]);
        assert!(!requests[0].learn(&set, StatusCode::UNAUTHORIZED, &again));
        assert!(is_about(Some(clock.skew()), Some(HOUR)));
    }
}
