//! Sends every datagram back to its sender.
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
//! Terminal 3, where `>` marks what is typed:
//!
//! ```text
//! $ nc -u 127.0.0.1 3000
//! > again
//! again
//! ```
//!
//! Lesson: there are no connections, so one loop serves all clients, and each message carries the address for its
//! answer. The server does not learn that a client has gone, and has nothing to clean up.

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
                // A reply that cannot be sent is lost. An error returned here would end the server.
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

/// Prints a line and flushes it, for programs that read it.
fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
