//! The exchange with upstream, as far as threads share it.

#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../proxy/src/exchange/replay.rs"]
pub mod replay;
pub mod upstream;

pub mod send_error {
    /// Why nothing was sent.
    #[derive(Debug)]
    pub enum SendError {
        Setup(#[allow(dead_code, reason = "Debug shows it")] Box<str>),
    }
}
