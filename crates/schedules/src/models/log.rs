//! The log's queue.
//!
//! - Every line is written once, whole, and in the order of its thread, or is counted as lost; the
//!   numbers told in the log add up to that count.
//! - A flush waits until the lines so far are written, and for no later ones.
//! - A line is written although no thread waits for it.
//! - What came before the end is written, and the thread that writes comes to its end.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use shuttle::sync::mpsc::{Sender, channel};
use shuttle::thread;

use crate::record::log::Log;
use crate::record::metrics::Metrics;
use crate::sync::FOREVER;

/// What makes a line so long that two fill the queue's 512 KiB, and leave no room for any other.
const LONG: usize = 256 * 1024 - "a1\n".len();

/// Takes all that is written.
#[derive(Clone, Default)]
struct Reader(Arc<Mutex<Vec<u8>>>);

impl Reader {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8(bytes.clone()).expect("text");
        assert!(text.is_empty() || text.ends_with('\n'), "half a line");
        let begin = |line: &str| line.split('.').next().unwrap_or_default().to_owned();
        text.lines().map(begin).collect()
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        drop(written);
        thread::yield_now();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells what is written, as it is.
struct Teller(Sender<Vec<u8>>);

impl Write for Teller {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two lines; the second may come after the first is written.
pub fn lines_without_a_flush() {
    let (teller, told) = channel();
    let log = Log::start(Box::new(Teller(teller)), Arc::default()).expect("a thread");
    log.say(format_args!("a"));
    thread::yield_now();
    log.say(format_args!("b"));
    let mut written = Vec::new();
    while written != b"a\nb\n" {
        written.extend(told.recv().expect("more"));
    }
    log.close();
}

/// Two threads that log and wait, each for its own lines.
pub fn lines_that_are_waited_for() {
    let reader = Reader::default();
    let log = Log::start(Box::new(reader.clone()), Arc::default()).expect("a thread");
    let threads = ["a", "b"].map(|name| {
        let (log, reader) = (log.clone(), reader.clone());
        thread::spawn(move || {
            for number in 1..=2 {
                log.say(format_args!("{name}{number}"));
                assert!(log.flush(FOREVER));
                let mine = reader.lines();
                let mine: Vec<_> = mine.iter().filter(|line| line.starts_with(name)).collect();
                assert_eq!(mine.len(), number, "{mine:?}");
                assert!(mine.is_sorted(), "{mine:?}");
            }
        })
    });
    for thread in threads {
        thread.join().expect("no panic");
    }
    log.close();
}

/// The end comes when lines are still there.
pub fn lines_at_the_end() {
    let reader = Reader::default();
    let log = Log::start(Box::new(reader.clone()), Arc::default()).expect("a thread");
    let other = log.clone();
    let other = thread::spawn(move || other.say(format_args!("b")));
    log.say(format_args!("a"));
    other.join().expect("no panic");
    log.close();
    assert!(log.flush(FOREVER));
    let mut lines = reader.lines();
    lines.sort();
    assert_eq!(lines, ["a", "b"]);
}

/// More lines than the queue has room for.
pub fn lines_without_room() {
    let reader = Reader::default();
    let metrics = Arc::<Metrics>::default();
    let log = Log::start(Box::new(reader.clone()), Arc::clone(&metrics)).expect("a thread");
    let threads = ["a", "b"].map(|name| {
        let log = log.clone();
        thread::spawn(move || {
            for number in 1..=3 {
                log.say(format_args!("{name}{number}{}", ".".repeat(LONG)));
            }
        })
    });
    for thread in threads {
        thread.join().expect("no panic");
    }
    // The number of the lost stands behind the lines before them.
    assert!(log.flush(FOREVER));
    let lines = reader.lines();
    let (told, others): (Vec<_>, Vec<_>) = lines
        .iter()
        .partition(|line| line.ends_with(" log lines were dropped"));
    let told = told.iter().filter_map(|line| line.split(' ').next());
    let told: u64 = told
        .map(|number| number.parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(told, metrics.dropped_log_lines.get(), "{lines:?}");
    assert_eq!(told + others.len() as u64, 6, "{lines:?}");
    for name in ["a", "b"] {
        let mine = others.iter().filter(|line| line.starts_with(name));
        assert!(mine.is_sorted(), "{lines:?}");
    }
    log.close();
}
