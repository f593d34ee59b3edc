//! The readers of foreign bytes, each to be called alone: for the fuzz targets and for the tests that
//! run their corpora. What this is not: part of the API, or a place for rules.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version};
use taskcluster_proxy_hawk::Credentials;

use crate::answers::bewit;
use crate::back::bare;
use crate::client::http2::Frames;
use crate::client::request_lines::RequestLines;
use crate::decision::browser::{BrowserGuard, HostRule};
use crate::decision::destination;
use crate::decision::route::{self, RootUrl, Route, Target};
use crate::decision::scopes;
use crate::exchange::answer_body::Length;
use crate::exchange::backoff;
use crate::exchange::buffers::Buffers;
use crate::exchange::socket_answer::{self, Asked, Parsed};
use crate::exchange::upstream::environment::Proxies;
use crate::message::chunked::Chunked;
use crate::message::fields::FieldLines;
use crate::message::head::{BodyLength, inspect};
use crate::message::headers;
use crate::message::target::{check_target, request_target};
use crate::record::redact;
use crate::signing::clock::ClockCorrection;
use crate::signing::credentials::{Build, CredentialSet};

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The number of its bytes.
    Known(u64),
    /// The chunked transfer coding.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

/// A request's head that passes the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the fields of the head it is made of")]
pub struct RequestHead {
    pub len: usize,
    pub framing: Framing,
    pub upgrade: bool,
    pub plain: bool,
    pub closes: bool,
}

/// A request's head as the gate holds it.
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the parts of a head")]
pub struct HeldHead {
    pub method: String,
    pub target: Vec<u8>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An answer's head as it goes to the client.
#[derive(Debug)]
pub struct AnswerHead {
    /// Its status; none where it is interim.
    pub status: Option<u16>,
    /// How the end of its body is found.
    pub framing: Framing,
    /// Whether upstream's connection may be used again.
    pub keeps: bool,
    /// The lines for the client.
    pub lines: Vec<u8>,
    /// What has come behind it.
    pub rest: Vec<u8>,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Way {
    /// Answered here.
    Here,
    /// To an upstream: scheme and authority, host, port, and target.
    Upstream(String, String, u16, String),
    /// No route.
    None,
    /// Refused.
    Malformed,
}

/// [`crate::message::head::inspect`].
///
/// # Errors
/// The status of the refusal.
pub fn request_head(bytes: &[u8]) -> Result<Option<RequestHead>, StatusCode> {
    let head = inspect(bytes).map_err(crate::message::head::HeadError::status)?;
    Ok(head.map(|head| RequestHead {
        len: head.len,
        framing: match head.body {
            BodyLength::Known(length) => Framing::Known(length),
            BodyLength::Chunked => Framing::Chunked,
        },
        upgrade: head.upgrade,
        plain: head.plain,
        closes: head.closes,
    }))
}

/// [`RequestLines::read`].
pub fn held_head(head: &[u8]) -> Option<HeldHead> {
    let request = RequestLines::read(head, FieldLines::default())?;
    Some(HeldHead {
        method: request.method.to_string(),
        target: request.target.as_bytes().to_vec(),
        fields: owned(&request.fields),
    })
}

/// What is left of a head's fields on their way to upstream and to the client, with what its
/// `Content-Length` and its `Transfer-Encoding` say: of a map, or of lines.
pub type Stripped = [(Option<u64>, Option<bool>, Vec<(Vec<u8>, Vec<u8>)>); 2];

/// The rules of [`headers`], of a map and of lines; the fields sorted by name, those of one name in
/// their order. `None` where they are no section of fields.
pub fn stripped(section: &[u8]) -> Option<(Stripped, Stripped)> {
    let mut space = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(section, &mut space)
    else {
        return None;
    };
    let map = field_map(section)?;
    let by_map = [true, false].map(|to_upstream| {
        let mut map = map.clone();
        let framing = strip(&mut map, to_upstream);
        let mut fields: Vec<_> = map
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec()))
            .collect();
        fields.sort_by(|one: &(Vec<u8>, _), other| one.0.cmp(&other.0));
        (framing.0, framing.1, fields)
    });
    let by_lines = [true, false].map(|to_upstream| {
        let mut lines = FieldLines::default().of(section, parsed);
        let framing = strip(&mut lines, to_upstream);
        let mut fields = owned(&lines);
        for (name, _) in &mut fields {
            name.make_ascii_lowercase();
        }
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        (framing.0, framing.1, fields)
    });
    Some((by_map, by_lines))
}

/// A section of fields as a map.
fn field_map(section: &[u8]) -> Option<HeaderMap> {
    let mut space = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(section, &mut space)
    else {
        return None;
    };
    let mut map = HeaderMap::new();
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(map)
}

