//! A loop over `read` that takes `TimedOut` for a tick, on a connection that the system gives up, here and in std. Only
//! the reader can take the error, since no thread writes once the buffers are full.
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use landline::net::Socket;
use socket2::SockRef;

const GIVEN_UP_AFTER: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(100);

/// How many reads fail within two seconds, and whether one ends the loop.
fn reads(mut read: impl Read) -> (u64, bool) {
    let (start, mut failed) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        match read.read(&mut [0; 10]) {
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => failed += 1,
            _ => return (failed, true),
        }
    }
    (failed, false)
}

/// Sends until the buffers are full.
fn fill(socket: &SockRef) {
    socket.set_nonblocking(true).unwrap();
    while socket.send(&[0; 65_536]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
}

fn of_landline() -> (u64, bool) {
    let (_peer, socket): (Socket, Socket) = cases::pair();
    socket.set_user_timeout(GIVEN_UP_AFTER).unwrap();
    socket.with_raw(|fd| fill(&SockRef::from(&fd))).unwrap();
    socket.set_timeout(TICK);
    reads(&socket)
}

fn of_std() -> (u64, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    SockRef::from(&stream).set_tcp_user_timeout(Some(GIVEN_UP_AFTER)).unwrap();
    fill(&SockRef::from(&stream));
    stream.set_read_timeout(Some(TICK)).unwrap();
    reads(stream)
}

fn main() {
    let (ours, std) = (of_landline(), of_std());
    let text = format!("failed reads, and whether one ended the loop: landline {ours:?}, std {std:?}");
    cases::verdict(ours.1 >= std.1, text)
}
