//! What the handles of a server share: the listening socket, and the state of its threads.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use crate::address::Address;
use crate::cancel::Attached;
use crate::events::Consumer;
use crate::limit::Addresses;
use crate::net::server::options::ServerOptions;
use crate::net::server::refuse_with::Goodbyes;
use crate::net::server::registry::Registry;
use crate::net::unix::SocketFile;
use crate::sync::poison::{read, write};

/// What [`Server`] handles share.
pub(crate) struct Listener {
    pub(crate) options: ServerOptions,
    pub(crate) registry: Arc<Registry>,
    /// Dropped by `close`. Only threads that are counted in `accepting` hold it.
    pub(crate) listener: RwLock<Option<Arc<socket2::Socket>>>,
    /// The number of the listening socket in the system's tables, where it has such tables.
    pub(crate) inode: Option<u64>,
    pub(crate) address: Address,
    /// The end a client reaches, where that is the same for all: not so on a wildcard address.
    pub(crate) local: Option<Address>,
    /// Somebody else may have the listener too: it is never shut down and its settings are left alone.
    pub(crate) adopted: bool,
    /// `close` was called. Acceptors look at it before and after each accept(2).
    pub(crate) closing: AtomicBool,
    /// How many threads are inside accept(2), or close and hold the listener.
    pub(crate) accepting: AtomicUsize,
    /// The threads that answer those who were queued, one of which may be told to close the server again.
    pub(crate) answering: Mutex<Vec<usize>>,
    /// Our own ends of the connections that `close` makes to wake acceptors.
    pub(crate) wakers: Mutex<Vec<Address>>,
    /// Of a Unix socket that we made.
    pub(crate) file: Mutex<Option<SocketFile>>,
    /// A descriptor that is kept for those calls, since they may be needed when there is no other left.
    pub(crate) spare: Mutex<Option<socket2::Socket>>,
    pub(crate) paused: Paused,
    /// Held by the thread that accepts, where clients wait for a slot.
    pub(crate) turn: Mutex<()>,
    /// Where each address has a limit of its own.
    pub(crate) addresses: Option<Arc<Addresses>>,
    /// Where clients that are turned away are told so.
    pub(crate) goodbyes: Option<Arc<Goodbyes>>,
    pub(crate) served: AtomicBool,
    /// Who receives the events, if they go through a channel.
    pub(crate) consumer: OnceLock<Arc<Consumer>>,
    /// Taken out by `close`: dropping it detaches the server from the handle that cancels it.
    pub(crate) attached: Mutex<Option<Attached>>,
}

/// Whether accepting fails, whichever thread does it: one shortage, told once. It is over when one of them gets a
/// client; the others may sit in accept(2) by then, with no failure any more and no client yet.
#[derive(Debug, Default)]
pub(crate) struct Paused(pub(crate) AtomicBool);

/// How long a thread that has handed its events to another one waits for that one to look at them.
const FIRST_LOOK: Duration = Duration::from_secs(1);

impl Listener {
    pub(crate) fn set_consumer(&self, consumer: &Arc<Consumer>) {
        // There is one channel at most, since there is one `serve`.
        let _ = self.consumer.set(Arc::clone(consumer));
    }

    /// The calling thread is about to wait until every connection has ended, or for `time`.
    pub(crate) fn about_to_wait(&self, time: Duration) {
        let Some(consumer) = self.consumer.get() else {
            return;
        };
        if consumer.may_be_here() {
            self.registry.wait_for(FIRST_LOOK.min(time), || self.registry.is_over());
        }
        if consumer.is_here() || consumer.may_be_here() {
            consumer.leave();
        }
    }

    pub(crate) fn listener(&self) -> Option<Arc<socket2::Socket>> {
        read(&self.listener).clone()
    }

    /// Under the lock to the end, so that no other close passes here before the port is free.
    pub(crate) fn drop_listener(&self) {
        *write(&self.listener) = None;
    }
}
