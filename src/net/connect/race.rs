//! Connects to the first of several addresses that answers, as RFC 8305 describes ("happy eyeballs").
//!
//! The attempts are staggered: each starts a fixed time after the one before, the stagger, or as soon as that one
//! fails. While no attempt is running, the next is made on the caller's thread. So no thread is started if the first
//! address answers, as it nearly always does. If an attempt is not decided when the next should start, it continues on
//! a new thread. Only a few attempts run at the same time, even if a name has a hundred addresses that never answer.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::cancel::Limits;
use crate::error::{Error, Result};
use crate::report::{Report, Reporter};
use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, wait};
use crate::sys;
use crate::thread::{Thread, spawn};

/// Means no limit. Every system gives up on an attempt long before.
pub(crate) const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// How many attempts run at once, each with a thread and a descriptor. Before one more starts, the oldest is given up.
/// By then the oldest has had this many staggers, 2 s by default. That is enough if the first packet was lost, because
/// Linux sends it again after 1 s. Names with more addresses are rare.
const AT_MOST: usize = 8;

/// A thread that connects needs little stack, but enough to print a panic.
const STACK: usize = 64 * 1024;

pub(crate) struct RaceConfig<'a> {
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) stagger: Duration,
    /// Whether only one attempt runs at a time, because all attempts bind the same port.
    pub(crate) serial: bool,
    pub(crate) limits: Limits<'a>,
    pub(crate) reporter: &'a Reporter,
    /// Makes the socket of an attempt, or says why it must not be made.
    pub(crate) open: &'a dyn Fn(SocketAddr) -> Result<socket2::Socket>,
}

pub(crate) struct Outcome {
    /// How many addresses were tried, from the first on.
    pub(crate) attempted: usize,
    pub(crate) end: End,
}

pub(crate) enum End {
    Connected(socket2::Socket, SocketAddr),
    /// Every address failed. In both variants the errors are in the order of the addresses.
    Failed(Vec<Error>),
    /// The deadline passed before an address answered.
    TimedOut(Vec<Error>),
    Cancelled,
}

impl RaceConfig<'_> {
    pub(crate) fn run(self) -> Outcome {
        let in_flight = Arc::new(InFlight::default());
        let _attached = self.limits.cancel.map(|cancel| {
            let in_flight = Arc::clone(&in_flight);
            cancel.attach(move || _ = in_flight.call_off())
        });
        let addresses = self.addresses;
        let mut race = Race {
            config: self,
            in_flight,
            threads: Vec::new(),
            under_way: 0,
            attempted: 0,
            failed: vec![None; addresses.len()],
        };
        let end = match race.run() {
            Ok(won) => {
                let socket = Arc::into_inner(won.socket).expect("a connected socket is no longer in flight");
                End::Connected(socket, addresses[won.index])
            }
            Err(Ended::Failed) => End::Failed(race.errors()),
            Err(Ended::TimedOut) => End::TimedOut(race.errors()),
            Err(Ended::Cancelled) => End::Cancelled,
        };
        Outcome { attempted: race.attempted, end }
    }
}

struct Race<'a> {
    config: RaceConfig<'a>,
    in_flight: Arc<InFlight>,
    threads: Vec<Thread>,
    /// How many attempts run on threads and have not returned.
    under_way: usize,
    attempted: usize,
    /// The error of each failed address, by index.
    failed: Vec<Option<Error>>,
}

/// An attempt, with the index of its address.
struct Attempt {
    index: usize,
    socket: Arc<socket2::Socket>,
}

enum Ended {
    Failed,
    TimedOut,
    Cancelled,
}

