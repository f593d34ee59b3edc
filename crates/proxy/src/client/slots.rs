//! How many connections there may be, by the descriptors of this process, and which of them makes
//! room for another.
//!
//! Some slots are reserved, so that a task which opens connections without end never keeps out a
//! launcher that updates the credentials. A client that waits for a slot looks again whenever any
//! connection has ended. What this is not: it closes nothing; see [`crate::start`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

use taskcluster_proxy_peer::raise_descriptor_limit;
use tokio::sync::Semaphore;
use tokio::sync::futures::Notified;

use crate::client::usage::{Moment, Usage};
use crate::sync::Notify;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors that tasks' connections never take: those of the runtime, of the log, of the pipes of
/// downloads, and of an update of the credentials.
const HELD_BACK: usize = 128;

/// Of the reserved descriptors, connections that may ask for an update or for health. Once half of
/// them are open, the one that has been idle for longest makes room for the next.
const RESERVED: usize = 64;

/// Idle connections leave a sixteenth of the slots free, but no more than this.
const MOST_SPARE: usize = 64;

/// The most connections that are looked at to find an idle one.
const MAX_LOOKS: usize = 4096;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections of tasks, and as many to upstreams.
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

/// The slots of all connections, as the accepting thread knows them.
pub struct Slots {
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
    /// Tells all who wait that one has ended.
    freed: Notify,
}

/// One connection's slot among those that may be open; given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    open: Arc<Open>,
    load: Arc<AtomicUsize>,
    /// Whether it is one of the reserved slots.
    pub reserved: bool,
    /// Names the connection.
    pub number: u64,
    pub usage: Arc<Usage>,
}

impl Slots {
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

    /// A slot for a connection on the thread `worker`, counted in its `load`; a reserved one where
    /// `reserved`. If none is free, `end` is asked to end an idle connection, and says whether it
    /// will. `None` if all are in use.
    pub async fn claim<E: Future<Output = bool>>(
        &self,
        reserved: bool,
        (worker, load): (usize, &Arc<AtomicUsize>),
        end: impl Fn(&Candidate) -> E,
    ) -> Option<Slot> {
        if self.are_low(reserved)
            && let Some(candidate) = self.longest_idle(reserved)
        {
            drop(end(&candidate));
        }
        let mut ending = None::<Candidate>;
        loop {
            // Begun before the look, so that no end is missed between that and the wait.
            let freed = self.freed();
            if let Some(slot) = self.take(reserved, worker, load) {
                return Some(slot);
            }
            ending = match ending {
                Some(candidate) if candidate.is_open() => {
                    freed.await;
                    Some(candidate)
                }
                // Another client took the slot.
                Some(_) => None,
                None => match self.make_room(reserved, &end).await {
                    Some(candidate) => Some(candidate),
                    // If none is idle, one may have ended since the look.
                    None => return self.take(reserved, worker, load),
                },
            };
        }
    }

    /// As [`Slots::claim`], but it waits until one of those that are in use becomes idle or ends.
    pub async fn wait_for<E: Future<Output = bool>>(
        &self,
        reserved: bool,
        (worker, load): (usize, &Arc<AtomicUsize>),
        end: impl Fn(&Candidate) -> E,
    ) -> Slot {
        loop {
            let freed = self.freed();
            if let Some(slot) = self.claim(reserved, (worker, load), &end).await {
                return slot;
            }
            freed.await;
        }
    }

    /// Asks `end` to end the connection that has been idle for longest, if one is idle.
    async fn make_room<E: Future<Output = bool>>(
        &self,
        reserved: bool,
        end: impl Fn(&Candidate) -> E,
    ) -> Option<Candidate> {
        loop {
            let candidate = self.longest_idle(reserved)?;
            if end(&candidate).await {
                return Some(candidate);
            }
        }
    }

