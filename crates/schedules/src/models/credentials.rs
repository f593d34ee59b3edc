//! The set in force and its updates.
//!
//! - A request that begins when an update has been answered runs with that set, or a later one.
//! - Where an update waits without limit, no request runs with the set before once it is answered.
//! - A request keeps the set that it began with. Updates take effect in their turns, whole or not at
//!   all. All requests and all updates come to an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use crate::Update;
use crate::signing::credentials::CredentialSet;
use crate::signing::in_force::{Abandoned, InForce};
use crate::sync::FOREVER;

const UPDATES: usize = 3;

/// Two threads that update, one that gives its update up at the last moment, and two with requests.
struct Model {
    in_force: InForce,
    /// Sets are numbered in the order of their turns.
    turns: AtomicUsize,
    /// The set of the latest update that has been answered.
    answered: AtomicUsize,
    /// Requests that run, by their sets.
    running: [AtomicUsize; UPDATES + 1],
    waits: bool,
}

/// Updates wait for as long as requests run.
pub fn updates_that_wait() {
    run(Update::Drain(FOREVER));
}

/// The time for which an update waits may be over at any moment.
pub fn updates_that_wait_for_a_while() {
    run(Update::Drain(Duration::from_secs(5)));
}

/// Updates wait for no request.
pub fn updates_at_once() {
    run(Update::Immediate);
}

fn run(update: Update) {
    let model = Arc::new(Model {
        in_force: InForce::new(CredentialSet::default(), update),
        turns: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        running: Default::default(),
        waits: matches!(update, Update::Drain(limit) if limit >= FOREVER),
    });
    let start = |job: fn(&Model)| {
        let model = Arc::clone(&model);
        thread::spawn(move || job(&model))
    };
    let threads = [
        start(|model| (0..3).for_each(|_| model.request())),
        start(|model| (0..2).for_each(|_| model.request())),
        start(|model| (0..2).for_each(|_| model.update())),
        start(Model::update),
        start(Model::give_up),
    ];
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(model.in_force.current().number(), UPDATES);
    assert_eq!(model.answered.load(SeqCst), UPDATES);
}

impl Model {
    fn request(&self) {
        let answered = self.answered.load(SeqCst);
        let entered = block_on(self.in_force.enter());
        let set = entered.set().number();
        assert!(set >= answered, "{set} after {answered} was answered");
        self.running[set].fetch_add(1, SeqCst);
        // The request is signed, and its answer is relayed.
        thread::yield_now();
        assert_eq!(entered.set().number(), set);
        self.running[set].fetch_sub(1, SeqCst);
        drop(entered);
    }

    fn update(&self) {
        let set = CredentialSet::default();
        let turn = || {
            set.set_number(self.turns.fetch_add(1, SeqCst) + 1);
            true
        };
        let replaced = block_on(self.in_force.replace(set.clone(), turn));
        assert_eq!(replaced, Ok(()));
        self.answered.fetch_max(set.number(), SeqCst);
        let mut older = self.running[..set.number()].iter();
        let are_over = older.all(|running| running.load(SeqCst) == 0);
        assert!(!self.waits || are_over, "a request was not waited for");
    }

    fn give_up(&self) {
        let set = CredentialSet::default();
        set.set_number(usize::MAX);
        let replaced = block_on(self.in_force.replace(set, || false));
        assert_eq!(replaced, Err(Abandoned));
        assert!(self.in_force.current().number() <= UPDATES);
    }
}
