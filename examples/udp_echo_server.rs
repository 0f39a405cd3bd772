//! Sends every datagram back to where it came from.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example udp_echo_server
//! listening on 127.0.0.1:3000
//! 127.0.0.1:40001: hello
//! 127.0.0.1:40002: again
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --example udp_client hello
//! hello
//! ```
//!
//! Terminal 3; what is typed stands behind `>`:
//!
//! ```text
//! $ nc -u 127.0.0.1 3000
//! > again
//! again
//! ```
//!
//! Lesson: there are no connections, so one loop serves everybody, and each message says where its answer goes. Nobody is
//! told when a client has gone; there is nothing to clean up either.

use std::io::{self, Write};

use landline::dgram::{Socket, SocketEvent};

fn main() -> Result<(), landline::Error> {
    let at = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let socket = Socket::bind(at)?;
    print(format_args!("listening on {}", socket.address()))?;
    socket.each(|socket, event| {
        match event {
            SocketEvent::Message(bytes, from) => {
                print(format_args!("{}: {}", from.address(), String::from_utf8_lossy(bytes).trim_end()))?;
                // A reply that cannot be sent is the sender's loss; an error from here would end the server.
                if let Err(error) = socket.send_to(bytes, from) {
                    eprintln!("{error}");
                }
            }
            SocketEvent::Error(error) => eprintln!("{error}"),
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// A line that is seen at once, also by a program that reads it.
fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
