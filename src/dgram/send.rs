use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use socket2::{SockAddr, SockRef};

use crate::address::{Family, canonical};
use crate::dgram::bind::no_path;
use crate::dgram::shared::{Open, not_running};
use crate::dgram::socket::Socket;
use crate::dgram::udp::{is_unreachable, source_for};
use crate::dgram::wake::is_same;
use crate::endpoint::{Endpoint, Target, loopback, reachable, resolve};
use crate::error::{Error, Result};
use crate::sys;

impl Socket {
    /// Sends one datagram of bytes or text, sendto(2), and returns its size. If `data` is empty, the datagram is empty.
    ///
    /// How each form of `to` is understood:
    /// - A bare port means this machine. On an IPv4 socket it is `127.0.0.1`, on an IPv6 socket `::1`.
    /// - The wildcard `::` also means this machine, in the socket's family. `0.0.0.0` means `127.0.0.1`.
    /// - A name is looked up for each send, which blocks as long as the resolver does.
    /// - An address needs no look-up and allocates no memory.
    /// - Of a list, the first address of the socket's family is used.
    ///
    /// A socket that reaches both families differs:
    /// - A bare port means `127.0.0.1`, where most programs listen. For a name, IPv4 addresses are preferred. With
    ///   [`udp6`](super::SocketOptions::udp6), an IPv6 address is preferred in both cases if this machine can send to
    ///   it.
    /// - The wildcard `::` means `::1` if this machine has that address.
    /// - Of a list, the first address that this machine has a route to is used.
    ///
    /// `send_to` hardly ever blocks. It does while the send buffer is full, for example because the next machine on the
    /// way does not answer. On Linux, [`close`](Socket::close) ends a blocked send. `Ok` means neither that the
    /// datagram arrived nor that a program listens at the address.
    ///
    /// ```
    /// use landline::dgram::Socket;
    ///
    /// let server = Socket::bind("127.0.0.1:0")?;
    /// let client = Socket::bind("127.0.0.1:0")?;
    /// client.send_to(b"message of the client", server.address())?;
    ///
    /// let mut buffer = [0; 100];
    /// let (message, from) = server.recv(&mut buffer)?.expect("it is open");
    /// assert_eq!(message, b"message of the client");
    /// let sent = server.send_to("hello, I am the server", &from)?;
    /// assert_eq!(sent, 22);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// On every error nothing was sent.
    /// - `EMSGSIZE` for more than 65,507 bytes over IPv4, or 65,527 over IPv6
    /// - `EINVAL` for an address of the other family
    /// - `ERR_SOCKET_BAD_PORT` for port 0
    /// - `EACCES` for a broadcast address without [`set_broadcast`](Socket::set_broadcast)
    /// - `ENETUNREACH` if there is no route
    /// - `ENOTFOUND` for an unknown name
    /// - `ERR_SOCKET_DGRAM_IS_CONNECTED` if the socket has a peer with a different address
    /// - `ERR_IP_BLOCKED` for an address on the [block list](super::SocketOptions::send_block_list)
    /// - `ERR_SOCKET_DGRAM_NOT_RUNNING` once the socket is closed
    pub fn send_to(&self, data: impl AsRef<[u8]>, to: impl Into<Endpoint>) -> io::Result<usize> {
        self.transmit(Data::One(data.as_ref()), &to.into())
    }

    /// Sends one datagram made of several slices, sendmsg(2), without copying them together first. Otherwise it is like
    /// [`send_to`](Socket::send_to). There may be at most 1,024 slices. With no slice the datagram is empty.
    ///
    /// # Errors
    /// The errors of [`send_to`](Socket::send_to).
    pub fn send_vectored_to(&self, data: &[IoSlice<'_>], to: impl Into<Endpoint>) -> io::Result<usize> {
        self.transmit(Data::Several(data), &to.into())
    }

    /// Sends one datagram to the peer of a connected socket, send(2), and returns its size. `send` hardly ever blocks.
    ///
    /// # Errors
    /// On every error nothing was sent.
    /// - `ERR_SOCKET_DGRAM_NOT_CONNECTED` if the socket has no peer
    /// - `ECONNREFUSED` if no program was listening for an earlier datagram. One receive or send returns this error,
    ///   once. Send again.
    /// - `EMSGSIZE`, `ENETUNREACH`, `ERR_IP_BLOCKED` and `ERR_SOCKET_DGRAM_NOT_RUNNING` as in
    ///   [`send_to`](Socket::send_to)
    pub fn send(&self, data: impl AsRef<[u8]>) -> io::Result<usize> {
        self.transmit_to_peer(Data::One(data.as_ref()))
    }

    /// Sends one datagram made of several slices, at most 1,024, to the peer of a connected socket, sendmsg(2).
    ///
    /// # Errors
    /// The errors of [`send`](Socket::send).
    pub fn send_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.transmit_to_peer(Data::Several(data))
    }

