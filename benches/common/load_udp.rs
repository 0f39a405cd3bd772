//! The clients that send datagrams.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::load::{Outcome, PATIENCE, Target};

const MESSAGE: [u8; 64] = [7; 64];
const FLOOD: Duration = Duration::from_secs(1);

fn connect(at: SocketAddr, patience: Duration) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(at)?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket)
}

/// Keeps so many datagrams under way, and counts those that come back. What is lost is sent anew.
pub(crate) fn window(at: SocketAddr, window: usize) -> io::Result<impl FnMut() -> io::Result<u64>> {
    let socket = connect(at, Duration::from_millis(200))?;
    socket.send(&MESSAGE)?;
    socket.recv(&mut [0; 65])?;
    for _ in 0..window {
        socket.send(&MESSAGE)?;
    }
    Ok(move || match socket.recv(&mut [0; 65]) {
        Ok(64) => socket.send(&MESSAGE).map(|_| 1),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no echo")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            for _ in 0..window {
                socket.send(&MESSAGE)?;
            }
            Ok(0)
        }
        Err(error) => Err(error),
    })
}

/// Sends for a second, so many a second; then asks how many came.
pub(crate) fn flood(target: Target, rate: usize) -> io::Result<Outcome> {
    let socket = connect(target.at, Duration::from_millis(200))?;
    let (before, start, mut sent) = (count(&socket)?, Instant::now(), 0);
    while start.elapsed() < FLOOD {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        while sent < due && start.elapsed() < FLOOD {
            socket.send(&MESSAGE)?;
            sent += 1;
        }
        std::hint::spin_loop();
    }
    let seconds = start.elapsed().as_secs_f64();
    let came = count(&socket)? - before;
    Ok(vec![("loss", 100.0 * (1.0 - came as f64 / sent as f64)), ("sent", sent as f64 / seconds)])
}

/// Asks a counting server until it answers, since the question is lost where datagrams are.
fn count(socket: &UdpSocket) -> io::Result<u64> {
    let (end, mut answer) = (Instant::now() + PATIENCE, [0; 32]);
    let mut last = None;
    while Instant::now() < end {
        socket.send(b"?")?;
        match socket.recv(&mut answer) {
            Ok(n) => {
                let said = std::str::from_utf8(&answer[..n]).ok().and_then(|text| text.parse::<u64>().ok());
                let said = said.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not count"))?;
                // Twice the same: nothing is on its way any more.
                if last == Some(said) {
                    return Ok(said);
                }
                last = Some(said);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not say how many datagrams came"))
}
