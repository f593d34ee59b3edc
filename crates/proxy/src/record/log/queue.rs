//! The queue between the threads that log and the one that writes, many lines at a time.
//!
//! The first never wait: a line that finds the queue full is dropped and counted. `tracing-appender`
//! does the same, but allocates every line, and its log does not say that lines are missing.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::line::{Line, Message, Scratch};
use super::rate::{RATE, RateLimit};
use super::{Format, Level};
use crate::record::metrics::Metrics;
use crate::sync::{Condvar, Mutex, MutexGuard, thread, thread_local};

/// Bytes that may wait to be written.
pub(super) const QUEUE_LIMIT: usize = 512 * 1024;
/// Room for a batch that is kept when there is little to write.
const KEPT: usize = 16 * 1024;
/// The time between two writes; lines that come meanwhile are written together.
pub(super) const BATCH: Duration = Duration::from_millis(20);
/// The time before another try where the log's reader is slow and its end does not block.
const FULL_PIPE: Duration = Duration::from_millis(5);

pub(super) struct Shared {
    pub level: Level,
    pub format: Format,
    zone: TimeZone,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    /// The writing thread has something to do.
    work: Condvar,
    /// A batch has been written.
    written: Condvar,
    pub refused: RateLimit,
}

#[derive(Default)]
struct Queue {
    pending: Vec<u8>,
    /// Lines that were queued, ever; those that have been written, or could not be; and those that a
    /// flush waits for.
    queued: u64,
    written: u64,
    awaited: u64,
    /// Lines dropped since the last batch.
    lost: u64,
    /// The writing thread waits for a first line.
    idle: bool,
    closing: bool,
}

/// What the writing thread has taken out of the queue.
struct Taken {
    /// Lines that were queued up to the last of these.
    queued: u64,
    lines: u64,
    /// Lines dropped since the last batch.
    lost: u64,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The threads that log.
impl Shared {
    /// The log's parts, and a thread that writes to `out` until [`Shared::close`].
    pub fn start(
        level: Level,
        format: Format,
        out: Box<dyn Write + Send>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Self {
            level,
            format,
            zone: TimeZone::system(),
            metrics,
            queue: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
            refused: RateLimit::new(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(out))?;
        Ok(shared)
    }

    /// Ends the thread that writes once all has been written.
    pub fn close(&self) {
        self.queue().closing = true;
        self.work.notify_one();
    }

    pub fn message(&self, level: Level, message: fmt::Arguments<'_>) {
        let message = match message.as_str() {
            Some(message) => Cow::Borrowed(message),
            None => Cow::Owned(message.to_string()),
        };
        let message = message.as_ref();
        self.line(&Message { level, message });
    }

    pub fn report_left_out(&self) {
        if let Some(more) = self.refused.rest() {
            self.message(
                Level::Warn,
                format_args!("{more} more connections were refused"),
            );
        }
    }

    /// Renders one line and queues it.
    pub fn line(&self, line: &impl Line) {
        self.render(line, |line| self.push(line));
    }

    fn render(&self, line: &impl Line, take: impl FnOnce(&[u8])) {
        // A thread that is ending has no scratch buffer any more, and logs nothing.
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
                take(&out);
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
        queue.queued += 1;
        let after = queue.pending.len();
        let wake =
            (before == 0 && queue.idle) || (before <= QUEUE_LIMIT / 2 && after > QUEUE_LIMIT / 2);
        drop(queue);
        if wake {
            self.work.notify_one();
        }
    }

    /// Waits for the lines that have been queued by now, and for none that come later.
    pub fn flush(&self, limit: Duration) -> bool {
        let mut queue = self.queue();
        let awaited = queue.queued;
        queue.awaited = awaited;
        self.work.notify_one();
        let (queue, _) = self
            .written
            .wait_timeout_while(queue, limit, |queue| queue.written < awaited)
            .unwrap_or_else(PoisonError::into_inner);
        queue.written >= awaited
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
impl Shared {
    fn run(&self, mut out: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        while let Some(taken) = self.next_batch(&mut batch) {
            self.tell_lost(taken.lost, &mut batch);
            if write_all(&mut out, &batch).is_err() {
                self.metrics.dropped_log_lines.add(taken.lines);
            }
            let busy = batch.len() > KEPT;
            batch.clear();
            // Not while every batch is as large: the allocator would give pages back and fault
            // them in again fifty times a second.
            if !busy {
                batch.shrink_to(KEPT);
            }
            self.pause(taken.queued);
        }
    }

    /// Says behind the batch how many lines found no room after it. The queue may have no room for
    /// this line either.
    fn tell_lost(&self, lost: u64, batch: &mut Vec<u8>) {
        if lost > 0 {
            let level = Level::Warn;
            let message = &format!("{lost} log lines were dropped");
            self.render(&Message { level, message }, |line| {
                batch.extend_from_slice(line);
            });
        }
    }

    /// Waits for lines and takes them all. `None` when there will be no more.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<Taken> {
        let mut queue = self.queue();
        let mut left_out_by = Some(Instant::now() + RATE);
        while queue.pending.is_empty() {
            if queue.closing {
                return None;
            }
            queue.idle = true;
            if let Some(by) = left_out_by {
                let wait = by.saturating_duration_since(Instant::now());
                let (woken, waited) = self
                    .work
                    .wait_timeout(queue, wait)
                    .unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                if waited.timed_out() {
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
        queue.idle = false;
        std::mem::swap(&mut queue.pending, batch);
        Some(Taken {
            queued: queue.queued,
            lines: queue.queued - queue.written,
            lost: std::mem::take(&mut queue.lost),
        })
    }

    /// Says that all lines up to number `written` are written, and lets others gather for the next
    /// batch.
    fn pause(&self, written: u64) {
        let mut queue = self.queue();
        if queue.written < queue.awaited {
            self.written.notify_all();
        }
        queue.written = written;
        drop(self.work.wait_timeout_while(queue, BATCH, |queue| {
            let urgent = queue.written < queue.awaited;
            !urgent && !queue.closing && queue.pending.len() <= QUEUE_LIMIT / 2
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
