//! The shared state of a server's handles: the listening socket and its options.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
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
    /// The file of an adopted Unix socket, and a path that leads to it wherever it is.
    pub(crate) held: Mutex<Option<(File, PathBuf)>>,
    /// The address that clients connect to, if it is the same for all. `None` on a wildcard address.
    pub(crate) local: Option<Address>,
    /// Other programs may use the listener too. It is never shut down, and its settings are not changed.
    pub(crate) adopted: bool,
    /// Whether accepted sockets inherit the listener's settings. This is not certain for a listener from elsewhere:
    /// clients may have connected before the settings were made.
    pub(crate) inherits: bool,
    /// The process that listened. After fork(2) another process has the listener too.
    pub(crate) made_by: u32,
    /// The listener came with SO_LINGER, which connections inherit. With it, closing a connection would block or send
    /// RST.
    pub(crate) gives_linger: bool,
    /// Whether `close` may connect to the listener's own address. If not, the listener has a receive timeout.
    pub(crate) is_called: bool,
    /// The local addresses of the connections that `close` makes to wake acceptors.
    pub(crate) wakers: Mutex<Vec<Address>>,
    /// The file of a Unix socket that this process made.
    pub(crate) file: Mutex<Option<SocketFile>>,
    /// A spare descriptor for those connections, because they may be needed when no other descriptor is free.
    pub(crate) spare: Mutex<Option<socket2::Socket>>,
    pub(crate) shortage: Shortage,
    /// The turn to accept. All threads take turns if clients wait for a slot. Callers of `accept` take turns once one
    /// of them had a time.
    pub(crate) turn: WaitQueue<1>,
    /// A caller of `accept` had a time.
    pub(crate) timed: AtomicBool,
    /// How accept(2) waits. `answer` holds the lock, because it changes the listener's mode.
    pub(crate) told: Mutex<Told>,
    /// Clients that were accepted for callers whose time expired.
    pub(crate) kept: Mutex<VecDeque<Accepted>>,
    /// How many clients callers have in hand that may keep them.
    pub(crate) in_hand: AtomicUsize,
    /// The limits of single addresses, if there are any.
    pub(crate) addresses: Option<Arc<Addresses>>,
    /// The goodbye, if refused clients get one.
    pub(crate) goodbye: Option<Arc<[u8]>>,
    pub(crate) shutdowns: Mutex<Shutdowns>,
    /// Notified when one of these shutdowns has made its report.
    pub(crate) reported: Condvar,
    /// Taken out by `close`. Dropping it detaches the server from its `Cancel`.
    pub(crate) attached: Mutex<Option<Attached>>,
}

/// The shutdowns that run on threads of their own.
#[derive(Default)]
pub(crate) struct Shutdowns {
    pub(crate) under_way: usize,
    pub(crate) threads: Vec<Thread>,
    /// The report of the shutdown that ended last.
    pub(crate) report: Option<ShutdownReport>,
}

impl Listener {
    pub(crate) fn listener(&self) -> Option<Arc<socket2::Socket>> {
        read(&self.listener).clone()
    }

    /// Drops the listener. Its descriptor is closed when the last thread drops it. By now all acceptors have dropped
    /// it, but a call of `with_raw` may still have it. The listener is not shut down here, because after fork(2) that
    /// would end it for the process that made it.
    pub(crate) fn drop_listener(&self) {
        let listener = write(&self.listener).take();
        drop(listener);
    }
}
