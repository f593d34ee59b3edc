//! The writer of the audit log, and a disk that fails as often as a model wants it to.
//!
//! A model's threads are one thread of the system, so that `open` finds the disk of its model there.

#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../../proxy/src/record/audit/writer.rs"]
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use self::writer::Shared;
use crate::record::metrics::Metrics;
use crate::sync::FOREVER;

/// Lines of the models are of four bytes: there is room for three.
const QUEUE_LIMIT: usize = 15;

struct AuditOptions {
    path: PathBuf,
    required: bool,
}

/// Like the audit log itself, which ends with its last clone; here the model ends it.
#[derive(Clone)]
pub struct Audit(Arc<Shared>);

impl Audit {
    pub fn start(required: bool, disk: &Disk, metrics: &Arc<Metrics>) -> Self {
        DISK.set(Some(disk.clone()));
        let path = PathBuf::default();
        let file = open(&path).expect("the disk is there");
        let options = AuditOptions { path, required };
        let shared = Shared::start(&options, file, Arc::clone(metrics), Log(disk.clone()));
        Self(shared.expect("a thread"))
    }

    pub fn may_sign(&self) -> bool {
        self.0.may_sign()
    }

    /// Takes the line of a request that was signed.
    pub fn line(&self, line: fmt::Arguments<'_>) {
        self.0.push(format!("{line}\n").as_bytes(), true);
    }

    pub fn reopen(&self) {
        self.0.reopen();
    }

    pub fn flush(&self) {
        self.0.flush(FOREVER);
    }

    pub fn close(&self) {
        self.0.close(FOREVER);
    }
}

std::thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// Where the lines go. A write takes all, or a part, or fails.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Vec<u8>>,
    /// How many writes may still fail.
    failures: usize,
    /// The number of the present failure, while the log says that the last write failed.
    trouble: Option<usize>,
    /// How many such failures there have been.
    troubles: usize,
    /// Lines that the log has said could not be written.
    told: u64,
}

impl Disk {
    pub fn failing(failures: usize) -> Self {
        let disk = Self::default();
        disk.state().failures = failures;
        disk
    }

    /// The number of the present failure, while the log says that nothing can be written. Each
    /// failure has a number of its own.
    pub fn trouble(&self) -> Option<usize> {
        self.state().trouble
    }

    /// Lines that the log has said could not be written.
    pub fn told(&self) -> u64 {
        self.state().told
    }

    /// Whole lines, in the order of the files.
    pub fn lines(&self) -> Vec<String> {
        let state = self.state();
        let whole = state.files.iter().flat_map(|file| {
            let end = memchr::memrchr(b'\n', file).map_or(0, |at| at + 1);
            str::from_utf8(&file[..end]).expect("text").lines()
        });
        whole.map(str::to_owned).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct File {
    disk: Disk,
    number: usize,
}

fn open(_: &Path) -> io::Result<File> {
    thread::yield_now();
    let disk = DISK.with_borrow(Clone::clone).ok_or(ErrorKind::NotFound)?;
    let mut state = disk.state();
    state.files.push(Vec::new());
    let number = state.files.len() - 1;
    drop(state);
    Ok(File { disk, number })
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::yield_now();
        let mut state = self.disk.state();
        if state.failures > 0 && thread_rng().gen_bool(0.5) {
            state.failures -= 1;
            return Err(ErrorKind::StorageFull.into());
        }
        let most = bytes.len();
        let taken = if thread_rng().gen_bool(0.5) {
            most
        } else {
            thread_rng().gen_range(1..=most)
        };
        state.trouble = None;
        state.files[self.number].extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log's sentence on lines that wait at the end; their number stands before it.
const UNWRITTEN: &str = " lines of the audit log could not be written";

/// What the log would say.
struct Log(Disk);

impl Log {
    fn error(&self, message: fmt::Arguments<'_>) {
        let message = message.to_string();
        let mut state = self.0.state();
        if let Some((lines, _)) = message.split_once(UNWRITTEN) {
            state.told += lines.parse::<u64>().expect("a number");
        } else {
            state.troubles += 1;
            state.trouble = Some(state.troubles);
        }
    }

    #[allow(clippy::unused_self, reason = "as the log itself")]
    fn warn(&self, _: fmt::Arguments<'_>) {}
}