    /// Sends to an address. If the socket is connected to that address, it uses send(2), because some systems then
    /// accept no other call.
    fn transmit(&self, data: Data<'_>, to: &Endpoint) -> io::Result<usize> {
        let found;
        let to = match &to.0 {
            Target::Ip(at) if self.takes(at) => at,
            target => {
                found = self.destination("send", target)?;
                &found
            }
        };
        let open = self.open()?;
        let by_address = if open.peer.exists() && goes_to_peer(&open, *to)? { None } else { Some(to) };
        data.send(&open, by_address).map_err(|error| self.failed_to_send(&error, *to).into())
    }

    fn transmit_to_peer(&self, data: Data<'_>) -> io::Result<usize> {
        let open = self.open()?;
        let peer = open.peer.get().ok_or_else(not_connected)?;
        self.check_blocked(peer)?;
        let by_address = if open.peer.is_connected() { None } else { Some(&peer) };
        data.send(&open, by_address).map_err(|error| self.failed_to_send(&error, peer).into())
    }

    /// `close` connects the socket to its waker, and shuts it down for sending. A send in progress may get an error
    /// from that.
    #[cold]
    fn failed_to_send(&self, error: &io::Error, to: SocketAddr) -> Error {
        if self.0.is_closed() { not_running() } else { Error::call("send", error).at(to) }
    }

    /// Whether an address can be passed to the system unchanged. Nearly every datagram takes this path. The general
    /// path, [`destination`](Socket::destination), takes three times as long.
    #[inline]
    fn takes(&self, at: &SocketAddr) -> bool {
        match at {
            SocketAddr::V4(at) if !self.0.v6 && self.0.send_block_list.is_none() => {
                at.port() != 0 && !at.ip().is_unspecified()
            }
            _ => false,
        }
    }

    /// The address to pass to the system for an endpoint. It is of the socket's family, and can be sent to.
    pub(crate) fn destination(&self, call: &'static str, to: &Target) -> Result<SocketAddr> {
        let port = match to {
            Target::Port(port) | Target::Name { port, .. } => *port,
            Target::Ip(at) => at.port(),
            Target::Several(_) | Target::Path(_) | Target::Invalid(_) => 1,
        };
        if port == 0 {
            return Err(Error::invalid("ERR_SOCKET_BAD_PORT", "Port should be > 0 and < 65536. Received 0."));
        }
        let at = match to {
            // `::` means every address of this machine, in both families.
            Target::Ip(at) if at.ip().is_unspecified() && at.is_ipv6() => {
                self.check_blocked(*at)?;
                (self.this_machine(), port).into()
            }
            Target::Ip(at) => *at,
            Target::Port(_) if self.0.prefers_v4 => (loopback(Family::Ipv4), port).into(),
            Target::Port(_) => (self.this_machine(), port).into(),
            Target::Name { host, .. } => self.look_up(host, port)?,
            Target::Several(list) => return self.destination(call, &Target::Ip(self.first_in_reach(list))),
            Target::Path(_) => return Err(no_path()),
            Target::Invalid(error) => return Err(error.clone()),
        };
        self.check_blocked(at)?;
        match canonical(reachable(at)) {
            at if !self.reaches(&at) => Err(Error::coded(call, io::ErrorKind::InvalidInput, "EINVAL").at(at)),
            SocketAddr::V4(at) if self.0.v6 => Ok((at.ip().to_ipv6_mapped(), port).into()),
            at => Ok(at),
        }
    }

