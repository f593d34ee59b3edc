//! Scopes that a request asks to be signed for, and whether the proxy may sign for them.
//!
//! `X-Taskcluster-Authorized-Scopes` can only ever narrow: without a restriction of the proxy any
//! list is a subset of what the credentials hold (the auth service checks that), and with one every
//! scope asked for must be satisfied by it. Roles are not expanded: only the auth service knows
//! them.

use http::StatusCode;
use thiserror::Error;

use crate::code::Code;
use crate::message::fields::Fields;
use crate::message::names::AUTHORIZED_SCOPES;

/// Why a request's own scopes are refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NarrowingError {
    /// More than one header field: which of them counts is not certain.
    #[error("send X-Taskcluster-Authorized-Scopes once")]
    Repeated,
    /// Not a JSON array of strings.
    #[error("X-Taskcluster-Authorized-Scopes must be a JSON array of strings")]
    Malformed,
    /// A string that is no scope.
    #[error("X-Taskcluster-Authorized-Scopes must hold scopes of printable ASCII characters")]
    NotAScope,
    /// A scope that the proxy's restriction does not satisfy.
    #[error("this proxy may not sign for scope {0}")]
    NotSatisfied(String),
}

impl NarrowingError {
    /// The error's stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotSatisfied(_) => Code::NarrowingRefused,
            Self::Repeated | Self::Malformed | Self::NotAScope => Code::NarrowingMalformed,
        }
    }

    /// The answer's status: 400 for a malformed header, 403 for a scope that the proxy may not sign
    /// for.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotSatisfied(_) => StatusCode::FORBIDDEN,
            Self::Repeated | Self::Malformed | Self::NotAScope => StatusCode::BAD_REQUEST,
        }
    }
}

/// The scopes that a request's header fields ask for; `None` where there is no such field, which is
/// not the same as an empty list.
pub fn parse_narrowing(fields: &impl Fields) -> Result<Option<Vec<String>>, NarrowingError> {
    let name = AUTHORIZED_SCOPES;
    let mut values = fields.values(&name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(NarrowingError::Repeated);
    }
    let scopes: Vec<String> =
        serde_json::from_slice(value).map_err(|_| NarrowingError::Malformed)?;
    if scopes.iter().all(|scope| is_scope(scope)) {
        Ok(Some(scopes))
    } else {
        Err(NarrowingError::NotAScope)
    }
}

/// Whether `asked` is within `restriction`; `None` restricts nothing.
pub fn narrow(restriction: Option<&[String]>, asked: &[String]) -> Result<(), NarrowingError> {
    let Some(have) = restriction else {
        return Ok(());
    };
    match asked.iter().find(|want| !satisfies(have, want)) {
        None => Ok(()),
        Some(want) => Err(NarrowingError::NotSatisfied(want.clone())),
    }
}

/// Whether one of `have` equals `want`, or ends in `*` and stands for every scope that `want` stands
/// for. By Taskcluster's own rule `a**` would satisfy `a*`, which stands for more scopes.
pub fn satisfies(have: &[String], want: &str) -> bool {
    let begins = want.strip_suffix('*').unwrap_or(want);
    have.iter().any(|have| {
        let prefix = have.strip_suffix('*');
        have == want || prefix.is_some_and(|prefix| begins.starts_with(prefix))
    })
}

