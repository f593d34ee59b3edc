//! Clients that wrk is not: requests at a fixed rate, each with a latency that counts from when it was
//! due; long bodies, either way; connections without end. And the server that takes bodies in, since
//! nginx answers before it has read what it throws away, and the relay that makes the way to an
//! upstream long. HTTP/1.1 as far as the bench needs it, blocking threads for each connection.
//!
//! ```text
//! load rate --target 127.0.0.1:8080 --path /x --rate 5000 --seconds 2 --connections 32 [--fresh]
//! load connections --target 127.0.0.1:8080 --path /x --count 4000
//! load down --target 127.0.0.1:8080 --path /x --connections 16
//! load first --target 127.0.0.1:8080 --path /x --count 5
//! load up --target 127.0.0.1:8080 --path /x --bytes 1073741824
//! load flood --target 127.0.0.1:8080 --seconds 2 --connections 8
//! load sink --target 127.0.0.1:9000
//! load relay --listen 127.0.0.1:9001 --target 127.0.0.1:9000 --milliseconds 25
//! ```
//!
//! Each but the sink and the relay prints one line of JSON; times are in seconds.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

mod relay;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Large enough that the reader is not what binds a transfer.
const BUFFER: usize = 256 * 1024;

/// A peer that answers nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let result = Arguments::read(arguments).and_then(|given| match mode.as_str() {
        "rate" => rate(&given),
        "connections" => connections(&given),
        "down" => down(&given),
        "first" => first(&given),
        "up" => up(&given),
        "flood" => flood(&given),
        "sink" => sink(&given),
        "relay" => relay(&given),
        _ => Err(format!("no mode {mode:?}").into()),
    });
    if let Err(problem) = result {
        eprintln!("load {mode}: {problem}");
        std::process::exit(1);
    }
}

/// `--name value` pairs, and `--fresh` alone.
struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn read(mut arguments: impl Iterator<Item = String>) -> Outcome<Arguments> {
        let mut values = BTreeMap::new();
        while let Some(name) = arguments.next() {
            let value = if name == "--fresh" {
                String::new()
            } else {
                arguments.next().ok_or(format!("{name} needs a value"))?
            };
            values.insert(name, value);
        }
        Ok(Arguments(values))
    }

    fn text(&self, name: &str) -> Outcome<&str> {
        let value = self.0.get(name).ok_or(format!("{name} is missing"))?;
        Ok(value)
    }

    fn number(&self, name: &str) -> Outcome<u64> {
        Ok(self.text(name)?.parse()?)
    }

    fn address(&self, name: &str) -> Outcome<SocketAddr> {
        Ok(self.text(name)?.parse()?)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Requests that are due at fixed times, however long those before them take. One that waits for a
/// free connection is late, and its latency says so.
fn rate(given: &Arguments) -> Outcome<()> {
    let client = Client::new(given)?;
    let (rate, seconds) = (given.number("--rate")?, given.number("--seconds")?);
    let total = rate * seconds;
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now() + Duration::from_millis(50);
    let workers: Vec<_> = (0..given.number("--connections")?)
        .map(|_| {
            let (client, next) = (client.clone(), Arc::clone(&next));
            thread::spawn(move || {
                let mut latencies = Vec::new();
                let mut connection = None;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return Ok::<_, io::Error>(latencies);
                    }
                    let due = start + Duration::from_nanos(1_000_000_000 / rate * number);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    client.get(&mut connection)?;
                    latencies.push(due.elapsed());
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.join().map_err(|_| "a thread panicked")??);
    }
    latencies.sort_unstable();
    println!(
        "{{\"requests\":{},\"p50\":{},\"p99\":{}}}",
        latencies.len(),
        percentile(&latencies, 50),
        percentile(&latencies, 99)
    );
    Ok(())
}

/// Of sorted durations, in seconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, Duration::as_secs_f64)
}

/// One request on each of many connections, one after another.
fn connections(given: &Arguments) -> Outcome<()> {
    let client = Client::new(given)?;
    let count = given.number("--count")?;
    let start = Instant::now();
    for _ in 0..count {
        client.get(&mut None)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"requests\":{count},\"seconds\":{seconds}}}");
    Ok(())
}

/// One answer on each of so many connections at once, read as fast as they come.
fn down(given: &Arguments) -> Outcome<()> {
    let client = Client::new(given)?;
    let start = Instant::now();
    let readers: Vec<_> = (0..given.number("--connections")?)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || read_whole(&client))
        })
        .collect();
    let mut bytes = 0;
    for reader in readers {
        bytes += reader.join().map_err(|_| "a thread panicked")??;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"bytes\":{bytes},\"seconds\":{seconds}}}");
    Ok(())
}

fn read_whole(client: &Client) -> Outcome<u64> {
    let mut stream = client.connect()?;
    stream.write_all(client.request.as_bytes())?;
    let mut buffer = vec![0; BUFFER];
    let head = Head::read(&mut stream, &mut buffer)?.ok_or("no answer")?;
    let mut bytes = head.excess as u64;
    while bytes < head.length {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(format!("the answer broke off after {bytes} bytes").into());
        }
        bytes += read as u64;
    }
    Ok(bytes)
}

