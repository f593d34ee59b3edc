//! A long body without a copy: splice(2) moves the pages that came in to the socket they go out on,
//! through a pipe.
//!
//! For bodies of known length between plain sockets, in either direction, while pipes last. What it
//! is not: it waits for nothing, and knows no message.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The shortest rest of a body that is worth a pipe, in bytes.
const LEAST: u64 = 256 * 1024;
/// The size of a pipe in bytes, where the system allows as much to every user (pipe(7)).
const PIPE: usize = 1024 * 1024;
/// The most pipes of a thread. Each takes two descriptors, of those that no connection takes.
const MAX_PIPES: usize = 4;

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// A thread's pipes.
#[derive(Clone, Default)]
pub struct Pipes(Rc<Stock>);

#[derive(Default)]
struct Stock {
    idle: RefCell<Vec<Pipe>>,
    made: Cell<usize>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe while a body has it. Only an empty one goes back.
pub struct Lease {
    pipes: Pipes,
    pipe: Option<Pipe>,
    held: usize,
}

impl Pipes {
    /// A pipe for a body of which `left` bytes are left; `None` if no pipe can be had, or the body
    /// is not worth one.
    pub fn lease(&self, left: u64) -> Option<Lease> {
        let stock = &self.0;
        if left < LEAST {
            return None;
        }
        let idle = stock.idle.borrow_mut().pop();
        let pipe = match idle {
            None if stock.made.get() >= MAX_PIPES => return None,
            None => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                // If the system refuses, the pipe keeps its smaller size.
                let _ = fcntl_setpipe_size(&write, PIPE);
                stock.made.set(stock.made.get() + 1);
                Pipe { read, write }
            }
            Some(pipe) => pipe,
        };
        Some(Lease {
            pipes: self.clone(),
            pipe: Some(pipe),
            held: 0,
        })
    }
}

impl Lease {
    /// Bytes that the pipe holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what has come on `from` into the empty pipe, at most `left`; 0 at its end.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        left: u64,
    ) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else {
            return Poll::Ready(Ok(0));
        };
        let length = usize::try_from(left).map_or(PIPE, |left| left.min(PIPE));
        loop {
            ready!(from.poll_read_ready(cx))?;
            let filled = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, &pipe.write, None, length, FLAGS)?)
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

    /// Moves what the pipe holds to `to`, at once: the sender may pause here (no `MORE`).
    ///
    /// # Errors
    /// The system's.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else {
            return Poll::Ready(Ok(0));
        };
        let held = self.held;
        loop {
            ready!(to.poll_write_ready(cx))?;
            let drained = to.try_io(Interest::WRITABLE, || {
                Ok(splice(&pipe.read, None, to, None, held, FLAGS)?)
            });
            match drained {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(drained) => {
                    self.held -= drained;
                    return Poll::Ready(Ok(drained));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let stock = &self.pipes.0;
        match self.pipe.take() {
            Some(pipe) if self.held == 0 => stock.idle.borrow_mut().push(pipe),
            _ => stock.made.set(stock.made.get() - 1),
        }
    }
}
