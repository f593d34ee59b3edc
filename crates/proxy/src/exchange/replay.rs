//! A request's body, kept while it streams, so that the request can be tried again.
//!
//! A [`Replay`] owns the client's body. Each try of the request gets an attempt of it, a
//! [`ReplayBody`]: it gives out what earlier attempts have read already, then goes on reading from
//! the client. What is read is kept until a limit is passed, the request's own or the
//! [`ReplayBudget`] that all requests share. Then all kept bytes are dropped at once, the running
//! attempt streams on, and there is no further one.
//!
//! What it is not: it decides neither whether nor when a request is tried again, and it never reads
//! ahead. A body moves only as fast as the attempt is polled, without a task or a channel.
//!
//! Edges:
//! - Framing stays as it came. A body of known length announces that length in each attempt, one of
//!   unknown length never announces any, even when its end is known by then, and an empty body is
//!   empty from the start and costs no allocation.
//! - A body with an announced length over the limit is not kept at all. It can be tried again for as
//!   long as no byte of it has been given out.
//! - Kept bytes are copied into blocks of the replay's own. A frame is a slice of some connection's
//!   read buffer, of unknown size, which keeping the slice would pin; so what is accounted for is
//!   what is in memory.
//! - One attempt reads at a time. When a newer one begins, older ones end with
//!   [`ReplayError::Over`], also those that were waiting for the client. So does the last one where
//!   its answer needs no more of the body ([`Rest::end`]).

use std::cell::RefCell;
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::message::strict_body::StrictBody;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// First block of a body of unknown length; most such bodies are small.
const FIRST_BLOCK: usize = 4 * 1024;
/// Later blocks double up to this, so that little is allocated that may never be filled.
const LARGEST_BLOCK: usize = 64 * 1024;
/// The bytes that a header field takes besides its name and value, roughly.
const FIELD_OVERHEAD: usize = 64;

/// A request's body and what has been kept of it. One per request; not shared between threads.
pub struct Replay<B = StrictBody<Incoming>> {
    /// `None` is an empty body.
    state: Option<Rc<RefCell<State<B>>>>,
    created: Instant,
}

/// What is left of a body behind the answer to its request.
pub struct Rest<B = StrictBody<Incoming>>(Rc<RefCell<State<B>>>);

/// One attempt at sending the body.
pub struct ReplayBody<B = StrictBody<Incoming>> {
    state: Option<Rc<RefCell<State<B>>>>,
    /// Number of this attempt; it is the current one while the state has the same.
    number: u64,
    place: Place,
    /// Bytes of data given out.
    given: u64,
    ended: bool,
}

/// Where an attempt stands in the body.
#[derive(Clone, Copy)]
enum Place {
    /// Before the kept block of this index; after the last come the trailers.
    Kept(usize),
    /// Where the source stands.
    Source,
    /// Before bytes that are not there any more.
    Lost,
}

/// Bytes that all requests' kept bodies may take together. Shared by all threads.
#[derive(Debug)]
pub struct ReplayBudget {
    limit: usize,
    used: AtomicUsize,
}

/// Keeps an attempt from reading the client's body until upstream has asked for it
/// (`Expect: 100-continue`, RFC 9110 10.1.1).
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<Mutex<HoldState>>);

#[derive(Debug)]
enum HoldState {
    Held(Option<Waker>),
    Released,
}

/// Why an attempt ended before the body did.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The client broke its request off, or it was not well-formed.
    #[error("the client's request body ended early")]
    Source(#[source] Option<Box<dyn StdError + Send + Sync>>),
    /// Another attempt has begun, or the answer needs no more of the body.
    #[error("this try of the request is over")]
    Over,
    /// The body is past the limit, so its beginning is gone.
    #[error("the request body is not kept and cannot be sent again")]
    NotKept,
}

struct State<B> {
    /// `None` once the body has been given back.
    source: Option<B>,
    kept: Kept,
    /// Length of the whole body, if it was announced.
    announced: Option<u64>,
    trailers: Option<HeaderMap>,
    /// Something of the source has been given out.
    touched: bool,
    flow: Flow,
    /// The current attempt found nothing more to give out, and the body has not ended.
    awaits_client: bool,
    last_progress: Instant,
    /// Number of the current attempt, from 1; older ones are over.
    current: u64,
    /// The current attempt's, while it waits for the source.
    waiting: Option<Waker>,
    /// What the current attempt waits behind.
    hold: Option<Hold>,
    /// The answer refuses the request.
    refused: bool,
    /// Gets the rest of the body if the body is dropped before its end.
    on_rest: Option<Box<dyn FnOnce(B)>>,
}