    /// Takes a slot that is free.
    fn take(&self, reserved: bool, worker: usize, load: &Arc<AtomicUsize>) -> Option<Slot> {
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

    /// Whether so few slots are left that each one taken should free another ahead of need. Clients
    /// that connect in quick succession then do not wait for each other's slots.
    fn are_low(&self, reserved: bool) -> bool {
        let kind = self.kind(reserved);
        let taken = self.open.counter(reserved).load(Ordering::Relaxed);
        taken + kind.spare >= kind.limit
    }

    /// The connection that has been idle for longest, if one is idle.
    fn longest_idle(&self, reserved: bool) -> Option<Candidate> {
        self.kind(reserved).queue.borrow_mut().longest_idle()
    }

    /// Comes when a slot has become free since this was called.
    fn freed(&self) -> Notified<'_> {
        self.open.freed.notified()
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
        // First the slot, then the end, then the notice: each reader of a later one sees the earlier.
        self.usage.leave();
        // All waiting clients are told: the first may wait for a slot of the other kind.
        self.open.freed.notify_waiters();
    }
}

/// The slots for one kind of connections.
struct Kind {
    limit: usize,
    /// When no more slots than this are left, idle connections make room.
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
    fn is_open(&self) -> bool {
        self.usage.upgrade().is_some_and(|usage| !usage.has_left())
    }
}

/// Connections in the order in which they were last used, as far as the queue knows: it learns of a
/// use only when the connection's turn to make room has come.
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

    /// The connection that has been idle for longest. It becomes the last to be asked again, in
    /// case it is in use after all.
    fn longest_idle(&mut self) -> Option<Candidate> {
        let now = Moment::now();
        for _ in 0..MAX_LOOKS {
            let entry = self.0.first_entry()?;
            let &(known, number) = entry.key();
            let candidate = entry.remove();
            let Some(usage) = candidate.usage.upgrade().filter(|usage| !usage.has_left()) else {
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
                // The other connections have had their turn.
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn the_one_that_has_been_idle_for_longest_makes_room() {
        let limits = Limits {
            connections: 5,
            reserved: 1,
        };
        let slots = Slots::new(limits);
        let load = Arc::default();
        let take = || slots.take(false, 0, &load);
        let mut taken: Vec<Slot> = std::iter::from_fn(take).collect();
        assert_eq!(taken.len(), limits.connections);
        let longest = || slots.longest_idle(false).map(|found| found.number);
        taken[0].usage.begin();
        taken[1].usage.begin();
        taken[1].usage.end();
        assert_eq!(longest(), Some(2));
        drop(taken.remove(2));
        assert_eq!(longest(), Some(3));
        // It was in use after all, and is asked again when the others have been.
        assert_eq!(longest(), Some(4));
        taken[0].usage.end();
        assert_eq!(longest(), Some(1));
        for slot in &taken {
            slot.usage.begin();
        }
        assert_eq!(longest(), None);
        assert_eq!(longest(), None);
        taken[3].usage.end();
        assert_eq!(longest(), Some(4));
        taken.extend(take());
        assert_eq!(taken.len(), limits.connections);
        assert!(take().is_none());
        taken.extend(slots.take(true, 0, &load));
        assert!(slots.take(true, 0, &load).is_none());
        assert!(taken.last().is_some_and(|slot| slot.reserved));
    }

    #[test]
    fn all_who_wait_are_told_of_a_place_of_either_kind() {
        let slots = Slots::new(Limits {
            connections: 1,
            reserved: 1,
        });
        let load = Arc::default();
        let busy = [false, true].map(|reserved| {
            let slot = slots.take(reserved, 0, &load).expect("a slot");
            slot.usage.begin();
            slot
        });
        let end = |_: &Candidate| async { unreachable!("none is idle") };
        let mut launcher = pin!(slots.wait_for(true, (0, &load), end));
        let mut task = pin!(slots.wait_for(false, (0, &load), end));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(launcher.as_mut().poll(&mut cx).is_pending());
        assert!(task.as_mut().poll(&mut cx).is_pending());
        let [of_a_task, _of_the_launcher] = busy;
        drop(of_a_task);
        assert!(launcher.as_mut().poll(&mut cx).is_pending());
        assert!(task.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let slots = Slots::new(Limits {
            connections: 100,
            reserved: 1,
        });
        let load = Arc::default();
        let kept = slots.take(false, 0, &load);
        for _ in 0..1000 {
            assert!(slots.take(false, 0, &load).is_some());
        }
        assert!(slots.tasks.queue.borrow().0.len() < 10);
        drop(kept);
        assert_eq!(load.load(Ordering::Relaxed), 0);
    }
}
