//! Heads, fields and bodies of HTTP/1, both ways.

use std::sync::LazyLock;

use http::HeaderName;
use http::header::{ETAG, HeaderMap};
use httparse::{EMPTY_HEADER, Header, Status};
use regex::bytes::Regex;
use taskcluster_proxy_core::Credentials;
use taskcluster_proxy_core::fuzzing::{self, Answers, Framing};

use super::cut;

/// The proxy's own limit: a head with more fields is not held as lines.
const HELD_FIELDS: usize = 100;

/// A head that passes the gate is read by httparse to the same end, and its framing follows from the
/// fields as httparse finds them. One that is `plain` is held with the same method, target and
/// fields. A head that is not whole is none to httparse either, and no beginning of a head is one.
pub fn request_head(bytes: &[u8]) -> bool {
    let mut space = vec![EMPTY_HEADER; 1000];
    let mut read = httparse::Request::new(&mut space);
    let status = read.parse(bytes);
    let Ok(seen) = fuzzing::request_head(bytes) else {
        return false;
    };
    let Some(head) = seen else {
        assert!(
            !matches!(status, Ok(Status::Complete(_))),
            "it waits for a head that has come"
        );
        return false;
    };
    assert_eq!(status, Ok(Status::Complete(head.len)));
    assert_eq!(fuzzing::request_head(&bytes[..head.len]), Ok(Some(head)));
    let [beginning, _] = cut(&bytes[..head.len - 1]);
    assert_eq!(fuzzing::request_head(beginning), Ok(None));

    let values = |name| values(read.headers, name);
    let lengths = values("content-length");
    let framing = match (lengths.first(), values("transfer-encoding").len()) {
        (Some(length), 0) => Framing::Known(length.parse().expect("a length")),
        (None, 1) => Framing::Chunked,
        (None, 0) => Framing::Known(0),
        other => panic!("two framings: {other:?}"),
    };
    assert_eq!(head.framing, framing);
    let numbers = lengths
        .iter()
        .map(|length| Framing::Known(length.parse().expect("a length")));
    assert!(numbers.into_iter().all(|number| number == framing));
    assert_eq!(head.upgrade, !values("upgrade").is_empty());
    let is_11 = read.version == Some(1);
    let options = values("connection").join(",").to_ascii_lowercase();
    let has = |option| options.split(',').any(|found| found.trim_ascii() == option);
    assert_eq!(head.closes, has("close") || !is_11 && !has("keep-alive"));
    let path = read.path.expect("a target");
    assert!(fuzzing::is_target(path.as_bytes()));
    let asks_for_more = ["expect", "upgrade", "transfer-encoding"]
        .iter()
        .any(|name| !values(name).is_empty());
    let is_held = is_11 && path.starts_with('/') && !asks_for_more;
    assert_eq!(head.plain, is_held && read.headers.len() <= HELD_FIELDS);
    if head.plain {
        let request = fuzzing::held_head(&bytes[..head.len]).expect("a head that is plain is held");
        assert_eq!(Some(request.method.as_str()), read.method);
        assert_eq!(request.target, path.as_bytes());
        let fields = read
            .headers
            .iter()
            .map(|field| (field.name.as_bytes(), field.value));
        assert!(
            request
                .fields
                .iter()
                .map(|(name, value)| (&name[..], &value[..]))
                .eq(fields)
        );
    }
    true
}

/// A section of fields means the same whether it is held as lines or in a map: what its framing is,
/// and what of it goes to upstream and to the client, which is what RFC 9110 7.6.1 leaves of it.
pub fn fields(bytes: &[u8]) -> bool {
    let Some((by_map, by_lines)) = fuzzing::stripped(bytes) else {
        return false;
    };
    assert_eq!(by_map, by_lines);
    let mut space = [EMPTY_HEADER; 64];
    let Ok(Status::Complete((_, section))) = httparse::parse_headers(bytes, &mut space) else {
        panic!("httparse reads no section of fields");
    };
    for (seen, to_upstream) in by_map.iter().zip([true, false]) {
        let (length, is_chunked, fields) = seen;
        let named = values(section, "content-length");
        let expected = if named.is_empty() {
            None
        } else {
            Some(one_length(&named).unwrap_or(NO_LENGTH))
        };
        assert_eq!(*length, expected);
        assert_eq!(
            *is_chunked,
            chunked_alone(&values(section, "transfer-encoding"))
        );
        let length = length.filter(|length| *length != NO_LENGTH);
        assert_eq!(*fields, end_to_end(section, to_upstream, length));
    }
    true
}

/// The reader's value for a `Content-Length` that is no length.
const NO_LENGTH: u64 = u64::MAX;

