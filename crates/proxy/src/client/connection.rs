//! The state of one client's connection, by which the gate, the service and the thread's clock
//! inform each other.
//!
//! What it is not: it reads and writes nothing by itself.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper::upgrade::OnUpgrade;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::client::clock::{Clock, Tick};
use crate::client::read_budget::ReadShare;
use crate::client::usage::Usage;
use crate::limits::CLIENT_UNSENT;
use crate::message::head::HeadError;

/// The phase of a connection: the time that passes counts against the limit of its phase.
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
    pub(super) share: ReadShare,
    pub usage: Arc<Usage>,
    pub(super) phase: Cell<Phase>,
    since: Cell<Tick>,
    served: Cell<u32>,
    pub(super) refusal: RefCell<Option<(u32, HeadError)>>,
    pub(super) overdue: Cell<bool>,
    pub(super) http2: Cell<bool>,
    /// A request asks for an upgrade; what follows it waits for the answer.
    pub(super) awaits_upgrade: Cell<bool>,
    upgrade: RefCell<Option<OnUpgrade>>,
    pub(super) broken: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    ends: Cell<bool>,
    closes_answers: Cell<bool>,
    /// Bytes of an answer's body that hyper has got and not written, and the task that has more.
    unsent: Cell<usize>,
    giver: RefCell<Option<Waker>>,
    /// What the client has sent is passed on even after the client has left.
    outlives_client: Cell<bool>,
    /// The first and the last look of an unbroken series in which the client owed an
    /// acknowledgement.
    owing: Cell<Option<(Tick, Tick)>>,
}

impl Connection {
    pub fn new(
        stream: TcpStream,
        clock: Rc<Clock>,
        share: ReadShare,
        usage: Arc<Usage>,
    ) -> Rc<Self> {
        let since = Cell::new(clock.now());
        Rc::new(Self {
            stream: RefCell::new(Some(stream)),
            clock,
            share,
            usage,
            phase: Cell::new(Phase::Silent),
            since,
            served: Cell::new(0),
            refusal: RefCell::new(None),
            overdue: Cell::new(false),
            http2: Cell::new(false),
            awaits_upgrade: Cell::new(false),
            upgrade: RefCell::new(None),
            broken: Cell::new(false),
            reader: RefCell::new(None),
            ends: Cell::new(false),
            closes_answers: Cell::new(false),
            unsent: Cell::new(0),
            giver: RefCell::new(None),
            outlives_client: Cell::new(false),
            owing: Cell::new(None),
        })
    }

    /// Counts a request in. The second value says why the request's head was refused, if it was.
    pub fn begin(self: &Rc<Self>) -> (InFlight, Option<HeadError>) {
        self.usage.begin();
        let nth = self.served.get();
        self.served.set(nth + 1);
        let mut refusal = self.refusal.borrow_mut();
        let refused = match &*refusal {
            Some((of, _)) if *of == nth => refusal.take().map(|(_, refusal)| refusal),
            _ => None,
        };
        (InFlight(Rc::clone(self)), refused)
    }

    /// The phase and for how many ticks it has lasted.
    pub fn phase(&self) -> (Phase, Tick) {
        (
            self.phase.get(),
            self.clock.now().wrapping_sub(self.since.get()),
        )
    }

    /// Ends a head that has taken too long with an answer. Returns whether there is a reader to
    /// make it.
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

    /// Ready where hyper may get more of an answer. Without a limit, hyper would keep a whole read
    /// in memory for each client that does not read.
    pub fn poll_takes_more(&self, cx: &Context<'_>) -> Poll<()> {
        if self.unsent.get() < CLIENT_UNSENT || self.http2.get() {
            return Poll::Ready(());
        }
        self.giver.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// hyper has got `bytes` more bytes.
    pub fn takes(&self, bytes: usize) {
        self.unsent.set(self.unsent.get() + bytes);
    }

    /// `bytes` more bytes have been written to the client.
    pub(super) fn has_written(&self, bytes: usize) {
        let unsent = self.unsent.get();
        if unsent > 0 {
            let left = unsent.saturating_sub(bytes);
            self.unsent.set(left);
            if left < CLIENT_UNSENT
                && let Some(giver) = self.giver.take()
            {
                giver.wake();
            }
        }
    }

    /// The client, of HTTP/1.0, takes the end of the connection for the end of an answer.
    pub fn closes_answers(&self) {
        self.closes_answers.set(true);
    }

    /// Whether the client takes the end of the connection for the end of an answer.
    pub fn tells_ends_by_closing(&self) -> bool {
        self.closes_answers.get()
    }

    /// The connection ends with the answer that is being made.
    pub fn ends(&self) {
        self.ends.set(true);
    }

    /// Whether the connection ends with the answer that is being made.
    pub fn is_ending(&self) -> bool {
        self.ends.get()
    }

    /// Whether the work that is under way goes on when the client has left. A request does not; a
    /// tunnel does until it has passed on what the client sent.
    pub(super) fn outlives_client(&self) -> bool {
        self.outlives_client.get()
    }

    /// A tunnel begins, or has passed on all that its client sent.
    pub fn outlive_client(&self, outlives: bool) {
        self.outlives_client.set(outlives);
    }

    /// The client has to acknowledge sent bytes. Returns for how many ticks it has had to.
    pub(super) fn owes_acknowledgement(&self) -> Tick {
        let now = self.clock.now();
        let since = match self.owing.get() {
            // If the last look is further back than one tick, the client may have acknowledged in
            // between.
            Some((since, last)) if now.wrapping_sub(last) <= 1 => since,
            _ => now,
        };
        self.owing.set(Some((since, now)));
        now.wrapping_sub(since)
    }

    /// The client has nothing to acknowledge.
    pub(super) fn owes_nothing(&self) {
        self.owing.set(None);
    }

    /// The answer did not accept an upgrade: HTTP/1 goes on.
    pub fn no_upgrade(&self) {
        if self.awaits_upgrade.replace(false)
            && let Some(reader) = self.reader.borrow_mut().take()
        {
            reader.wake();
        }
    }

    /// The answer accepted the upgrade: what follows belongs to `upstream`.
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

    /// Whether it is in use, or about to be: what its client has sent waits to be read.
    pub fn is_wanted(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let waiting = self.with_stream(|stream| SockRef::from(stream).peek(&mut byte));
        self.usage.is_busy() || matches!(waiting, Some(Ok(1)))
    }

    /// Looks at the socket, unless it has been given away.
    pub fn with_stream<T>(&self, look: impl FnOnce(&TcpStream) -> T) -> Option<T> {
        self.stream.borrow().as_ref().map(look)
    }

    /// The socket itself, for a tunnel.
    pub fn take_stream(&self) -> Option<TcpStream> {
        self.stream.borrow_mut().take()
    }

    pub fn enter(&self, phase: Phase) {
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

/// A request that is under way on a connection, until this is dropped.
pub struct InFlight(Rc<Connection>);

impl InFlight {
    pub fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.usage.end();
    }
}
