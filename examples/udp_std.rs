//! The echo server in plain std, as `udp_echo_server` does it inside.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example udp_std
//! listening on 127.0.0.1:3000
//! 127.0.0.1:40001: hello
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --example udp_client hello
//! hello
//! ```
//!
//! Lesson: `udp_echo_server` is made of these calls. Three things are missing. Nothing can end the loop from outside. A
//! smaller buffer would truncate datagrams without an error. Bursts are lost in a receive buffer of the default size,
//! and are not counted.

use std::io::{self, Write};
use std::net::UdpSocket;

fn main() -> io::Result<()> {
    let at = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let socket = UdpSocket::bind(at)?;
    print(format_args!("listening on {}", socket.local_addr()?))?;
    let mut buffer = vec![0; 65_535];
    loop {
        let (size, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            // An error of receiving does not end a datagram socket.
            Err(error) => {
                eprintln!("{error}");
                continue;
            }
        };
        let bytes = &buffer[..size];
        print(format_args!("{from}: {}", String::from_utf8_lossy(bytes).trim_end()))?;
        if let Err(error) = socket.send_to(bytes, from) {
            eprintln!("{error}");
        }
    }
}

/// Prints a line and flushes it, for programs that read it.
fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
