//! Who is connected to a server, and the accounts: the one lock that admission and the end of a connection touch.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::connection::Core;
use super::server;
use super::slots::{Slot, Slots};
use crate::address::Address;
use crate::lock::lock;
use crate::report::{ConnectionId, How, RefusedBy, Report, Reporter};

/// A server's accounts, as [`Server::stats`](super::Server::stats) gives them. They always balance:
/// `accepted == open + ended + failed + panicked`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections admitted since the server was made.
    pub accepted: u64,
    /// Of these, how many are open.
    pub open: u64,
    /// How many ended in order or were destroyed by us.
    pub ended: u64,
    /// How many an error ended, the peer's or their handler's.
    pub failed: u64,
    /// How many a panic in their handler ended.
    pub panicked: u64,
    /// The largest number that was ever open at once.
    pub peak: u64,
    /// Clients turned away, by cause.
    pub refused: RefusedStats,
    /// How often accept(2) failed; each time it was tried again.
    pub accept_errors: u64,
}

/// How many clients were turned away, by cause: a part of [`Stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedStats {
    /// As many connections were open as allowed.
    pub full: u64,
    /// The client's address is on the block list.
    pub blocked: u64,
    /// No thread could be started.
    pub no_thread: u64,
    /// The server was being closed.
    pub closing: u64,
}

/// What a server and its connections share. It outlives the server as long as one of them is open.
pub(crate) struct Ledger {
    pub(crate) slots: Arc<Slots>,
    pub(crate) reporter: Reporter,
    pub(crate) address: Address,
    /// The server, as long as there is a handle to it.
    pub(crate) server: Weak<server::Inner>,
    /// Clients that accept(2) gave, until they are refused, or their socket is closed and their handler has returned. Goes
    /// up before the acceptor counts itself out and down last of all, so that 0 after the close means the end.
    present: AtomicUsize,
    /// How many threads wait for `changed`; while there are none, nobody has to be told.
    waiters: AtomicUsize,
    /// The listener is gone: nobody new comes.
    closed: AtomicBool,
    closed_was_told: AtomicBool,
    pages: Mutex<Pages>,
    /// `present` or the server's state changed. Told under the lock of `pages`.
    changed: Condvar,
}

#[derive(Default)]
struct Pages {
    open: HashMap<ConnectionId, Weak<Core>>,
    stats: Stats,
    /// Handlers that wait for all the others: they cannot wait for each other.
    waiting_handlers: usize,
}

thread_local! {
    /// The ledger of the server whose connection this thread is serving, by its address; 0 for none.
    static SERVING: Cell<usize> = const { Cell::new(0) };
}

