//! A long body without a copy: splice(2) moves the pages that came in to the socket they go out on,
//! through a pipe.
//!
//! For bodies of known length between plain sockets, while pipes last; all else is
//! [`super::body`]'s.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::body::Side;
use crate::client::gate::Gate;
use crate::exchange::upstream::Socket;
use crate::record::Record;

/// A shorter rest is not worth a pipe.
const LEAST: u64 = 256 * 1024;
/// What a pipe may hold, where the system allows as much to everybody (pipe(7)).
const PIPE: usize = 1024 * 1024;
/// Pipes of a thread; they are two descriptors each, of those that no connection takes.
const MAX_PIPES: usize = 4;

/// A thread's pipes.
#[derive(Default)]
pub struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    made: Cell<usize>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe while a body has it. Only an empty one goes back.
struct Lease<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    held: usize,
}

/// Passes all that is `left` of a body, where that can be done so; nothing else.
///
/// # Errors
/// When one side fails before the end.
pub async fn pass(
    gate: &Gate,
    socket: &Socket,
    left: &mut u64,
    pipes: &Pipes,
    record: &mut Record,
) -> Result<(), Side> {
    let (true, Some(upstream)) = (*left >= LEAST, socket.plain()) else {
        return Ok(());
    };
    let Some(mut lease) = pipes.take() else {
        return Ok(());
    };
    poll_fn(|cx| {
        loop {
            if lease.held == 0 && *left == 0 {
                return Poll::Ready(Ok(()));
            }
            if lease.held == 0 {
                let filled = ready!(lease.poll_fill(cx, upstream, *left));
                match filled.map_err(Side::upstream)? {
                    0 => return Poll::Ready(Err(Side::upstream(ErrorKind::UnexpectedEof.into()))),
                    filled => *left -= filled as u64,
                }
            }
            let passed = ready!(lease.poll_drain(cx, gate)).map_err(Side::Client)?;
            record.relayed(passed);
        }
    })
    .await
}

impl Lease<'_> {
    /// Moves what has come from upstream into the pipe.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &TcpStream,
        left: u64,
    ) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else {
            return Poll::Ready(Ok(0));
        };
        let length = usize::try_from(left).map_or(PIPE, |left| left.min(PIPE));
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            ready!(upstream.poll_read_ready(cx))?;
            let filled = upstream.try_io(Interest::READABLE, || {
                Ok(splice(upstream, None, &pipe.write, None, length, flags)?)
            });
            match filled {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                filled => {
                    self.held = *filled.as_ref().unwrap_or(&0);
                    return Poll::Ready(filled);
                }
            }
        }
    }

    /// Moves what the pipe holds to the client, at once: upstream may pause here (no `MORE`).
    fn poll_drain(&mut self, cx: &mut Context<'_>, gate: &Gate) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else {
            return Poll::Ready(Ok(0));
        };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let held = self.held;
        let drained = ready!(gate.poll_write_by(cx, |client| {
            Ok(splice(&pipe.read, None, client, None, held, flags)?)
        }))?;
        self.held -= drained;
        Poll::Ready(Ok(drained))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        match self.pipe.take() {
            Some(pipe) if self.held == 0 => self.pipes.idle.borrow_mut().push(pipe),
            _ => self.pipes.made.set(self.pipes.made.get() - 1),
        }
    }
}

impl Pipes {
    fn take(&self) -> Option<Lease<'_>> {
        let idle = self.idle.borrow_mut().pop();
        let pipe = match idle {
            None if self.made.get() >= MAX_PIPES => return None,
            None => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                // Where this is refused, the pipe does with less.
                let _ = fcntl_setpipe_size(&write, PIPE);
                self.made.set(self.made.get() + 1);
                Pipe { read, write }
            }
            Some(pipe) => pipe,
        };
        Some(Lease {
            pipes: self,
            pipe: Some(pipe),
            held: 0,
        })
    }
}
