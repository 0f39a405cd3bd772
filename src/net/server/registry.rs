//! Who is connected to a server, and the accounts: the one lock that admission and the end of a connection touch.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::address::Address;
use crate::events::this_thread;
use crate::limit::{AddressSlot, Slot, Slots};
use crate::net::socket::connection::{Connection, Owner};
use crate::report::{ConnectionId, Outcome, RefusedBy, Report, Reporter};
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;

/// A server's accounts, as [`Server::stats`](crate::net::Server::stats) gives them. They always balance:
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
    /// How often accept(2) failed. It was tried again each time, unless the listening socket had become useless.
    pub accept_errors: u64,
    /// Clients turned away, by the number of the cause.
    refused: Refusals,
}

impl Stats {
    /// How many clients were turned away for that cause.
    pub fn refused(&self, by: RefusedBy) -> u64 {
        self.refused.0[by as usize]
    }

    /// How many clients were turned away, for whatever cause.
    pub fn refused_total(&self) -> u64 {
        self.refused.0.iter().sum()
    }
}

/// Prints how often each cause has refused a client.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Refusals([u64; RefusedBy::ALL.len()]);

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(RefusedBy::ALL.iter().zip(&self.0)).finish()
    }
}

/// What a server and its connections share. It outlives the server as long as one of them is open.
pub(crate) struct Registry {
    pub(crate) slots: Arc<Slots>,
    pub(crate) reporter: Reporter,
    pub(crate) address: Address,
    /// Clients that accept(2) gave, until they are refused, or their socket is closed and their handler has returned.
    /// Goes up before the acceptor counts itself out and down last of all, so that 0 after the close means the end.
    present: AtomicUsize,
    /// How many threads wait for `changed`; while there are none, nobody has to be told.
    waiters: AtomicUsize,
    /// The listener is gone: nobody new comes.
    closed: AtomicBool,
    /// Nobody is present any more, and somebody tells so or has done.
    ended: AtomicBool,
    /// It has been told. Last of all.
    over: AtomicBool,
    /// The thread that tells so just now, which cannot wait for itself.
    telling: AtomicUsize,
    /// A shutdown has begun: whoever enters still is told to end.
    interrupting: AtomicBool,
    state: Mutex<State>,
    /// `present` or the server's state changed. Told under the lock of `state`.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: HashMap<ConnectionId, Weak<Connection>>,
    stats: Stats,
    /// How many of those that ended a shutdown has cut off.
    forced: u64,
    /// Handlers that wait for all the others: they cannot wait for each other.
    waiting_handlers: usize,
    /// Streams of connections that are over but for the input that is thrown away.
    lingering: Vec<Weak<TcpStream>>,
    /// Streams of clients who have not said yet who they are.
    awaiting_header: Vec<Weak<TcpStream>>,
    /// Once nobody but they was left. It stays so, since nobody new comes, although the first of them to be let go is
    /// counted among the others again.
    handlers_let_go: bool,
}

thread_local! {
    /// The connection this thread is serving, and the registry of its server, by its address.
    static SERVING: Cell<Option<(usize, ConnectionId)>> = const { Cell::new(None) };
}