/// The length that each element names (RFC 9110 8.6).
fn one_length(named: &[String]) -> Option<u64> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mut lengths = named
        .iter()
        .flat_map(|value| value.split(','))
        .map(|element| {
            Some(element.trim_ascii())
                .filter(|text| digits(text))?
                .parse()
                .ok()
        });
    let first: i64 = lengths.next()??;
    lengths
        .all(|length| length == Some(first))
        .then_some(first.unsigned_abs())
}

/// Whether the one coding is `chunked`; `None` with another one, or with anything behind it.
fn chunked_alone(named: &[String]) -> Option<bool> {
    let elements: Vec<_> = named.iter().flat_map(|value| value.split(',')).collect();
    let coding = elements
        .iter()
        .position(|element| !element.trim_ascii().is_empty());
    match coding {
        None => Some(false),
        Some(at) => {
            let is_chunked = elements[at].trim_ascii().eq_ignore_ascii_case("chunked");
            (is_chunked && at + 1 == elements.len()).then_some(true)
        }
    }
}

/// The fields that a message keeps beyond one connection, sorted by name (RFC 9110 7.6.1). `Connection`
/// cannot name fields that say who sends the message, to whom, and how long it is.
fn end_to_end(
    section: &[Header<'_>],
    to_upstream: bool,
    length: Option<u64>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    const ONE_HOP: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    const KEPT: [&str; 4] = [
        "authorization",
        "content-length",
        "host",
        "x-taskcluster-authorized-scopes",
    ];
    let named = elements(&values(section, "connection"));
    let mut kept: Vec<(Vec<u8>, Vec<u8>)> = section
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
        .filter(|(name, _)| !ONE_HOP.contains(&&name[..]))
        .filter(|(name, _)| KEPT.contains(&&name[..]) || !named.contains(name))
        .filter(|(name, _)| length.is_none() || name != "content-length")
        .map(|(name, value)| (name.into_bytes(), value))
        .collect();
    let mut add = |name: &str, value: &str| kept.push((name.into(), value.into()));
    if let Some(length) = length {
        add("content-length", &length.to_string());
    }
    if to_upstream && elements(&values(section, "te")).contains(&"trailers".to_owned()) {
        add("connection", "te");
        add("te", "trailers");
    }
    kept.sort_by(|one, other| one.0.cmp(&other.0));
    kept
}

/// The elements of a list in lower case, without parameters (RFC 9110 5.6.1, 5.6.6).
fn elements(values: &[String]) -> Vec<String> {
    let elements = values.iter().flat_map(|value| value.split(','));
    elements
        .filter_map(|element| element.split(';').next())
        .map(|element| element.trim_matches([' ', '\t']).to_ascii_lowercase())
        .collect()
}

thread_local! {
    static ANSWERS: Answers =
        Answers::new(&Credentials::new("client", "token", None).expect("credentials"));
}

/// An answer's head is read as RFC 9112 writes it, its framing and whether its connection is kept is
/// what 6.3 and 9.3 say of its fields, and what goes to the client is canonical: every line ends in
/// CR LF, no field is of one hop but our own, and it has one framing, which is that of the body that
/// follows.
pub fn answer_head(bytes: &[u8]) -> bool {
    let Some((mode, bytes)) = bytes.split_first() else {
        return false;
    };
    let to_head = mode & 1 == 1;
    let Ok(Some(answer)) = ANSWERS.with(|answers| answers.head(bytes, to_head)) else {
        return false;
    };
    let mut space = [EMPTY_HEADER; 512];
    let mut read = httparse::Response::new(&mut space);
    let Ok(Status::Complete(len)) = read.parse(bytes) else {
        panic!("httparse reads no head");
    };
    assert_eq!(by_grammar(&bytes[..len]), Some(texts(&read)));
    let code = read.code.expect("a status");
    assert_eq!(&bytes[len..], answer.rest);
    assert_eq!(answer.status, Some(code).filter(|code| *code >= 200));
    let lengths = values(read.headers, "content-length");
    let has_no_body = code < 200 || to_head || matches!(code, 204 | 304);
    let coded = !values(read.headers, "transfer-encoding").is_empty();
    let is_chunked = chunked_alone(&values(read.headers, "transfer-encoding")) == Some(true);
    let framing = match lengths.first() {
        _ if has_no_body => Framing::Known(0),
        _ if is_chunked => Framing::Chunked,
        Some(_) if !coded => Framing::Known(one_length(&lengths).expect("a length")),
        _ => Framing::UntilClose,
    };
    assert_eq!(answer.framing, framing);
    let closes = elements(&values(read.headers, "connection")).contains(&"close".to_owned());
    let has_both = coded && !lengths.is_empty();
    let keeps = read.version == Some(1) && !closes && !has_both && framing != Framing::UntilClose;
    assert_eq!(answer.keeps, code < 200 || keeps);
    canonical(&answer.lines, code, framing, has_no_body);
    true
}

/// A head as its texts: version, status, and each field's name and value.
type Texts = (u8, u16, Vec<(String, Vec<u8>)>);

fn texts(read: &httparse::Response<'_, '_>) -> Texts {
    let fields = read.headers.iter();
    (
        read.version.expect("a version"),
        read.code.expect("a status"),
        fields
            .map(|field| (field.name.to_owned(), field.value.to_vec()))
            .collect(),
    )
}

static STATUS_LINE: LazyLock<Regex> = LazyLock::new(|| {
    let line = r"(?-u)^(?:\r?\n)*HTTP/1\.([01]) ([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?\r?\n";
    Regex::new(line).expect("a regular expression")
});

static FIELD_LINE: LazyLock<Regex> = LazyLock::new(|| {
    let token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
    let value = r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?";
    let line = format!(r"(?-u)^({token}):[ \t]*({value})?[ \t]*\r?\n");
    Regex::new(&line).expect("a regular expression")
});

/// A whole head by the grammar of RFC 9112 4 and 5, whose lines may end without CR (2.2).
fn by_grammar(head: &[u8]) -> Option<Texts> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line = STATUS_LINE.captures(head)?;
    let (version, code) = (text(&line[1]).parse().ok()?, text(&line[2]).parse().ok()?);
    let mut rest = &head[line[0].len()..];
    let mut fields = Vec::new();
    while let Some(line) = FIELD_LINE.captures(rest) {
        let value = line.get(2).map_or(&[][..], |value| value.as_bytes());
        fields.push((text(&line[1]), value.to_vec()));
        rest = &rest[line[0].len()..];
    }
    matches!(rest, b"\r\n" | b"\n").then_some((version, code, fields))
}

