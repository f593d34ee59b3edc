//! The seed of random test cases. It is the same in every run, so that a change is judged by its own
//! effect alone. `TEST_SEED` names another, or `random` draws one; the seed is printed. The tests in
//! TypeScript have the same rule in `__test__/harness/seed.ts`.

use std::env;

use fastrand::Rng;

const SEED: u64 = 1_566_072_965;

/// A generator with that seed.
pub fn rng() -> Rng {
    let seed = match env::var("TEST_SEED").as_deref() {
        Err(_) => SEED,
        Ok("random") => fastrand::u64(..1 << 32),
        Ok(named) => named
            .parse()
            .expect("TEST_SEED is a whole number, or random"),
    };
    println!("TEST_SEED={seed}");
    Rng::with_seed(seed)
}
