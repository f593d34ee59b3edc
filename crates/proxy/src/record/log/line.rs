//! What a line says, in both formats. Secrets are taken out and control characters escaped here, for
//! every line alike.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::Level;
use crate::decision::route::Target;
use crate::record::redact::redact;

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct RequestLine<'a> {
    /// The request target as it came.
    pub target: &'a str,
    /// The method as it came.
    pub method: &'a str,
    /// Where it went; `None` if it was answered here.
    pub upstream: Option<&'a Target>,
    /// What the client was answered with; `None` if it left before.
    pub status: Option<u16>,
    /// Length of the answer's body as far as it was sent.
    pub bytes: u64,
    /// From the request's head to the end of the answer.
    pub took: Duration,
}

/// What a line says, in both formats, without the time in text and without the line's end.
pub(super) trait Line {
    fn text(&self, out: &mut Vec<u8>);
    fn json(&self, time: Timestamp, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

pub(super) struct Message<'a> {
    pub level: Level,
    pub message: &'a str,
}

#[derive(Serialize)]
struct JsonMessage<'a> {
    #[serde(serialize_with = "utc")]
    time: Timestamp,
    level: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct JsonRequest<'a> {
    #[serde(serialize_with = "utc")]
    time: Timestamp,
    level: &'static str,
    message: &'static str,
    target: &'a str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Joined<'a>>,
    status: Option<u16>,
    bytes: u64,
    ms: u128,
}

/// A URL in two parts.
pub(in crate::record) struct Joined<'a>(&'a str, Cow<'a, str>);

impl Joined<'_> {
    pub fn parts(&self) -> [&str; 2] {
        [self.0, &self.1]
    }
}

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", self.0, self.1))
    }
}

/// RFC 3339 in UTC, to the millisecond.
fn utc<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

impl Line for Message<'_> {
    fn text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.level {
            Level::Error => b"error: ".as_slice(),
            Level::Warn => b"warning: ",
            Level::Info => b"",
            Level::Debug => b"debug: ",
        });
        escape(&redact(self.message), out);
    }

    fn json(&self, time: Timestamp, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let message = redact(self.message);
        let line = JsonMessage {
            time,
            level: self.level.name(),
            message: &message,
        };
        serde_json::to_writer(out, &line)
    }
}

impl Line for RequestLine<'_> {
    fn text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.verb().as_bytes());
        out.push(b' ');
        escape(&redact(self.target), out);
        out.extend_from_slice(b" | ");
        escape(self.method, out);
        if let Some(upstream) = self.upstream {
            out.extend_from_slice(b" | ");
            out.extend_from_slice(upstream.origin.url().as_bytes());
            escape(&redact(upstream.target.as_str()), out);
        }
        let mut number = itoa::Buffer::new();
        let status = self.status.map(|status| number.format(status));
        out.extend_from_slice(b" | ");
        out.extend_from_slice(status.unwrap_or("-").as_bytes());
        out.extend_from_slice(b" | ");
        out.extend_from_slice(number.format(self.bytes).as_bytes());
        out.extend_from_slice(b" bytes | ");
        out.extend_from_slice(number.format(self.took.as_millis()).as_bytes());
        out.extend_from_slice(b" ms");
    }

    fn json(&self, time: Timestamp, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let target = redact(self.target);
        let line = JsonRequest {
            time,
            level: Level::Info.name(),
            message: self.verb(),
            target: &target,
            method: self.method,
            upstream: self.upstream_url(),
            status: self.status,
            bytes: self.bytes,
            ms: self.took.as_millis(),
        };
        serde_json::to_writer(out, &line)
    }
}

impl<'a> RequestLine<'a> {
    /// Where it went, without secrets.
    pub(in crate::record) fn upstream_url(&self) -> Option<Joined<'a>> {
        self.upstream
            .map(|to| Joined(to.origin.url(), redact(to.target.as_str())))
    }

    fn verb(&self) -> &'static str {
        if self.upstream.is_some() {
            "Proxying"
        } else {
            "Answering"
        }
    }
}

/// Writes `text` so that it stays on its line and in its order on a terminal.
fn escape(text: &str, out: &mut Vec<u8>) {
    // Without an early end, which lets the compiler look at many bytes at once.
    if text
        .bytes()
        .fold(true, |plain, byte| plain & matches!(byte, 0x20..=0x7e))
    {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for character in text.chars() {
        let escaped = character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        // A Vec takes everything that is written to it.
        let _ = if escaped {
            write!(out, "{}", character.escape_default())
        } else {
            write!(out, "{character}")
        };
    }
}

/// What one thread needs to render a line, kept between lines.
#[derive(Default)]
pub(super) struct Scratch {
    pub line: Vec<u8>,
    stamp: String,
    /// Unix time of `stamp` in seconds.
    second: i64,
}

impl Scratch {
    /// The date and time that begin a line of text, as Go's log package writes them; formatted
    /// once a second.
    pub fn stamp(&mut self, now: Timestamp, zone: &TimeZone) -> &str {
        if self.stamp.is_empty() || self.second != now.as_second() {
            self.second = now.as_second();
            self.stamp.clear();
            let local = now.to_zoned(zone.clone());
            // A String takes everything that is written to it.
            let _ = fmt::Write::write_fmt(
                &mut self.stamp,
                format_args!("{} ", local.strftime("%Y/%m/%d %H:%M:%S")),
            );
        }
        &self.stamp
    }
}
