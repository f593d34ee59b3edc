//! The log as its readers see it: lines, levels, limits, a reader who does not read.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::line::Scratch;
use super::queue::{BATCH, QUEUE_LIMIT};
use super::*;
use crate::decision::route::{RootUrl, Route, Target, route};

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
        assert!(unstamped(&lines[1]).starts_with(&format!("Answering {text} | {text} | 200 |")));

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
        panic!("rendered although it is not logged")
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
fn a_reader_who_does_not_read_delays_no_request() {
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

/// Logs another line whenever it writes, as a proxy does that has much to do.
#[derive(Clone, Default)]
struct Echo {
    log: Arc<Mutex<Option<Log>>>,
    written: Written,
}

impl Write for Echo {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = &*self.log.lock().expect("not poisoned") {
            log.info(format_args!("later"));
        }
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_flush_waits_for_no_line_that_comes_later() {
    let echo = Echo::default();
    let out = Box::new(echo.clone());
    let log = Log::new(Level::Info, Format::Text, out, Arc::default()).expect("a log");
    *echo.log.lock().expect("not poisoned") = Some(log.clone());
    log.info(format_args!("first"));
    flushed(&log);
    assert_eq!(unstamped(&echo.written.lines()[0]), "first");
    drop(echo.log.lock().expect("not poisoned").take());
    flushed(&log);
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

    // The number is written though no further line comes.
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
        let log = Log::new(Level::Info, Format::Text, out, Arc::clone(&metrics)).expect("a log");
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
