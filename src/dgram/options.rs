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

/// The default size of the receive buffer. At 200,000 datagrams per second, the usual default of 208 KiB lost a third
/// of them. This size lost none.
pub(crate) const RECV_BUFFER: usize = 4 << 20;

/// The smallest send buffer that can send the largest datagram. The default on macOS is smaller.
pub(crate) const SEND_BUFFER: usize = 65_535;

/// The options of a [`Socket`](crate::dgram::Socket). [`bind`](SocketOptions::bind) makes the socket.
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
    /// Makes the default options. Each setter says its default. Without [`udp4`](Self::udp4) or [`udp6`](Self::udp6),
    /// the address to bind decides the family:
    ///
    /// - A bare port is bound for both families.
    /// - A name with an IPv4 address is bound for IPv4.
    /// - A socket that is passed to [`own`](Self::own) or [`adopt`](Self::adopt) keeps its family.
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

    /// Makes the default options for a socket that is IPv4 only.
    pub fn udp4() -> SocketOptions {
        SocketOptions { family: Some(Family::Ipv4), ..SocketOptions::new() }
    }

    /// Makes the default options for an IPv6 socket. If it is bound to `::`, it is used for IPv4 too, unless
    /// [`ipv6_only`](Self::ipv6_only) is set. The address of an IPv4 peer is then the plain IPv4 address, not the
    /// IPv4-mapped one.
    pub fn udp6() -> SocketOptions {
        SocketOptions { family: Some(Family::Ipv6), ..SocketOptions::new() }
    }

    /// Lets several sockets share one address, if all of them set this. It sets `SO_REUSEADDR`, and also `SO_REUSEPORT`
    /// on macOS and the BSDs. Every socket gets each multicast or broadcast datagram. Any other datagram goes to only
    /// one of them, on Linux to the one bound last. Default: no.
    #[doc(alias = "reuseAddr")]
    pub fn reuse_address(mut self, reuse: bool) -> SocketOptions {
        self.reuse_address = reuse;
        self
    }

    /// Lets several sockets of one user share one address, if all of them set this. It sets `SO_REUSEPORT`. Each peer
    /// is then served by one of them. [`bind`](Self::bind) fails with `ENOTSUP` if the system does not have the option,
    /// as on Windows. Default: no.
    #[doc(alias = "reusePort")]
    pub fn reuse_port(mut self, reuse: bool) -> SocketOptions {
        self.reuse_port = reuse;
        self
    }

    /// Binds `::` for IPv6 only, so that the port stays free for an IPv4 socket. It sets `IPV6_V6ONLY`. Default: no.
    #[doc(alias = "ipv6Only")]
    pub fn ipv6_only(mut self, only: bool) -> SocketOptions {
        self.ipv6_only = only;
        self
    }

    /// Sets how many received bytes the system may hold for the program, `SO_RCVBUF`. The system may grant less without
    /// an error. [`Socket::recv_buffer_size`](crate::dgram::Socket::recv_buffer_size) returns the size granted.
    /// Default: 4 MiB, or as much of it as the system grants.
    #[doc(alias = "recvBufferSize")]
    pub fn recv_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// Sets how many bytes the system may hold until they are sent, `SO_SNDBUF`. Default: the system's, but at least
    /// 65,535.
    #[doc(alias = "sendBufferSize")]
    pub fn send_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// Sets how many routers a datagram may pass, 1 to 255. The socket option is `IP_TTL` or `IPV6_UNICAST_HOPS`.
    /// Default: the system's, mostly 64.
    pub fn ttl(mut self, hops: u32) -> SocketOptions {
        self.ttl = Some(hops);
        self
    }

    /// Allows sending to broadcast addresses, `SO_BROADCAST`. Default: no.
    pub fn broadcast(mut self, allow: bool) -> SocketOptions {
        self.broadcast = Some(allow);
        self
    }

    /// Calls `hook` with the borrowed descriptor of each socket that [`bind`](Self::bind) makes, before bind(2). Use it
    /// for settings that landline has no option for, such as a device, a mark, or an address that this machine does not
    /// have yet. The descriptor implements `AsFd`, on Windows `AsSocket`.
    /// [`disconnect`](crate::dgram::Socket::disconnect) makes a new socket and calls the hook again.
    ///
    /// If the hook returns an error, `bind` fails with that error. If that error comes from a system call, its text
    /// begins with `before_bind` and the system's code, as in `before_bind EINVAL`. Any other error keeps its kind and
    /// text, and is the [`source`](std::error::Error::source) of the error returned.
    ///
    /// The hook runs on the thread that calls `bind`, without a lock. The descriptor stays open while the hook runs.
    /// The hook must not bind or connect the socket, nor make it non-blocking. If the hook panics, the socket is closed
    /// and the panic reaches the caller. Default: none.
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

    /// Sets the stack size in bytes of the thread that [`Socket::events`](crate::dgram::Socket::events) starts. A
    /// size below 64 KiB makes [`bind`](Self::bind) fail with `ERR_OUT_OF_RANGE`. Default: std's, 2 MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> SocketOptions {
        self.threads.stack_size = bytes.into();
        self
    }

    /// Sets the prefix of the name of the thread that `events` starts. The full name is the prefix, `recv`, and the
    /// socket's address. Default: `landline`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> SocketOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Drops datagrams that come from the addresses on this list. The list may be changed while the socket is in use.
    /// Default: none.
    #[doc(alias = "receiveBlockList")]
    pub fn receive_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.receive_block_list = Some(list.clone());
        self
    }

    /// Rejects sending and connecting to the addresses on this list with `ERR_IP_BLOCKED`. Nothing is sent. Sending to
    /// a wildcard means sending to loopback, so it is rejected if the loopback address is on the list. The list also
    /// applies to the peer of a connected socket. The list may be changed while the socket is in use. Default: none.
    #[doc(alias = "sendBlockList")]
    pub fn send_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.send_block_list = Some(list.clone());
        self
    }

    /// Lets `cancel` close the socket, like [`close`](crate::dgram::Socket::close). If `cancel` is already cancelled,
    /// the socket is closed as soon as it is bound. Default: none.
    #[doc(alias = "signal")]
    pub fn cancel(mut self, cancel: &Cancel) -> SocketOptions {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Calls `hook` when the socket begins to close, when it is closed, and for errors of receiving. Each [`Report`]
    /// prints as one line of a log. Default: none.
    pub fn report(mut self, hook: impl Fn(&Report) + Send + Sync + 'static) -> SocketOptions {
        self.reporter = Reporter::new(hook);
        self
    }

    /// Checks the options before a socket is made.
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
