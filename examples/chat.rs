//! A chat, in which every line goes to all other clients.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --release --example chat
//! listening on 127.0.0.1:3000
//! #1 joined
//! #2 joined
//! #1 left
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! > hello
//! > Ctrl+C
//! ```
//!
//! Terminal 3:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! #1: hello
//! ```
//!
//! Lesson: a thread that writes to many clients must not wait for one. `try_send` hands the line to the kernel or to
//! the client's queue. A client with a full queue has stopped reading, and is dropped. The line is one allocation,
//! which all queues share. The lock gives all clients the same order of lines, and nothing under it blocks.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use landline::net::{Message, Server, Socket};

fn main() -> Result<(), landline::Error> {
    let server = Server::listen(std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    say(format_args!("listening on {}", server.address()))?;
    let speaking = Mutex::new(());
    let everyone = server.clone();
    server.serve(|socket| {
        say(format_args!("{} joined", socket.id()))?;
        let result = socket.buffered()?.lines().try_for_each(|line| {
            let line = Message::from(format!("{}: {}\n", socket.id(), line?));
            let _turn = speaking.lock().unwrap_or_else(PoisonError::into_inner);
            everyone.sockets().iter().filter(|other| *other != socket).for_each(|other| tell(other, &line));
            Ok(())
        });
        say(format_args!("{} left", socket.id()))?;
        result
    })?;
    Ok(())
}

fn tell(client: &Socket, line: &Message) {
    if client.outbox().try_send(line).is_err() {
        client.destroy();
    }
}

/// Prints a line and flushes it, for programs that read a pipe.
fn say(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
