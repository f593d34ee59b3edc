//! One credential set, and all that is constant for it.
//!
//! It is computed once, here: the HMAC key schedule, `ext` and the response headers that name the set.
//! What this is not: it judges no credentials (the caller's `Validator` does), and does not know which
//! set is in force.

use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use taskcluster_proxy_hawk::{Certificate, CertificateError, Credentials, MAX_HEADER_LEN, Signer};

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

    /// Another set of the same proxy. It keeps what this set has learnt of the clock.
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

    pub fn client_id(&self) -> &str {
        self.client_id.to_str().unwrap_or_default()
    }

    /// The scopes of temporary credentials.
    pub fn scopes(&self) -> Option<&[String]> {
        self.signer.certificate().map(Certificate::scopes)
    }

    /// The restriction, as JSON.
    pub fn restriction_json(&self) -> Option<Box<RawValue>> {
        #[derive(Deserialize)]
        struct Ext {
            #[serde(rename = "authorizedScopes")]
            authorized_scopes: Option<Box<RawValue>>,
        }
        let ext = STANDARD.decode(self.signer.ext()?).ok()?;
        serde_json::from_slice::<Ext>(&ext).ok()?.authorized_scopes
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

    /// A warning where its headers are too long for verifiers.
    pub fn length_warning(&self) -> Option<String> {
        let length = self.signer.authorization_len();
        (length > MAX_HEADER_LEN).then(|| {
            format!(
                "these credentials make an Authorization header of about {length} characters, and \
                 verifiers refuse more than {MAX_HEADER_LEN}: grant the task fewer or shorter scopes"
            )
        })
    }

    /// A warning where the time of its certificate has not begun or has passed.
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

    /// Names the set in an answer, and the endpoint where there is one. Fields that upstream sent
    /// under our names are removed.
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

/// The text is printable ASCII by its making; anything else becomes an empty value.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
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
}
