//! A client that was served and does not close keeps a thread and a descriptor for the time of the lingering close (1 s
//! by default), without a slot. So the limit of connections does not limit threads.
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use landline::net::ServerOptions;

const LIMIT: usize = 4;

fn main() {
    let options = ServerOptions::new().max_connections(LIMIT).max_connections_per_address(2);
    let server = options.listen("127.0.0.1:0").unwrap();
    let running = server.spawn(|socket| socket.write_end("hello\n")).unwrap();
    let at = server.address().socket_addr().unwrap();
    let (before, begun) = (cases::threads(), Instant::now());
    // One client after the other: each has read its whole answer before the next one connects.
    let mut kept = Vec::new();
    while begun.elapsed() < Duration::from_millis(900) {
        let mut client = TcpStream::connect(at).unwrap();
        client.read_to_string(&mut String::new()).unwrap();
        kept.push(client);
    }
    let threads = cases::threads() - before;
    let text = format!(
        "{} clients one after the other, limit {LIMIT}, peak {}: {threads} more threads",
        kept.len(),
        server.stats().peak
    );
    drop(kept);
    server.close();
    running.join().unwrap();
    cases::verdict(threads <= LIMIT + 40, text)
}
