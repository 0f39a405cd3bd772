//! One rejected client and a slow `refused` callback (or report hook) stop all accepting for as long as the callback
//! runs.
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, Socket, SocketOptions};

const LOOK_UP: Duration = Duration::from_secs(2);

fn main() {
    let server = ServerOptions::new().max_connections(2).max_connections_per_address(1).listen("127.0.0.1:0").unwrap();
    let serving = server.on().connection(|socket| socket.pipe(socket)).refused(|_| thread::sleep(LOOK_UP));
    let _running = serving.spawn().unwrap();
    let ask = |socket: &Socket| {
        socket.write_all("x").unwrap();
        socket.read_exact(&mut [0]).unwrap();
    };
    let first = Socket::connect(server.address()).unwrap();
    ask(&first);
    // It exceeds the limit of its address.
    let _second = Socket::connect(server.address()).unwrap();
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    // There is a slot for this one.
    ask(&SocketOptions::new().local_address("127.0.0.2").connect(server.address()).unwrap());
    let waited = begun.elapsed();
    cases::verdict(
        waited < LOOK_UP / 2,
        format!("a client with a free slot waited {waited:?} for a callback of {LOOK_UP:?}"),
    )
}
