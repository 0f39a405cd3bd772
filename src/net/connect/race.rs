//! Connecting to the first of several addresses that answers, as RFC 8305 has it ("happy eyeballs").
//!
//! The attempts are staggered, and each next one begins early when one fails. While no attempt is under way, the next
//! is made on the caller's own thread: where the first address answers, as it nearly always does, no thread is started.
//! One that is not decided when the next should begin goes on, on a thread of its own. Of those there are a few at a
//! time: a name with a hundred addresses that never answer is dialled in turn, until the deadline.

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

/// Stands for no limit; every system gives an attempt up long before.
pub(crate) const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// So many attempts are under way at once, each of which has a thread and a descriptor. Before the next begins, the
/// oldest is given up. It has had so many staggers by then, 2 s by default: enough for its first packet to be lost,
/// since Linux sends the next after 1 s. Names with more addresses than this are rare.
const AT_MOST: usize = 8;

/// A thread that connects needs little stack, but the printing of a panic has to fit.
const STACK: usize = 64 * 1024;

/// How the attempts are made.
pub(crate) struct RaceConfig<'a> {
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) stagger: Duration,
    /// One after the other: all bind one port, so they cannot be made at once.
    pub(crate) serial: bool,
    pub(crate) limits: Limits<'a>,
    pub(crate) reporter: &'a Reporter,
    /// A socket for an attempt, or why none may be made.
    pub(crate) open: &'a dyn Fn(SocketAddr) -> Result<socket2::Socket>,
}

/// How it went.
pub(crate) struct Outcome {
    /// How many addresses were tried, from the first on.
    pub(crate) attempted: usize,
    pub(crate) end: End,
}

pub(crate) enum End {
    Connected(socket2::Socket, SocketAddr),
    /// Each address has failed. The errors are in the order of the addresses, here and below.
    Failed(Vec<Error>),
    /// The deadline came first.
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
                let socket =
                    Arc::into_inner(won.socket).expect("a landed socket is out of the list of those in flight");
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
    /// How many attempts are on threads, without news of them.
    under_way: usize,
    attempted: usize,
    /// The error of each address that has failed, by its number.
    failed: Vec<Option<Error>>,
}

