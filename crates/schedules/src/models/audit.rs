//! The writer of the audit log.
//!
//! - Every line is written once, whole, and in the order of its thread, or is counted as lost. What cannot
//!   be written at the end is said in the log.
//! - A new file loses and tears no line.
//! - Where the audit log is required, no line of a signed request is lost, and nothing is signed while the
//!   log says that it cannot be written.
//! - A line is written although no thread waits for it; the thread that writes comes to its end.

use std::sync::Arc;

use shuttle::thread;

use crate::record::audit::{Audit, Disk};
use crate::record::metrics::Metrics;

const THREADS: [&str; 2] = ["a", "b"];

struct Model {
    audit: Audit,
    disk: Disk,
    metrics: Arc<Metrics>,
}

impl Model {
    fn start(required: bool, failures: usize) -> Self {
        let disk = Disk::failing(failures);
        let metrics = Arc::<Metrics>::default();
        let audit = Audit::start(required, &disk, &metrics);
        Self {
            audit,
            disk,
            metrics,
        }
    }

    /// What `of` does on each thread, and what it returns there.
    fn on_threads(&self, of: fn(&Audit, &Disk, &str) -> u64) -> Vec<thread::JoinHandle<u64>> {
        let start = |name: &'static str| {
            let (audit, disk) = (self.audit.clone(), self.disk.clone());
            thread::spawn(move || of(&audit, &disk, name))
        };
        THREADS.into_iter().map(start).collect()
    }

    /// Of `lines` lines, each is on the disk or counted as lost.
    fn assert_complete(&self, lines: u64) {
        let written = self.disk.lines();
        let lost = self.metrics.lost_audit_lines.get();
        assert_eq!(written.len() as u64 + lost, lines, "{written:?}");
        let are_whole = written.iter().all(|line| line.len() == "a.1".len());
        assert!(are_whole, "{written:?}");
        for name in THREADS {
            let mine: Vec<_> = written
                .iter()
                .filter(|line| line.starts_with(name))
                .collect();
            let in_order = mine.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(in_order, "{written:?}");
        }
    }
}

fn three_lines(audit: &Audit, _: &Disk, name: &str) -> u64 {
    for number in 1..=3 {
        audit.line(format_args!("{name}.{number}"));
    }
    3
}

fn join(threads: Vec<thread::JoinHandle<u64>>) -> u64 {
    let each = threads.into_iter().map(thread::JoinHandle::join);
    each.map(|done| done.expect("no panic")).sum()
}

/// Two threads fill the queue, and the disk fails at times, while a new file is begun.
pub fn lines_of_two_threads() {
    let model = Model::start(false, 2);
    let threads = model.on_threads(three_lines);
    thread::yield_now();
    model.audit.reopen();
    let lines = join(threads);
    model.audit.flush();
    model.assert_complete(lines);
    model.audit.close();
}

/// The end comes while two threads still have lines, and the disk may fail until then.
pub fn lines_at_the_end() {
    let model = Model::start(false, 100);
    let threads = model.on_threads(three_lines);
    thread::yield_now();
    model.audit.close();
    let lines = join(threads);
    model.assert_complete(lines);
    assert!(model.disk.told() <= model.metrics.lost_audit_lines.get());
}

/// No request is signed whose line would be lost.
pub fn lines_that_are_required() {
    let model = Model::start(true, 2);
    let threads = model.on_threads(|audit, disk, name| {
        let mut signed = 0;
        for number in 1..=5 {
            let before = disk.trouble();
            let signs = audit.may_sign();
            let is_in_trouble = before.is_some() && disk.trouble() == before;
            assert!(!(signs && is_in_trouble), "signed and not recorded");
            if signs {
                // The request is sent, and its answer is relayed.
                thread::yield_now();
                audit.line(format_args!("{name}.{number}"));
                signed += 1;
            }
        }
        signed
    });
    thread::yield_now();
    model.audit.reopen();
    let signed = join(threads);
    model.audit.flush();
    model.assert_complete(signed);
    assert_eq!(model.metrics.lost_audit_lines.get(), 0);
    model.audit.close();
}
