//! One thread that serves: its connections and its clock.
//!
//! Everything here belongs to the thread and has no lock. The clock looks at the connections a few
//! times a second. It ends heads that take too long and idle connections. It also notices clients that
//! have left while their request runs: an end of file alone may come from a client that has only shut
//! down writing.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::TcpStream as StdTcpStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use crate::back::tunnel;
use crate::client::absence;
use crate::client::admit::Peer;
use crate::client::clock::{Clock, Tick};
use crate::client::connection::{Connection, Phase};
use crate::client::gate::{Gate, Next, Protocol};
use crate::client::linger;
use crate::client::read_budget::ReadBudget;
use crate::client::request_lines::RequestLines;
use crate::client::slots::Slot;
use crate::client::usage::Moment;
use crate::decision::rights::Rights;
use crate::exchange::upstream::UpstreamConfig;
use crate::exchange::wire::Alarm;
use crate::limits::{
    CLIENT_CONNECTION_WINDOW, CLIENT_HEADER_LIST, CLIENT_IDLE, CLIENT_SEND_BUFFER,
    CLIENT_STREAM_WINDOW, CLIENT_STREAMS, REQUEST_FIELDS,
};
use crate::record::metrics::OpenConnection;
use crate::request::{self, serve_lines};
use crate::session::{Session, Shared, Thread};

/// How long a connection whose last answer has been sent may hold up the end of the proxy.
const LAST_LINGERING: Duration = Duration::from_secs(1);

/// A thread that serves.
pub struct Worker {
    thread: Rc<Thread>,
    clock: Rc<Clock>,
    reads: Rc<ReadBudget>,
    /// The connections by their numbers.
    connections: RefCell<HashMap<u64, Tracked>>,
    stopping: Cell<bool>,
    /// Told when a connection has begun, and when one has ended.
    began: Notify,
    ended: Notify,
}

/// A connection that has been admitted.
pub struct Accepted {
    pub stream: StdTcpStream,
    pub rights: Rights,
    pub peer: Peer,
    pub slot: Slot,
    pub counted: OpenConnection,
}

struct Tracked {
    connection: Rc<Connection>,
    driver: Rc<Driver>,
    task: AbortHandle,
}