/// An attempt, by the number of its address.
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

    /// Gives the oldest attempts up, until there is room for one more. Gives the attempt that has won in this time, if
    /// one has.
    fn make_room(&mut self) -> Result<Option<Attempt>, Ended> {
        while self.under_way >= AT_MOST {
            self.in_flight.give_up_oldest();
            // Where that wakes nothing, its own time is over by now.
            let until = if sys::SHUTDOWN_WAKES_CONNECT { Deadline::after(AGAIN) } else { Deadline::NEVER };
            if let Some(won) = self.wait(until)? {
                return Ok(Some(won));
            }
        }
        Ok(None)
    }

    /// Begins an attempt: here as long as nothing else is under way, else on a thread, or here if none can be had.
    fn begin(&mut self, attempt: Attempt, is_last: bool) -> Result<Begun, Ended> {
        let given_up = self.config.serial && !is_last;
        // Where a connect(2) under way can neither be cancelled nor be waited for again, it belongs on a thread.
        let fits_here = sys::CONNECT_RESUMES || (is_last && self.config.limits.cancel.is_none());
        if given_up || (fits_here && self.under_way == 0) {
            return self.make_here(attempt, is_last, !given_up && fits_here).map(Begun::Decided);
        }
        match self.send_off(attempt) {
            None => Ok(Begun::OnItsThread),
            // No thread is to be had: it has its turn here.
            Some(attempt) => self.make_here(attempt, is_last, sys::CONNECT_RESUMES).map(Begun::Decided),
        }
    }

    /// Makes an attempt on the caller's thread. One that takes longer than the stagger goes on on a thread, or is given
    /// up if that is not possible.
    fn make_here(&mut self, attempt: Attempt, is_last: bool, goes_on: bool) -> Result<Option<Attempt>, Ended> {
        let at = self.config.addresses[attempt.index];
        let left = self.config.limits.deadline.left().unwrap_or(FOREVER);
        let time = if is_last && self.under_way == 0 { left } else { left.min(self.config.stagger) };
        match self.in_flight.fly(&attempt.socket, &|| attempt.socket.connect_timeout(&at.into(), whole(time))) {
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

    /// Makes an attempt, or waits for one under way, on a thread; gives it back if there is none to be had.
    fn send_off(&mut self, attempt: Attempt) -> Option<Attempt> {
        let Attempt { index, socket } = attempt;
        let at = self.config.addresses[index];
        let mut left = self.config.limits.deadline.left().unwrap_or(FOREVER);
        if index + AT_MOST < self.config.addresses.len() {
            // Where it cannot be given up from outside.
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

    /// Waits for news, until `until` or the deadline. Gives the attempt that has won; `None` if the next one should
    /// begin.
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

    /// The errors of all that were tried, of those too that the end found under way.
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

/// However it ends, nothing is left: neither a socket nor, where connect(2) can be woken, a thread.
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

/// Waits for a connection on a thread of its own. Where that can be called off, whoever waits for the thread knows the
/// limits; elsewhere the thread lives no longer than `left`.
fn connect(socket: &socket2::Socket, at: SocketAddr, left: Duration) -> io::Result<()> {
    if !sys::CONNECT_RESUMES {
        return socket.connect_timeout(&at.into(), whole(left));
    }
    loop {
        match socket.connect(&at.into()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether a connection to `port` leads from an address to the same: on one machine, TCP lets a client that happens to
/// get the very port that it calls as its own meet itself (RFC 9293, 3.5, simultaneous open). No program listens there.
/// The system says which address was reached: that of a wildcard or with a zone is not the one that was asked for. Such
/// a connection is reset when it is dropped, since an orderly end would keep the port from its server for a minute.
pub(crate) fn is_to_itself(socket: &socket2::Socket, port: u16) -> bool {
    let same_port = || socket.local_addr().ok()?.as_socket().filter(|local| local.port() == port);
    let is_to_itself =
        same_port().is_some_and(|local| socket.peer_addr().is_ok_and(|peer| peer.as_socket() == Some(local)));
    if is_to_itself {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
    is_to_itself
}

/// The system waits for whole milliseconds: the next one, so that nothing ends before its time.
fn whole(time: Duration) -> Duration {
    time.saturating_add(Duration::from_nanos(999_999))
}

/// Whether it was us who gave up: a timeout of the system's has a number.
fn is_our_limit(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

pub(crate) fn timed_out(at: SocketAddr) -> Error {
    Error::call("connect", &io::ErrorKind::TimedOut.into()).at(at)
}

/// The attempts of one race that are inside connect(2), so that they can be called off.
#[derive(Default)]
struct InFlight {
    state: Mutex<InProgress>,
    landed: Condvar,
}

#[derive(Default)]
struct InProgress {
    called_off: bool,
    /// The oldest first.
    sockets: Vec<Arc<socket2::Socket>>,
    /// One of them.
    given_up: Option<Arc<socket2::Socket>>,
    /// What has come of those that were made on threads.
    made: Vec<(Attempt, io::Result<()>)>,
}

/// How long a call is given to return before it is woken again, and how often that is tried.
const AGAIN: Duration = Duration::from_millis(1);
const ROUNDS: usize = 1000;

impl InFlight {
    /// Makes the call, which may be called off.
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

    /// Tells the caller's thread what has come of an attempt on another.
    fn tell(&self, attempt: Attempt, result: io::Result<()>) {
        lock(&self.state).made.push((attempt, result));
        self.landed.notify_all();
    }

    /// Waits for what has come of an attempt, unless all are called off, or the time is up.
    fn wait(&self, until: Deadline) -> Option<(Attempt, io::Result<()>)> {
        let mut state = lock(&self.state);
        while state.made.is_empty() && !state.called_off && !until.is_over() {
            state = wait(&self.landed, state, until.left());
        }
        (!state.made.is_empty()).then(|| state.made.remove(0))
    }

    /// Wakes the oldest call under way, which then is one that has timed out. To be repeated until one has returned.
    fn give_up_oldest(&self) {
        let mut state = lock(&self.state);
        if sys::SHUTDOWN_WAKES_CONNECT {
            state.given_up = state.given_up.take().or_else(|| state.sockets.first().cloned());
            if let Some(socket) = &state.given_up {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Ends the calls under way and those to come. Gives whether every one has returned.
    ///
    /// Where shutdown(2) wakes a connect(2) that has begun, it is called on each. One that is about to begin would not
    /// notice, or even begin anew, and so it is repeated until the call is over.
    fn call_off(&self) -> bool {
        let mut state = lock(&self.state);
        state.called_off = true;
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