fn strip(
    fields: &mut impl crate::message::fields::Fields,
    to_upstream: bool,
) -> (Option<u64>, Option<bool>) {
    let length = headers::content_length(fields).unwrap_or(Some(u64::MAX));
    let is_chunked = headers::is_chunked(fields);
    if to_upstream {
        headers::strip_request(fields);
    } else {
        headers::strip_response(fields);
    }
    (length, is_chunked)
}

fn owned(fields: &FieldLines) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// A client's chunked body that comes in `pieces`: bytes and bytes of data that were passed, and
/// whether it is at its end. `None` where the coding is broken.
pub fn request_chunks(pieces: &[&[u8]]) -> Option<(usize, u64, bool)> {
    let mut chunked = Chunked::new();
    let mut taken = 0;
    for piece in pieces {
        taken += chunked.advance(piece).ok()?;
    }
    Some((taken, chunked.data(), chunked.is_done()))
}

/// An upstream's body that comes in `pieces`: bytes and bytes of data that were taken, what the
/// client gets, and whether it is at its end. `None` where it is broken.
pub fn answer_body(
    framing: Framing,
    declared: &[HeaderName],
    pieces: &[&[u8]],
) -> Option<(usize, usize, Vec<u8>, bool)> {
    let mut length = match framing {
        Framing::Known(length) => Length::Known(length),
        Framing::Chunked => Length::chunked(declared.to_vec()),
        Framing::UntilClose => Length::UntilClose,
    };
    let (mut bytes, mut data, mut out) = (0, 0, Vec::new());
    for piece in pieces {
        let taken = length.take(piece).ok()?;
        bytes += taken.bytes;
        data += taken.data;
        out.extend_from_slice(taken.instead.as_deref().unwrap_or(&piece[..taken.bytes]));
    }
    if length.is_until_close() {
        out.extend_from_slice(&length.end().ok()?);
    }
    Some((bytes, data, out, length.is_done()))
}

/// Reads the heads of answers.
pub struct Answers {
    buffers: Buffers,
    set: CredentialSet,
    target: Target,
}

impl Answers {
    /// To requests signed with `credentials`.
    ///
    /// # Panics
    /// Never: the names in it are valid.
    pub fn new(credentials: &Credentials) -> Self {
        let root = RootUrl::parse("https://tc.example.com").expect("a root URL");
        let Route::Upstream(target) = route::route("/queue/v1/ping", &root) else {
            unreachable!("a route to the deployment")
        };
        Self {
            buffers: Buffers::default(),
            set: credential_set(credentials),
            target,
        }
    }

    /// The answer that `bytes` begin with; `None` while its head is not whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn head(&self, bytes: &[u8], to_head: bool) -> Result<Option<AnswerHead>, &'static str> {
        let asked = Asked {
            is_head: to_head,
            takes_trailers: true,
        };
        let parsed = socket_answer::parse(bytes, asked, &self.buffers);
        let parsed = parsed.map_err(|fault| fault.reason())?;
        Ok(parsed.map(|parsed| match parsed {
            Parsed::Interim(len, lines) => AnswerHead {
                status: None,
                framing: Framing::Known(0),
                keeps: true,
                lines,
                rest: bytes[len..].to_vec(),
            },
            Parsed::Final(mut head, body) => {
                let mut lines = Vec::new();
                bare::write_head(
                    &mut lines,
                    &mut head,
                    &body,
                    &self.set,
                    &self.target,
                    !body.keeps,
                );
                AnswerHead {
                    status: Some(head.status.as_u16()),
                    framing: match body.length {
                        Length::Known(length) => Framing::Known(length),
                        Length::Chunked(_) => Framing::Chunked,
                        Length::UntilClose => Framing::UntilClose,
                    },
                    keeps: body.keeps,
                    lines,
                    rest: head.rest().to_vec(),
                }
            }
        }))
    }
}

fn credential_set(credentials: &Credentials) -> CredentialSet {
    let build = Build {
        version: HeaderValue::from_static("1.0.0"),
        revision: HeaderValue::from_static("0"),
    };
    CredentialSet::new(credentials, None, build, std::sync::Arc::default())
}

/// Whether an HTTP/2 client that has sent `pieces` is in the middle of its preface or a header block.
pub fn in_header_block(pieces: &[&[u8]]) -> bool {
    let mut frames = Frames::new();
    for piece in pieces {
        frames.advance(piece);
    }
    frames.in_header_block()
}

/// [`check_target`].
pub fn is_target(target: &[u8]) -> bool {
    check_target(target).is_ok()
}

