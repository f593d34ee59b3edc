//! What the proxy's threads share, in the orders in which threads can run.
//!
//! The files of `crates/proxy` that hold it are compiled here once more, as they are, with
//! [shuttle](https://docs.rs/shuttle)'s primitives behind `crate::sync`: one thread runs at a time, and
//! wherever it touches what is shared, another may go on in its place. Each of [`models`] says what
//! holds in every order; the tests run it in a thousand.
//!
//! What this is not: part of a build. Stand-ins, as short as possible, replace the parts beside
//! these files that do not matter to them.
#![forbid(unsafe_code)]
// The tests of those files belong to the proxy.
#![cfg(not(test))]

mod client;
mod exchange;
mod message;
pub mod models;
mod record;
mod signing;
mod sync;

/// When a new set takes effect.
#[derive(Debug, Clone, Copy)]
enum Update {
    Drain(std::time::Duration),
    Immediate,
}
