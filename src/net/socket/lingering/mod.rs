//! Lingering connections: our direction has ended, and the peer's has not. Their input is discarded, because closing
//! with unread input sends RST, which can destroy the reply on its way (RFC 9112, 9.6).
//!
//! Each server has one thread for this while connections linger, and for a second after the last. The thread never
//! blocks on a peer. It checks each connection after 1, 2, 4 … 400 ms.
//!
//! The number of lingering connections is bounded, for each server and for the process. Above the bound, the oldest
//! connection whose peer has sent nothing since our FIN is closed. This close sends no RST. Its peer still gets all
//! data, unless the peer sends something before it has read everything. If all peers have sent something, the next
//! connection that should linger waits for a place, and keeps its thread and its slot.

pub(crate) mod leaving;

use std::net::TcpStream;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::socket::lingering::leaving::{Last, Leaving};
use crate::sync::atomic_u64::AtomicU64;
use crate::sync::deadline::Deadline;
use crate::sync::poison::{Guard, lock, wait};
use crate::sys;
use crate::thread::{Thread, spawn};

/// How long a connection lingers by default.
pub(crate) const LINGERING_CLOSE: Duration = Duration::from_secs(1);

/// How many connections of a server linger at most, and how many clients get the goodbye.
pub(crate) const LINGERING_AT_MOST: usize = 1024;

/// How many connections linger at most in the process: an eighth of the descriptors. So the process can always open
/// files, whatever its peers do.
pub(crate) fn share() -> usize {
    sys::descriptor_limit().map_or(LINGERING_AT_MOST, |limit| (limit / 8).clamp(1, 8 * LINGERING_AT_MOST))
}

/// How long the thread waits for a next connection. Starting a thread for each connection would cost more than the
/// connection.
const IDLE: Duration = Duration::from_secs(1);

/// The lingering connections of one server.
pub(crate) struct Lingering {
    /// How long to wait for a peer.
    time: Duration,
    thread_name: String,
    stack_size: Option<usize>,
    /// How many may linger in the whole process.
    share: usize,
    /// How many places are taken, by kind. Changed under the lock of [`PLACES`].
    taken: [AtomicUsize; 2],
    cut_short: AtomicU64,
    state: Mutex<State>,
    /// Notified when there is something new to check, or the server was closed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The lingering connections, oldest first.
    list: Vec<Entry>,
    last: u64,
    /// How often all lingering connections were closed by a shutdown.
    cuts: u64,
    /// The thread runs, and will check this state again before it ends.
    runs: bool,
    thread: Option<Thread>,
    /// The listener is closed. The thread ends when no connection lingers.
    is_closed: bool,
    /// When the thread checks again by itself.
    wakes_at: Option<Instant>,
}

struct Entry {
    number: u64,
    /// `None` while the thread checks the connection, and once the connection is closed.
    leaving: Option<Leaving>,
}

/// What lingers. Each kind has its own bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connection. At most as many linger as the server may have open.
    Connection,
    /// A refused client that gets the goodbye.
    Refused,
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let this: *const Lingering = self;
        lock(&PLACES.state).servers.retain(|other| other.as_ptr() != this);
    }
}

