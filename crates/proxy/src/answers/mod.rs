//! The answers that the proxy makes itself.

pub mod bewit;
pub mod refusal;
