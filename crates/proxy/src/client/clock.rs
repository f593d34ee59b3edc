//! A coarse clock that one thread's connections read for nothing.

use std::cell::Cell;
use std::time::Duration;

/// Ticks of the thread's clock.
pub type Tick = u32;

/// Counts ticks; its thread advances it.
#[derive(Debug, Default)]
pub struct Clock(Cell<Tick>);

impl Clock {
    /// Length of a tick: half of the second within which a client that left is noticed.
    pub const TICK: Duration = Duration::from_millis(400);

    pub fn now(&self) -> Tick {
        self.0.get()
    }

    pub fn advance(&self) {
        self.0.set(self.0.get().wrapping_add(1));
    }

    /// Ticks that are at least `duration`.
    pub fn ticks(duration: Duration) -> Tick {
        let ticks = duration.as_millis().div_ceil(Self::TICK.as_millis());
        Tick::try_from(ticks).unwrap_or(Tick::MAX).max(1)
    }
}
