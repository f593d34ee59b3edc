//! One thread that serves: its connections and its clock.
//!
//! Everything here belongs to the thread and takes no lock. The clock walks over the connections a
//! few times a second: it ends heads that take too long and connections that nobody uses, and
//! notices clients that have left while their request runs, which an end of file alone does not
//! tell from a client that has only shut down writing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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

use crate::back::tunnel;
use crate::client::connection::{self, Clock, Connection, Crowd, Phase, Tick};
use crate::client::gate::{Gate, Next, Protocol};
use crate::client::held::HeldRequest;
use crate::client::places::Slot;
use crate::decision::rights::Rights;
use crate::exchange::upstream::UpstreamConfig;
use crate::message::head::MAX_FIELDS;
use crate::record::metrics::OpenConnection;
use crate::request::{self, serve_held};
use crate::session::{Session, Shared, Thread};

/// How long a connection may be open without a request.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// Requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 250;
/// Bytes of a request's body that HTTP/2 may hold, for a stream and for all of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that one HTTP/2 stream may hold unsent.
const SEND_BUFFER: usize = 256 * 1024;
/// The same bound as an HTTP/1 head has.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// A thread that serves.
pub struct Worker {
    thread: Rc<Thread>,
    clock: Rc<Clock>,
    crowd: Rc<Crowd>,
    /// In the order they came.
    connections: RefCell<BTreeMap<Id, Tracked>>,
    next: Cell<u64>,
    stopping: Cell<bool>,
    /// Told when a connection has begun, and when one has ended.
    began: Notify,
    ended: Notify,
}

/// A connection that has been admitted.
pub struct Accepted {
    pub stream: StdTcpStream,
    pub rights: Rights,
    pub slot: Slot,
    pub counted: OpenConnection,
}

/// Names a connection: those held back come behind all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    reserved: bool,
    number: u64,
}

struct Tracked {
    connection: Rc<Connection>,
    driver: Rc<Driver>,
    task: AbortHandle,
}

/// How a connection's task is told to come to an end.
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
            crowd: Rc::default(),
            connections: RefCell::default(),
            next: Cell::new(0),
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
            slot,
            counted,
        } = accepted;
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(stream, Rc::clone(&self.clock), Rc::clone(&self.crowd));
        let driver = Rc::new(Driver::default());
        driver.stop.set(self.stopping.get());
        let session = Session {
            thread: Rc::clone(&self.thread),
            connection: Rc::clone(&connection),
            rights: Rights {
                reserved: slot.reserved,
                ..rights
            },
            http2: false,
        };
        let id = Id {
            reserved: slot.reserved,
            number: self.next.replace(self.next.get() + 1),
        };
        let worker = Rc::clone(self);
        let task = {
            let driver = Rc::clone(&driver);
            spawn_local(async move {
                let _held = (slot, counted, Untrack { worker, id });
                drive(session, &driver).await;
            })
        };
        let tracked = Tracked {
            connection,
            driver,
            task: task.abort_handle(),
        };
        self.connections.borrow_mut().insert(id, tracked);
        self.began.notify_one();
    }

    /// Ends the connection that has been without a request for longest, of those held back or of
    /// the others, so that somebody else can connect.
    pub fn make_room(&self, reserved: bool) {
        let first = Id {
            reserved,
            number: 0,
        };
        let idle = self
            .connections
            .borrow()
            .range(first..)
            .take_while(|(id, _)| id.reserved == reserved)
            .map(|(_, tracked)| tracked)
            .find(|tracked| !tracked.connection.is_busy() && !tracked.connection.is_blocked())
            .map(|tracked| tracked.task.clone());
        if let Some(task) = idle {
            task.abort();
        }
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
        let idle_limit = Clock::ticks(IDLE);
        let mut ended = Vec::new();
        for tracked in self.connections.borrow().values() {
            let connection = &tracked.connection;
            if connection.is_busy() && self.thread.is_gone(connection) {
                ended.push(tracked.task.clone());
            } else if is_overdue(connection, head_limit, idle_limit) {
                if connection.expire() {
                    continue;
                }
                ended.push(tracked.task.clone());
            }
        }
        // Not while the connections are borrowed: a task that ends takes itself out.
        for task in ended {
            task.abort();
        }
    }
}

