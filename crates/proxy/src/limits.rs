//! The limits of size and number that a client or an upstream can meet, once; a name says which side it
//! limits.
//!
//! What it is not: times and sizes that the operator sets are options ([`crate::Options`]). Times of a
//! connection to upstream are in [`crate::exchange::upstream::UpstreamConfig`], and what only tunes
//! (buffers, batches, keep-alive) stands where it is used.

use std::time::Duration;

// === Heads of requests ===

/// Most bytes in a head; past it the answer is 431.
pub const REQUEST_HEAD: usize = 64 * 1024;
/// Most fields in a head, so that reading one takes bounded memory; past it the answer is 431.
pub const REQUEST_FIELDS: usize = 1000;
/// Most fields of a head that is served without hyper, which has room for more.
pub const HELD_FIELDS: usize = 100;
/// Longest host name in octets, dots included (RFC 1123 2.1, RFC 1035 2.3.4).
pub const HOST_NAME: usize = 253;
/// Longest label of a host name in octets (RFC 1035 2.3.4).
pub const HOST_LABEL: usize = 63;

// === Bodies of requests and answers ===

/// Longest body that a `Content-Length` may announce: what a signed number of 64 bits holds, which
/// is what many readers have.
pub const ANNOUNCED_LENGTH: u64 = i64::MAX as u64;
/// Bytes of extensions and trailers in one body; a client has no use for more.
pub const CHUNK_OVERHEAD: u32 = 64 * 1024;
/// Longest body of `PUT /credentials` in bytes.
pub const CREDENTIALS_BODY: usize = 1024 * 1024;
/// Longest body of `POST /bewit` in bytes.
pub const BEWIT_BODY: usize = 64 * 1024;
/// How much of a body that the answer does not need is read before the answer, and for how long.
pub const UNREAD_BODY: usize = 64 * 1024;
pub const UNREAD_BODY_TIME: Duration = Duration::from_secs(1);
/// The most bytes of the answer to a look-up that are read.
pub const LOOKUP_BODY: usize = 8 * 1024 * 1024;
/// Longest body that goes out with its head.
pub const BODY_WITH_HEAD: u64 = 16 * 1024;

// === Connections of clients ===

/// How long a connection may be open without a request.
pub const CLIENT_IDLE: Duration = Duration::from_secs(10 * 60);
/// Requests that one HTTP/2 connection may have under way.
pub const CLIENT_STREAMS: u32 = 128;
/// Bytes of a request's body that one HTTP/2 stream may hold.
pub const CLIENT_STREAM_WINDOW: u32 = 32 * 1024;
/// The same for all streams of a connection: as much as they may hold together, so that uploads which
/// have stopped never stop another stream.
pub const CLIENT_CONNECTION_WINDOW: u32 = CLIENT_STREAMS * CLIENT_STREAM_WINDOW;
/// Bytes of an answer that one HTTP/2 stream may hold unsent.
pub const CLIENT_SEND_BUFFER: usize = 256 * 1024;
/// hyper gets no more of an HTTP/1 answer while it holds this many bytes unwritten.
pub const CLIENT_UNSENT: usize = 16 * 1024;
/// The same bound as an HTTP/1 head has.
pub const CLIENT_HEADER_LIST: u32 = 64 * 1024;

// === Answers ===

/// The longest head of an answer, as on the way in. It is also the most that is read at once:
/// downloads cost no less with larger buffers (tried up to 408 KiB; half of this costs a third
/// more), and an idle connection may hold as much.
pub const ANSWER_HEAD: usize = 64 * 1024;
/// Header fields of an answer. The default, 100, is less than what other clients take.
pub const ANSWER_FIELDS: usize = 512;
/// Most bytes of interim answers to one request.
pub const INTERIM_ANSWERS: usize = 64 * 1024;
/// A scopes header past this length is left out: Node's clients refuse 16 KiB of headers.
pub const SCOPES_HEADER: usize = 4096;

// === Connections to upstreams ===

/// How long a request waits for a connection where there are as many as there may be: clients that do
/// not read their answers may hold them all.
pub const PERMIT_WAIT: Duration = Duration::from_secs(30);

/// Idle connections that a thread keeps. More are of use only to a thread that has more requests
/// at a time, and each may hold a read buffer.
pub const IDLE_LINKS: usize = 256;
/// The same for sockets, which hold nothing but their descriptor.
pub const IDLE_SOCKETS: usize = 1024;
/// At this many remembered origins, those without a connection are forgotten before another is
/// added.
pub const KNOWN_HOSTS: usize = 1024;
/// Streams on one HTTP/2 connection; for more there is another connection.
pub const UPSTREAM_STREAMS: u32 = 32;
/// Streams of one HTTP/2 connection that may be given up before their end; after that many it takes
/// no new ones. nghttp2, which is in many servers, ends a connection after 1,000 within half a
/// minute.
pub const UPSTREAM_RESETS: u32 = 200;
/// Bytes that upstream may send on a new stream before they are read: what a client that stops
/// reading costs in any case.
pub const UPSTREAM_FIRST_WINDOW: u32 = 64 * 1024;
/// The most that it may grow to: at a round trip of 50 ms, 320 MiB a second.
pub const UPSTREAM_LARGEST_WINDOW: u32 = 16 * 1024 * 1024;
/// How much the windows of all streams of a thread may have grown together.
pub const UPSTREAM_WINDOWS: u32 = 16 * 1024 * 1024;
/// As large as all streams' windows can be together, so that readers which have stopped never stop
/// another stream of the connection.
pub const UPSTREAM_CONNECTION_WINDOW: u32 =
    UPSTREAM_STREAMS * UPSTREAM_FIRST_WINDOW + UPSTREAM_WINDOWS;
/// Bytes of an upload that a stream may hold while upstream takes none.
pub const UPSTREAM_SEND_BUFFER: usize = 256 * 1024;
/// An answer's header list on HTTP/2, as on HTTP/1.1.
pub const UPSTREAM_HEADER_LIST: u32 = 64 * 1024;
