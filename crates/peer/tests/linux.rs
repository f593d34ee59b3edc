//! The look-up against real sockets, and against the attacker of `examples/attacker.rs`, who acts
//! as another user. What needs other users is skipped with a line where the test is not root.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use taskcluster_proxy_peer::{Lookup, LookupError, Presence, TcpState, is_root, own_user, user_id};

const ALLOWED: u32 = 1;
const OTHER: u32 = 2;

/// A listener and both ends of one connection to it.
fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (accepted, _) = listener.accept().expect("accepts");
    (client, accepted)
}

fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds")
}

fn lookup() -> Lookup {
    Lookup::open().expect("opens")
}

fn not_root(what: &str) -> bool {
    let skipped = !is_root(&own_user());
    if skipped {
        // Written to stderr directly: the test harness hides what successful tests print.
        let _ = writeln!(std::io::stderr(), "skipped, because it needs root: {what}");
    }
    skipped
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Closes a client and waits until it has no owner: a process that another test spawns holds a
/// copy of its descriptor until it has executed its program.
fn close(client: TcpStream, accepted: &TcpStream, lookup: &mut Lookup) {
    drop(client);
    wait_until("closed", || lookup.owner(accepted).is_err());
}

#[test]
fn own_connections_are_own_over_every_family() {
    let dual = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
    dual.set_only_v6(false).expect("dual stack");
    dual.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())
        .expect("binds");
    dual.listen(8).expect("listens");
    let dual = TcpListener::from(dual);
    let port = dual.local_addr().expect("bound").port();
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    for target in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv4Addr::new(127, 9, 8, 7), port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        SocketAddr::from((mapped, port)),
    ] {
        let client = TcpStream::connect(target).expect("connects");
        let (accepted, _) = dual.accept().expect("accepts");
        assert_eq!(
            lookup().owner(&accepted).expect("an owner"),
            own_user(),
            "{target}"
        );
        drop(client);
    }
}

#[test]
fn clients_by_every_own_address_are_seen_bound_to_its_device_or_not() {
    let listener = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
    listener.set_only_v6(false).expect("dual stack");
    listener
        .bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())
        .expect("binds");
    listener.listen(8).expect("listens");
    let listener = TcpListener::from(listener);
    let port = listener.local_addr().expect("bound").port();
    let mut lookup = lookup();
    let mut tried = 0;
    for (device, mut address) in interface_addresses() {
        address.set_port(port);
        for bound in [None, Some("lo"), Some(device.as_str())] {
            let client =
                Socket::new(Domain::for_address(address), Type::STREAM, None).expect("one");
            if bound.is_some() && client.bind_device(bound.map(str::as_bytes)).is_err() {
                continue;
            }
            // IPv4 to an own address always travels by loopback, so a client bound to another
            // device never connects.
            if client
                .connect_timeout(&address.into(), Duration::from_millis(100))
                .is_err()
            {
                continue;
            }
            let (accepted, _) = listener.accept().expect("accepts");
            let owner = lookup.owner(&accepted);
            assert_eq!(
                owner.expect("an owner"),
                own_user(),
                "{address} by {bound:?}"
            );
            tried += 1;
        }
    }
    assert!(tried >= 2, "loopback at least, with and without its device");
}

/// Names of devices and their addresses, with the scope of link-local ones.
fn interface_addresses() -> Vec<(String, SocketAddr)> {
    let mut addresses = vec![("lo".to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))];
    let Ok(table) = std::fs::read_to_string("/proc/net/if_inet6") else {
        return addresses;
    };
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [hex, index, _, scope, _, name] = words[..] else {
            continue;
        };
        let bits = u128::from_str_radix(hex, 16).expect("hexadecimal");
        let index = u32::from_str_radix(index, 16).expect("hexadecimal");
        let scope_id = if scope == "20" { index } else { 0 };
        let address = std::net::SocketAddrV6::new(Ipv6Addr::from_bits(bits), 0, 0, scope_id);
        addresses.push((name.to_owned(), address.into()));
    }
    addresses
}

