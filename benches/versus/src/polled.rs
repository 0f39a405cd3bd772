//! Clients on one thread that polls.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::load;

struct Client {
    stream: TcpStream,
    /// Of the answer that is under way.
    missing: usize,
}

/// One message at a time on each connection. A step is one look at who has been answered.
pub(crate) fn echo(at: SocketAddr, connections: usize, size: usize) -> io::Result<impl FnMut() -> io::Result<u64>> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let (message, mut buffer) = (vec![7; size], vec![0; size]);
    let mut clients = Vec::new();
    for i in 0..connections {
        let mut stream = load::connect(at)?;
        load::check(&mut stream, size)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(i), Interest::READABLE)?;
        stream.write_all(&message)?;
        clients.push(Client { stream, missing: size });
    }
    Ok(move || {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        let mut answered = 0;
        for event in &events {
            let client = &mut clients[event.token().0];
            match client.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => client.missing -= n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            // Nothing more can come before the next message; and what is missing will be told of.
            if client.missing == 0 {
                answered += 1;
                client.missing = size;
                client.stream.write_all(&message)?;
            }
        }
        Ok(answered)
    })
}
