//! How many connections there may be to all upstreams, over all threads.
//!
//! A connection has a permit for as long as it lives. A request that finds none asks all threads to
//! drop idle connections, and waits. What this is not: it closes nothing by itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pool::Pool;
use crate::exchange::send_error::SendError;
use crate::sync::Notify;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::time::sleep;

/// How often a thread that waits for a permit reminds the others.
const REMIND: Duration = Duration::from_millis(100);

/// The right to one connection.
pub(super) type Permit = OwnedSemaphorePermit;

/// The rights to connections. Shared by all threads.
#[derive(Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    /// How many requests wait for one.
    starving: AtomicUsize,
    /// Wakes all threads to drop idle connections.
    pressure: Notify,
}

impl Permits {
    /// As many permits as `number` says.
    pub fn new(number: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(number)),
            starving: AtomicUsize::new(0),
            pressure: Notify::new(),
        }
    }

    /// A permit; `None` where a connection of `pool` may have become free meanwhile.
    ///
    /// # Errors
    /// When the proxy stops.
    pub(super) async fn take<B>(&self, pool: &Pool<B>) -> Result<Option<Permit>, SendError> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Some(permit));
        }
        let _starving = Starving::new(&self.starving);
        let mut permit = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            self.press();
            tokio::select! {
                biased;
                () = pool.freed() => return Ok(None),
                permit = &mut permit => {
                    let stopping = |_| SendError::Setup("the proxy is stopping".into());
                    return permit.map(Some).map_err(stopping);
                }
                () = sleep(REMIND) => {}
            }
        }
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.free.available_permits()
    }

    /// Whether a request waits for one.
    pub(super) fn are_wanted(&self) -> bool {
        self.starving.load(Ordering::Relaxed) > 0
    }

    /// Asks all threads to drop idle connections.
    pub(super) fn press(&self) {
        self.pressure.notify_waiters();
    }

    /// Ready when a thread has to drop idle connections.
    pub(super) fn pressure(&self) -> Notified<'_> {
        self.pressure.notified()
    }
}

/// A request that waits for a permit, until this is dropped.
struct Starving<'a>(&'a AtomicUsize);

impl<'a> Starving<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
