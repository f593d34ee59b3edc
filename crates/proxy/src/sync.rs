//! The primitives by which threads share state, under one name, and the clock by which they wait.
//!
//! `crates/schedules` compiles the files that use them with other primitives, which try the orders in
//! which threads can run. What this is not: a layer. A build has the primitives themselves.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::{thread, thread_local};

pub use arc_swap::ArcSwap;
pub use tokio::sync::Notify;

pub mod atomic {
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

pub mod time {
    pub use tokio::time::{sleep, sleep_until};
}
