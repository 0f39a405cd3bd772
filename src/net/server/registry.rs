//! The open connections of a server, and its counters. One lock protects them. Admitting and ending a connection take
//! that lock.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use crate::address::Address;
use crate::callback::{ActsFor, Frame};
use crate::net::socket::connection::{Connection, Ended, Owner};
use crate::net::socket::lingering::{Lingering, Place};
use crate::numbered::Numbered;
use crate::report::{ConnectionId, Outcome, RefusedBy, Report, Reporter};
use crate::slots::{Slot, Slots};
use crate::sync::callbacks::{Callbacks, InHook};
use crate::sync::deadline::Deadline;
use crate::sync::gate::{Gate, NoSeat, View};
use crate::sync::poison::lock;

/// A server's counters, from [`Server::stats`](crate::net::Server::stats). At any moment,
/// `accepted == open + ended + failed + panicked`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections admitted since the server was made.
    pub accepted: u64,
    /// How many of the admitted connections are open.
    pub open: u64,
    /// How many connections ended without an error, or were destroyed by this program.
    pub ended: u64,
    /// How many connections ended with an error of the connection or of their handler.
    pub failed: u64,
    /// How many connections ended because their handler panicked.
    pub panicked: u64,
    /// The largest number of connections that were open at the same time.
    pub peak: u64,
    /// How many connections linger: our direction has ended, and input is discarded until the peer has ended its
    /// direction. See [`lingering_close`](super::ServerOptions::lingering_close). Includes refused clients that are
    /// receiving the [goodbye](crate::net::WhenFull::RefuseWith).
    pub lingering: u64,
    /// How many connections were closed early because too many lingered: either before their lingering time had passed,
    /// or without lingering at all.
    pub cut_short: u64,
    /// How many threads are running callbacks outside a handler, or are dropping the value that a handler returned or
    /// panicked with.
    pub in_hooks: u64,
    /// How often accept(2) failed. The server retried after each failure, unless the listening socket no longer worked.
    pub accept_errors: u64,
    /// Refused clients, by the number of the cause.
    refused: Refusals,
}

impl Stats {
    /// How many clients were refused for this cause.
    pub fn refused(&self, by: RefusedBy) -> u64 {
        self.refused.0[by as usize]
    }

    /// How many clients were refused, for any cause.
    pub fn refused_total(&self) -> u64 {
        self.refused.0.iter().sum()
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Refusals([u64; RefusedBy::ALL.len()]);

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(RefusedBy::ALL.iter().zip(&self.0)).finish()
    }
}

/// The result of a [`shutdown`](crate::net::Server::shutdown): what that call saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says whether anything is still running"]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that have ended since the call without being destroyed by it. Includes connections whose handler
    /// returned an error or panicked. [`stats`](crate::net::Server::stats) counts those separately.
    pub finished: usize,
    /// Connections that were destroyed by this shutdown, or by one that ran at the same time, because its `grace` had
    /// passed.
    pub forced: usize,
    /// How much is still running: handlers, sockets from `accept` that are still open, callbacks about refused clients,
    /// [filters](super::ServerOptions::filter), and threads that have not left accept(2). The handler or callback that
    /// called `shutdown` does not count.
    ///
    /// While this is not 0, code of the server runs, so a program must not unload that code. Threads of the server also
    /// run until a moment after `serve` has returned.
    pub still_running: usize,
    /// How long the call took.
    pub elapsed: Duration,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShutdownReport { finished, forced, still_running, elapsed } = self;
        write!(
            f,
            "{finished} finished, {forced} forced, {still_running} still running, after {:.3} s",
            elapsed.as_secs_f64()
        )
    }
}

/// What a server and its connections share. It outlives the server while a connection is open.
pub(crate) struct Registry {
    /// Unique in the process, unlike the address.
    identity: usize,
    /// The phase of the server, and the threads that keep it from stopping.
    pub(crate) gate: Gate,
    pub(crate) slots: Arc<Slots>,
    pub(crate) reporter: Reporter,
    pub(crate) address: Address,
    pub(crate) lingering: Arc<Lingering>,
    /// The connections and servers that the caller of `serve` acts for, such as the connection whose handler it runs.
    /// They wait for this server. So a thread that acts for a connection of this server acts for them too.
    behind: OnceLock<Vec<ActsFor>>,
    /// The last number of a client's [`Presence`], which is how many clients have come.
    clients: AtomicUsize,
    /// The last number of the presence of a thread without a client. These numbers begin behind those of clients.
    threads: AtomicUsize,
    /// Threads in callbacks that are not about a connection.
    pub(crate) in_hooks: Callbacks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Numbered<Open>,
    stats: Stats,
    /// How many of the ended connections were destroyed by a shutdown.
    forced: u64,
    /// The presences whose handlers call `shutdown`.
    spared: Vec<usize>,
    /// A shutdown has begun, so new connections are interrupted.
    interrupting: bool,
    /// Streams of clients whose PROXY header is awaited.
    awaiting_header: Vec<Weak<TcpStream>>,
}

