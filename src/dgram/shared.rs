//! What the handles of a socket share: the open descriptor, which `close` and `disconnect` take out, and its settings.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::{io, process};

use crate::block_list::BlockList;
use crate::cancel::{Attached, Cancel, FiredOnDrop};
use crate::dgram::interface::{Interface, Membership};
use crate::dgram::options::SocketOptions;
use crate::dgram::timeouts::Timeouts;
use crate::dgram::udp::lost;
use crate::dgram::wake::{Draining, Waker, receive_timeout};
use crate::error::Error;
use crate::report::{Report, Reporter};
use crate::sync::backoff::Backoff;
use crate::sync::poison::{lock, read, try_lock, write};
use crate::sys;

/// What the handles share.
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    pub(crate) v6: bool,
    /// Whether it is of IPv6 and reaches IPv4 too.
    pub(crate) dual: bool,
    /// Where it reaches both, whether it sends by IPv4 if it can.
    pub(crate) prefers_v4: bool,
    pub(crate) slot: RwLock<Slot>,
    pub(crate) closed: AtomicBool,
    /// Fired by `close`: threads that pause wake, and channels stop waiting for room.
    pub(crate) closing: Cancel,
    /// What had arrived at the socket that `disconnect` gave up.
    pub(crate) carried_over: CarriedOver,
    /// Buffers for receives into one that may be too small; as many as there were such receives at once.
    pub(crate) buffers: Mutex<Vec<Box<[u8]>>>,
    pub(crate) backoff: Mutex<Backoff>,
    pub(crate) reporter: Reporter,
    pub(crate) receive_block_list: Option<BlockList>,
    pub(crate) send_block_list: Option<BlockList>,
    /// Taken out by `close`: dropping it detaches the socket from the handle that cancels it.
    pub(crate) attached: Mutex<Option<Attached>>,
    /// Held while anything but sending and receiving is done, so that two changes never mix.
    pub(crate) setup: Mutex<Setup>,
    pub(crate) losses: Mutex<Losses>,
    /// The address of this machine that an IPv6 socket which reaches IPv4 too sends to, once it was looked for.
    pub(crate) this_machine: OnceLock<IpAddr>,
}

/// How many datagrams were lost. Locked after `Shared::setup`.
#[derive(Default)]
pub(crate) struct Losses {
    /// By sockets that were in the place of this one before.
    pub(crate) before: u64,
    /// In all, when they were counted last.
    pub(crate) counted: Option<u64>,
    /// Whether the program has asked for the number.
    pub(crate) asked: bool,
}

/// How many rows of the system's table `close` looks at for a last count of losses that the program has not asked for:
/// 1,000 take about a millisecond.
const ROWS_AT_CLOSE: usize = 1000;

/// Where the socket is taken from by every call, and out of by `close`, so that a forgotten handle keeps no descriptor.
pub(crate) struct Slot {
    /// `None` once closed.
    pub(crate) open: Option<Arc<Open>>,
    /// The socket `close` took out, which receivers may still be about to let go.
    pub(crate) draining: Option<Draining>,
}

/// What a socket needs to be made again.
pub(crate) struct Setup {
    /// The address it was bound to, with the port it got.
    pub(crate) local: SocketAddr,
    pub(crate) v6: bool,
    pub(crate) dual: bool,
    pub(crate) options: SocketOptions,
    pub(crate) interface: Option<Interface>,
    pub(crate) memberships: Vec<Membership>,
}

impl Shared {
    pub(crate) fn open(&self) -> Option<Arc<Open>> {
        read(&self.slot).open.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.end(true);
    }

    /// Closes the socket. `called` says whether by a call, and not because the last handle was dropped; nothing that is
    /// done then reaches another process that has the socket too.
    fn end(&self, called: bool) {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        self.closing.cancel();
        drop(lock(&self.attached).take());
        if first {
            self.reporter.tell(|| Report::Closing { address: self.address.into(), udp: true });
        }
        let (open, draining) = {
            let mut slot = write(&self.slot);
            let open = slot.open.take();
            if let Some(open) = &open {
                slot.draining = Some(Draining::new(open));
            }
            (open, slot.draining.clone())
        };
        if let Some(open) = open {
            if called {
                self.count_losses(&open);
            }
        }
        let gone = draining.is_none_or(|draining| draining.wait());
        if first {
            self.carried_over.clear();
            self.reporter.tell(|| match gone {
                true => Report::Closed { address: self.address.into(), udp: true },
                false => Report::Failed { connection: None, error: still_receiving(self.address), udp: true },
            });
        }
    }

    /// Keeps the number of datagrams that were lost, which cannot be had of a socket that is closed.
    fn count_losses(&self, open: &Open) {
        // If another thread is counting, its number is the last.
        let Some(mut losses) = try_lock(&self.losses) else { return };
        let most = if losses.asked { usize::MAX } else { ROWS_AT_CLOSE };
        let now = sys::inode(&open.socket).and_then(|inode| lost(inode, self.v6, most));
        losses.counted = now.map(|now| losses.before + now).or(losses.counted);
    }
}