impl Race<'_> {
    fn run(&mut self) -> Result<Attempt, Ended> {
        let last = self.config.addresses.len().saturating_sub(1);
        for index in 0..self.config.addresses.len() {
            self.check()?;
            if let Some(won) = self.make_room()? {
                return Ok(won);
            }
            let at = self.config.addresses[index];
            self.attempted += 1;
            self.config.reporter.tell(|| Report::Attempt { address: at.into() });
            let attempt = match (self.config.open)(at) {
                Ok(socket) => Attempt { index, socket: Arc::new(socket) },
                Err(error) => {
                    self.lost(index, error);
                    continue;
                }
            };
            let won = match self.begin(attempt, index == last)? {
                Begun::Decided(won) => won,
                Begun::OnItsThread if index == last => None,
                Begun::OnItsThread => self.wait(Deadline::after(self.config.stagger))?,
            };
            if let Some(won) = won {
                return Ok(won);
            }
        }
        while self.under_way > 0 {
            if let Some(won) = self.wait(Deadline::NEVER)? {
                return Ok(won);
            }
        }
        Err(Ended::Failed)
    }

    /// Gives up the oldest attempts until there is room for one more. If an attempt succeeds before that, returns it.
    fn make_room(&mut self) -> Result<Option<Attempt>, Ended> {
        while self.under_way >= AT_MOST {
            self.in_flight.give_up_oldest();
            // If nothing wakes connect(2) on this system, its own time has expired by now.
            let until = if sys::SHUTDOWN_WAKES_CONNECT { Deadline::after(AGAIN) } else { Deadline::NEVER };
            if let Some(won) = self.wait(until)? {
                return Ok(Some(won));
            }
        }
        Ok(None)
    }

    /// Starts an attempt. It runs on this thread if no other attempt is running, or if no thread can be started.
    /// Otherwise it runs on a new thread.
    fn begin(&mut self, attempt: Attempt, is_last: bool) -> Result<Begun, Ended> {
        let given_up = self.config.serial && !is_last;
        // If a connect(2) can neither be cancelled nor waited for again, it needs a thread.
        let fits_here = sys::CONNECT_RESUMES || (is_last && self.config.limits.cancel.is_none());
        if given_up || (fits_here && self.under_way == 0) {
            return self.make_here(attempt, is_last, !given_up && fits_here).map(Begun::Decided);
        }
        match self.send_off(attempt) {
            None => Ok(Begun::OnItsThread),
            // No thread can be started, so this one makes the attempt.
            Some(attempt) => self.make_here(attempt, is_last, sys::CONNECT_RESUMES).map(Begun::Decided),
        }
    }

    /// Makes an attempt on the caller's thread. If it takes longer than the stagger, a new thread continues it, or it
    /// is given up if that is not possible.
    fn make_here(&mut self, attempt: Attempt, is_last: bool, goes_on: bool) -> Result<Option<Attempt>, Ended> {
        let at = self.config.addresses[attempt.index];
        let left = self.config.limits.deadline.left().unwrap_or(FOREVER);
        let time = if is_last && self.under_way == 0 { left } else { left.min(self.config.stagger) };
        match self.in_flight.fly(&attempt.socket, &|| sys::connect_timeout(&attempt.socket, &at.into(), whole(time))) {
            Err(error) if is_our_limit(&error) => {
                if time == left {
                    return Err(Ended::TimedOut);
                }
                self.check()?;
                let given_up = if goes_on { self.send_off(attempt) } else { Some(attempt) };
                if let Some(attempt) = given_up {
                    self.lost(attempt.index, timed_out(at));
                }
                Ok(None)
            }
            result => self.landed(attempt, result),
        }
    }

    /// Makes or continues an attempt on a new thread. If no thread can be started, returns the attempt.
    fn send_off(&mut self, attempt: Attempt) -> Option<Attempt> {
        let Attempt { index, socket } = attempt;
        let at = self.config.addresses[index];
        let mut left = self.config.limits.deadline.left().unwrap_or(FOREVER);
        if index + AT_MOST < self.config.addresses.len() {
            // A connect(2) cannot be interrupted on every system, so it gets a limit of its own.
            left = left.min(self.config.stagger.saturating_mul(AT_MOST as u32));
        }
        let (in_flight, its) = (Arc::clone(&self.in_flight), Arc::clone(&socket));
        let fly = move || {
            let result = in_flight.fly(&its, &|| connect(&its, at, left));
            in_flight.tell(Attempt { index, socket: its }, result);
            Ok(())
        };
        match spawn(format!("landline connect {at}"), Some(STACK), fly) {
            Ok(thread) => {
                self.threads.push(thread);
                self.under_way += 1;
                None
            }
            Err(_) => Some(Attempt { index, socket }),
        }
    }

    /// Waits for a result until `until` or the deadline. Returns the attempt that connected, or `None` if the next
    /// should start.
    fn wait(&mut self, until: Deadline) -> Result<Option<Attempt>, Ended> {
        match self.in_flight.wait(until.min(self.config.limits.deadline)) {
            Some((attempt, result)) => {
                self.under_way -= 1;
                self.landed(attempt, result)
            }
            None => self.check().map(|()| None),
        }
    }

    fn landed(&mut self, attempt: Attempt, result: io::Result<()>) -> Result<Option<Attempt>, Ended> {
        if self.config.limits.is_cancelled() {
            return Err(Ended::Cancelled);
        }
        let at = self.config.addresses[attempt.index];
        let result = result.and_then(|()| match is_to_itself(&attempt.socket, at.port()) {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(()),
        });
        match result {
            Ok(()) => Ok(Some(attempt)),
            Err(error) => {
                self.lost(attempt.index, Error::call("connect", &error).at(at));
                Ok(None)
            }
        }
    }

    fn check(&self) -> Result<(), Ended> {
        match () {
            () if self.config.limits.is_cancelled() => Err(Ended::Cancelled),
            () if self.config.limits.deadline.is_over() => Err(Ended::TimedOut),
            () => Ok(()),
        }
    }

    fn lost(&mut self, index: usize, error: Error) {
        let address = self.config.addresses[index].into();
        self.config.reporter.tell(|| match error.kind() {
            io::ErrorKind::TimedOut => Report::AttemptTimedOut { address },
            _ => Report::AttemptFailed { address, error: error.clone() },
        });
        self.failed[index] = Some(error);
    }

    /// The errors of all attempts, including those that are still running.
    fn errors(&mut self) -> Vec<Error> {
        for index in 0..self.attempted {
            if self.failed[index].is_none() {
                self.lost(index, timed_out(self.config.addresses[index]));
            }
        }
        let mut errors = Vec::new();
        for error in &mut self.failed {
            if let Some(error) = error.take() {
                errors.push(error);
            }
        }
        errors
    }
}

