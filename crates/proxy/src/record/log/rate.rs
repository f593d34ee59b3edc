//! A limit on lines of one kind: one in a while, and the number of those left out.

use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// At most one line of the rate-limited kind in this time.
pub(super) const RATE: Duration = Duration::from_secs(1);

/// Lets one line through in [`RATE`] and counts the others.
pub(super) struct RateLimit {
    base: Instant,
    /// Milliseconds after `base`.
    pub(super) next: AtomicU64,
    left_out: AtomicU64,
}

impl RateLimit {
    pub fn new() -> Self {
        Self {
            base: Instant::now(),
            next: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// How many were left out before this one, or `None` if this one is.
    pub fn pass(&self) -> Option<u64> {
        let now = self.now();
        let next = self.next.load(Relaxed);
        let later = now.saturating_add(millis(RATE));
        if now < next
            || self
                .next
                .compare_exchange(next, later, Relaxed, Relaxed)
                .is_err()
        {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Relaxed))
    }

    /// How many were left out, if any, for a line of their own.
    pub fn rest(&self) -> Option<u64> {
        let rest = Some(self.left_out.swap(0, Relaxed)).filter(|rest| *rest > 0);
        if rest.is_some() {
            self.next
                .store(self.now().saturating_add(millis(RATE)), Relaxed);
        }
        rest
    }

    fn now(&self) -> u64 {
        millis(self.base.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