fn is_overdue(connection: &Connection, head: Tick, idle: Tick) -> bool {
    let (phase, lasted) = connection.phase();
    match phase {
        Phase::Silent | Phase::Head => lasted > head,
        // An answer whose end is not written yet is under way, however slowly it is read.
        Phase::Idle => lasted > idle && !connection.is_busy() && !connection.is_blocked(),
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
    id: Id,
}

impl Drop for Untrack {
    fn drop(&mut self) {
        let tracked = self.worker.connections.borrow_mut().remove(&self.id);
        drop(tracked);
        self.worker.ended.notify_one();
    }
}

async fn drive(mut session: Session, driver: &Driver) {
    let connection = Rc::clone(&session.connection);
    let mut gate = Gate::new(Rc::clone(&connection));
    let protocol = driver.until_stopped(gate.protocol()).await;
    match protocol.unwrap_or(Ok(None)) {
        // What not every connection comes to is in a box, so that those that wait are small.
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
    // Elsewhere a client that has left is noticed by reading, which bare sockets do not.
    let sees_half_close = thread.lookup.borrow().is_some();
    let upgrading = if sees_half_close && thread.exchange.upstream.is_bare() {
        drive_held(&session, driver, gate).await
    } else {
        match Box::pin(drive_hyper(&session, driver, gate, sees_half_close)).await {
            Driven::Upgrade(upgrading) => Some(upgrading),
            Driven::Next(_) | Driven::End => None,
        }
    };
    match upgrading {
        Some(upgrading) => tunnel(&session, upgrading).await,
        None => connection::close(&session.connection).await,
    }
}

/// Serves what comes, head by head. What is not plain goes through hyper, one message at a time.
async fn drive_held(session: &Rc<Session>, driver: &Driver, mut gate: Gate) -> Option<Upgrading> {
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
                if let Some(request) = HeldRequest::read(&gate.held()[..head.len], lines) {
                    let ends = || driver.stop.get();
                    let served = serve_held(session, &mut gate, request, (head, length), ends);
                    match served.await {
                        Ok(true) => continue,
                        // A client that waits for the rest learns by the close that there is none.
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
        .max_buf_size(Crowd::LARGEST_READ)
        .max_headers(MAX_FIELDS)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(gate), service);
    let served = driver.until_served(&mut http).await;
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
    let goes_on = served.is_ok() && parts.read_buf.is_empty() && gate.is_between_messages();
    if goes_on && !connection.is_ending() {
        Driven::Next(gate)
    } else {
        Driven::End
    }
}

async fn tunnel(session: &Session, upgrading: Upgrading) {
    let Upgrading { upstream, held } = upgrading;
    if let (Ok(upstream), Some(client)) = (upstream.await, session.connection.take_stream()) {
        tunnel::run(client, held, upstream).await;
    }
}

async fn drive_http2(session: Session, driver: &Driver, gate: Gate) {
    let session = Rc::new(session);
    let service = service_fn(move |request| request::serve(Rc::clone(&session), request));
    let mut http = http2::Builder::new(LocalExecutor)
        .auto_date_header(false)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .serve_connection(TokioIo::new(gate), service);
    // The end of an HTTP/2 connection is told to its streams by hyper; there is nobody left to
    // hear of an error.
    let _ = driver.until_served(&mut http).await;
}

impl Driver {
    /// What `future` gives; `None` where it is still pending when the proxy stops.
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

    /// What `connection` ends with; told to end with what runs on it when the proxy stops.
    async fn until_served<C: GracefulConnection + Unpin>(
        &self,
        connection: &mut C,
    ) -> Result<(), C::Error> {
        let mut told = false;
        std::future::poll_fn(|cx| {
            self.remember(cx.waker());
            // First what is held already: told before it has read anything, hyper would close on a
            // request that runs.
            let served = Pin::new(&mut *connection).poll(cx);
            if served.is_ready() || told || !self.stop.get() {
                return served;
            }
            told = true;
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
