//! A request's body on its way to a bare socket, try by try.
//!
//! A small body that has come with its head goes out in the same write, and is its own copy for
//! another try. A longer one is kept while it streams ([`crate::exchange::replay`]). One past the
//! limit of what is kept is not copied at all where both sockets are plain.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body;
use tokio::io::AsyncWrite;
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::body::KnownBody;
use crate::exchange::replay::{Replay, ReplayBody};
#[cfg(target_os = "linux")]
use crate::exchange::splice::{Lease, Pipes};
use crate::exchange::upstream::{Need, Socket};
use crate::exchange::{Exchange, Settings};
use crate::limits::BODY_WITH_HEAD;

/// The body, and how far the current try has sent it.
pub struct Upload<'g> {
    source: Source<'g>,
    /// Bytes that have been taken from the source and not been written.
    pending: Bytes,
    /// When upstream last took something.
    progress: Option<Instant>,
    awaits_client: bool,
    state: State,
    #[cfg(target_os = "linux")]
    pipes: Pipes,
    #[cfg(target_os = "linux")]
    pipe: Option<Lease>,
}

enum Source<'g> {
    Empty,
    /// All of it.
    Small(Bytes),
    /// The body, and the current try's reading of it.
    Kept(Replay<KnownBody<'g>>, ReplayBody<KnownBody<'g>>),
    /// Past what is kept, and whether any of it has been taken.
    Passing(KnownBody<'g>, bool),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Sending,
    /// Written whole, but some of it may be in a buffer of TLS.
    Flushing,
    Sent,
    Torn,
}

/// Why a body does not go on.
#[derive(Debug)]
pub enum Torn {
    /// The client ended it early.
    Client,
    /// Upstream takes no more.
    Upstream(io::Error),
}

impl<'g> Upload<'g> {
    /// The upload of `body`.
    pub fn new(mut body: KnownBody<'g>, exchange: &Exchange) -> Self {
        let Settings {
            replay_limit,
            replay_budget,
            ..
        } = &*exchange.settings;
        let length = body.left();
        let small = (length <= BODY_WITH_HEAD && length <= *replay_limit)
            .then(|| body.take_whole())
            .flatten();
        let source = match small {
            _ if length == 0 => Source::Empty,
            Some(bytes) => Source::Small(bytes),
            None if length > *replay_limit => Source::Passing(body, false),
            None => {
                let replay = Replay::new(body, *replay_limit, Arc::clone(replay_budget));
                let attempt = replay.attempt();
                Source::Kept(replay, attempt)
            }
        };
        Self {
            source,
            pending: Bytes::new(),
            progress: None,
            awaits_client: false,
            state: State::Sending,
            #[cfg(target_os = "linux")]
            pipes: exchange.buffers.pipes.clone(),
            #[cfg(target_os = "linux")]
            pipe: None,
        }
    }

    /// Begins a try with this `head`; a small body becomes part of the head's write.
    pub fn begin(&mut self, head: &mut Vec<u8>) {
        self.pending = Bytes::new();
        self.state = State::Sending;
        match &mut self.source {
            Source::Small(bytes) => head.extend_from_slice(bytes),
            Source::Kept(replay, attempt) => *attempt = replay.attempt(),
            Source::Empty | Source::Passing(..) => {}
        }
    }

