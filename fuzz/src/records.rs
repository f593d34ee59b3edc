//! Redacted texts of the log, `Retry-After`, and the time that a refusal teaches.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;
use taskcluster_proxy_core::fuzzing;

use super::{hawk, http1};

/// More rounds than the reader decodes one by one.
const LOOKED_AT: usize = 12;

/// A redacted text holds no bewit and no user of a URL, however often it is decoded. Redacting it
/// again changes nothing.
pub fn redaction(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let clean = fuzzing::redacted(text);
    if !text.contains(['%', '@']) && !text.to_ascii_lowercase().contains("bewit") {
        assert_eq!(clean, text, "nothing here is a secret");
    }
    assert_eq!(fuzzing::redacted(&clean), clean);
    let is_changed = clean != text;
    let mut decoded = clean.into_bytes();
    for round in 0.. {
        // A long text may have thousands of rounds; looking at each of them takes too long.
        let again = percent_decoded(&decoded);
        let is_last = again == decoded;
        if round < LOOKED_AT || is_last {
            holds_no_secret(&decoded);
        }
        if is_last {
            break;
        }
        decoded = again;
    }
    if fuzzing::has_bewit(text) {
        return is_changed;
    }
    let names = text
        .split(['?', '&', ';'])
        .filter_map(|parameter| parameter.split('=').next());
    assert!(
        names
            .into_iter()
            .all(|name| !name.eq_ignore_ascii_case("bewit"))
    );
    is_changed
}

fn holds_no_secret(text: &[u8]) {
    let text = text.to_ascii_lowercase();
    let found = |word: &'static [u8]| {
        let starts = text.windows(word.len()).enumerate();
        starts
            .filter(move |(_, window)| *window == word)
            .map(|(at, _)| at + word.len())
    };
    for start in found(b"bewit=") {
        let rest = &text[start..];
        let end = rest
            .first()
            .is_none_or(|byte| matches!(byte, b'&' | b';' | b'#') || byte.is_ascii_whitespace());
        assert!(end || rest.starts_with(b"<redacted>"), "a bewit");
    }
    for start in found(b"://") {
        let authority = text[start..]
            .split(|byte| matches!(byte, b'/' | b'?' | b'#') || byte.is_ascii_whitespace())
            .next()
            .unwrap_or_default();
        if let Some(at) = authority.iter().rposition(|byte| *byte == b'@') {
            assert!(at == 0 || &authority[..at] == b"<redacted>", "a user");
        }
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match behind {
            [one, two, behind @ ..]
                if *byte == b'%' && hex(one).is_some() && hex(two).is_some() =>
            {
                let value = hex(one).unwrap_or_default() * 16 + hex(two).unwrap_or_default();
                decoded.push(u8::try_from(value).expect("two digits"));
                rest = behind;
            }
            _ => {
                decoded.push(*byte);
                rest = behind;
            }
        }
    }
    decoded
}

/// Digits are seconds; a date is the time to it, never less than none; everything else is nothing.
pub fn retry_after(bytes: &[u8]) -> bool {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let pause = fuzzing::retry_after(bytes, now);
    let text = std::str::from_utf8(bytes).map(|text| text.trim_matches([' ', '\t']));
    match text {
        Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let significant = text.trim_start_matches('0');
            let seconds = match significant.len() {
                0 => 0,
                1..20 => significant
                    .bytes()
                    .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
                _ => significant.parse().unwrap_or(u64::MAX),
            };
            assert_eq!(pause, Some(Duration::from_secs(seconds)));
        }
        Ok(text) if httpdate::parse_http_date(text).is_err() => assert_eq!(pause, None),
        _ => {
            if let Some(pause) = pause {
                assert!(pause == Duration::ZERO || pause.subsec_nanos() == 0);
                // The time it names, written by the same grammar, is the same time.
                let date = httpdate::fmt_http_date(now + pause);
                assert_eq!(fuzzing::retry_after(date.as_bytes(), now), Some(pause));
            }
        }
    }
    pause.is_some()
}

/// By how many seconds the machine's clock may go on while a property is checked.
const SLACK: u64 = 600;

/// A refusal teaches the time of a challenge that is proven; without one that of its one `Date`, if no
/// cache has kept it and it is more than half a minute from ours.
pub fn clock(bytes: &[u8]) -> bool {
    let Some(taught) = fuzzing::taught(bytes) else {
        return false;
    };
    let mut space = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, section))) = httparse::parse_headers(bytes, &mut space)
    else {
        panic!("httparse reads no section of fields");
    };
    let values = |name| http1::values(section, name);
    let challenges = values("www-authenticate");
    let proven = challenges.iter().find_map(|value| hawk::proven_time(value));
    let date = match &values("date")[..] {
        [date] if values("age").is_empty() => seconds_of(date),
        _ => None,
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ours = since.expect("a time since the epoch").as_secs();
    let is_near = |time: u64| time.abs_diff(ours) <= 30 + SLACK;
    match (taught, proven.or(date)) {
        (Some(clock), Some(time)) => assert!((time..=time + SLACK).contains(&clock)),
        (Some(_), None) => panic!("nothing teaches it"),
        (None, Some(time)) => assert!(proven.is_none() && is_near(time)),
        (None, None) => {}
    }
    taught.is_some()
}

/// A date of HTTP (RFC 9110 5.6.7), in seconds since the epoch. In its preferred form, which RFC 5322
/// has too, another reader finds the same.
fn seconds_of(date: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(date).ok()?;
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let is_preferred = date.len() == 29 && date.ends_with(" GMT");
    if let (true, Ok(other)) = (is_preferred, rfc2822::parse(date)) {
        assert_eq!(u64::try_from(other.timestamp().as_second()), Ok(seconds));
    }
    Some(seconds)
}
