//! The timestamp challenge: how a server tells a client with a wrong clock the time, in a way that
//! only somebody with the client's key can.

use ring::hmac;

use crate::mac;

/// The value of `WWW-Authenticate` for a request with a stale timestamp. `now` is in seconds since
/// the epoch; `access_token` is the one that the client signs with.
pub fn challenge(access_token: &str, now: u64) -> String {
    let key = mac::key(access_token);
    let tsm = mac::base64_of(hmac::sign(&key, &message(now)).as_ref());
    let tsm = std::str::from_utf8(&tsm).expect("base64 is ASCII");
    format!("Hawk ts=\"{now}\", tsm=\"{tsm}\", error=\"Stale timestamp\"")
}

pub(crate) fn time(_key: &hmac::Key, _www_authenticate: &str) -> Option<u64> {
    None
}

fn message(ts: u64) -> Vec<u8> {
    format!("hawk.1.ts\n{ts}\n").into_bytes()
}
