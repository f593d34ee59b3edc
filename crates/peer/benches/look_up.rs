//! What it costs to ask who owns the other end of a connection, on a machine that has no other
//! sockets and on one that has 10,000.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use taskcluster_proxy_bench::{
    Criterion, black_box, criterion, criterion_group, criterion_main, run,
};
use taskcluster_proxy_peer::{Lookup, Presence, own_user, raise_descriptor_limit};

/// Each is two sockets.
const OTHER_CONNECTIONS: usize = 5_000;

fn look_up(c: &mut Criterion) {
    let mut lookup = match Lookup::open() {
        Ok(lookup) => lookup,
        Err(error) => return println!("skipped: {error}"),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let asked = connect(&listener).expect("a connection");
    let half_closed = connect(&listener).expect("a connection");
    half_closed
        .0
        .shutdown(Shutdown::Write)
        .expect("still connected");

    measure(c, "no other sockets", &mut lookup, &asked, &half_closed);
    match others(&listener) {
        Ok(others) => {
            measure(c, "10,000 others", &mut lookup, &asked, &half_closed);
            drop(others);
        }
        Err(error) => println!("skipped: 10,000 other sockets cannot be opened ({error})"),
    }
}

fn measure(c: &mut Criterion, sockets: &str, lookup: &mut Lookup, asked: &Pair, half: &Pair) {
    let own = own_user();
    run(c, &format!("owner, {sockets}"), || {
        let owner = lookup.owner(black_box(&asked.1)).expect("an owner");
        assert!(owner == own);
    });
    run(
        c,
        &format!("presence of a half-closed client, {sockets}"),
        || {
            assert_eq!(lookup.presence(black_box(&half.1)), Presence::Alive);
        },
    );
}

/// A client's end, and ours.
type Pair = (TcpStream, TcpStream);

fn others(listener: &TcpListener) -> io::Result<Vec<Pair>> {
    raise_descriptor_limit()?;
    (0..OTHER_CONNECTIONS).map(|_| connect(listener)).collect()
}

/// A connection that leaves no `TIME-WAIT` behind.
fn connect(listener: &TcpListener) -> io::Result<Pair> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    let (accepted, _) = listener.accept()?;
    Ok((client, accepted))
}

criterion_group!(name = benches; config = criterion(); targets = look_up);
criterion_main!(benches);