fn canonical(lines: &[u8], code: u16, framing: Framing, has_no_body: bool) {
    let mut space = vec![EMPTY_HEADER; 600];
    let mut sent = httparse::Response::new(&mut space);
    assert_eq!(sent.parse(lines), Ok(Status::Complete(lines.len())));
    assert_eq!((sent.code, sent.version), (Some(code), Some(1)));
    let text: String = lines.iter().map(|byte| char::from(*byte)).collect();
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    let lengths = values(sent.headers, "content-length");
    let codings = values(sent.headers, "transfer-encoding");
    match framing {
        Framing::Known(length) if !has_no_body => assert_eq!(lengths, [length.to_string()]),
        Framing::Known(_) => assert!(lengths.len() <= 1),
        _ => assert_eq!(
            (lengths.len(), &codings[..]),
            (0, &["chunked".to_owned()][..])
        ),
    }
    assert!(!matches!(framing, Framing::Known(_)) || codings.is_empty());
    assert!(!(code < 200 || code == 204) || lengths.is_empty());
    for hop in ["keep-alive", "proxy-authenticate", "te", "upgrade"] {
        assert!(values(sent.headers, hop).is_empty(), "{hop}");
    }
    assert!(
        values(sent.headers, "connection")
            .iter()
            .all(|option| option == "close")
    );
}

/// A client's chunked body ends where an independent decoder ends it, with as much data, and however
/// it is cut; what the gate lets pass, the decoder reads.
pub fn request_chunks(bytes: &[u8]) -> bool {
    let seen = fuzzing::request_chunks(&[bytes]);
    assert_eq!(fuzzing::request_chunks(&cut(bytes)), seen);
    let Some((taken, data, is_done)) = seen else {
        return false;
    };
    match decode(bytes) {
        // hyper reads the trailers, and gets no byte behind them.
        Decoded::Whole { len, content, .. } | Decoded::OddTrailers { len, content } => {
            assert_eq!((taken, data, is_done), (len, content.len() as u64, true));
        }
        Decoded::Partial(content) => {
            assert_eq!((taken, is_done), (bytes.len(), false));
            assert_eq!(data, content.len() as u64);
        }
        Decoded::Broken => panic!("it passes what the decoder does not read"),
    }
    true
}

static DECLARED: LazyLock<[HeaderName; 1]> = LazyLock::new(|| [ETAG]);