struct Open {
    connection: Weak<Connection>,
    /// The number of its presence.
    presence: usize,
}

impl Registry {
    pub(crate) fn new(slots: Slots, reporter: Reporter, address: Address, lingering: Arc<Lingering>) -> Arc<Registry> {
        // Numbers begin with 1. 0 means no server.
        static LAST: AtomicUsize = AtomicUsize::new(0);
        Arc::new(Registry {
            identity: LAST.fetch_add(1, Relaxed) + 1,
            gate: Gate::new(),
            slots: Arc::new(slots),
            reporter,
            address,
            lingering,
            behind: OnceLock::new(),
            clients: AtomicUsize::new(0),
            threads: AtomicUsize::new(usize::MAX / 2),
            in_hooks: Callbacks::default(),
            state: Mutex::default(),
        })
    }

    /// Adds a connection, which counts as accepted from here on.
    pub(crate) fn register(&self, connection: &Arc<Connection>, presence: usize) {
        let mut state = lock(&self.state);
        // Either the shutdown finds the connection registered, or the connection finds that the shutdown has begun.
        if state.interrupting {
            // No other thread has the connection yet. A thread that ends it locks its gate first, then the state.
            connection.interrupt_reads();
        }
        state.open.insert(connection.id.0, Open { connection: Arc::downgrade(connection), presence });
        state.stats.accepted += 1;
        state.stats.peak = state.stats.peak.max(state.open.len() as u64);
    }

    /// Removes a connection. Called just before its slot is given back.
    fn remove(&self, id: ConnectionId, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.open.remove(id.0);
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
        let (lingering, cut_short) = self.lingering.counts();
        let in_hooks = self.in_hooks.count() as u64;
        let state = lock(&self.state);
        Stats { open: state.open.len() as u64, lingering, cut_short, in_hooks, ..state.stats }
    }

    /// How many connections have ended so far, and how many of these were destroyed by a shutdown.
    pub(crate) fn ends(&self) -> (u64, u64) {
        let State { stats, forced, .. } = &*lock(&self.state);
        (stats.ended + stats.failed + stats.panicked, *forced)
    }

    /// The connections that are open now, oldest first, without the presences in `but`. Upgrade them one after another:
    /// if a handle turns out to be the last, dropping it reports the end of the connection, and in that moment this
    /// thread must hold no other handle.
    pub(crate) fn open(&self, but: &[usize]) -> Vec<Weak<Connection>> {
        let state = lock(&self.state);
        let mut others = Vec::with_capacity(state.open.len());
        for open in state.open.iter() {
            if !but.contains(&open.presence) {
                others.push(Weak::clone(&open.connection));
            }
        }
        others
    }

    /// How many clients have come so far. A client that has a presence but is not counted here has just been accepted.
    pub(crate) fn arrivals(&self) -> usize {
        self.clients.load(Relaxed)
    }

    /// The number by which threads name the server they act for.
    pub(crate) fn identity(&self) -> usize {
        self.identity
    }

    /// Records that the calling thread serves. What the thread acts for waits for this server.
    pub(crate) fn set_behind(&self, acts_for: Vec<ActsFor>) {
        let _ = self.behind.set(acts_for);
    }

    fn frame(&self, presence: usize) -> Frame {
        let behind = self.behind.get().map_or(&[][..], Vec::as_slice);
        Frame::of(behind).and((self.identity(), presence))
    }

    /// Counts the thread as running callbacks, until the result is dropped.
    pub(crate) fn in_hook(&self) -> InHook<'_> {
        self.in_hooks.enter()
    }

    /// Registers a stream whose PROXY header is awaited, until the result is dropped. After that, only the caller has
    /// the stream.
    pub(crate) fn awaiting_header<'a>(&'a self, stream: &'a Arc<TcpStream>) -> Registered<'a> {
        let mut state = lock(&self.state);
        if state.interrupting {
            let _ = stream.shutdown(Shutdown::Read);
        }
        state.awaiting_header.push(Arc::downgrade(stream));
        Registered { registry: self, stream }
    }

    /// Records the caller's presences in `own` as calling `shutdown`, until the result is dropped, so that simultaneous
    /// shutdowns do not destroy each other's connections.
    pub(crate) fn spare(&self, own: &[usize]) -> Spared<'_> {
        lock(&self.state).spared.extend_from_slice(own);
        Spared { registry: self, own: own.to_vec() }
    }

    pub(crate) fn spared(&self) -> Vec<usize> {
        lock(&self.state).spared.clone()
    }

    /// Ends all connections except `spared`, all clients whose header is awaited, and all lingering connections. Then
    /// reports that.
    pub(crate) fn cut(&self, outcome: Outcome, spared: &[usize]) {
        // One limit for all connections together, because many may be blocked in a write.
        let patience = Deadline::after(Duration::from_millis(100));
        let mut all_ended = Vec::new();
        for other in self.open(spared) {
            let Some(connection) = other.upgrade() else { continue };
            let ended = connection.end(outcome, connection.mode_of_cut(patience.left().unwrap_or_default()));
            connection.interrupt_sources();
            if let Some(ended) = ended {
                all_ended.push(ended);
            }
        }
        self.cut_awaiting_header();
        self.lingering.cut();
        Ended::tell_all(all_ended);
    }

    fn cut_awaiting_header(&self) {
        // The lock is held while this thread has a stream. `Registered` takes it too, so after that its owner is alone.
        let mut state = lock(&self.state);
        for stream in std::mem::take(&mut state.awaiting_header) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// From here on, reads of new connections are interrupted, and clients whose header has not arrived are refused.
    pub(crate) fn interrupt_newcomers(&self) {
        // Locked throughout, as above.
        let mut state = lock(&self.state);
        state.interrupting = true;
        for stream in state.awaiting_header.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    pub(crate) fn is_interrupting(&self) -> bool {
        lock(&self.state).interrupting
    }

    /// Called by the thread that removed the last reason to run, so that the server has stopped. It acts for no
    /// presence while it reports that, only for this server.
    fn tell_over(&self) {
        {
            let _frame = self.frame(0);
            self.reporter.tell(|| Report::Closed { address: self.address.clone(), udp: false });
        }
        self.gate.over();
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("slots", &self.slots).field("stats", &self.stats()).finish()
    }
}

/// Counts a thread that accepts ("has a seat at the listener"): it is in accept(2), or about to be.
pub(crate) struct Seat<'a>(&'a Arc<Registry>);

