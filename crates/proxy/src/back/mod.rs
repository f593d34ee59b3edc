//! The way back: upstream's answer to the client.

pub mod relay;
pub mod tunnel;
