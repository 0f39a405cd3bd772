//! An echo server in six lines: every client gets back what it sends.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example echo
//! listening on 127.0.0.1:3000
//! ```
//!
//! Terminal 2; what is typed stands behind `>`:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! > hello
//! hello
//! ```
//!
//! Another address is given as argument: `cargo run --example echo 127.0.0.1:4000`. It listens on 127.0.0.1 and not
//! on every interface, so that only this machine can reach it and no firewall asks.
//!
//! Lesson: `listen` returns when the server listens, `serve` when it is closed, and the closure runs once per
//! connection, on a thread of that connection's own. So it may block, and `pipe` does, until the client ends.

use landline::net::Server;

fn main() -> std::io::Result<()> {
    let server = Server::listen(std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    println!("listening on {}", server.address());
    server.serve(|socket| socket.pipe(socket))
}