impl<B> Drop for State<B> {
    fn drop(&mut self) {
        if let (Flow::Open, Some(on_rest), Some(rest)) =
            (self.flow, self.on_rest.take(), self.source.take())
        {
            on_rest(rest);
        }
    }
}

/// What may still come from the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Ended,
    Failed,
}

/// The kept prefix of a body: full blocks, and one that is being filled.
struct Kept {
    /// `false` once a limit was passed; nothing is kept from then on.
    whole: bool,
    blocks: Vec<Bytes>,
    tail: BytesMut,
    /// Bytes kept, of data and of trailers.
    len: usize,
    limit: usize,
    /// Length of the whole body, if it was announced.
    announced: Option<usize>,
    /// Bytes taken from the budget: all blocks at their full size.
    reserved: usize,
    budget: Arc<ReplayBudget>,
}

// === impl Replay ===

impl<B> Replay<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Takes the client's body. At most `limit` bytes of it are kept, 0 for none.
    pub fn new(source: B, limit: u64, budget: Arc<ReplayBudget>) -> Self {
        let created = Instant::now();
        if source.is_end_stream() {
            return Self {
                state: None,
                created,
            };
        }
        let hint = source.size_hint();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let kept = Kept {
            whole: limit > 0 && hint.lower() <= limit as u64,
            blocks: Vec::new(),
            tail: BytesMut::new(),
            len: 0,
            limit,
            announced: hint.exact().and_then(|length| usize::try_from(length).ok()),
            reserved: 0,
            budget,
        };
        let state = State {
            source: Some(source),
            kept,
            announced: hint.exact(),
            trailers: None,
            touched: false,
            flow: Flow::Open,
            awaits_client: false,
            last_progress: created,
            current: 0,
            waiting: None,
            hold: None,
            refused: false,
            on_rest: None,
        };
        Self {
            state: Some(Rc::new(RefCell::new(state))),
            created,
        }
    }

    /// The body from its beginning, for one try. Any earlier attempt ends with an error.
    ///
    /// Where [`Self::can_replay`] is false, the attempt is an error and nothing else.
    pub fn attempt(&self) -> ReplayBody<B> {
        self.begin(None)
    }

    /// As [`Self::attempt`], but nothing is read from the client or given out before `hold` is
    /// released.
    pub fn attempt_held(&self, hold: Hold) -> ReplayBody<B> {
        self.begin(Some(hold))
    }

    fn begin(&self, hold: Option<Hold>) -> ReplayBody<B> {
        let (number, place) = match &self.state {
            Some(state) => state.borrow_mut().begin(hold),
            None => (0, Place::Source),
        };
        ReplayBody {
            state: self.state.clone(),
            number,
            place,
            given: 0,
            ended: self.state.is_none(),
        }
    }

    /// Whether a further attempt would be the whole body: nothing has been given out yet, or all
    /// that was is kept, and the client has not failed.
    pub fn can_replay(&self) -> bool {
        self.state.as_ref().is_none_or(|state| {
            let state = state.borrow();
            state.flow != Flow::Failed && (state.kept.whole || !state.touched)
        })
    }

    /// Whether what is given out is kept.
    pub fn is_kept(&self) -> bool {
        let state = self.state.as_ref();
        state.is_none_or(|state| state.borrow().kept.whole)
    }

    /// Whether the body ended in an error of the client's: it left, or what it sent was not a body.
    pub fn source_failed(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|state| state.borrow().flow == Flow::Failed)
    }

    /// What the client has not sent yet, if anything; there is no further attempt.
    pub fn into_rest(self) -> Option<Rest<B>> {
        let open = |state: &Rc<RefCell<State<B>>>| state.borrow().flow != Flow::Ended;
        self.state.filter(open).map(Rest)
    }

    /// Whether the current attempt waits for more of the body to come from the client.
    pub fn awaits_client(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|state| state.borrow().awaits_client)
    }

    /// When the current attempt last gave something out or came to its end; at first, when the
    /// replay was made.
    pub fn last_progress(&self) -> Instant {
        self.state
            .as_ref()
            .map_or(self.created, |state| state.borrow().last_progress)
    }
}