    /// Returns an error if the address is on the block list. For a wildcard, it checks the address of this machine.
    fn check_blocked(&self, at: SocketAddr) -> Result<()> {
        match &self.0.send_block_list {
            Some(list) if list.check(at.ip()) || list.check(reachable(at).ip()) => {
                let text = format!("IP({}) is blocked by net.BlockList", at.ip().to_canonical());
                Err(Error::fixed(io::ErrorKind::PermissionDenied, "ERR_IP_BLOCKED", text).at(at))
            }
            _ => Ok(()),
        }
    }

    /// Whether the address is of a family that the socket reaches.
    fn reaches(&self, at: &SocketAddr) -> bool {
        self.0.only.is_none_or(|only| (only == Family::Ipv6) == at.is_ipv6())
    }

    /// The address that a bare port or the wildcard means. If this machine has no IPv6 address, a socket that reaches
    /// both families uses IPv4.
    fn this_machine(&self) -> IpAddr {
        if let Some(only) = self.0.only {
            return loopback(only);
        }
        *self.0.this_machine.get_or_init(|| {
            let v6 = loopback(Family::Ipv6);
            if can_be_sent_to((v6, DISCARD).into()) { v6 } else { loopback(Family::Ipv4) }
        })
    }

    /// The first address of a list that the socket can send to. If there is none, the first of the list.
    fn first_in_reach(&self, list: &[SocketAddr]) -> SocketAddr {
        let is_in_reach = |at: &&SocketAddr| match self.0.only {
            Some(_) => self.reaches(at),
            None => can_be_sent_to(**at),
        };
        *list.iter().find(is_in_reach).unwrap_or(&list[0])
    }

    /// The first address of a name that the socket can send to. A socket that reaches both families first tries the
    /// addresses of the family that it prefers.
    fn look_up(&self, host: &str, port: u16) -> Result<SocketAddr> {
        let found = resolve(host, port, self.0.only)?;
        let in_reach = |v4| found.iter().find(|at| at.is_ipv4() == v4 && can_be_sent_to(**at));
        let prefers_v4 = self.0.prefers_v4;
        let in_reach = || in_reach(prefers_v4).or_else(|| in_reach(!prefers_v4));
        let chosen = if self.0.only.is_none() { in_reach() } else { None };
        chosen.or(found.first()).copied().ok_or_else(|| Error::not_found(host))
    }
}

/// Whether a socket sends to its peer without an address. An error if it has a peer and `to` is not that peer.
#[cold]
fn goes_to_peer(open: &Open, to: SocketAddr) -> Result<bool> {
    if open.peer.get().is_some_and(|peer| !is_same(peer, to)) {
        Err(is_connected())
    } else {
        Ok(open.peer.is_connected())
    }
}

/// Whether the system says that there is a route to an address.
fn can_be_sent_to(at: SocketAddr) -> bool {
    !source_for(at).is_err_and(|error| is_unreachable(&error))
}

/// A port for checking a route. Any port would do.
const DISCARD: u16 = 9;

pub(crate) fn is_connected() -> Error {
    Error::fixed(io::ErrorKind::InvalidInput, "ERR_SOCKET_DGRAM_IS_CONNECTED", "Already connected")
}

pub(crate) fn not_connected() -> Error {
    Error::fixed(io::ErrorKind::NotConnected, "ERR_SOCKET_DGRAM_NOT_CONNECTED", "Not connected")
}

/// The bytes of one datagram.
#[derive(Clone, Copy)]
enum Data<'a> {
    One(&'a [u8]),
    Several(&'a [IoSlice<'a>]),
}

impl Data<'_> {
    /// Sends to an address, or to the socket's peer if `to` is `None`. After a signal it sends again.
    #[inline(always)]
    fn send(self, open: &Open, to: Option<&SocketAddr>) -> io::Result<usize> {
        let socket = &open.socket;
        loop {
            let sent = match (self, to) {
                (Data::One(bytes), Some(to)) => socket.send_to(bytes, to),
                (Data::One(bytes), None) => socket.send(bytes),
                (Data::Several(slices), Some(to)) => {
                    SockRef::from(socket).send_to_vectored(slices, &SockAddr::from(*to))
                }
                (Data::Several(slices), None) => SockRef::from(socket).send_vectored(slices),
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another thread's receive has made the socket non-blocking for a moment.
                Err(error)
                    if sys::RECEIVES_CHANGE_THE_MODE && !open.adopted && error.kind() == io::ErrorKind::WouldBlock =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                sent => return sent,
            }
        }
    }
}