/// The receivers could not be woken in time, so the descriptor is open and the port taken until they return.
fn still_receiving(address: SocketAddr) -> Error {
    Error::coded("close", io::ErrorKind::TimedOut, "ETIMEDOUT").at(address)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Where a socket comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was made here.
    Made,
    /// It was given, and others have it not.
    Owned,
    /// Others have it too.
    Adopted,
}

/// An open socket. A thread that uses it holds it for the time of one call; the last to let go closes the descriptor.
pub(crate) struct Open {
    pub(crate) socket: UdpSocket,
    /// Its own address, as the system had it when it was new.
    pub(crate) local: SocketAddr,
    /// Others may have it too.
    pub(crate) adopted: bool,
    /// Other code made it, and what it has set is not known.
    pub(crate) given: bool,
    /// The process that made it: after fork(2) another may have it too.
    pub(crate) made_by: u32,
    /// The only one it talks to, if there is one.
    pub(crate) peer: Peer,
    pub(crate) timeouts: Mutex<Timeouts>,
    /// What wakes its receivers: of a socket of our own once they are to let go, of an adopted one from the start, if
    /// it is expected to reach them.
    pub(crate) waker: OnceLock<Waker>,
    /// The last field: it is dropped, and so fired, once the descriptor is closed.
    pub(crate) gone: FiredOnDrop,
}

impl Open {
    pub(crate) fn new(socket: UdpSocket, local: SocketAddr, origin: Origin) -> Open {
        let (adopted, given) = (origin == Origin::Adopted, origin != Origin::Made);
        let (peer, waker) = (Peer::default(), OnceLock::new());
        if let Some(its_peer) = socket.peer_addr().ok().filter(|_| given) {
            peer.set_connected(its_peer);
        }
        if adopted && !peer.exists() {
            if let Some(expected) = Waker::of_adopted(&socket, local) {
                waker.get_or_init(|| expected);
            }
        }
        let look = receive_timeout(local, adopted, waker.get().is_some());
        Open {
            timeouts: Mutex::new(Timeouts::new(&socket, look, adopted)),
            socket,
            local,
            adopted,
            given,
            made_by: process::id(),
            peer,
            waker,
            gone: FiredOnDrop::default(),
        }
    }
}

/// The peer of a socket: connected by connect(2), which lasts as long as the socket, or chosen, which the system knows
/// nothing of.
#[derive(Default)]
pub(crate) struct Peer {
    any: AtomicBool,
    connected: OnceLock<SocketAddr>,
    chosen: Mutex<Option<SocketAddr>>,
}

impl Peer {
    /// Asked for each datagram, so it is one load.
    #[inline]
    pub(crate) fn exists(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self) -> Option<SocketAddr> {
        if self.exists() { self.connected.get().copied().or_else(|| *lock(&self.chosen)) } else { None }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.get().is_some()
    }

    pub(crate) fn set_connected(&self, peer: SocketAddr) {
        self.connected.get_or_init(|| peer);
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn choose(&self, peer: Option<SocketAddr>) {
        *lock(&self.chosen) = peer;
        self.any.store(peer.is_some(), Ordering::Release);
    }
}

/// Datagrams that were taken out of one socket and are to be received from the next. Almost always empty, and then it
/// costs a receive one load.
#[derive(Default)]
pub(crate) struct CarriedOver {
    any: AtomicBool,
    datagrams: Mutex<Datagrams>,
}

#[derive(Default)]
struct Datagrams {
    queue: VecDeque<(Box<[u8]>, SocketAddr)>,
    bytes: usize,
}

/// What a datagram that is kept counts for, beside its bytes; somewhat less than on Linux, so that what was in a
/// receive buffer has room in one of the same size.
const OVERHEAD: usize = 512;

impl CarriedOver {
    /// Keeps a datagram, unless `limit` has been reached: it stands for a receive buffer, and is as large.
    pub(crate) fn push(&self, bytes: &[u8], from: SocketAddr, limit: usize) -> bool {
        let mut datagrams = lock(&self.datagrams);
        if datagrams.bytes >= limit {
            return false;
        }
        datagrams.bytes += bytes.len() + OVERHEAD;
        datagrams.queue.push_back((bytes.into(), from));
        self.any.store(true, Ordering::SeqCst);
        true
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<(Box<[u8]>, SocketAddr)> {
        if self.any.load(Ordering::SeqCst) { self.take() } else { None }
    }

    #[cold]
    fn take(&self) -> Option<(Box<[u8]>, SocketAddr)> {
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

pub(crate) fn not_running() -> Error {
    Error::fixed(io::ErrorKind::NotConnected, "ERR_SOCKET_DGRAM_NOT_RUNNING", "Not running")
}
