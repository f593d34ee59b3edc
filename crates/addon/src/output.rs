//! Writing to stdout and stderr without waiting for their readers.
//!
//! Node writes to a pipe or a terminal synchronously on its main thread: if it is full and not read,
//! all JavaScript stops. What this is not: the log of requests, which `record/log` of the proxy writes.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use napi_derive::napi;

/// See `say` in `ts/native.ts`.
#[napi]
pub fn say(stream: u8, text: String, patience: u32) -> bool {
    write(stream, text, Duration::from_millis(patience.into()))
}

/// Hands `text` to a thread that writes it to stdout (1) or stderr (2), and waits at most
/// `patience` for it. Returns whether the text has been written by then. A thread that waits for a
/// reader delays nothing, not even the end of the process.
pub fn write(stream: u8, text: String, patience: Duration) -> bool {
    let (done, is_done) = mpsc::channel();
    let write = move || {
        let written = match stream {
            1 => write_all(io::stdout().lock(), &text),
            _ => write_all(io::stderr().lock(), &text),
        };
        let _ = done.send(written.is_ok());
    };
    let started = thread::Builder::new().name("say".to_owned()).spawn(write);
    started.is_ok() && is_done.recv_timeout(patience).unwrap_or(false)
}

/// Whether stdout (1) or stderr (2) takes some text at once, as far as the system tells. A pipe does
/// if it has room for `PIPE_BUF` bytes.
#[cfg(unix)]
pub fn has_room(stream: u8) -> bool {
    let mut poll = libc::pollfd {
        fd: stream.into(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one whole pollfd, which outlives the call, and no wait.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLOUT != 0
}

/// Always true: this system does not tell whether stdout (1) or stderr (2) takes text at once.
#[cfg(not(unix))]
pub fn has_room(_: u8) -> bool {
    true
}

fn write_all(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}
