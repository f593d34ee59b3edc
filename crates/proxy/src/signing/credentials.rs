//! The credential set in force, and how another one takes its place.
//!
//! Everything that is constant for a set is computed once, here: the HMAC key schedule, `ext` and
//! the response headers that name it. A request enters before it is signed and leaves when its
//! answer has been relayed; an update waits for those that are in with the set it replaces, and
//! those that come wait for the update. What this is not: it judges no credentials (the caller's `Validator` does).

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use taskcluster_proxy_hawk::{CertificateError, Credentials, MAX_HEADER_LEN, Signer};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock};
use tokio::time::Instant;

use crate::Update;
use crate::decision::route::Target;
use crate::limits::SCOPES_HEADER;
use crate::message::headers;
use crate::message::names::{
    AUTHORIZED_SCOPES, ENDPOINT, OMITTED, PERM_CLIENT_ID, REVISION, TEMP_CLIENT_ID, TEMP_SCOPES,
    VERSION, clear_ours,
};
use crate::signing::clock::VerifierClock;

/// Name and revision of this program, as every answer carries them.
#[derive(Debug, Clone)]
pub struct Build {
    pub version: HeaderValue,
    pub revision: HeaderValue,
}

/// One credential set with one restriction.
pub struct CredentialSet {
    signer: Signer,
    client_id: HeaderValue,
    temporary_scopes: Option<HeaderField>,
    answer_headers: Box<[(HeaderName, HeaderValue)]>,
    /// The same as lines of HTTP/1.
    answer_lines: Box<[u8]>,
    build: Build,
    clock: Arc<VerifierClock>,
}

/// A header that may be too long to send.
#[derive(Clone)]
enum HeaderField {
    Value(HeaderValue),
    Omitted,
}

impl CredentialSet {
    pub fn new(
        credentials: &Credentials,
        restriction: Option<&[String]>,
        build: Build,
        clock: Arc<VerifierClock>,
    ) -> Self {
        let temporary_scopes = credentials
            .certificate
            .as_ref()
            .map(|certificate| scopes_field(certificate.scopes()));
        Self::assemble(
            Signer::new(credentials, restriction),
            header_value(&credentials.client_id),
            temporary_scopes,
            restriction,
            build,
            clock,
        )
    }

    /// Another set of the same proxy, which knows of the clock what this one has learnt.
    pub fn successor(&self, credentials: &Credentials, restriction: Option<&[String]>) -> Self {
        let clock = Arc::clone(&self.clock);
        Self::new(credentials, restriction, self.build.clone(), clock)
    }

    /// The same set, restricted further for one request.
    pub fn narrowed(&self, scopes: &[String]) -> Self {
        Self::assemble(
            self.signer.with_authorized_scopes(Some(scopes)),
            self.client_id.clone(),
            self.temporary_scopes.clone(),
            Some(scopes),
            self.build.clone(),
            Arc::clone(&self.clock),
        )
    }

    fn assemble(
        signer: Signer,
        client_id: HeaderValue,
        temporary_scopes: Option<HeaderField>,
        restriction: Option<&[String]>,
        build: Build,
        clock: Arc<VerifierClock>,
    ) -> Self {
        let mut headers = vec![
            (VERSION, build.version.clone()),
            (REVISION, build.revision.clone()),
        ];
        let mut omitted = Vec::new();
        let mut scopes = |name: HeaderName, field: HeaderField| match field {
            HeaderField::Value(value) => headers.push((name, value)),
            HeaderField::Omitted => omitted.push(name),
        };
        let client_id_name = if temporary_scopes.is_some() {
            TEMP_CLIENT_ID
        } else {
            PERM_CLIENT_ID
        };
        scopes(client_id_name, HeaderField::Value(client_id.clone()));
        if let Some(field) = temporary_scopes.clone() {
            scopes(TEMP_SCOPES, field);
        }
        if let Some(restriction) = restriction {
            scopes(AUTHORIZED_SCOPES, scopes_field(restriction));
        }
        if !omitted.is_empty() {
            let names: Vec<&str> = omitted.iter().map(HeaderName::as_str).collect();
            headers.push((OMITTED, header_value(&names.join(", "))));
        }
        let mut lines = Vec::new();
        for (name, value) in &headers {
            headers::write_field(&mut lines, name.as_str().as_bytes(), value.as_bytes());
        }
        Self {
            signer,
            client_id,
            temporary_scopes,
            answer_lines: lines.into(),
            answer_headers: headers.into(),
            build,
            clock,
        }
    }

    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The clock by which it signs.
    pub fn clock(&self) -> &VerifierClock {
        &self.clock
    }

