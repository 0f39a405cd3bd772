use std::borrow::Cow;
use std::io;

use crate::address::Family;
use crate::before_bind::BeforeBind;
use crate::block_list::BlockList;
use crate::cancel::Cancel;
use crate::dgram::udp;
use crate::error::{Error, Result};
use crate::report::{Report, Reporter};
use crate::sys;
use crate::thread::ThreadOptions;

/// The default size of the receive buffer. At 200,000 datagrams a second the usual default of 208 KiB lost a third of
/// them and this size lost none.
pub(crate) const RECV_BUFFER: usize = 4 << 20;

/// The smallest send buffer that can send the largest datagram. The default is less on macOS.
pub(crate) const SEND_BUFFER: usize = 65_535;

/// Options of a [`Socket`](crate::dgram::Socket). [`bind`](SocketOptions::bind) makes it.
///
/// ```
/// use landline::dgram::SocketOptions;
///
/// let socket = SocketOptions::udp6().ipv6_only(true).ttl(8).bind("[::1]:0")?;
/// assert_eq!(socket.address().ip(), std::net::Ipv6Addr::LOCALHOST);
/// # Ok::<(), landline::Error>(())
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "createSocket")]
pub struct SocketOptions {
    pub(crate) family: Option<Family>,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) ipv6_only: bool,
    pub(crate) recv_buffer_size: Option<usize>,
    pub(crate) send_buffer_size: Option<usize>,
    pub(crate) ttl: Option<u32>,
    pub(crate) broadcast: Option<bool>,
    pub(crate) multicast_ttl: Option<u32>,
    pub(crate) multicast_loop: Option<bool>,
    pub(crate) before_bind: BeforeBind,
    pub(crate) threads: ThreadOptions,
    pub(crate) receive_block_list: Option<BlockList>,
    pub(crate) send_block_list: Option<BlockList>,
    pub(crate) cancel: Option<Cancel>,
    pub(crate) reporter: Reporter,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions::new()
    }
}

impl SocketOptions {
    /// The defaults, which each option names. The family is that of the bound address or of the socket that is taken
    /// over. A bare port is bound for both families. A name with an IPv4 address is bound for IPv4.
    pub fn new() -> SocketOptions {
        SocketOptions {
            family: None,
            reuse_address: false,
            reuse_port: false,
            ipv6_only: false,
            recv_buffer_size: None,
            send_buffer_size: None,
            ttl: None,
            broadcast: None,
            multicast_ttl: None,
            multicast_loop: None,
            before_bind: BeforeBind::default(),
            threads: ThreadOptions::default(),
            receive_block_list: None,
            send_block_list: None,
            cancel: None,
            reporter: Reporter::default(),
        }
    }

    /// A socket for IPv4 alone.
    pub fn udp4() -> SocketOptions {
        SocketOptions { family: Some(Family::Ipv4), ..SocketOptions::new() }
    }

    /// A socket for IPv6. Bound to `::`, it is for IPv4 too, unless [`ipv6_only`](Self::ipv6_only) is set. IPv4 peers
    /// have their IPv4 address.
    pub fn udp6() -> SocketOptions {
        SocketOptions { family: Some(Family::Ipv6), ..SocketOptions::new() }
    }

    /// Lets several sockets that all set it have one address. It is `SO_REUSEADDR`, with `SO_REUSEPORT` on macOS and
    /// the BSDs. Each of them gets every multicast and broadcast datagram. Only one of them gets each other datagram,
    /// on Linux the one bound last. Default: no.
    #[doc(alias = "reuseAddr")]
    pub fn reuse_address(mut self, reuse: bool) -> SocketOptions {
        self.reuse_address = reuse;
        self
    }

    /// Lets several sockets of one user that all set it share one address, so that each peer is served by one of them.
    /// It is `SO_REUSEPORT`. [`bind`](Self::bind) fails with `ENOTSUP` if the system does not have it, as on Windows.
    /// Default: no.
    #[doc(alias = "reusePort")]
    pub fn reuse_port(mut self, reuse: bool) -> SocketOptions {
        self.reuse_port = reuse;
        self
    }

    /// Keeps a socket bound to `::` from taking IPv4's port as well. It is `IPV6_V6ONLY`. Default: no.
    #[doc(alias = "ipv6Only")]
    pub fn ipv6_only(mut self, only: bool) -> SocketOptions {
        self.ipv6_only = only;
        self
    }

