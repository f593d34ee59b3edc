//! What the crates' micro-benchmarks measure with: the CPU time of the thread, and allocations.
//!
//! CPU time rather than the wall clock, because what the proxy burns is what its machine loses,
//! and because it stands still while another process has the core. The benchmarks themselves are
//! beside what they measure, in `crates/*/benches`; no program links this.

#![forbid(unsafe_code)]

use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::BatchSize;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

pub use std::hint::black_box;

pub use criterion::{criterion_group, criterion_main};

/// The benchmarks of one program.
pub type Criterion = criterion::Criterion<CpuTime>;

/// CPU seconds of the thread that runs the benchmark, in the process and in the kernel.
pub struct CpuTime;

/// The settings of every `criterion_group!`: shorter times than Criterion's own, so that all
/// benchmarks together take no more than a minute or two.
pub fn criterion() -> Criterion {
    criterion::Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
}

/// Measures `routine`: prints how often one call of it allocates, then its CPU time.
pub fn run(c: &mut Criterion, name: &str, mut routine: impl FnMut()) {
    run_on(c, name, || (), |()| routine());
}

/// The same for a routine that uses up the input that `prepare` makes. `prepare` is not measured.
pub fn run_on<I>(
    c: &mut Criterion,
    name: &str,
    mut prepare: impl FnMut() -> I,
    mut routine: impl FnMut(&mut I),
) {
    let counted = allocations_of(&mut prepare, &mut routine);
    println!("{name:<50} allocations: {counted}");
    c.bench_function(name, |bencher| {
        bencher.iter_batched_ref(&mut prepare, &mut routine, BatchSize::SmallInput);
    });
}

/// How often one call of `routine` allocates.
pub fn allocations_of<I>(mut prepare: impl FnMut() -> I, mut routine: impl FnMut(&mut I)) -> u64 {
    // The first call may make things that later calls share; they are not part of a call's cost.
    routine(&mut prepare());
    let mut input = prepare();
    allocation_counter::measure(|| routine(&mut input)).count_total
}

impl Measurement for CpuTime {
    type Intermediate = ThreadTime;
    type Value = Duration;

    fn start(&self) -> ThreadTime {
        ThreadTime::now()
    }

    fn end(&self, start: ThreadTime) -> Duration {
        start.elapsed()
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
