//! What the handles of one socket share: its settings, and the open descriptor, which `close` and `disconnect` remove.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Instant;
use std::{io, process};

use crate::address::Family;
use crate::block_list::BlockList;
use crate::cancel::{Attached, Cancel, FiredOnDrop};
use crate::dgram::interface::{Interface, Membership};
use crate::dgram::options::SocketOptions;
use crate::dgram::timeouts::Timeouts;
use crate::dgram::udp::{is_listed, lost};
use crate::dgram::wake::{Draining, Waker, receive_timeout};
use crate::error::Error;
use crate::report::{Report, Reporter};
use crate::sync::backoff::Backoff;
use crate::sync::poison::{lock, read, try_lock, write};
use crate::sys;

pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    pub(crate) v6: bool,
    /// The family that it reaches, if it reaches only one.
    pub(crate) only: Option<Family>,
    /// Whether a socket that reaches both families prefers IPv4 for sending.
    pub(crate) prefers_v4: bool,
    pub(crate) slot: RwLock<Slot>,
    pub(crate) closed: AtomicBool,
    /// Cancelled by `close`. This ends pauses, and channels stop waiting for room.
    pub(crate) closing: Cancel,
    /// Datagrams that had arrived at the socket that `disconnect` replaced.
    pub(crate) carried_over: CarriedOver,
    pub(crate) backoff: Mutex<Backoff>,
    pub(crate) reporter: Reporter,
    pub(crate) receive_block_list: Option<BlockList>,
    pub(crate) send_block_list: Option<BlockList>,
    /// Removed by `close`. Dropping it detaches the socket from its `Cancel`.
    pub(crate) attached: Mutex<Option<Attached>>,
    /// Held during everything except sending and receiving, so that two changes never mix.
    pub(crate) setup: Mutex<Setup>,
    pub(crate) losses: Mutex<Losses>,
    /// The address of this machine that an IPv6 socket sends to if it also reaches IPv4, once it is known.
    pub(crate) this_machine: OnceLock<IpAddr>,
}

/// How many datagrams were lost. Locked after `Shared::setup`.
#[derive(Default)]
pub(crate) struct Losses {
    /// Lost by the sockets that this socket replaced.
    pub(crate) before: u64,
    /// The total at the last count.
    pub(crate) counted: Option<u64>,
    /// Whether the program has called `lost`.
    pub(crate) asked: bool,
}

/// How many rows of the system's table `close` reads for the last count, if the program never called `lost`. Reading
/// 1,000 rows takes about a millisecond.
const ROWS_AT_CLOSE: usize = 1000;

/// Every call takes the socket from here, and `close` removes it. So a forgotten handle keeps no descriptor open.
pub(crate) struct Slot {
    /// `None` once the socket is closed.
    pub(crate) open: Option<Arc<Receiving>>,
    /// The sockets that `close` and `disconnect` removed, while other threads may still hold them.
    pub(crate) draining: Vec<Draining>,
}

impl Slot {
    pub(crate) fn new(open: Open) -> Slot {
        Slot { open: Some(Receiving::new(open)), draining: Vec::new() }
    }

    /// Notes that `open` was removed.
    pub(crate) fn drain(&mut self, open: &Arc<Receiving>) -> Draining {
        let draining = Draining::new(open);
        self.draining.retain(|earlier| !earlier.is_over());
        self.draining.push(draining.clone());
        draining
    }
}

/// What is needed to make the socket again.
pub(crate) struct Setup {
    /// The address it was bound to, with the port it got.
    pub(crate) local: SocketAddr,
    pub(crate) v6: bool,
    pub(crate) only: Option<Family>,
    pub(crate) options: SocketOptions,
    pub(crate) interface: Option<Interface>,
    pub(crate) memberships: Vec<Membership>,
}

impl Shared {
    pub(crate) fn open(&self) -> Option<Arc<Open>> {
        read(&self.slot).open.as_ref().map(|receiving| Arc::clone(&receiving.open))
    }

    /// The socket for one receive.
    #[inline]
    pub(crate) fn receiving(&self) -> Option<Arc<Receiving>> {
        read(&self.slot).open.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.end(true);
    }

