//! The fields of a head, in hyper's map and as they came.
//!
//! Rules about fields ([`crate::message::headers`] above all) are written once and hold for both: hyper's
//! [`HeaderMap`], and [`FieldLines`], which the bare wire reads, since to fill a map costs more than
//! all that is asked of it. What this is not: it knows no rule.

use std::collections::HashSet;
use std::ops::Range;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// With more names than this, each name is removed by a look-up in the map. To look over all fields
/// for each name costs names times fields: a head may name thousands of fields, and have a thousand.
const FEW: usize = 16;

/// The fields of a head, in hyper's map or as lines.
pub trait Fields {
    /// The values that stand under `name`, in their order.
    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]>;

    fn has(&self, name: &HeaderName) -> bool {
        self.values(name).next().is_some()
    }

    /// Takes out all fields of these names.
    fn remove_all(&mut self, names: &Names);

    /// Puts one field in the place of all fields with its name.
    fn set(&mut self, name: HeaderName, value: HeaderValue);
}

/// Names of fields that are taken out together.
#[derive(Debug, Clone)]
pub struct Names {
    names: Vec<HeaderName>,
    lengths: Lengths,
}

/// The field lines of an HTTP/1 head as they came (RFC 9112 5), in their order.
#[derive(Debug, Default)]
pub struct FieldLines {
    /// The head, what came with it, and what was set.
    text: Vec<u8>,
    lines: Vec<Line>,
    lengths: Lengths,
}

/// The lengths of some names: most other names differ from all of them already in length.
#[derive(Debug, Default, Clone, Copy)]
struct Lengths(u64);

/// Where a line's parts stand in the text.
#[derive(Debug)]
struct Line {
    name: Range<usize>,
    value: Range<usize>,
}

impl Fields for HeaderMap {
    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn remove_all(&mut self, Names { names, .. }: &Names) {
        for name in names {
            // A message has few of these: one look over its names is cheaper than a look-up for each.
            if names.len() > FEW || self.keys().any(|key| key == name) {
                self.remove(name);
            }
        }
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }
}

impl FromIterator<HeaderName> for Names {
    fn from_iter<I: IntoIterator<Item = HeaderName>>(names: I) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        let mut lengths = Lengths::default();
        for name in &names {
            lengths.add(name.as_str().len());
        }
        Self { names, lengths }
    }
}

impl Names {
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.names.contains(name)
    }
}

impl FieldLines {
    /// Copies `text`, which holds the names and values of `lines`, into the room that `self` has.
    #[must_use]
    pub fn of(mut self, text: &[u8], lines: &[httparse::Header<'_>]) -> Self {
        self.text.clear();
        self.text.extend_from_slice(text);
        self.lines.clear();
        self.lengths = Lengths::default();
        for line in lines {
            self.push(place(text, line.name.as_bytes()), place(text, line.value));
        }
        self
    }

    fn push(&mut self, name: Range<usize>, value: Range<usize>) {
        self.lengths.add(name.len());
        self.lines.push(Line { name, value });
    }

    /// Bytes of text that it has room for.
    pub fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// The bytes at a [`place`] of the text.
    pub fn text(&self, place: &Range<usize>) -> &[u8] {
        &self.text[place.clone()]
    }

    /// Names, in the case they came in, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines
            .iter()
            .map(|line| (self.text(&line.name), self.text(&line.value)))
    }
}

impl Fields for FieldLines {
    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let text = &self.text;
        let wanted = name.as_str().as_bytes();
        let lines = if self.lengths.has(wanted.len()) {
            self.lines.as_slice()
        } else {
            &[]
        };
        lines
            .iter()
            .filter(move |line| {
                line.name.len() == wanted.len()
                    && text[line.name.clone()].eq_ignore_ascii_case(wanted)
            })
            .map(|line| &text[line.value.clone()])
    }

    fn remove_all(&mut self, Names { names, lengths }: &Names) {
        if !self.lengths.meets(*lengths) {
            return;
        }
        let many: Option<HashSet<&HeaderName>> =
            (names.len() > FEW).then(|| names.iter().collect());
        let is_gone = |name: &[u8]| match &many {
            Some(names) => HeaderName::from_bytes(name).is_ok_and(|name| names.contains(&name)),
            None => names
                .iter()
                .any(|gone| name.eq_ignore_ascii_case(gone.as_str().as_bytes())),
        };
        let text = &self.text;
        self.lines
            .retain(|line| !lengths.has(line.name.len()) || !is_gone(&text[line.name.clone()]));
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.remove_all(&Names::from_iter([name.clone()]));
        let mut add = |part: &[u8]| {
            let start = self.text.len();
            self.text.extend_from_slice(part);
            start..self.text.len()
        };
        let name = add(name.as_str().as_bytes());
        let value = add(value.as_bytes());
        self.push(name, value);
    }
}

impl Lengths {
    fn add(&mut self, len: usize) {
        self.0 |= 1 << len.min(63);
    }

