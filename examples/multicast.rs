//! Sends to a multicast group, or receives as a member. The interface is named, and is loopback by default, so that
//! nothing leaves this machine.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example multicast receive
//! listening on 239.255.13.7:3001 by 127.0.0.1
//! 127.0.0.1:40001: hello
//! ```
//!
//! Terminal 2, another member:
//!
//! ```text
//! $ cargo run --example multicast receive
//! listening on 239.255.13.7:3001 by 127.0.0.1
//! 127.0.0.1:40001: hello
//! ```
//!
//! Terminal 3:
//!
//! ```text
//! $ cargo run --example multicast send hello
//! ```
//!
//! Another interface is the last argument, by address, number or name, as in `… receive eth0` and `… send hello eth0`.
//!
//! Lesson: a member is bound to the port and has joined the group. A sender needs neither, only the interface to send
//! by. Each member gets every message. The sender does not learn which members there are, or whether there are any.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process;

use landline::dgram::{Interface, SocketEvent, SocketOptions};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 13, 7);
const PORT: u16 = 3001;

fn main() -> Result<(), landline::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["receive"] => receive("127.0.0.1")?,
        ["receive", interface] => receive(interface)?,
        ["send", message] => send(message, "127.0.0.1")?,
        ["send", message, interface] => send(message, interface)?,
        _ => {
            eprintln!("usage: multicast receive [INTERFACE] | multicast send MESSAGE [INTERFACE]");
            process::exit(2);
        }
    }
    Ok(())
}

fn receive(interface: &str) -> io::Result<()> {
    // Several members on one machine share the port.
    let socket = SocketOptions::udp4().reuse_address(true).bind(PORT)?;
    socket.join_multicast(GROUP, interface)?;
    print(format_args!("listening on {GROUP}:{PORT} by {interface}"))?;
    socket.each(|_, event| match event {
        SocketEvent::Message(bytes, from) => {
            print(format_args!("{}: {}", from.address(), String::from_utf8_lossy(bytes)))
        }
        _ => Ok(()),
    })
}

fn send(message: &str, interface: &str) -> io::Result<()> {
    let socket = SocketOptions::udp4().bind(0)?;
    socket.set_multicast_interface(Interface::from(interface))?;
    socket.send_to(message, (GROUP, PORT))?;
    Ok(())
}

/// Prints a line and flushes it, for programs that read it.
fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
