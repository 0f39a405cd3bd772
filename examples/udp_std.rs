//! The echo server again, with the standard library alone: what `udp_echo_server` is made of.
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
//! Lesson: this is what `udp_echo_server` is made of. What is missing: nothing can end the loop from outside; a smaller buffer would cut datagrams without a word; bursts
//! are lost in a receive buffer of the default size, and nobody learns how many.

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
            // No error of receiving is the end of a datagram socket.
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

/// A line that is seen at once, also by a program that reads it.
fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
