//! The fast path: a request that asks for an answer and nothing else, from socket to socket.
//!
//! Most of what a task sends is a GET without a body, by the thousand or for many gigabytes. For
//! these, hyper's two connections, the channels between them and their buffers cost more than all
//! the proxy's own work. Here the head is read where the gate holds it, written to a bare socket
//! ([`crate::exchange::upstream::Socket`]), and the answer is passed on out of one buffer that all requests of
//! a thread share.
//!
//! What this is not: it decides nothing by itself. Whatever is not the usual case (a refusal, a body,
//! an upgrade, a failure that is worth another try, an upstream of HTTP/2) is left to hyper and
//! [`crate::serve`], as if nobody had looked at it before; a first try that was made here is handed
//! on as [`FirstTry`]. The rules are those of the other stations: [`crate::client::gate`],
//! [`crate::decision::browser`], [`crate::decision::route`], [`crate::signing::sign`], [`crate::message::headers`], [`crate::back::relay`].

mod answer;
mod body;
mod request;
#[cfg(target_os = "linux")]
mod splice;

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::answers::refusal::Refusal;
use crate::client::gate::Gate;
use crate::exchange::backoff::Backoff;
use crate::exchange::forward::{Failure, FirstTry, STALE_LIMIT, pause_after};
use crate::exchange::upstream::Socket;
use crate::message::fields::FieldLines;
use crate::message::head::Head;
use crate::record::{Record, RequestTarget};
use crate::session::Session;
use crate::signing::clock::ClockCorrection;
use crate::signing::credentials::{CredentialSet, Entered};

use answer::Answer;
use request::Request;

/// Most that is read of an answer at once.
const READ: usize = 64 * 1024;

/// Heads for whose fields room is kept, and most room for one in bytes.
const MAX_LINES: usize = 32;
const MAX_LINES_ROOM: usize = 4 * 1024;

/// What all requests of a thread use in turn, never across a wait.
pub struct Buffers {
    read: RefCell<Box<[u8]>>,
    write: RefCell<Vec<u8>>,
    lines: RefCell<Vec<FieldLines>>,
    #[cfg(target_os = "linux")]
    pipes: splice::Pipes,
}

/// What became of a head.
pub enum Served {
    /// Another request may follow.
    Next,
    /// The connection ends with this answer.
    Last,
    /// It is not for the fast path, and still held by the gate.
    NotHere,
}

/// A final answer whose head has come.
struct Answered {
    socket: Socket,
    answer: Answer,
    entered: Entered,
}

/// Serves the request whose `head` the gate holds; `ends` tells whether the connection is to end
/// with it.
pub async fn serve(
    session: &Rc<Session>,
    gate: &mut Gate,
    head: Head,
    ends: impl Fn() -> bool,
) -> Served {
    let bytes = gate.take(head);
    let Some(request) = Request::read(session, &bytes) else {
        gate.put_back(&bytes);
        return Served::NotHere;
    };
    session.connection.begin();
    let mut record = Record::begin(
        session,
        &request.method,
        RequestTarget::Origin(request.came_as.clone()),
        false,
    );
    record.goes_to(&request.target);
    let answered = match exchange(session, &request, record.came().into()).await {
        Ok(answered) => answered,
        Err(first_try) => {
            record.withdraw();
            gate.put_back(&bytes);
            session.first_try.set(first_try);
            return Served::NotHere;
        }
    };
    gate.passed(head);
    session.thread.buffers.give_back_lines(request.fields);
    let last = ends();
    let record = record.answered(answered.answer.head.status);
    match relay(session, gate, answered, record, last).await {
        Ok(()) if !last => Served::Next,
        // Whoever waits for the rest learns by the close that there is none.
        _ => Served::Last,
    }
}

