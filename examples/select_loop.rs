//! One thread for everything. One loop serves an echo over TCP and UDP, a tick a second and the keyboard.
//!
//! Terminal 1, which is never at rest, where `>` marks what is typed once the client below is connected:
//!
//! ```text
//! $ cargo run --release --example select_loop
//! listening on 127.0.0.1:3000
//! ...
//! 1 open
//! ...
//! > hello
//! you typed hello, 1 open
//! ...
//! > Ctrl+D
//! closed
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! > hi
//! hi
//! ```
//!
//! `nc -u 127.0.0.1 3000` does the same over UDP, on the same port.
//!
//! Lesson: the loop that receives all events has plain variables and needs no lock. In return it must never block on a
//! client. It writes by `try_send`, and drops a client that has a full outbox because it does not read. Write
//! `socket.write_all(bytes)` instead, and the first client that stops reading stops the clock.

use std::io::{self, Write};
use std::time::Duration;
use std::{env, thread};

use landline::channel::{Receiver, bounded, select, tick};
use landline::dgram;
use landline::net::{Server, ServerEvent, SocketEvent};

fn main() -> io::Result<()> {
    let at = env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let server = Server::listen(at)?;
    say(format_args!("listening on {}", server.address()))?;
    let socket = dgram::Socket::bind(server.address())?;
    let (clients, datagrams) = (server.events(1024)?, socket.events(1024)?);
    // Outside the loop, since tick() starts a new clock.
    let (second, typed) = (tick(Duration::from_secs(1)), typed_lines());
    loop {
        select! {
            recv(clients.receiver()) -> event => match event {
                Ok(ServerEvent::Socket(socket, SocketEvent::Data(bytes))) => {
                    if socket.outbox().try_send(bytes).is_err() {
                        socket.destroy();
                    }
                }
                Ok(ServerEvent::Socket(socket, SocketEvent::End | SocketEvent::ShuttingDown)) => {
                    if socket.outbox().end().is_err() {
                        socket.destroy();
                    }
                }
                Ok(_) => {}
                Err(_) => return say(format_args!("closed")), // the last event was taken
            },
            recv(datagrams.receiver()) -> event => if let Ok(dgram::SocketEvent::Message(bytes, from)) = event {
                let _ = socket.send_to(&bytes, from); // a datagram may be lost anyway
            },
            recv(second) -> _ => say(format_args!("{} open", server.connections()))?,
            recv(typed) -> line => match line {
                Ok(line) => say(format_args!("you typed {line}, {} open", server.connections()))?,
                Err(_) => break, // the end of the input
            },
        }
    }
    drop((clients, datagrams)); // closes both and waits for their threads
    say(format_args!("closed"))
}

fn typed_lines() -> Receiver<String> {
    let (sender, receiver) = bounded(0);
    thread::spawn(move || io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

/// Prints a line and flushes it, for programs that read a pipe.
fn say(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
