//! The twin of `udp_client` in plain std.
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
//! $ cargo run --example udp_client_std hello
//! hello
//! ```
//!
//! Lesson: for one datagram and its answer std is enough. A timeout is `WouldBlock` on one system and `TimedOut` on
//! another, and a signal's handler can end the wait. A second answer would have to share the 5 s by hand. The family of
//! the socket has to be chosen before the name is looked up, so names mean IPv4 here.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use std::{env, io, process};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (server, message) = match &*arguments {
        [message] => ("127.0.0.1:3000", message),
        [server, message] => (&**server, message),
        _ => {
            eprintln!("usage: udp_client_std [ADDRESS] MESSAGE");
            process::exit(2);
        }
    };
    let is_v6 = server.parse::<SocketAddr>().is_ok_and(|address| address.is_ipv6());
    let socket = UdpSocket::bind(if is_v6 { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send(message.as_bytes())?;

    let mut buffer = [0; 65_535];
    match socket.recv(&mut buffer) {
        Ok(n) => println!("{}", String::from_utf8_lossy(&buffer[..n]).trim_end()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no reply from {server} in 5 s")));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
