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

/// A bound UDP socket, which receives and sends datagrams.
///
/// It is a handle, and its clones are the same socket. It is closed by [`close`](Socket::close), or when its last
/// handle is dropped. A loop in [`each`](Socket::each) holds a handle, so the socket stays open until it is closed.
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
    /// - A bare port is bound on every interface, over IPv6 and IPv4, or over IPv4 alone if the system has no socket
    ///   that reaches both. For port 0 the system chooses a free port.
    /// - An address decides the family of the socket.
    /// - A name is looked up, which blocks as long as the resolver does. Its IPv4 addresses come first.
    /// - Of a list, the first address that can be bound is used.
    ///
    /// For one family alone use [`SocketOptions::udp4`] or [`udp6`](SocketOptions::udp6).
    ///
    /// # Errors
    /// Those of [`SocketOptions::bind`].
    #[doc(alias = "bindSync")]
    pub fn bind(at: impl Into<Endpoint>) -> io::Result<Socket> {
        SocketOptions::new().bind(at)
    }

    /// The address that the socket is bound to. It stays known after the socket is closed. A wildcard remains a
    /// wildcard, also while the socket is connected.
    #[doc(alias = "local_addr")]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Closes the socket. A blocked [`recv`](Socket::recv) returns `None` and a loop over it ends. Nothing more is
    /// received, not even datagrams that have arrived. A callback that has begun, or whose datagram was received
    /// before, still runs to its end. [`events`](Socket::events) keep the datagrams in their channel.
    ///
    /// It blocks until the receivers have returned, so the descriptor is closed and the port free when it returns. A
    /// program that is being started at that moment has a copy of every descriptor until it runs. The receivers are
    /// woken by an empty datagram from this machine, which takes some microseconds. The socket is connected to the
    /// sender of that datagram first, so that no other socket on the same port gets it. It takes longer in these cases:
    /// - up to 10 ms for a socket that is bound to a group
    /// - up to a second if loopback is down, no descriptor is left to send from, or another process has made the socket
    ///   before fork(2)
    /// - up to half a second for an [adopted](SocketOptions::adopt) socket that the datagram cannot reach
    ///
    /// If receivers are still blocked after 2 s, or after 1.25 s for an adopted socket, `close` returns without them.
    /// The descriptor stays open until they return. The hook gets [`Report::Failed`](crate::Report::Failed) with `close
    /// ETIMEDOUT` in place of [`Report::Closed`](crate::Report::Closed). They receive nothing after that.
    ///
    /// It may be called on any thread, in callbacks, and again. Dropping the last handle only closes the descriptor.
    /// After fork(2), `close` in one process stops the socket of the other from receiving. Drop the handle there
    /// instead.
    #[doc(alias = "asyncDispose")]
    pub fn close(&self) {
        self.0.close();
    }

    /// How many datagrams reached this socket and were dropped by the system, usually because its receive buffer was
    /// full. On Linux it is the last column of /proc/net/udp and udp6. `None` on other systems and if /proc cannot be
    /// read.
    ///
    /// After [`close`](Socket::close) it is the count that `close` took. If the program has more than 1,000 UDP
    /// sockets, `close` counts only for those whose losses it has asked for before.
    ///
    /// Datagrams that were lost on the way here are not in it. Each call reads a table of all UDP sockets, so once a
    /// second is often enough.
    pub fn lost(&self) -> Option<u64> {
        let setup = self.setup();
        let mut losses = lock(&self.0.losses);
        losses.asked = true;
        if let Ok(open) = self.open() {
            // Only its number is kept, since `close` waits for threads that hold the socket.
            let inode = sys::inode(&open.socket)?;
            drop(open);
            match lost(inode, setup.v6, usize::MAX) {
                Some(now) => losses.counted = Some(losses.before + now),
                // It may have been closed in between.
                None if !self.0.is_closed() => return None,
                None => {}
            }
        }
        losses.counted
    }

    /// Calls `f` with the borrowed descriptor, for calls that landline does not have, and returns what `f` returns. The
    /// descriptor is `AsFd`, on Windows `AsSocket`, as crates for system calls expect. No lock is held, and other
    /// threads use the socket as before.
    ///
    /// A [`close`](Self::close) or [`disconnect`](Self::disconnect) in another thread waits for `f` as for a receiver,
    /// for at most 2 s, and the descriptor is closed when `f` returns. So `f` must call neither.
    ///
    /// The caller is responsible for what `f` changes:
    /// - With `O_NONBLOCK`, receivers poll every 2 to 16 ms.
    /// - [`recv_timeout`](Self::recv_timeout) sets `SO_RCVTIMEO` itself. Receivers that `close` cannot wake notice it
    ///   by that timeout.
    /// - landline does not see connect(2), bind(2) and shutdown(2).
    /// - [`disconnect`](Self::disconnect) opens another socket. It has the settings of landline's own calls and of
    ///   [`before_bind`](SocketOptions::before_bind), and not those of `f`.
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
    /// `NotConnected`, `ERR_SOCKET_DGRAM_NOT_RUNNING`, once the socket is closed. `f` is not called then. If `f`
    /// returns a `Result`, it is inside the result of this call, and `??` unwraps both.
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let open = self.open()?;
        Ok(f(sys::borrow(&open.socket)))
    }

    /// `local` is the socket's address.
    pub(crate) fn new(socket: UdpSocket, local: SocketAddr, options: SocketOptions, origin: Origin) -> Socket {
        let reaches_v4 = local.ip().is_unspecified() || local.ip().to_canonical().is_ipv4();
        let dual = is_dual_stack(&socket) && reaches_v4;
        let open = Open::new(socket, local, origin);
        let cancel = options.cancel.clone();
        let socket = Socket(Arc::new(Shared {
            address: canonical(local),
            v6: local.is_ipv6(),
            dual,
            prefers_v4: options.family == Some(Family::Ipv4),
            slot: RwLock::new(Slot { open: Some(Arc::new(open)), draining: None }),
            closed: AtomicBool::new(false),
            closing: Cancel::new(),
            carried_over: CarriedOver::default(),
            buffers: Mutex::default(),
            backoff: Mutex::default(),
            reporter: options.reporter.clone(),
            receive_block_list: options.receive_block_list.clone(),
            send_block_list: options.send_block_list.clone(),
            attached: Mutex::default(),
            setup: Mutex::new(Setup {
                local,
                v6: local.is_ipv6(),
                dual,
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

    /// The open socket, for the time of one call. An error once it is closed.
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
