//! The attributes of a Hawk header field, read by the grammar of npm `hawk`
//! (`parseAuthorizationHeader` in `lib/utils.js`).

/// The longest header field that npm `hawk` reads, in characters; it also is the longest request
/// target in which it looks for a bewit.
pub const MAX_HEADER_LEN: usize = 4096;

/// Why a header field could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Empty, or for another scheme.
    #[error("no Hawk credentials: sign the request, or append a bewit to its URL")]
    NotHawk,
    /// More than [`MAX_HEADER_LEN`].
    #[error("Header length too long: keep it within 4096 characters, with fewer scopes")]
    TooLong,
    /// No scheme, or no attributes after it.
    #[error("Invalid header syntax: write Hawk, a space and the attributes")]
    Syntax,
    /// Not a list of `name="value"`, separated by commas.
    #[error("Bad header format: write attributes as name=\"value\", separated by commas")]
    Format,
    /// An attribute that has no meaning here.
    #[error("Unknown attribute: leave {0} out")]
    Unknown(String),
    /// A value that is empty, or holds something besides printable ASCII without `"` and `\`.
    #[error("Bad attribute value: {0} must be printable ASCII without quotes and backslashes")]
    Value(String),
    /// An attribute that comes twice.
    #[error("Duplicate attribute: give {0} once")]
    Duplicate(String),
}

/// The values of the attributes `names`, in their order; others are refused.
pub(crate) fn attributes<'a, const N: usize>(
    header: &'a str,
    names: &[&str; N],
) -> Result<[Option<&'a str>; N], HeaderError> {
    if header.is_empty() {
        return Err(HeaderError::NotHawk);
    }
    if header.len() > MAX_HEADER_LEN {
        return Err(HeaderError::TooLong);
    }
    let mut rest = after_scheme(header)?;
    let mut values = [None; N];
    while !rest.is_empty() {
        let (name, value, next) = attribute(rest).ok_or(HeaderError::Format)?;
        let at = names.iter().position(|known| *known == name);
        let slot = &mut values[at.ok_or_else(|| HeaderError::Unknown(name.to_owned()))?];
        if !is_value(value) {
            return Err(HeaderError::Value(name.to_owned()));
        }
        if slot.replace(value).is_some() {
            return Err(HeaderError::Duplicate(name.to_owned()));
        }
        rest = next;
    }
    Ok(values)
}

/// The attributes that follow the scheme, which must be there.
fn after_scheme(header: &str) -> Result<&str, HeaderError> {
    let (scheme, rest) = split_word(header);
    let attributes = rest.trim_start_matches(is_space);
    if scheme.is_empty() || (attributes.len() == rest.len() && !rest.is_empty()) {
        return Err(HeaderError::Syntax);
    }
    if !scheme.eq_ignore_ascii_case("hawk") {
        return Err(HeaderError::NotHawk);
    }
    if attributes.is_empty() {
        Err(HeaderError::Syntax)
    } else {
        Ok(attributes)
    }
}

/// Splits `name="value"` with the comma and space behind it off a list of attributes.
fn attribute(list: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = split_word(list);
    let (value, rest) = rest.strip_prefix("=\"")?.split_once('"')?;
    let rest = rest.trim_start_matches(is_space);
    match rest.strip_prefix(',') {
        _ if name.is_empty() => None,
        Some(next) => Some((name, value, next.trim_start_matches(is_space))),
        None if rest.is_empty() => Some((name, value, rest)),
        None => None,
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split_at(text.find(|c| !word(c)).unwrap_or(text.len()))
}

/// The ASCII part of what JavaScript's `\s` matches; a header field has no line breaks.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0b' | '\x0c')
}

fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Result<[Option<&str>; 3], HeaderError> {
        attributes(header, &["id", "ts", "ext"])
    }

    #[test]
    fn accepts_what_hawk_accepts() {
        let some = [Some("a"), Some("1"), None];
        let table = [
            (r#"Hawk id="a", ts="1""#, some),
            (r#"hawk id="a", ts="1""#, some),
            (r#"HAWK ts="1",id="a""#, some),
            (r#"Hawk   id="a" ,  ts="1"  "#, some),
            ("Hawk\tid=\"a\"\t,\tts=\"1\"", some),
            (r#"Hawk id="a", ts="1","#, some),
            (r#"Hawk id="a", ts="1", "#, some),
            (
                r#"Hawk ext="!#$%&'()*+,-./:;<=>?@[]^_`{|}~ Az09""#,
                [None, None, Some("!#$%&'()*+,-./:;<=>?@[]^_`{|}~ Az09")],
            ),
        ];
        for (header, values) in table {
            assert_eq!(read(header), Ok(values), "{header}");
        }
    }

    #[test]
    fn refuses_what_hawk_refuses() {
        use HeaderError::{Duplicate, Format, NotHawk, Syntax, TooLong, Unknown, Value};
        let id = || "id".to_owned();
        let table = [
            ("", NotHawk),
            ("Basic asdasdasdasd", NotHawk),
            ("Hawks id=\"a\"", NotHawk),
            ("!@#", Syntax),
            (" Hawk id=\"a\"", Syntax),
            ("Hawk", Syntax),
            ("Hawk   ", Syntax),
            ("Hawk,id=\"a\"", Syntax),
            ("Basic", NotHawk),
            ("Hawk id", Format),
            ("Hawk id=a", Format),
            ("Hawk id='a'", Format),
            ("Hawk id=\"a", Format),
            ("Hawk id = \"a\"", Format),
            ("Hawk id= \"a\"", Format),
            ("Hawk id=\"a\"; ts=\"1\"", Format),
            ("Hawk id=\"a\" ts=\"1\"", Format),
            ("Hawk id=\"a\"ts=\"1\"", Format),
            ("Hawk id=\"a\",, ts=\"1\"", Format),
            ("Hawk , id=\"a\"", Format),
            ("Hawk =\"a\"", Format),
            ("Hawk i-d=\"a\"", Format),
            ("Hawk id=\"a\", x", Format),
            ("Hawk id=\"a\\\"b\"", Format),
            ("Hawk id=\"a\\\\\"", Value(id())),
            ("Hawk id=\"\"", Value(id())),
            ("Hawk id=\"é\"", Value(id())),
            ("Hawk id=\"a\tb\"", Value(id())),
            ("Hawk id=\"a\u{7f}\"", Value(id())),
            ("Hawk id=\"a\0\"", Value(id())),
            ("Hawk id=\"a\", id=\"a\"", Duplicate(id())),
            ("Hawk id=\"a\", Id=\"a\"", Unknown("Id".to_owned())),
            (
                "Hawk id=\"a\", __proto__=\"b\"",
                Unknown("__proto__".to_owned()),
            ),
            (
                &format!("Hawk id=\"{}\"", "a".repeat(MAX_HEADER_LEN - 9)),
                TooLong,
            ),
        ];
        for (header, error) in table {
            assert_eq!(read(header), Err(error), "{header}");
        }
        assert!(read(&format!("Hawk id=\"{}\"", "a".repeat(MAX_HEADER_LEN - 10))).is_ok());
    }

    #[test]
    fn says_what_to_do() {
        let name = || "id".to_owned();
        let table = [
            (
                HeaderError::NotHawk,
                "no Hawk credentials: sign the request, or append a bewit to its URL",
            ),
            (
                HeaderError::TooLong,
                "Header length too long: keep it within 4096 characters, with fewer scopes",
            ),
            (
                HeaderError::Syntax,
                "Invalid header syntax: write Hawk, a space and the attributes",
            ),
            (
                HeaderError::Format,
                "Bad header format: write attributes as name=\"value\", separated by commas",
            ),
            (
                HeaderError::Unknown(name()),
                "Unknown attribute: leave id out",
            ),
            (
                HeaderError::Value(name()),
                "Bad attribute value: id must be printable ASCII without quotes and backslashes",
            ),
            (
                HeaderError::Duplicate(name()),
                "Duplicate attribute: give id once",
            ),
        ];
        for (error, sentence) in table {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