    /// Closes the socket. `called` is false if the last handle was dropped. In this case, nothing is done that could
    /// affect another process that has the socket.
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
                slot.drain(open);
            }
            (open, slot.draining.clone())
        };
        if let Some(open) = open {
            if called {
                self.count_losses(&open.open);
            }
        }
        let begun = Instant::now();
        let mut gone = true;
        for draining in draining {
            gone &= draining.wait(begun, true);
        }
        if first {
            self.carried_over.clear();
            self.reporter.tell(|| match gone {
                true => Report::Closed { address: self.address.into(), udp: true },
                false => Report::Failed { connection: None, error: still_in_use(self.address), udp: true },
            });
        }
    }

    /// Counts the lost datagrams, because a closed socket has no count.
    fn count_losses(&self, open: &Open) {
        // If another thread is counting, its result is used. Waiting for it would keep the port in use.
        let Some(mut losses) = try_lock(&self.losses) else { return };
        let most = if losses.asked { usize::MAX } else { ROWS_AT_CLOSE };
        let now = sys::inode(&open.socket).and_then(|inode| lost(inode, self.v6, most));
        losses.counted = now.map(|now| losses.before + now).or(losses.counted);
    }
}

/// The error that some calls did not return in time. The descriptor stays open and the port in use until they do.
fn still_in_use(address: SocketAddr) -> Error {
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
    /// landline made it.
    Made,
    /// The program passed it in, and no other code uses it.
    Owned,
    /// The program passed it in, and others may use it.
    Adopted,
}

/// The open socket as receives hold it. Its count says how many receives are in progress. A count of their own would
/// cost each receive two atomic operations.
pub(crate) struct Receiving {
    pub(crate) open: Arc<Open>,
}

impl Receiving {
    pub(crate) fn new(open: Open) -> Arc<Receiving> {
        Arc::new(Receiving { open: Arc::new(open) })
    }
}

/// An open socket. A thread holds it during one call. The last thread that releases it closes the descriptor.
pub(crate) struct Open {
    pub(crate) socket: UdpSocket,
    /// Its address when it was made or taken over.
    pub(crate) local: SocketAddr,
    /// Others may use it.
    pub(crate) adopted: bool,
    /// Other code made it, so its settings are not known.
    pub(crate) given: bool,
    /// The process that made it. After fork(2) another process may have it too.
    pub(crate) made_by: u32,
    /// The network namespace that it belongs to.
    pub(crate) network: Option<u64>,
    /// Its peer, if it has one.
    pub(crate) peer: Peer,
    pub(crate) timeouts: Mutex<Timeouts>,
    /// Wakes its receivers. A socket made by landline gets one when it is closed. An adopted socket gets one when it is
    /// taken over, if the waker's datagrams are expected to arrive.
    pub(crate) waker: OnceLock<Waker>,
    /// The last field, so that it signals after the descriptor is closed.
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
        // Other code may have made it elsewhere. No namespace has the number 0.
        let is_elsewhere = given && !adopted && !is_listed(&socket, local);
        let network = if is_elsewhere { Some(0) } else { sys::network() };
        let look = receive_timeout(&socket, local, adopted, waker.get().is_some());
        Open {
            timeouts: Mutex::new(Timeouts::new(&socket, look, adopted)),
            socket,
            local,
            adopted,
            given,
            made_by: process::id(),
            network,
            peer,
            waker,
            gone: FiredOnDrop::default(),
        }
    }
}

/// The peer of a socket. A peer set with connect(2) stays as long as the socket. The system does not know a chosen
/// peer.
#[derive(Default)]
pub(crate) struct Peer {
    any: AtomicBool,
    connected: OnceLock<SocketAddr>,
    chosen: Mutex<Option<SocketAddr>>,
}

impl Peer {
    /// Called for each datagram, so it is a single load.
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

/// Datagrams of a replaced socket that the program has yet to receive. Usually there are none, and a receive pays one
/// load.
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

/// How many bytes a kept datagram counts in addition to its contents. Linux counts a little more, so the contents of a
/// receive buffer fit into one of the same size here.
const OVERHEAD: usize = 512;

impl CarriedOver {
    /// Keeps a datagram, unless the kept ones have reached `limit`, the size of the receive buffer.
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
