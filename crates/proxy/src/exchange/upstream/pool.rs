//! The connections of one thread: which are free, which are being made, which have to end.
//!
//! An HTTP/1.1 connection is in the pool while it has no request. The one used last is on top, so that
//! surplus ones grow old. An HTTP/2 connection is always in the pool, with a count of its requests.
//! Nothing here has a lock. The only task closes connections that have been idle for too long.
//!
//! What this is not: it makes no connection. That is [`super::connect`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Need;
use super::connect::{Http1Link, Link};
use super::http2::Http2;
use super::stream::UpstreamIo;
use super::tls::Protocol;
use crate::exchange::send_error::SendError;

/// How long a peer that has served counts as being there.
const JUST_NOW: Duration = Duration::from_secs(10);

/// All connections that one kind of request can be sent on: those to an origin, or those to the
/// proxy that http origins are reached by.
pub(super) struct Pool<B> {
    /// The one used last is at the back.
    idle: RefCell<VecDeque<Idle<Http1Link<B>>>>,
    /// Connections of HTTP/1.1 that are bytes and nothing else; the one used last is at the back.
    sockets: RefCell<VecDeque<Idle<UpstreamIo>>>,
    shared: RefCell<Vec<Rc<Http2>>>,
    /// What the last connection turned out to speak.
    protocol: Cell<Option<Protocol>>,
    /// A connection in the making that may serve many.
    making: RefCell<Option<Rc<Making>>>,
    /// How many wait for a connection to become free, and what tells them.
    waiting: Cell<usize>,
    freed: Notify,
}

struct Idle<L> {
    link: L,
    since: Instant,
}

impl<L> Idle<L> {
    /// If the peer may let sent bytes wait, a peer that has vanished is given up late. A request that
    /// needs such a connection gets one whose peer was there just now.
    fn serves(&self, need: Need) -> bool {
        !need.long || self.since.elapsed() < JUST_NOW
    }
}

/// A connection in the making. Others wait for it, in case it serves many.
pub(super) struct Making {
    done: Notify,
    failure: RefCell<Option<SendError>>,
}

/// The duty to tell the waiting requests how the making ended, also when it is given up.
pub(super) struct Maker<'a, B> {
    pool: &'a Pool<B>,
    making: Rc<Making>,
}

/// A request's hold on a connection.
pub(super) enum Lease<B> {
    Http1(Http1Link<B>),
    Http2(StreamLease<B>),
}

/// One stream of an HTTP/2 connection.
pub(super) struct StreamLease<B> {
    pool: Rc<Pool<B>>,
    pub(super) connection: Rc<Http2>,
    /// Whether the connection had served a request before this one.
    pub(super) reused: bool,
}

// === impl Pool ===

