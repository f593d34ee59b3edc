//! What signing costs the allocator. It happens for every request, so nothing may be allocated
//! that could have been made before.

use allocation_counter::measure;
use taskcluster_proxy_hawk::{Credentials, NonceSource, Resource, Signer};

const TS: u64 = 1_700_000_000;

/// As large as those that `queue.claimWork` returns.
fn signer() -> Signer {
    let scopes: Vec<String> = (0..40)
        .map(|i| format!("queue:route:index.project.of.some.kind.{i}"))
        .collect();
    let certificate = format!(
        r#"{{"version":1,"scopes":{scopes:?},"start":1,"expiry":2,"seed":"{}","signature":"x"}}"#,
        "s".repeat(44),
    );
    let credentials = Credentials::new("task-client/AbC/0/on/w/i", "token", Some(&certificate))
        .expect("the credentials are valid");
    Signer::new(&credentials, Some(&scopes[..10]))
}

#[test]
fn a_header_needs_no_more_than_its_own_room() {
    let signer = signer();
    let resource = Resource::parse("https://Firefox-CI-tc.services.mozilla.com/api/queue/v1/x?y=z")
        .expect("the URL is valid");
    let request = resource.request("get").expect("the method is one");
    let mut nonces = NonceSource::new();

    let fresh = measure(|| {
        let mut header = Vec::new();
        signer.write_authorization(&mut header, &request, TS, &nonces.next());
        assert_eq!(header.len(), header.capacity());
    });
    assert_eq!(fresh.count_total, 1);

    let mut header = Vec::with_capacity(signer.authorization_len());
    let reused = measure(|| {
        for ts in TS..TS + 1000 {
            header.clear();
            signer.write_authorization(&mut header, &request, ts, &nonces.next());
        }
    });
    assert_eq!(reused.count_total, 0);
}

#[test]
fn clones_share_what_they_hold() {
    let signer = signer();
    assert_eq!(measure(|| drop(signer.clone())).count_total, 0);
}
