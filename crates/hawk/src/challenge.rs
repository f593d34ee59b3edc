//! The timestamp challenge: how a server tells a client with a wrong clock the time, in a way that
//! only somebody with the client's key can.
//!
//! A challenge proves who made it, not when: whoever saw one can repeat it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::header;
use crate::mac;

/// The value of `WWW-Authenticate` for a request with a stale timestamp. `access_token` is the one
/// that the client signs with, `now` is in seconds since the epoch.
pub fn challenge(access_token: &str, now: u64) -> String {
    let tsm = hmac::sign(
        &mac::key(access_token),
        message(&now.to_string()).as_bytes(),
    );
    let tsm = STANDARD.encode(tsm);
    format!("Hawk ts=\"{now}\", tsm=\"{tsm}\", error=\"Stale timestamp\"")
}

/// The time in a challenge that was made with `key`, in seconds since the epoch.
pub(crate) fn time(key: &hmac::Key, www_authenticate: &str) -> Option<u64> {
    let names = ["ts", "tsm", "error"];
    let [Some(ts), Some(tsm), _] = header::attributes(www_authenticate, &names).ok()? else {
        return None;
    };
    let seconds = seconds(ts)?;
    mac::verify(key, message(ts).as_bytes(), tsm).then_some(seconds)
}

/// A `ts` attribute: decimal digits and nothing else.
pub(crate) fn seconds(ts: &str) -> Option<u64> {
    ts.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| ts.parse().ok())?
}

fn message(ts: &str) -> String {
    format!("hawk.1.ts\n{ts}\n")
}
