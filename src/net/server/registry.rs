//! Who is connected to a server, and the accounts: the one lock that admission and the end of a connection touch.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use crate::address::Address;
use crate::callback::{ActsFor, Frame};
use crate::net::socket::connection::{Connection, Ended, Owner};
use crate::net::socket::lingering::{Lingering, Place};
use crate::numbered::Numbered;
use crate::report::{ConnectionId, Outcome, RefusedBy, Report, Reporter};
use crate::slots::{AddressSlot, Slot, Slots};
use crate::sync::deadline::Deadline;
use crate::sync::gate::{Gate, NoSeat, View};
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
    /// Connections that have ended and whose peers have not: what they still send is thrown away, for
    /// [`lingering_close`](super::ServerOptions::lingering_close). Clients that are told why they are turned away too.
    pub lingering: u64,
    /// How many of those were closed before, or at once, because too many lingered.
    pub cut_short: u64,
    /// Threads that are not in a handler but call callbacks at this instant, or drop what a handler has left.
    pub in_hooks: u64,
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

/// How a [`shutdown`](crate::net::Server::shutdown) went: what was seen, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says whether anything is still running"]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that have ended since the call, in whatever way but one: not those that were forced to. A handler
    /// that returned an error or panicked counts here too; [`stats`](crate::net::Server::stats) tells them apart.
    pub finished: usize,
    /// Connections that were destroyed since the time was up, by this shutdown or by another that ran at the same time.
    pub forced: usize,
    /// Handlers that had not returned yet, sockets from `accept` that other threads were still using, and callbacks
    /// about clients that were turned away, or a [filter](super::ServerOptions::filter), without what the calling
    /// thread acts for itself; also threads that had not left accept(2). While it is not 0, code of the server runs:
    /// a program must not unload it. Nor before `serve` has returned, and std has ended its threads, which takes a
    /// moment.
    pub still_running: usize,
    /// How long it took.
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

/// What a server and its connections share. It outlives the server as long as one of them is open.
pub(crate) struct Registry {
    /// Its own in the process: an address may come again.
    identity: usize,
    /// How far the end has come, and who keeps it from going on.
    pub(crate) gate: Gate,
    pub(crate) slots: Arc<Slots>,
    pub(crate) reporter: Reporter,
    pub(crate) address: Address,
    pub(crate) lingering: Arc<Lingering>,
    /// What the caller of `serve` acts for: it waits for this server, so a thread that acts for a connection acts for
    /// those.
    behind: OnceLock<Vec<ActsFor>>,
    /// Numbers what is present.
    last: AtomicUsize,
    /// Threads in callbacks that are about no connection.
    in_hooks: AtomicUsize,
    /// They hold up accepting, which was told, until there is none.
    is_held_up: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Numbered<Open>,
    stats: Stats,
    /// How many of those that ended a shutdown has cut off.
    forced: u64,
    /// What calls `shutdown` from inside, by its presence.
    spared: Vec<usize>,
    /// A shutdown has begun: what is entered from here on is told to end.
    interrupting: bool,
    /// Streams of clients who have not said yet who they are.
    awaiting_header: Vec<Weak<TcpStream>>,
}

struct Open {
    connection: Weak<Connection>,
    /// The number of its presence.
    presence: usize,
}

impl Registry {
    pub(crate) fn new(slots: Slots, reporter: Reporter, address: Address, lingering: Arc<Lingering>) -> Arc<Registry> {
        // From 1 on: 0 is no server's.
        static LAST: AtomicUsize = AtomicUsize::new(0);
        Arc::new(Registry {
            identity: LAST.fetch_add(1, Relaxed) + 1,
            gate: Gate::new(),
            slots: Arc::new(slots),
            reporter,
            address,
            lingering,
            behind: OnceLock::new(),
            last: AtomicUsize::new(0),
            in_hooks: AtomicUsize::new(0),
            is_held_up: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Enters a connection. From here on it counts as accepted.
    pub(crate) fn register(&self, connection: &Arc<Connection>, presence: usize) {
        let mut state = lock(&self.state);
        // Either the shutdown finds it registered, or it finds the shutdown.
        if state.interrupting {
            connection.interrupt_reads();
        }
        state.open.insert(connection.id.0, Open { connection: Arc::downgrade(connection), presence });
        state.stats.accepted += 1;
        state.stats.peak = state.stats.peak.max(state.open.len() as u64);
    }

    /// Removes a connection, once its slot is about to be given back.
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
        let in_hooks = self.in_hooks.load(SeqCst) as u64;
        let state = lock(&self.state);
        Stats { open: state.open.len() as u64, lingering, cut_short, in_hooks, ..state.stats }
    }

    /// How many connections have ended so far, in whatever way, and how many of these were forced to.
    pub(crate) fn ends(&self) -> (u64, u64) {
        let State { stats, forced, .. } = &*lock(&self.state);
        (stats.ended + stats.failed + stats.panicked, *forced)
    }

    /// The connections that are open at this moment, in the order they came, but for those that `but` names by their
    /// presence. To be taken up one by one: the last handle of one may be dropped meanwhile, and its end is told by the
    /// thread that holds it then, which must not hold another.
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

    /// How many clients have come so far, and threads to close it. One that is present and not counted yet is just
    /// coming.
    pub(crate) fn arrivals(&self) -> usize {
        self.last.load(Relaxed)
    }

    /// The number under which threads say for which server they act.
    pub(crate) fn identity(&self) -> usize {
        self.identity
    }

    /// The calling thread serves: what it acts for waits for this server.
    pub(crate) fn set_behind(&self, acts_for: Vec<ActsFor>) {
        let _ = self.behind.set(acts_for);
    }

    fn frame(&self, presence: usize) -> Frame {
        let behind = self.behind.get().map_or(&[][..], Vec::as_slice);
        Frame::of(behind).and((self.identity(), presence))
    }

    /// Counts the thread as being in callbacks, until what this returns is dropped.
    pub(crate) fn in_hook(&self) -> InHook<'_> {
        self.in_hooks.fetch_add(1, SeqCst);
        InHook(self)
    }

    /// Callbacks hold up accepting; whether that is to be told.
    pub(crate) fn hold_up(&self) -> bool {
        !self.is_held_up.swap(true, SeqCst)
    }

    /// Registers a stream whose PROXY header is awaited, until what this returns is dropped; then the caller alone has
    /// it.
    pub(crate) fn awaiting_header<'a>(&'a self, stream: &'a Arc<TcpStream>) -> Registered<'a> {
        let mut state = lock(&self.state);
        if state.interrupting {
            let _ = stream.shutdown(Shutdown::Read);
        }
        state.awaiting_header.push(Arc::downgrade(stream));
        Registered { registry: self, stream }
    }

    /// What `own` names shuts the server down from inside, until what this returns is dropped: shutdowns at the same
    /// time do not cut each other.
    pub(crate) fn spare(&self, own: &[usize]) -> Spared<'_> {
        lock(&self.state).spared.extend_from_slice(own);
        Spared { registry: self, own: own.to_vec() }
    }

