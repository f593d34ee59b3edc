//! The number of a thread's connections, which limits how much one of them may read at once, and the
//! buffer into which they read heads in turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;

/// The connections of a thread.
#[derive(Debug, Default)]
pub struct ReadBudget {
    count: Cell<usize>,
    room: RefCell<BytesMut>,
}

impl ReadBudget {
    /// The most that is read at once, and so the most of a body that is in memory on one
    /// connection. With a quarter of it, an upload costs half as much again.
    pub const LARGEST_READ: usize = 1024 * 1024;
    /// What a thread's connections may read at once together, while they are few.
    const READS: usize = 8 * 1024 * 1024;
    const SMALLEST_READ: usize = 64 * 1024;
    /// Most room for a head that is kept, in bytes.
    const LARGEST_ROOM: usize = 4096;

    /// Counts a connection in until the returned share is dropped.
    pub fn join(self: &Rc<Self>) -> ReadShare {
        self.count.set(self.count.get() + 1);
        ReadShare(Rc::clone(self))
    }
}

/// One connection among the others of its thread.
pub struct ReadShare(Rc<ReadBudget>);

impl ReadShare {
    /// How many bytes it may read at once.
    pub fn read(&self) -> usize {
        (ReadBudget::READS / self.0.count.get().max(1))
            .clamp(ReadBudget::SMALLEST_READ, ReadBudget::LARGEST_READ)
    }

    /// Room for a head, as much as there happens to be.
    pub fn take_room(&self) -> BytesMut {
        self.0.room.take()
    }

    /// Keeps room that is not needed any more for the next head, unless a long one has made it large.
    pub fn give_room(&self, mut room: BytesMut) {
        room.clear();
        if (1..=ReadBudget::LARGEST_ROOM).contains(&room.capacity()) {
            self.0.room.replace(room);
        }
    }
}

impl Drop for ReadShare {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
    }
}
