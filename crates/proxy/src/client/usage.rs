//! Whether a client's connection is in use, and since when it is not.
//!
//! It is in use while it has a request, a tunnel or an unwritten part of an answer. All code that ends
//! idle connections, for their age or to make room, asks here. What this is not: it ends nothing, and
//! it does not know the time that a head may take.
//!
//! The connection's own thread changes it, and the accepting thread reads it. So it needs no lock, and
//! a value may be out of date when it is used.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A time that all threads count alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Self {
        let nanoseconds = START.elapsed().as_nanos();
        Self(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// The time that comes so much later.
    #[cfg(test)]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0 + u64::try_from(duration.as_nanos()).expect("a short time"))
    }

    /// The time from `earlier` on.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What occupies one connection.
#[derive(Debug)]
pub struct Usage {
    uses: AtomicU32,
    blocked: AtomicBool,
    last: AtomicU64,
    /// The connection has ended.
    left: AtomicBool,
}

impl Usage {
    /// The usage of a connection that has just come.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            uses: AtomicU32::new(0),
            blocked: AtomicBool::new(false),
            last: AtomicU64::new(Moment::now().0),
            left: AtomicBool::new(false),
        })
    }

    /// A request, a tunnel, or a part of an answer begins to occupy it.
    pub fn begin(&self) {
        let uses = self.uses.load(Ordering::Relaxed);
        self.uses.store(uses + 1, Ordering::Relaxed);
    }

    /// What began has ended.
    pub fn end(&self) {
        let uses = self.uses.load(Ordering::Relaxed);
        self.uses.store(uses - 1, Ordering::Relaxed);
        if uses == 1 {
            self.touch();
        }
    }

    /// Whether bytes wait for the client to read.
    pub fn block(&self, blocked: bool) {
        if self.blocked.load(Ordering::Relaxed) != blocked {
            self.blocked.store(blocked, Ordering::Relaxed);
            self.touch();
        }
    }

    pub fn is_busy(&self) -> bool {
        self.uses.load(Ordering::Relaxed) > 0 || self.blocked.load(Ordering::Relaxed)
    }

    /// When it was last used, or came; `None` while it is in use.
    pub fn idle_since(&self) -> Option<Moment> {
        let last = Moment(self.last.load(Ordering::Relaxed));
        (!self.is_busy()).then_some(last)
    }

    /// The connection ends, and its place is free.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Whether it has ended. A caller that sees the end also sees all that was done before it.
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    fn touch(&self) {
        self.last.store(Moment::now().0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_counts_from_the_end_of_the_last_use() {
        let usage = Usage::new();
        let mut last = usage.idle_since().expect("idle");
        let mut assert_used = |usage: &Usage| {
            let since = usage.idle_since().expect("idle");
            assert!(since > last);
            last = since;
        };
        usage.begin();
        usage.begin();
        usage.end();
        assert!(usage.is_busy());
        assert_eq!(usage.idle_since(), None);
        usage.end();
        assert_used(&usage);
        usage.block(true);
        assert_eq!(usage.idle_since(), None);
        usage.begin();
        usage.block(false);
        assert_eq!(usage.idle_since(), None);
        usage.end();
        assert_used(&usage);
        let since = usage.idle_since();
        usage.block(false);
        assert_eq!(usage.idle_since(), since);
    }
}