    pub(crate) fn spared(&self) -> Vec<usize> {
        lock(&self.state).spared.clone()
    }

    /// Ends all connections but those of `spared`, all waiting for headers, and all lingering, now; then tells of it.
    pub(crate) fn cut(&self, outcome: Outcome, spared: &[usize]) {
        // For all of them together, since many may be blocked in a write.
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
        for stream in std::mem::take(&mut lock(&self.state).awaiting_header) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// From here on the reads of a connection that enters are interrupted, and one whose header has not arrived need
    /// not go on.
    pub(crate) fn interrupt_newcomers(&self) {
        let mut state = lock(&self.state);
        state.interrupting = true;
        for stream in state.awaiting_header.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    /// Whether a shutdown has begun.
    pub(crate) fn is_interrupting(&self) -> bool {
        lock(&self.state).interrupting
    }

    /// For the step that was the end. What is told last of all is told by a thread that acts for nothing that is
    /// present, but acts for this server.
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

/// A seat at the listener: its thread is in accept(2), or about to be.
pub(crate) struct Seat<'a>(&'a Arc<Registry>);

impl<'a> Seat<'a> {
    pub(crate) fn take(registry: &'a Arc<Registry>) -> Result<Seat<'a>, NoSeat> {
        registry.gate.sit(usize::MAX).map(|()| Seat(registry))
    }

    /// Leaves it with a client, which is present from here on. Gives what is so from then on too.
    pub(crate) fn rise(self) -> (Presence, View) {
        let registry = self.0;
        let view = registry.gate.rise();
        std::mem::forget(self);
        (Presence::counted(registry), view)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.0.gate.stand() {
            self.0.tell_over();
        }
    }
}

/// Keeps a client, or a thread that closes, counted as present.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) registry: Arc<Registry>,
    pub(crate) number: usize,
}

impl Presence {
    /// Of what the gate counts already.
    pub(crate) fn counted(registry: &Arc<Registry>) -> Presence {
        // From 1 on; the end of the server is told under 0.
        let number = registry.last.fetch_add(1, Relaxed) + 1;
        Presence { registry: Arc::clone(registry), number }
    }

    /// The thread acts for it until this is dropped.
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

/// A connection's place in its server's accounts.
#[derive(Debug)]
pub(crate) struct Registration {
    presence: Presence,
    /// Given back when the connection ends, in this order: that of its address, where each has a limit of its own.
    slots: Mutex<Option<(Option<AddressSlot>, Slot)>>,
}

impl Registration {
    pub(crate) fn new(presence: Presence, slots: (Slot, Option<AddressSlot>)) -> Arc<Registration> {
        Arc::new(Registration { presence, slots: Mutex::new(Some((slots.1, slots.0))) })
    }
}

impl Owner for Registration {
    fn frame(&self) -> Frame {
        self.presence.frame()
    }

    fn place_to_linger(&self, given_up: &dyn Fn() -> bool) -> Option<Place> {
        let registry = &self.presence.registry;
        registry.lingering.place(registry.slots.limit(), given_up)
    }

    fn ends(&self, id: ConnectionId, outcome: Outcome) {
        self.presence.registry.remove(id, outcome);
        let slots = lock(&self.slots).take();
        drop(slots);
    }
}

/// A thread that is in callbacks about no connection.
pub(crate) struct InHook<'a>(&'a Registry);

impl Drop for InHook<'_> {
    fn drop(&mut self) {
        if self.0.in_hooks.fetch_sub(1, SeqCst) == 1 {
            self.0.is_held_up.store(false, SeqCst);
        }
    }
}

/// A shutdown from inside.
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
