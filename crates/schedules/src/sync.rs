//! What `crates/proxy/src/sync.rs` names, with shuttle's primitives.
//!
//! tokio's primitives need no runtime, and tokio's own project tries the orders inside of them. They
//! are used here as they are, and another thread may go on before and after each call.
//!
//! Time: a wait for less than [`FOREVER`] may be over at any moment, the first included. A longer
//! wait never ends by time, so that a wake-up which is missed stops the model.

use std::fmt;
use std::sync::{Arc, LockResult, PoisonError};
use std::time::Duration;

pub use shuttle::sync::{Mutex, MutexGuard};
pub use shuttle::{thread, thread_local};
use tokio::sync::futures::Notified;

use self::atomic::{AtomicBool, Ordering};

/// The least time that never passes.
pub const FOREVER: Duration = Duration::from_secs(1 << 20);

pub mod atomic {
    pub use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

/// Here any other thread may go on.
#[derive(Default)]
struct Crossing(AtomicBool);

impl Crossing {
    fn pass(&self) {
        self.0.load(Ordering::Relaxed);
    }
}

/// As arc-swap's.
pub struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().expect("no panic"))
    }

    pub fn store(&self, value: Arc<T>) {
        *self.0.lock().expect("no panic") = value;
    }
}

/// tokio's.
#[derive(Default)]
pub struct Notify {
    inner: tokio::sync::Notify,
    crossing: Crossing,
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notified(&self) -> Notified<'_> {
        self.crossing.pass();
        self.inner.notified()
    }

    pub fn notify_one(&self) {
        self.crossing.pass();
        self.inner.notify_one();
        self.crossing.pass();
    }

    pub fn notify_waiters(&self) {
        self.crossing.pass();
        self.inner.notify_waiters();
        self.crossing.pass();
    }
}

/// As std's. Shuttle's own never times out.
#[derive(Default)]
pub struct Condvar(Arc<shuttle::sync::Condvar>);

pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

#[allow(clippy::unnecessary_wraps, reason = "std's may fail")]
impl Condvar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let alarm = Alarm::set(&self.0, limit);
        let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        Ok((guard, WaitTimeoutResult(alarm.has_rung())))
    }

    pub fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let alarm = Alarm::set(&self.0, limit);
        while condition(&mut guard) {
            if alarm.has_rung() {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, WaitTimeoutResult(false)))
    }
}

/// Wakes all threads that wait on a condition when a time is over, and repeats that until one
/// notices it: the time may be over just before the wait begins.
struct Alarm {
    rung: Arc<AtomicBool>,
    noticed: Arc<AtomicBool>,
}

impl Alarm {
    fn set(condvar: &Arc<shuttle::sync::Condvar>, limit: Duration) -> Self {
        let alarm = Self {
            rung: Arc::default(),
            noticed: Arc::default(),
        };
        if limit < FOREVER {
            let (rung, noticed) = (Arc::clone(&alarm.rung), Arc::clone(&alarm.noticed));
            let condvar = Arc::clone(condvar);
            thread::spawn(move || {
                rung.store(true, Ordering::SeqCst);
                while !noticed.load(Ordering::SeqCst) {
                    condvar.notify_all();
                    thread::yield_now();
                }
            });
        }
        alarm
    }

    fn has_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.noticed.store(true, Ordering::SeqCst);
    }
}

pub mod time {
    use super::{Arc, Duration, FOREVER, thread};

    use tokio::time::Instant;

    pub async fn sleep_until(deadline: Instant) {
        sleep(deadline.saturating_duration_since(Instant::now())).await;
    }

    pub async fn sleep(limit: Duration) {
        // A caller passes the rest of its limit, which is a little shorter than the limit.
        if limit >= FOREVER / 2 {
            std::future::pending::<()>().await;
        }
        let over = Arc::new(tokio::sync::Notify::new());
        let clock = Arc::clone(&over);
        thread::spawn(move || {
            // A thread that sleeps again and again leaves the others their turn.
            thread::yield_now();
            clock.notify_one();
        });
        over.notified().await;
    }
}