impl<B> Pool<B> {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            sockets: RefCell::default(),
            shared: RefCell::default(),
            protocol: Cell::new(None),
            making: RefCell::default(),
            waiting: Cell::new(0),
            freed: Notify::new(),
        })
    }

    /// What the last connection turned out to speak.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.protocol.get()
    }

    /// A connection that is free now.
    pub(super) fn take(self: &Rc<Self>, need: Need) -> Option<Lease<B>> {
        if !need.http1
            && let Some(lease) = self.take_stream()
        {
            return Some(Lease::Http2(lease));
        }
        let mut idle = self.idle.borrow_mut();
        // A connection that comes back behind its answer may still have a request's body to send.
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            if !idle[index].serves(need) {
                return None;
            }
            let link = &idle[index].link;
            if link.sender.is_closed() {
                idle.remove(index);
            } else if link.sender.is_ready() || !link.used {
                link.line.may_stall(need.long);
                return idle.remove(index).map(|idle| Lease::Http1(idle.link));
            }
        }
        None
    }

    fn take_stream(self: &Rc<Self>) -> Option<StreamLease<B>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.is_closed());
        shared.iter().find_map(|connection| self.enter(connection))
    }

    fn enter(self: &Rc<Self>, connection: &Rc<Http2>) -> Option<StreamLease<B>> {
        Some(StreamLease {
            reused: connection.enter()?,
            pool: Rc::clone(self),
            connection: Rc::clone(connection),
        })
    }

    /// Takes in a connection that has just been made, and gives it to the request that made it.
    pub(super) fn add(self: &Rc<Self>, link: Link<B>, only_http1: bool) -> Lease<B> {
        match link {
            Link::Http1(link) => {
                if !only_http1 {
                    self.protocol.set(Some(Protocol::Http1));
                }
                Lease::Http1(link)
            }
            Link::Http2(connection) => {
                self.protocol.set(Some(Protocol::Http2));
                self.shared.borrow_mut().push(Rc::clone(&connection));
                let Some(stream) = self.enter(&connection) else {
                    unreachable!("a new connection has room");
                };
                Lease::Http2(stream)
            }
        }
    }

    /// Takes back an HTTP/1.1 connection after its answer has been read, or unused.
    pub(super) fn put(&self, link: Http1Link<B>) {
        if link.sender.is_closed() {
            return;
        }
        self.idle.borrow_mut().push_back(Idle {
            link,
            since: Instant::now(),
        });
        self.tell();
    }

    /// A socket that is free now.
    pub(super) fn take_socket(&self, need: Need) -> Option<UpstreamIo> {
        loop {
            let mut idle = self.sockets.borrow_mut();
            idle.back().filter(|idle| idle.serves(need))?;
            let mut socket = idle.pop_back()?.link;
            if socket.is_quiet() {
                return Some(socket);
            }
        }
    }

    /// Takes back a socket after its answer has been read.
    pub(super) fn put_socket(&self, socket: UpstreamIo) {
        self.sockets.borrow_mut().push_back(Idle {
            link: socket,
            since: Instant::now(),
        });
        self.tell();
    }

    fn tell(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    /// Whether a request waits for a connection of this pool.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Waits until a connection becomes free, or perhaps has.
    pub(super) async fn freed(&self) {
        struct Waiting<'a>(&'a Cell<usize>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(&self.waiting);
        self.freed.notified().await;
    }

    /// The connection that is being made for all, if there is one.
    pub(super) fn making(&self) -> Option<Rc<Making>> {
        self.making.borrow().clone()
    }

    /// Declares that a connection is being made. All requests that need one wait for it.
    pub(super) fn make(&self) -> Maker<'_, B> {
        let making = Rc::new(Making {
            done: Notify::new(),
            failure: RefCell::default(),
        });
        *self.making.borrow_mut() = Some(Rc::clone(&making));
        Maker { pool: self, making }
    }

    /// Drops connections that have been idle for `limit`; gives the time when to look again.
    pub(super) fn reap(&self, now: Instant, limit: Duration) -> Option<Instant> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| now < idle.since + limit && !idle.link.sender.is_closed());
        let mut sockets = self.sockets.borrow_mut();
        sockets.retain_mut(|idle| now < idle.since + limit && idle.link.is_quiet());
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| {
            let idle = shared
                .idle_since()
                .is_some_and(|since| now >= since + limit);
            !idle && !shared.is_closed()
        });
        let http1 = idle.front().map(|idle| idle.since);
        let bare = sockets.front().map(|idle| idle.since);
        let http2 = shared.iter().filter_map(|shared| shared.idle_since());
        let first = http1.into_iter().chain(bare).chain(http2).min()?;
        Some((first + limit).max(now + limit / 8))
    }

    /// Drops the connections that have been idle for longest, until `links` and `sockets` are left.
    pub(super) fn trim(&self, links: usize, sockets: usize) {
        let mut idle = self.idle.borrow_mut();
        let surplus = idle.len().saturating_sub(links);
        idle.drain(..surplus);
        let mut idle = self.sockets.borrow_mut();
        let surplus = idle.len().saturating_sub(sockets);
        idle.drain(..surplus);
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
            && self.sockets.borrow().is_empty()
            && self.shared.borrow().is_empty()
    }
}

// === impl Making ===

impl Making {
    /// Waits until the connection stands, or was given up.
    ///
    /// # Errors
    /// If it failed, since the next attempt would fail, too.
    pub(super) async fn done<B>(&self, pool: &Pool<B>) -> Result<(), SendError> {
        let mut done = pin!(self.done.notified());
        done.as_mut().enable();
        tokio::select! {
            () = done => {}
            () = pool.freed() => {}
        }
        match &*self.failure.borrow() {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }
}

// === impl Maker ===

impl<B> Maker<'_, B> {
    /// The waiting requests fail as this one did.
    pub(super) fn failed(self, failure: &SendError) {
        *self.making.failure.borrow_mut() = Some(failure.clone());
    }
}

impl<B> Drop for Maker<'_, B> {
    fn drop(&mut self) {
        self.pool.making.borrow_mut().take();
        self.making.done.notify_waiters();
    }
}

impl<B> Drop for StreamLease<B> {
    fn drop(&mut self) {
        self.connection.leave();
        self.pool.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_to_send_goes_to_a_peer_that_was_there_just_now() {
        for (idle, long, serves) in [(9, true, true), (11, true, false), (80, false, true)] {
            let idle = Idle {
                link: (),
                since: Instant::now() - Duration::from_secs(idle),
            };
            let need = Need {
                long,
                ..Need::default()
            };
            assert_eq!(
                idle.serves(need),
                serves,
                "{:?} {long}",
                idle.since.elapsed()
            );
        }
    }
}
