//! What HTTP messages are made of, on both sides of the proxy: heads, fields, bodies.
//!
//! What it is not: nothing here knows of a connection, a route or a credential.

pub mod chunked;
pub mod fields;
pub mod head;
pub mod headers;
pub mod names;
pub mod strict_body;
pub mod target;
