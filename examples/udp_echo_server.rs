//! Sends every datagram back to where it came from.
//!
//! Terminal 1: `cargo run --example udp_echo_server`, and an address if it is not to be 127.0.0.1:3000
//! Terminal 2: `cargo run --example udp_client hello`, or `nc -u 127.0.0.1 3000` and some lines
//!
//! Terminal 1 shows:
//!
//! ```text
//! listening on 127.0.0.1:3000
//! 127.0.0.1:41234: hello
//! ```

use std::io::{self, Write};

use landline::dgram::Socket;

fn main() -> landline::Result<()> {
    let at = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let socket = Socket::bind(at)?;
    print(format_args!("listening on {}", socket.address()))?;
    socket
        .on()
        .message(|socket, bytes, from| {
            print(format_args!("{}: {}", from.address(), String::from_utf8_lossy(bytes).trim_end()))?;
            // A reply that cannot be sent is the sender's loss; an error from here would end the server.
            if let Err(error) = socket.send_to(bytes, from) {
                eprintln!("{error}");
            }
            Ok(())
        })
        .error(|_, error| eprintln!("{error}"))
        .run()?;
    Ok(())
}

/// A line that is seen at once, also by a program that reads it.
fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
