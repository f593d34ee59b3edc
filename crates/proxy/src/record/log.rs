//! The log on stderr: one line per request, and what else an operator has to know.
//!
//! A thread that serves requests never waits for whoever reads the log. It renders its line into
//! memory of its own and appends it to a bounded queue; one thread writes the queue out, many lines
//! at a time. A line that finds the queue full is dropped and counted. Control characters are
//! escaped, so that a request cannot forge a line, and secrets are taken out here, for every line
//! alike. What this is not: it keeps no files, rotates nothing and reads no configuration.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::decision::route::Target;
use crate::record::metrics::Metrics;
use crate::record::redact::redact;

/// Bytes that may wait to be written.
const QUEUE_LIMIT: usize = 512 * 1024;
/// Room for a batch that is kept when there is little to write.
const KEPT: usize = 16 * 1024;
/// Between two writes; what comes meanwhile is written at once.
const BATCH: Duration = Duration::from_millis(20);
/// Before another try where the log's reader is slow and its end does not block.
const FULL_PIPE: Duration = Duration::from_millis(5);
/// At most one line of the rate-limited kind in this time.
const RATE: Duration = Duration::from_secs(1);
/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How much is logged: everything up to this level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the proxy cannot do.
    Error,
    /// What an operator should look at.
    Warn,
    /// One line per request.
    Info,
    /// What happens on the way.
    Debug,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2006/01/02 15:04:05 message`, in local time.
    Text,
    /// One JSON object per line; the time is UTC.
    Json,
}

/// A level or format that does not exist.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum UnknownName {
    /// Not a level.
    #[error("the log level must be error, warn, info or debug")]
    Level,
    /// Not a format.
    #[error("the log format must be text or json")]
    Format,
}

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

/// The log. Clones write to the same; when the last one is dropped the last lines are written.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

/// Ends the writing thread when nobody can write any more.
struct Handle(Arc<Shared>);

struct Shared {
    level: Level,
    format: Format,
    zone: TimeZone,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    /// The writing thread has something to do.
    work: Condvar,
    /// A batch has been written.
    written: Condvar,
    refused: RateLimit,
}

#[derive(Default)]
struct Queue {
    pending: Vec<u8>,
    lines: u64,
    /// Lines dropped since the last batch.
    lost: u64,
    stage: Stage,
    /// Somebody waits for the queue to be empty.
    urgent: bool,
    closing: bool,
}

/// What the writing thread does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Lets lines gather.
    #[default]
    Gathering,
    /// Waits for a first line.
    Idle,
    /// Writes a batch.
    Writing,
}

/// Lets one line through in [`RATE`] and counts the others.
struct RateLimit {
    base: Instant,
    /// Milliseconds after `base`.
    next: AtomicU64,
    left_out: AtomicU64,
}

/// What one thread needs to render a line, kept between lines.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    stamp: String,
    /// Unix time of `stamp` in seconds.
    second: i64,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

// === impl Log ===

impl Log {
    /// Begins a log that goes to `out`.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn new(
        level: Level,
        format: Format,
        out: Box<dyn Write + Send>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            level,
            format,
            zone: TimeZone::system(),
            metrics,
            queue: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
            refused: RateLimit {
                base: Instant::now(),
                next: AtomicU64::new(0),
                left_out: AtomicU64::new(0),
            },
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(out))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Whether lines of this level are written at all.
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.0.0.level
    }

    /// Logs a request that has ended, at level info.
    pub fn request(&self, request: &RequestLine<'_>) {
        if self.enabled(Level::Info) {
            self.0.0.line(request);
        }
    }

    /// Logs a message at level error.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.message(Level::Error, message);
    }

    /// Logs a message at level warn.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.message(Level::Warn, message);
    }

    /// Logs a message at level info.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.message(Level::Info, message);
    }

    /// Logs a message at level debug.
    pub fn debug(&self, message: fmt::Arguments<'_>) {
        self.message(Level::Debug, message);
    }

    /// Logs a refused connection at level warn, at most one in a second, with the number of those
    /// left out.
    pub fn refused(&self, message: fmt::Arguments<'_>) {
        if !self.enabled(Level::Warn) {
            return;
        }
        match self.0.0.refused.pass() {
            None => {}
            Some(0) => self.warn(message),
            Some(more) => self.warn(format_args!("{message} ({more} more left out)")),
        }
    }

    /// Waits until every line so far has been written, but no longer than `limit`; whether it was.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.0.flush(limit)
    }

    fn message(&self, level: Level, message: fmt::Arguments<'_>) {
        if self.enabled(level) {
            self.0.0.message(level, message);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.report_left_out();
        self.0.flush(LAST_LINES);
        self.0.queue().closing = true;
        self.0.work.notify_one();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log")
            .field(&self.0.0.level)
            .field(&self.0.0.format)
            .finish()
    }
}

// === impl Shared: the threads that log ===

impl Shared {
    fn message(&self, level: Level, message: fmt::Arguments<'_>) {
        let message = match message.as_str() {
            Some(message) => Cow::Borrowed(message),
            None => Cow::Owned(message.to_string()),
        };
        let message = message.as_ref();
        self.line(&Message { level, message });
    }

    fn report_left_out(&self) {
        if let Some(more) = self.refused.rest() {
            self.message(
                Level::Warn,
                format_args!("{more} more connections were refused"),
            );
        }
    }

    /// Renders one line and queues it.
    fn line(&self, line: &impl Line) {
        // A thread that is ending has no scratch any more, and logs nothing.
        let _ = SCRATCH.try_with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            let mut out = std::mem::take(&mut scratch.line);
            out.clear();
            let now = Timestamp::now();
            let rendered = match self.format {
                Format::Text => {
                    out.extend_from_slice(scratch.stamp(now, &self.zone).as_bytes());
                    line.text(&mut out);
                    true
                }
                Format::Json => line.json(now, &mut out).is_ok(),
            };
            out.push(b'\n');
            if rendered {
                self.push(&out);
            }
            scratch.line = out;
        });
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.pending.len() + line.len() > QUEUE_LIMIT {
            queue.lost += 1;
            drop(queue);
            self.metrics.dropped_log_lines.add(1);
            return;
        }
        let before = queue.pending.len();
        queue.pending.extend_from_slice(line);
        queue.lines += 1;
        let after = queue.pending.len();
        let wake = (before == 0 && queue.stage == Stage::Idle)
            || (before <= QUEUE_LIMIT / 2 && after > QUEUE_LIMIT / 2);
        drop(queue);
        if wake {
            self.work.notify_one();
        }
    }

    fn flush(&self, limit: Duration) -> bool {
        let mut queue = self.queue();
        queue.urgent = true;
        self.work.notify_one();
        let (queue, _) = self
            .written
            .wait_timeout_while(queue, limit, |queue| {
                queue.stage == Stage::Writing || !queue.pending.is_empty()
            })
            .unwrap_or_else(PoisonError::into_inner);
        queue.stage != Stage::Writing && queue.pending.is_empty()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared: the thread that writes ===

impl Shared {
    fn run(&self, mut out: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        while let Some((lines, lost)) = self.next_batch(&mut batch) {
            if lost > 0 {
                self.message(Level::Warn, format_args!("{lost} log lines were dropped"));
            }
            if write_all(&mut out, &batch).is_err() {
                self.metrics.dropped_log_lines.add(lines);
            }
            let busy = batch.len() > KEPT;
            batch.clear();
            // Not while every batch is as large: the allocator would give pages back and fault
            // them in again fifty times a second.
            if !busy {
                batch.shrink_to(KEPT);
            }
            self.pause();
        }
    }

    /// Waits for lines and takes them all, with their number and that of the lines lost before
    /// them. `None` when there will be no more.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<(u64, u64)> {
        let mut queue = self.queue();
        let mut left_out_by = Some(Instant::now() + RATE);
        while queue.pending.is_empty() {
            if queue.closing {
                return None;
            }
            queue.stage = Stage::Idle;
            if let Some(by) = left_out_by {
                let wait = by.saturating_duration_since(Instant::now());
                queue = self
                    .work
                    .wait_timeout(queue, wait)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if Instant::now() >= by {
                    left_out_by = None;
                    drop(queue);
                    self.report_left_out();
                    queue = self.queue();
                }
            } else {
                queue = self
                    .work
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        queue.stage = Stage::Writing;
        std::mem::swap(&mut queue.pending, batch);
        Some((
            std::mem::take(&mut queue.lines),
            std::mem::take(&mut queue.lost),
        ))
    }

    /// Says that a batch is written and lets lines gather for the next one.
    fn pause(&self) {
        let mut queue = self.queue();
        queue.stage = Stage::Gathering;
        if queue.pending.is_empty() {
            queue.urgent = false;
            self.written.notify_all();
        }
        drop(self.work.wait_timeout_while(queue, BATCH, |queue| {
            !queue.urgent && !queue.closing && queue.pending.len() <= QUEUE_LIMIT / 2
        }));
    }
}

/// Like `Write::write_all`, but waits where the other end is full and does not block: Node sets
/// pipes so.
fn write_all(out: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PIPE),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

// === impl RateLimit ===

impl RateLimit {
    /// How many were left out before this one, or `None` if this one is.
    fn pass(&self) -> Option<u64> {
        let now = self.now();
        let next = self.next.load(Relaxed);
        let later = now.saturating_add(millis(RATE));
        if now < next
            || self
                .next
                .compare_exchange(next, later, Relaxed, Relaxed)
                .is_err()
        {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Relaxed))
    }

    /// How many were left out, if any, for a line of their own.
    fn rest(&self) -> Option<u64> {
        let rest = Some(self.left_out.swap(0, Relaxed)).filter(|rest| *rest > 0);
        if rest.is_some() {
            self.next
                .store(self.now().saturating_add(millis(RATE)), Relaxed);
        }
        rest
    }

    fn now(&self) -> u64 {
        millis(self.base.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// === rendering ===

/// What a line says, in both formats, without the time in text and without the line's end.
trait Line {
    fn text(&self, out: &mut Vec<u8>);
    fn json(&self, time: Timestamp, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

struct Message<'a> {
    level: Level,
    message: &'a str,
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
struct Joined<'a>(&'a str, &'a str);

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
        let upstream = self
            .upstream
            .map(|to| (to.origin.url(), redact(to.target.as_str())));
        let line = JsonRequest {
            time,
            level: Level::Info.name(),
            message: self.verb(),
            target: &target,
            method: self.method,
            upstream: upstream
                .as_ref()
                .map(|(origin, target)| Joined(origin, target)),
            status: self.status,
            bytes: self.bytes,
            ms: self.took.as_millis(),
        };
        serde_json::to_writer(out, &line)
    }
}

impl RequestLine<'_> {
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

// === impl Scratch ===

impl Scratch {
    /// The date and time that begin a line of text, as Go's log package writes them; formatted
    /// once a second.
    fn stamp(&mut self, now: Timestamp, zone: &TimeZone) -> &str {
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

// === impl Level, Format ===

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl FromStr for Level {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug];
        levels
            .into_iter()
            .find(|level| level.name() == name)
            .ok_or(UnknownName::Level)
    }
}

impl FromStr for Format {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownName::Format),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use serde_json::{Value, json};

    use super::*;
    use crate::decision::route::{RootUrl, Route, route};

    /// What has been written so far.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("not poisoned")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().expect("not poisoned");
            str::from_utf8(&bytes)
                .expect("UTF-8")
                .lines()
                .map(str::to_owned)
                .collect()
        }
    }

    fn log(level: Level, format: Format) -> (Log, Written) {
        let written = Written::default();
        let out = Box::new(written.clone());
        (
            Log::new(level, format, out, Arc::default()).expect("a log"),
            written,
        )
    }

    fn flushed(log: &Log) {
        assert!(log.flush(Duration::from_secs(10)));
    }

    fn upstream(target: &str) -> Target {
        let root = RootUrl::parse("https://tc.example.com").expect("a root URL");
        match route(target, &root) {
            Route::Upstream(target) => target,
            other => panic!("{target} goes to {other:?}"),
        }
    }

    fn request<'a>(target: &'a str, upstream: Option<&'a Target>) -> RequestLine<'a> {
        RequestLine {
            target,
            method: "GET",
            upstream,
            status: Some(200),
            bytes: 1234,
            took: Duration::from_micros(56_789),
        }
    }

    /// A line of text without its date and time.
    fn unstamped(line: &str) -> &str {
        let (stamp, rest) = line.split_at(20);
        let shape: String = stamp
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000/00/00 00:00:00 ");
        rest
    }

    #[test]
    fn a_request_is_one_line() {
        let target = "/queue/v1/task/x?bewit=SECRET&a=b";
        let to = upstream(target);
        for (line, text, object) in [
            (
                request(target, Some(&to)),
                "Proxying /queue/v1/task/x?bewit=<redacted>&a=b | GET | \
                 https://tc.example.com/api/queue/v1/task/x?bewit=<redacted>&a=b | 200 | \
                 1234 bytes | 56 ms",
                json!({
                    "level": "info", "message": "Proxying",
                    "target": "/queue/v1/task/x?bewit=<redacted>&a=b", "method": "GET",
                    "upstream": "https://tc.example.com/api/queue/v1/task/x?bewit=<redacted>&a=b",
                    "status": 200, "bytes": 1234, "ms": 56,
                }),
            ),
            (
                RequestLine {
                    status: None,
                    ..request("http://me:SECRET@proxy/bewit", None)
                },
                "Answering http://<redacted>@proxy/bewit | GET | - | 1234 bytes | 56 ms",
                json!({
                    "level": "info", "message": "Answering",
                    "target": "http://<redacted>@proxy/bewit", "method": "GET",
                    "status": null, "bytes": 1234, "ms": 56,
                }),
            ),
        ] {
            let (log, written) = self::log(Level::Info, Format::Text);
            log.request(&line);
            flushed(&log);
            assert_eq!(
                written
                    .lines()
                    .iter()
                    .map(|line| unstamped(line))
                    .collect::<Vec<_>>(),
                [text]
            );

            let (log, written) = self::log(Level::Info, Format::Json);
            log.request(&line);
            flushed(&log);
            assert_eq!(objects(&written), [object]);
        }
    }

    /// Lines of JSON without their time, which is RFC 3339 in UTC.
    fn objects(written: &Written) -> Vec<Value> {
        let parse = |line: &String| {
            let mut object: Value = serde_json::from_str(line).expect("a JSON object");
            let time = object
                .as_object_mut()
                .and_then(|object| object.remove("time"));
            let time = time
                .as_ref()
                .and_then(Value::as_str)
                .expect("a time")
                .to_owned();
            assert_eq!((time.len(), time.ends_with('Z')), (24, true), "{time}");
            assert!(time.parse::<Timestamp>().is_ok(), "{time}");
            object
        };
        written.lines().iter().map(parse).collect()
    }

    #[test]
    fn messages_say_their_level_and_no_secret() {
        for (write, text, level) in [
            (
                Log::error as fn(&Log, fmt::Arguments<'_>),
                "error: ",
                "error",
            ),
            (Log::warn, "warning: ", "warn"),
            (Log::info, "", "info"),
            (Log::debug, "debug: ", "debug"),
        ] {
            let (log, written) = self::log(Level::Debug, Format::Text);
            write(
                &log,
                format_args!("no {} answer", "https://me:SECRET@h/?bewit=SECRET"),
            );
            flushed(&log);
            let message = "no https://<redacted>@h/?bewit=<redacted> answer";
            assert_eq!(unstamped(&written.lines()[0]), format!("{text}{message}"));

            let (log, written) = self::log(Level::Debug, Format::Json);
            write(
                &log,
                format_args!("no {} answer", "https://me:SECRET@h/?bewit=SECRET"),
            );
            flushed(&log);
            assert_eq!(
                objects(&written),
                [json!({ "level": level, "message": message })]
            );
        }
    }

    #[test]
    fn a_request_cannot_forge_a_line() {
        for (message, text) in [
            ("a\nb", "a\\nb"),
            ("a\r\n2006/01/02 15:04:05 b", "a\\r\\n2006/01/02 15:04:05 b"),
            ("\0\t\u{1b}[2J\u{7f}", "\\u{0}\\t\\u{1b}[2J\\u{7f}"),
            (
                "\u{85}\u{9b}\u{2028}\u{2029}",
                "\\u{85}\\u{9b}\\u{2028}\\u{2029}",
            ),
            ("\u{202e}cba\u{2066}", "\\u{202e}cba\\u{2066}"),
            ("b\u{fc}cher \u{1f4da}", "b\u{fc}cher \u{1f4da}"),
            ("\"quoted\" \\n", "\"quoted\" \\n"),
        ] {
            let (log, written) = self::log(Level::Info, Format::Text);
            log.info(format_args!("{message}"));
            log.request(&RequestLine {
                method: message,
                ..request(message, None)
            });
            flushed(&log);
            let lines = written.lines();
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert_eq!(unstamped(&lines[0]), text);
            assert!(
                unstamped(&lines[1]).starts_with(&format!("Answering {text} | {text} | 200 |"))
            );

            let (log, written) = self::log(Level::Info, Format::Json);
            log.info(format_args!("{message}"));
            flushed(&log);
            assert_eq!(
                objects(&written),
                [json!({ "level": "info", "message": message })]
            );
        }
    }

    /// Must not be rendered.
    struct Unseen;

    impl fmt::Display for Unseen {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("rendered although nobody reads it")
        }
    }

    #[test]
    fn what_is_above_the_level_is_not_even_rendered() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
        for (enabled, level) in levels.iter().enumerate() {
            let (log, written) = self::log(*level, Format::Text);
            for (at, other) in levels.iter().enumerate() {
                assert_eq!(log.enabled(*other), at <= enabled);
                let write = [Log::error, Log::warn, Log::info, Log::debug][at];
                if at <= enabled {
                    write(&log, format_args!("seen"));
                } else {
                    write(&log, format_args!("{Unseen}"));
                }
            }
            log.request(&request("/bewit", None));
            flushed(&log);
            let requests = usize::from(*level >= Level::Info);
            assert_eq!(written.lines().len(), enabled + 1 + requests, "{level:?}");
        }
    }

    /// Takes nothing until it is told to, and tells that it has been asked.
    struct Stuck {
        asked: Sender<()>,
        go: Receiver<()>,
        written: Written,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.asked.send(());
            let _ = self.go.recv();
            self.written.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_does_not_read_holds_up_nobody() {
        let ((asked, was_asked), (go, gone)) = (channel(), channel());
        let written = Written::default();
        let metrics = Arc::new(Metrics::default());
        let out = Box::new(Stuck {
            asked,
            go: gone,
            written: written.clone(),
        });
        let log = Log::new(Level::Info, Format::Text, out, Arc::clone(&metrics)).expect("a log");
        log.info(format_args!("first"));
        was_asked.recv().expect("the first write");

        let message = "x".repeat(1003);
        let fit = QUEUE_LIMIT / 1024;
        let began = Instant::now();
        for _ in 0..fit + 500 {
            log.info(format_args!("{message}"));
        }
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "took {:?}",
            began.elapsed()
        );
        assert!(!log.flush(Duration::from_millis(1)));
        assert_eq!(metrics.snapshot().dropped_log_lines, 500);

        drop(go);
        flushed(&log);
        flushed(&log);
        let lines = written.lines();
        assert_eq!(lines.len(), 1 + fit + 1);
        let last = lines.last().map(|line| unstamped(line));
        assert_eq!(last, Some("warning: 500 log lines were dropped"));
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let (log, written) = self::log(Level::Info, Format::Text);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let log = log.clone();
                thread::spawn(move || {
                    for number in 0..1000 {
                        log.info(format_args!("{thread} {number}"));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        drop(log);
        let lines = written.lines();
        assert_eq!(lines.len(), 4000);
        for thread in 0..4 {
            let prefix = format!("{thread} ");
            let numbers = lines
                .iter()
                .filter_map(|line| unstamped(line).strip_prefix(&prefix));
            assert!(numbers.eq((0..1000).map(|number| number.to_string())));
        }
    }

    #[test]
    fn the_last_lines_are_written_when_the_log_ends() {
        let (log, written) = self::log(Level::Warn, Format::Text);
        let clone = log.clone();
        drop(log);
        clone.warn(format_args!("last"));
        for _ in 0..3 {
            clone.refused(format_args!("refused"));
        }
        drop(clone);
        let lines = written.lines();
        let lines: Vec<_> = lines.iter().map(|line| unstamped(line)).collect();
        assert_eq!(
            lines,
            [
                "warning: last",
                "warning: refused",
                "warning: 2 more connections were refused"
            ]
        );
    }

    #[test]
    fn refusals_are_one_line_a_second_with_the_number_left_out() {
        let (log, written) = self::log(Level::Warn, Format::Text);
        let read = || -> Vec<String> {
            flushed(&log);
            written
                .lines()
                .iter()
                .map(|line| unstamped(line).to_owned())
                .collect()
        };
        for number in 0..1000 {
            log.refused(format_args!("refused {number}"));
        }
        assert_eq!(read(), ["warning: refused 0"]);
        log.0.0.refused.next.store(0, Relaxed);
        log.refused(format_args!("refused again"));
        assert_eq!(read()[1..], ["warning: refused again (999 more left out)"]);
        log.refused(format_args!("refused once more"));
        assert_eq!(read().len(), 2);

        // Nobody comes any more, and still the number is told.
        let began = Instant::now();
        while read().len() < 3 && began.elapsed() < Duration::from_secs(10) {
            thread::sleep(BATCH);
        }
        assert_eq!(read()[2..], ["warning: 1 more connections were refused"]);
    }

    #[test]
    fn refusals_below_the_level_cost_nothing() {
        let (log, written) = self::log(Level::Error, Format::Text);
        log.refused(format_args!("{Unseen}"));
        drop(log);
        assert!(written.lines().is_empty());
    }

    /// Answers as `answers` say, and then takes one byte at a time.
    struct Slow {
        answers: Vec<ErrorKind>,
        written: Written,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.answers.pop() {
                Some(kind) => Err(kind.into()),
                None => self.written.write(&bytes[..1]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_end_that_is_full_is_waited_for_and_one_that_is_closed_is_counted() {
        for (answers, written_lines, dropped) in [
            (
                vec![
                    ErrorKind::WouldBlock,
                    ErrorKind::Interrupted,
                    ErrorKind::WouldBlock,
                ],
                1,
                0,
            ),
            (vec![ErrorKind::BrokenPipe], 0, 1),
        ] {
            let written = Written::default();
            let metrics = Arc::new(Metrics::default());
            let out = Box::new(Slow {
                answers,
                written: written.clone(),
            });
            let log =
                Log::new(Level::Info, Format::Text, out, Arc::clone(&metrics)).expect("a log");
            log.info(format_args!("line"));
            flushed(&log);
            assert_eq!(written.lines().len(), written_lines);
            assert_eq!(metrics.snapshot().dropped_log_lines, dropped);
            log.info(format_args!("next"));
            flushed(&log);
            assert_eq!(written.lines().len(), written_lines + 1);
        }
    }

    #[test]
    fn levels_and_formats_are_read_by_name() {
        for (name, level) in [
            ("error", Ok(Level::Error)),
            ("warn", Ok(Level::Warn)),
            ("info", Ok(Level::Info)),
            ("debug", Ok(Level::Debug)),
            ("", Err(UnknownName::Level)),
            ("INFO", Err(UnknownName::Level)),
            ("warning", Err(UnknownName::Level)),
        ] {
            assert_eq!(name.parse::<Level>(), level, "{name}");
        }
        for (name, format) in [
            ("text", Ok(Format::Text)),
            ("json", Ok(Format::Json)),
            ("yaml", Err(UnknownName::Format)),
        ] {
            assert_eq!(name.parse::<Format>(), format, "{name}");
        }
        let sentence = "the log level must be error, warn, info or debug";
        assert_eq!(UnknownName::Level.to_string(), sentence);
        assert_eq!(
            UnknownName::Format.to_string(),
            "the log format must be text or json"
        );
    }

    #[test]
    fn the_time_is_that_of_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let mut scratch = Scratch::default();
        for (second, stamp) in [
            (0, "1970/01/01 02:00:00 "),
            (0, "1970/01/01 02:00:00 "),
            (1_709_164_799, "2024/02/29 01:59:59 "),
            (1_709_164_800, "2024/02/29 02:00:00 "),
        ] {
            let now = Timestamp::from_second(second).expect("a time");
            assert_eq!(scratch.stamp(now, &zone), stamp);
        }
    }
}
