//! A program asks a multicast group, and every member answers. The interface is named, and is loopback by default, so
//! that nothing leaves this machine.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example discover answer printer
//! printer answers 239.255.13.8:3002 by 127.0.0.1
//! then: cargo run --example discover ask
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --example discover answer scanner
//! scanner answers 239.255.13.8:3002 by 127.0.0.1
//! then: cargo run --example discover ask
//! ```
//!
//! Terminal 3, where the answers come in any order and `...` stands for any lines:
//!
//! ```text
//! $ cargo run --example discover ask
//! ...
//! 127.0.0.1:3002 is scanner
//! ...
//! 2 answers in 2 s
//! ```
//!
//! Another interface is the last argument, by address, number or name, as in `... answer printer eth0` and `... ask
//! eth0`.
//!
//! Lesson: the asking program does not know how many members will answer, or whether any will. So one deadline ends the
//! wait, for all answers together. Questions and answers may be lost, so a program that must be sure asks again. An
//! answer goes to the sender of the question. It is short, since a sender's address can be forged.

use std::io;
use std::net::Ipv4Addr;
use std::process;
use std::time::{Duration, Instant};

use landline::dgram::{Interface, SocketEvent, SocketOptions};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 13, 8);
const PORT: u16 = 3002;
const QUESTION: &[u8] = b"who is there?";
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["answer", name] => answer(name, "127.0.0.1"),
        ["answer", name, interface] => answer(name, interface),
        ["ask"] => ask("127.0.0.1"),
        ["ask", interface] => ask(interface),
        _ => {
            eprintln!("usage: discover answer NAME [INTERFACE] | discover ask [INTERFACE]");
            process::exit(2);
        }
    }
}

fn answer(name: &str, interface: &str) -> io::Result<()> {
    // Several members on one machine share the port.
    let socket = SocketOptions::udp4().reuse_address(true).bind(PORT)?;
    socket.join_multicast(GROUP, interface)?;
    println!("{name} answers {GROUP}:{PORT} by {interface}\nthen: cargo run --example discover ask");
    socket.each(|socket, event| {
        match event {
            SocketEvent::Message(bytes, from) if bytes == QUESTION => {
                // The asking program may have ended, which is no reason to stop.
                let _ = socket.send_to(name, from);
            }
            SocketEvent::Error(error) => eprintln!("{error}"),
            _ => {}
        }
        Ok(())
    })
}

fn ask(interface: &str) -> io::Result<()> {
    let socket = SocketOptions::udp4().bind(0)?;
    socket.set_multicast_interface(Interface::from(interface))?;
    socket.send_to(QUESTION, (GROUP, PORT))?;
    let (end, mut count, mut buffer) = (Instant::now() + PATIENCE, 0, [0; 1024]);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match socket.recv_timeout(&mut buffer, left) {
            Ok(Some((name, from))) => {
                println!("{} is {}", from.address(), String::from_utf8_lossy(name));
                count += 1;
            }
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
            Err(error) => return Err(error),
        }
    }
    println!("{count} answers in {} s", PATIENCE.as_secs());
    Ok(())
}