    /// How many bytes the system may keep until they are received, `SO_RCVBUF`. The system may grant less without an
    /// error. [`Socket::recv_buffer_size`](crate::dgram::Socket::recv_buffer_size) has the size. Default: 4 MiB, or as
    /// much of it as the system grants.
    #[doc(alias = "recvBufferSize")]
    pub fn recv_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// How many bytes the system may keep until they are sent, `SO_SNDBUF`. Default: the system's, or 65,535 where that
    /// is less.
    #[doc(alias = "sendBufferSize")]
    pub fn send_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// How many routers a datagram may pass, 1 to 255. It is `IP_TTL` or `IPV6_UNICAST_HOPS`. Default: the system's,
    /// mostly 64.
    pub fn ttl(mut self, hops: u32) -> SocketOptions {
        self.ttl = Some(hops);
        self
    }

    /// Allows sending to broadcast addresses, `SO_BROADCAST`. Default: no.
    pub fn broadcast(mut self, allow: bool) -> SocketOptions {
        self.broadcast = Some(allow);
        self
    }

    /// Calls `hook` with the borrowed descriptor of each socket that [`bind`](Self::bind) makes, before bind(2). It is
    /// for settings that landline has no option for, such as a device, a mark, or an address that this machine does not
    /// have yet. The descriptor is `AsFd`, on Windows `AsSocket`. If the hook fails, `bind` returns `before_bind` with
    /// the code of the system, or the program's own error. [`disconnect`](crate::dgram::Socket::disconnect) makes a new
    /// socket and calls the hook again.
    ///
    /// It runs on the calling thread without a lock. The descriptor stays open while it runs. It must not bind or
    /// connect the socket, nor make it non-blocking. If it panics, the socket is closed and the panic reaches the
    /// caller. Default: none.
    ///
    /// ```
    /// use landline::dgram::SocketOptions;
    /// use socket2::SockRef;
    ///
    /// let options = SocketOptions::new().before_bind(|fd| SockRef::from(&fd).set_ttl_v4(8));
    /// let socket = options.bind("127.0.0.1:0")?;
    /// assert_eq!(socket.with_raw(|fd| SockRef::from(&fd).ttl_v4())??, 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "Control")]
    #[doc(alias = "SO_BINDTODEVICE")]
    #[doc(alias = "SO_MARK")]
    #[doc(alias = "IP_FREEBIND")]
    pub fn before_bind(
        mut self,
        hook: impl Fn(sys::BorrowedHandle<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> SocketOptions {
        self.before_bind = BeforeBind::new(hook);
        self
    }

    /// The stack of the thread that [`Socket::events`](crate::dgram::Socket::events) starts, in bytes, at least 64 KiB.
    /// Default: std's, 2 MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> SocketOptions {
        self.threads.stack_size = bytes.into();
        self
    }

    /// What the name of that thread begins with. `recv` and the socket's address follow. Default: `landline`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> SocketOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Drops datagrams from these addresses when they are received. The rules may be changed while the socket is in
    /// use. Default: none.
    #[doc(alias = "receiveBlockList")]
    pub fn receive_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.receive_block_list = Some(list.clone());
        self
    }

    /// Rejects sending and connecting to these addresses with `ERR_IP_BLOCKED`. Nothing is sent. A wildcard is rejected
    /// if the loopback address that it means is one of them. The rules may be changed while the socket is in use. They
    /// hold for the peer of a connected socket too. Default: none.
    #[doc(alias = "sendBlockList")]
    pub fn send_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.send_block_list = Some(list.clone());
        self
    }

    /// Lets `cancel` close the socket, as [`close`](crate::dgram::Socket::close) does. If it was cancelled before, the
    /// socket is closed as soon as it is bound. Default: none.
    #[doc(alias = "signal")]
    pub fn cancel(mut self, cancel: &Cancel) -> SocketOptions {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Calls `hook` for errors of receiving, and when the socket is closing and closed. Each [`Report`] prints as a
    /// line of a log. Default: none.
    pub fn report(mut self, hook: impl Fn(&Report) + Send + Sync + 'static) -> SocketOptions {
        self.reporter = Reporter::new(hook);
        self
    }

    /// Whether the options are valid, before a socket is made.
    pub(crate) fn check(&self) -> Result<()> {
        self.threads.check()?;
        self.recv_buffer_size.map_or(Ok(()), udp::check_buffer_size)?;
        self.send_buffer_size.map_or(Ok(()), udp::check_buffer_size)?;
        match self.ttl {
            Some(hops) if !(1..=255).contains(&hops) => Err(Error::option("ttl", ">= 1 and <= 255", hops)),
            _ => Ok(()),
        }
    }
}