/// [`request_target`].
pub fn origin_form(uri: &Uri) -> Option<String> {
    request_target(uri).ok().map(std::borrow::Cow::into_owned)
}

/// [`route::route`] for the deployment at `root`.
///
/// # Errors
/// Where `root` is no root URL: the sentence.
pub fn way(target: &str, root: &str) -> Result<Way, String> {
    let root = RootUrl::parse(root).map_err(|error| error.to_string())?;
    Ok(match route::route(target, &root) {
        Route::Here(_) => Way::Here,
        Route::Upstream(Target { origin, target }) => Way::Upstream(
            origin.url().to_owned(),
            origin.host().to_owned(),
            origin.port(),
            target.to_string(),
        ),
        Route::None => Way::None,
        Route::Malformed(_) => Way::Malformed,
    })
}

/// [`destination::is_kept_off_by_name`] on a machine without addresses of its own; `false` for no URL.
pub fn is_kept_off(url: &str) -> bool {
    let origin = route::split_url(url);
    origin.is_ok_and(|(origin, _)| destination::is_kept_off_by_name(&origin, |_| false))
}

/// The URL that is signed for a body of `POST /bewit`: host, port and target, and the URL with a
/// bewit `x`.
pub fn bewit_url(body: &[u8]) -> Option<(String, u16, String, String)> {
    let resource = bewit::resource(body).ok()?;
    let origin = resource.origin();
    Some((
        origin.host().to_owned(),
        origin.port(),
        resource.target().to_owned(),
        resource.signed_url("x"),
    ))
}

/// The guard against web pages, with no host added.
///
/// # Errors
/// The status of the refusal.
pub fn guard(fields: &HeaderMap) -> Result<(), StatusCode> {
    let guard = BrowserGuard {
        allow_cross_site: false,
        hosts: HostRule::default(),
    };
    let judged = guard.check(fields, None, Version::HTTP_11);
    judged.map_err(crate::decision::browser::BrowserError::status)
}

/// The scopes that a field asks a request to be narrowed to, where `restriction` allows it.
///
/// # Errors
/// The status of the refusal.
pub fn narrowed(value: &[u8], restriction: &[String]) -> Result<Vec<String>, StatusCode> {
    let mut fields = HeaderMap::new();
    let value = HeaderValue::from_bytes(value).map_err(|_| StatusCode::BAD_REQUEST)?;
    fields.insert(crate::message::names::AUTHORIZED_SCOPES, value);
    let asked = scopes::parse_narrowing(&fields).map_err(|error| error.status())?;
    let asked = asked.unwrap_or_default();
    match scopes::narrow(Some(restriction), &asked) {
        Ok(()) => Ok(asked),
        Err(error) => Err(error.status()),
    }
}

/// Whether `scopes` satisfy `scope`.
pub fn satisfies(scopes: &[String], scope: &str) -> bool {
    scopes::satisfies(scopes, scope)
}

/// The proxy by which `url` is reached where `variable` gives the environment, as `Debug` shows it;
/// `None` for a direct way.
///
/// # Errors
/// The sentence.
pub fn outgoing(
    variable: impl Fn(&str) -> Option<String>,
    url: &str,
) -> Result<Option<String>, String> {
    let (origin, _) = route::split_url(url).map_err(|error| error.to_string())?;
    let proxies = Proxies::from_variables(variable);
    let proxy = proxies.proxy_for(&origin);
    let proxy = proxy.map_err(|error| error.to_string())?;
    Ok(proxy.map(|proxy| format!("{proxy:?}")))
}

/// [`backoff::retry_after`].
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    backoff::retry_after(value, now)
}

/// The verifiers' time, in seconds since the epoch, that a refusal with this section of fields has
/// taught by its `Date`, or by a challenge that is made with the access token `token`. `Some(None)`
/// where it has taught nothing, and `None` where it is no section of fields.
///
/// # Panics
/// Never: the names in it are valid.
pub fn taught(section: &[u8]) -> Option<Option<u64>> {
    let fields = field_map(section)?;
    let set = credential_set(&Credentials::new("client", "token", None).expect("credentials"));
    let root = RootUrl::parse("https://tc.example.com").expect("a root URL");
    let mut correction = ClockCorrection::new(&root, root.origin());
    correction.begin(&set);
    let has_learnt = correction.learn(&set, StatusCode::UNAUTHORIZED, &fields);
    Some(has_learnt.then(|| set.clock().now()))
}

/// [`redact::redact`].
pub fn redacted(text: &str) -> String {
    redact::redact(text).into_owned()
}

/// [`redact::has_bewit`].
pub fn has_bewit(query: &str) -> bool {
    redact::has_bewit(query)
}
