//! How many connections there may be, by the descriptors that this process has, and which of them
//! makes room for another.
//!
//! Some places are held back, so that a task which opens connections without end never keeps a
//! launcher out that updates the credentials. What this is not: it closes nothing; see
//! [`crate::start`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use taskcluster_proxy_peer::raise_descriptor_limit;
use tokio::sync::{Notify, Semaphore};

use crate::client::usage::{Moment, Usage};

/// Descriptors that tasks' connections never take: the runtime's own, the log's, the pipes of
/// downloads, and what an update of the credentials needs.
const HELD_BACK: usize = 128;

/// Of those held back, connections that may ask for an update or for health. Once half of them are
/// open, the one that has been idle for longest makes room for the next.
const RESERVED: usize = 64;

/// Places that are kept free of connections that are idle: a sixteenth, but no more than this.
const MOST_SPARE: usize = 64;

/// Connections that are looked at, at most, to find one that is idle.
const LOOKS: usize = 4096;

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

/// The places of all connections, as the accepting thread knows them.
pub struct Places {
    tasks: Kind,
    reserved: Kind,
    open: Arc<Open>,
    numbers: Cell<u64>,
}

/// Connections that are open.
#[derive(Debug, Default)]
struct Open {
    tasks: AtomicUsize,
    reserved: AtomicUsize,
    /// Told when one has ended.
    freed: Notify,
}

/// One connection's place among those that may be open; given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    open: Arc<Open>,
    load: Arc<AtomicUsize>,
    /// It is one of those held back.
    pub reserved: bool,
    /// Names the connection.
    pub number: u64,
    pub usage: Arc<Usage>,
}

impl Places {
    pub fn new(limits: Limits) -> Self {
        Self {
            tasks: Kind::new(
                limits.connections,
                (limits.connections / 16).min(MOST_SPARE),
            ),
            reserved: Kind::new(limits.reserved, limits.reserved / 2),
            open: Arc::default(),
            numbers: Cell::new(0),
        }
    }

    /// A place for a connection to a thread of this load, where there is one; one of those held
    /// back where that is `reserved`.
    pub fn take(&self, reserved: bool, worker: usize, load: &Arc<AtomicUsize>) -> Option<Slot> {
        let kind = self.kind(reserved);
        let counter = self.open.counter(reserved);
        if counter.load(Ordering::Relaxed) >= kind.limit {
            return None;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        load.fetch_add(1, Ordering::Relaxed);
        let slot = Slot {
            open: Arc::clone(&self.open),
            load: Arc::clone(load),
            reserved,
            number: self.numbers.replace(self.numbers.get() + 1),
            usage: Usage::new(),
        };
        let open = counter.load(Ordering::Relaxed);
        kind.queue
            .borrow_mut()
            .join(Candidate::of(&slot, worker), open);
        Some(slot)
    }

    /// Whether so few places are left that one should be freed for each that is taken, ahead of
    /// need: so clients who connect one upon another do not wait for each other's places.
    pub fn are_low(&self, reserved: bool) -> bool {
        let kind = self.kind(reserved);
        let taken = self.open.counter(reserved).load(Ordering::Relaxed);
        taken + kind.spare >= kind.limit
    }

    /// The connection that has been idle for longest, if one is idle.
    pub fn longest_idle(&self, reserved: bool) -> Option<Candidate> {
        self.kind(reserved).queue.borrow_mut().longest_idle()
    }

    /// Waits until a connection has ended.
    pub async fn freed(&self) {
        self.open.freed.notified().await;
    }

    fn kind(&self, reserved: bool) -> &Kind {
        if reserved {
            &self.reserved
        } else {
            &self.tasks
        }
    }
}

impl Open {
    fn counter(&self, reserved: bool) -> &AtomicUsize {
        if reserved {
            &self.reserved
        } else {
            &self.tasks
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open
            .counter(self.reserved)
            .fetch_sub(1, Ordering::Relaxed);
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.open.freed.notify_one();
    }
}

/// Places that are given to the same connections.
struct Kind {
    limit: usize,
    /// While no more are left, connections that are idle make room.
    spare: usize,
    queue: RefCell<Queue>,
}

impl Kind {
    fn new(limit: usize, spare: usize) -> Self {
        Self {
            limit,
            spare,
            queue: RefCell::default(),
        }
    }
}

/// A connection that may make room, and the thread that serves it.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub worker: usize,
    pub number: u64,
    usage: Weak<Usage>,
}

impl Candidate {
    fn of(slot: &Slot, worker: usize) -> Self {
        Self {
            worker,
            number: slot.number,
            usage: Arc::downgrade(&slot.usage),
        }
    }

