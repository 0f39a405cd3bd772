use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Duration;
use std::{fmt, io};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::multicast::{Interface, Membership};
use super::options::{SocketOptions, is_dual_stack};
use super::receive::{Backoff, Timeouts};
use super::wake::{Retired, Waker, receive_timeout};
use crate::address::{Address, Endpoint, Target};
use crate::block_list::BlockList;
use crate::cancel::Attached;
use crate::error::{Error, Result};
use crate::lock::{lock, read, write};
use crate::report::{Report, Reporter};

/// A UDP socket, bound: to receive datagrams, and to send them.
///
/// It is a handle; clones are the same socket. It is closed by [`close`](Socket::close), or when its last handle is
/// dropped. A loop in [`each`](Socket::each), [`run`](super::SocketCallbacks::run) or
/// [`spawn`](super::SocketCallbacks::spawn) has one, so what it serves stays open until it is closed.
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
pub struct Socket(pub(super) Arc<Inner>);

impl Socket {
    /// A socket with the default options: of IPv6 for an IPv6 address, otherwise of IPv4. Port 0 has the system choose
    /// a free one; a bare port is on every interface; a name is looked up, which blocks as long as the resolver does.
    /// bind(2)
    ///
    /// # Errors
    /// As of [`SocketOptions::bind`].
    #[doc(alias = "bindSync")]
    pub fn bind(at: impl Into<Endpoint>) -> Result<Socket> {
        let at = at.into();
        let options = match &at.0 {
            Target::Ip(SocketAddr::V6(_)) => SocketOptions::udp6(),
            _ => SocketOptions::udp4(),
        };
        options.bind(at)
    }

    /// Where the socket is bound. It stays known after the socket is closed, and stays what was bound while the socket
    /// is connected: a wildcard remains a wildcard.
    #[doc(alias = "local_addr")]
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Closes the socket, now: a blocked [`recv`](Socket::recv) returns `None`, a loop over it ends, and nothing more
    /// is received, not even what had arrived. A callback goes on that has begun, or whose datagram had been received, and
    /// [`events`](Socket::events) keep what is in their channel.
    ///
    /// It blocks until the receivers have let go, so that the descriptor is closed and the port is free when it
    /// returns; or, if a program is being started just then, as soon as that runs: until then it has a copy of every
    /// descriptor. The receivers are woken by an empty datagram from this machine, which takes some microseconds. It
    /// takes up to 10 ms for an [adopted](SocketOptions::adopt) socket that is connected and for one bound to a group,
    /// and up to a second where loopback is down or no descriptor is left to send from. (An adopted socket that is not
    /// connected stays blocked there; `close` returns after 2 s.) It may be called from anywhere, callbacks included,
    /// and again.
    #[doc(alias = "asyncDispose")]
    pub fn close(&self) {
        self.0.close();
    }

    pub(super) fn new(socket: UdpSocket, options: SocketOptions, adopted: bool) -> Result<Socket> {
        let failed = |error: io::Error| Error::call("getsockname", &error);
        let local = socket.local_addr().map_err(failed)?;
        let dual = is_dual_stack(&socket);
        let peer = socket.peer_addr().ok().filter(|_| adopted);
        let open = Open::new(socket, local, adopted, peer.is_some());
        if let Some(peer) = peer {
            open.peer.get_or_init(|| peer);
        }
        let (closer, closing) = bounded(0);
        let cancel = options.cancel.clone();
        let socket = Socket(Arc::new(Inner {
            address: local.into(),
            v6: local.is_ipv6(),
            dual,
            slot: RwLock::new(Slot { open: Some(Arc::new(open)), retired: None }),
            closed: AtomicBool::new(false),
            closer: Mutex::new(Some(closer)),
            closing,
            kept: Kept::default(),
            buffers: Mutex::default(),
            backoff: Mutex::default(),
            reporter: options.reporter.clone(),
            receive_block_list: options.receive_block_list.clone(),
            send_block_list: options.send_block_list.clone(),
            attached: OnceLock::new(),
            setup: Mutex::new(Setup {
                local,
                v6: local.is_ipv6(),
                options,
                interface: None,
                memberships: Vec::new(),
                lost_before: 0,
            }),
        }));
        if let Some(cancel) = cancel {
            let inner = Arc::downgrade(&socket.0);
            let attached = cancel.attach(move || {
                if let Some(inner) = inner.upgrade() {
                    inner.close();
                }
            });
            let _ = socket.0.attached.set(attached);
        }
        Ok(socket)
    }

    /// The open socket, for the time of one call; an error once closed.
    pub(super) fn open(&self) -> Result<Arc<Open>> {
        self.0.open().ok_or_else(not_running)
    }

    pub(super) fn setup(&self) -> MutexGuard<'_, Setup> {
        lock(&self.0.setup)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("address", &self.0.address).field("closed", &self.0.is_closed()).finish()
    }
}

/// What the handles share.
pub(super) struct Inner {
    pub(super) address: Address,
    pub(super) v6: bool,
    /// Whether it is of IPv6 and reaches IPv4 too.
    pub(super) dual: bool,
    pub(super) slot: RwLock<Slot>,
    pub(super) closed: AtomicBool,
    /// Dropped by `close`, which everyone sees who waits on `closing`.
    closer: Mutex<Option<Sender<Infallible>>>,
    pub(super) closing: Receiver<Infallible>,
    /// What had arrived at the socket that `disconnect` gave up.
    pub(super) kept: Kept,
    /// Buffers for receives into one that may be too small; as many as there were such receives at once.
    pub(super) buffers: Mutex<Vec<Box<[u8]>>>,
    pub(super) backoff: Mutex<Backoff>,
    pub(super) reporter: Reporter,
    pub(super) receive_block_list: Option<BlockList>,
    pub(super) send_block_list: Option<BlockList>,
    /// Dropping it detaches the socket from the handle that cancels it.
    attached: OnceLock<Attached>,
    /// Held while anything but sending and receiving is done, so that two changes never mix.
    pub(super) setup: Mutex<Setup>,
}

