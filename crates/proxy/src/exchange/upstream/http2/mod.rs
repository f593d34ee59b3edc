//! HTTP/2 to upstream: each stream of a connection is a request.
//!
//! It stands on h2 itself. hyper, which is on top of it elsewhere, tells nothing of interim answers,
//! has windows that are as large for a connection as for one stream (so that one reader which has
//! stopped stops the others), and tells less about what has become of a request.
//!
//! Requests on one connection share its fate. What one does must not cost the others, so
//! - no stream's window is so large that readers which have stopped hold more than the thread's
//!   budget ([`window`]), and the connection's own is as large as all of theirs;
//! - a stream that is given up is remembered for as long as the connection lives, and after so many
//!   of them the connection takes no new ones: neither side takes it for an attack.
//!
//! What it is not: it keeps no connection ([`super::pool`]) and sends nothing again.

mod driver;
mod stream;
mod upload;
pub(super) mod window;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Error, SendStream};
use http::Request;
use tokio::time::Instant;

use super::stream::{Line, UpstreamIo};
use crate::limits::{
    UPSTREAM_CONNECTION_WINDOW, UPSTREAM_FIRST_WINDOW, UPSTREAM_HEADER_LIST, UPSTREAM_RESETS,
    UPSTREAM_SEND_BUFFER, UPSTREAM_STREAMS,
};
use driver::Shared;
pub(super) use stream::{Http2Body, NoAnswer, send};
use window::{Budget, Window};

/// Streams that were given up are remembered for longer than anything of them can be on the way.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// A connection.
pub(super) struct Http2 {
    sender: RefCell<SendRequest<Bytes>>,
    shared: Rc<Shared>,
    /// Whether it has served a request before.
    used: Cell<bool>,
    idle_since: Cell<Instant>,
}

impl Http2 {
    /// Begins to speak HTTP/2 on `io`, with windows out of `budget`.
    pub(super) async fn begin(io: UpstreamIo, budget: &Rc<Budget>) -> Result<Rc<Self>, Error> {
        let line = io.line.clone();
        let remembered = usize::try_from(UPSTREAM_RESETS + UPSTREAM_STREAMS).unwrap_or(usize::MAX);
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(UPSTREAM_FIRST_WINDOW)
            .initial_connection_window_size(UPSTREAM_CONNECTION_WINDOW)
            .max_concurrent_reset_streams(remembered)
            .reset_stream_duration(REMEMBERED)
            .max_send_buffer_size(UPSTREAM_SEND_BUFFER)
            .max_header_list_size(UPSTREAM_HEADER_LIST);
        let (sender, connection) = builder.handshake(io).await?;
        let shared = Rc::new(Shared::new(line, Window::new(Rc::clone(budget))));
        tokio::task::spawn_local(driver::drive(connection, Rc::clone(&shared)));
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            shared,
            used: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
        }))
    }

    /// Whether it takes no further request.
    pub(super) fn is_closed(&self) -> bool {
        let mut look = Context::from_waker(Waker::noop());
        self.shared.resets.get() >= UPSTREAM_RESETS
            || matches!(
                self.sender.borrow_mut().poll_ready(&mut look),
                Poll::Ready(Err(_))
            )
    }

    /// Takes one more request, where there is room; says whether it has served one before.
    pub(super) fn enter(&self) -> Option<bool> {
        let has_room = self.shared.streams.get() < self.shared.max_streams.get();
        if !has_room || !self.shared.window.open() {
            return None;
        }
        self.shared.streams.set(self.shared.streams.get() + 1);
        Some(self.used.replace(true))
    }

    /// A request has ended.
    pub(super) fn leave(&self) {
        self.shared.window.close();
        self.shared.streams.set(self.shared.streams.get() - 1);
        self.idle_since.set(Instant::now());
    }

    /// Since when there is no request on it.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.shared.streams.get() == 0).then(|| self.idle_since.get())
    }

    pub(super) fn line(&self) -> &Line {
        &self.shared.line
    }

    fn count_reset(&self) {
        self.shared.resets.set(self.shared.resets.get() + 1);
    }

    fn send_request(
        &self,
        head: Request<()>,
        is_whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Error> {
        // A clone does not wait for another clone's stream.
        let mut sender = self.sender.borrow().clone();
        sender.send_request(head, is_whole)
    }
}