/// An upstream's body goes to the client with the same content and as one that can be read in one
/// way: sizes without extensions, no trailers but declared ones, and an end where it has ended. How
/// it is cut changes nothing.
pub fn answer_body(bytes: &[u8]) -> bool {
    let Some((mode, bytes)) = bytes.split_first() else {
        return false;
    };
    let framing = match mode % 4 {
        0 => Framing::UntilClose,
        1 => Framing::Known(u64::from(mode / 4)),
        _ => Framing::Chunked,
    };
    let sent = |pieces: &[&[u8]]| fuzzing::answer_body(framing, &*DECLARED, pieces);
    let seen = sent(&[bytes]);
    let in_two = sent(&cut(bytes));
    assert_eq!(seen.is_some(), in_two.is_some());
    let (Some((taken, data, out, is_done)), Some(in_two)) = (seen, in_two) else {
        return false;
    };
    assert_eq!((taken, data, is_done), (in_two.0, in_two.1, in_two.3));
    let content = match framing {
        Framing::Known(length) => {
            let content = &bytes[..bytes
                .len()
                .min(usize::try_from(length).expect("it is a byte"))];
            assert_eq!(
                (&out[..], is_done),
                (content, content.len() as u64 == length)
            );
            assert_eq!((taken, data), (content.len(), content.len()));
            return true;
        }
        Framing::UntilClose => bytes.to_vec(),
        Framing::Chunked => match decode(bytes) {
            Decoded::Whole { len, content, .. } => {
                assert_eq!((taken, data, is_done), (len, content.len(), true));
                content
            }
            Decoded::Partial(content) => {
                assert_eq!((taken, data, is_done), (bytes.len(), content.len(), false));
                content
            }
            Decoded::Broken | Decoded::OddTrailers { .. } => {
                panic!("it passes what the decoder does not read")
            }
        },
    };
    for out in [&out, &in_two.2] {
        match decode(out) {
            Decoded::Whole {
                len,
                content: sent,
                trailers,
                canonical,
            } => {
                assert!(is_done && canonical);
                assert_eq!((len, &sent), (out.len(), &content));
                assert!(trailers.keys().all(|name| *name == ETAG));
            }
            Decoded::Partial(sent) => {
                assert!(!is_done);
                assert_eq!(sent, content);
            }
            Decoded::Broken | Decoded::OddTrailers { .. } => panic!("what goes out is broken"),
        }
    }
    true
}

enum Decoded {
    Whole {
        len: usize,
        content: Vec<u8>,
        trailers: HeaderMap,
        /// No padding, no extensions, no line ends but CR LF.
        canonical: bool,
    },
    /// An empty line ends it, but what is before it are no fields.
    OddTrailers {
        len: usize,
        content: Vec<u8>,
    },
    Partial(Vec<u8>),
    Broken,
}

/// A chunked body, its sizes and its trailers read by httparse.
fn decode(bytes: &[u8]) -> Decoded {
    let (mut at, mut content, mut canonical) = (0, Vec::new(), true);
    loop {
        let (line, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(Status::Complete(read)) => read,
            Ok(Status::Partial) => return Decoded::Partial(content),
            Err(_) => return Decoded::Broken,
        };
        canonical &= bytes[at..at + line - 2].iter().all(u8::is_ascii_hexdigit);
        at += line;
        if size == 0 {
            break;
        }
        let left = bytes.len() - at;
        let taken = usize::try_from(size).map_or(left, |size| size.min(left));
        content.extend_from_slice(&bytes[at..at + taken]);
        at += taken;
        match &bytes[at..] {
            [] | [b'\r'] => return Decoded::Partial(content),
            [b'\r', b'\n', ..] => at += 2,
            _ => return Decoded::Broken,
        }
    }
    let section = &bytes[at..];
    let end = match section {
        [b'\r', b'\n', ..] => Some(2),
        _ => section
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .map(|end| end + 4),
    };
    let Some(end) = end else {
        return Decoded::Partial(content);
    };
    let len = at + end;
    let mut space = [EMPTY_HEADER; 512];
    let fields = match httparse::parse_headers(&section[..end], &mut space) {
        Ok(Status::Complete((read, fields))) if read == end => fields,
        _ => return Decoded::OddTrailers { len, content },
    };
    let named = |field: &Header<'_>| field.name.parse::<HeaderName>().ok();
    let trailers = fields
        .iter()
        .filter_map(|field| Some((named(field)?, field.value.try_into().ok()?)))
        .collect();
    Decoded::Whole {
        len,
        content,
        trailers,
        canonical,
    }
}

pub(super) fn values(fields: &[Header<'_>], name: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name))
        .map(|field| {
            field
                .value
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>()
        })
        .map(|value| value.trim_matches([' ', '\t']).to_owned())
        .collect()
}
