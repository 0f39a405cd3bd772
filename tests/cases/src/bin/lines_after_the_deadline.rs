//! After a connection's deadline, `lines` never ends: each step fails at once, even if the peer is gone. A loop that
//! skips errors, as `flatten` does, or that reads on after `TimedOut` as the documentation of `lines` says, spins and
//! keeps the slot.
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, Socket};

fn main() {
    let server = ServerOptions::new().deadline(Duration::from_millis(200)).listen("127.0.0.1:0").unwrap();
    let client = Socket::connect(server.address()).unwrap();
    let accepted = server.accept().unwrap().expect("it is open");
    client.write_all("half a line").unwrap();
    let begun = Instant::now();
    let mut lines = accepted.buffered().unwrap().lines();
    let (mut steps, mut client) = (0_u64, Some(client));
    let ended = loop {
        match lines.next() {
            None => break true,
            Some(Err(error)) if error.kind() == ErrorKind::TimedOut => steps += 1,
            Some(_) => {}
        }
        if begun.elapsed() > Duration::from_millis(400) {
            client.take().inspect(Socket::destroy);
        }
        if begun.elapsed() > Duration::from_secs(2) {
            break false;
        }
    };
    cases::verdict(ended, format!("{steps} steps failed within 2 s, the peer was gone, and it has ended: {ended}"))
}