#[test]
fn a_client_that_shut_down_writing_is_alive_and_has_its_owner() {
    let listener = listen();
    let (client, accepted) = connected(&listener);
    let mut lookup = lookup();
    assert_eq!(lookup.presence(&accepted), Presence::Alive);
    client.shutdown(Shutdown::Write).expect("open");
    wait_until("end of file", || {
        (&accepted).read(&mut [0]).is_ok_and(|read| read == 0)
    });
    assert_eq!(lookup.owner(&accepted).expect("an owner"), own_user());
    assert_eq!(lookup.presence(&accepted), Presence::Alive);
    close(client, &accepted, &mut lookup);
    assert_eq!(lookup.presence(&accepted), Presence::Gone);
    let owner = lookup.owner(&accepted);
    assert!(
        matches!(
            owner,
            Err(LookupError::NotAlive(
                TcpState::FinWait1 | TcpState::FinWait2
            ))
        ),
        "{owner:?}"
    );
}

#[test]
fn a_closed_client_has_no_owner() {
    let listener = listen();
    let (mut client, accepted) = connected(&listener);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("open");
    let mut lookup = lookup();
    close(client, &accepted, &mut lookup);
    assert!(matches!(
        lookup.owner(&accepted),
        Err(LookupError::NotAlive(_))
    ));
    assert_eq!(lookup.presence(&accepted), Presence::Gone);
}

#[test]
fn a_reset_connection_is_over() {
    let listener = listen();
    let (client, accepted) = connected(&listener);
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .expect("an option");
    let mut lookup = lookup();
    close(client, &accepted, &mut lookup);
    assert!(matches!(
        lookup.owner(&accepted),
        Err(LookupError::Replaced)
    ));
    assert_eq!(lookup.presence(&accepted), Presence::Gone);
}

#[test]
fn a_pair_in_new_hands_is_not_the_old_connection() {
    let listener = listen();
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    client
        .connect(&listener.local_addr().expect("bound").into())
        .expect("connects");
    let own = client.local_addr().expect("bound");
    client.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(client);
    let again = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    again.set_reuse_address(true).expect("an option");
    // A connection of another test may have got the port meanwhile.
    wait_until("free again", || again.bind(&own).is_ok());
    again
        .connect(&listener.local_addr().expect("bound").into())
        .expect("connects");
    let (first, _) = listener.accept().expect("accepts");
    let (second, _) = listener.accept().expect("accepts");
    assert!(matches!(lookup().owner(&first), Err(LookupError::Replaced)));
    assert_eq!(lookup().owner(&second).expect("an owner"), own_user());
}

/// After `TCP_LINGER2` has run out nothing of the client is left, while our end still waits.
#[test]
fn a_forgotten_client_is_gone_and_not_in_another_namespace() {
    let listener = listen();
    let (client, accepted) = connected(&listener);
    let seconds: libc::c_int = 1;
    // SAFETY: TCP_LINGER2 takes a C int.
    let set = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&client),
            libc::IPPROTO_TCP,
            libc::TCP_LINGER2,
            (&raw const seconds).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
    drop(client);
    let mut lookup = lookup();
    wait_until("forgotten", || {
        matches!(lookup.owner(&accepted), Err(LookupError::Vanished))
    });
    assert_eq!(lookup.presence(&accepted), Presence::Gone);
}

#[test]
fn the_answer_is_never_a_listening_socket() {
    let listener = listen();
    let (client, accepted) = connected(&listener);
    let own = client.local_addr().expect("bound");
    socket2::SockRef::from(&client)
        .set_linger(None)
        .expect("an option");
    // Another socket listens on the very address that the client used.
    let trap = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket2::SockRef::from(&client)
        .set_reuse_address(true)
        .expect("an option");
    trap.set_reuse_address(true).expect("an option");
    let mut lookup = lookup();
    close(client, &accepted, &mut lookup);
    if trap.bind(&own.into()).is_ok() {
        trap.listen(1).expect("listens");
    }
    let owner = lookup.owner(&accepted);
    assert!(
        matches!(owner, Err(LookupError::NotAlive(_) | LookupError::Vanished)),
        "{owner:?}"
    );
}

#[test]
fn a_check_costs_little_on_a_machine_with_ten_thousand_sockets() {
    taskcluster_proxy_peer::raise_descriptor_limit().expect("a limit");
    let listener = listen();
    let mut crowd = Vec::new();
    for number in 0..5000 {
        // Half of the sockets belong to the clients, half are accepted: 10,000 in all.
        let source = Ipv4Addr::new(127, 7, 0, 1 + u8::try_from(number / 1000).expect("small"));
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        client
            .bind(&SocketAddr::from((source, 0)).into())
            .expect("binds");
        client
            .connect(&listener.local_addr().expect("bound").into())
            .expect("connects");
        crowd.push((client, listener.accept().expect("accepts").0));
    }
    let mut lookup = lookup();
    let before = thread_time();
    for (_, accepted) in crowd.iter().take(2000) {
        lookup.owner(accepted).expect("an owner");
    }
    let each = thread_time().saturating_sub(before) / 2000;
    println!("one check among 10,000 sockets: {each:?} of CPU");
    assert!(each < Duration::from_micros(50), "{each:?}");
}

