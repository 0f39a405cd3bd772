//! Sends one message and prints the reply, for which it waits 5 seconds at most.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example udp_echo_server
//! listening on 127.0.0.1:3000
//! 127.0.0.1:40001: hello
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --example udp_client hello
//! hello
//! $ cargo run --example udp_client 127.0.0.1:4000 hello
//! Error: recvmsg ECONNREFUSED
//! ```
//!
//! The address to send to may stand before the message. A name that has an IPv4 address is reached over IPv4. A server
//! on `::1` alone is reached as `[::1]:3000`.
//!
//! Lesson: a sender does not learn whether a datagram has arrived, so waiting for an answer needs a timeout. A
//! connected socket also learns that no program listens there, by the error above.

use std::io::{self, Write};
use std::process;
use std::time::Duration;

use landline::dgram::Socket;

fn main() -> Result<(), landline::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (server, message) = match &*arguments {
        [message] => ("127.0.0.1:3000", message),
        [server, message] => (&**server, message),
        _ => {
            eprintln!("usage: udp_client [ADDRESS] MESSAGE");
            process::exit(2);
        }
    };
    let socket = Socket::bind(0)?;
    // With a peer, a datagram from another address cannot be taken for the reply.
    socket.connect(server)?;
    socket.send(message)?;

    let mut buffer = [0; 65_535];
    match socket.recv_timeout(&mut buffer, Duration::from_secs(5)) {
        Ok(Some((reply, _))) => {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", String::from_utf8_lossy(reply).trim_end())?;
            out.flush()?;
        }
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return Err(io::Error::new(error.kind(), format!("no reply from {server} in 5 s")).into());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