/// Where the socket is taken from by every call, and out of by `close`, so that a forgotten handle keeps no descriptor.
pub(super) struct Slot {
    /// `None` once closed.
    pub(super) open: Option<Arc<Open>>,
    /// The socket `close` took out, which receivers may still be about to let go.
    pub(super) retired: Option<Retired>,
}

/// What a socket needs to be made again.
pub(super) struct Setup {
    /// The address it was bound to, with the port it got.
    pub(super) local: SocketAddr,
    pub(super) v6: bool,
    pub(super) options: SocketOptions,
    pub(super) interface: Option<Interface>,
    pub(super) memberships: Vec<Membership>,
    /// What sockets that were in its place before had lost.
    pub(super) lost_before: u64,
}

impl Inner {
    pub(super) fn open(&self) -> Option<Arc<Open>> {
        read(&self.slot).open.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn close(&self) {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        lock(&self.closer).take();
        if first {
            self.reporter.tell(|| Report::Closing { address: self.address.clone() });
        }
        let retired = {
            let mut slot = write(&self.slot);
            if let Some(open) = slot.open.take() {
                slot.retired = Some(Retired::new(open));
            }
            slot.retired.clone()
        };
        if let Some(retired) = retired {
            retired.wait();
        }
        if first {
            self.kept.clear();
            self.reporter.tell(|| Report::Closed { address: self.address.clone() });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// An open socket. Whoever uses it holds it for the time of one call; the last to let go closes the descriptor.
pub(super) struct Open {
    pub(super) socket: UdpSocket,
    /// Its own address, as the system had it when it was new.
    pub(super) local: SocketAddr,
    /// Somebody else may have it too.
    pub(super) adopted: bool,
    /// The only one it talks to, once connected.
    pub(super) peer: OnceLock<SocketAddr>,
    pub(super) timeouts: Mutex<Timeouts>,
    /// The receive timeout its giver had set on an adopted one, to be set again at the end; until a new descriptor of
    /// the same socket takes its place.
    giver_timeout: Mutex<Option<Option<Duration>>>,
    /// Who wakes its receivers, once they are to let go.
    pub(super) waker: OnceLock<Waker>,
    pub(super) gone: Receiver<Infallible>,
    /// The last field: it is dropped when the descriptor is closed, and `gone` tells.
    _held: Sender<Infallible>,
}

impl Open {
    /// Whether it is going to be connected has to be known before the first receiver sees it.
    pub(super) fn new(socket: UdpSocket, local: SocketAddr, adopted: bool, connected: bool) -> Open {
        let (held, gone) = bounded(0);
        Open {
            giver_timeout: Mutex::new(socket.read_timeout().ok().filter(|_| adopted)),
            timeouts: Mutex::new(Timeouts::new(&socket, receive_timeout(local, adopted, connected))),
            socket,
            local,
            adopted,
            peer: OnceLock::new(),
            waker: OnceLock::new(),
            gone,
            _held: held,
        }
    }

    /// An adopted socket by another descriptor, to be connected.
    pub(super) fn renew(&self) -> io::Result<Open> {
        let new = Open::new(self.socket.try_clone()?, self.local, true, true);
        *lock(&new.giver_timeout) = lock(&self.giver_timeout).take();
        Ok(new)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(timeout) = lock(&self.giver_timeout).take() {
            // It fails only on a socket that is broken, and then the giver will find out.
            let _ = self.socket.set_read_timeout(timeout);
        }
    }
}

/// Datagrams that were taken out of one socket and are to be received from the next. Almost always empty, and then it
/// costs a receive one load.
#[derive(Default)]
pub(super) struct Kept {
    any: AtomicBool,
    datagrams: Mutex<Datagrams>,
}

#[derive(Default)]
struct Datagrams {
    queue: VecDeque<(Box<[u8]>, SocketAddr)>,
    bytes: usize,
}

/// What a datagram that is kept counts for, beside its bytes; somewhat less than on Linux, so that what was in a receive
/// buffer has room in one of the same size.
const OVERHEAD: usize = 512;

impl Kept {
    /// Keeps a datagram, unless `limit` has been reached: it stands for a receive buffer, and is as large.
    pub(super) fn push(&self, bytes: &[u8], from: SocketAddr, limit: usize) -> bool {
        let mut datagrams = lock(&self.datagrams);
        if datagrams.bytes >= limit {
            return false;
        }
        datagrams.bytes += bytes.len() + OVERHEAD;
        datagrams.queue.push_back((bytes.into(), from));
        self.any.store(true, Ordering::SeqCst);
        true
    }

    pub(super) fn pop(&self) -> Option<(Box<[u8]>, SocketAddr)> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        let mut datagrams = lock(&self.datagrams);
        let first = datagrams.queue.pop_front();
        datagrams.bytes -= first.as_ref().map_or(0, |(bytes, _)| bytes.len() + OVERHEAD);
        self.any.store(!datagrams.queue.is_empty(), Ordering::SeqCst);
        first
    }

    fn clear(&self) {
        *lock(&self.datagrams) = Datagrams::default();
    }
}

pub(super) fn not_running() -> Error {
    Error::fixed(io::ErrorKind::NotConnected, "ERR_SOCKET_DGRAM_NOT_RUNNING", "Not running")
}
