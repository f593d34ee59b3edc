//! A request's body on its way to a stream, as fast as upstream takes it.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::{Error, Reason, SendStream};
use http_body::Frame;

use crate::exchange::upstream::RequestBody;

/// Sends `body` to its end. Where it fails, `failed` gets the reason and the stream is reset.
pub(super) async fn upload<B: RequestBody>(
    mut body: B,
    mut stream: SendStream<Bytes>,
    failed: &RefCell<Option<Box<str>>>,
) {
    loop {
        let sent = match next(&mut body, &mut stream).await {
            // The stream's other half sees the reset, too.
            Next::Reset => return,
            Next::Failed(error) => {
                failed.replace(Some(error.to_string().into()));
                stream.send_reset(Reason::CANCEL);
                return;
            }
            Next::End => stream.send_data(Bytes::new(), true),
            Next::Frame(frame) => match frame.into_data() {
                Ok(data) => send(&mut stream, data, body.is_end_stream()).await,
                Err(frame) => stream.send_trailers(frame.into_trailers().unwrap_or_default()),
            },
        };
        if sent.is_err() || body.is_end_stream() {
            return;
        }
    }
}

enum Next {
    Frame(Frame<Bytes>),
    End,
    Failed(Box<dyn StdError + Send + Sync>),
    Reset,
}

async fn next<B: RequestBody>(body: &mut B, stream: &mut SendStream<Bytes>) -> Next {
    poll_fn(|cx| {
        if stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Next::Reset);
        }
        Pin::new(&mut *body)
            .poll_frame(cx)
            .map(|frame| match frame {
                None => Next::End,
                Some(Ok(frame)) => Next::Frame(frame),
                Some(Err(error)) => Next::Failed(error.into()),
            })
    })
    .await
}

/// Sends `data`, behind which nothing follows where it `is_last`.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, is_last: bool) -> Result<(), Error> {
    if data.is_empty() && is_last {
        return stream.send_data(data, true);
    }
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(capacity) = poll_fn(|cx| stream.poll_capacity(cx)).await.transpose()? else {
            return Err(Reason::CANCEL.into());
        };
        let part = data.split_to(capacity.min(data.len()));
        stream.send_data(part, is_last && data.is_empty())?;
    }
    Ok(())
}
