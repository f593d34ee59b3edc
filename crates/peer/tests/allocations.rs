//! A look-up allocates nothing, since a refusal must be cheap.

#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use taskcluster_proxy_bench::allocations_of;
use taskcluster_proxy_peer::{Lookup, Presence, own_user};

#[test]
fn a_look_up_allocates_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (accepted, _) = listener.accept().expect("accepts");
    let mut lookup = Lookup::open().expect("opens");

    let owner = allocations_of(
        || (),
        |()| assert!(lookup.owner(&accepted).expect("an owner") == own_user()),
    );
    assert_eq!(owner, 0);

    client.shutdown(Shutdown::Write).expect("still connected");
    let presence = allocations_of(
        || (),
        |()| assert_eq!(lookup.presence(&accepted), Presence::Alive),
    );
    assert_eq!(presence, 0);
}