impl Ledger {
    pub(crate) fn new(limit: usize, reporter: Reporter, address: Address, server: Weak<server::Inner>) -> Arc<Ledger> {
        Arc::new(Ledger {
            slots: Slots::new(limit),
            reporter,
            address,
            server,
            present: AtomicUsize::new(0),
            waiters: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            closed_was_told: AtomicBool::new(false),
            pages: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Enters a connection. From here on it counts as accepted.
    pub(crate) fn enter(&self, id: ConnectionId, connection: Weak<Core>) {
        let mut pages = lock(&self.pages);
        pages.open.insert(id, connection);
        pages.stats.accepted += 1;
        pages.stats.peak = pages.stats.peak.max(pages.open.len() as u64);
    }

    /// Strikes a connection out, once its slot is about to be given back.
    fn strike(&self, id: ConnectionId, how: How) {
        let mut pages = lock(&self.pages);
        pages.open.remove(&id);
        match how {
            How::Finished | How::Destroyed | How::Reset => pages.stats.ended += 1,
            How::Failed => pages.stats.failed += 1,
            How::Panicked => pages.stats.panicked += 1,
        }
    }

    pub(crate) fn refused(&self, by: RefusedBy) {
        let refused = &mut lock(&self.pages).stats.refused;
        *match by {
            RefusedBy::Full => &mut refused.full,
            RefusedBy::Blocked => &mut refused.blocked,
            RefusedBy::NoThread => &mut refused.no_thread,
            RefusedBy::Closing => &mut refused.closing,
        } += 1;
    }

    pub(crate) fn accept_failed(&self) {
        lock(&self.pages).stats.accept_errors += 1;
    }

    pub(crate) fn stats(&self) -> Stats {
        let pages = lock(&self.pages);
        Stats { open: pages.open.len() as u64, ..pages.stats }
    }

    /// The connections that are open at this moment, in the order they came.
    pub(crate) fn open(&self) -> Vec<Arc<Core>> {
        // Upgraded under the lock, dropped after it: the last handle's drop takes this lock too.
        let mut open: Vec<_> = lock(&self.pages).open.values().filter_map(Weak::upgrade).collect();
        open.sort_by_key(|connection| connection.id);
        open
    }

    /// Counts one more client as present, until what it returns is dropped.
    pub(crate) fn presence(self: &Arc<Ledger>) -> Presence {
        self.present.fetch_add(1, SeqCst);
        Presence(Arc::clone(self))
    }

    /// Runs a handler on this thread; while it runs, [`wait`](Ledger::wait) on this thread leaves its connection out.
    pub(crate) fn serving<T>(&self, handler: impl FnOnce() -> T) -> T {
        let before = SERVING.replace(self.identity());
        let result = handler();
        SERVING.set(before);
        result
    }

    fn identity(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Blocks until the server is closed and nobody is present but handlers that wait here themselves.
    pub(crate) fn wait(&self) {
        let own = usize::from(SERVING.get() == self.identity());
        let mut pages = lock(&self.pages);
        pages.waiting_handlers += own;
        self.changed.notify_all();
        self.waiters.fetch_add(1, SeqCst);
        while !self.closed.load(SeqCst) || self.present.load(SeqCst) > pages.waiting_handlers {
            pages = self.changed.wait(pages).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiters.fetch_sub(1, SeqCst);
        pages.waiting_handlers -= own;
    }

    /// Blocks until `done` or until the time is up. Whoever makes `done` true calls [`changed`](Ledger::changed) after it.
    pub(crate) fn wait_for(&self, time: Duration, done: impl Fn() -> bool) -> bool {
        let end = Instant::now() + time;
        let mut pages = lock(&self.pages);
        self.waiters.fetch_add(1, SeqCst);
        while !done() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            pages = self.changed.wait_timeout(pages, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.waiters.fetch_sub(1, SeqCst);
        drop(pages);
        done()
    }

    /// Wakes whoever waits here, to look again. A waiter counts itself before it looks, so either it sees what was done
    /// before this call, or this call sees the waiter.
    pub(crate) fn changed(&self) {
        if self.waiters.load(SeqCst) > 0 {
            let _pages = lock(&self.pages);
            self.changed.notify_all();
        }
    }

    /// The listener is gone.
    pub(crate) fn closed(&self) {
        self.closed.store(true, SeqCst);
        self.changed();
        self.tell_if_over();
    }

    /// Whether the server is closed and its last connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.closed.load(SeqCst) && self.present.load(SeqCst) == 0
    }

    /// Tells, once, that the server is closed and its last connection has ended.
    fn tell_if_over(&self) {
        if self.is_over() && !self.closed_was_told.swap(true, SeqCst) {
            self.reporter.tell(|| Report::Closed { address: self.address.clone() });
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("slots", &self.slots).field("stats", &self.stats()).finish()
    }
}

/// A connection's place in its server's accounts, held by the connection until it is closed.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) slot: Slot,
    /// Of a connection without a handler: it is present just as long as it is open.
    pub(crate) presence: Option<Presence>,
}

impl Place {
    /// Gives the slot back and books the end. The descriptor is closed only after this, so that a client that has seen
    /// the end and comes again finds the slot free.
    pub(crate) fn leave(self, id: ConnectionId, how: How) -> Option<Presence> {
        self.ledger.strike(id, how);
        drop(self.slot);
        self.presence
    }
}

/// Keeps a client counted as present.
#[derive(Debug)]
pub(crate) struct Presence(Arc<Ledger>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, SeqCst);
        self.0.changed();
        self.0.tell_if_over();
    }
}
