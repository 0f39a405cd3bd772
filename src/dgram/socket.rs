use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::{fmt, io};

use crate::address::{Family, canonical};
use crate::cancel::Cancel;
use crate::dgram::options::SocketOptions;
use crate::dgram::shared::{CarriedOver, Open, Origin, Setup, Shared, Slot, not_running};
use crate::dgram::udp::{is_dual_stack, lost};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::sync::poison::{Guard, lock};
use crate::sys;

/// A bound UDP socket that receives and sends datagrams.
///
/// It is a handle, and its clones are the same socket. [`close`](Socket::close) closes the socket. It is also closed
/// when its last handle is dropped. A loop in [`each`](Socket::each) holds a handle, so it keeps the socket open until
/// `close` is called.
///
/// ```
/// use landline::dgram::Socket;
///
/// let socket = Socket::bind("127.0.0.1:0")?;
/// let other = Socket::bind("127.0.0.1:0")?;
/// other.send_to(b"hello", socket.address())?;
///
/// let mut buffer = [0; 100];
/// while let Some((bytes, from)) = socket.recv(&mut buffer)? {
///     assert_eq!((bytes, from.address()), (&b"hello"[..], other.address()));
///     socket.close();
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "UdpSocket")]
pub struct Socket(pub(crate) Arc<Shared>);

impl Socket {
    /// Binds a socket with the default options, bind(2).
    ///
    /// - A bare port is bound on every interface, over IPv6 and IPv4. If the system has no socket that reaches both, it
    ///   is bound over IPv4 only. For port 0 the system chooses a free port.
    /// - An address decides the family of the socket.
    /// - A name is looked up, which blocks as long as the resolver does. If it has IPv4 addresses, only these are
    ///   tried.
    /// - The addresses of a list are tried in order. The first that can be bound is used.
    ///
    /// To bind one family only, use [`SocketOptions::udp4`] or [`udp6`](SocketOptions::udp6).
    ///
    /// # Errors
    /// The errors of [`SocketOptions::bind`].
    #[doc(alias = "bindSync")]
    pub fn bind(at: impl Into<Endpoint>) -> io::Result<Socket> {
        SocketOptions::new().bind(at)
    }

    /// Returns the address that the socket is bound to, even after the socket is closed. If the socket is bound to a
    /// wildcard, this is the wildcard, even while the socket is connected.
    #[doc(alias = "local_addr")]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Closes the socket. A blocked [`recv`](Socket::recv) returns `None`, and a loop that receives ends. No more
    /// datagrams are received, not even those that have already arrived. A callback still runs to its end if it has
    /// begun, or if its datagram was received before. [`events`](Socket::events) keeps the datagrams that are in its
    /// channel.
    ///
    /// `close` wakes the receivers and waits until all calls of other threads have returned. A send that waits for room
    /// in the send buffer fails with `ERR_SOCKET_DGRAM_NOT_RUNNING`, on Linux and if the socket is not
    /// [adopted](SocketOptions::adopt). So when `close` returns, the descriptor is closed and the port is free. There
    /// is one exception: a program that is being started at that moment has a copy of every descriptor until it runs.
    ///
    /// To wake the receivers, `close` sends the socket an empty datagram, which takes some microseconds. Before that,
    /// it connects the socket to the sender of this datagram, so that no other socket on the same port gets it. Waking
    /// takes longer in these cases:
    /// - up to 10 ms for a socket that is bound to a group or to 255.255.255.255, or by
    ///   [`before_bind`](SocketOptions::before_bind) to a device
    /// - up to 1 s if loopback is down, if this machine does not have the socket's address, if the socket is bound to
    ///   the broadcast address of one network, if no descriptor is left to send from, if another process made the
    ///   socket before fork(2), or if the calling thread is in a different network namespace than the socket
    /// - up to 0.5 s for an [adopted](SocketOptions::adopt) socket that the datagram cannot reach
    ///
    /// After 2 s, or 1.25 s for an adopted socket, `close` returns even if calls are still blocked. The descriptor then
    /// stays open until they return, and they receive nothing. The hook gets [`Report::Failed`](crate::Report::Failed)
    /// with `close ETIMEDOUT` instead of [`Report::Closed`](crate::Report::Closed).
    ///
    /// `close` may be called on any thread, in callbacks, and more than once. Dropping the last handle only closes the
    /// descriptor. After fork(2), `close` in one process also stops the other process's socket from receiving, and
    /// possibly from sending. If you do not want that, drop the handle instead.
    #[doc(alias = "asyncDispose")]
    pub fn close(&self) {
        self.0.close();
    }

