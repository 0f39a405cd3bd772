use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};

use socket2::{SockAddr, SockRef};

use crate::address::{Address, Family};
use crate::dgram::bind::no_path;
use crate::dgram::socket::Socket;
use crate::endpoint::{Endpoint, Target, loopback, reachable, resolve};
use crate::error::{Error, Result};

impl Socket {
    /// Sends one datagram, an empty one if `data` is, and gives its size: sendto(2).
    ///
    /// A bare port is this machine, by the socket's family. A name is looked up, each time, which blocks as long as the
    /// resolver does; an address costs no memory. It hardly ever waits; that it returned says nothing about arrival,
    /// nor that anybody listens there.
    ///
    /// ```
    /// use landline::dgram::Socket;
    ///
    /// let server = Socket::bind("127.0.0.1:0")?;
    /// let client = Socket::bind("127.0.0.1:0")?;
    /// client.send_to(b"message of the client", server.address())?;
    ///
    /// let mut buffer = [0; 100];
    /// let (message, from) = server.recv(&mut buffer)?.expect("nobody closed it");
    /// assert_eq!(message, b"message of the client");
    /// let sent = server.send_to(b"hello, I am the server", &from)?;
    /// assert_eq!(sent, 22);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nothing was sent: `EMSGSIZE` for more than 65,507 bytes, 65,527 by IPv6; `EINVAL` for an address of the other
    /// family; `ERR_SOCKET_BAD_PORT` for port 0; `EACCES` for a broadcast address without
    /// [`set_broadcast`](Socket::set_broadcast); `ENETUNREACH` without a route; `ENOTFOUND` for an unknown name;
    /// `ERR_SOCKET_DGRAM_IS_CONNECTED` if there is a peer: [`send`](Socket::send) to that; `ERR_IP_BLOCKED` for
    /// an address on the [list](super::SocketOptions::send_block_list); `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    pub fn send_to(&self, data: &[u8], to: impl Into<Endpoint>) -> Result<usize> {
        self.transmit(to.into(), |socket, to| socket.send_to(data, to))
    }

    /// As [`send_to`](Socket::send_to), but of several slices makes one datagram, without copying them together first;
    /// of none an empty one. At most 1,024 of them. sendmsg(2)
    ///
    /// # Errors
    /// As of [`send_to`](Socket::send_to).
    pub fn send_vectored_to(&self, data: &[IoSlice<'_>], to: impl Into<Endpoint>) -> Result<usize> {
        self.transmit(to.into(), |socket, to| SockRef::from(socket).send_to_vectored(data, &SockAddr::from(to)))
    }

    /// Sends one datagram to the peer of a connected socket, and gives its size: send(2). It hardly ever waits.
    ///
    /// # Errors
    /// Nothing was sent: `ERR_SOCKET_DGRAM_NOT_CONNECTED` if there is no peer, `EMSGSIZE`, `ENETUNREACH`,
    /// `ERR_IP_BLOCKED` and `ERR_SOCKET_DGRAM_NOT_RUNNING` as of [`send_to`](Socket::send_to). `ECONNREFUSED` tells,
    /// once, that an earlier datagram found nobody listening, unless a receiver was told first; send again.
    pub fn send(&self, data: &[u8]) -> Result<usize> {
        self.transmit_to_peer(|socket| socket.send(data))
    }

    /// As [`send`](Socket::send), but of several slices makes one datagram. At most 1,024 of them. sendmsg(2)
    ///
    /// # Errors
    /// As of [`send`](Socket::send).
    pub fn send_vectored(&self, data: &[IoSlice<'_>]) -> Result<usize> {
        self.transmit_to_peer(|socket| SockRef::from(socket).send_vectored(data))
    }

    fn transmit(&self, to: Endpoint, call: impl Fn(&UdpSocket, SocketAddr) -> io::Result<usize>) -> Result<usize> {
        let to = self.destination("send", to.target()?)?;
        let open = self.open()?;
        if open.peer.get().is_some() {
            return Err(is_connected());
        }
        uninterrupted(|| call(&open.socket, to)).map_err(|error| Error::call("send", &error).at(to))
    }

    fn transmit_to_peer(&self, call: impl Fn(&UdpSocket) -> io::Result<usize>) -> Result<usize> {
        let open = self.open()?;
        let peer = *open.peer.get().ok_or_else(not_connected)?;
        self.check_blocked(peer)?;
        uninterrupted(|| call(&open.socket)).map_err(|error| Error::call("send", &error).at(peer))
    }

    /// The address to give to the system for an endpoint: of the socket's family, and one that can be sent to.
    pub(crate) fn destination(&self, call: &'static str, to: Target) -> Result<SocketAddr> {
        // Nearly every datagram goes this way, and the general one takes three times as long.
        if let Target::Ip(at @ SocketAddr::V4(v4)) = to {
            if !self.0.v6 && v4.port() != 0 && !v4.ip().is_unspecified() {
                return self.check_blocked(at).map(|()| at);
            }
        }
        let own = if self.0.v6 { Family::Ipv6 } else { Family::Ipv4 };
        let port = match &to {
            Target::Port(port) | Target::Name { port, .. } => *port,
            Target::Ip(at) => at.port(),
            Target::Path(_) | Target::Invalid(_) => 1,
        };
        if port == 0 {
            return Err(Error::invalid("ERR_SOCKET_BAD_PORT", "Port should be > 0 and < 65536. Received 0."));
        }
        let at = match to {
            Target::Ip(at) => at,
            Target::Port(port) => (loopback(own), port).into(),
            Target::Name { host, port } => self.look_up(&host, port)?,
            Target::Path(_) => return Err(no_path()),
            Target::Invalid(error) => return Err(error),
        };
        self.check_blocked(at)?;
        match Address::from(reachable(at)).socket_addr() {
            Some(SocketAddr::V4(at)) if self.0.dual => Ok((at.ip().to_ipv6_mapped(), at.port()).into()),
            Some(at) if at.is_ipv6() == self.0.v6 => Ok(at),
            _ => Err(Error::coded(call, io::ErrorKind::InvalidInput, "EINVAL").at(at)),
        }
    }

    /// An error for an address on the list, and for a wildcard if this machine, which is meant, is on it.
    fn check_blocked(&self, at: SocketAddr) -> Result<()> {
        match &self.0.send_block_list {
            Some(list) if list.check(at.ip()) || list.check(reachable(at).ip()) => {
                let text = format!("IP({}) is blocked by net.BlockList", at.ip().to_canonical());
                Err(Error::fixed(io::ErrorKind::PermissionDenied, "ERR_IP_BLOCKED", text).at(at))
            }
            _ => Ok(()),
        }
    }

    /// The first address of a name that the socket can send to: on a dual-stack socket one of IPv6, if there is any.
    fn look_up(&self, host: &str, port: u16) -> Result<SocketAddr> {
        let family = match (self.0.v6, self.0.dual) {
            (false, _) => Some(Family::Ipv4),
            (true, false) => Some(Family::Ipv6),
            (true, true) => None,
        };
        let found = resolve(host, port, family)?;
        found.iter().find(|at| at.is_ipv6()).or(found.first()).copied().ok_or_else(|| Error::not_found(host))
    }
}

pub(crate) fn is_connected() -> Error {
    Error::fixed(io::ErrorKind::InvalidInput, "ERR_SOCKET_DGRAM_IS_CONNECTED", "Already connected")
}

pub(crate) fn not_connected() -> Error {
    Error::fixed(io::ErrorKind::NotConnected, "ERR_SOCKET_DGRAM_NOT_CONNECTED", "Not connected")
}

/// Calls again if a signal got in the way.
fn uninterrupted(call: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent,
        }
    }
}
