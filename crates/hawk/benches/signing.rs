//! What a signature costs. How many allocations there may be is asserted by
//! `tests/allocations.rs`.

use taskcluster_proxy_bench::{
    Criterion, black_box, criterion, criterion_group, criterion_main, run,
};
use taskcluster_proxy_hawk::{Credentials, NonceSource, Resource, Signer};

const TS: u64 = 1_700_000_000;

/// Permanent credentials, and a task's: with a certificate of `scopes` scopes, as
/// `queue.claimWork` returns them.
fn signer(scopes: Option<usize>) -> Signer {
    let certificate = scopes.map(|scopes| {
        let scopes: Vec<String> = (0..scopes)
            .map(|i| format!("queue:route:index.project.of.some.kind.{i}"))
            .collect();
        format!(
            r#"{{"version":1,"scopes":{scopes:?},"start":1,"expiry":2,"seed":"{}","signature":"{}"}}"#,
            "s".repeat(44),
            "m".repeat(44),
        )
    });
    let credentials = Credentials::new("task-client/AbC/0/on/w/i", "token", certificate.as_deref())
        .expect("the credentials are valid");
    Signer::new(&credentials, None)
}

fn signing(c: &mut Criterion) {
    let resource =
        Resource::parse("https://firefox-ci-tc.services.mozilla.com/api/queue/v1/task/x?y=z")
            .expect("the URL is valid");
    let request = resource.request("GET").expect("the method is one");
    let mut nonces = NonceSource::new();
    for (name, scopes) in [
        ("permanent credentials", None),
        ("a certificate of 5 scopes", Some(5)),
        ("a certificate of 40 scopes", Some(40)),
    ] {
        let signer = signer(scopes);
        let length = signer.authorization_len();
        run(c, &format!("header of {length} bytes, {name}"), || {
            let mut header = Vec::new();
            signer.write_authorization(&mut header, black_box(&request), TS, &nonces.next());
            black_box(header);
        });
    }
    run(c, "nonce", || {
        black_box(nonces.next());
    });
    let signer = signer(Some(5));
    run(c, "bewit, a certificate of 5 scopes", || {
        black_box(signer.bewit(black_box(&request), TS));
    });
}

criterion_group!(name = benches; config = criterion(); targets = signing);
criterion_main!(benches);
