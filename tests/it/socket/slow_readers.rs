//! What a peer reads that pauses, or that reads slowly, is what was written, whichever timer the writer has.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, Socket};

use crate::support::fixtures::noise;
use crate::support::{HANG, each_ip, within};

/// More than the buffers of both sides take, so that each write waits for its peer.
const LENGTH: usize = 64 << 20;

/// Reads `most` bytes, or to the end, of which each has to be that of `data`, behind those of before; gives how far it came.
fn read_on(mut peer: impl Read, data: &[u8], from: usize, most: usize) -> io::Result<usize> {
    let (mut at, mut piece) = (from, vec![0; most.min(256 << 10)]);
    while at < from + most {
        let n = peer.read(&mut piece[..(from + most - at).min(256 << 10)])?;
        if n == 0 {
            break;
        }
        assert!(data.get(at..at + n) == Some(&piece[..n]), "byte for byte, as it was written: wrong behind byte {at}");
        at += n;
    }
    Ok(at)
}

/// A peer that reads all at its own pace; gives how much came.
type Pace = fn(&TcpStream, &[u8]) -> io::Result<usize>;

/// It reads a megabyte, nothing for 2.5 s, then the rest.
fn pausing(peer: &TcpStream, data: &[u8]) -> io::Result<usize> {
    let at = read_on(peer, data, 0, 1 << 20)?;
    // Not a bound: the pace of the peer.
    thread::sleep(Duration::from_millis(2500));
    read_on(peer, data, at, usize::MAX / 2)
}

/// It reads a byte a millisecond for two seconds, then the rest.
fn trickling(peer: &TcpStream, data: &[u8]) -> io::Result<usize> {
    let (began, mut at) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(2) {
        at = read_on(peer, data, at, 1)?;
        // Not a bound: the pace of the peer.
        thread::sleep(Duration::from_millis(1));
    }
    read_on(peer, data, at, usize::MAX / 2)
}

/// Sets a timer, which does not expire while the peer is only slow.
type Set = fn(&Socket) -> io::Result<()>;

/// The timers, each alone.
const TIMERS: [(&str, Set); 5] = [
    ("no timer", |_| Ok(())),
    ("a read timeout", |socket| socket.set_read_timeout(HANG)),
    ("a write timeout", |socket| socket.set_write_timeout(HANG)),
    ("an idle timeout", |socket| {
        socket.set_timeout(HANG);
        Ok(())
    }),
    ("a deadline", |socket| {
        socket.set_deadline(Instant::now() + 2 * HANG);
        Ok(())
    }),
];

/// Writes to one peer for each timer, all at the same time.
fn writes_are_exact(pace: Pace) {
    let data: Arc<[u8]> = noise(LENGTH, 28).into();
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        // What the family changes is not in these calls: one is enough for the second.
        let timers = if at.starts_with('[') { &TIMERS[..1] } else { &TIMERS };
        let all: Vec<_> = timers
            .iter()
            .map(|(timer, set)| {
                let peer =
                    TcpStream::connect(server.address().socket_addr().expect("it is of IP")).expect("it listens");
                let socket = server.accept().expect("accepting works").expect("the server is open");
                set(&socket).expect("the connection is open");
                let (theirs, ours) = (Arc::clone(&data), Arc::clone(&data));
                let reader = thread::spawn(move || pace(&peer, &theirs));
                let writer = thread::spawn(move || {
                    socket.write_all(&ours[..])?;
                    let written = socket.bytes_written();
                    socket.end().map(|()| written)
                });
                (timer, reader, writer)
            })
            .collect();
        for (timer, reader, writer) in all {
            let written = within("the write ends", || writer.join()).expect("no panic");
            assert_eq!(
                written.expect("the peer is only slow"),
                LENGTH as u64,
                "all counts as written, once, with {timer}"
            );
            let read = within("the peer reads all", || reader.join()).expect("it is byte for byte what was written");
            assert_eq!(read.expect("the connection lasts"), LENGTH, "all arrives, and nothing else, with {timer}");
        }
    });
}

/// Ensures that `write_all` gives a peer that pauses for 2.5 s exactly what was written, with each of the timers.
#[test]
fn a_peer_that_pauses_reads_what_was_written() {
    writes_are_exact(pausing);
}

/// Ensures the same of a peer that reads a byte a millisecond for a while.
#[test]
fn a_peer_that_trickles_reads_what_was_written() {
    writes_are_exact(trickling);
}