impl<'a> Seat<'a> {
    pub(crate) fn take(registry: &'a Arc<Registry>) -> Result<Seat<'a>, NoSeat> {
        registry.gate.sit().map(|()| Seat(registry))
    }

    /// Leaves the seat with a client, which counts as present from here on. Also returns the gate's state at that
    /// moment.
    pub(crate) fn rise(self) -> (Presence, View) {
        self.rise_as(Presence::of_client)
    }

    /// Leaves the seat without a client. The thread counts as present instead, because it calls the program's code.
    pub(crate) fn rise_alone(self) -> (Presence, View) {
        self.rise_as(Presence::of_thread)
    }

    fn rise_as(self, presence: fn(&Arc<Registry>) -> Presence) -> (Presence, View) {
        let registry = self.0;
        let view = registry.gate.rise();
        std::mem::forget(self);
        (presence(registry), view)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.0.gate.stand() {
            self.0.tell_over();
        }
    }
}

/// Counts a client as present, or a thread that closes the server or reports that accepting fails. The server has not
/// stopped while anything is present.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) registry: Arc<Registry>,
    pub(crate) number: usize,
}

impl Presence {
    /// Makes a presence for a client that the gate has counted already.
    fn of_client(registry: &Arc<Registry>) -> Presence {
        // Numbers begin with 1. The thread that reports that the server has stopped uses 0.
        Presence::after(&registry.clients, registry)
    }

    /// Makes a presence for a thread that the gate has counted already.
    pub(crate) fn of_thread(registry: &Arc<Registry>) -> Presence {
        Presence::after(&registry.threads, registry)
    }

    fn after(last: &AtomicUsize, registry: &Arc<Registry>) -> Presence {
        Presence { registry: Arc::clone(registry), number: last.fetch_add(1, Relaxed) + 1 }
    }

    /// Makes the thread act for this presence until the result is dropped: `wait` on this thread then does not wait for
    /// it.
    pub(crate) fn frame(&self) -> Frame {
        self.registry.frame(self.number)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.registry.gate.leave() {
            self.registry.tell_over();
        }
    }
}

/// A connection's entry in its server's counters.
#[derive(Debug)]
pub(crate) struct Registration {
    presence: Presence,
    /// Given back when the connection ends.
    slots: Mutex<Option<Slot>>,
}

impl Registration {
    pub(crate) fn new(presence: Presence, slots: Slot) -> Arc<Registration> {
        Arc::new(Registration { presence, slots: Mutex::new(Some(slots)) })
    }
}

impl Owner for Registration {
    fn frame(&self) -> Frame {
        self.presence.frame()
    }

    fn place_to_linger(&self, deadline: Deadline, given_up: &dyn Fn() -> bool) -> Option<Place> {
        let registry = &self.presence.registry;
        registry.lingering.place(registry.slots.limit(), deadline, given_up)
    }

    fn is_shutting_down(&self) -> bool {
        self.presence.registry.is_interrupting()
    }

    fn ends(&self, id: ConnectionId, outcome: Outcome) {
        self.presence.registry.remove(id, outcome);
        let slots = lock(&self.slots).take();
        drop(slots);
    }
}

/// A shutdown that a handler or callback calls.
pub(crate) struct Spared<'a> {
    registry: &'a Registry,
    own: Vec<usize>,
}

impl Drop for Spared<'_> {
    fn drop(&mut self) {
        let spared = &mut lock(&self.registry.state).spared;
        for number in &self.own {
            if let Some(at) = spared.iter().position(|other| other == number) {
                spared.swap_remove(at);
            }
        }
    }
}

/// Keeps a stream registered while its header is awaited.
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