impl Lingering {
    pub(crate) fn new(time: Duration, thread_name: String, stack_size: Option<usize>) -> Arc<Lingering> {
        let lingering = Arc::new(Lingering {
            time,
            thread_name,
            stack_size,
            share: share(),
            taken: Default::default(),
            cut_short: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        lock(&PLACES.state).servers.push(Arc::downgrade(&lingering));
        lingering
    }

    /// How many connections linger, and how many were closed early because too many lingered.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let [connections, refused] = &self.taken;
        let taken = connections.load(SeqCst) + refused.load(SeqCst);
        (taken as u64, self.cut_short.load(SeqCst))
    }

    /// Returns a place once fewer than `most` are taken. Blocks until then, until the deadline, or until `given_up`
    /// returns true, which is checked before waiting and after each [`tell_given_up`]. Returns `None` in the last two
    /// cases, and if the time for peers is zero. Called while the connection is open and has its slot.
    pub(crate) fn place(
        self: &Arc<Lingering>,
        most: usize,
        deadline: Deadline,
        given_up: &dyn Fn() -> bool,
    ) -> Option<Place> {
        if self.time.is_zero() {
            return None;
        }
        loop {
            let NoPlace { seen, is_share_full } = match self.take_place(Kind::Connection, most) {
                Ok(place) => return Some(place),
                Err(none) => none,
            };
            if self.give_one_up(Kind::Connection) || is_share_full && self.give_one_up(Kind::Refused) {
                continue;
            }
            if is_share_full {
                PLACES.let_another_server_give_one_up(self);
            }
            if !PLACES.wait_for_change(seen, deadline, given_up) {
                return None;
            }
        }
    }

    /// Returns a place for a refused client, if one is free.
    pub(crate) fn place_for_refused(self: &Arc<Lingering>) -> Option<Place> {
        loop {
            match self.take_place(Kind::Refused, LINGERING_AT_MOST) {
                Ok(place) => return Some(place),
                Err(_) if self.give_one_up(Kind::Refused) => {}
                Err(_) => {
                    self.cut_short.fetch_add(1, SeqCst);
                    return None;
                }
            }
        }
    }

    fn take_place(self: &Arc<Lingering>, kind: Kind, most: usize) -> Result<Place, NoPlace> {
        // Read before the place is taken, so that a later `cut` includes this place.
        let cuts = self.state().cuts;
        PLACES.take(self, kind, most, cuts)
    }

    /// Lets this server's thread close the oldest connection whose peer has sent nothing since our FIN. Returns whether
    /// there was such a connection. Called for a different server, so the calling thread must not report the close.
    fn let_go_of_one(&self) -> bool {
        let mut state = self.state();
        let leavings = state.list.iter_mut().filter_map(|entry| entry.leaving.as_mut());
        let mut silent = leavings.filter_map(|leaving| leaving.may_be_let_go().then_some(leaving));
        let Some(leaving) = silent.next() else { return false };
        leaving.until = Deadline::after(Duration::ZERO);
        leaving.next = Instant::now();
        drop(state);
        self.cut_short.fetch_add(1, SeqCst);
        self.changed.notify_one();
        true
    }

    /// Closes the oldest connection whose peer has sent nothing since our FIN. Returns whether there was such a
    /// connection.
    fn give_one_up(&self, kind: Kind) -> bool {
        let mut state = self.state();
        let is_silent = |entry: &mut Entry| {
            let silent = |leaving: &mut Leaving| leaving.place.kind == kind && leaving.is_silent();
            entry.leaving.as_mut().is_some_and(silent)
        };
        let Some(at) = state.list.iter_mut().position(is_silent) else { return false };
        let entry = state.list.remove(at);
        drop(state);
        self.cut_short.fetch_add(1, SeqCst);
        // Dropped without the lock, because the last presence reports that the server has stopped.
        drop(entry);
        true
    }

    /// Ends our direction, and checks once, without waiting, whether the peer has ended its direction too. If not, the
    /// thread keeps checking.
    fn begin(self: &Arc<Lingering>, mut leaving: Leaving) {
        if !leaving.look() {
            return;
        }
        let mut state = self.state();
        if state.cuts != leaving.place.cuts {
            drop(state);
            return;
        }
        if state.runs || self.start(&mut state) {
            state.last += 1;
            let (number, next) = (state.last, leaving.wakes_at());
            state.list.push(Entry { number, leaving: Some(leaving) });
            if state.wakes_at.is_none_or(|at| next < at) {
                self.changed.notify_one();
            }
            return;
        }
        drop(state);
        // No thread can be started. A refused client must not delay accepting.
        if leaving.place.kind == Kind::Connection {
            let has_time = |leaving: &Leaving| {
                let state = self.state();
                state.cuts == leaving.place.cuts && leaving.has_time(state.is_closed)
            };
            while has_time(&leaving) && leaving.look() {
                thread::sleep(leaving.pause.min(Duration::from_millis(10)));
            }
        }
    }

    fn start(self: &Arc<Lingering>, state: &mut State) -> bool {
        let its = Arc::clone(self);
        let started = spawn(self.thread_name.clone(), self.stack_size, move || {
            its.look_after_all();
            Ok(())
        });
        state.runs = started.is_ok();
        if let Ok(thread) = started {
            state.thread = Some(thread);
        }
        state.runs
    }

    /// The loop of the thread.
    fn look_after_all(&self) {
        let (mut state, mut is_idle) = (self.state(), false);
        loop {
            let now = Instant::now();
            let mut due = Vec::new();
            let mut next = now + IDLE;
            for entry in &mut state.list {
                match &entry.leaving {
                    Some(leaving) if leaving.is_due(now) => {
                        due.push(Entry { number: entry.number, leaving: entry.leaving.take() });
                    }
                    Some(leaving) => next = next.min(leaving.wakes_at()),
                    None => {}
                }
            }
            if !due.is_empty() {
                let is_closed = state.is_closed;
                drop(state);
                state = self.look_after(due, is_closed);
                continue;
            }
            if state.list.is_empty() && (state.is_closed || is_idle) {
                state.runs = false;
                return;
            }
            is_idle = state.list.is_empty();
            state.wakes_at = Some(next);
            state = wait(&self.changed, state, Some(next.saturating_duration_since(now)));
            state.wakes_at = Some(now);
        }
    }

    fn look_after(&self, mut due: Vec<Entry>, is_closed: bool) -> Guard<'_, State> {
        for entry in &mut due {
            entry.leaving.take_if(|leaving| !(leaving.look() && leaving.has_time(is_closed)));
        }
        let mut state = self.state();
        let mut cut = Vec::new();
        for Entry { number, leaving } in due {
            // If it is not found here, it was closed by `cut` during the check.
            match (state.list.binary_search_by_key(&number, |entry| entry.number), leaving) {
                (Ok(at), Some(mut leaving)) => {
                    // The listener was closed during the check, so `close` has not found it.
                    if state.is_closed && !is_closed {
                        leaving.hurry();
                    }
                    state.list[at].leaving = Some(leaving);
                }
                (Ok(at), None) => drop(state.list.remove(at)),
                (Err(_), leaving) => cut.push(leaving),
            }
        }
        drop(state);
        // Dropped without the lock, because the last presence reports that the server has stopped.
        drop(cut);
        // The connections that were checked can be closed early again.
        PLACES.tell_change();
        self.state()
    }