impl Registry {
    pub(crate) fn new(slots: Slots, reporter: Reporter, address: Address) -> Arc<Registry> {
        Arc::new(Registry {
            slots: Arc::new(slots),
            reporter,
            address,
            present: AtomicUsize::new(0),
            waiters: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            over: AtomicBool::new(false),
            telling: AtomicUsize::new(0),
            interrupting: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Enters a connection. From here on it counts as accepted.
    pub(crate) fn register(&self, id: ConnectionId, connection: &Arc<Connection>) {
        let mut state = lock(&self.state);
        // Either the shutdown finds it registered, or it finds the shutdown.
        if self.is_interrupting() {
            connection.interrupt_reads();
        }
        state.open.insert(id, Arc::downgrade(connection));
        state.stats.accepted += 1;
        state.stats.peak = state.stats.peak.max(state.open.len() as u64);
    }

    /// Removes a connection, once its slot is about to be given back.
    fn remove(&self, id: ConnectionId, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.open.remove(&id);
        state.forced += u64::from(outcome == Outcome::Forced);
        match outcome {
            Outcome::Finished | Outcome::Destroyed | Outcome::Reset | Outcome::Forced => state.stats.ended += 1,
            Outcome::Failed => state.stats.failed += 1,
            Outcome::Panicked => state.stats.panicked += 1,
        }
    }

    pub(crate) fn refused(&self, by: RefusedBy) {
        lock(&self.state).stats.refused.0[by as usize] += 1;
    }

    pub(crate) fn accept_failed(&self) {
        lock(&self.state).stats.accept_errors += 1;
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = lock(&self.state);
        Stats { open: state.open.len() as u64, ..state.stats }
    }

    /// How many connections have ended so far, in whatever way, and how many of these were forced to.
    pub(crate) fn ends(&self) -> (u64, u64) {
        let State { stats, forced, .. } = &*lock(&self.state);
        (stats.ended + stats.failed + stats.panicked, *forced)
    }

    /// The connections that are open at this moment, in the order they came.
    pub(crate) fn open(&self) -> Vec<Arc<Connection>> {
        // Upgraded under the lock, dropped after it: the last handle's drop takes this lock too.
        let mut open: Vec<_> = lock(&self.state).open.values().filter_map(Weak::upgrade).collect();
        open.sort_by_key(|connection| connection.id);
        open
    }

    /// Counts one more client as present, until what it returns is dropped.
    pub(crate) fn presence(self: &Arc<Registry>) -> Presence {
        self.present.fetch_add(1, SeqCst);
        Presence(Arc::clone(self))
    }

    /// Runs a handler on this thread; while it runs, [`wait`](Registry::wait) on this thread leaves its connection out.
    pub(crate) fn serving<T>(&self, id: ConnectionId, handler: impl FnOnce() -> T) -> T {
        let before = SERVING.replace(Some((self.identity(), id)));
        let result = handler();
        SERVING.set(before);
        result
    }

    /// The connection that the calling thread is serving, if it is one of this server's.
    pub(crate) fn own(&self) -> Option<ConnectionId> {
        SERVING.get().filter(|(registry, _)| *registry == self.identity()).map(|(_, id)| id)
    }

    fn identity(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Blocks until the server is closed, nobody is present, and that has been told. In a handler, until nobody is but
    /// handlers that wait here themselves.
    pub(crate) fn wait(&self) {
        let own = usize::from(self.own().is_some());
        let mut state = lock(&self.state);
        state.waiting_handlers += own;
        self.changed.notify_all();
        self.waiters.fetch_add(1, SeqCst);
        loop {
            if self.closed.load(SeqCst) {
                let present = self.present.load(SeqCst);
                state.handlers_let_go |= present <= state.waiting_handlers;
                if own == 1 && state.handlers_let_go {
                    break;
                }
            }
            if self.over.load(SeqCst) || self.is_telling() {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiters.fetch_sub(1, SeqCst);
        state.waiting_handlers -= own;
    }

    /// Blocks until `close` has done its work, and has told the end if that is it.
    pub(crate) fn wait_for_close(&self) {
        let done = || self.closed.load(SeqCst) && (self.over.load(SeqCst) || self.present.load(SeqCst) > 0);
        while !done() && !self.is_telling() {
            self.wait_for(Duration::from_secs(3600), done);
        }
    }

    fn is_telling(&self) -> bool {
        self.telling.load(SeqCst) == this_thread()
    }

    /// Blocks until `done` or until the time is up. Whoever makes `done` true calls [`changed`](Registry::changed)
    /// after it.
    pub(crate) fn wait_for(&self, time: Duration, done: impl Fn() -> bool) -> bool {
        let end = Deadline::after(time);
        let mut state = lock(&self.state);
        self.waiters.fetch_add(1, SeqCst);
        while !done() && !end.is_over() {
            let left = end.left().unwrap_or(Duration::MAX);
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.waiters.fetch_sub(1, SeqCst);
        drop(state);
        done()
    }

    /// Blocks until nobody is present but the handler that calls, or until the time is up; gives how many are.
    pub(crate) fn wait_until_alone(&self, time: Duration) -> usize {
        let own = usize::from(self.own().is_some());
        let others = || self.present.load(SeqCst).saturating_sub(own);
        self.wait_for(time, || others() == 0);
        others()
    }

    /// Registers a stream whose PROXY header is awaited, until what this returns is dropped; then the caller alone has
    /// it.
    pub(crate) fn awaiting_header<'a>(&'a self, stream: &'a Arc<TcpStream>) -> Registered<'a> {
        let mut state = lock(&self.state);
        if self.is_interrupting() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        state.awaiting_header.push(Arc::downgrade(stream));
        Registered { registry: self, stream }
    }

    /// Ends all lingering, and all waiting for headers.
    pub(crate) fn cut_lingering(&self) {
        let state = &mut *lock(&self.state);
        for stream in
            state.lingering.drain(..).chain(state.awaiting_header.drain(..)).filter_map(|stream| stream.upgrade())
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From here on the reads of a connection that enters are interrupted, and one whose header has not arrived need
    /// not go on.
    pub(crate) fn interrupt_newcomers(&self) {
        self.interrupting.store(true, SeqCst);
        for stream in lock(&self.state).awaiting_header.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    /// Whether a shutdown has begun.
    pub(crate) fn is_interrupting(&self) -> bool {
        self.interrupting.load(SeqCst)
    }

    /// Wakes whoever waits here, to look again. A waiter counts itself before it looks, so either it sees what was done
    /// before this call, or this call sees the waiter.
    pub(crate) fn changed(&self) {
        if self.waiters.load(SeqCst) > 0 {
            let _state = lock(&self.state);
            self.changed.notify_all();
        }
    }

    /// The listener is gone. Who calls this is present, so that the end is told after it.
    pub(crate) fn closed(&self) {
        self.closed.store(true, SeqCst);
        self.changed();
    }

    /// Whether the server is closed, its last connection has ended, and that has been told.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// The last one leaves a closed server. Whoever closes it again comes and leaves once more, which is no second end;
    /// the hook itself may do so.
    fn end(&self) {
        if self.ended.swap(true, SeqCst) {
            return;
        }
        self.telling.store(this_thread(), SeqCst);
        self.reporter.tell(|| Report::Closed { address: self.address.clone() });
        self.telling.store(0, SeqCst);
        self.over.store(true, SeqCst);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("slots", &self.slots).field("stats", &self.stats()).finish()
    }
}

/// A connection's place in its server's accounts, held by the connection until its end was reported.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    /// Given back when the connection ends, in this order: that of its address, where each has a limit of its own.
    slots: Option<(Option<AddressSlot>, Slot)>,
    /// Whose input is thrown away.
    lingering: Option<Weak<TcpStream>>,
    /// Of a connection without a handler: it is present just as long as it is open.
    _presence: Option<Presence>,
}

impl Registration {
    pub(crate) fn new(
        registry: &Arc<Registry>,
        slots: (Slot, Option<AddressSlot>),
        presence: Option<Presence>,
    ) -> Registration {
        Registration {
            registry: Arc::clone(registry),
            slots: Some((slots.1, slots.0)),
            lingering: None,
            _presence: presence,
        }
    }
}

impl Owner for Registration {
    fn closing(&mut self, id: ConnectionId, outcome: Outcome) {
        self.registry.remove(id, outcome);
        self.slots = None;
    }

    fn lingers(&mut self, stream: &Arc<TcpStream>) {
        let stream = Arc::downgrade(stream);
        lock(&self.registry.state).lingering.push(stream.clone());
        self.lingering = Some(stream);
    }

    fn presence(&self) -> Box<dyn Any + Send> {
        Box::new(self.registry.presence())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(stream) = &self.lingering {
            lock(&self.registry.state).lingering.retain(|other| !other.ptr_eq(stream));
        }
    }
}

/// Keeps a stream registered whose header is awaited.
pub(crate) struct Registered<'a> {
    registry: &'a Registry,
    stream: &'a Arc<TcpStream>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let this = Arc::as_ptr(self.stream);
        lock(&self.registry.state).awaiting_header.retain(|other| other.as_ptr() != this);
    }
}

/// Keeps a client counted as present.
#[derive(Debug)]
pub(crate) struct Presence(Arc<Registry>);

impl Drop for Presence {
    fn drop(&mut self) {
        let was_last = self.0.present.fetch_sub(1, SeqCst) == 1;
        if was_last && self.0.closed.load(SeqCst) {
            self.0.end();
        }
        self.0.changed();
    }
}
