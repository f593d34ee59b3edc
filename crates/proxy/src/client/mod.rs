//! The client's side: connections are accepted, admitted, and read.
//!
//! What it is not: it decides nothing about a request ([`crate::decision`]) and sends nothing to
//! upstream ([`crate::exchange`]).

pub mod absence;
pub mod admit;
pub mod body;
pub mod clock;
pub mod connection;
pub mod gate;
pub mod http2;
pub mod linger;
pub mod listener;
pub mod read_budget;
pub mod reader;
pub mod request_lines;
pub mod slots;
pub mod usage;
pub mod writer;
