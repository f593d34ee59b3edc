//! What is known of one client's connection: the gate, the service and the thread's clock tell each
//! other here.
//!
//! What it is not: it reads and writes nothing by itself but the rest of a connection that ends.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::message::head::HeadError;

/// Ticks of the thread's clock, see [`Clock`].
pub type Tick = u32;

/// A coarse clock that one thread's connections read for nothing.
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

/// How many connections one thread has, which tells how much one of them may read at once.
#[derive(Debug, Default)]
pub struct Crowd(Cell<usize>);

impl Crowd {
    /// Most that is read at once, and so most of a body that is in memory on one connection: with
    /// a quarter of it, an upload costs half as much again.
    pub const LARGEST_READ: usize = 1024 * 1024;
    /// What a thread's connections may read at once together, while they are few.
    const READS: usize = 8 * 1024 * 1024;
    const SMALLEST_READ: usize = 64 * 1024;

    pub(super) fn read(&self) -> usize {
        (Self::READS / self.0.get().max(1)).clamp(Self::SMALLEST_READ, Self::LARGEST_READ)
    }
}

/// What the time that passes on a connection counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come since it was accepted.
    Silent,
    /// Nothing is under way.
    Idle,
    /// A head, a preface or an HTTP/2 header block has begun.
    Head,
}

/// What the gate, the service and the thread's clock know of one connection.
pub struct Connection {
    stream: RefCell<Option<TcpStream>>,
    clock: Rc<Clock>,
    pub(super) crowd: Rc<Crowd>,
    pub(super) phase: Cell<Phase>,
    since: Cell<Tick>,
    in_flight: Cell<u32>,
    served: Cell<u32>,
    pub(super) refusal: RefCell<Option<(u32, HeadError)>>,
    pub(super) overdue: Cell<bool>,
    pub(super) blocked: Cell<bool>,
    pub(super) http2: Cell<bool>,
    /// A request asks for an upgrade; what follows it waits for the answer.
    pub(super) awaits_upgrade: Cell<bool>,
    upgrade: RefCell<Option<OnUpgrade>>,
    pub(super) broken: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    ends: Cell<bool>,
}

impl Connection {
    pub fn new(stream: TcpStream, clock: Rc<Clock>, crowd: Rc<Crowd>) -> Rc<Self> {
        let since = Cell::new(clock.now());
        crowd.0.set(crowd.0.get() + 1);
        Rc::new(Self {
            stream: RefCell::new(Some(stream)),
            clock,
            crowd,
            phase: Cell::new(Phase::Silent),
            since,
            in_flight: Cell::new(0),
            served: Cell::new(0),
            refusal: RefCell::new(None),
            overdue: Cell::new(false),
            blocked: Cell::new(false),
            http2: Cell::new(false),
            awaits_upgrade: Cell::new(false),
            upgrade: RefCell::new(None),
            broken: Cell::new(false),
            reader: RefCell::new(None),
            ends: Cell::new(false),
        })
    }

    /// Counts a request in; why its head was refused, where it was.
    pub fn begin(self: &Rc<Self>) -> (InFlight, Option<HeadError>) {
        self.in_flight.set(self.in_flight.get() + 1);
        let nth = self.served.get();
        self.served.set(nth + 1);
        let mut refusal = self.refusal.borrow_mut();
        let refused = match &*refusal {
            Some((of, _)) if *of == nth => refusal.take().map(|(_, refusal)| refusal),
            _ => None,
        };
        (InFlight(Rc::clone(self)), refused)
    }

    /// Counts a request out.
    fn end(&self) {
        let left = self.in_flight.get() - 1;
        self.in_flight.set(left);
        if left == 0 && self.phase.get() != Phase::Head {
            self.enter(Phase::Idle);
        }
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// Whether bytes wait for the client to read.
    pub fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// The phase and for how many ticks it has lasted.
    pub fn phase(&self) -> (Phase, Tick) {
        (
            self.phase.get(),
            self.clock.now().wrapping_sub(self.since.get()),
        )
    }

    /// Ends a head that has taken too long with an answer; whether there is somebody to make it.
    pub fn expire(&self) -> bool {
        let reader = self.reader.borrow_mut().take();
        let Some(reader) = reader.filter(|_| self.phase.get() == Phase::Head && !self.http2.get())
        else {
            return false;
        };
        if self.overdue.replace(true) {
            return false;
        }
        reader.wake();
        true
    }

    /// The connection ends with the answer that is being made.
    pub fn ends(&self) {
        self.ends.set(true);
    }

    /// Whether it does.
    pub fn is_ending(&self) -> bool {
        self.ends.get()
    }

    /// The answer did not accept an upgrade: HTTP/1 goes on.
    pub fn no_upgrade(&self) {
        if self.awaits_upgrade.replace(false)
            && let Some(reader) = self.reader.borrow_mut().take()
        {
            reader.wake();
        }
    }

    /// The answer accepted it: what follows belongs to `upstream`.
    pub fn upgrade_to(&self, upstream: OnUpgrade) {
        *self.upgrade.borrow_mut() = Some(upstream);
    }

    /// Where the connection goes on once HTTP/1 has ended.
    pub fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.borrow_mut().take()
    }

    /// Whether the body that is being read broke the chunked coding.
    pub fn body_is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Looks at the socket, unless it has been given away.
    pub fn with_stream<T>(&self, look: impl FnOnce(&TcpStream) -> T) -> Option<T> {
        self.stream.borrow().as_ref().map(look)
    }

    /// The socket itself, for a tunnel.
    pub fn take_stream(&self) -> Option<TcpStream> {
        self.stream.borrow_mut().take()
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.clock.now());
    }

    pub(super) fn poll_stream<T>(
        &self,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.stream.borrow_mut().as_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// A request that is under way on a connection, until this is dropped.
pub struct InFlight(Rc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.crowd.0.set(self.crowd.0.get() - 1);
    }
}

impl Connection {
    pub(super) fn enter_block(&self, in_header_block: bool) {
        match (self.phase.get(), in_header_block) {
            (Phase::Head, false) => self.enter(Phase::Idle),
            (Phase::Silent | Phase::Idle, true) => self.enter(Phase::Head),
            _ => {}
        }
    }

    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        if !reader
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *reader = Some(cx.waker().clone());
        }
    }
}

/// Closes a connection so that its last answer arrives: bytes that nobody reads any more would
/// otherwise turn the close into a reset that overtakes it (RFC 9112 9.6).
pub async fn close(connection: &Connection) {
    const LINGER: Duration = Duration::from_secs(5);
    let Some(mut stream) = connection.take_stream() else {
        return;
    };
    if SockRef::from(&stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let drain = async {
        let mut sink = vec![0; 16 * 1024];
        while matches!(stream.read(&mut sink).await, Ok(read) if read > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
