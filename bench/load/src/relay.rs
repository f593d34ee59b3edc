//! A long way: what comes in at one end goes out at the other a fixed time later, in both directions,
//! as fast as both ends can. A connection stands a round trip after it was asked for, as TCP's does.
//! What this is not: a narrow way, or one that loses something.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK: usize = 64 * 1024;

/// That are under way in a direction at a time. Few are smaller than a TLS record of 16 KiB, so that
/// there is room for more than a GiB a second over 25 ms.
const CHUNKS: usize = 2048;

/// Connections to `target` for those that `listener` accepts; `delay` is that of each direction. Ends
/// with the process.
pub fn serve(listener: &TcpListener, target: SocketAddr, delay: Duration) -> io::Result<()> {
    loop {
        let (near, _) = listener.accept()?;
        // One that breaks ends alone.
        thread::spawn(move || join(&near, target, delay));
    }
}

fn join(near: &TcpStream, target: SocketAddr, delay: Duration) -> io::Result<()> {
    thread::sleep(2 * delay);
    let far = TcpStream::connect(target)?;
    for (from, to) in [(near, &far), (&far, near)] {
        to.set_nodelay(true)?;
        let (sender, receiver) = sync_channel(CHUNKS);
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || take_in(from, &sender, delay));
        thread::spawn(move || let_out(to, &receiver));
    }
    Ok(())
}

type Chunk = (Instant, Vec<u8>);

/// Until its end, or that of the other side.
fn take_in(mut from: TcpStream, under_way: &SyncSender<Chunk>, delay: Duration) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer)?;
        let chunk = (Instant::now() + delay, buffer[..read].to_vec());
        if under_way.send(chunk).is_err() || read == 0 {
            return Ok(());
        }
    }
}

/// An empty chunk is the end that the other side has sent; without one, its connection broke.
fn let_out(mut to: TcpStream, under_way: &Receiver<Chunk>) -> io::Result<()> {
    for (due, chunk) in under_way {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if chunk.is_empty() {
            return to.shutdown(Shutdown::Write);
        }
        if to.write_all(&chunk).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(20);

    /// A connection by a relay to a server that sends back what it gets, until its end.
    fn echo_from_afar() -> io::Result<TcpStream> {
        let echo = TcpListener::bind("127.0.0.1:0")?;
        let target = echo.local_addr()?;
        thread::spawn(move || {
            let (stream, _) = echo.accept()?;
            io::copy(&mut &stream, &mut &stream)?;
            stream.shutdown(Shutdown::Write)
        });
        let relay = TcpListener::bind("127.0.0.1:0")?;
        let address = relay.local_addr()?;
        thread::spawn(move || serve(&relay, target, DELAY));
        TcpStream::connect(address)
    }

    #[test]
    fn bytes_pass_whole_and_in_order_until_the_end() -> io::Result<()> {
        let mut stream = echo_from_afar()?;
        let sent: Vec<u8> = (0..8_000_000_u32).map(|at| (at % 251) as u8).collect();
        let (mut writer, all) = (stream.try_clone()?, sent.clone());
        thread::spawn(move || {
            writer.write_all(&all)?;
            writer.shutdown(Shutdown::Write)
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        assert!(got == sent, "{} of {} bytes came", got.len(), sent.len());
        Ok(())
    }

    #[test]
    fn each_direction_takes_its_time_and_a_connection_a_round_trip() -> io::Result<()> {
        let start = Instant::now();
        let mut stream = echo_from_afar()?;
        for round_trips in 2..5 {
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
            assert!(start.elapsed() >= round_trips * 2 * DELAY);
        }
        Ok(())
    }
}
