//! The task that a connection runs in: it moves frames, measures round trips and asks a silent peer
//! for a sign of life.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::window::Window;
use crate::exchange::upstream::stream::{Line, UpstreamIo};
use crate::limits::UPSTREAM_STREAMS;

/// A peer that is silent this long while a request runs is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it has for that.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// After a round trip that showed a window to be large enough, no other is measured for this long;
/// after each further one twice as long. Some servers count pings.
const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// What the task and the connection's streams tell each other.
pub(super) struct Shared {
    pub(super) line: Line,
    pub(super) window: Window,
    /// Requests on it.
    pub(super) streams: Cell<u32>,
    /// How many upstream allows.
    pub(super) max_streams: Cell<u32>,
    /// Streams that were given up before their end.
    pub(super) resets: Cell<u32>,
    round_trip: RoundTrip,
    task: RefCell<Option<Waker>>,
}

/// A measurement of how much comes in a round trip.
struct RoundTrip {
    state: Cell<Measuring>,
    /// The shortest there has been, when nothing stood in a queue.
    shortest: Cell<Option<Duration>>,
    /// Number of the current round trip; what a stream has counted for an older one is void.
    number: Cell<u64>,
    /// The most bytes that have come on one stream.
    most: Cell<u32>,
    rest: Cell<Duration>,
    rests_until: Cell<Option<Instant>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Measuring {
    Not,
    /// A ping is to be sent.
    Begins,
    /// It has been on the way since then.
    Since(Instant),
}

/// What has come on a stream in the current round trip.
#[derive(Default)]
pub(super) struct Came {
    number: u64,
    bytes: u32,
}

impl Shared {
    pub(super) fn new(line: Line, window: Window) -> Self {
        Self {
            line,
            window,
            streams: Cell::new(0),
            max_streams: Cell::new(UPSTREAM_STREAMS),
            resets: Cell::new(0),
            round_trip: RoundTrip {
                // The first round trip is measured before the connection has a queue.
                state: Cell::new(Measuring::Begins),
                shortest: Cell::new(None),
                number: Cell::new(0),
                most: Cell::new(0),
                rest: Cell::new(FIRST_REST),
                rests_until: Cell::new(None),
            },
            task: RefCell::default(),
        }
    }

    /// A stream's reader has taken so many bytes.
    pub(super) fn came(&self, stream: &mut Came, bytes: usize) {
        let RoundTrip {
            state,
            number,
            most,
            rests_until,
            ..
        } = &self.round_trip;
        if stream.number != number.get() {
            *stream = Came {
                number: number.get(),
                bytes: 0,
            };
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        stream.bytes = stream.bytes.saturating_add(bytes);
        most.set(most.get().max(stream.bytes));
        let begins = state.get() == Measuring::Not
            && most.get() >= self.window.size() / 2
            && rests_until
                .get()
                .is_none_or(|until| until <= Instant::now());
        if begins {
            state.set(Measuring::Begins);
            self.begin_anew();
            if let Some(task) = self.task.borrow().as_ref() {
                task.wake_by_ref();
            }
        }
    }

    fn begin_anew(&self) {
        self.round_trip.number.set(self.round_trip.number.get() + 1);
        self.round_trip.most.set(0);
    }

    /// Ends the round trip, which took this long; gives the window's new size where it grows.
    ///
    /// A window may hold up a stream that fills it in a round trip. If the round trip is much
    /// longer than the shortest one, bytes wait in a queue, and a larger window would only make the
    /// queue longer.
    fn measured(&self, took: Duration) -> Option<u32> {
        let RoundTrip {
            state,
            shortest,
            most,
            rest,
            rests_until,
            ..
        } = &self.round_trip;
        state.set(Measuring::Not);
        let is_filled = most.get() >= self.window.size() / 2;
        self.begin_anew();
        let earlier = shortest.replace(Some(took))?;
        shortest.set(Some(earlier.min(took)));
        let is_queue = took > earlier * 2;
        let size = (is_filled && !is_queue)
            .then(|| self.window.grow())
            .flatten();
        if size.is_some() {
            rest.set(FIRST_REST);
            rests_until.set(None);
        } else {
            rests_until.set(Some(Instant::now() + rest.get()));
            rest.set((rest.get() * 2).min(LONGEST_REST));
        }
        size
    }
}

/// Runs the connection until it ends.
pub(super) async fn drive(mut connection: Connection<UpstreamIo, Bytes>, shared: Rc<Shared>) {
    let Some(pings) = connection.ping_pong() else {
        unreachable!("it is taken once");
    };
    let mut pulse = Pulse {
        pings,
        asked: false,
        heard: 0,
        alarmed: false,
        window: None,
    };
    let mut alarm = pin!(sleep(SILENCE));
    poll_fn(|cx| {
        shared.task.borrow_mut().replace(cx.waker().clone());
        pulse.measure(cx, &shared);
        if let Some(size) = pulse.window.take()
            && connection.set_initial_window_size(size).is_err()
        {
            // The last ping is not acknowledged yet; the next frame wakes this task.
            pulse.window = Some(size);
        }
        if pulse.is_lost(cx, &shared, alarm.as_mut()) {
            return Poll::Ready(());
        }
        let ended = Pin::new(&mut connection).poll(cx);
        let most = u32::try_from(connection.max_concurrent_send_streams());
        shared
            .max_streams
            .set(most.unwrap_or(UPSTREAM_STREAMS).min(UPSTREAM_STREAMS));
        ended.map(drop)
    })
    .await;
    shared.max_streams.set(0);
}

/// Pings, and what they are for.
struct Pulse {
    pings: PingPong,
    /// A ping is on the way, for any purpose.
    asked: bool,
    /// What had been heard when the alarm was set.
    heard: u64,
    /// The peer had been silent then.
    alarmed: bool,
    /// The window's size that upstream does not know yet.
    window: Option<u32>,
}

impl Pulse {
    fn measure(&mut self, cx: &mut Context<'_>, shared: &Shared) {
        let state = &shared.round_trip.state;
        if self.asked && self.pings.poll_pong(cx).is_ready() {
            self.asked = false;
            if let Measuring::Since(began) = state.get() {
                self.window = shared.measured(began.elapsed()).or(self.window);
            }
        }
        if state.get() == Measuring::Begins && !self.asked && self.ping(cx) {
            state.set(Measuring::Since(Instant::now()));
        }
    }

    fn ping(&mut self, cx: &mut Context<'_>) -> bool {
        self.asked = self.pings.send_ping(Ping::opaque()).is_ok();
        // Registers this task to be woken by the pong.
        let _ = self.pings.poll_pong(cx);
        self.asked
    }

    /// Whether the peer has been silent for too long while a request was running.
    fn is_lost(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        mut alarm: Pin<&mut Sleep>,
    ) -> bool {
        while alarm.as_mut().poll(cx).is_ready() {
            let heard = shared.line.heard();
            let is_silent = heard == self.heard && shared.streams.get() > 0;
            self.heard = heard;
            if is_silent && self.alarmed {
                return true;
            }
            if is_silent && !self.asked {
                self.ping(cx);
            }
            self.alarmed = is_silent;
            let limit = if is_silent { SIGN_OF_LIFE } else { SILENCE };
            alarm.as_mut().reset(Instant::now() + limit);
        }
        false
    }
}
