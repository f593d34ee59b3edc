//! The attributes of a Hawk header field, read by the grammar of npm `hawk`
//! (`parseAuthorizationHeader` in `lib/utils.js`).

/// The longest header field that npm `hawk` reads, in characters; it also is the longest request
/// target in which it looks for a bewit.
pub const MAX_HEADER_LEN: usize = 4096;