    /// Returns how many datagrams reached this socket and were dropped by the system, usually because the receive
    /// buffer was full. On Linux the number comes from the last column of /proc/net/udp and udp6. `None` on other
    /// systems, and if /proc cannot be read.
    ///
    /// [`close`](Socket::close) takes a last count, and `lost` returns that count afterwards. If the program has more
    /// than 1,000 UDP sockets, `close` takes that count only if `lost` was called before. `close` does not wait for a
    /// `lost` of another thread, and takes no count while it runs.
    ///
    /// Datagrams that were lost on the network are not counted. Each call reads a table of all UDP sockets, so call it
    /// at most about once a second.
    pub fn lost(&self) -> Option<u64> {
        let setup = self.setup();
        let mut losses = lock(&self.0.losses);
        losses.asked = true;
        if let Ok(open) = self.open() {
            // Only the inode number is kept, because `close` waits for threads that hold the socket.
            let inode = sys::inode(&open.socket)?;
            drop(open);
            match lost(inode, setup.v6, usize::MAX) {
                Some(now) => losses.counted = Some(losses.before + now),
                // Another thread may have closed the socket since.
                None if !self.0.is_closed() => return None,
                None => {}
            }
        }
        losses.counted
    }

    /// Calls `f` with the borrowed descriptor, and returns what `f` returns. Use it for system calls that landline does
    /// not have. The descriptor implements `AsFd`, on Windows `AsSocket`. Crates for system calls take these. No lock
    /// is held, and other threads can use the socket as usual.
    ///
    /// If another thread calls [`close`](Self::close) or [`disconnect`](Self::disconnect), that call waits for `f` to
    /// return, at most 2 s. The descriptor is closed when `f` returns. `f` itself must call neither `close` nor
    /// `disconnect`.
    ///
    /// The caller is responsible for what `f` changes:
    /// - If `f` sets `O_NONBLOCK`, receivers poll every 2 to 16 ms.
    /// - [`recv_timeout`](Self::recv_timeout) itself sets `SO_RCVTIMEO`. Receivers that `close` cannot wake depend on
    ///   that timeout to notice `close`.
    /// - landline does not notice a connect(2), bind(2) or shutdown(2) that `f` calls.
    /// - If `f` binds the socket to a device, `close` takes up to 1 s.
    /// - [`disconnect`](Self::disconnect) opens a new socket. The new socket has the settings made by landline's own
    ///   calls and by [`before_bind`](SocketOptions::before_bind). It does not have the settings made by `f`.
    ///
    /// ```
    /// use landline::dgram::Socket;
    /// use socket2::SockRef;
    ///
    /// let socket = Socket::bind("127.0.0.1:0")?;
    /// let ttl = socket.with_raw(|fd| SockRef::from(&fd).ttl_v4())??;
    /// assert!(ttl > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING`, of kind `NotConnected`, if the socket is closed. In this case `f` is not called.
    /// If `f` returns a `Result`, that result is inside the result of this call, and `??` unwraps both.
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let open = self.open()?;
        Ok(f(sys::borrow(&open.socket)))
    }

    /// `local` is the socket's address.
    pub(crate) fn new(socket: UdpSocket, local: SocketAddr, options: SocketOptions, origin: Origin) -> Socket {
        let only = match local.ip() {
            ip if ip.to_canonical().is_ipv4() => Some(Family::Ipv4),
            ip if ip.is_unspecified() && is_dual_stack(&socket) => None,
            _ => Some(Family::Ipv6),
        };
        let open = Open::new(socket, local, origin);
        let cancel = options.cancel.clone();
        let socket = Socket(Arc::new(Shared {
            address: canonical(local),
            v6: local.is_ipv6(),
            only,
            prefers_v4: options.family == Some(Family::Ipv4),
            slot: RwLock::new(Slot::new(open)),
            closed: AtomicBool::new(false),
            closing: Cancel::new(),
            carried_over: CarriedOver::default(),
            backoff: Mutex::default(),
            reporter: options.reporter.clone(),
            receive_block_list: options.receive_block_list.clone(),
            send_block_list: options.send_block_list.clone(),
            attached: Mutex::default(),
            setup: Mutex::new(Setup {
                local,
                v6: local.is_ipv6(),
                only,
                options,
                interface: None,
                memberships: Vec::new(),
            }),
            losses: Mutex::default(),
            this_machine: OnceLock::new(),
        }));
        if let Some(cancel) = cancel {
            let inner = Arc::downgrade(&socket.0);
            let attached = cancel.attach(move || {
                if let Some(inner) = inner.upgrade() {
                    inner.close();
                }
            });
            *lock(&socket.0.attached) = Some(attached);
        }
        socket
    }

    /// The open socket, for one call. An error once it is closed.
    pub(crate) fn open(&self) -> Result<Arc<Open>> {
        self.0.open().ok_or_else(not_running)
    }

    pub(crate) fn setup(&self) -> Guard<'_, Setup> {
        lock(&self.0.setup)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("address", &self.0.address).field("closed", &self.0.is_closed()).finish()
    }
}
