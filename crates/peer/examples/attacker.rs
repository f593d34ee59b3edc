//! Tries to get a request through a proxy that serves another user, in every way that can give a
//! socket a wrong owner. For the tests; Linux, and root, because it acts as several users.
//!
//! ```text
//! attacker --target 127.0.0.1:8080 --uid 2 --mode close --tries 1000
//! ```
//!
//! Prints one line of JSON: how many requests were sent, answered (with each status), refused
//! (closed without an answer) and not sent at all. Whether a request of a client that is gone ran
//! is known to the upstream alone: every request here names `attack` in its path, those made as
//! the allowed user name `allowed`.

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("attacker: these attacks are written for Linux");
    std::process::exit(64);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::io::{self, Read, Write};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::time::{Duration, Instant};

    use socket2::{Domain, Protocol, SockAddr, Socket, Type};

    const USAGE: &str = "usage: attacker --target ADDRESS:PORT --uid UID --mode MODE [--tries N] \
        [--batch N] [--allowed-uid UID] [--stop PID] [--device NAME] [--request get|put] \
        [--protocol mptcp] [--pause MS] [--who NAME]\n\
        modes of one user: plain close shutdown-write shutdown-both exit kill linger0 fastopen \
        rebind time-wait\n\
        modes beside --allowed-uid: shared-port reused given-up reused-late twin twin-reversed\n\
        --stop holds the proxy by SIGSTOP while a batch of connections is made";

    /// How long the attacker and the allowed user wait for an answer or a connection.
    const PATIENCE: Duration = Duration::from_secs(3);

    /// After this time, the tries that are left count as not sent.
    const LIMIT: Duration = Duration::from_secs(60);

    #[derive(Clone)]
    struct Plan {
        target: SocketAddr,
        uid: u32,
        allowed: Option<u32>,
        mode: String,
        tries: usize,
        batch: usize,
        stop: Option<i32>,
        device: Option<String>,
        put: bool,
        who: String,
        mptcp: bool,
        pause: Duration,
    }

    #[derive(Default)]
    struct Tally {
        sent: usize,
        refused: usize,
        failed: usize,
        answered: BTreeMap<String, usize>,
    }

    pub fn main() {
        let plan = Plan::from_arguments().unwrap_or_else(|problem| {
            eprintln!("attacker: {problem}\n{USAGE}");
            std::process::exit(64);
        });
        let mut tally = Tally::default();
        let mut done = 0;
        let began = Instant::now();
        while done < plan.tries && began.elapsed() < LIMIT {
            let mut round = plan.clone();
            round.tries = plan.batch.min(plan.tries - done);
            run_batch(&round, done, &mut tally);
            done += round.tries;
        }
        tally.failed += plan.tries - done;
        println!("{}", tally.as_json(&plan));
    }

    impl Plan {
        fn from_arguments() -> Result<Plan, String> {
            let mut values = BTreeMap::new();
            let mut arguments = std::env::args().skip(1);
            while let Some(name) = arguments.next() {
                let value = arguments
                    .next()
                    .ok_or_else(|| format!("{name} needs a value"))?;
                values.insert(name, value);
            }
            let number = |name: &str| match values.get(name) {
                Some(text) => text.parse().map(Some).map_err(|_| format!("{name} {text}")),
                None => Ok(None),
            };
            let text = |name: &str| {
                values
                    .get(name)
                    .cloned()
                    .ok_or(format!("{name} is missing"))
            };
            Ok(Plan {
                target: text("--target")?
                    .parse()
                    .map_err(|_| "--target is not an address")?,
                uid: number("--uid")?.ok_or("--uid is missing")?,
                allowed: number("--allowed-uid")?,
                mode: text("--mode")?,
                tries: number("--tries")?.unwrap_or(1) as usize,
                batch: number("--batch")?.unwrap_or(100).max(1) as usize,
                stop: number("--stop")?.map(u32::cast_signed),
                device: values.get("--device").cloned(),
                put: values.get("--request").is_some_and(|kind| kind == "put"),
                who: values
                    .get("--who")
                    .cloned()
                    .unwrap_or_else(|| "attack".to_owned()),
                mptcp: values
                    .get("--protocol")
                    .is_some_and(|protocol| protocol == "mptcp"),
                pause: Duration::from_millis(number("--pause")?.unwrap_or(150).into()),
            })
        }
    }

    impl Tally {
        fn as_json(&self, plan: &Plan) -> String {
            let answered: usize = self.answered.values().sum();
            let mut json = format!(
                "{{\"mode\":\"{}\",\"tries\":{},\"sent\":{},\"answered\":{answered},\
                 \"refused\":{},\"failed\":{},\"statuses\":{{",
                plan.mode, plan.tries, self.sent, self.refused, self.failed
            );
            for (at, (status, count)) in self.answered.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                write!(json, "{comma}\"{status}\":{count}").expect("a string");
            }
            json + "}}"
        }

        fn count_answer(&mut self, answer: Option<String>) {
            match answer {
                Some(status) => *self.answered.entry(status).or_default() += 1,
                None => self.refused += 1,
            }
        }

        /// What a child counted, as its lines of `name number`.
        fn add_lines(&mut self, lines: &str) {
            for line in lines.lines() {
                let Some((name, count)) = line.split_once(' ') else {
                    continue;
                };
                let count: usize = count.parse().unwrap_or(0);
                match name {
                    "sent" => self.sent += count,
                    "refused" => self.refused += count,
                    "failed" => self.failed += count,
                    status => *self.answered.entry(status.to_owned()).or_default() += count,
                }
            }
        }

        fn as_lines(&self) -> String {
            let mut lines = format!(
                "sent {}\nrefused {}\nfailed {}\n",
                self.sent, self.refused, self.failed
            );
            for (status, count) in &self.answered {
                writeln!(lines, "{status} {count}").expect("a string");
            }
            lines
        }
    }

    fn run_batch(plan: &Plan, first: usize, tally: &mut Tally) {
        let stopped = Stopped::hold(plan.stop);
        match plan.mode.as_str() {
            "shared-port" => shared_port(plan, first, tally, stopped),
            "reused" | "given-up" | "reused-late" | "twin" | "twin-reversed" => {
                pair(plan, first, tally, stopped);
            }
            _ => {
                let elsewhere = (plan.mode == "time-wait").then(|| Elsewhere::open(plan.target));
                let mut attacker = Actor::start(plan.uid, |talk| {
                    let to = elsewhere.as_ref().map(|elsewhere| elsewhere.address);
                    alone(plan, first, to, talk);
                });
                attacker.wait_for_ready();
                drop(stopped);
                attacker.finish(tally);
            }
        }
    }

    /// Connections of the attacker alone. All of a batch are made first, then the answers are
    /// awaited, so that a held proxy finds them all.
    fn alone(plan: &Plan, first: usize, elsewhere: Option<SocketAddr>, talk: &mut Talk) {
        let mut tally = Tally::default();
        let mut waiting = Vec::new();
        let mut port = 0;
        let began = Instant::now();
        for number in first..first + plan.tries {
            if let Some(elsewhere) = elsewhere {
                port = leave_time_wait(elsewhere);
            }
            if began.elapsed() > LIMIT {
                tally.failed += 1;
                continue;
            }
            if let Ok(kept) = one_try(plan, number, &mut port) {
                tally.sent += 1;
                waiting.extend(kept);
            } else {
                tally.failed += 1;
                port = 0;
            }
            if plan.stop.is_none() {
                for socket in waiting.drain(..) {
                    tally.count_answer(answer(&socket));
                }
            }
        }
        talk.ready();
        for socket in waiting {
            tally.count_answer(answer(&socket));
        }
        talk.say(&tally.as_lines());
    }

    /// Makes one connection with one request. The socket is returned if its owner stays for the
    /// answer.
    fn one_try(plan: &Plan, number: usize, port: &mut u16) -> io::Result<Option<Socket>> {
        let request = request(plan, &plan.who, number);
        if matches!(plan.mode.as_str(), "exit" | "kill") {
            return in_own_process(plan, &request).map(|()| None);
        }
        let socket = new_socket(plan, plan.device.as_deref(), *port)?;
        if plan.mode == "fastopen" {
            set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
        }
        socket.connect(&plan.target.into())?;
        (&socket).write_all(&request)?;
        match plan.mode.as_str() {
            // A proxy that has refused already leaves nothing to shut down.
            "shutdown-write" => drop(socket.shutdown(std::net::Shutdown::Write)),
            "shutdown-both" => drop(socket.shutdown(std::net::Shutdown::Both)),
            "linger0" => socket.set_linger(Some(Duration::ZERO))?,
            "rebind" => *port = local_port(&socket)?,
            _ => {}
        }
        let leaves = match plan.mode.as_str() {
            "close" | "linger0" | "rebind" => true,
            // Every second client stays.
            "fastopen" | "time-wait" => number.is_multiple_of(2),
            _ => false,
        };
        Ok((!leaves).then_some(socket))
    }

    /// Sends from a process of its own that ends, or is killed, with the last byte.
    fn in_own_process(plan: &Plan, request: &[u8]) -> io::Result<()> {
        // SAFETY: this program has one thread; the child only makes calls that are safe there.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let sent = new_socket(plan, plan.device.as_deref(), 0).and_then(|socket| {
                socket.connect(&plan.target.into())?;
                (&socket).write_all(request)?;
                if plan.mode == "kill" {
                    // SAFETY: ends this process.
                    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                }
                // SAFETY: ends this process with its sockets open.
                unsafe { libc::_exit(0) }
            });
            let _: io::Result<()> = sent;
            // SAFETY: ends this process.
            unsafe { libc::_exit(1) };
        }
        let mut status = 0;
        // SAFETY: waits for the child just made.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        let sent = libc::WIFSIGNALED(status) || libc::WEXITSTATUS(status) == 0;
        if sent {
            Ok(())
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    /// The allowed user talks to another server from the same ports that the attacker uses.
    fn shared_port(plan: &Plan, first: usize, tally: &mut Tally, stopped: Stopped) {
        let elsewhere = Elsewhere::open(plan.target);
        let allowed = plan.allowed.expect("--allowed-uid");
        let mut innocent = Actor::start(allowed, |talk| {
            let open = open_several(plan, None, elsewhere.address);
            for socket in &open {
                talk.say(&format!("{}\n", local_port(socket).expect("a port")));
            }
            talk.ready();
            talk.wait_for_end();
        });
        let ports = innocent.wait_for_ports();
        let mut attacker = Actor::start(plan.uid, |talk| {
            let mut tally = Tally::default();
            let mut waiting = Vec::new();
            for (number, port) in ports.iter().enumerate() {
                match sent_from(plan, plan.device.as_deref(), *port, first + number) {
                    Ok(socket) => {
                        tally.sent += 1;
                        waiting.push(socket);
                    }
                    Err(_) => tally.failed += 1,
                }
            }
            talk.ready();
            for socket in waiting {
                tally.count_answer(answer(&socket));
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            talk.say(&tally.as_lines());
        });
        attacker.wait_for_ready();
        drop(stopped);
        attacker.finish(tally);
        innocent.finish(&mut Tally::default());
    }

    /// Two users use one address pair after each other, or (twins) at the same time, one of them
    /// bound to loopback.
    ///
    /// | mode | first | then |
    /// |---|---|---|
    /// | reused | the attacker sends and resets | the allowed user connects |
    /// | given-up | the allowed user sends and resets | the attacker connects and sends |
    /// | reused-late | the attacker sends and closes; his socket is forgotten (`TCP_LINGER2`) | the allowed user connects |
    /// | twin | the attacker, bound to loopback, sends and stays | the allowed user connects |
    /// | twin-reversed | the allowed user, bound to loopback, connects and stays | the attacker connects and sends |
    fn pair(plan: &Plan, first: usize, tally: &mut Tally, stopped: Stopped) {
        let allowed = plan.allowed.expect("--allowed-uid");
        let attacker_first = matches!(plan.mode.as_str(), "reused" | "reused-late" | "twin");
        let (one, two) = if attacker_first {
            (plan.uid, allowed)
        } else {
            (allowed, plan.uid)
        };
        let mut before = Actor::start(one, |talk| {
            let twin = plan.mode.starts_with("twin");
            let device = twin.then_some("lo").or(plan.device.as_deref());
            let mut open = open_several(plan, device, plan.target);
            for (number, socket) in open.iter().enumerate() {
                if first_of_pair(plan, attacker_first, first + number, socket).is_ok() {
                    talk.say(&format!("{}\n", local_port(socket).expect("a port")));
                }
            }
            if !twin {
                open.clear();
            }
            talk.ready();
            talk.wait_for_end();
        });
        let ports = before.wait_for_ports();
        if plan.mode == "reused-late" {
            // One second in FIN-WAIT-2, and the granularity of its timer.
            std::thread::sleep(Duration::from_millis(2500));
        }
        let mut after = Actor::start(two, |talk| second_of_pair(plan, first, &ports, talk));
        after.wait_for_ready();
        drop(stopped);
        after.finish(tally);
        before.finish(&mut Tally::default());
        tally.failed += plan.tries - ports.len();
        if attacker_first {
            tally.sent += ports.len();
        }
    }

    fn first_of_pair(plan: &Plan, attacks: bool, number: usize, socket: &Socket) -> io::Result<()> {
        if plan.mode != "twin-reversed" {
            let who = if attacks { &plan.who } else { "allowed" };
            { socket }.write_all(&request(plan, who, number))?;
        }
        match plan.mode.as_str() {
            "reused" | "given-up" => socket.set_linger(Some(Duration::ZERO)),
            "reused-late" => set_option(socket, libc::IPPROTO_TCP, libc::TCP_LINGER2, 1),
            _ => Ok(()),
        }
    }

    /// Connects from every port at once: where the pair is still in use, the handshake takes a
    /// second try after a second.
    fn second_of_pair(plan: &Plan, first: usize, ports: &[u16], talk: &mut Talk) {
        let attacks = matches!(plan.mode.as_str(), "given-up" | "twin-reversed");
        let mut tally = Tally::default();
        let mut open = Vec::new();
        for port in ports {
            let socket = new_socket(plan, plan.device.as_deref(), *port).and_then(|socket| {
                socket.set_nonblocking(true)?;
                match socket.connect(&plan.target.into()) {
                    Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
                    _ => Ok(socket),
                }
            });
            match socket {
                Ok(socket) => open.push(socket),
                Err(_) => tally.failed += 1,
            }
        }
        let until = Instant::now()
            + if plan.mode == "reused" {
                PATIENCE / 3
            } else {
                PATIENCE
            };
        while Instant::now() < until && open.iter().any(|socket| socket.peer_addr().is_err()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        open.retain(|socket| socket.peer_addr().is_ok() && socket.set_nonblocking(false).is_ok());
        if attacks {
            for (number, socket) in open.iter().enumerate() {
                match (&*socket).write_all(&request(plan, &plan.who, first + number)) {
                    Ok(()) => tally.sent += 1,
                    Err(_) => tally.failed += 1,
                }
            }
        }
        talk.ready();
        std::thread::sleep(plan.pause);
        if attacks {
            for socket in &open {
                tally.count_answer(answer(socket));
            }
        }
        talk.say(&tally.as_lines());
    }

    /// As many connections as there are tries, each from a port of its own. Two that chose one
    /// port exclude each other while they are open, so those that fail are tried again.
    fn open_several(plan: &Plan, device: Option<&str>, to: SocketAddr) -> Vec<Socket> {
        let attempts = (0..4 * plan.tries).filter_map(|_| {
            let socket = new_socket(plan, device, 0).ok()?;
            socket.connect(&to.into()).is_ok().then_some(socket)
        });
        attempts.take(plan.tries).collect()
    }

    fn sent_from(
        plan: &Plan,
        device: Option<&str>,
        port: u16,
        number: usize,
    ) -> io::Result<Socket> {
        let socket = new_socket(plan, device, port)?;
        socket.connect(&plan.target.into())?;
        (&socket).write_all(&request(plan, &plan.who, number))?;
        Ok(socket)
    }

    /// A socket of the caller's user, bound to `port` (0: any) of the address that faces the
    /// target, in a way that others may bind the same.
    fn new_socket(plan: &Plan, device: Option<&str>, port: u16) -> io::Result<Socket> {
        let protocol = if plan.mptcp {
            Protocol::MPTCP
        } else {
            Protocol::TCP
        };
        let socket = Socket::new(
            Domain::for_address(plan.target),
            Type::STREAM,
            Some(protocol),
        )?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.set_reuse_address(true)?;
        if plan.target.ip().to_canonical().is_loopback() {
            socket.bind(&SockAddr::from(SocketAddr::new(plan.target.ip(), port)))?;
        } else if port != 0 {
            let any: IpAddr = match plan.target {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            socket.bind(&SockAddr::from(SocketAddr::new(any, port)))?;
        }
        Ok(socket)
    }

    fn request(plan: &Plan, who: &str, number: usize) -> Vec<u8> {
        if plan.put && who == plan.who {
            let body = r#"{"clientId":"attacker","accessToken":"attacker-attacker-attacker"}"#;
            return format!(
                "PUT /credentials HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes();
        }
        let mode = &plan.mode;
        format!("GET /queue/v1/{who}/{mode}/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .into_bytes()
    }

    /// The status of the answer, or nothing where the connection was closed without one.
    fn answer(mut socket: &Socket) -> Option<String> {
        let mut start = [0; 12];
        let mut length = 0;
        while length < start.len() {
            match socket.read(&mut start[length..]) {
                Ok(0) | Err(_) => return None,
                Ok(read) => length += read,
            }
        }
        Some(String::from_utf8_lossy(&start[9..]).into_owned())
    }

    /// A connection from a port of the system's choice that is closed from this end first, so
    /// that the port is left in TIME-WAIT.
    fn leave_time_wait(elsewhere: SocketAddr) -> u16 {
        let socket = Socket::new(Domain::for_address(elsewhere), Type::STREAM, None).expect("one");
        socket.set_reuse_address(true).expect("an option");
        socket
            .bind(&SocketAddr::new(elsewhere.ip(), 0).into())
            .expect("a port");
        socket.connect(&elsewhere.into()).expect("elsewhere");
        let port = local_port(&socket).expect("a port");
        socket.shutdown(std::net::Shutdown::Write).expect("open");
        let _ = (&socket).read(&mut [0; 1]);
        port
    }

    fn local_port(socket: &Socket) -> io::Result<u16> {
        socket
            .local_addr()?
            .as_socket()
            .map(|own| own.port())
            .ok_or(io::ErrorKind::Other.into())
    }

    fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
        // SAFETY: the value is a C int, as both options used here take.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                libc::socklen_t::try_from(size_of::<i32>()).expect("four"),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The proxy, held by SIGSTOP until this is dropped.
    struct Stopped(Option<i32>);

    impl Stopped {
        fn hold(pid: Option<i32>) -> Stopped {
            if let Some(pid) = pid {
                // SAFETY: kill has no memory preconditions.
                assert_eq!(
                    unsafe { libc::kill(pid, libc::SIGSTOP) },
                    0,
                    "cannot stop {pid}"
                );
                let stopped = || {
                    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it");
                    stat.rsplit(") ")
                        .next()
                        .is_some_and(|rest| rest.starts_with('T'))
                };
                while !stopped() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Stopped(pid)
        }
    }

    impl Drop for Stopped {
        fn drop(&mut self) {
            if let Some(pid) = self.0 {
                // SAFETY: kill has no memory preconditions.
                unsafe { libc::kill(pid, libc::SIGCONT) };
            }
        }
    }

    /// A server that is not the target, in a process of its own: reads to the end, then closes.
    struct Elsewhere {
        address: SocketAddr,
        pid: i32,
    }

    impl Elsewhere {
        fn open(target: SocketAddr) -> Elsewhere {
            let socket = Socket::new(Domain::for_address(target), Type::STREAM, None);
            let socket = socket.expect("a socket");
            socket
                .bind(&SocketAddr::new(target.ip(), 0).into())
                .expect("an address");
            socket.listen(4096).expect("listens");
            let listener = TcpListener::from(socket);
            let address = listener.local_addr().expect("its address");
            // SAFETY: this program has one thread.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                serve_elsewhere(&listener);
            }
            Elsewhere { address, pid }
        }
    }

    fn serve_elsewhere(listener: &TcpListener) -> ! {
        loop {
            if let Ok((mut connection, _)) = listener.accept() {
                std::thread::spawn(move || connection.read(&mut [0; 1]));
            }
        }
    }

    impl Drop for Elsewhere {
        fn drop(&mut self) {
            // SAFETY: kill has no memory preconditions, and waitpid takes a null status.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
    }

    /// A child process of another user.
    struct Actor {
        pid: i32,
        from: std::fs::File,
        to: Option<std::fs::File>,
        heard: String,
    }

    /// An actor's side: what it says to the director, and how it learns that the play is over.
    struct Talk {
        out: std::fs::File,
        end: std::fs::File,
    }

    impl Actor {
        fn start(uid: u32, act: impl FnOnce(&mut Talk)) -> Actor {
            let (from, out) = pipe();
            let (end, to) = pipe();
            // SAFETY: this program has one thread.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0, "cannot fork");
            if pid == 0 {
                drop((from, to));
                become_user(uid);
                act(&mut Talk { out, end });
                // SAFETY: ends this process without running the director's destructors.
                unsafe { libc::_exit(0) };
            }
            Actor {
                pid,
                from,
                to: Some(to),
                heard: String::new(),
            }
        }

        fn wait_for_ready(&mut self) {
            let mut byte = [0];
            while self.from.read(&mut byte).expect("a pipe") == 1 && byte[0] != b'.' {
                self.heard.push(char::from(byte[0]));
            }
        }

        fn wait_for_ports(&mut self) -> Vec<u16> {
            self.wait_for_ready();
            self.heard
                .lines()
                .filter_map(|line| line.parse().ok())
                .collect()
        }

        fn finish(mut self, tally: &mut Tally) {
            drop(self.to.take());
            let mut rest = String::new();
            self.from.read_to_string(&mut rest).expect("a pipe");
            tally.add_lines(&rest);
            // SAFETY: reaps the child made by `start`.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        }
    }

    impl Talk {
        fn say(&mut self, words: &str) {
            self.out.write_all(words.as_bytes()).expect("a pipe");
        }

        fn ready(&mut self) {
            self.say(".");
        }

        fn wait_for_end(&mut self) {
            let _ = self.end.read(&mut [0; 1]);
        }
    }

    fn pipe() -> (std::fs::File, std::fs::File) {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, each then owned once.
        unsafe {
            assert_eq!(
                libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC),
                0,
                "cannot make a pipe"
            );
            (
                OwnedFd::from_raw_fd(ends[0]).into(),
                OwnedFd::from_raw_fd(ends[1]).into(),
            )
        }
    }

    fn become_user(uid: u32) {
        // SAFETY: plain numbers, and an empty list of groups.
        let dropped = unsafe {
            libc::setgroups(0, std::ptr::null()) == 0
                && libc::setgid(uid) == 0
                && libc::setuid(uid) == 0
        };
        assert!(dropped, "attacker: run it as root, it acts as other users");
    }
}
