//! The log's queue and its limit on lines of one kind, the writer of the audit log, and stand-ins for
//! what lines say.

pub mod metrics {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    #[derive(Default)]
    pub struct Metrics {
        pub dropped_log_lines: Counter,
        pub lost_audit_lines: Counter,
    }

    #[derive(Default)]
    pub struct Counter(AtomicU64);

    impl Counter {
        pub fn add(&self, more: u64) {
            self.0.fetch_add(more, Relaxed);
        }

        pub fn get(&self) -> u64 {
            self.0.load(Relaxed)
        }
    }
}

pub mod audit;
pub mod log;
