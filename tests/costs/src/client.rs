//! The other end, over std: it costs no allocation, and is not in the process whose system calls are counted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use crate::ways::{MESSAGE, PATIENCE, SIZE};

pub enum Client {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Client {
    /// A client of what serves by the way of that name.
    pub fn of(way: &str, at: SocketAddr) -> io::Result<Client> {
        if way.starts_with("tcp/") {
            return connect(at).map(Client::Tcp);
        }
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(at)?;
        Ok(Client::Udp(socket))
    }

    /// Sends so many messages, each after the answer to the one before.
    pub fn ask(&mut self, messages: usize) -> io::Result<()> {
        for _ in 0..messages {
            let mut answer = [0; SIZE];
            match self {
                Client::Tcp(stream) => {
                    stream.write_all(&MESSAGE)?;
                    stream.read_exact(&mut answer)?;
                }
                Client::Udp(socket) => {
                    socket.send(&MESSAGE)?;
                    assert_eq!(socket.recv(&mut answer)?, SIZE, "a datagram comes back whole");
                }
            }
            assert_eq!(answer, MESSAGE, "what was sent comes back");
        }
        Ok(())
    }
}

pub fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}
