//! Binding a socket, and taking over one that exists.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::Family;
use crate::dgram::options::{RECV_BUFFER, SEND_BUFFER, SocketOptions};
use crate::dgram::shared::Origin;
use crate::dgram::socket::Socket;
use crate::dgram::udp;
use crate::endpoint::{Endpoint, Target, first_of, has_no_dual_stack, resolve};
use crate::error::{Error, Result};
use crate::sys;
use crate::zone::has_zone;

impl SocketOptions {
    /// Makes the socket and binds it, bind(2). For port 0 the system chooses a free port. A bare port is bound on every
    /// interface. A name is looked up, which blocks as long as the resolver does. The addresses of a list are tried in
    /// order, and the first that can be bound is used.
    ///
    /// # Errors
    /// - `EADDRINUSE` if another socket has the address
    /// - `EADDRNOTAVAIL` if this machine does not have the address
    /// - `EACCES` for a reserved port
    /// - `EINVAL` for an address of the other family
    /// - `ENOTFOUND` for an unknown name
    /// - `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_VALUE` and `ERR_SOCKET_BAD_BUFFER_SIZE` for an invalid option, which the
    ///   error names
    /// - `ERR_SOCKET_BUFFER_SIZE` if the system rejects the size of a buffer
    /// - `ERR_INVALID_ARG_VALUE` also for a path
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

    /// Takes over a socket that no other code uses. It may be a [`std::net::UdpSocket`], or on Unix an `OwnedFd`. The
    /// result is a socket like one that [`bind`](Self::bind) makes. If other code or another process also uses the
    /// socket, such as a service manager or a parent process, [adopt](Self::adopt) it instead.
    ///
    /// The socket is made blocking, and its timeouts are removed. It is made close-on-exec, so that programs started
    /// later do not get it. It keeps its peer and its family. Only options that were set are applied.
    /// [`disconnect`](Socket::disconnect) fails on it.
    ///
    /// [`Socket::from`] does the same with the default options and cannot fail.
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
    /// - `ERR_INVALID_FD_TYPE` if it is not a UDP socket
    /// - `ERR_INVALID_ARG_VALUE` if it is not bound, or is not of the options' family
    /// - `ERR_OUT_OF_RANGE` and others for an invalid option, which the error names
    #[doc(alias = "from_std")]
    pub fn own(&self, socket: impl Into<sys::OwnedHandle>) -> io::Result<Socket> {
        let (socket, at) = self.given(socket.into())?;
        let socket = alone(socket);
        self.apply(&socket, at.is_ipv6())?;
        Ok(Socket::new(socket, at, self.clone(), Origin::Owned))
    }

    /// Takes over a socket that others may still use, in this process or a different one, such as a socket from a
    /// service manager. It may be a [`std::net::UdpSocket`], or on Unix an `OwnedFd`. If no other code uses it,
    /// [own](Self::own) it instead. It keeps its family. Only options that were set are applied. landline's descriptor
    /// is made close-on-exec.
    ///
    /// Because others may use the socket, landline never shuts it down and never connects it.
    /// [`connect`](Socket::connect) does not call connect(2): landline itself drops the datagrams that do not come from
    /// the peer. [`close`](Socket::close) closes only landline's descriptor. To wake the receivers, `close` sends empty
    /// datagrams from this machine to the socket. Some of them may reach the other owners.
    ///
    /// `close` sends these datagrams only if they are expected to reach this socket and no other. It does not send them
    /// in these cases:
    /// - The socket has `SO_REUSEADDR` or `SO_REUSEPORT`, as systemd's sockets do, or is bound to a group.
    /// - The socket already had a peer.
    /// - The socket is bound to a device (`SO_BINDTODEVICE`), or to an address that this machine does not have.
    /// - The socket was made in a different network namespace, or /proc cannot be read.
    ///
    /// In these cases the socket gets a receive timeout of 500 ms, and `close` takes up to that long. The other owners
    /// share this timeout: their receives fail with `EAGAIN`, even after `close`. In all other cases the timeout
    /// changes only while [`recv_timeout`](Socket::recv_timeout) waits, and landline holds one more descriptor.
    ///
    /// All other settings are shared with the other owners too. No other owner should shut the socket down while it is
    /// in use, because std's receive cannot handle that. If another owner makes it non-blocking, receivers poll it
    /// every 2 to 16 ms.
    ///
    /// # Errors
    /// - `ERR_INVALID_FD_TYPE` if it is not a UDP socket
    /// - `ERR_INVALID_ARG_VALUE` if it is not bound, is not of the options' family, or is in non-blocking mode.
    ///   landline does not change that mode, because it is shared. Call `set_nonblocking(false)` first.
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

