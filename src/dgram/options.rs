use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Type};

use super::settings;
use super::socket::Socket;
use crate::address::{Address, Endpoint, Family, Target, resolve};
use crate::block_list::BlockList;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::report::{Report, Reporter};
use crate::running::{NAME, check_name};
use crate::sys;

/// What a receive buffer is asked to hold unless one says otherwise. At 200,000 datagrams a second the usual default of
/// 208 KiB lost a third of them, this lost none.
pub(super) const RECV_BUFFER: usize = 4 << 20;

/// The least a send buffer must hold so that the largest datagram can be sent. It is less by default on macOS.
const SEND_BUFFER: usize = 65_535;

/// How a [`Socket`] is to be made, and then [`bind`](SocketOptions::bind) makes it.
///
/// ```
/// use landline::dgram::SocketOptions;
///
/// let socket = SocketOptions::udp6().ipv6_only(true).ttl(8).bind("[::1]:0")?;
/// assert_eq!(socket.address().ip(), Some("::1".parse().unwrap()));
/// # Ok::<(), landline::Error>(())
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "createSocket")]
pub struct SocketOptions {
    family: Family,
    pub(super) reuse_address: bool,
    reuse_port: bool,
    ipv6_only: bool,
    pub(super) recv_buffer_size: Option<usize>,
    pub(super) send_buffer_size: Option<usize>,
    pub(super) ttl: Option<u32>,
    pub(super) broadcast: Option<bool>,
    pub(super) multicast_ttl: Option<u32>,
    pub(super) multicast_loop: Option<bool>,
    pub(super) stack_size: Option<usize>,
    pub(super) thread_name: Cow<'static, str>,
    pub(super) receive_block_list: Option<BlockList>,
    pub(super) send_block_list: Option<BlockList>,
    pub(super) cancel: Option<Cancel>,
    pub(super) reporter: Reporter,
}

impl SocketOptions {
    /// A socket for IPv4.
    pub fn udp4() -> SocketOptions {
        SocketOptions {
            family: Family::Ipv4,
            reuse_address: false,
            reuse_port: false,
            ipv6_only: false,
            recv_buffer_size: None,
            send_buffer_size: None,
            ttl: None,
            broadcast: None,
            multicast_ttl: None,
            multicast_loop: None,
            stack_size: None,
            thread_name: NAME.into(),
            receive_block_list: None,
            send_block_list: None,
            cancel: None,
            reporter: Reporter::default(),
        }
    }

    /// A socket for IPv6, and for IPv4 too where it is bound to `::`, unless [`ipv6_only`](Self::ipv6_only) is set.
    /// IPv4 peers show their IPv4 address.
    pub fn udp6() -> SocketOptions {
        SocketOptions { family: Family::Ipv6, ..SocketOptions::udp4() }
    }

    /// Lets several sockets that all ask for it have one address: `SO_REUSEADDR`, with `SO_REUSEPORT` on macOS and the
    /// BSDs. Each of them gets every multicast and broadcast datagram, but only one of them the others; on Linux the
    /// last one bound. Default: no.
    #[doc(alias = "reuseAddr")]
    pub fn reuse_address(mut self, reuse: bool) -> SocketOptions {
        self.reuse_address = reuse;
        self
    }

    /// Lets several sockets that all ask for it, of one user, share one address, so that each peer is served by one of
    /// them: `SO_REUSEPORT`. [`bind`](Self::bind) fails with `ENOTSUP` where there is no such thing, as on Windows.
    /// Default: no.
    #[doc(alias = "reusePort")]
    pub fn reuse_port(mut self, reuse: bool) -> SocketOptions {
        self.reuse_port = reuse;
        self
    }

    /// Keeps a socket bound to `::` from taking IPv4's port as well: `IPV6_V6ONLY`. Default: no.
    #[doc(alias = "ipv6Only")]
    pub fn ipv6_only(mut self, only: bool) -> SocketOptions {
        self.ipv6_only = only;
        self
    }

