//! How many connections there may be, by the descriptors that this process has.
//!
//! Some are held back, so that a task which opens connections without end never keeps whoever
//! updates the credentials out. What this is not: it closes nothing; see [`crate::client::accept`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskcluster_proxy_peer::raise_descriptor_limit;
use tokio::sync::{Notify, Semaphore};

/// Descriptors that tasks' connections never take: the runtime's own, the log's, the pipes of
/// downloads, and what an update of the credentials needs.
const HELD_BACK: usize = 128;

/// Of those held back, connections that may ask for an update or for health. Once half of them are
/// open, the one that has been idle for longest makes room for the next.
const RESERVED: usize = 64;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of tasks, and as many to upstreams.
    pub connections: usize,
    pub reserved: usize,
}

impl Limits {
    pub fn of_this_process() -> io::Result<Self> {
        let descriptors = usize::try_from(raise_descriptor_limit()?).unwrap_or(usize::MAX);
        let held_back = HELD_BACK.min(descriptors / 2);
        let connections = ((descriptors - held_back) / 2).min(Semaphore::MAX_PERMITS);
        Ok(Self {
            connections: connections.max(1),
            reserved: RESERVED.min(held_back / 4).max(1),
        })
    }
}

/// Connections that are open.
#[derive(Default)]
pub struct Places {
    pub tasks: AtomicUsize,
    pub reserved: AtomicUsize,
    /// Told when one has ended.
    pub freed: Notify,
}

/// One connection's place among those that may be open; given back when it is dropped.
pub struct Slot {
    places: Arc<Places>,
    load: Arc<AtomicUsize>,
    /// It is one of those held back.
    pub reserved: bool,
}

impl Slot {
    /// Takes a place, one of those held back where there is no other; `None` where none is left.
    pub fn take(places: &Arc<Places>, limits: Limits, load: &Arc<AtomicUsize>) -> Option<Self> {
        let (counter, limit, reserved) =
            if places.tasks.load(Ordering::Relaxed) < limits.connections {
                (&places.tasks, limits.connections, false)
            } else {
                (&places.reserved, limits.reserved, true)
            };
        if counter.fetch_add(1, Ordering::Relaxed) >= limit {
            counter.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        load.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            places: Arc::clone(places),
            load: Arc::clone(load),
            reserved,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let counter = if self.reserved {
            &self.places.reserved
        } else {
            &self.places.tasks
        };
        counter.fetch_sub(1, Ordering::Relaxed);
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.places.freed.notify_one();
    }
}