    /// Notes that the listener is closed.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.list.iter_mut().filter_map(|entry| entry.leaving.as_mut()).for_each(Leaving::hurry);
        self.changed.notify_one();
    }

    /// Closes all lingering connections, and those that have a place and are about to linger.
    pub(crate) fn cut(&self) {
        let list = {
            let mut state = self.state();
            state.cuts += 1;
            std::mem::take(&mut state.list)
        };
        self.changed.notify_one();
        drop(list);
    }

    /// Waits for the thread to end. Called after it was reported that the server has stopped, so the thread runs no
    /// code of the program any more.
    pub(crate) fn join(&self) {
        let is_another = |thread: &mut Thread| thread.thread().id() != thread::current().id();
        let thread = self.state().thread.take_if(is_another);
        if let Some(thread) = thread {
            // The thread calls hooks by guarded calls only, so it does not panic.
            let _ = thread.join();
        }
    }

    fn state(&self) -> Guard<'_, State> {
        lock(&self.state)
    }
}

/// A place among the lingering connections. Dropping it gives the place back.
pub(crate) struct Place {
    of: Arc<Lingering>,
    kind: Kind,
    /// How often all lingering connections were closed before.
    cuts: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut places = lock(&PLACES.state);
            places.taken -= 1;
            self.of.taken[self.kind as usize].fetch_sub(1, SeqCst);
        }
        PLACES.tell_change();
    }
}

impl Place {
    /// Lets the connection linger, for at most `most`.
    pub(crate) fn begin(self, stream: Arc<TcpStream>, last: Last, most: Duration, presence: Box<dyn Send>) {
        let of = Arc::clone(&self.of);
        let until = Deadline::after(of.time.min(most));
        of.begin(Leaving::new(stream, last, until, self, presence));
    }
}

/// Why there is no place.
struct NoPlace {
    /// How often a place has become free so far.
    seen: u64,
    /// The process has no place left. If this is false, the server has no place left.
    is_share_full: bool,
}

/// The places of all servers of the process.
static PLACES: Places = Places {
    state: Mutex::new(Taken { taken: 0, waiting: 0, changes: 0, servers: Vec::new() }),
    changed: Condvar::new(),
};

struct Places {
    state: Mutex<Taken>,
    changed: Condvar,
}

struct Taken {
    taken: usize,
    waiting: usize,
    /// How often a place became free, or a wait for one was given up.
    changes: u64,
    /// The servers of the process.
    servers: Vec<Weak<Lingering>>,
}