/// Asks upstream until there is a final answer; what else it comes to is for [`crate::exchange::forward`].
async fn exchange(
    session: &Session,
    request: &Request,
    came: Instant,
) -> Result<Answered, Option<FirstTry>> {
    let shared = &session.thread.shared;
    let mut clock = ClockCorrection::new(&shared.root, &request.target.origin);
    let mut stale = 0;
    loop {
        let entered = shared.in_force.enter().await;
        clock.begin(&entered.set);
        let (socket, answer) = match attempt(session, request, &entered.set).await {
            Ok(Some(answered)) => answered,
            Ok(None) => return Err(None),
            Err(Failure::Send(failure)) if failure.is_stale() && stale < STALE_LIMIT => {
                stale += 1;
                continue;
            }
            Err(failure) => return Err(Some(FirstTry::Failed(failure))),
        };
        let head = &answer.head;
        if clock.learn(&entered.set, head.status, &head.fields) {
            continue;
        }
        let mut backoff = Backoff::new(shared.retry, came);
        if let Some(pause) = pause_after(head.status, &head.fields, &mut backoff) {
            return Err(Some(FirstTry::Answered(head.status, pause, backoff)));
        }
        return Ok(Answered {
            socket,
            answer,
            entered,
        });
    }
}

/// Sends the request once; `None` where upstream is not to be asked this way.
async fn attempt(
    session: &Session,
    request: &Request,
    set: &CredentialSet,
) -> Result<Option<(Socket, Answer)>, Failure> {
    let thread = &session.thread;
    let origin = &request.target.origin;
    let socket = thread.upstream.socket(origin, false).await;
    let Some(mut socket) = socket.map_err(Failure::Send)? else {
        return Ok(None);
    };
    let mut bytes = thread.buffers.take_write();
    request.write(&mut bytes, &mut thread.signing.borrow_mut(), set);
    let limit = thread.shared.response_timeout;
    let answering = async {
        let sending = async {
            socket.write_all(&bytes).await?;
            socket.flush().await
        };
        if let Err(error) = sending.await {
            return Err(socket.failure(&error, false, true));
        }
        thread.buffers.give_back_write(bytes);
        answer::read(&mut socket, &thread.buffers, request.is_head()).await
    };
    match timeout(limit, answering).await {
        Ok(Ok(answer)) => Ok(Some((socket, answer))),
        Ok(Err(error)) => Err(Failure::Send(error)),
        Err(_) => Err(Failure::Refused(Refusal::ResponseTimeout {
            upstream: origin.url().to_owned(),
            after: limit,
        })),
    }
}

/// Passes the answer on; the request counts as running until its last byte is written.
async fn relay(
    session: &Session,
    gate: &mut Gate,
    answered: Answered,
    mut record: Record,
    last: bool,
) -> std::io::Result<()> {
    let Answered {
        socket,
        answer: Answer { mut head, mut body },
        entered,
    } = answered;
    let buffers = &session.thread.buffers;
    let mut bytes = buffers.take_write();
    head.write(&mut bytes, &body, &entered.set, &record, last);
    let first = body::begin(&mut body, head.rest(), &mut bytes, &mut record);
    // It is not needed any more, and a body may take its time.
    buffers.give_back_lines(head.fields);
    gate.write_all(&bytes).await?;
    buffers.give_back_write(bytes);
    if let Err(error) = first {
        record.broke_off(&error);
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    body::pass(gate, socket, body, buffers, &mut record).await
}

impl Buffers {
    fn take_write(&self) -> Vec<u8> {
        let mut bytes = self.write.take();
        bytes.clear();
        bytes
    }

    /// Keeps a buffer for the next, unless a long head has made it large.
    fn give_back_write(&self, bytes: Vec<u8>) {
        if bytes.capacity() <= READ {
            self.write.replace(bytes);
        }
    }

    fn take_lines(&self) -> FieldLines {
        self.lines.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the room of a head for another, unless it is much or there is enough.
    fn give_back_lines(&self, lines: FieldLines) {
        let mut kept = self.lines.borrow_mut();
        if kept.len() < MAX_LINES && lines.capacity() <= MAX_LINES_ROOM {
            kept.push(lines);
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            // The pages that are never written are never resident.
            read: RefCell::new(vec![0; READ].into_boxed_slice()),
            write: RefCell::default(),
            lines: RefCell::default(),
            #[cfg(target_os = "linux")]
            pipes: splice::Pipes::default(),
        }
    }
}
