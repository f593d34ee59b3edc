//! How many connections one thread has, which tells how much one of them may read at once.

use std::cell::Cell;
use std::rc::Rc;

/// The connections of a thread.
#[derive(Debug, Default)]
pub struct Crowd(Cell<usize>);

impl Crowd {
    /// Most that is read at once, and so most of a body that is in memory on one connection: with
    /// a quarter of it, an upload costs half as much again.
    pub const LARGEST_READ: usize = 1024 * 1024;
    /// What a thread's connections may read at once together, while they are few.
    const READS: usize = 8 * 1024 * 1024;
    const SMALLEST_READ: usize = 64 * 1024;

    /// Counts a connection in until what this gives is dropped.
    pub fn join(self: &Rc<Self>) -> Member {
        self.0.set(self.0.get() + 1);
        Member(Rc::clone(self))
    }
}

/// One connection among the others of its thread.
pub struct Member(Rc<Crowd>);

impl Member {
    /// How much it may read at once.
    pub fn read(&self) -> usize {
        (Crowd::READS / self.0.0.get().max(1)).clamp(Crowd::SMALLEST_READ, Crowd::LARGEST_READ)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