    /// Whether the connection has not ended yet.
    pub fn is_open(&self) -> bool {
        self.usage.strong_count() > 0
    }
}

/// Connections in the order in which they were last used, as far as that is known: a use is not
/// told, and shows when its turn to make room has come.
#[derive(Debug, Default)]
struct Queue(BTreeMap<(Moment, u64), Candidate>);

impl Queue {
    /// Takes a connection in, the latest of `open`.
    fn join(&mut self, candidate: Candidate, open: usize) {
        if self.0.len() > 2 * open {
            self.0.retain(|_, candidate| candidate.is_open());
        }
        self.0.insert((Moment::now(), candidate.number), candidate);
    }

    /// It is the last to be asked again, in case it is in use after all.
    fn longest_idle(&mut self) -> Option<Candidate> {
        let now = Moment::now();
        for _ in 0..LOOKS {
            let entry = self.0.first_entry()?;
            let &(known, number) = entry.key();
            let candidate = entry.remove();
            let Some(usage) = candidate.usage.upgrade() else {
                continue;
            };
            let since = usage.idle_since();
            let is_idle = since.is_some_and(|since| since <= known) && known < now;
            let key = since.filter(|_| !is_idle).unwrap_or(now);
            self.0.insert((key, number), candidate.clone());
            if is_idle {
                return Some(candidate);
            }
            if known >= now {
                // All the others have had their turn.
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_been_idle_for_longest_makes_room() {
        let limits = Limits {
            connections: 5,
            reserved: 1,
        };
        let places = Places::new(limits);
        let load = Arc::default();
        let take = || places.take(false, 0, &load);
        let mut slots: Vec<Slot> = std::iter::from_fn(take).collect();
        assert_eq!(slots.len(), limits.connections);
        let longest = || places.longest_idle(false).map(|found| found.number);
        slots[0].usage.begin();
        slots[1].usage.begin();
        slots[1].usage.end();
        assert_eq!(longest(), Some(2));
        drop(slots.remove(2));
        assert_eq!(longest(), Some(3));
        // It was in use after all, and is asked again when the others have been.
        assert_eq!(longest(), Some(4));
        slots[0].usage.end();
        assert_eq!(longest(), Some(1));
        for slot in &slots {
            slot.usage.begin();
        }
        assert_eq!(longest(), None);
        assert_eq!(longest(), None);
        slots[3].usage.end();
        assert_eq!(longest(), Some(4));
        slots.extend(take());
        assert_eq!(slots.len(), limits.connections);
        assert!(take().is_none());
        slots.extend(places.take(true, 0, &load));
        assert!(places.take(true, 0, &load).is_none());
        assert!(slots.last().is_some_and(|slot| slot.reserved));
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let places = Places::new(Limits {
            connections: 100,
            reserved: 1,
        });
        let load = Arc::default();
        let kept = places.take(false, 0, &load);
        for _ in 0..1000 {
            assert!(places.take(false, 0, &load).is_some());
        }
        assert!(places.tasks.queue.borrow().0.len() < 10);
        drop(kept);
        assert_eq!(load.load(Ordering::Relaxed), 0);
    }
}