    /// How many bytes the system may keep until they are received: `SO_RCVBUF`. The system may grant less without
    /// saying so; [`Socket::recv_buffer_size`] tells. Default: 4 MiB, or as much of it as the
    /// system grants.
    #[doc(alias = "recvBufferSize")]
    pub fn recv_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// How many bytes the system may keep until they are sent: `SO_SNDBUF`. Default: the system's, or 65,535 where that
    /// is less.
    #[doc(alias = "sendBufferSize")]
    pub fn send_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// How many routers a datagram may pass, 1 to 255: `IP_TTL`, `IPV6_UNICAST_HOPS`. Default: the system's, mostly 64.
    pub fn ttl(mut self, hops: u32) -> SocketOptions {
        self.ttl = Some(hops);
        self
    }

    /// Allows sending to broadcast addresses: `SO_BROADCAST`. Default: no.
    pub fn broadcast(mut self, allow: bool) -> SocketOptions {
        self.broadcast = Some(allow);
        self
    }

    /// The stack of the thread that [`SocketCallbacks::spawn`](super::SocketCallbacks::spawn) or
    /// [`Socket::events`] starts, in bytes. Default: std's, 2 MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> SocketOptions {
        self.stack_size = bytes.into();
        self
    }

    /// What the name of that thread begins with; behind it stands `recv` and the socket's address. Default: `landline`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> SocketOptions {
        self.thread_name = name.into();
        self
    }

    /// Datagrams from these addresses are thrown away unseen. The rules may be changed while the socket is in use. Default:
    /// none.
    #[doc(alias = "receiveBlockList")]
    pub fn receive_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.receive_block_list = Some(list.clone());
        self
    }

    /// Sending or connecting to these addresses is an error, `ERR_IP_BLOCKED`, and nothing is sent; to a wildcard, if the
    /// loopback address that is meant is one of them. The rules may be changed while the socket is in use, and hold for
    /// the peer of a connected one. Default: none.
    #[doc(alias = "sendBlockList")]
    pub fn send_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.send_block_list = Some(list.clone());
        self
    }

    /// Lets `cancel` close the socket, as [`close`](Socket::close) does. If it was fired before, the socket is closed as
    /// soon as it is bound. Default: none.
    #[doc(alias = "signal")]
    pub fn cancel(mut self, cancel: &Cancel) -> SocketOptions {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Calls `hook` for whatever happens to the socket: an error of receiving, closing, closed. Printed, each
    /// [`Report`] is a line of a log. Default: none.
    pub fn report(mut self, hook: impl Fn(&Report) + Send + Sync + 'static) -> SocketOptions {
        self.reporter = Reporter::new(hook);
        self
    }

    /// Makes the socket and binds it, bind(2). Port 0 has the system choose a free one. A bare port is on every
    /// interface; a name is looked up, which blocks as long as the resolver does.
    ///
    /// # Errors
    /// `EADDRINUSE` if another socket has the address, `EADDRNOTAVAIL` if this machine has no such address, `EACCES`
    /// for a port that is reserved, `EINVAL` for an address of the other family, `ENOTFOUND` for an unknown name;
    /// `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_VALUE` and `ERR_SOCKET_BAD_BUFFER_SIZE` name an option that cannot be.
    pub fn bind(&self, at: impl Into<Endpoint>) -> Result<Socket> {
        self.check()?;
        let mut failed = Vec::new();
        for at in self.candidates(at.into().target()?)? {
            match self.open(at) {
                Ok(socket) => return Socket::new(socket, self.clone(), false),
                Err(error) => failed.push(error),
            }
        }
        Err(failed.swap_remove(0))
    }

    /// Takes a socket over that exists already and is bound, such as a [`std::net::UdpSocket`] or one that a service
    /// manager has passed on. Its family is its own; of the options only those are applied that were set.
    ///
    /// Somebody else may still have it, in this process or another. So it is never shut down: [`close`](Socket::close)
    /// wakes its receivers by sending empty datagrams to itself, of which one may be left for the others, and closes
    /// this descriptor alone. But settings are one for all. That includes the timeout that
    /// [`recv_timeout`](Socket::recv_timeout) sets, and one of 10 ms that it has all the time while it is connected,
    /// since nothing else could wake its receivers then; when closed it has the one it came with. Nobody else should
    /// shut it down while it is in use: std's receive is not prepared for that. Our descriptor is not passed on to
    /// programs that are started (close-on-exec).
    ///
    /// # Errors
    /// `ERR_INVALID_FD_TYPE` if it is no UDP socket, `ERR_INVALID_ARG_VALUE` if it is not bound or is in non-blocking
    /// mode, which is not changed because that too is shared: call `set_nonblocking(false)` first.
    #[doc(alias = "fd")]
    pub fn adopt(&self, socket: impl Into<sys::OwnedHandle>) -> Result<Socket> {
        self.check()?;
        let socket = socket2::Socket::from(socket.into());
        let at = socket.local_addr().map_err(|error| Error::call("getsockname", &error))?;
        let is_datagram = socket.r#type().is_ok_and(|kind| kind == Type::DGRAM);
        let at = match at.as_socket() {
            Some(at) if is_datagram => at,
            at => {
                let kind = if at.is_some() { "TCP" } else { "UNKNOWN" };
                return Err(Error::invalid("ERR_INVALID_FD_TYPE", format!("Unsupported fd type: {kind}")));
            }
        };
        if at.port() == 0 {
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", "The socket to adopt is not bound"));
        }
        if sys::is_nonblocking(&socket).map_err(|error| Error::call("open", &error))? {
            let text = "The socket to adopt is in non-blocking mode: call set_nonblocking(false) first";
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text));
        }
        sys::close_on_exec(&socket).map_err(|error| Error::call("open", &error))?;
        let socket = UdpSocket::from(socket);
        self.apply(&socket, at.is_ipv6())?;
        let mut options = self.clone();
        options.family = Address::from(at).family();
        Socket::new(socket, options, true)
    }

    /// A socket with these options, bound.
    pub(super) fn open(&self, at: SocketAddr) -> Result<UdpSocket> {
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
        socket.bind(&at.into()).map_err(failed)?;
        let socket = UdpSocket::from(socket);
        self.apply(&socket, at.is_ipv6())?;
        Ok(socket)
    }

    /// Sets what can be set on a bound socket as well, as far as somebody asked for it.
    fn apply(&self, socket: &UdpSocket, v6: bool) -> Result<()> {
        if let Some(bytes) = self.recv_buffer_size {
            settings::recv_buffer_size(socket, bytes)?;
        }
        if let Some(bytes) = self.send_buffer_size {
            settings::send_buffer_size(socket, bytes)?;
        }
        if let Some(hops) = self.ttl {
            settings::ttl(socket, v6, hops)?;
        }
        if let Some(allow) = self.broadcast {
            settings::broadcast(socket, allow)?;
        }
        if let Some(hops) = self.multicast_ttl {
            settings::multicast_ttl(socket, v6, hops)?;
        }
        if let Some(on) = self.multicast_loop {
            settings::multicast_loop(socket, v6, on)?;
        }
        Ok(())
    }

    /// Whether every option can be, before there is a socket.
    fn check(&self) -> Result<()> {
        check_name(&self.thread_name)?;
        self.recv_buffer_size.map_or(Ok(()), settings::check_buffer_size)?;
        self.send_buffer_size.map_or(Ok(()), settings::check_buffer_size)?;
        match self.ttl {
            Some(hops) if !(1..=255).contains(&hops) => Err(Error::option("ttl", ">= 1 and <= 255", hops)),
            _ => Ok(()),
        }
    }

    /// Where to bind, in the order to try; at least one.
    fn candidates(&self, at: Target) -> Result<Vec<SocketAddr>> {
        let any: IpAddr = match self.family {
            Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        match at {
            Target::Port(port) => Ok(vec![(any, port).into()]),
            Target::Ip(at) if at.is_ipv4() == any.is_ipv4() => Ok(vec![at]),
            Target::Ip(at) => Err(Error::coded("bind", io::ErrorKind::InvalidInput, "EINVAL").at(at)),
            Target::Name { host, port } => resolve(&host, port, Some(self.family)),
            Target::Path(_) => Err(no_path()),
            Target::Invalid(error) => Err(error),
        }
    }
}

/// Whether an IPv6 socket reaches IPv4 too.
pub(super) fn is_dual_stack(socket: &UdpSocket) -> bool {
    SockRef::from(socket).only_v6().is_ok_and(|only| !only)
}

pub(super) fn no_path() -> Error {
    Error::invalid("ERR_INVALID_ARG_VALUE", "The endpoint of a datagram socket is an address or a name, not a path")
}