    /// One sentence for each reason why verifiers refuse what this set signs.
    pub fn warnings(&self) -> Vec<String> {
        let warnings = [self.length_warning(), self.time_warning()];
        warnings.into_iter().flatten().collect()
    }

    /// Where its headers are too long for verifiers.
    pub fn length_warning(&self) -> Option<String> {
        let length = self.signer.authorization_len();
        (length > MAX_HEADER_LEN).then(|| {
            format!(
                "these credentials make an Authorization header of about {length} characters, and \
                 verifiers refuse more than {MAX_HEADER_LEN}: grant the task fewer or shorter scopes"
            )
        })
    }

    /// Where this is not the time of its certificate.
    pub fn time_warning(&self) -> Option<String> {
        let certificate = self.signer.certificate()?;
        let now = i64::try_from(self.clock.now()).ok()?.checked_mul(1000)?;
        Some(match certificate.check_time(now).err()? {
            CertificateError::Expired => format!(
                "these credentials expired at {}: update them, or set this machine's clock",
                date(certificate.expiry())
            ),
            CertificateError::NotYetValid => format!(
                "these credentials are not valid before {}: wait, or set this machine's clock",
                date(certificate.start())
            ),
            error => error.to_string(),
        })
    }

    /// When it expires, in milliseconds since the epoch; permanent credentials never do.
    pub fn expiry(&self) -> Option<i64> {
        Some(self.signer.certificate()?.expiry())
    }

    /// Names the set in an answer, and the endpoint where there is one; what upstream sent under our names gives way.
    pub fn name_in(&self, headers: &mut HeaderMap, endpoint: Option<&Target>) {
        clear_ours(headers);
        for (name, value) in &self.answer_headers {
            headers.insert(name.clone(), value.clone());
        }
        let url =
            endpoint.map(|Target { origin, target }| [origin.url(), target.as_str()].concat());
        if let Some(Ok(url)) = url.map(HeaderValue::try_from) {
            headers.insert(ENDPOINT, url);
        }
    }

