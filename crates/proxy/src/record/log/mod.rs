//! The log on stderr: one line per request, and what else an operator has to know.
//!
//! A thread that serves requests never waits for the log's reader. It renders its line into
//! memory of its own and appends it to a bounded queue; one thread writes the queue out, many lines
//! at a time. A line that finds the queue full is dropped and counted. Control characters are
//! escaped, so that a request cannot forge a line, and secrets are taken out here, for every line
//! alike. What this is not: it keeps no files, rotates nothing and reads no configuration.

mod line;
mod queue;
mod rate;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub(super) use self::line::Joined;
pub use self::line::RequestLine;
use self::queue::Shared;
use crate::record::metrics::Metrics;

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

/// The log. Clones write to the same; when the last one is dropped the last lines are written.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

/// Ends the writing thread when the last [`Log`] is dropped.
struct Handle(Arc<Shared>);

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
        let shared = Shared::start(level, format, out, metrics)?;
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
        self.0.close();
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
