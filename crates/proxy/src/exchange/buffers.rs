//! The buffers that all requests of a thread use in turn, never across a wait.

use std::cell::RefCell;

#[cfg(target_os = "linux")]
use crate::exchange::splice::Pipes;
use crate::message::fields::FieldLines;

/// The most bytes of an answer that are read at once.
pub const READ: usize = 64 * 1024;

/// The most buffers for the fields of a head that are kept, and the largest of them in bytes.
const MAX_LINES: usize = 32;
const MAX_LINES_ROOM: usize = 4 * 1024;

/// One thread's buffers.
pub struct Buffers {
    pub read: RefCell<Box<[u8]>>,
    write: RefCell<Vec<u8>>,
    lines: RefCell<Vec<FieldLines>>,
    #[cfg(target_os = "linux")]
    pub pipes: Pipes,
}

impl Buffers {
    /// An empty buffer for a head that goes out.
    pub fn take_write(&self) -> Vec<u8> {
        let mut bytes = self.write.take();
        bytes.clear();
        bytes
    }

    /// Keeps a buffer for the next, unless a long head has made it large.
    pub fn give_back_write(&self, bytes: Vec<u8>) {
        if bytes.capacity() <= READ {
            self.write.replace(bytes);
        }
    }

    /// Room for the fields of a head.
    pub fn take_lines(&self) -> FieldLines {
        self.lines.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the room of a head for another, unless it is large or enough is kept.
    pub fn give_back_lines(&self, lines: FieldLines) {
        let mut kept = self.lines.borrow_mut();
        if kept.len() < MAX_LINES && lines.capacity() <= MAX_LINES_ROOM {
            kept.push(lines);
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            // Pages that are never written are never resident.
            read: RefCell::new(vec![0; READ].into_boxed_slice()),
            write: RefCell::default(),
            lines: RefCell::default(),
            #[cfg(target_os = "linux")]
            pipes: Pipes::default(),
        }
    }
}
