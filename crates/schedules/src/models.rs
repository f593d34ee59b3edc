//! What holds in every order. Each model is one run. It panics where something does not hold, and
//! stops with all threads waiting where one waits for an event that does not come.

#![allow(clippy::missing_panics_doc, reason = "that is all they do")]

pub mod audit;
pub mod credentials;
pub mod log;
pub mod permits;
pub mod rate;
pub mod replays;
pub mod slots;