/// How a connection's task is asked to end.
#[derive(Default)]
struct Driver {
    stop: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Worker {
    /// To be made inside the thread's `LocalSet`.
    pub fn new(shared: Arc<Shared>, upstream: Arc<UpstreamConfig>) -> Rc<Self> {
        let worker = Rc::new(Self {
            thread: Thread::new(shared, upstream),
            clock: Rc::default(),
            reads: Rc::default(),
            connections: RefCell::default(),
            stopping: Cell::new(false),
            began: Notify::new(),
            ended: Notify::new(),
        });
        spawn_local(Rc::clone(&worker).run_clock());
        worker
    }

    /// Serves a connection until it ends.
    pub fn serve(self: &Rc<Self>, accepted: Accepted) {
        let Accepted {
            stream,
            rights,
            peer,
            slot,
            counted,
        } = accepted;
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        let _ = stream.set_nodelay(true);
        let _ = absence::ask_for_it(&stream);
        let number = slot.number;
        let connection = Connection::new(
            stream,
            Rc::clone(&self.clock),
            self.reads.join(),
            Arc::clone(&slot.usage),
        );
        let driver = Rc::new(Driver::default());
        driver.stop.set(self.stopping.get());
        let session = Session {
            thread: Rc::clone(&self.thread),
            connection: Rc::clone(&connection),
            rights: Rights {
                reserved: slot.reserved,
                ..rights
            },
            peer,
            http2: false,
        };
        let worker = Rc::clone(self);
        let task = {
            let driver = Rc::clone(&driver);
            spawn_local(async move {
                let _held = (slot, counted, Untrack { worker, number });
                drive(session, &driver).await;
            })
        };
        let tracked = Tracked {
            connection,
            driver,
            task: task.abort_handle(),
        };
        self.connections.borrow_mut().insert(number, tracked);
        self.began.notify_one();
    }

    /// Ends the connection of this number, so that another client can connect. Returns whether it
    /// does; it may be in use after all.
    pub fn make_room(&self, number: u64) -> bool {
        let task = match self.connections.borrow().get(&number) {
            Some(tracked) if tracked.connection.is_wanted() => return false,
            Some(tracked) => tracked.task.clone(),
            None => return true,
        };
        // Only when the connections are no longer borrowed: a task that ends removes itself from
        // them.
        task.abort();
        true
    }

    /// Lets every connection end with the request that runs on it; returns when all have.
    pub async fn stop(&self) {
        self.stopping.set(true);
        for tracked in self.connections.borrow().values() {
            tracked.driver.stop();
        }
        while !self.connections.borrow().is_empty() {
            self.ended.notified().await;
        }
    }

    async fn run_clock(self: Rc<Self>) {
        loop {
            while self.connections.borrow().is_empty() {
                self.began.notified().await;
            }
            tokio::time::sleep(Clock::TICK).await;
            self.clock.advance();
            self.look_around();
        }
    }

    fn look_around(&self) {
        let head_limit = Clock::ticks(self.thread.shared.header_timeout);
        let now = Moment::now();
        let mut ended = Vec::new();
        for tracked in self.connections.borrow().values() {
            let connection = &tracked.connection;
            if connection.usage.is_busy() && self.thread.is_gone(connection) {
                ended.push(tracked.task.clone());
            } else if is_overdue(connection, head_limit, now) {
                if connection.expire() {
                    continue;
                }
                ended.push(tracked.task.clone());
            }
        }
        // Only when the connections are no longer borrowed: a task that ends removes itself from
        // them.
        for task in ended {
            task.abort();
        }
    }
}

fn is_overdue(connection: &Connection, head: Tick, now: Moment) -> bool {
    let (phase, lasted) = connection.phase();
    match phase {
        Phase::Silent | Phase::Head => lasted > head,
        Phase::Idle => {
            let since = connection.usage.idle_since();
            since.is_some_and(|since| now.since(since) > CLIENT_IDLE)
        }
    }
}

impl Driver {
    fn stop(&self) {
        self.stop.set(true);
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }
}

/// Takes a connection off the list when its task ends, however it ends.
struct Untrack {
    worker: Rc<Worker>,
    number: u64,
}

impl Drop for Untrack {
    fn drop(&mut self) {
        let tracked = self.worker.connections.borrow_mut().remove(&self.number);
        drop(tracked);
        self.worker.ended.notify_one();
    }
}

async fn drive(mut session: Session, driver: &Driver) {
    let connection = Rc::clone(&session.connection);
    let mut gate = Gate::new(Rc::clone(&connection));
    let protocol = driver.until_stopped(gate.protocol()).await;
    match protocol.unwrap_or(Ok(None)) {
        // Rare states are boxed, so that idle connections are small.
        Ok(Some(Protocol::Http1)) => drive_http1(session, driver, gate).await,
        Ok(Some(Protocol::Http2)) => {
            session.http2 = true;
            Box::pin(drive_http2(session, driver, gate)).await;
        }
        Ok(None) | Err(_) => {}
    }
}

async fn drive_http1(session: Session, driver: &Driver, gate: Gate) {
    let session = Rc::new(session);
    let thread = &session.thread;
    // On other systems only reading shows that a client has left, and the bare wire does not read.
    let sees_half_close = thread.sees_half_close();
    let upgrading = if sees_half_close && thread.exchange.upstream.is_bare() {
        drive_lines(&session, driver, gate).await
    } else {
        match Box::pin(drive_hyper(&session, driver, gate, sees_half_close)).await {
            Driven::Upgrade(upgrading) => Some(upgrading),
            Driven::Next(_) | Driven::End => None,
        }
    };
    if let Some(upgrading) = upgrading {
        tunnel(&session, upgrading).await;
    } else {
        let mut lingering = pin!(linger::close(&session.connection));
        if driver.until_stopped(&mut lingering).await.is_none() {
            let _ = timeout(LAST_LINGERING, lingering).await;
        }
    }
}

/// Serves what comes, head by head. What is not plain goes through hyper, one message at a time.
async fn drive_lines(session: &Rc<Session>, driver: &Driver, mut gate: Gate) -> Option<Upgrading> {
    let mut alarm = Alarm::default();
    loop {
        let next = match driver.until_stopped(gate.next()).await {
            Some(next) => next,
            None if gate.held().is_empty() => return None,
            None => Next::Other(false),
        };
        let closes = match next {
            Next::End => return None,
            Next::Plain(head, length) => {
                let lines = session.thread.exchange.buffers.take_lines();
                if let Some(request) = RequestLines::read(&gate.held()[..head.len], lines) {
                    let ends = || driver.stop.get();
                    let read = (head, length);
                    let served = serve_lines(session, &mut gate, request, read, &mut alarm, ends);
                    match served.await {
                        Ok(true) => continue,
                        // A client that waits for the rest learns from the close that there is
                        // none.
                        Ok(false) | Err(_) => return None,
                    }
                }
                head.closes
            }
            Next::Other(closes) => closes,
        };
        gate.give_one_message();
        match Box::pin(drive_hyper(session, driver, gate, true)).await {
            Driven::Next(passed) if !closes && !driver.stop.get() => gate = passed,
            Driven::Upgrade(upgrading) => return Some(upgrading),
            _ => return None,
        }
    }
}

/// A connection that changes its protocol, and what has been read behind the request.
struct Upgrading {
    upstream: OnUpgrade,
    held: BytesMut,
}

/// What became of a connection that hyper has served.
enum Driven {
    /// Another message may follow.
    Next(Gate),
    Upgrade(Upgrading),
    End,
}

async fn drive_hyper(
    session: &Rc<Session>,
    driver: &Driver,
    gate: Gate,
    sees_half_close: bool,
) -> Driven {
    let connection = &session.connection;
    let service = service_fn(|request| request::serve(Rc::clone(session), request));
    let mut http = http1::Builder::new()
        .auto_date_header(false)
        .half_close(sees_half_close)
        .max_buf_size(ReadBudget::LARGEST_READ)
        .max_headers(REQUEST_FIELDS)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(gate), service);
    let served = driver
        .until_served(&mut http, || connection.is_ending())
        .await;
    let parts = http.into_parts();
    let gate = parts.io.into_inner();
    if let Some(upstream) = connection.take_upgrade() {
        let mut held = gate.into_held();
        held.extend_from_slice(&parts.read_buf);
        return match served {
            Ok(()) => Driven::Upgrade(Upgrading { upstream, held }),
            Err(_) => Driven::End,
        };
    }
    if served.is_err() && connection.tells_ends_by_closing() {
        linger::reset(connection);
    }
    let goes_on = served.is_ok() && parts.read_buf.is_empty() && gate.is_between_messages();
    if goes_on && !connection.is_ending() {
        Driven::Next(gate)
    } else {
        Driven::End
    }
}

