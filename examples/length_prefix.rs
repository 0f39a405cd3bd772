//! Messages of any bytes, each after its length in four bytes, the most significant first.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example length_prefix serve 127.0.0.1:3000
//! listening on 127.0.0.1:3000
//! then: cargo run --example length_prefix ask 127.0.0.1:3000 one two
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --example length_prefix ask 127.0.0.1:3000 one two
//! eno
//! owt
//! ```
//!
//! Terminal 3, a client of another protocol, whose connection the server ends:
//!
//! ```text
//! $ curl --silent --show-error http://127.0.0.1:3000/
//! curl: (52) Empty reply from server
//! ```
//!
//! Lesson: TCP has no messages, only bytes in order, so the length says where a message ends. It is checked before
//! anything is allocated, since `GET ` would be a message of more than a billion bytes. A `Buffered` keeps both parts
//! of an answer and sends them in one write, before it waits for the next message. A client may end between two
//! messages. An end within a message is an error.

use std::io::{self, BufRead, Read, Write};
use std::{env, process};

use landline::net::{Buffered, Server, Socket};

const LONGEST: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        ["serve", at] => serve(at),
        ["ask", to, words @ ..] => ask(to, words),
        _ => {
            eprintln!("usage: length_prefix serve ADDRESS | length_prefix ask ADDRESS WORD...");
            process::exit(2);
        }
    }
}

fn serve(at: &str) -> io::Result<()> {
    let server = Server::listen(at)?;
    println!("listening on {0}\nthen: cargo run --example length_prefix ask {0} one two", server.address());
    server.serve(|socket| {
        let mut client = socket.buffered()?;
        while let Some(mut message) = receive(&mut client)? {
            message.reverse();
            send(&mut client, &message)?;
        }
        Ok(())
    })
}

fn ask(to: &str, words: &[&str]) -> io::Result<()> {
    let mut server = Socket::connect(to)?.buffered()?;
    for word in words {
        send(&mut server, word.as_bytes())?;
        let answer = receive(&mut server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        println!("{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

fn send(to: &mut Buffered, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(message)
}

/// The next message. `None` if the peer ended before it.
fn receive(from: &mut Buffered) -> io::Result<Option<Vec<u8>>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}
