//! The audit log: one JSON object for each request and what was decided of it, in a file of its own.
//!
//! A line is kept until it is written. If writing fails, it is tried again, and later lines wait in
//! memory. If the log is required, the proxy signs nothing in that time, and the lines of requests that
//! are signed already wait in any case. All others without room are dropped and counted. What this is
//! not: it logs only requests ([`super::log`] has the rest), and it keeps no old files.

mod entry;
mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::entry::Entry;
use self::writer::Shared;
use crate::record::log::Log;
use crate::record::metrics::Metrics;

/// Bytes that may wait; past them nothing is signed, or lines are dropped.
const QUEUE_LIMIT: usize = 4 * 1024 * 1024;
/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where the audit log goes, and whether it is required.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// An absolute path; what is written goes to the file's end.
    pub path: PathBuf,
    /// Nothing is signed while it cannot be written.
    pub required: bool,
}

/// The audit log. Clones write to the same; when the last one is dropped the last lines are written.
#[derive(Clone)]
pub struct Audit(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Audit {
    /// Opens the file and begins to write.
    ///
    /// # Errors
    /// Where it cannot be written, or the system starts no thread.
    pub fn open(options: &AuditOptions, metrics: Arc<Metrics>, log: Log) -> io::Result<Self> {
        if !options.path.is_absolute() {
            return Err(io::Error::other(
                "its path is not absolute: write it with its folders",
            ));
        }
        let file = open(&options.path)?;
        let shared = Shared::start(options, file, metrics, log)?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Whether a request may be signed.
    pub fn may_sign(&self) -> bool {
        self.0.0.may_sign()
    }

    /// Writes to the file that is now at the path: the old one has been moved away.
    pub fn reopen(&self) {
        self.0.0.reopen();
    }

    /// Writes the last lines, for a second at most. What cannot be written is counted, and its number logged.
    /// To be called when no request runs any more.
    pub fn finish(&self) {
        self.0.finish();
    }

    /// Takes a whole line, of a request that was signed or not.
    fn line(&self, line: &[u8], is_signed: bool) {
        self.0.0.push(line, is_signed);
    }
}

impl Handle {
    fn finish(&self) {
        self.0.flush(LAST_LINES);
        self.0.close(LAST_LINES);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.finish();
    }
}

/// No other user reads it. The first line begins on its own, even if the file ends in half a line.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    if ends_in_half_a_line(&file, path) {
        // On a full disk the two stay one line.
        let _ = file.write_all(b"\n");
    }
    Ok(file)
}

/// A full disk or the end of the machine leaves such a line. A file that cannot be read does not tell.
fn ends_in_half_a_line(file: &File, path: &Path) -> bool {
    let is_long = |known: std::fs::Metadata| known.is_file() && known.len() > 0;
    let last = || {
        let mut byte = [0];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut byte)?;
        io::Result::Ok(byte)
    };
    file.metadata().is_ok_and(is_long) && last().is_ok_and(|byte| byte != *b"\n")
}
