//! What the handles of a socket share: the open descriptor, which `close` and `disconnect` take out, and its settings.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::address::Address;
use crate::block_list::BlockList;
use crate::cancel::Attached;
use crate::dgram::interface::{Interface, Membership};
use crate::dgram::options::SocketOptions;
use crate::dgram::timeouts::Timeouts;
use crate::dgram::wake::{Draining, Waker, receive_timeout};
use crate::error::Error;
use crate::report::{Report, Reporter};
use crate::sync::backoff::Backoff;
use crate::sync::poison::{lock, read, write};

/// What the handles share.
pub(crate) struct Shared {
    pub(crate) address: Address,
    pub(crate) v6: bool,
    /// Whether it is of IPv6 and reaches IPv4 too.
    pub(crate) dual: bool,
    pub(crate) slot: RwLock<Slot>,
    pub(crate) closed: AtomicBool,
    /// Dropped by `close`, which everyone sees who waits on `closing`.
    pub(crate) closer: Mutex<Option<Sender<Infallible>>>,
    pub(crate) closing: Receiver<Infallible>,
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
}

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
    pub(crate) options: SocketOptions,
    pub(crate) interface: Option<Interface>,
    pub(crate) memberships: Vec<Membership>,
    /// What sockets that were in its place before had lost.
    pub(crate) lost_before: u64,
}

impl Shared {
    pub(crate) fn open(&self) -> Option<Arc<Open>> {
        read(&self.slot).open.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        lock(&self.closer).take();
        drop(lock(&self.attached).take());
        if first {
            self.reporter.tell(|| Report::Closing { address: self.address.clone() });
        }
        let draining = {
            let mut slot = write(&self.slot);
            if let Some(open) = slot.open.take() {
                slot.draining = Some(Draining::new(open));
            }
            slot.draining.clone()
        };
        if let Some(draining) = draining {
            draining.wait();
        }
        if first {
            self.carried_over.clear();
            self.reporter.tell(|| Report::Closed { address: self.address.clone() });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// An open socket. Whoever uses it holds it for the time of one call; the last to let go closes the descriptor.
pub(crate) struct Open {
    pub(crate) socket: UdpSocket,
    /// Its own address, as the system had it when it was new.
    pub(crate) local: SocketAddr,
    /// Somebody else may have it too.
    pub(crate) adopted: bool,
    /// The only one it talks to, once connected.
    pub(crate) peer: OnceLock<SocketAddr>,
    pub(crate) timeouts: Mutex<Timeouts>,
    /// The receive timeout its giver had set on an adopted one, to be set again at the end; until a new descriptor of
    /// the same socket takes its place.
    giver_timeout: Mutex<Option<Option<Duration>>>,
    /// Who wakes its receivers, once they are to let go.
    pub(crate) waker: OnceLock<Waker>,
    pub(crate) gone: Receiver<Infallible>,
    /// The last field: it is dropped when the descriptor is closed, and `gone` tells.
    _held: Sender<Infallible>,
}

impl Open {
    /// Whether it is going to be connected has to be known before the first receiver sees it.
    pub(crate) fn new(socket: UdpSocket, local: SocketAddr, adopted: bool, connected: bool) -> Open {
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
    pub(crate) fn renew(&self) -> io::Result<Open> {
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

    pub(crate) fn pop(&self) -> Option<(Box<[u8]>, SocketAddr)> {
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

pub(crate) fn not_running() -> Error {
    Error::fixed(io::ErrorKind::NotConnected, "ERR_SOCKET_DGRAM_NOT_RUNNING", "Not running")
}