/// Leaves no socket behind, and no thread where connect(2) can be woken.
impl Drop for Race<'_> {
    fn drop(&mut self) {
        if self.in_flight.call_off() {
            for thread in std::mem::take(&mut self.threads) {
                let _ = thread.join();
            }
        }
    }
}

enum Begun {
    Decided(Option<Attempt>),
    OnItsThread,
}

/// Connects, on the attempt's own thread. If connect(2) can be interrupted, the caller watches the limits. On other
/// systems the thread lives at most for `left`.
fn connect(socket: &socket2::Socket, at: SocketAddr, left: Duration) -> io::Result<()> {
    if !sys::CONNECT_RESUMES {
        return sys::connect_timeout(socket, &at.into(), whole(left));
    }
    loop {
        match socket.connect(&at.into()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether a connection to `port` is connected to itself. On one machine, TCP connects a socket to itself if its local
/// port happens to be the port that it connects to, and no program listens there (RFC 9293, 3.5, simultaneous open).
/// The peer's address is asked from the system, because it differs from a requested wildcard or zone. Such a connection
/// is reset when it is dropped, because after FIN a server could not use the port for a minute.
pub(crate) fn is_to_itself(socket: &socket2::Socket, port: u16) -> bool {
    let same_port = || socket.local_addr().ok()?.as_socket().filter(|local| local.port() == port);
    let is_to_itself =
        same_port().is_some_and(|local| socket.peer_addr().is_ok_and(|peer| peer.as_socket() == Some(local)));
    if is_to_itself {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
    is_to_itself
}

/// Rounds a time up to whole milliseconds, which the system waits for, so that no attempt ends early.
fn whole(time: Duration) -> Duration {
    time.saturating_add(Duration::from_nanos(999_999))
}

/// Whether our own limit ended the attempt. A timeout of the system has an error number.
fn is_our_limit(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

pub(crate) fn timed_out(at: SocketAddr) -> Error {
    Error::call("connect", &io::ErrorKind::TimedOut.into()).at(at)
}

/// The attempts of one race that are in connect(2), so that they can be cancelled.
#[derive(Default)]
struct InFlight {
    state: Mutex<InProgress>,
    landed: Condvar,
}

#[derive(Default)]
struct InProgress {
    called_off: bool,
    /// The sockets in connect(2), oldest first.
    sockets: Vec<Arc<socket2::Socket>>,
    /// The socket in `sockets` that is being given up.
    given_up: Option<Arc<socket2::Socket>>,
    /// The results of attempts made on threads.
    made: Vec<(Attempt, io::Result<()>)>,
}

/// How long a woken call has to return before it is woken again, and how often that is tried.
const AGAIN: Duration = Duration::from_millis(1);
const ROUNDS: usize = 1000;

impl InFlight {
    /// Makes a call that can be cancelled.
    fn fly(&self, socket: &Arc<socket2::Socket>, call: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        let called_off = || Err(io::ErrorKind::ConnectionAborted.into());
        {
            let mut state = lock(&self.state);
            if state.called_off {
                return called_off();
            }
            state.sockets.push(Arc::clone(socket));
        }
        let result = call();
        let mut state = lock(&self.state);
        state.sockets.retain(|other| !Arc::ptr_eq(other, socket));
        self.landed.notify_all();
        if state.given_up.take_if(|given_up| Arc::ptr_eq(given_up, socket)).is_some() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if state.called_off { called_off() } else { result }
    }

    /// Passes the result of an attempt to the caller's thread.
    fn tell(&self, attempt: Attempt, result: io::Result<()>) {
        let mut state = lock(&self.state);
        // After that, no caller waits for the result, and another thread may hold `self` for hours.
        if !state.called_off {
            state.made.push((attempt, result));
            self.landed.notify_all();
        }
    }

    /// Waits for a result, until all attempts are cancelled or the time expires.
    fn wait(&self, until: Deadline) -> Option<(Attempt, io::Result<()>)> {
        let mut state = lock(&self.state);
        while state.made.is_empty() && !state.called_off && !until.is_over() {
            state = wait(&self.landed, state, until.left());
        }
        (!state.made.is_empty()).then(|| state.made.remove(0))
    }

    /// Wakes the oldest call, so that its attempt fails with `TimedOut`. The caller repeats this until the call has
    /// returned.
    fn give_up_oldest(&self) {
        let mut state = lock(&self.state);
        if sys::SHUTDOWN_WAKES_CONNECT {
            state.given_up = state.given_up.take().or_else(|| state.sockets.first().cloned());
            if let Some(socket) = &state.given_up {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Ends all calls, those in progress and later ones. Returns whether every call has returned.
    ///
    /// If shutdown(2) wakes a connect(2) in progress on this system, it is called on each socket. A connect(2) that is
    /// about to start would miss that, so the caller repeats this until every call has returned.
    fn call_off(&self) -> bool {
        let mut state = lock(&self.state);
        state.called_off = true;
        state.made.clear();
        self.landed.notify_all();
        let rounds = if sys::SHUTDOWN_WAKES_CONNECT { ROUNDS } else { 0 };
        for _ in 0..rounds {
            for socket in &state.sockets {
                let _ = socket.shutdown(Shutdown::Both);
            }
            if state.sockets.is_empty() {
                break;
            }
            state = wait(&self.landed, state, Some(AGAIN));
        }
        state.sockets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(index: usize) -> Attempt {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        Attempt { index, socket: Arc::new(socket.expect("a socket is to be had")) }
    }

    /// Ensures that attempts for which no caller waits any more keep no socket open, whenever they end. Where
    /// connect(2) cannot be woken, a different attempt that is under way for hours holds what the attempts share.
    #[test]
    fn an_attempt_that_ends_after_the_race_is_closed_at_once() {
        let in_flight = InFlight::default();
        let (before, after) = (attempt(0), attempt(1));
        let sockets = [&before, &after].map(|attempt| Arc::downgrade(&attempt.socket));
        in_flight.tell(before, Ok(()));
        in_flight.call_off();
        in_flight.tell(after, Ok(()));
        let open = sockets.map(|socket| socket.upgrade().is_some());
        assert_eq!(open, [false; 2], "what came of an attempt is dropped once all are called off");
    }
}
