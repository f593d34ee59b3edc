//! The end of a client's connection, or of an HTTP/2 stream, so that its last answer arrives.
//!
//! If a client still sends to a closed socket, as after a refused upload, the kernel answers with a
//! reset, which overtakes the last answer. So the proxy first shuts down writing, and for a while
//! reads and drops the bytes that still come (RFC 9112 9.6). Such a connection is idle: it makes room
//! like any other.

use std::net::Shutdown;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::connection::Connection;
use crate::message::strict_body::StrictBody;

/// How long a client may go on sending in all, and how long it may send nothing.
const LONGEST: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(5);

/// The same for the rest of a stream, which occupies one of the places for streams.
const LONGEST_STREAM: Duration = Duration::from_secs(5);
const SILENCE_OF_STREAM: Duration = Duration::from_secs(2);

/// Bytes read and dropped at once.
const DROPPED: usize = 16 * 1024;

/// Closes a connection once its client has closed it too, or has had its time.
pub async fn close(connection: &Connection) {
    let Some(stream) = connection.take_stream() else {
        return;
    };
    if SockRef::from(&stream).shutdown(Shutdown::Write).is_ok() {
        let _ = timeout_at(Instant::now() + LONGEST, drop_the_rest(stream)).await;
    }
}

/// Lets go of what is left of a request's body. On HTTP/2 the same holds for its stream as for a
/// connection: clients such as curl 7.88 drop an answer that a reset follows at once. On HTTP/1 the
/// connection ends, by [`close`].
pub fn drop_body(mut body: StrictBody<Incoming>) {
    if !body.is_http2() {
        return;
    }
    spawn_local(timeout(LONGEST_STREAM, async move {
        while let Ok(Some(Ok(_))) = timeout(SILENCE_OF_STREAM, body.frame()).await {}
    }));
}

/// Breaks a connection off, so that its client does not take the end for that of an answer.
pub fn reset(connection: &Connection) {
    if let Some(stream) = connection.take_stream() {
        // If the option is refused, the close tells the client the same a little later.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

async fn drop_the_rest(mut stream: TcpStream) {
    let mut sink = vec![0; DROPPED];
    while matches!(timeout(SILENCE, stream.read(&mut sink)).await, Ok(Ok(read)) if read > 0) {}
}
