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

/// What a receive buffer is asked to hold unless one says otherwise. At 200,000 datagrams a second the usual default of
/// 208 KiB lost a third of them, this lost none.
pub(crate) const RECV_BUFFER: usize = 4 << 20;

/// The least a send buffer must hold so that the largest datagram can be sent. It is less by default on macOS.
pub(crate) const SEND_BUFFER: usize = 65_535;

/// How a [`Socket`](crate::dgram::Socket) is to be made, and then [`bind`](SocketOptions::bind) makes it.
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
    /// The defaults, as each option names its own. The family is that of the address that is bound, or of the socket
    /// that is given: both for a bare port, and IPv4 for a name that has an address of IPv4.
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

    /// A socket for IPv4, and for nothing else.
    pub fn udp4() -> SocketOptions {
        SocketOptions { family: Some(Family::Ipv4), ..SocketOptions::new() }
    }

    /// A socket for IPv6, and for IPv4 too where it is bound to `::`, unless [`ipv6_only`](Self::ipv6_only) is set.
    /// IPv4 peers show their IPv4 address.
    pub fn udp6() -> SocketOptions {
        SocketOptions { family: Some(Family::Ipv6), ..SocketOptions::new() }
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
    /// saying so; [`Socket::recv_buffer_size`](crate::dgram::Socket::recv_buffer_size) tells. Default: 4 MiB, or as
    /// much of it as the system grants.
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

    /// Calls `hook` with the descriptor of each socket that [`bind`](Self::bind) makes, borrowed, before
    /// bind(2): for what landline has no option for, such as a device, a mark, or an address that this machine
    /// does not have yet. It is `AsFd`, on Windows `AsSocket`. Its error is that of `bind`: `before_bind` with
    /// the code of the system, or an error of the program's own.
    /// [`disconnect`](crate::dgram::Socket::disconnect), which makes the socket anew, calls it again.
    ///
    /// It runs on the calling thread, and no lock is held. The descriptor is not closed while it runs. It must
    /// not bind or connect the socket, nor make it non-blocking. A panic in it is the caller's; the socket is
    /// closed then. Default: none.
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

    /// What the name of that thread begins with; behind it stands `recv` and the socket's address. Default: `landline`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> SocketOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Datagrams from these addresses are thrown away unseen. The rules may be changed while the socket is in use.
    /// Default: none.
    #[doc(alias = "receiveBlockList")]
    pub fn receive_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.receive_block_list = Some(list.clone());
        self
    }

    /// Sending or connecting to these addresses is an error, `ERR_IP_BLOCKED`, and nothing is sent; to a wildcard, if
    /// the loopback address that is meant is one of them. The rules may be changed while the socket is in use, and hold
    /// for the peer of a connected one. Default: none.
    #[doc(alias = "sendBlockList")]
    pub fn send_block_list(mut self, list: &BlockList) -> SocketOptions {
        self.send_block_list = Some(list.clone());
        self
    }

    /// Lets `cancel` close the socket, as [`close`](crate::dgram::Socket::close) does. If it was fired before, the
    /// socket is closed as soon as it is bound. Default: none.
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

    /// Whether every option can be, before there is a socket.
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
