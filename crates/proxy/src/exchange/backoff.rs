//! How long to wait before a request is tried again, and when to stop trying.
//!
//! A [`Backoff`] is one request's; it knows the pause, not what makes a try worth repeating. The
//! pauses grow by a factor up to a cap and are spread by chance, so that clients which failed
//! together do not come back together.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::Retry;

/// Every pause is this many times the one before.
const FACTOR: f64 = 1.5;
/// A pause is spread over this part of itself to either side.
const JITTER: f64 = 0.5;

/// Pauses between the tries of a request.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The first pause, before it is spread.
    pub first: Duration,
    /// The longest pause.
    pub cap: Duration,
    /// No pause ends later than this after the request came; zero means one try.
    pub limit: Duration,
}

/// The pauses of one request.
#[derive(Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    began: Instant,
    /// The next pause, before it is spread.
    pause: Duration,
}

// === impl RetryPolicy ===

impl RetryPolicy {
    /// The shortest pause that there may be.
    fn least(&self) -> Duration {
        times(self.first, 1.0 - JITTER).min(self.cap)
    }
}

impl From<Retry> for RetryPolicy {
    fn from(Retry { first, cap, limit }: Retry) -> Self {
        Self { first, cap, limit }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            limit: Duration::from_secs(15 * 60),
        }
    }
}

// === impl Backoff ===

impl Backoff {
    /// The pauses of a request that came at `began`.
    pub fn new(policy: RetryPolicy, began: Instant) -> Self {
        Self {
            policy,
            began,
            pause: policy.first.min(policy.cap),
        }
    }

    /// How long to wait from `now` until the next try; `None` where there is none: the answer at
    /// hand is final.
    ///
    /// `retry_after` is what upstream asked for (see [`retry_after`]). It takes the place of the
    /// pause, also where it is longer than the cap. No pause is shorter than the shortest first
    /// pause: otherwise an upstream that asks for zero would be tried without end.
    pub fn next(&mut self, now: Instant, retry_after: Option<Duration>) -> Option<Duration> {
        let left = self
            .policy
            .limit
            .checked_sub(now.saturating_duration_since(self.began))?;
        let pause = match retry_after {
            None => spread(self.pause, chance(), self.policy.cap),
            Some(asked) => asked.max(self.policy.least()),
        };
        self.pause = times(self.pause, FACTOR).min(self.policy.cap);
        (!left.is_zero() && pause <= left).then_some(pause)
    }
}

/// The pause that a `Retry-After` field asks for: seconds, or a date that is taken as the time from
/// `now` to it (RFC 9110 10.2.3). `None` where it is neither.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are longer than any request waits.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// `pause` moved by `chance` (0 to 1) within the jitter, but never past `cap`.
fn spread(pause: Duration, chance: f64, cap: Duration) -> Duration {
    times(pause, 1.0 - JITTER + 2.0 * JITTER * chance).min(cap)
}

fn times(pause: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// A number from 0 to 1. Spreading load needs no secrecy: xorshift64*, seeded once per thread.
fn chance() -> f64 {
    thread_local! {
        static SEED: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
    }
    SEED.with(|seed| {
        let mut x = seed.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        seed.set(x);
        // The upper bits are the more random ones.
        let bytes = x.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes();
        f64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            / f64::from(u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(first: u64, cap: u64, limit: u64) -> RetryPolicy {
        RetryPolicy {
            first: Duration::from_millis(first),
            cap: Duration::from_millis(cap),
            limit: Duration::from_millis(limit),
        }
    }

    #[test]
    fn pauses_grow_up_to_the_cap_within_their_jitter() {
        let began = Instant::now();
        let mut backoff = Backoff::new(policy(500, 2_000, 900_000), began);
        for base in [500.0, 750.0, 1_125.0, 1_687.5, 2_000.0, 2_000.0] {
            let pause = backoff.next(began, None).expect("there is time");
            let millis = pause.as_secs_f64() * 1_000.0;
            assert!((base * 0.5 - 0.01..=(base * 1.5f64).min(2_000.0) + 0.01).contains(&millis));
        }
    }

    #[test]
    fn pauses_are_spread() {
        let pauses: std::collections::HashSet<_> = (0..50)
            .map(|_| Backoff::new(policy(500, 2_000, 900_000), Instant::now()))
            .map(|mut backoff| backoff.next(backoff.began, None))
            .collect();
        assert!(pauses.len() > 40, "{pauses:?}");
        for (at, millis) in [(0.0, 250), (0.5, 500), (1.0, 750)] {
            let base = Duration::from_millis(500);
            assert_eq!(spread(base, at, SECOND), Duration::from_millis(millis));
        }
        assert_eq!(spread(SECOND, 1.0, SECOND), SECOND);
    }

    #[test]
    fn there_is_no_pause_that_ends_past_the_limit() {
        let began = Instant::now();
        let next = |limit, elapsed, retry_after: Option<u64>| {
            Backoff::new(policy(0, 60_000, limit), began).next(
                began + Duration::from_millis(elapsed),
                retry_after.map(Duration::from_millis),
            )
        };
        let pause = |millis| Some(Duration::from_millis(millis));
        for (limit, elapsed, retry_after, expected) in [
            (0, 0, None, None),
            (0, 0, Some(0), None),
            (10_000, 0, None, pause(0)),
            (10_000, 10_000, None, None),
            (10_000, 20_000, Some(0), None),
            (10_000, 0, Some(10_000), pause(10_000)),
            (10_000, 1, Some(10_000), None),
            (10_000, 4_000, Some(6_000), pause(6_000)),
            // What upstream asks for is not capped.
            (900_000, 0, Some(120_000), pause(120_000)),
            (900_000, 0, Some(u64::MAX), None),
        ] {
            let case = (limit, elapsed, retry_after);
            assert_eq!(next(limit, elapsed, retry_after), expected, "{case:?}");
        }
    }

    #[test]
    fn no_pause_is_shorter_than_the_first_may_be() {
        let began = Instant::now();
        for (asked, expected) in [(0, 250), (249, 250), (251, 251)] {
            let mut backoff = Backoff::new(policy(500, 60_000, 900_000), began);
            let pause = backoff.next(began, Some(Duration::from_millis(asked)));
            assert_eq!(pause, Some(Duration::from_millis(expected)), "{asked}");
        }
    }

    #[test]
    fn the_longest_settings_do_not_overflow() {
        let most = RetryPolicy {
            first: Duration::MAX,
            cap: Duration::MAX,
            limit: Duration::MAX,
        };
        let began = Instant::now();
        let mut backoff = Backoff::new(most, began);
        for _ in 0..3 {
            assert!(backoff.next(began, None).is_some());
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").expect("a date");
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7\t", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("Wednesday, 21-Oct-15 07:28:30 GMT", Some(30)),
            ("Wed Oct 21 07:28:30 2015", Some(30)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(value.as_bytes(), now), expected, "{value:?}");
        }
        assert_eq!(retry_after(b"\xff", now), None);
    }
}
