//! A request as a stream of its connection: it goes out, its answer comes back, and where either is
//! given up the other one is, too.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Error, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::driver::Came;
use super::upload::upload;
use crate::exchange::upstream::RequestBody;
use crate::exchange::upstream::pool::StreamLease;
use crate::message::headers;

/// The body of an answer.
pub(in super::super) struct Http2Body<B> {
    stream: RecvStream,
    place: Place,
    /// What is left of it, where that is known.
    left: Option<u64>,
    came: Came,
    running: Running<B>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Data,
    Trailers,
    End,
}

/// Why a request has no answer.
pub(in super::super) enum NoAnswer {
    /// Nothing of it was sent.
    Unsent(Error),
    Sent(Error),
    /// Its body failed, for this reason.
    Body(Box<str>),
}

/// Everything that ends with a request.
struct Running<B> {
    lease: Rc<StreamLease<B>>,
    upload: Option<AbortHandle>,
    is_done: bool,
}

impl<B> Drop for Running<B> {
    fn drop(&mut self) {
        if !self.is_done {
            self.lease.connection.count_reset();
            if let Some(upload) = &self.upload {
                upload.abort();
            }
        }
    }
}

/// Sends `request` and returns its answer once the head is in; interim ones go to `on_interim`.
pub(in super::super) async fn send<B: RequestBody>(
    lease: StreamLease<B>,
    request: Request<B>,
    on_interim: impl Fn(StatusCode, &HeaderMap),
) -> Result<Response<Http2Body<B>>, NoAnswer> {
    let lease = Rc::new(lease);
    let (head, body) = request.into_parts();
    let is_whole = body.is_end_stream();
    let sent = lease
        .connection
        .send_request(Request::from_parts(head, ()), is_whole);
    let (answer, sending) = sent.map_err(NoAnswer::Unsent)?;
    let failed = Rc::<RefCell<Option<Box<str>>>>::default();
    let upload = (!is_whole).then(|| {
        let (lease, failed) = (Rc::clone(&lease), Rc::clone(&failed));
        let uploading = async move {
            upload(body, sending, &failed).await;
            drop(lease);
        };
        tokio::task::spawn_local(uploading).abort_handle()
    });
    let running = Running {
        lease,
        upload,
        is_done: false,
    };
    match answered(answer, on_interim).await {
        Ok(answer) => {
            let left = headers::content_length(&mut answer.headers().clone())
                .ok()
                .flatten();
            Ok(answer.map(|stream| Http2Body::new(stream, left, running)))
        }
        Err(error) => Err(match failed.take() {
            Some(reason) => NoAnswer::Body(reason),
            None => NoAnswer::Sent(error),
        }),
    }
}

async fn answered(
    mut answer: ResponseFuture,
    on_interim: impl Fn(StatusCode, &HeaderMap),
) -> Result<Response<RecvStream>, Error> {
    poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx) {
            on_interim(interim.status(), interim.headers());
        }
        Pin::new(&mut answer).poll(cx)
    })
    .await
}

impl<B> Http2Body<B> {
    fn new(stream: RecvStream, left: Option<u64>, running: Running<B>) -> Self {
        let mut body = Self {
            // The answer to a HEAD tells a length and has none.
            left: if stream.is_end_stream() {
                Some(0)
            } else {
                left
            },
            stream,
            place: Place::Data,
            came: Came::default(),
            running,
        };
        body.running.is_done = body.stream.is_end_stream();
        body
    }

    fn end(&mut self) {
        self.place = Place::End;
        self.running.is_done = true;
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let Some(data) = ready!(self.stream.poll_data(cx)).transpose()? else {
                return Poll::Ready(None);
            };
            // A stream that has ended meanwhile has nothing to release.
            let _ = self.stream.flow_control().release_capacity(data.len());
            if !data.is_empty() {
                let connection = &self.running.lease.connection;
                connection.shared.came(&mut self.came, data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                self.running.is_done = self.stream.is_end_stream();
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }
}

impl<B> Body for Http2Body<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.place == Place::Data {
            match ready!(this.poll_data(cx)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(error)) => {
                    this.end();
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.place = Place::Trailers,
            }
        }
        if this.place == Place::Trailers {
            let trailers = ready!(this.stream.poll_trailers(cx));
            this.end();
            return Poll::Ready(match trailers {
                Ok(None) => None,
                Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error)),
            });
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.place == Place::End || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<B> Drop for Http2Body<B> {
    fn drop(&mut self) {
        let unread = self.stream.flow_control().used_capacity();
        let connection = &self.running.lease.connection;
        connection.shared.window.budget.let_go(unread);
    }
}

impl<B> Unpin for Http2Body<B> {}
