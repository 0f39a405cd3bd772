//! Making a socket: binding one, and taking over one that exists.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::Family;
use crate::dgram::options::{RECV_BUFFER, SEND_BUFFER, SocketOptions};
use crate::dgram::shared::Origin;
use crate::dgram::socket::Socket;
use crate::dgram::udp;
use crate::endpoint::{Endpoint, Target, first_of, has_no_dual_stack, has_zone, resolve};
use crate::error::{Error, Result};
use crate::sys;

impl SocketOptions {
    /// Makes the socket and binds it, bind(2). Port 0 has the system choose a free one. A bare port is on every
    /// interface; a name is looked up, which blocks as long as the resolver does. Of a list, the first address that can
    /// be bound counts.
    ///
    /// # Errors
    /// `EADDRINUSE` if another socket has the address, `EADDRNOTAVAIL` if this machine has no such address, `EACCES`
    /// for a port that is reserved, `EINVAL` for an address of the other family, `ENOTFOUND` for an unknown name;
    /// `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_VALUE` and `ERR_SOCKET_BAD_BUFFER_SIZE` name an option that cannot be.
    pub fn bind(&self, at: impl Into<Endpoint>) -> io::Result<Socket> {
        self.check()?;
        match at.into().target()? {
            Target::Port(port) => Ok(self.bind_everywhere(port)?),
            Target::Ip(at) => Ok(self.bind_to(at)?),
            Target::Name { host, port } => Ok(first_of(&self.look_up(&host, port)?, |at| self.bind_to(at))?),
            Target::Several(list) => Ok(first_of(&list, |at| self.bind_to(at))?),
            Target::Path(_) => Err(no_path().into()),
            Target::Invalid(error) => Err(error.into()),
        }
    }

    /// Takes over a socket of this program's own, which no other process and no other part of this one has: a
    /// [`std::net::UdpSocket`], on Unix an `OwnedFd` too. It is a socket like one that [`bind`](Self::bind) makes. A
    /// socket that others have too, such as a service manager or a parent process, is [adopted](Self::adopt) instead.
    ///
    /// It is made blocking, without timeouts of its own, and is not passed on to programs that are started
    /// (close-on-exec). A peer that it has is kept. Of the options only those are applied that were set, and its family
    /// is its own. [`disconnect`](Socket::disconnect) is not possible.
    ///
    /// With the default options, [`Socket::from`] is the same and cannot fail.
    ///
    /// ```
    /// use landline::dgram::{Socket, SocketOptions};
    /// use std::net::UdpSocket;
    ///
    /// let socket = SocketOptions::new().ttl(8).own(UdpSocket::bind("127.0.0.1:0")?)?;
    /// Socket::bind("127.0.0.1:0")?.send_to(b"hello", socket.address())?;
    /// let mut buffer = [0; 100];
    /// let (bytes, _) = socket.recv(&mut buffer)?.expect("the socket is open");
    /// assert_eq!(bytes, b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ERR_INVALID_FD_TYPE` if it is no UDP socket, `ERR_INVALID_ARG_VALUE` if it is not bound, or not of the family
    /// of the options. `ERR_OUT_OF_RANGE` and others name an option that cannot be.
    #[doc(alias = "from_std")]
    pub fn own(&self, socket: impl Into<sys::OwnedHandle>) -> io::Result<Socket> {
        let (socket, at) = self.given(socket.into())?;
        let socket = alone(socket);
        self.apply(&socket, at.is_ipv6())?;
        Ok(Socket::new(socket, at, self.clone(), Origin::Owned))
    }