async fn tunnel(session: &Session, upgrading: Upgrading) {
    let Upgrading { upstream, held } = upgrading;
    if let Ok(upstream) = upstream.await {
        tunnel::run(&session.connection, held, upstream).await;
    }
}

async fn drive_http2(session: Session, driver: &Driver, gate: Gate) {
    let session = Rc::new(session);
    let service = service_fn(move |request| request::serve(Rc::clone(&session), request));
    let mut http = http2::Builder::new(LocalExecutor)
        .auto_date_header(false)
        .max_concurrent_streams(CLIENT_STREAMS)
        .initial_stream_window_size(CLIENT_STREAM_WINDOW)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
        .max_send_buf_size(CLIENT_SEND_BUFFER)
        .max_header_list_size(CLIENT_HEADER_LIST)
        .serve_connection(TokioIo::new(gate), service);
    // hyper ends the streams of an HTTP/2 connection with it; no client is left for an error.
    let _ = driver.until_served(&mut http, || false).await;
}

impl Driver {
    /// The result of `future`; `None` where it is still pending when the proxy stops.
    async fn until_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            self.remember(cx.waker());
            match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if self.stop.get() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The result of `connection`. When the proxy stops, it ends after its running requests: by itself
    /// where it `is_ending`, and because hyper is told to otherwise. If hyper is told to behind the
    /// last answer, it cuts off a body that goes on.
    async fn until_served<C: GracefulConnection + Unpin>(
        &self,
        connection: &mut C,
        is_ending: impl Fn() -> bool,
    ) -> Result<(), C::Error> {
        let mut is_told = false;
        std::future::poll_fn(|cx| {
            self.remember(cx.waker());
            // First the bytes that have come: asked to end before it has read any, hyper would close
            // a connection with a running request.
            let served = Pin::new(&mut *connection).poll(cx);
            if served.is_ready() || is_told || !self.stop.get() || is_ending() {
                return served;
            }
            is_told = true;
            Pin::new(&mut *connection).graceful_shutdown();
            Pin::new(&mut *connection).poll(cx)
        })
        .await
    }

    fn remember(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        if task.is_none() {
            *task = Some(waker.clone());
        }
    }
}

/// Runs HTTP/2's streams on the thread of their connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::usage::Usage;

    /// What happens to a connection.
    type Happens = fn(&Rc<Connection>);

    const HEAD: Tick = 5;

    #[tokio::test]
    async fn what_is_in_use_has_no_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("binds");
        let address = listener.local_addr().expect("bound");
        let answered: Happens = |connection| {
            connection.enter(Phase::Idle);
            drop(connection.begin());
        };
        let in_use: Happens = |connection| {
            connection.enter(Phase::Idle);
            connection.usage.begin();
        };
        let unread: Happens = |connection| {
            connection.enter(Phase::Idle);
            connection.usage.block(true);
        };
        let head: Happens = |connection| connection.enter(Phase::Head);
        let nothing: Happens = |_| {};
        let (soon, late) = (CLIENT_IDLE / 2, CLIENT_IDLE * 2);
        // So many ticks later, and so long after its last use.
        for (what, happens, ticks, later, overdue) in [
            ("nothing has come", nothing, HEAD, soon, false),
            ("nothing comes", nothing, HEAD + 1, soon, true),
            ("a head that takes its time", head, HEAD + 1, soon, true),
            ("idle", answered, HEAD + 1, soon, false),
            ("idle for long", answered, 0, late, true),
            ("a request or a tunnel", in_use, HEAD + 1, late, false),
            ("an answer that is not read", unread, HEAD + 1, late, false),
        ] {
            let stream = TcpStream::connect(address).await.expect("connects");
            let clock = Rc::new(Clock::default());
            let reads = Rc::new(ReadBudget::default());
            let connection = Connection::new(stream, Rc::clone(&clock), reads.join(), Usage::new());
            happens(&connection);
            let used = Moment::now();
            (0..ticks).for_each(|_| clock.advance());
            assert_eq!(
                is_overdue(&connection, HEAD, used.after(later)),
                overdue,
                "{what}"
            );
        }
    }
}
