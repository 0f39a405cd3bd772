//! A control port over mio: one thread, and for each client what has come of a line and what it has not read yet.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

#[path = "../../settings.rs"]
mod settings;
use settings::Settings;

const LISTENER: Token = Token(0);

struct Client {
    stream: TcpStream,
    pending: Vec<u8>,
    waiting: Vec<u8>,
    has_ended: bool,
}

fn main() -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut listener = TcpListener::bind("127.0.0.1:3000".parse().expect("it is an address"))?;
    println!("listening on {}", listener.local_addr()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut clients, mut last) = (HashMap::new(), 0);
    let (mut buffer, settings) = (vec![0; 4096], Settings::default());
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                loop {
                    let mut stream = match listener.accept() {
                        Ok((stream, _)) => stream,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    };
                    if clients.len() == 64 {
                        continue;
                    }
                    last += 1;
                    poll.registry().register(&mut stream, Token(last), Interest::READABLE | Interest::WRITABLE)?;
                    clients.insert(Token(last), Client { stream, pending: Vec::new(), waiting: Vec::new(), has_ended: false });
                }
            } else if let Some(client) = clients.get_mut(&event.token()) {
                if !client.go_on(&mut buffer, &settings).unwrap_or(false) {
                    clients.remove(&event.token());
                }
            }
        }
    }
}

impl Client {
    /// Writes and reads until one would block. Gives whether there is more to come.
    fn go_on(&mut self, buffer: &mut [u8], settings: &Settings) -> io::Result<bool> {
        loop {
            while !self.waiting.is_empty() {
                match self.stream.write(&self.waiting) {
                    Ok(n) => drop(self.waiting.drain(..n)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
            if self.has_ended {
                return Ok(false);
            }
            match self.stream.read(buffer) {
                Ok(0) => self.has_ended = true,
                Ok(n) => {
                    self.pending.extend_from_slice(&buffer[..n]);
                    while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = self.pending.drain(..=end).collect();
                        match settings.answer(&String::from_utf8_lossy(&line)) {
                            Some(answer) => self.waiting.extend_from_slice(answer.as_bytes()),
                            None => {
                                self.has_ended = true;
                                break;
                            }
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}
