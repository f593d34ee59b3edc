//! The exchange with upstream: a request goes out, and again while that may help.

pub mod backoff;
pub mod fast_path;
pub mod forward;
pub mod reasons;
pub mod replay;
pub mod send_error;
pub mod upstream;