    /// Takes over a socket that others may still have, in this process or another, such as one that a service manager
    /// has passed on: a [`std::net::UdpSocket`], on Unix an `OwnedFd` too. One that this program alone has is better
    /// [owned](Self::own). Its family is its own; of the options only those are applied that were set.
    ///
    /// Since others may have it, it is never shut down and never connected: [`connect`](Socket::connect) gives it a
    /// peer that this program alone sees to. [`close`](Socket::close) closes this descriptor alone. It wakes the
    /// receivers by empty datagrams that the socket is sent from this machine, of which some may be left for the
    /// others.
    ///
    /// That is done only where the datagrams are expected to reach this socket and no other. They are not:
    /// - where it has `SO_REUSEADDR` or `SO_REUSEPORT`, as those of systemd have, or is bound to a group;
    /// - where it came with a peer;
    /// - where it is bound to a device (`SO_BINDTODEVICE`), or to an address that this machine does not have;
    /// - where another network namespace made it, or /proc cannot be read.
    ///
    /// There it has a receive timeout of 500 ms instead, and `close` takes as long. The others see that timeout, since
    /// it belongs to the socket: their receives fail with `EAGAIN`. It is not taken off at the end. Elsewhere the
    /// timeout is what the giver has set, but while [`recv_timeout`](Socket::recv_timeout) waits, and one descriptor
    /// more is open. Other settings are one for all, too. No other owner should shut the socket down while it is in
    /// use: std's receive is not prepared for that. Made non-blocking by another owner, the socket is looked at every 2
    /// to 16 ms. Our descriptor is not passed on to programs that are started (close-on-exec).
    ///
    /// # Errors
    /// `ERR_INVALID_FD_TYPE` if it is no UDP socket, `ERR_INVALID_ARG_VALUE` if it is not bound, is not of the family
    /// of the options, or is in non-blocking mode, which is not changed because that too is shared: call
    /// `set_nonblocking(false)` first.
    #[doc(alias = "fd")]
    pub fn adopt(&self, socket: impl Into<sys::OwnedHandle>) -> io::Result<Socket> {
        let (socket, at) = self.given(socket.into())?;
        if sys::is_nonblocking(&socket).map_err(|error| Error::call("open", &error))? {
            let text = "The socket to adopt is in non-blocking mode: call set_nonblocking(false) first";
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text).into());
        }
        sys::close_on_exec(&socket).map_err(|error| Error::call("open", &error))?;
        let socket = UdpSocket::from(socket);
        self.apply(&socket, at.is_ipv6())?;
        Ok(Socket::new(socket, at, self.clone(), Origin::Adopted))
    }

    /// A UDP socket that exists already, and is bound, with its address.
    fn given(&self, socket: sys::OwnedHandle) -> Result<(socket2::Socket, SocketAddr)> {
        self.check()?;
        let socket = socket2::Socket::from(socket);
        let is = |kind| socket.r#type().is_ok_and(|known| known == kind);
        // It fails where the descriptor is none of a socket.
        let at = match socket.local_addr().ok().and_then(|at| at.as_socket()) {
            Some(at) if is(Type::DGRAM) && sys::is_udp(&socket) => at,
            at => {
                let kind = if at.is_some() && is(Type::STREAM) { "TCP" } else { "UNKNOWN" };
                return Err(Error::invalid("ERR_INVALID_FD_TYPE", format!("Unsupported fd type: {kind}")));
            }
        };
        if at.port() == 0 {
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", "The socket is not bound"));
        }
        let family = if at.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 };
        if let Some(asked) = self.family.filter(|asked| *asked != family) {
            let text = format!("The socket is of {family}, and the options are for {asked}: use SocketOptions::new()");
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text));
        }
        Ok((socket, at))
    }

    /// A socket with these options, bound.
    fn open(&self, at: SocketAddr) -> Result<UdpSocket> {
        let socket = self.prepare(at)?;
        self.bind_prepared(&socket, at)?;
        Ok(socket)
    }

    /// A socket with what has to be set before it is bound. It runs code of the program's.
    pub(crate) fn prepare(&self, at: SocketAddr) -> Result<UdpSocket> {
        let failed = |error: io::Error| Error::call("bind", &error).at(at);
        let socket = socket2::Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP)).map_err(failed)?;
        if at.is_ipv6() {
            // Said explicitly, since systems have different defaults. OpenBSD knows no other way and refuses to be
            // asked.
            match socket.set_only_v6(self.ipv6_only) {
                Err(error) if self.ipv6_only => return Err(failed(error)),
                _ => {}
            }
        }
        if self.reuse_address {
            sys::share_address(&socket, true).map_err(failed)?;
        }
        if self.reuse_port {
            sys::reuse_port(&socket).map_err(failed)?;
        }
        if self.recv_buffer_size.is_none() {
            // Some systems clip what is too much, others refuse it.
            let mut size = RECV_BUFFER;
            while socket.set_recv_buffer_size(size).is_err() && size > 65_536 {
                size /= 2;
            }
        }
        if self.send_buffer_size.is_none() && socket.send_buffer_size().is_ok_and(|size| size < SEND_BUFFER) {
            // Refused, it leaves what there was, and the sends that are too large say so.
            let _ = socket.set_send_buffer_size(SEND_BUFFER);
        }
        self.before_bind.run(&socket).map_err(|error| error.at(at))?;
        Ok(socket.into())
    }

    /// Binds it, and sets what else is asked for.
    pub(crate) fn bind_prepared(&self, socket: &UdpSocket, at: SocketAddr) -> Result<()> {
        SockRef::from(socket).bind(&at.into()).map_err(|error| Error::call("bind", &error).at(at))?;
        self.apply(socket, at.is_ipv6())
    }

    /// Sets what can be set on a bound socket as well, as far as the options ask for it.
    fn apply(&self, socket: &UdpSocket, v6: bool) -> Result<()> {
        if let Some(bytes) = self.recv_buffer_size {
            udp::recv_buffer_size(socket, bytes)?;
        }
        if let Some(bytes) = self.send_buffer_size {
            udp::send_buffer_size(socket, bytes)?;
        }
        if let Some(hops) = self.ttl {
            udp::ttl(socket, v6, hops)?;
        }
        if let Some(allow) = self.broadcast {
            udp::broadcast(socket, allow)?;
        }
        if let Some(hops) = self.multicast_ttl {
            udp::multicast_ttl(socket, v6, hops)?;
        }
        if let Some(on) = self.multicast_loop {
            udp::multicast_loop(socket, v6, on)?;
        }
        Ok(())
    }

    /// Binds to every interface: a socket of both families, unless one is asked for, or one of IPv4 where the system
    /// has none that reaches both.
    fn bind_everywhere(&self, port: u16) -> Result<Socket> {
        let (v6, v4) = ((Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into());
        match self.family {
            Some(Family::Ipv6) => self.bind_to(v6),
            Some(_) => self.bind_to(v4),
            None => match self.open(v6) {
                // It sends by IPv4 where there is a choice.
                Ok(socket) if udp::is_dual_stack(&socket) => {
                    SocketOptions { family: Some(Family::Ipv4), ..self.clone() }.made(socket)
                }
                Ok(socket) if self.ipv6_only => self.made(socket),
                Err(error) if self.ipv6_only || !has_no_dual_stack(&error) => Err(error),
                _ => self.bind_to(v4),
            },
        }
    }

    fn bind_to(&self, at: SocketAddr) -> Result<Socket> {
        self.made(self.open(self.of_family(at)?)?)
    }

    fn made(&self, socket: UdpSocket) -> Result<Socket> {
        let local = socket.local_addr().map_err(|error| Error::call("getsockname", &error))?;
        Ok(Socket::new(socket, local, self.clone(), Origin::Made))
    }

    /// The address as a socket of the family has it that is asked for; an error if it is of the other one.
    fn of_family(&self, at: SocketAddr) -> Result<SocketAddr> {
        match (self.family, at.ip().to_canonical()) {
            (Some(Family::Ipv6), _) if at.is_ipv6() => Ok(at),
            // An IPv4 address in IPv6's form means the IPv4 address; a socket of IPv6 has no other form for it.
            (None | Some(Family::Ipv4), ip) if ip.is_ipv4() => Ok((ip, at.port()).into()),
            (None, _) => Ok(at),
            _ => Err(Error::coded("bind", io::ErrorKind::InvalidInput, "EINVAL").at(at)),
        }
    }

    /// The addresses of a name, of the family that is asked for, or else of IPv4 if it has any.
    fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>> {
        match resolve(host, port, self.family.or((!has_zone(host)).then_some(Family::Ipv4))) {
            Err(error) if self.family.is_none() && error.kind() == io::ErrorKind::NotFound => {
                resolve(host, port, Some(Family::Ipv6))
            }
            found => found,
        }
    }
}

impl From<UdpSocket> for Socket {
    /// Takes over a socket of std's that this program alone has, as [`SocketOptions::own`] does, with the default
    /// options.
    fn from(socket: UdpSocket) -> Socket {
        let socket = alone(socket.into());
        let local = socket.local_addr().unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into());
        Socket::new(socket, local, SocketOptions::new(), Origin::Owned)
    }
}

/// Makes a socket that this program alone has block, and for as long as it takes, and keeps it from programs that are
/// started. What fails here makes the first receive or send fail.
fn alone(socket: socket2::Socket) -> UdpSocket {
    let _ = sys::close_on_exec(&socket);
    let _ = socket.set_nonblocking(false);
    let _ = socket.set_read_timeout(None);
    let _ = socket.set_write_timeout(None);
    socket.into()
}

pub(crate) fn no_path() -> Error {
    Error::invalid("ERR_INVALID_ARG_VALUE", "The endpoint of a datagram socket is an address or a name, not a path")
}
