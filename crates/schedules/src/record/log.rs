//! The log's queue, and lines that say only what they are.

#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../../proxy/src/record/log/queue.rs"]
mod queue;
#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../../proxy/src/record/log/rate.rs"]
mod rate;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use self::queue::Shared;
use crate::record::metrics::Metrics;

#[derive(Clone, Copy)]
pub enum Level {
    Warn,
}

#[derive(Clone, Copy)]
pub enum Format {
    Text,
    #[allow(dead_code, reason = "the models use a part of it")]
    Json,
}

/// Like the log itself, which ends with its last clone; here all threads have the same one.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

impl Log {
    pub fn start(out: Box<dyn Write + Send>, metrics: Arc<Metrics>) -> io::Result<Self> {
        Shared::start(Level::Warn, Format::Text, out, metrics).map(Self)
    }

    pub fn say(&self, message: fmt::Arguments<'_>) {
        self.0.message(Level::Warn, message);
    }

    pub fn flush(&self, limit: Duration) -> bool {
        self.0.flush(limit)
    }

    pub fn close(&self) {
        self.0.close();
    }
}

/// The longest while in which one line of a kind passes.
pub const RATE: Duration = rate::RATE;

/// Like the log's own, which all threads that refuse connections ask.
#[derive(Clone)]
pub struct RateLimit(Arc<rate::RateLimit>);

impl RateLimit {
    pub fn new() -> Self {
        Self(Arc::new(rate::RateLimit::new()))
    }

    pub fn pass(&self) -> Option<u64> {
        self.0.pass()
    }

    pub fn rest(&self) -> Option<u64> {
        self.0.rest()
    }
}

mod line {
    use std::fmt::Write;

    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::Level;

    pub trait Line {
        fn text(&self, out: &mut Vec<u8>);

        fn json(&self, _: Timestamp, out: &mut Vec<u8>) -> std::fmt::Result {
            self.text(out);
            Ok(())
        }
    }

    pub struct Message<'a> {
        #[allow(dead_code, reason = "it is not written")]
        pub level: Level,
        pub message: &'a str,
    }

    impl Line for Message<'_> {
        fn text(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(self.message.as_bytes());
        }
    }

    #[derive(Default)]
    pub struct Scratch {
        pub line: Vec<u8>,
        stamp: String,
    }

    impl Scratch {
        pub fn stamp(&mut self, _: Timestamp, _: &TimeZone) -> &str {
            self.stamp.clear();
            let _ = write!(self.stamp, "");
            &self.stamp
        }
    }
}
