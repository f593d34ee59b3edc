//! What routing, header hygiene and signing cost the allocator. They happen for every request, so
//! nothing may be allocated that could have been made before.

#[path = "../benches/cases/mod.rs"]
mod cases;

#[test]
fn stations_allocate_no_more_than_they_need() {
    for mut case in cases::all() {
        case.assert_allocations();
    }
}
