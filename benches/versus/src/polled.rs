//! Clients on one thread that polls.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::load;

/// Connections with at most one message under way on each.
pub(crate) struct Clients {
    pub(crate) streams: Arc<[TcpStream]>,
    /// Of the answer that is under way, for each.
    missing: Vec<usize>,
    buffer: Vec<u8>,
    poll: Poll,
    events: Events,
}

impl Clients {
    pub(crate) fn open(at: SocketAddr, connections: usize, size: usize) -> io::Result<Clients> {
        let poll = Poll::new()?;
        let mut streams = Vec::new();
        for i in 0..connections {
            let mut stream = load::connect(at)?;
            load::check(&mut stream, size)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(i), Interest::READABLE)?;
            streams.push(stream);
        }
        let (missing, events) = (vec![size; connections], Events::with_capacity(1024));
        Ok(Clients { streams: streams.into(), missing, buffer: vec![0; size], poll, events })
    }

    /// Looks once at who has been answered, hands those on, and gives how many they are.
    pub(crate) fn look(&mut self, mut answered: impl FnMut(usize, &TcpStream) -> io::Result<()>) -> io::Result<u64> {
        self.poll.poll(&mut self.events, Some(Duration::from_millis(100)))?;
        let mut count = 0;
        for event in &self.events {
            let i = event.token().0;
            let mut stream = &self.streams[i];
            match stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.missing[i] -= n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            // Nothing more can come before the next message; and the poll reports what is missing.
            if self.missing[i] == 0 {
                count += 1;
                self.missing[i] = self.buffer.len();
                answered(i, stream)?;
            }
        }
        Ok(count)
    }
}

/// One message at a time on each connection. A step is one look at who has been answered.
pub(crate) fn echo(clients: &Mutex<Clients>) -> io::Result<impl FnMut() -> io::Result<u64> + use<'_>> {
    let lock = || clients.lock().expect("no load panics");
    let message = vec![7; lock().buffer.len()];
    for mut stream in lock().streams.iter() {
        stream.write_all(&message)?;
    }
    Ok(move || lock().look(|_, mut stream| stream.write_all(&message)))
}