impl Places {
    /// Takes a place for a connection of this server, of which at most `most` may linger. `cuts` says how often all of
    /// them were closed before.
    fn take(&self, of: &Arc<Lingering>, kind: Kind, most: usize, cuts: u64) -> Result<Place, NoPlace> {
        let mut places = lock(&self.state);
        let own = &of.taken[kind as usize];
        let is_own_full = own.load(SeqCst) >= most.clamp(1, LINGERING_AT_MOST);
        if is_own_full || places.taken >= of.share {
            return Err(NoPlace { seen: places.changes, is_share_full: !is_own_full });
        }
        places.taken += 1;
        own.fetch_add(1, SeqCst);
        Ok(Place { of: Arc::clone(of), kind, cuts })
    }

    /// Asks a different server to close one of its lingering connections, because the places belong to the process.
    fn let_another_server_give_one_up(&self, caller: &Arc<Lingering>) {
        let servers = lock(&self.state).servers.clone();
        for other in servers.iter().filter_map(Weak::upgrade) {
            if !Arc::ptr_eq(&other, caller) && other.let_go_of_one() {
                return;
            }
        }
    }

    /// Blocks until something has changed since `seen`. Returns `false` if the wait was given up, or the deadline has
    /// passed.
    fn wait_for_change(&self, seen: u64, deadline: Deadline, given_up: &dyn Fn() -> bool) -> bool {
        let mut state = lock(&self.state);
        state.waiting += 1;
        let has_changed = loop {
            if given_up() || deadline.is_over() {
                break false;
            }
            if state.changes != seen {
                break true;
            }
            state = wait(&self.changed, state, deadline.left());
        };
        state.waiting -= 1;
        has_changed
    }

