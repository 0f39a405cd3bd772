//! A proxy, which connects each client of the first address to the second.
//!
//! Terminal 1, some echo server:
//!
//! ```text
//! $ cargo run --example echo 127.0.0.1:4000
//! listening on 127.0.0.1:4000
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --release --example proxy 127.0.0.1:3000 127.0.0.1:4000
//! listening on 127.0.0.1:3000
//! #1 127.0.0.1:40001: 6 bytes there, 6 back
//! ```
//!
//! Terminal 3, where `>` marks what is typed (`-N` makes nc end its side at the end of its input):
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! If nothing listens at the second address, the client sees its end at once, and nothing is printed. The error of a
//! handler goes to the `report` hook of `ServerOptions`, which this program does not set.
//!
//! Lesson: a connection has two directions, and each ends by itself. `relay` passes each end on when it comes, so a
//! client that has finished sending still gets the answer. A proxy that closes both at the first end would lose it.

use std::io::{self, Write};

use landline::net::{Server, Socket, relay};

fn main() -> Result<(), landline::Error> {
    let mut args = std::env::args().skip(1);
    let at = args.next().unwrap_or("127.0.0.1:3000".into());
    let target = args.next().unwrap_or("127.0.0.1:4000".into());
    let server = Server::listen(at)?;
    say(format_args!("listening on {}", server.address()))?;
    server.serve(|client| {
        relay(client, &Socket::connect(&target)?)?;
        let (there, back) = (client.bytes_read(), client.bytes_written());
        say(format_args!("{} {}: {there} bytes there, {back} back", client.id(), client.remote_address()))
    })?;
    Ok(())
}

/// Prints a line and flushes it, for programs that read a pipe.
fn say(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
