//! The thread that writes the audit log, and the queue before it.
//!
//! Libraries that rotate files do so by their own clock; here `logrotate` moves the file, and SIGHUP has it
//! opened again. What this is not: it knows no line but by its end.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{AuditOptions, File, Log, QUEUE_LIMIT, open};
use crate::record::metrics::Metrics;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// The time between two writes; lines that come meanwhile are written together.
const BATCH: Duration = Duration::from_millis(20);
/// The time from a failed write to the next one.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Shared {
    path: PathBuf,
    required: bool,
    metrics: Arc<Metrics>,
    log: Log,
    queue: Apart<Mutex<Queue>>,
    /// The writing thread has something to do.
    work: Condvar,
    /// Something has been written, or the thread has ended.
    written: Condvar,
    /// The last write failed.
    stuck: AtomicBool,
    /// There was no room for a line.
    full: AtomicBool,
}

/// On cache lines of its own: what stands beside it is read for each request, while another thread
/// writes here.
#[repr(align(128))]
#[derive(Default)]
struct Apart<T>(T);

#[derive(Default)]
struct Queue {
    pending: Vec<u8>,
    /// Bytes, and lines, that the thread has taken and not yet written.
    taken: usize,
    taken_lines: u64,
    reopen: bool,
    closing: bool,
    /// The thread has ended; what comes later is lost.
    ended: bool,
}

impl Shared {
    pub fn start(
        options: &AuditOptions,
        file: File,
        metrics: Arc<Metrics>,
        log: Log,
    ) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Self {
            path: options.path.clone(),
            required: options.required,
            metrics,
            log,
            queue: Apart::default(),
            work: Condvar::new(),
            written: Condvar::new(),
            stuck: AtomicBool::new(false),
            full: AtomicBool::new(false),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(file))?;
        Ok(shared)
    }

    pub fn may_sign(&self) -> bool {
        !self.required || !self.stuck.load(Relaxed) && !self.full.load(Relaxed)
    }

    /// The line of a signed request finds room in a log that is required: few can be running.
    pub fn push(&self, line: &[u8], is_signed: bool) {
        let mut queue = self.queue();
        let is_full = queue.pending.len() + queue.taken + line.len() > QUEUE_LIMIT;
        if is_full {
            self.full.store(true, Relaxed);
        }
        if queue.ended || is_full && !(self.required && is_signed) {
            drop(queue);
            self.metrics.lost_audit_lines.add(1);
            return;
        }
        let wake = queue.pending.is_empty();
        queue.pending.extend_from_slice(line);
        drop(queue);
        if wake {
            self.work.notify_one();
        }
    }

    pub fn reopen(&self) {
        self.queue().reopen = true;
        self.work.notify_one();
    }

    /// Waits until nothing waits to be written.
    pub fn flush(&self, limit: Duration) {
        self.wait(limit, |queue| !queue.pending.is_empty() || queue.taken > 0);
    }

    /// Ends the thread, and waits until it has said what it could not write. If the system holds the
    /// thread up in a write, this says it.
    pub fn close(&self, limit: Duration) {
        self.queue().closing = true;
        self.work.notify_one();
        self.wait(limit, |_| true);
        let mut queue = self.queue();
        if !queue.ended {
            self.lose(queue.taken_lines + lines(&queue.pending));
            queue.pending.clear();
            self.end(queue);
        }
    }

    /// Counts lines that are lost at the end, and says how many they are.
    fn lose(&self, lines: u64) {
        self.metrics.lost_audit_lines.add(lines);
        self.log.error(format_args!(
            "{lines} lines of the audit log could not be written"
        ));
    }

    /// Waits while `waits` is true, but not for a thread that has ended.
    fn wait(&self, limit: Duration, waits: impl Fn(&Queue) -> bool) {
        let goes_on = |queue: &mut Queue| !queue.ended && waits(queue);
        let waited = self
            .written
            .wait_timeout_while(self.queue(), limit, goes_on);
        drop(waited);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut file: File) {
        let mut batch = Vec::new();
        loop {
            let reopen = {
                let mut queue = self.queue();
                while queue.pending.is_empty() && !queue.reopen && !queue.closing {
                    let woken = self.work.wait(queue);
                    queue = woken.unwrap_or_else(PoisonError::into_inner);
                }
                if queue.pending.is_empty() && queue.closing {
                    return self.end(queue);
                }
                std::mem::swap(&mut queue.pending, &mut batch);
                queue.taken = batch.len();
                queue.taken_lines = lines(&batch);
                std::mem::take(&mut queue.reopen)
            };
            if reopen {
                self.reopen_file(&mut file);
            }
            if !self.write(&mut file, &batch) {
                return;
            }
            batch.clear();
            let mut queue = self.queue();
            (queue.taken, queue.taken_lines) = (0, 0);
            drop(queue);
            self.written.notify_all();
            thread::sleep(BATCH);
        }
    }

    /// No line comes between the last look at the queue, `queue`, and the end.
    fn end(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.ended = true;
        drop(queue);
        self.written.notify_all();
    }

    /// Writes `batch` in as many tries as it takes. Returns whether it was written before the end.
    fn write(&self, file: &mut File, batch: &[u8]) -> bool {
        let mut rest = batch;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(written) if written > 0 => {
                    rest = &rest[written..];
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => self.warn_of_failure(&error.to_string()),
                Ok(_) => self.warn_of_failure("nothing is taken"),
            }
            let queue = self.queue();
            let idle = |queue: &mut Queue| !queue.closing && !queue.reopen;
            let (mut queue, _) = self
                .work
                .wait_timeout_while(queue, RETRY_INTERVAL, idle)
                .unwrap_or_else(PoisonError::into_inner);
            if queue.closing {
                if !queue.ended {
                    self.lose(lines(rest) + lines(&queue.pending));
                    self.end(queue);
                }
                return false;
            }
            if std::mem::take(&mut queue.reopen) {
                drop(queue);
                self.reopen_file(file);
                // A line that the old file has in part is written whole to the new one.
                let written = batch.len() - rest.len();
                let begun = memchr::memrchr(b'\n', &batch[..written]);
                rest = &batch[begun.map_or(0, |at| at + 1)..];
            }
        }
        self.full.store(false, Relaxed);
        if self.stuck.swap(false, Relaxed) {
            self.log
                .warn(format_args!("The audit log is written again"));
        }
        true
    }

    fn warn_of_failure(&self, reason: &str) {
        if !self.stuck.swap(true, Relaxed) {
            let what = if self.required {
                "nothing is signed until it can"
            } else {
                "lines wait, and are dropped where they find no room"
            };
            self.log.error(format_args!(
                "The audit log cannot be written: {reason}; {what}"
            ));
        }
    }

    fn reopen_file(&self, file: &mut File) {
        match open(&self.path) {
            Ok(opened) => *file = opened,
            Err(error) => self.log.error(format_args!(
                "The audit log cannot be opened anew, and goes on where it is: {error}"
            )),
        }
    }
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}