/// Answers that are left after the first byte of their body; the median of what that took.
fn first(given: &Arguments) -> Outcome<()> {
    let client = Client::new(given)?;
    let mut buffer = vec![0; BUFFER];
    let mut times = Vec::new();
    for _ in 0..given.number("--count")? {
        let mut stream = client.connect()?;
        let start = Instant::now();
        stream.write_all(client.request.as_bytes())?;
        let head = Head::read(&mut stream, &mut buffer)?.ok_or("no answer")?;
        if head.excess == 0 && stream.read(&mut buffer)? == 0 {
            return Err("the answer broke off before its body".into());
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("{{\"first\":{}}}", percentile(&times, 50));
    Ok(())
}

/// One request with a body, sent as fast as it is taken.
fn up(given: &Arguments) -> Outcome<()> {
    let client = Client::new(given)?;
    let bytes = given.number("--bytes")?;
    let path = given.text("--path")?;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n");
    let mut stream = client.connect()?;
    let start = Instant::now();
    stream.write_all(head.as_bytes())?;
    let mut buffer = vec![0; BUFFER];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        stream.write_all(&buffer[..part])?;
        left -= part as u64;
    }
    Head::read(&mut stream, &mut buffer)?.ok_or("no answer")?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"bytes\":{bytes},\"seconds\":{seconds}}}");
    Ok(())
}

/// Connections as fast as they can be made. Half of the threads wait until the peer has closed them,
/// the others reset them at once, which leaves no port waiting either.
fn flood(given: &Arguments) -> Outcome<()> {
    let target = given.address("--target")?;
    let end = Instant::now() + Duration::from_secs(given.number("--seconds")?);
    let workers: Vec<_> = (0..given.number("--connections")?)
        .map(|number| {
            thread::spawn(move || {
                let mut made: u64 = 0;
                while Instant::now() < end {
                    // One that cannot be made, or is ended meanwhile, is what a flood brings.
                    if visit(target, number % 2 == 0).is_ok() {
                        made += 1;
                    }
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for worker in workers {
        made += worker.join().map_err(|_| "a thread panicked")?;
    }
    println!("{{\"connections\":{made}}}");
    Ok(())
}

fn visit(target: SocketAddr, stays: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.connect(&target.into())?;
    (&socket).write_all(b"GET /api/queue/v1/small HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    if stays {
        // Refused connections end here, by an end of file or a reset.
        let _ = (&socket).read(&mut [0; 512]);
    }
    Ok(())
}

/// Answers each request once its whole body has come. Ends with the process.
fn sink(given: &Arguments) -> Outcome<()> {
    let listener = TcpListener::bind(given.address("--target")?)?;
    loop {
        let (stream, _) = listener.accept()?;
        // A client that leaves is of no interest here.
        thread::spawn(move || swallow(stream));
    }
}

fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    while let Some(head) = Head::read(&mut stream, &mut buffer)? {
        let mut left = head.length.saturating_sub(head.excess as u64);
        while left > 0 {
            let read = stream.read(&mut buffer)? as u64;
            if read == 0 {
                return Ok(());
            }
            left = left.saturating_sub(read);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

/// The way to the target, longer by so much in each direction. Ends with the process.
fn relay(given: &Arguments) -> Outcome<()> {
    let listener = TcpListener::bind(given.address("--listen")?)?;
    let delay = Duration::from_millis(given.number("--milliseconds")?);
    Ok(relay::serve(&listener, given.address("--target")?, delay)?)
}

#[derive(Clone)]
struct Client {
    target: SocketAddr,
    request: Arc<str>,
    fresh: bool,
}

impl Client {
    fn new(given: &Arguments) -> Outcome<Client> {
        let path = given.text("--path")?;
        Ok(Client {
            target: given.address("--target")?,
            request: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into(),
            fresh: given.has("--fresh"),
        })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// One small answer, over `connection` where there is one, which is kept unless `--fresh`.
    fn get(&self, connection: &mut Option<TcpStream>) -> io::Result<()> {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.write_all(self.request.as_bytes())?;
        let mut buffer = [0; 8 * 1024];
        let head = Head::read(&mut stream, &mut buffer)?
            .ok_or_else(|| io::Error::other("closed without an answer"))?;
        let mut left = head.length.saturating_sub(head.excess as u64);
        while left > 0 {
            let read = stream.read(&mut buffer)? as u64;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(read);
        }
        *connection = (!self.fresh).then_some(stream);
        Ok(())
    }
}

/// Of a request, or of an answer with 2xx.
struct Head {
    /// Content-Length, 0 without one.
    length: u64,
    /// How much of the body came with the head.
    excess: usize,
}

impl Head {
    /// Nothing at the end of the stream.
    fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<Head>> {
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(None);
            }
            filled += read;
            if let Some(end) = buffer[..filled].windows(4).position(|at| at == b"\r\n\r\n") {
                let length = Head::length(&buffer[..end])?;
                let excess = filled - end - 4;
                return Ok(Some(Head { length, excess }));
            }
        }
    }

    fn length(head: &[u8]) -> io::Result<u64> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        if first.starts_with("HTTP/") && !first.starts_with("HTTP/1.1 2") {
            return Err(io::Error::other(format!("answered {first}")));
        }
        let named = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        named.map_or(Ok(0), |(_, value)| {
            value.trim().parse().map_err(io::Error::other)
        })
    }
}
