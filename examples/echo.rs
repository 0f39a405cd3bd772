//! An echo server in six lines. Every client gets back what it sends.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example echo
//! listening on 127.0.0.1:3000
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! > hello
//! hello
//! ```
//!
//! Another address is given as argument, as in `cargo run --example echo 127.0.0.1:4000`. The server listens on
//! 127.0.0.1 and not on every interface, so only this machine can reach it and no firewall asks.
//!
//! Lesson: `listen` returns when the server listens, and `serve` when it is closed. The closure runs once for each
//! connection, on the connection's own thread. So it may block, and `pipe` blocks until the client ends.

use landline::net::Server;

fn main() -> std::io::Result<()> {
    let server = Server::listen(std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    println!("listening on {}", server.address());
    server.serve(|socket| socket.pipe(socket))
}