/// Printable ASCII, as Taskcluster's schemas have it: `^[ -~]*$`.
pub fn is_scope(scope: &str) -> bool {
    scope.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn scopes(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    fn parsed(fields: &[&str]) -> Result<Option<Vec<String>>, NarrowingError> {
        let mut headers = HeaderMap::new();
        for field in fields {
            let value = HeaderValue::from_bytes(field.as_bytes()).expect("a value");
            headers.append(AUTHORIZED_SCOPES, value);
        }
        parse_narrowing(&headers)
    }

    #[test]
    fn reads_a_json_array_of_scopes() {
        for (field, expected) in [
            ("[]", Ok(&[][..])),
            (" [ ] ", Ok(&[])),
            (
                r#"["queue:get-artifact:x/*", "a b"]"#,
                Ok(&["queue:get-artifact:x/*", "a b"]),
            ),
            (r#"["*"]"#, Ok(&["*"])),
            (r#"[""]"#, Ok(&[""])),
            (r#"["a", "a"]"#, Ok(&["a", "a"])),
            (r#"["\u0061\\\"~"]"#, Ok(&["a\\\"~"])),
            ("", Err(NarrowingError::Malformed)),
            ("queue:*", Err(NarrowingError::Malformed)),
            (r#""queue:*""#, Err(NarrowingError::Malformed)),
            ("null", Err(NarrowingError::Malformed)),
            ("{}", Err(NarrowingError::Malformed)),
            (r#"["a""#, Err(NarrowingError::Malformed)),
            (r#"["a",]"#, Err(NarrowingError::Malformed)),
            (r#"["a"] []"#, Err(NarrowingError::Malformed)),
            (r#"["a", 1]"#, Err(NarrowingError::Malformed)),
            (r#"["a", null]"#, Err(NarrowingError::Malformed)),
            (r#"[["a"]]"#, Err(NarrowingError::Malformed)),
            ("['a']", Err(NarrowingError::Malformed)),
            ("[\"\u{e9}\"]", Err(NarrowingError::NotAScope)),
            (r#"["\u00e9"]"#, Err(NarrowingError::NotAScope)),
            (r#"["a\nb"]"#, Err(NarrowingError::NotAScope)),
            (r#"["\u007f"]"#, Err(NarrowingError::NotAScope)),
            (r#"["\ud800"]"#, Err(NarrowingError::Malformed)),
        ] {
            let expected = expected.map(|expected| Some(scopes(expected)));
            assert_eq!(parsed(&[field]), expected, "{field}");
        }
        assert_eq!(parsed(&[]), Ok(None));
        assert_eq!(parsed(&["[]", "[]"]), Err(NarrowingError::Repeated));
        assert_eq!(parsed(&["x", "x"]), Err(NarrowingError::Repeated));
        let bytes = HeaderValue::from_bytes(b"[\"\xff\"]").expect("a value");
        let headers = HeaderMap::from_iter([(AUTHORIZED_SCOPES, bytes)]);
        let read = parse_narrowing(&headers);
        assert_eq!(read, Err(NarrowingError::Malformed));
    }

    #[test]
    fn deep_nesting_is_malformed_and_nothing_worse() {
        let field = "[".repeat(60_000);
        assert_eq!(parsed(&[&field]), Err(NarrowingError::Malformed));
    }

    #[test]
    fn a_scope_satisfies_itself_and_with_a_star_what_it_begins() {
        for (have, want, satisfied) in [
            (&["a"][..], "a", true),
            (&["a"], "ab", false),
            (&["ab"], "a", false),
            (&["a*"], "a", true),
            (&["a*"], "ab", true),
            (&["a*"], "ab*", true),
            (&["a*"], "a*", true),
            (&["ab*"], "a*", false),
            (&["a"], "a*", false),
            (&["*"], "", true),
            (&["*"], "anything", true),
            (&["a*b"], "axb", false),
            (&["a*b"], "a*b", true),
            (&["a**"], "a*", false),
            (&["a**"], "a**", true),
            (&["a**"], "ab", false),
            (&["A"], "a", false),
            (&["x", "y:*"], "y:z", true),
            (&["x", "y:*"], "y", false),
            (&["assume:role"], "scope-of-role", false),
            (&[], "", false),
            (&[""], "", true),
        ] {
            assert_eq!(satisfies(&scopes(have), want), satisfied, "{have:?} {want}");
        }
    }

    #[test]
    fn a_request_can_only_narrow() {
        for (restriction, asked, refused) in [
            (None, &["*"][..], None),
            (None, &[], None),
            (Some(&["a", "b:*"][..]), &["b:c", "a"], None),
            (Some(&["a"]), &[], None),
            (Some(&[]), &[], None),
            (Some(&[]), &["a"], Some("a")),
            (Some(&["a"]), &["a", "*"], Some("*")),
            (Some(&["b:*"]), &["b:c", "b", "c"], Some("b")),
        ] {
            let restriction = restriction.map(scopes);
            let narrowed = narrow(restriction.as_deref(), &scopes(asked));
            let expected = match refused {
                None => Ok(()),
                Some(scope) => Err(NarrowingError::NotSatisfied(scope.to_owned())),
            };
            assert_eq!(narrowed, expected, "{restriction:?} {asked:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_status_and_says_what_to_do() {
        for (error, status, sentence) in [
            (
                NarrowingError::Repeated,
                400,
                "send X-Taskcluster-Authorized-Scopes once",
            ),
            (
                NarrowingError::Malformed,
                400,
                "X-Taskcluster-Authorized-Scopes must be a JSON array of strings",
            ),
            (
                NarrowingError::NotAScope,
                400,
                "X-Taskcluster-Authorized-Scopes must hold scopes of printable ASCII characters",
            ),
            (
                NarrowingError::NotSatisfied("queue:x".to_owned()),
                403,
                "this proxy may not sign for scope queue:x",
            ),
        ] {
            assert_eq!(error.status(), status);
            assert_eq!(error.to_string(), sentence);
        }
    }
}
