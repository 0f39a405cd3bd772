//! The shared state of a server's handles: the listening socket and its options.

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

/// The shared state of [`Server`] handles.
pub(crate) struct Listener {
    pub(crate) options: ServerOptions,
    pub(crate) registry: Arc<Registry>,
    /// Dropped by `close`. Only threads that have a seat, or that close, hold a clone.
    pub(crate) listener: RwLock<Option<Arc<socket2::Socket>>>,
    /// The number of the listening socket in the system's tables, if there are any.
    pub(crate) inode: Option<u64>,
    pub(crate) address: Address,
    /// The path of a Unix socket, made absolute, so that `close` can connect to it from any current directory.
    pub(crate) path: Option<PathBuf>,
    /// The address that clients reach, if it is the same for all. Not so on a wildcard address.
    pub(crate) local: Option<Address>,
    /// Other programs may use the listener too. It is never shut down, and its settings are not changed.
    pub(crate) adopted: bool,
    /// Whether accepted sockets have the listener's settings. Clients of a listener from elsewhere may have connected
    /// before the settings were made.
    pub(crate) inherits: bool,
    /// The process that listened. After fork(2) another process has the listener too.
    pub(crate) made_by: u32,
    /// The listener came with SO_LINGER, which connections inherit. Closing them would block or reset them.
    pub(crate) gives_linger: bool,
    /// Whether a connect to its own address reaches it. Otherwise it has a receive timeout.
    pub(crate) is_called: bool,
    /// The local addresses of the connections that `close` makes to wake acceptors.
    pub(crate) wakers: Mutex<Vec<Address>>,
    /// The file of a Unix socket that this process made.
    pub(crate) file: Mutex<Option<SocketFile>>,
    /// A descriptor kept for those connections, since they may be needed when no other is free.
    pub(crate) spare: Mutex<Option<socket2::Socket>>,
    pub(crate) shortage: Shortage,
    /// The turn to accept. All threads take turns if clients wait for a slot. Callers of `accept` do once one of them
    /// had a time.
    pub(crate) turn: WaitQueue<1>,
    /// A caller of `accept` had a time.
    pub(crate) timed: AtomicBool,
    /// How accept(2) waits. `answer` holds the lock, since it changes the listener's mode.
    pub(crate) told: Mutex<Told>,
    /// Clients that were accepted for callers whose time expired.
    pub(crate) kept: Mutex<VecDeque<Accepted>>,
    /// The limits of single addresses, if there are any.
    pub(crate) addresses: Option<Arc<Addresses>>,
    /// The goodbye, if refused clients get one.
    pub(crate) goodbye: Option<Arc<[u8]>>,
    pub(crate) shutdowns: Mutex<Shutdowns>,
    /// Notified when one of them has reported.
    pub(crate) reported: Condvar,
    /// Taken out by `close`. Dropping it detaches the server from its `Cancel`.
    pub(crate) attached: Mutex<Option<Attached>>,
}

/// The shutdowns that run on threads of their own.
#[derive(Default)]
pub(crate) struct Shutdowns {
    pub(crate) under_way: usize,
    pub(crate) threads: Vec<Thread>,
    /// The report of the last one that ended.
    pub(crate) report: Option<ShutdownReport>,
}

impl Listener {
    pub(crate) fn listener(&self) -> Option<Arc<socket2::Socket>> {
        read(&self.listener).clone()
    }

    /// The descriptor is closed when the last thread drops it. Acceptors have by now, `with_raw` may not have. The
    /// listener is not shut down here: after fork(2) that would end it for the process that made it.
    pub(crate) fn drop_listener(&self) {
        let listener = write(&self.listener).take();
        drop(listener);
    }
}
