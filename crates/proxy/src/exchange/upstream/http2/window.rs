//! How much upstream may send before it is read.
//!
//! A stream's window limits the memory for a client that stops reading. It also limits the speed: no
//! more than one window comes in a round trip. So windows begin small, and grow when a stream fills
//! them within a round trip and nothing else slows it down. Their growth comes from a budget that all
//! streams of a thread share, and returns to it when they end. All streams of a connection have the
//! same window (RFC 9113 6.9.2).
//!
//! What this is not: it measures no round trip. That is [`super::driver`].

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits::{UPSTREAM_FIRST_WINDOW, UPSTREAM_LARGEST_WINDOW, UPSTREAM_WINDOWS};

/// How many times as large a window becomes. In four round trips it is at its largest.
const STEP: u32 = 4;
/// From this many bytes that were dropped unread, memory is given back to the system.
const MUCH: usize = 8 * 1024 * 1024;
/// How long to wait until all streams that end at the same time have dropped theirs.
const SETTLES: Duration = Duration::from_secs(1);

/// The memory of one thread's windows.
pub(in super::super) struct Budget {
    /// Bytes that they may still grow by.
    left: Cell<u32>,
    /// Bytes that were dropped unread since memory was last given back.
    unread: Cell<usize>,
    much: Notify,
}

/// The window of one connection's streams.
pub(super) struct Window {
    size: Cell<u32>,
    streams: Cell<u32>,
    pub(super) budget: Rc<Budget>,
}

impl Budget {
    pub(in super::super) fn new() -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(UPSTREAM_WINDOWS),
            unread: Cell::new(0),
            much: Notify::new(),
        })
    }

    /// Counts `unread` bytes that are dropped unread.
    pub(super) fn let_go(&self, unread: usize) {
        self.unread.set(self.unread.get() + unread);
        if self.unread.get() >= MUCH {
            self.much.notify_one();
        }
    }

    /// Calls `give_back` whenever much was dropped. Frames are many small pieces of memory, which an
    /// allocator keeps for later ones.
    pub(in super::super) async fn give_back(self: Rc<Self>, give_back: fn()) {
        loop {
            self.much.notified().await;
            tokio::time::sleep(SETTLES).await;
            self.unread.set(0);
            // Freeing it takes a while; a failure would be a panic of the allocator's.
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }

    fn take(&self, bytes: u32) -> bool {
        match self.left.get().checked_sub(bytes) {
            None => false,
            Some(left) => {
                self.left.set(left);
                true
            }
        }
    }

    fn put(&self, bytes: u32) {
        self.left.set(self.left.get() + bytes);
    }
}

impl Window {
    pub(super) fn new(budget: Rc<Budget>) -> Self {
        Self {
            size: Cell::new(UPSTREAM_FIRST_WINDOW),
            streams: Cell::new(0),
            budget,
        }
    }

    pub(super) fn size(&self) -> u32 {
        self.size.get()
    }

    /// What a stream's window has grown by.
    fn grown(&self) -> u32 {
        self.size.get() - UPSTREAM_FIRST_WINDOW
    }

    /// Takes one more stream's window out of the budget, or says that there is not so much left.
    pub(super) fn open(&self) -> bool {
        let has_room = self.budget.take(self.grown());
        if has_room {
            self.streams.set(self.streams.get() + 1);
        }
        has_room
    }

    /// A stream has ended.
    pub(super) fn close(&self) {
        self.streams.set(self.streams.get() - 1);
        self.budget.put(self.grown());
    }

    /// Makes the window of all streams larger where the budget has so much left; gives its new size.
    pub(super) fn grow(&self) -> Option<u32> {
        let size = self.size.get() * STEP;
        let by = size - self.size.get();
        let grows = size <= UPSTREAM_LARGEST_WINDOW && self.budget.take(by * self.streams.get());
        grows.then(|| {
            self.size.set(size);
            size
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.budget.put(self.grown() * self.streams.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_to_its_largest_and_what_it_took_comes_back() {
        let budget = Budget::new();
        let window = Window::new(Rc::clone(&budget));
        assert!(window.open());
        let mut sizes = vec![window.size()];
        while let Some(size) = window.grow() {
            sizes.push(size);
        }
        assert_eq!(sizes, [16, 18, 20, 22, 24].map(|bits| 1 << bits));
        assert_eq!(
            budget.left.get(),
            UPSTREAM_WINDOWS - (UPSTREAM_LARGEST_WINDOW - UPSTREAM_FIRST_WINDOW)
        );
        window.close();
        assert_eq!(budget.left.get(), UPSTREAM_WINDOWS);
        // The window keeps its size for the next stream.
        assert!(window.open());
        assert_eq!(window.size(), UPSTREAM_LARGEST_WINDOW);
        drop(window);
        assert_eq!(budget.left.get(), UPSTREAM_WINDOWS);
    }

    #[test]
    fn all_windows_of_a_thread_keep_to_one_budget() {
        let budget = Budget::new();
        let shared = Window::new(Rc::clone(&budget));
        for _ in 0..32 {
            assert!(shared.open());
        }
        while shared.grow().is_some() {}
        assert_eq!(shared.size(), 256 << 10, "32 of 1 MiB would be 32 MiB");
        let alone = Window::new(Rc::clone(&budget));
        assert!(alone.open(), "a window that has not grown costs nothing");
        while alone.grow().is_some() {}
        assert_eq!(alone.size(), 4 << 20, "there are 10 MiB left");
        while shared.open() {}
        assert!(budget.left.get() < shared.grown());
        shared.close();
        assert!(shared.open());
    }
}
