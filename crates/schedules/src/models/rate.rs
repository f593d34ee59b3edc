//! The limit on lines of one kind.
//!
//! - Of threads that come at once, one passes in a while.
//! - Each line that is left out is counted once, in the number of a later one or of the rest.

use std::time::Instant;

use shuttle::thread;

use crate::record::log::{RATE, RateLimit};

const LINES: u32 = 3;

/// Two threads, and one that asks for the rest.
pub fn lines_of_two_threads() {
    let began = Instant::now();
    let limit = RateLimit::new();
    let threads = [(); 2].map(|()| {
        let limit = limit.clone();
        thread::spawn(move || {
            let lines: Vec<_> = (0..LINES).map(|_| limit.pass()).collect();
            lines.into_iter().flatten().collect::<Vec<_>>()
        })
    });
    let mut told = limit.rest().unwrap_or(0);
    let mut passed = 0;
    for thread in threads {
        let numbers = thread.join().expect("no panic");
        passed += u32::try_from(numbers.len()).expect("a few");
        told += numbers.iter().sum::<u64>();
    }
    told += limit.rest().unwrap_or(0);
    assert_eq!(u64::from(passed) + told, u64::from(2 * LINES));
    assert!(passed >= 1, "none passed");
    assert!(RATE * (passed - 1) <= began.elapsed(), "{passed} passed");
}
