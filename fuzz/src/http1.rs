//! Heads, fields and bodies of HTTP/1, both ways.

use std::sync::LazyLock;

use http::HeaderName;
use http::header::{ETAG, HeaderMap};
use httparse::{EMPTY_HEADER, Header, Status};
use taskcluster_proxy_core::Credentials;
use taskcluster_proxy_core::fuzzing::{self, Answers, Framing};

use super::cut;

/// A head that passes the gate is read by httparse to the same end, and its framing follows from the
/// fields as httparse finds them. One that is `plain` is held with the same method, target and
/// fields. A head that is not whole is none to httparse either, and no beginning of a head is one.
pub fn request_head(bytes: &[u8]) {
    let mut space = vec![EMPTY_HEADER; 1000];
    let mut read = httparse::Request::new(&mut space);
    let status = read.parse(bytes);
    let Ok(seen) = fuzzing::request_head(bytes) else {
        return;
    };
    let Some(head) = seen else {
        assert!(
            !matches!(status, Ok(Status::Complete(_))),
            "it waits for a head that has come"
        );
        return;
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
    if head.plain {
        assert!(is_11 && path.starts_with('/') && framing != Framing::Chunked);
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
}

/// A section of fields means the same whether it is held as lines or in a map: what its framing is,
/// and what of it goes to upstream and to the client. Nothing that goes is of one hop.
pub fn fields(bytes: &[u8]) {
    let Some((by_map, by_lines)) = fuzzing::stripped(bytes) else {
        return;
    };
    assert_eq!(by_map, by_lines);
    let [to_upstream, to_client] = by_map;
    for (_, _, fields) in [&to_upstream, &to_client] {
        for hop in [
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "transfer-encoding",
        ] {
            assert!(fields.iter().all(|(name, _)| name != hop.as_bytes()));
        }
    }
    assert!(
        to_client
            .2
            .iter()
            .all(|(name, _)| !matches!(&name[..], b"connection" | b"te"))
    );
}

thread_local! {
    static ANSWERS: Answers =
        Answers::new(&Credentials::new("client", "token", None).expect("credentials"));
}

/// An answer's head is read as httparse reads it, its framing is what RFC 9112 6.3 says of the fields
/// that httparse finds, and what goes to the client is canonical: every line ends in CR LF, no field
/// is of one hop but our own, and it has one framing, which is that of the body that follows.
pub fn answer_head(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else {
        return;
    };
    let to_head = mode & 1 == 1;
    let Ok(Some(answer)) = ANSWERS.with(|answers| answers.head(bytes, to_head)) else {
        return;
    };
    let mut space = [EMPTY_HEADER; 512];
    let mut read = httparse::Response::new(&mut space);
    let Ok(Status::Complete(len)) = read.parse(bytes) else {
        panic!("httparse reads no head");
    };
    let code = read.code.expect("a status");
    assert_eq!(&bytes[len..], answer.rest);
    assert_eq!(answer.status, Some(code).filter(|code| *code >= 200));
    let lengths = values(read.headers, "content-length");
    let has_no_body = code < 200 || to_head || matches!(code, 204 | 304);
    let coded = !values(read.headers, "transfer-encoding").is_empty();
    let framing = match lengths.first().and_then(|length| length.split(',').next()) {
        _ if has_no_body => Framing::Known(0),
        // Empty elements of a list are no coding.
        _ if coded && answer.framing == Framing::Chunked => Framing::Chunked,
        Some(length) if !coded => Framing::Known(length.trim().parse().expect("a length")),
        _ => Framing::UntilClose,
    };
    assert_eq!(answer.framing, framing);
    assert!(
        !(coded && !lengths.is_empty() && answer.keeps && code >= 200),
        "two framings"
    );
    canonical(&answer.lines, code, framing, has_no_body);
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
pub fn request_chunks(bytes: &[u8]) {
    let seen = fuzzing::request_chunks(&[bytes]);
    assert_eq!(fuzzing::request_chunks(&cut(bytes)), seen);
    let Some((taken, data, is_done)) = seen else {
        return;
    };
    match decode(bytes) {
        // What trailers say is for hyper to read, which gets no byte behind them.
        Decoded::Whole { len, content, .. } | Decoded::OddTrailers { len, content } => {
            assert_eq!((taken, data, is_done), (len, content.len() as u64, true));
        }
        Decoded::Partial(content) => {
            assert_eq!((taken, is_done), (bytes.len(), false));
            assert_eq!(data, content.len() as u64);
        }
        Decoded::Broken => panic!("it passes what the decoder does not read"),
    }
}

static DECLARED: LazyLock<[HeaderName; 1]> = LazyLock::new(|| [ETAG]);

/// An upstream's body goes to the client with the same content and as one that can be read in one
/// way: sizes without extensions, no trailers but declared ones, and an end where it has ended. How
/// it is cut changes nothing.
pub fn answer_body(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else {
        return;
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
        return;
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
            return;
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

fn values(fields: &[Header<'_>], name: &str) -> Vec<String> {
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
