//! The timestamp challenge: a server tells a client with a wrong clock the time, and proves that it
//! has the client's key.
//!
//! A challenge proves its maker, not its age: an attacker who has seen one can repeat it.

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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn";

    #[test]
    fn a_challenge_is_written_as_hawk_writes_it_and_read_back() {
        let header = challenge(KEY, 1_362_346_425);
        let start = "Hawk ts=\"1362346425\", tsm=\"";
        assert!(header.starts_with(start) && header.ends_with("\", error=\"Stale timestamp\""));
        assert_eq!(time(&mac::key(KEY), &header), Some(1_362_346_425));
    }

    /// `test/client.js` of mozilla/hawk, and what a Hawk server may also say.
    #[test]
    fn only_a_challenge_by_our_key_is_believed() {
        let tsm = "hwayyzsgkUQT9DxA3d6MhmIJHPQpmpqZ3Eh2wBwbjKs=";
        let published = format!("Hawk ts=\"1362346425003\", tsm=\"{tsm}\", error=\"x\"");
        let key = mac::key(KEY);
        let right = challenge(KEY, 17);
        let (before, tsm) = right.split_once("tsm=\"").unwrap();
        let table = [
            published,
            challenge("another", 17),
            right.replace("17", "18"),
            right.replace("17", "017"),
            right.replace("17", "+17"),
            right.replace("17", "17.0"),
            format!("{before}tsm=\"A{tsm}"),
            right.replace("tsm=", "mac="),
            right.replace("Hawk", "Basic"),
            "Hawk ts=\"17\"".to_owned(),
            "Hawk error=\"Stale timestamp\"".to_owned(),
            "Hawk".to_owned(),
            String::new(),
            format!("{right}, ts=\"17\""),
        ];
        for header in table {
            assert_eq!(time(&key, &header), None, "{header}");
        }
        assert_eq!(time(&key, &right), Some(17));
    }

    #[test]
    fn a_time_beyond_all_bounds_is_none() {
        let ts = "184467440737095516160";
        let tsm = STANDARD.encode(hmac::sign(&mac::key(KEY), message(ts).as_bytes()));
        let header = format!("Hawk ts=\"{ts}\", tsm=\"{tsm}\"");
        assert_eq!(time(&mac::key(KEY), &header), None);
    }
}
