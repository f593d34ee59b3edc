//! The client's side, as far as threads share it.

#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../proxy/src/client/slots.rs"]
pub mod slots;
#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../proxy/src/client/usage.rs"]
pub mod usage;
