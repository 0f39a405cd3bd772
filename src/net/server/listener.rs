//! What the handles of a server share: the listening socket, and what it was made with.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, RwLock};

use crate::address::Address;
use crate::cancel::Attached;
use crate::net::server::arrival::Accepted;
use crate::net::server::options::ServerOptions;
use crate::net::server::registry::{Registry, ShutdownReport};
use crate::net::server::shortage::Shortage;
use crate::net::server::told::Told;
use crate::net::unix::SocketFile;
use crate::slots::Addresses;
use crate::sync::poison::{read, write};
use crate::sync::wait_queue::WaitQueue;
use crate::thread::Thread;

/// What [`Server`] handles share.
pub(crate) struct Listener {
    pub(crate) options: ServerOptions,
    pub(crate) registry: Arc<Registry>,
    /// Dropped by `close`. Only threads that have a seat, or close, hold it.
    pub(crate) listener: RwLock<Option<Arc<socket2::Socket>>>,
    /// The number of the listening socket in the system's tables, where it has such tables.
    pub(crate) inode: Option<u64>,
    pub(crate) address: Address,
    /// Of a Unix socket: its path as it can be called in whatever directory the program is by then.
    pub(crate) path: Option<PathBuf>,
    /// The end a client reaches, where that is the same for all: not so on a wildcard address.
    pub(crate) local: Option<Address>,
    /// Somebody else may have the listener too: it is never shut down and its settings are left alone.
    pub(crate) adopted: bool,
    /// Whether accepted sockets have the settings of the listener. Of one that was given, clients may have connected
    /// before those were made.
    pub(crate) inherits: bool,
    /// The process that listened: after fork(2) another has the listener too.
    pub(crate) made_by: u32,
    /// Its giver has set SO_LINGER, which connections inherit: closing them would wait, or reset them.
    pub(crate) gives_linger: bool,
    /// Whether a call of ours reaches it. Where not, it has a receive timeout.
    pub(crate) is_called: bool,
    /// Our own ends of the connections that `close` makes to wake acceptors.
    pub(crate) wakers: Mutex<Vec<Address>>,
    /// Of a Unix socket that we made.
    pub(crate) file: Mutex<Option<SocketFile>>,
    /// A descriptor that is kept for those calls, since they may be needed when there is no other left.
    pub(crate) spare: Mutex<Option<socket2::Socket>>,
    pub(crate) shortage: Shortage,
    /// Threads that take turns to accept: all where clients wait for a slot, callers of `accept` once one has had a
    /// time.
    pub(crate) turn: WaitQueue<1>,
    /// A caller of `accept` has had a time.
    pub(crate) timed: AtomicBool,
    /// How accept(2) waits. `answer` holds it, since it needs the mode of the listener for itself.
    pub(crate) told: Mutex<Told>,
    /// Clients that were accepted for callers whose time was over.
    pub(crate) kept: Mutex<VecDeque<Accepted>>,
    /// Where each address has a limit of its own.
    pub(crate) addresses: Option<Arc<Addresses>>,
    /// What clients that are turned away are told, where they are.
    pub(crate) goodbye: Option<Arc<[u8]>>,
    pub(crate) shutdowns: Mutex<Shutdowns>,
    /// One of them has reported.
    pub(crate) reported: Condvar,
    /// Taken out by `close`: dropping it detaches the server from the handle that cancels it.
    pub(crate) attached: Mutex<Option<Attached>>,
}

/// Shutdowns on threads of their own.
#[derive(Default)]
pub(crate) struct Shutdowns {
    pub(crate) under_way: usize,
    pub(crate) threads: Vec<Thread>,
    /// Of the last that was over.
    pub(crate) report: Option<ShutdownReport>,
}

impl Listener {
    pub(crate) fn listener(&self) -> Option<Arc<socket2::Socket>> {
        read(&self.listener).clone()
    }

    /// The descriptor is closed when the last thread has let go of it: acceptors have by then, `with_raw` may not. It
    /// is not shut down here: after fork(2) that would end the listener of the process that made it.
    pub(crate) fn drop_listener(&self) {
        let listener = write(&self.listener).take();
        drop(listener);
    }
}