// === impl Rest ===

impl<B> Rest<B> {
    /// Whether upstream has not asked for the body (RFC 9110 10.1.1).
    pub fn is_held(&self) -> bool {
        self.0.borrow().hold.as_ref().is_some_and(Hold::is_held)
    }

    /// The answer refuses the request. From now on it makes no difference to it that the client
    /// ends its body early.
    pub fn refuse(&self) {
        self.0.borrow_mut().refused = true;
    }

    /// The body goes on behind its answer. `on_rest` gets what is left where upstream takes no more of
    /// it, and is dropped otherwise when the body has ended.
    pub fn leave_to(&self, on_rest: impl FnOnce(B) + 'static) {
        self.0.borrow_mut().on_rest = Some(Box::new(on_rest));
    }

    /// Ends the attempt: upstream gets no more of the body. Gives what is left of it.
    pub fn end(self) -> Option<B> {
        let mut state = self.0.borrow_mut();
        state.supersede();
        state.source.take()
    }
}

// === impl ReplayBody ===

impl<B> Body for ReplayBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Data = Bytes;
    type Error = ReplayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplayError>>> {
        let this = &mut *self;
        let Some(state) = this.state.as_ref().filter(|_| !this.ended) else {
            return Poll::Ready(None);
        };
        let state = &mut *state.borrow_mut();
        if state.current != this.number {
            this.ended = true;
            return Poll::Ready(Some(Err(ReplayError::Over)));
        }
        let Poll::Ready(step) = state.poll_next(&mut this.place, cx) else {
            state.wait(cx);
            state.awaits_client = state.hold.is_none();
            return Poll::Pending;
        };
        if let Ok(Some(data)) = step
            .as_ref()
            .map(|frame| frame.as_ref().and_then(Frame::data_ref))
        {
            this.given += data.len() as u64;
        }
        this.ended = !matches!(step, Ok(Some(_))) || state.is_past_end(this.place);
        state.awaits_client = false;
        state.last_progress = Instant::now();
        Poll::Ready(step.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    /// What is left of the announced length; nothing is said where none was announced.
    fn size_hint(&self) -> SizeHint {
        match &self.state {
            None => SizeHint::with_exact(0),
            Some(state) => match state.borrow().announced {
                Some(length) => SizeHint::with_exact(length.saturating_sub(self.given)),
                None => SizeHint::default(),
            },
        }
    }
}

// === impl State ===

impl<B> State<B> {
    /// Ends the current attempt.
    fn supersede(&mut self) {
        self.current += 1;
        self.awaits_client = false;
        if let Some(superseded) = self.waiting.take() {
            superseded.wake();
        }
    }
}

impl<B> State<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Begins an attempt; gives its number and where it starts.
    fn begin(&mut self, hold: Option<Hold>) -> (u64, Place) {
        self.supersede();
        self.hold = hold;
        let place = if !self.touched {
            Place::Source
        } else if self.kept.whole {
            self.kept.seal_tail();
            Place::Kept(0)
        } else {
            Place::Lost
        };
        (self.current, place)
    }

    fn poll_next(
        &mut self,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, ReplayError>> {
        if let Some(hold) = &self.hold {
            ready!(hold.poll_released(cx));
            self.hold = None;
        }
        match *place {
            Place::Lost => return Poll::Ready(Err(ReplayError::NotKept)),
            Place::Kept(index) => {
                if let Some(block) = self.kept.blocks.get(index) {
                    *place = Place::Kept(index + 1);
                    return Poll::Ready(Ok(Some(Frame::data(block.clone()))));
                }
                *place = Place::Source;
                if let Some(trailers) = &self.trailers {
                    return Poll::Ready(Ok(Some(Frame::trailers(trailers.clone()))));
                }
            }
            Place::Source => {}
        }
        self.poll_source(cx)
    }

    /// Reads on from the client, keeping what it gives.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, ReplayError>> {
        loop {
            match self.flow {
                Flow::Open => {}
                Flow::Ended => return Poll::Ready(Ok(None)),
                Flow::Failed if self.refused => return Poll::Pending,
                Flow::Failed => return Poll::Ready(Err(ReplayError::Source(None))),
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(Err(ReplayError::Over));
            };
            let frame = match ready!(Pin::new(&mut *source).poll_frame(cx)) {
                None => {
                    self.flow = Flow::Ended;
                    continue;
                }
                Some(Err(error)) => {
                    self.flow = Flow::Failed;
                    self.kept.let_go();
                    if self.refused {
                        return Poll::Pending;
                    }
                    return Poll::Ready(Err(ReplayError::Source(Some(error.into()))));
                }
                Some(Ok(frame)) => frame,
            };
            if let Some(data) = frame.data_ref() {
                self.kept.keep(data);
                if source.is_end_stream() {
                    self.flow = Flow::Ended;
                }
            } else if let Some(trailers) = frame.trailers_ref() {
                self.trailers = self.kept.keep_trailers(trailers);
                self.flow = Flow::Ended;
            } else {
                continue;
            }
            self.touched = true;
            return Poll::Ready(Ok(Some(frame)));
        }
    }

    /// Whether an attempt at `place` has given out everything, as far as is known by now.
    fn is_past_end(&self, place: Place) -> bool {
        self.flow == Flow::Ended
            && match place {
                Place::Kept(index) => index >= self.kept.blocks.len() && self.trailers.is_none(),
                Place::Source => true,
                Place::Lost => false,
            }
    }

    /// Remembers the current attempt, to wake it when a newer one takes its place.
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waiting {
            Some(waiting) => waiting.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// Keeps a copy of `data`, or lets everything go where that would pass a limit.
    fn keep(&mut self, data: &[u8]) {
        if !self.whole {
            return;
        }
        if self.len + data.len() > self.limit || !self.append(data) {
            self.let_go();
        }
    }

    /// A copy of the trailers, unless that would pass a limit.
    fn keep_trailers(&mut self, trailers: &HeaderMap) -> Option<HeaderMap> {
        if !self.whole {
            return None;
        }
        let size = trailers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
            .sum();
        if self.len + size > self.limit || !self.reserve(size) {
            self.let_go();
            return None;
        }
        self.len += size;
        Some(trailers.clone())
    }

    fn append(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let room = self.tail.capacity() - self.tail.len();
            if room == 0 {
                let size = self.next_block();
                if !self.reserve(size) {
                    return false;
                }
                self.seal_tail();
                self.tail = BytesMut::with_capacity(size);
                continue;
            }
            let (now, later) = data.split_at(room.min(data.len()));
            self.tail.extend_from_slice(now);
            self.len += now.len();
            data = later;
        }
        true
    }

    /// The size of the next block: as large as what is still to come, or else as what has come so
    /// far.
    fn next_block(&self) -> usize {
        match self.announced {
            Some(announced) => announced.saturating_sub(self.len).clamp(1, LARGEST_BLOCK),
            None => self.len.clamp(FIRST_BLOCK, LARGEST_BLOCK),
        }
    }

    /// Makes a block of what the tail holds; the tail keeps the room that it has left.
    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.blocks.push(self.tail.split().freeze());
        }
    }

    fn reserve(&mut self, size: usize) -> bool {
        let taken = self.budget.take(size);
        if taken {
            self.reserved += size;
        }
        taken
    }

    fn let_go(&mut self) {
        self.whole = false;
        self.blocks = Vec::new();
        self.tail = BytesMut::new();
        self.budget.give_back(std::mem::take(&mut self.reserved));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.give_back(self.reserved);
    }
}

// === impl ReplayBudget ===

impl ReplayBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes in use now.
    #[cfg(test)]
    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, size: usize) -> bool {
        let within = |used: usize| used.checked_add(size).filter(|&sum| sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .is_ok()
    }

    fn give_back(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
    }
}

// === impl Hold ===

impl Hold {
    /// Lets the attempt go on: upstream has asked for the body, or has kept silent for too long.
    pub fn release(&self) {
        let before = std::mem::replace(&mut *self.lock(), HoldState::Released);
        if let HoldState::Held(Some(waiting)) = before {
            waiting.wake();
        }
    }

    fn is_held(&self) -> bool {
        matches!(*self.lock(), HoldState::Held(_))
    }

    fn poll_released(&self, cx: &Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            HoldState::Held(waiting) => {
                *waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            HoldState::Released => Poll::Ready(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HoldState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for HoldState {
    fn default() -> Self {
        Self::Held(None)
    }
}

#[cfg(test)]
mod tests;
