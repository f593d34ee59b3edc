//! The way back: upstream's answer to the client.

pub mod bare;
pub mod head;
pub mod made;
pub mod relay;
pub mod rest;
pub mod tunnel;