    /// Appends the fields of [`Self::name_in`] to an HTTP/1 head.
    pub fn write_lines(&self, out: &mut Vec<u8>, endpoint: Option<&Target>) {
        out.extend_from_slice(&self.answer_lines);
        if let Some(Target { origin, target }) = endpoint {
            for part in [
                "X-Taskcluster-Endpoint: ",
                origin.url(),
                target.as_str(),
                "\r\n",
            ] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

fn scopes_field(scopes: &[String]) -> HeaderField {
    let json = ascii_json(scopes);
    if json.len() > SCOPES_HEADER {
        return HeaderField::Omitted;
    }
    HeaderField::Value(header_value(&json))
}

/// JSON in which every character outside of ASCII is escaped, as a header field needs it.
fn ascii_json(scopes: &[String]) -> String {
    let json = serde_json::Value::from(scopes).to_string();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            ' '..='~' => ascii.push(character),
            _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                // Writing to a String does not fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }),
        }
    }
    ascii
}

/// A time in milliseconds since the epoch; one that no calendar has is the end of all time.
fn date(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// What reaches this is printable ASCII by its making; anything else becomes an empty value.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// The set in force.
pub struct InForce {
    current: ArcSwap<Term>,
    /// Updates take their turns.
    turn: Mutex<()>,
    update: Update,
}

/// The time for which one set is in force, and the requests that began in it.
struct Term {
    set: Arc<CredentialSet>,
    /// Read by requests that run, written by the update that ends the term; it is fair, so requests
    /// that come while the update waits go behind it.
    running: Arc<RwLock<()>>,
}

/// A request that runs with the set that it was signed with.
pub struct Entered {
    pub set: Arc<CredentialSet>,
    _running: OwnedRwLockReadGuard<()>,
}

/// The update was not wanted any more when its turn came.
#[derive(Debug, PartialEq, Eq)]
pub struct Abandoned;

impl Term {
    fn of(set: CredentialSet) -> Self {
        Self {
            set: Arc::new(set),
            running: Arc::default(),
        }
    }
}

impl Entered {
    /// Runs with the same set, narrowed to `scopes`.
    pub fn narrow(&mut self, scopes: &[String]) {
        self.set = Arc::new(self.set.narrowed(scopes));
    }
}

impl InForce {
    pub fn new(set: CredentialSet, update: Update) -> Self {
        Self {
            current: ArcSwap::from_pointee(Term::of(set)),
            turn: Mutex::default(),
            update,
        }
    }

    /// The set in force, for naming it; what is signed is signed after [`InForce::enter`].
    pub fn current(&self) -> Arc<CredentialSet> {
        Arc::clone(&self.current.load().set)
    }

    /// Begins to run with the set in force, after an update that waits.
    pub async fn enter(&self) -> Entered {
        loop {
            let term = self.current.load_full();
            let running = match Arc::clone(&term.running).try_read_owned() {
                Ok(running) => running,
                Err(_) => Arc::clone(&term.running).read_owned().await,
            };
            if Arc::ptr_eq(&term, &self.current.load()) {
                return Entered {
                    set: Arc::clone(&term.set),
                    _running: running,
                };
            }
        }
    }

    /// Puts `set` in force once the requests of the term that ends have finished, or the time for
    /// that is over. Those of earlier terms have been waited for.
    ///
    /// # Errors
    /// [`Abandoned`], with the old set still in force, when `wanted` denies at the last moment.
    pub async fn replace(
        &self,
        set: CredentialSet,
        wanted: impl Fn() -> bool,
    ) -> Result<(), Abandoned> {
        let limit = match self.update {
            Update::Immediate => Duration::ZERO,
            Update::Drain(limit) => limit,
        };
        let deadline = Instant::now() + limit;
        // Who came before has an earlier deadline.
        let _turn = self.turn.lock().await;
        let term = self.current.load_full();
        // The place in the queue is kept until the set has changed, also when time runs out:
        // otherwise a waiting request could slip by with the old one.
        let drained = term.running.write();
        tokio::pin!(drained);
        let drained = tokio::select! {
            biased;
            drained = &mut drained => Some(drained),
            () = tokio::time::sleep_until(deadline), if !limit.is_zero() => None,
            () = std::future::ready(()), if limit.is_zero() => None,
        };
        if !wanted() {
            return Err(Abandoned);
        }
        self.current.store(Arc::new(Term::of(set)));
        drop(drained);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build() -> Build {
        Build {
            version: HeaderValue::from_static("1.2.3"),
            revision: HeaderValue::from_static("abc"),
        }
    }

    fn set(
        client_id: &str,
        certificate: Option<&str>,
        restriction: Option<&[&str]>,
    ) -> CredentialSet {
        let credentials = Credentials::new(client_id, "token", certificate).unwrap();
        let restriction =
            restriction.map(|scopes| scopes.iter().map(ToString::to_string).collect::<Vec<_>>());
        let clock = Arc::default();
        CredentialSet::new(&credentials, restriction.as_deref(), build(), clock)
    }

    fn certificate(start: i64, expiry: i64) -> String {
        let seed = "s".repeat(44);
        format!(
            r#"{{"version":1,"scopes":["a:b","c"],"start":{start},"expiry":{expiry},"seed":"{seed}","signature":"x"}}"#
        )
    }

    fn named(set: &CredentialSet) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(TEMP_SCOPES, HeaderValue::from_static("[\"from upstream\"]"));
        headers.append(ENDPOINT, HeaderValue::from_static("upstream's"));
        headers.append("x-other", HeaderValue::from_static("kept"));
        set.name_in(&mut headers, None);
        headers
    }

    #[test]
    fn names_permanent_and_temporary_sets() {
        let permanent = named(&set("some/client", None, None));
        assert_eq!(permanent[PERM_CLIENT_ID], "some/client");
        assert_eq!(permanent[VERSION], "1.2.3");
        assert_eq!(permanent[REVISION], "abc");
        assert_eq!(permanent["x-other"], "kept");
        for absent in [
            TEMP_CLIENT_ID,
            TEMP_SCOPES,
            AUTHORIZED_SCOPES,
            OMITTED,
            ENDPOINT,
        ] {
            assert!(!permanent.contains_key(&absent), "{absent}");
        }
        let temporary = named(&set("some/client", Some(&certificate(1, 2)), Some(&["é"])));
        assert_eq!(temporary[TEMP_CLIENT_ID], "some/client");
        assert_eq!(temporary[TEMP_SCOPES], r#"["a:b","c"]"#);
        assert_eq!(temporary[AUTHORIZED_SCOPES], r#"["\u00e9"]"#);
        assert!(!temporary.contains_key(PERM_CLIENT_ID));
    }

    #[test]
    fn leaves_out_scopes_that_are_too_long_and_says_so() {
        let long = "s".repeat(SCOPES_HEADER);
        let headers = named(&set("c", None, Some(&[&long])));
        assert!(!headers.contains_key(AUTHORIZED_SCOPES));
        assert_eq!(headers[OMITTED], "x-taskcluster-authorized-scopes");
        assert!(warnings(&set("c", None, Some(&[&long]))).contains("fewer or shorter"));
        assert_eq!(warnings(&set("c", None, Some(&["short"]))), "");
    }

    fn warnings(set: &CredentialSet) -> String {
        set.warnings().join("\n")
    }

    #[test]
    fn says_when_the_credentials_are_of_no_use_now() {
        const HOUR: i64 = 3_600_000;
        let now = Timestamp::now().as_millisecond();
        let ms = |milliseconds: i64| date(milliseconds).to_string();
        let expired = |at: i64| {
            let at = ms(at);
            format!("these credentials expired at {at}: update them, or set this machine's clock")
        };
        let early = format!(
            "these credentials are not valid before {}: wait, or set this machine's clock",
            ms(now + HOUR)
        );
        let long = "certificate cannot last longer than 31 days: create it with an earlier expiry";
        for (start, expiry, expected) in [
            (now - HOUR, now + HOUR, String::new()),
            (now - HOUR, now - 2000, expired(now - 2000)),
            (0, i64::MIN >> 11, expired(i64::MIN >> 11)),
            (now + HOUR, now + 2 * HOUR, early),
            (now, now + 32 * 24 * HOUR, long.to_owned()),
        ] {
            let set = set("c", Some(&certificate(start, expiry)), None);
            assert_eq!(warnings(&set), expected);
            assert_eq!(set.expiry(), Some(expiry));
        }
        assert_eq!(set("c", None, None).expiry(), None);
    }

    #[test]
    fn narrowing_keeps_the_client_and_the_clock_and_an_update_the_clock() {
        let set = set("c", None, None);
        let narrowed = set.narrowed(&["a".to_owned()]);
        assert!(std::ptr::eq(narrowed.clock(), set.clock()));
        let other = Credentials::new("other", "token", None).unwrap();
        let updated = set.successor(&other, None);
        assert!(std::ptr::eq(updated.clock(), set.clock()));
        assert_eq!(named(&updated)[PERM_CLIENT_ID], "other");
        assert_eq!(named(&narrowed)[AUTHORIZED_SCOPES], r#"["a"]"#);
    }

    fn client(entered: &Entered) -> &str {
        entered.set.client_id.to_str().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_waits_for_running_requests_and_is_waited_for() {
        let in_force = InForce::new(
            set("old", None, None),
            Update::Drain(Duration::from_secs(30)),
        );
        let running = in_force.enter().await;
        let update = in_force.replace(set("new", None, None), || true);
        tokio::pin!(update);
        assert!(futures_poll(update.as_mut()).await.is_none());
        let waiting = in_force.enter();
        tokio::pin!(waiting);
        assert!(futures_poll(waiting.as_mut()).await.is_none());
        assert_eq!(client(&running), "old");
        drop(running);
        assert_eq!(update.await, Ok(()));
        assert_eq!(client(&waiting.await), "new");
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_waits_no_longer_than_its_time() {
        let in_force = InForce::new(
            set("old", None, None),
            Update::Drain(Duration::from_secs(30)),
        );
        let running = in_force.enter().await;
        assert_eq!(
            in_force.replace(set("new", None, None), || true).await,
            Ok(())
        );
        assert_eq!(client(&running), "old");
        assert_eq!(client(&in_force.enter().await), "new");
        let immediate = InForce::new(set("old", None, None), Update::Immediate);
        let _running = immediate.enter().await;
        let update = immediate.replace(set("new", None, None), || true);
        tokio::pin!(update);
        assert_eq!(futures_poll(update.as_mut()).await, Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_waited_for_by_one_update_only() {
        let limit = Duration::from_secs(30);
        let in_force = InForce::new(set("old", None, None), Update::Drain(limit));
        let live_log = in_force.enter().await;
        let began = Instant::now();
        let first = in_force.replace(set("first", None, None), || true);
        let second = in_force.replace(set("second", None, None), || true);
        assert_eq!(tokio::join!(first, second), (Ok(()), Ok(())));
        assert_eq!(began.elapsed().as_secs(), limit.as_secs());
        let third = in_force.replace(set("third", None, None), || true);
        tokio::pin!(third);
        assert_eq!(futures_poll(third.as_mut()).await, Some(Ok(())));
        assert_eq!(client(&live_log), "old");
        assert_eq!(client(&in_force.enter().await), "third");
    }

    #[tokio::test]
    async fn an_update_that_is_not_wanted_any_more_changes_nothing() {
        let in_force = InForce::new(
            set("old", None, None),
            Update::Drain(Duration::from_secs(30)),
        );
        assert_eq!(
            in_force.replace(set("new", None, None), || false).await,
            Err(Abandoned)
        );
        assert_eq!(client(&in_force.enter().await), "old");
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match future.as_mut().poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
