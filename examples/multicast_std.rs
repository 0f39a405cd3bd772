//! The twin of `multicast` in plain std, as far as std can do it.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example multicast_std
//! listening on 239.255.13.7:3001 by 127.0.0.1
//! 127.0.0.1:40001: hello
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --example multicast send hello
//! ```
//!
//! Another interface is given by its IPv4 address.
//!
//! Lesson: std joins a group, and that is all. It cannot let a second member on this machine share the port
//! (`SO_REUSEADDR`). It cannot set the interface to send by (`IP_MULTICAST_IF`), so a sender would use that of the
//! default route, and fail without one. So this program has no sender, and runs once on a machine.

use std::net::{Ipv4Addr, UdpSocket};
use std::{env, io};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 13, 7);
const PORT: u16 = 3001;

fn main() -> io::Result<()> {
    let interface = env::args().nth(1).map_or(Ok(Ipv4Addr::LOCALHOST), |text| text.parse());
    let interface = interface.map_err(io::Error::other)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    socket.join_multicast_v4(&GROUP, &interface)?;
    println!("listening on {GROUP}:{PORT} by {interface}");
    let mut buffer = vec![0; 65_535];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((n, from)) => println!("{from}: {}", String::from_utf8_lossy(&buffer[..n])),
            Err(error) => eprintln!("{error}"), // no error of receiving is the end of a datagram socket
        }
    }
}