fn thread_time() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: room for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).expect("below a second"),
    )
}

#[test]
fn questions_are_answered_at_the_descriptor_limit() {
    if std::env::var_os("AT_THE_LIMIT").is_none() {
        // The limit is the process's, so this runs in one of its own.
        let status = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "questions_are_answered_at_the_descriptor_limit"])
            .env("AT_THE_LIMIT", "1")
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("runs").success());
        return;
    }
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: a whole rlimit.
    assert_eq!(
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) },
        0
    );
    let listener = listen();
    let (_client, accepted) = connected(&listener);
    let mut lookup = lookup();
    let mut hoard = Vec::new();
    while let Ok(another) = accepted.try_clone() {
        hoard.push(another);
    }
    assert_eq!(lookup.owner(&accepted).expect("an owner"), own_user());
}

#[test]
fn another_users_process_is_named() {
    if not_root("a connection of another user's process") {
        return;
    }
    let listener = listen();
    let port = listener.local_addr().expect("bound").port();
    let mut child = Command::new("bash")
        .args([
            "-c",
            &format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -r -u 3"),
        ])
        .uid(OTHER)
        .gid(OTHER)
        .spawn()
        .expect("bash");
    let (accepted, _) = listener.accept().expect("accepts");
    let owner = lookup().owner(&accepted).expect("an owner");
    assert_eq!(owner, user_id(&OTHER.to_string()).expect("a number"));
    assert!(!is_root(&owner));
    drop(accepted);
    child.wait().expect("ends");
}

#[test]
fn the_overflow_user_is_no_owner() {
    if not_root("a connection of the overflow user's process") {
        return;
    }
    let listener = listen();
    let port = listener.local_addr().expect("bound").port();
    let mut child = Command::new("bash")
        .args([
            "-c",
            &format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -r -u 3"),
        ])
        .uid(65534)
        .gid(65534)
        .spawn()
        .expect("bash");
    let (accepted, _) = listener.accept().expect("accepts");
    assert!(matches!(
        lookup().owner(&accepted),
        Err(LookupError::Unmapped)
    ));
    drop(accepted);
    child.wait().expect("ends");
}

/// A network namespace with a pair of devices to this one, gone again when dropped.
struct Namespace {
    name: String,
    host: Ipv4Addr,
    /// This side's device.
    device: String,
}

impl Namespace {
    /// `network`, the second byte of its addresses, tells it from those of other tests.
    fn make(network: u8) -> Option<Namespace> {
        let id = std::process::id();
        let [_, _, subnet, _] = id.to_be_bytes();
        let name = format!("peer{network}-{id}");
        let host = Ipv4Addr::new(10, network, subnet, 1);
        let (outer, inner) = (format!("po{network}-{id}"), format!("pi{network}-{id}"));
        let guest = Ipv4Addr::new(10, network, subnet, 2);
        let made = ip(&format!("netns add {name}"))
            && ip(&format!(
                "link add {outer} type veth peer name {inner} netns {name}"
            ))
            && ip(&format!("addr add {host}/30 dev {outer}"))
            && ip(&format!("link set {outer} up"))
            && ip(&format!("-n {name} addr add {guest}/30 dev {inner}"))
            && ip(&format!("-n {name} link set {inner} up"));
        let namespace = Namespace {
            name,
            host,
            device: outer,
        };
        made.then_some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> bool {
    let ran = Command::new("ip")
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .status();
    ran.is_ok_and(|status| status.success())
}

#[test]
fn a_peer_in_another_network_namespace_is_not_found() {
    if not_root("a network namespace") {
        return;
    }
    let Some(namespace) = Namespace::make(201) else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped, because ip cannot make a network namespace"
        );
        return;
    };
    let listener = TcpListener::bind((namespace.host, 0)).expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let client = format!(
        "exec 3<>/dev/tcp/{}/{port}; exec 3>&-; sleep 5",
        namespace.host
    );
    let half = format!(
        "import socket,time; s=socket.create_connection(('{}',{port})); \
         s.shutdown(socket.SHUT_WR); s.recv(1)",
        namespace.host
    );
    let mut lookup = lookup();
    for script in [
        ["bash", "-c", client.as_str()],
        ["python3", "-c", half.as_str()],
    ] {
        let child = Command::new("ip")
            .args(["netns", "exec", &namespace.name])
            .args(script)
            .spawn();
        let mut child = child.expect("ip");
        let (accepted, _) = listener.accept().expect("accepts");
        assert!(matches!(
            lookup.owner(&accepted),
            Err(LookupError::NotFound)
        ));
        wait_until("end of file", || {
            (&accepted).read(&mut [0]).is_ok_and(|read| read == 0)
        });
        assert_eq!(lookup.presence(&accepted), Presence::Unknown);
        drop(accepted);
        child.kill().expect("ends");
        child.wait().expect("ended");
    }
}

