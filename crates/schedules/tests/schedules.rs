//! Plays each model in a thousand orders of its threads: half of them at random, half with few changes of the thread
//! that goes first (PCT).
//!
//! `SCHEDULES` sets the number of orders for each half, `SCHEDULES_SEED` which orders they are.

use std::env;
use std::str::FromStr;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use taskcluster_proxy_schedules::models::{audit, credentials, log, permits, rate, replays, slots};

/// The orders in `cargo test`, for each model and each way to choose.
const SCHEDULES: usize = 500;

/// The most steps of a run. A run that takes more goes on for ever; most take some hundred.
const STEPS: usize = 100_000;

/// The stack of each thread, in bytes. Code that is not optimised takes more than shuttle expects.
const STACK: usize = 2048 * 1024;

/// How often another thread is made to go first; most faults are found with few changes.
const CHANGES: usize = 3;

fn number<N: FromStr>(variable: &str, otherwise: N) -> N {
    let Ok(value) = env::var(variable) else {
        return otherwise;
    };
    let number = value.parse().ok();
    number.unwrap_or_else(|| panic!("{variable} must be a whole number"))
}

fn explore(model: fn()) {
    let schedules = number("SCHEDULES", SCHEDULES);
    let seed = number("SCHEDULES_SEED", 1);
    run(RandomScheduler::new_from_seed(seed, schedules), model);
    run(PctScheduler::new_from_seed(seed, CHANGES, schedules), model);
}

fn run(scheduler: impl Scheduler + 'static, model: fn()) {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    Runner::new(scheduler, config).run(model);
}

#[test]
fn no_request_runs_with_a_set_from_before_an_update() {
    explore(credentials::updates_that_wait);
    explore(credentials::updates_that_wait_for_a_while);
    explore(credentials::updates_at_once);
}

#[test]
fn lines_of_the_log_are_written_or_counted_and_waited_for() {
    explore(log::lines_that_are_waited_for);
    explore(log::lines_without_a_flush);
    explore(log::lines_at_the_end);
    explore(log::lines_without_room);
}

#[test]
fn lines_of_the_audit_log_are_written_or_counted() {
    explore(audit::lines_of_two_threads);
    explore(audit::lines_at_the_end);
}

#[test]
fn nothing_is_signed_that_a_required_audit_log_would_lose() {
    explore(audit::lines_that_are_required);
}

#[test]
fn one_of_many_lines_passes_and_the_others_are_counted() {
    explore(rate::lines_of_two_threads);
}

#[test]
fn who_waits_for_a_place_gets_one() {
    explore(slots::idle_connections_make_room);
    explore(slots::busy_connections_end);
    explore(slots::a_busy_connection_is_kept);
}

#[test]
fn who_waits_for_a_permit_gets_one() {
    explore(permits::one_connection_for_all);
    explore(permits::a_connection_for_each);
}

#[test]
fn bodies_that_are_kept_stay_within_their_budget() {
    explore(replays::bodies_past_the_budget);
}
