//! Clients of random behaviour. Each ends by itself, so that no server waits for one for ever.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use landline::net::Socket;

use crate::process::phase;
use crate::random::Random;

/// What a polite client begins with; eight bytes follow that are its own.
pub const POLITE: u8 = b'E';
/// How many bytes these are.
pub const HEADER: usize = 9;

/// What a polite client saw: it sends, ends, and reads until the server's end what ought to be the same bytes.
pub struct Polite {
    pub header: [u8; HEADER],
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    /// The server's end was seen, not an error.
    pub in_order: bool,
}

/// One client; gives what it saw if it was polite and could connect.
pub fn client(at: SocketAddr, random: &mut Random) -> Option<Polite> {
    match random.below(9) {
        0..3 => return polite(at, random),
        3 => {
            let _phase = phase("silent client");
            let stream = TcpStream::connect(at).ok()?;
            pause(random, 30);
            drop(stream);
        }
        4 => {
            let _phase = phase("resetting client");
            let socket = Socket::connect(at).ok()?;
            let _ = socket.write_all(vec![b'x'; random.below(20_000)]);
            pause(random, 5);
            let _ = socket.reset_and_destroy();
        }
        5 => {
            let _phase = phase("dripping client");
            let mut stream = TcpStream::connect(at).ok()?;
            for _ in 0..random.below(25) {
                if stream.write_all(b"x").is_err() {
                    break;
                }
                pause(random, 2);
            }
            read_a_while(stream);
        }
        6 => {
            let _phase = phase("client that leaves at once");
            drop(TcpStream::connect(at));
        }
        7 => {
            let _phase = phase("client that never reads");
            let mut stream = TcpStream::connect(at).ok()?;
            let _ = stream.set_write_timeout(Some(Duration::from_millis(50)));
            let _ = stream.write(&vec![b'x'; random.below(400_000)]);
            pause(random, 20);
        }
        _ => {
            let _phase = phase("client that only reads");
            let stream = TcpStream::connect(at).ok()?;
            read_a_while(stream);
        }
    }
    None
}

/// Ends our side, and reads what comes, but not for ever.
fn read_a_while(mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(40)));
    let mut buffer = [0; 8192];
    while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {}
}

fn polite(at: SocketAddr, random: &mut Random) -> Option<Polite> {
    let _phase = phase("polite client");
    let mut stream = TcpStream::connect(at).ok()?;
    let mut header = [POLITE; HEADER];
    header[1..].copy_from_slice(&random.number().to_ne_bytes());
    let mut sent = header.to_vec();
    // So few that the kernel takes them all, whether the server reads or not.
    let length = random.one_of(&[0, 1, 100, 5_000, 40_000]);
    sent.extend((0..length).map(|_| random.number() as u8));
    let pieces = random.one_of(&[1, 1, 1, 5]);
    let mut all_sent = true;
    for piece in sent.chunks(sent.len().div_ceil(pieces)) {
        all_sent &= stream.write_all(piece).is_ok();
        if pieces > 1 {
            pause(random, 2);
        }
    }
    let ended = stream.shutdown(Shutdown::Write).is_ok();
    let mut received = Vec::new();
    let in_order = stream.read_to_end(&mut received).is_ok() && all_sent && ended;
    Some(Polite { header, sent, received, in_order })
}

fn pause(random: &mut Random, most: usize) {
    // What the client does: nothing, for a while.
    thread::sleep(random.millis(most));
}