#[test]
fn a_peer_that_has_vanished_is_unheard() {
    if not_root("a network namespace") {
        return;
    }
    let Some(namespace) = Namespace::make(202) else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped, because ip cannot make a network namespace"
        );
        return;
    };
    let listener = TcpListener::bind((namespace.host, 0)).expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let client = format!("exec 3<>/dev/tcp/{}/{port}; sleep 60", namespace.host);
    let child = Command::new("ip")
        .args(["netns", "exec", &namespace.name, "bash", "-c", &client])
        .spawn();
    let mut child = child.expect("ip");
    let (mut accepted, _) = listener.accept().expect("accepts");
    let mut lookup = lookup();
    assert_eq!(lookup.presence(&accepted), Presence::Alive);
    assert!(ip(&format!("link set {} down", namespace.device)));
    accepted.write_all(b"a part of an answer").expect("open");
    wait_until(
        "silence",
        || matches!(lookup.presence(&accepted), Presence::Unheard(since) if since > Duration::from_secs(1)),
    );
    child.kill().expect("ends");
    child.wait().expect("ended");
}

/// Serves connections of [`ALLOWED`] alone, in a process of its own that the attacker can hold.
/// Ends with its input, and says how many requests of each kind it served.
#[test]
#[ignore = "not a test: the attacked process of the tests below"]
fn gate() {
    static SERVED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let Some(address) = std::env::var("GATE")
        .ok()
        .and_then(|text| text.parse().ok())
    else {
        return;
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    if address.is_ipv6() {
        socket.set_only_v6(false).expect("dual stack");
    }
    socket.bind(&address.into()).expect("binds");
    socket.listen(4096).expect("listens");
    let listener = TcpListener::from(socket);
    println!(
        "\nlistening {}",
        listener.local_addr().expect("bound").port()
    );
    thread::spawn(move || {
        let allowed = user_id(&ALLOWED.to_string()).expect("a number");
        let mut lookup = Lookup::open().expect("opens");
        for accepted in listener.incoming() {
            let Ok(accepted) = accepted else { continue };
            if lookup
                .owner(&accepted)
                .is_ok_and(|owner| owner == allowed || is_root(&owner))
            {
                thread::spawn(move || serve(&accepted, &SERVED));
            }
        }
    });
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("input");
    println!(
        "\nserved attack {} allowed {}",
        SERVED[0].load(Ordering::SeqCst),
        SERVED[1].load(Ordering::SeqCst)
    );
}

fn serve(accepted: &TcpStream, served: &[AtomicUsize; 2]) {
    let mut line = String::new();
    if BufReader::new(accepted).read_line(&mut line).is_ok() && line.ends_with('\n') {
        let kind = usize::from(line.contains("/allowed/"));
        served[kind].fetch_add(1, Ordering::SeqCst);
        let _ = { accepted }.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

struct Gate {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Gate {
    fn open(address: &str) -> Gate {
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "gate", "--ignored", "--nocapture"])
            .env("GATE", address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runs");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let port = line_after(&mut output, "listening ")
            .parse()
            .expect("a port");
        Gate {
            process,
            output,
            port,
        }
    }

    /// Ends the process. Returns how many requests of the attacker and of the allowed user it
    /// served.
    fn close(mut self) -> (usize, usize) {
        drop(self.process.stdin.take());
        let served = line_after(&mut self.output, "served attack ");
        self.process.wait().expect("ends");
        let (attack, allowed) = served.split_once(" allowed ").expect("both");
        (
            attack.parse().expect("a number"),
            allowed.parse().expect("a number"),
        )
    }
}

fn line_after(output: &mut impl BufRead, start: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(
            output.read_line(&mut line).expect("a pipe"),
            0,
            "ended before {start:?}"
        );
        if let Some(rest) = line.strip_prefix(start) {
            return rest.trim().to_owned();
        }
    }
}

fn attacker() -> PathBuf {
    let tests = std::env::current_exe().expect("this test");
    let program = tests.with_file_name("../examples/attacker");
    assert!(
        program.exists(),
        "build it: cargo build -p taskcluster-proxy-peer --example attacker"
    );
    program
}

fn attack(gate: &Gate, uid: u32, arguments: &str) -> String {
    let pid = gate.process.id().to_string();
    let arguments = arguments
        .replace("PID", &pid)
        .replace("PORT", &gate.port.to_string());
    let ran = Command::new(attacker())
        .args(["--uid", &uid.to_string()])
        .args(arguments.split(' '))
        .output()
        .expect("runs");
    assert!(
        ran.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let told = String::from_utf8(ran.stdout)
        .expect("text")
        .trim()
        .to_owned();
    println!("{told}");
    told
}

fn count(told: &str, name: &str) -> usize {
    let (_, rest) = told.split_once(&format!("\"{name}\":")).expect("counted");
    rest.split([',', '}'])
        .next()
        .and_then(|digits| digits.parse().ok())
        .expect("a number")
}

#[test]
fn another_user_is_never_served() {
    if not_root("attacks by another user") {
        return;
    }
    let gate = Gate::open("[::]:0");
    let alone =
        "plain close shutdown-write shutdown-both exit kill linger0 fastopen rebind time-wait";
    for mode in alone.split(' ') {
        for target in ["127.0.0.1:PORT", "[::1]:PORT", "[::ffff:127.0.0.1]:PORT"] {
            for held in ["", " --stop PID"] {
                attack(
                    &gate,
                    OTHER,
                    &format!("--target {target} --mode {mode} --tries 100{held}"),
                );
            }
        }
    }
    for mode in ["close", "exit", "linger0"] {
        attack(
            &gate,
            OTHER,
            &format!("--target 127.0.0.1:PORT --mode {mode} --tries 1000"),
        );
        for more in ["--device lo", "--protocol mptcp"] {
            attack(
                &gate,
                OTHER,
                &format!("--target 127.0.0.1:PORT --mode {mode} --tries 100 {more}"),
            );
        }
    }
    assert_eq!(gate.close(), (0, 0));
}

#[test]
fn another_user_is_never_served_beside_the_allowed_one() {
    if not_root("attacks by another user beside the allowed one") {
        return;
    }
    let gate = Gate::open("[::]:0");
    for mode in [
        "shared-port",
        "reused",
        "given-up",
        "twin",
        "twin-reversed",
        "reused-late",
    ] {
        for target in ["127.0.0.1:PORT", "[::1]:PORT", "[::ffff:127.0.0.1]:PORT"] {
            let told = attack(
                &gate,
                OTHER,
                &format!(
                    "--target {target} --mode {mode} --tries 200 --batch 200 --allowed-uid \
                     {ALLOWED} --stop PID"
                ),
            );
            if !mode.starts_with("twin") {
                assert!(count(&told, "sent") >= 150, "{told}");
            }
        }
    }
    assert_eq!(gate.close().0, 0);
}

#[test]
fn the_allowed_user_and_root_are_always_served() {
    if not_root("connections of the allowed user") {
        return;
    }
    let gate = Gate::open("[::]:0");
    let mut sent = 0;
    for uid in [ALLOWED, 0] {
        for mode in [
            "plain",
            "shutdown-write",
            "time-wait --batch 1 --tries 1",
            "plain --device lo",
        ] {
            for target in ["127.0.0.1:PORT", "[::1]:PORT", "[::ffff:127.0.0.1]:PORT"] {
                for held in ["", " --stop PID"] {
                    let tries = if mode.contains("--tries") {
                        ""
                    } else {
                        " --tries 200"
                    };
                    let told = attack(
                        &gate,
                        uid,
                        &format!("--target {target}{tries}{held} --mode {mode}"),
                    );
                    let leaves = mode.starts_with("time-wait");
                    assert!(
                        leaves || count(&told, "answered") == count(&told, "tries"),
                        "{told}"
                    );
                    sent += if leaves { 0 } else { count(&told, "answered") };
                }
            }
        }
    }
    assert!(gate.close().0 >= sent);
}