    /// Whether the whole body could be sent again.
    pub fn can_resend(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Small(_) => true,
            Source::Kept(replay, _) => replay.can_replay(),
            Source::Passing(_, taken) => !taken,
        }
    }

    /// What the upload needs of its connection.
    pub fn need(&self) -> Need {
        match &self.source {
            Source::Empty => Need::default(),
            Source::Small(bytes) => Need::of_body(Some(bytes.len() as u64), true),
            Source::Kept(replay, attempt) => {
                Need::of_body(attempt.size_hint().exact(), replay.is_kept())
            }
            Source::Passing(body, _) => Need::of_body(Some(body.left()), false),
        }
    }

    /// Whether upstream has been given all of it.
    pub fn is_sent(&self) -> bool {
        self.state == State::Sent
    }

    /// Whether the client has more to send, and that is what is waited for.
    pub fn awaits_client(&self) -> bool {
        self.awaits_client && self.state == State::Sending
    }

    /// When upstream last took something of it.
    pub fn last_progress(&self) -> Option<Instant> {
        self.progress
    }

    /// Sends what is left; ready when there is nothing more to do.
    ///
    /// # Errors
    /// As [`Torn`] says, once.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<Result<(), Torn>> {
        let sent = self.poll_state(cx, socket);
        if matches!(sent, Poll::Ready(Err(_))) {
            self.state = State::Torn;
        }
        sent
    }

    fn poll_state(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<Result<(), Torn>> {
        loop {
            match self.state {
                State::Sent | State::Torn => return Poll::Ready(Ok(())),
                State::Flushing => {
                    ready!(Pin::new(&mut *socket).poll_flush(cx)).map_err(Torn::Upstream)?;
                    self.state = State::Sent;
                }
                State::Sending if !self.pending.is_empty() => {
                    let written = Pin::new(&mut *socket).poll_write(cx, &self.pending);
                    match ready!(written).map_err(Torn::Upstream)? {
                        0 => return Poll::Ready(Err(Torn::Upstream(ErrorKind::WriteZero.into()))),
                        written => self.pending.advance(written),
                    }
                    self.progress = Some(Instant::now());
                }
                State::Sending => match self.poll_next(cx, socket) {
                    Poll::Pending => {
                        self.awaits_client = self.is_pipe_empty();
                        return Poll::Pending;
                    }
                    Poll::Ready(next) => match next? {
                        None => self.state = State::Flushing,
                        Some(data) => self.pending = data,
                    },
                },
            }
        }
    }

    /// The next bytes of the body; none at its end.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "only Linux splices into the socket")
    )]
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        socket: &Socket,
    ) -> Poll<Result<Option<Bytes>, Torn>> {
        self.awaits_client = false;
        match &mut self.source {
            Source::Empty | Source::Small(_) => Poll::Ready(Ok(None)),
            Source::Kept(_, attempt) => {
                let frame = ready!(Pin::new(attempt).poll_frame(cx)).transpose();
                let frame = frame.map_err(|_| Torn::Client)?;
                Poll::Ready(Ok(frame.and_then(|frame| frame.into_data().ok())))
            }
            Source::Passing(body, taken) => {
                *taken = true;
                #[cfg(target_os = "linux")]
                if !body.has_held()
                    && let Some(upstream) = socket.plain()
                {
                    self.pipe = self.pipe.take().or_else(|| self.pipes.lease(body.left()));
                    if let Some(pipe) = &mut self.pipe {
                        ready!(poll_splice(cx, pipe, body, upstream, &mut self.progress))?;
                        self.pipe = None;
                    }
                }
                if body.left() == 0 {
                    return Poll::Ready(Ok(None));
                }
                let data = ready!(body.poll_data(cx)).map_err(|_| Torn::Client)?;
                Poll::Ready(Ok(Some(data)))
            }
        }
    }

    /// Whether nothing that has come from the client waits for upstream to take it.
    fn is_pipe_empty(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.pipe.as_ref().is_none_or(|pipe| pipe.held() == 0);
        #[cfg(not(target_os = "linux"))]
        true
    }
}

/// Moves all that is left of `body` through `pipe`.
#[cfg(target_os = "linux")]
fn poll_splice(
    cx: &mut Context<'_>,
    pipe: &mut Lease,
    body: &mut KnownBody<'_>,
    upstream: &TcpStream,
    progress: &mut Option<Instant>,
) -> Poll<Result<(), Torn>> {
    loop {
        if pipe.held() > 0 {
            ready!(pipe.poll_drain(cx, upstream)).map_err(Torn::Upstream)?;
            *progress = Some(Instant::now());
        } else if body.left() == 0 {
            return Poll::Ready(Ok(()));
        } else {
            let filled = body.poll_splice(|client, left| pipe.poll_fill(cx, client, left));
            ready!(filled).map_err(|_| Torn::Client)?;
        }
    }
}
