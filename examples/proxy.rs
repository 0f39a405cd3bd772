//! A proxy: whoever connects to the first address talks to the second.
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
//! Terminal 3; what is typed stands behind `>` (`-N`: nc ends its side at the end of its input):
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! With nobody at the second address the client sees its end at once, and nothing is printed: the error of a handler goes
//! to the `report` hook of `ServerOptions`, and this program has none.
//!
//! Lesson: a connection is two directions, and each ends by itself. `relay` passes each end on when it comes, so the client
//! that has said all it has to say still hears the answer. A proxy that closes both at the first end would cut it off.

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

/// Prints at once, to a pipe too.
fn say(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