    fn tell_change(&self) {
        let mut state = lock(&self.state);
        state.changes += 1;
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

/// Called when a connection is closed for which a thread has waited for a place. Another thread may still wait.
pub(crate) fn tell_given_up() {
    PLACES.tell_change();
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::{PoisonError, mpsc};

    use super::*;
    use crate::callback::Frame;
    use crate::net::Socket;
    use crate::net::socket::connection::{CloseMode, Owner};
    use crate::net::socket::lingering::leaving::{LONGEST_PAUSE, SILENCE};
    use crate::net::socket::stream::Options;
    use crate::report::{ConnectionId, Outcome, Reporter};

    /// The places are those of the process. So no two of these tests run at once.
    static TURN: Mutex<()> = Mutex::new(());

    /// More than is free in the address space, so that a thread with this stack cannot be started. musl takes no larger
    /// one.
    const NO_STACK: usize = if usize::BITS > 32 { usize::MAX / 4 } else { 3 << 30 };

    /// A connection that can linger, and its peer.
    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let peer = TcpStream::connect(listener.local_addr().expect("it listens")).expect("the peer connects");
        let (stream, _) = listener.accept().expect("the peer is accepted");
        (Arc::new(stream), peer)
    }

    /// Ensures that a connection that is being checked when the listener is closed is checked again as soon as the
    /// others.
    #[test]
    fn a_connection_that_is_checked_as_the_listener_closes_does_not_linger_longer() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, _peer) = pair();
        let lingering = Lingering::new(Duration::from_secs(3600), "lingering".into(), None);
        // The test is the thread.
        lingering.state().runs = true;
        let place = lingering.place(1, Deadline::NEVER, &|| false).expect("it is free");
        place.begin(stream, Last::Nothing, Duration::MAX, Box::new(()));
        let mut due = Vec::new();
        for Entry { number, leaving } in &mut lingering.state().list {
            leaving.as_mut().expect("no thread checks it").pause = LONGEST_PAUSE;
            due.push(Entry { number: *number, leaving: leaving.take() });
        }
        lingering.close();
        drop(lingering.look_after(due, false));
        let next = lingering.state().list[0].leaving.as_ref().expect("its peer has not ended").next;
        lingering.cut();
        assert!(next <= Instant::now() + SILENCE, "the next check comes after the time for silence at the latest");
    }

    /// Ensures that a connection whose time is over before its next check is closed at that time, and not checked before.
    #[test]
    fn a_connection_lingers_no_longer_than_its_time() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, _peer) = pair();
        let lingering = Lingering::new(Duration::from_secs(3600), "lingering".into(), None);
        // The test is the thread.
        lingering.state().runs = true;
        let place = lingering.place(1, Deadline::NEVER, &|| false).expect("it is free");
        place.begin(stream, Last::Nothing, Duration::MAX, Box::new(()));
        let mut leaving = lingering.state().list[0].leaving.take().expect("no thread checks it");
        let now = Instant::now();
        let end = now + LONGEST_PAUSE / 8;
        (leaving.pause, leaving.next, leaving.until) = (LONGEST_PAUSE, now + LONGEST_PAUSE, Deadline::at(Some(end)));
        assert_eq!(leaving.wakes_at(), end, "the thread wakes when the time is over");
        assert!(!leaving.is_due(now), "it is not checked before");
        assert!(leaving.is_due(end), "it is checked then");
        drop(leaving);
        lingering.cut();
    }

    /// Ensures that a silent peer is not waited for once the listener is closed, where no thread can be started for that.
    #[test]
    fn a_thread_that_lingers_itself_does_not_wait_for_silence_once_the_listener_is_closed() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        const LONG: Duration = Duration::from_secs(30);
        let (stream, _peer) = pair();
        let lingering = Lingering::new(LONG, "lingering".into(), Some(NO_STACK));
        lingering.close();
        let start = Instant::now();
        let place = lingering.place(1, Deadline::NEVER, &|| false).expect("it is free");
        place.begin(stream, Last::Nothing, Duration::MAX, Box::new(()));
        assert!(start.elapsed() < LONG, "it ends before its time has passed");
    }

    /// A server whose connections share one place. A thread that gets it holds it until another, which waited too, has
    /// looked and waits again.
    struct OnePlace {
        lingering: Arc<Lingering>,
        /// How often each waiting thread has asked whether the wait was given up.
        asked: Mutex<Vec<Arc<AtomicUsize>>>,
    }

    impl std::fmt::Debug for OnePlace {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("OnePlace")
        }
    }

    impl Owner for OnePlace {
        fn frame(&self) -> Frame {
            Frame::of(&[])
        }

        fn place_to_linger(&self, deadline: Deadline, given_up: &dyn Fn() -> bool) -> Option<Place> {
            let asked = Arc::new(AtomicUsize::new(0));
            lock(&self.asked).push(Arc::clone(&asked));
            let place = self.lingering.place(1, deadline, &|| {
                asked.fetch_add(1, SeqCst);
                given_up()
            })?;
            let all = lock(&self.asked).clone();
            let other = all.iter().find(|other| !Arc::ptr_eq(other, &asked)).expect("two threads wait");
            // Each asks once before it sleeps.
            until(|| other.load(SeqCst) > 1 && waiting() == 1);
            Some(place)
        }

        fn is_shutting_down(&self) -> bool {
            false
        }

        fn ends(&self, _: ConnectionId, _: Outcome) {}
    }

    /// How many threads wait for a place.
    fn waiting() -> usize {
        lock(&PLACES.state).waiting
    }

    fn until(condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < end, "it takes no minute");
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Ensures that of two threads that end one connection and wait for a place, the second returns when the first has a
    /// place and closes the connection, also where no thread can be started that looks at lingering connections.
    #[test]
    fn a_second_thread_does_not_wait_for_a_place_for_a_closed_connection() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lingering = Lingering::new(Duration::from_secs(3600), "lingering".into(), Some(NO_STACK));
        let taken = lingering.place(1, Deadline::NEVER, &|| false).expect("it is free");
        let (stream, peer) = pair();
        let ends = (stream.local_addr().expect("it is bound").into(), peer.local_addr().expect("it is bound").into());
        let stream = Arc::into_inner(stream).expect("no other thread has it");
        let owner = Arc::new(OnePlace { lingering: Arc::clone(&lingering), asked: Mutex::default() });
        let socket = Socket::new(stream, ends, Options::default(), Reporter::default(), Some(owner));
        let (tell, told) = mpsc::channel();
        for _ in 0..2 {
            let (socket, tell) = (socket.clone(), tell.clone());
            thread::spawn(move || tell.send(socket.connection.close(Outcome::Finished, CloseMode::InOrder)));
        }
        until(|| waiting() == 2);
        drop(taken);
        let second = told.recv_timeout(Duration::from_secs(60));
        lingering.cut();
        let first = told.recv_timeout(Duration::from_secs(60));
        assert_eq!(second, Ok(false), "the second returns while the first lets the connection linger");
        assert_eq!(first, Ok(true), "the first has closed it");
    }
}
