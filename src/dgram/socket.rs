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

/// A UDP socket, bound: to receive datagrams, and to send them.
///
/// It is a handle; clones are the same socket. It is closed by [`close`](Socket::close), or when its last handle is
/// dropped. A loop in [`each`](Socket::each) has one, so the socket stays open until it is closed.
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
    /// A socket with the default options. bind(2)
    ///
    /// - A bare port is on every interface, over IPv6 and IPv4, or over IPv4 alone where the system has no socket that
    ///   reaches both. Port 0 has the system choose a free one.
    /// - An address decides the family of the socket.
    /// - A name is looked up, which blocks as long as the resolver does. Its IPv4 addresses come first.
    /// - Of a list, the first address that can be bound counts.
    ///
    /// For one family alone there are [`SocketOptions::udp4`] and [`udp6`](SocketOptions::udp6).
    ///
    /// # Errors
    /// As of [`SocketOptions::bind`].
    #[doc(alias = "bindSync")]
    pub fn bind(at: impl Into<Endpoint>) -> io::Result<Socket> {
        SocketOptions::new().bind(at)
    }

    /// Where the socket is bound. It stays known after the socket is closed, and stays what was bound while the socket
    /// is connected: a wildcard remains a wildcard.
    #[doc(alias = "local_addr")]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Closes the socket, now: a blocked [`recv`](Socket::recv) returns `None`, a loop over it ends, and nothing more
    /// is received, not even what had arrived. A callback goes on that has begun, or whose datagram had been received,
    /// and [`events`](Socket::events) keep what is in their channel.
    ///
    /// It blocks until the receivers have let go, so that the descriptor is closed and the port is free when it
    /// returns; or, if a program is being started just then, as soon as that runs: until then it has a copy of every
    /// descriptor. The receivers are woken by an empty datagram from this machine, which takes some microseconds. The
    /// socket is connected to its sender first, so no other socket on the same port gets it. It takes:
    /// - up to 10 ms for a socket that is bound to a group;
    /// - up to a second where loopback is down, no descriptor is left to send from, or another process has made the
    ///   socket, before fork(2);
    /// - up to half a second for an [adopted](SocketOptions::adopt) socket that cannot be reached.
    ///
    /// If receivers are blocked even so after 2 s, or after 1.25 s for an adopted socket, `close` returns without them.
    /// Then the descriptor stays open until they return, and a hook gets [`Report::Failed`](crate::Report::Failed) with
    /// `close ETIMEDOUT` in place of [`Report::Closed`](crate::Report::Closed). Nothing is received after that.
    ///
    /// It may be called from anywhere, callbacks included, and again. Dropping the last handle does nothing but close
    /// the descriptor. After fork(2), `close` by one process leaves the other's socket deaf: drop it there instead.
    #[doc(alias = "asyncDispose")]
    pub fn close(&self) {
        self.0.close();
    }

    /// How many datagrams the system has thrown away that had reached this socket, mostly because its receive buffer
    /// was full. On Linux, from the last column of /proc/net/udp and udp6; `None` elsewhere and where /proc is not to
    /// be read.
    ///
    /// After [`close`](Socket::close) it is the last count, which `close` takes. A program with more than 1,000 UDP
    /// sockets has it only of those that it has asked before.
    ///
    /// What was lost on the way here is not in it. Each call reads a table of all UDP sockets, so once a second is
    /// often enough.
    pub fn lost(&self) -> Option<u64> {
        let setup = self.setup();
        let mut losses = lock(&self.0.losses);
        losses.asked = true;
        if let Ok(open) = self.open() {
            // Only its number is kept: `close` waits for the threads that hold the socket.
            let inode = sys::inode(&open.socket)?;
            drop(open);
            match lost(inode, setup.v6, usize::MAX) {
                Some(now) => losses.counted = Some(losses.before + now),
                // It may have been closed meanwhile.
                None if !self.0.is_closed() => return None,
                None => {}
            }
        }
        losses.counted
    }

    /// Calls `f` with the descriptor, borrowed, for what landline has no call for. It is `AsFd`, on Windows `AsSocket`,
    /// as crates of system calls expect. It gives what `f` returns. No lock is held: other threads use the socket as
    /// before.
    ///
    /// A [`close`](Self::close) or [`disconnect`](Self::disconnect) in another thread waits for `f` as for a receiver,
    /// 2 s at most: the descriptor is closed when `f` returns. So `f` itself should call neither.
    ///
    /// What `f` changes is for the caller to answer for:
    /// - `O_NONBLOCK`: receivers look every 2 to 16 ms then;
    /// - `SO_RCVTIMEO`, which [`recv_timeout`](Self::recv_timeout) sets, and by which receivers see a `close` that
    ///   cannot wake them otherwise;
    /// - connect(2), bind(2), shutdown(2), which landline does not see;
    /// - all that [`disconnect`](Self::disconnect) has to make again: it opens another socket, with what landline's own
    ///   calls and [`before_bind`](SocketOptions::before_bind) have set.
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
    /// `NotConnected`, `ERR_SOCKET_DGRAM_NOT_RUNNING`, once the socket is closed; `f` is not called then. What `f`
    /// returns is no error of this call: where it is a `Result`, `??` gives both.
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let open = self.open()?;
        Ok(f(sys::borrow(&open.socket)))
    }

    /// `local` is its address.
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

    /// The open socket, for the time of one call; an error once closed.
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