    /// Checks that a given socket is a bound UDP socket, and returns it with its address.
    fn given(&self, socket: sys::OwnedHandle) -> Result<(socket2::Socket, SocketAddr)> {
        self.check()?;
        let socket = socket2::Socket::from(socket);
        let is = |kind| socket.r#type().is_ok_and(|known| known == kind);
        // It fails if the descriptor is not a socket.
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

    /// Makes a socket with these options and binds it.
    fn open(&self, at: SocketAddr) -> Result<UdpSocket> {
        let socket = self.prepare(at)?;
        self.bind_prepared(&socket, at)?;
        Ok(socket)
    }

    /// Makes a socket with the settings that must come before bind(2). It calls the program's hook.
    pub(crate) fn prepare(&self, at: SocketAddr) -> Result<UdpSocket> {
        let failed = |error: io::Error| Error::call("bind", &error).at(at);
        let socket = socket2::Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP)).map_err(failed)?;
        if at.is_ipv6() {
            // Set explicitly, because the default differs between systems. OpenBSD has only one behaviour and rejects
            // the option.
            match socket.set_only_v6(self.ipv6_only) {
                Err(error) if self.ipv6_only && !socket.only_v6().unwrap_or(false) => return Err(failed(error)),
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
            // Some systems clip a size that is too large. Others reject it.
            let mut size = RECV_BUFFER;
            while socket.set_recv_buffer_size(size).is_err() && size > 65_536 {
                size /= 2;
            }
        }
        if self.send_buffer_size.is_none() && socket.send_buffer_size().is_ok_and(|size| size < SEND_BUFFER) {
            // If it fails, the old size stays. A send that is too large for it then fails.
            let _ = socket.set_send_buffer_size(SEND_BUFFER);
        }
        self.before_bind.run(&socket).map_err(|error| error.at(at))?;
        Ok(socket.into())
    }

    /// Binds the socket and applies the other options.
    pub(crate) fn bind_prepared(&self, socket: &UdpSocket, at: SocketAddr) -> Result<()> {
        SockRef::from(socket).bind(&at.into()).map_err(|error| Error::call("bind", &error).at(at))?;
        self.apply(socket, at.is_ipv6())
    }

    /// Applies the options that can be set on a bound socket.
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

    /// Binds every interface. If the options name no family, it makes a socket of both families, or an IPv4 socket if
    /// the system has no socket that reaches both.
    fn bind_everywhere(&self, port: u16) -> Result<Socket> {
        let (v6, v4) = ((Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into());
        match self.family {
            Some(Family::Ipv6) => self.bind_to(v6),
            Some(_) => self.bind_to(v4),
            None => match self.open(v6) {
                // Such a socket prefers IPv4 for sending.
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

    /// The address in the form of the options' family. An error if it belongs to the other family.
    fn of_family(&self, at: SocketAddr) -> Result<SocketAddr> {
        match (self.family, at.ip().to_canonical()) {
            (Some(Family::Ipv6), _) if at.is_ipv6() => Ok(at),
            // An IPv4-mapped address means the IPv4 address. An IPv6 socket has no other form for it.
            (None | Some(Family::Ipv4), ip) if ip.is_ipv4() => Ok((ip, at.port()).into()),
            (None, _) => Ok(at),
            _ => Err(Error::coded("bind", io::ErrorKind::InvalidInput, "EINVAL").at(at)),
        }
    }

    /// The addresses of a name, of the options' family. If the options name none: its IPv4 addresses, or the others if
    /// it has none.
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
    /// Takes over a std socket that no other code uses, like [`SocketOptions::own`] with the default options.
    fn from(socket: UdpSocket) -> Socket {
        let socket = alone(socket.into());
        let local = socket.local_addr().unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into());
        Socket::new(socket, local, SocketOptions::new(), Origin::Owned)
    }
}

/// Makes a socket that no other code uses blocking, without timeouts, and close-on-exec. If this fails, the first
/// receive or send fails.
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
