//! What routing, header hygiene and signing cost each request.

use taskcluster_proxy_bench::{Criterion, criterion, criterion_group, criterion_main, run_on};

mod cases;

fn steps(c: &mut Criterion) {
    for mut case in cases::all() {
        case.assert_allocations();
        run_on(c, case.name, case.head, case.run);
    }
}

criterion_group!(name = benches; config = criterion(); targets = steps);
criterion_main!(benches);