    fn has(self, len: usize) -> bool {
        self.0 & 1 << len.min(63) != 0
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A value as text; `None` where it has more than ASCII.
pub fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.is_ascii())
}

/// Where `part` stands in `text`.
pub fn place(text: &[u8], part: &[u8]) -> Range<usize> {
    // Empty elements may stand anywhere.
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// For tests: the rules must hold for a `HeaderMap` and for `FieldLines`.
#[cfg(test)]
impl FieldLines {
    pub fn from_map(map: &HeaderMap) -> Self {
        let mut section = Vec::new();
        for (name, value) in map {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                section.extend_from_slice(part);
            }
        }
        section.extend_from_slice(b"\r\n");
        let mut space = [httparse::EMPTY_HEADER; 64];
        match httparse::parse_headers(&section, &mut space) {
            Ok(httparse::Status::Complete((_, lines))) => Self::default().of(&section, lines),
            other => panic!("{other:?}: {section:?}"),
        }
    }

    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in self.iter() {
            let name = HeaderName::from_bytes(name).expect("a name");
            map.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_LENGTH, SET_COOKIE, VIA};

    use super::*;

    fn lines(section: &str) -> FieldLines {
        let mut space = [httparse::EMPTY_HEADER; 8];
        let Ok(httparse::Status::Complete((_, parsed))) =
            httparse::parse_headers(section.as_bytes(), &mut space)
        else {
            panic!("{section:?}");
        };
        FieldLines::default().of(section.as_bytes(), parsed)
    }

    #[test]
    fn lines_keep_their_bytes_and_their_order() {
        for (section, fields) in [
            ("\r\n", &[] as &[(&str, &[u8])]),
            ("A:\r\n\r\n", &[("A", b"")]),
            ("A: \t \r\nb:b\r\n\r\n", &[("A", b""), ("b", b"b")]),
            (
                "A: 1\r\nB: \u{e9} \t2 \r\na: 3\r\n\r\n",
                &[("A", b"1"), ("B", b"\xc3\xa9 \t2"), ("a", b"3")],
            ),
            ("!#$%&'*+-.^_`|~9: x\r\n\r\n", &[("!#$%&'*+-.^_`|~9", b"x")]),
        ] {
            let lines = lines(section);
            let expected: Vec<_> = fields
                .iter()
                .map(|(name, value)| (name.as_bytes(), *value))
                .collect();
            assert_eq!(lines.iter().collect::<Vec<_>>(), expected, "{section:?}");
        }
    }

    #[test]
    fn lines_and_map_answer_alike() {
        let mut lines =
            lines("Via: 1\r\nset-cookie: a\r\nvIA: 2\r\nX-Via: 3\r\nSet-Cookie: \r\nVi: 4\r\n\r\n");
        let mut map = lines.to_map();
        let values = |fields: &FieldLines, map: &HeaderMap, name| {
            let of_lines: Vec<_> = fields.values(&name).map(<[u8]>::to_vec).collect();
            let of_map: Vec<_> = Fields::values(map, &name).map(<[u8]>::to_vec).collect();
            assert_eq!(of_lines, of_map, "{name}");
            assert_eq!(fields.has(&name), map.has(&name), "{name}");
            of_lines
        };
        assert_eq!(values(&lines, &map, VIA), [b"1", b"2"]);
        assert_eq!(values(&lines, &map, SET_COOKIE), [&b"a"[..], b""]);
        assert!(values(&lines, &map, CONTENT_LENGTH).is_empty());

        let five = HeaderValue::from_static("5");
        for name in [VIA, CONTENT_LENGTH] {
            lines.set(name.clone(), five.clone());
            Fields::set(&mut map, name.clone(), five.clone());
            assert_eq!(values(&lines, &map, name), [b"5"]);
        }
        let gone = [VIA, SET_COOKIE];
        let names = Names::from_iter(gone.clone());
        lines.remove_all(&names);
        map.remove_all(&names);
        assert!(
            gone.map(|name| values(&lines, &map, name))
                .concat()
                .is_empty()
        );
        let left: Vec<_> = lines.iter().map(|(name, _)| name).collect();
        assert_eq!(left, [&b"X-Via"[..], b"Vi", b"content-length"]);
    }

    /// Bytes that hyper would refuse never become a line.
    #[test]
    fn a_byte_that_no_map_takes_is_in_no_line() {
        for byte in 0..=u8::MAX {
            for (is_in_name, section) in [
                (true, [b"a", &[byte][..], b"b: c\r\n\r\n"].concat()),
                (false, [b"a: b", &[byte][..], b"c\r\n\r\n"].concat()),
            ] {
                let mut space = [httparse::EMPTY_HEADER; 2];
                let Ok(httparse::Status::Complete((_, [line]))) =
                    httparse::parse_headers(&section, &mut space)
                else {
                    continue;
                };
                assert!(
                    HeaderName::from_bytes(line.name.as_bytes()).is_ok(),
                    "{byte}"
                );
                assert!(
                    HeaderValue::from_bytes(line.value).is_ok(),
                    "{byte} {is_in_name}"
                );
            }
        }
    }
}
