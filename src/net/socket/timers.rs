//! The four timers of a connection, over blocking calls.
//!
//! The kernel ends a blocked call after SO_RCVTIMEO or SO_SNDTIMEO. Both measure one call in one direction, so when one
//! has ended, this file decides whether the time of one of the timers is up or the call goes on with what is left. A
//! call goes by the timers as they were when it began. Nothing is asked of the system while no timer is set, and while
//! one is, only when the number it has been given must change.

use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::error::{Cause, Error};
use crate::sync::poison::lock;
use crate::sync::shared_timeout::{Entry, SharedTimeout, Until};
use crate::sys;

#[derive(Debug)]
pub(crate) struct Timers {
    since: Instant,
    /// When a byte was last read or written, in nanoseconds since `since`. Kept only while a timer is set.
    active: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    set: Set,
    /// What the kernel was told, for reading and for writing.
    kernel: [SharedTimeout; 2],
}

/// The timers, as they are set.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Set {
    pub(crate) read: Option<Duration>,
    pub(crate) write: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What one call goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    direction: Direction,
    /// None before the first system call.
    set: Option<Set>,
    /// When it began, or last wrote something.
    pub(crate) began: Instant,
    /// Whether it was woken since: then what is left is told to the kernel as it is.
    pub(crate) was_woken: bool,
}

/// The last activity when an idle timeout was told of, so that it is told of once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleMark(u64);

/// How soon a thread looks again, at least, that has told of an idle time and waits for activity, which may be another
/// thread's writes. A thousand threads that looked ten times a second would take a fifth of a processor.
const LOOK: Duration = Duration::from_millis(1600);

impl Timers {
    pub(crate) fn new(set: Set) -> Timers {
        let state = State { set, kernel: [SharedTimeout::NONE, SharedTimeout::NONE] };
        Timers { since: Instant::now(), active: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// How old the connection is.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    pub(crate) fn get(&self) -> Set {
        lock(&self.state).set
    }

    /// Changes the timers; `mark` is called with whether calls must ask for them, under the lock.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Set), mark: impl FnOnce(bool)) {
        let mut state = lock(&self.state);
        change(&mut state.set);
        mark(state.is_on());
    }

    /// How long it is to the deadline, if there is one.
    pub(crate) fn lifetime_left(&self) -> Duration {
        self.get().deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// A call has read or written bytes.
    pub(crate) fn moved(&self) {
        self.active.store(nanoseconds(self.since.elapsed()), Relaxed);
    }

    /// When a call begins.
    pub(crate) fn begin(&self, direction: Direction) -> Limits {
        Limits { set: Some(self.get()), ..Limits::new(direction) }
    }

    /// Before a system call that may block: tells the kernel how long it may. The error if the time is up; otherwise
    /// `leave` must follow.
    pub(crate) fn enter(&self, stream: &TcpStream, limits: &mut Limits, told: Option<IdleMark>) -> io::Result<Entry> {
        let now = if limits.set.is_some() { Instant::now() } else { limits.began };
        let mut state = lock(&self.state);
        let set = *limits.set.get_or_insert(state.set);
        let until = limits.in_slices(set, self.until(limits, set, told, now)?, now);
        state.kernel[limits.direction as usize].enter(until, now, |time| match limits.direction {
            Direction::Read => stream.set_read_timeout(time),
            Direction::Write => stream.set_write_timeout(time),
        })
    }

    /// After the call: whether the kernel may have ended it by a time that it was told here. `rest` is called, under the
    /// lock, if calls need no longer ask for timers.
    pub(crate) fn leave(&self, limits: &Limits, entry: Entry, rest: impl FnOnce()) -> bool {
        let mut state = lock(&self.state);
        let may_be_ours = state.kernel[limits.direction as usize].leave(entry);
        if !state.is_on() {
            rest();
        }
        may_be_ours
    }

    /// How long a call may still block; the error if its time is up.
    pub(crate) fn left(&self, limits: &Limits, told: Option<IdleMark>) -> io::Result<Option<Duration>> {
        let now = Instant::now();
        let set = limits.set.unwrap_or_default();
        let until = self.until(&Limits { was_woken: true, ..*limits }, set, told, now)?;
        Ok(until.map(|until| until.at.saturating_duration_since(now)))
    }

    /// What to hand to later calls once an idle timeout was told of.
    pub(crate) fn told(&self) -> IdleMark {
        IdleMark(self.active.load(Relaxed))
    }

    /// When the first timer is up; the error if it is. A call has one try at least, except after the deadline.
    fn until(&self, limits: &Limits, set: Set, told: Option<IdleMark>, now: Instant) -> io::Result<Option<Until>> {
        let Limits { direction, began, was_woken, .. } = *limits;
        if set.deadline.is_some_and(|at| at <= now) {
            return Err(past_deadline(direction));
        }
        let own_time = set.own(direction);
        let own = own_time.and_then(|time| began.checked_add(time));
        if was_woken && own.is_some_and(|at| at <= now) {
            return Err(waited_too_long(direction, own_time));
        }
        let mut idle = None;
        if let Some(time) = set.idle {
            let active = self.active.load(Relaxed);
            if told == Some(IdleMark(active)) {
                idle = now.checked_add(time.max(LOOK));
            } else {
                // A call that began after the last activity has a whole idle time of its own.
                let since = began.max(self.since + Duration::from_nanos(active));
                idle = since.checked_add(time);
                if was_woken && idle.is_some_and(|at| at <= now) {
                    return Err(idle_too_long(direction, time));
                }
            }
        }
        let first = own.into_iter().chain(idle).min().map(|at| Until { at, is_exact: true });
        Ok(match set.deadline {
            Some(at) if first.is_none_or(|first| at < first.at) => Some(Until { at, is_exact: was_woken }),
            _ => first,
        })
    }
}

impl State {
    fn is_on(&self) -> bool {
        let Set { read, write, idle, deadline } = self.set;
        let is_set = read.or(write).or(idle).is_some() || deadline.is_some();
        is_set || self.kernel.iter().any(|kernel| !kernel.is_none())
    }
}

impl Set {
    pub(crate) fn of(idle: Option<Duration>, deadline: Option<Instant>) -> Set {
        Set { idle: idle.filter(|time| !time.is_zero()), deadline, ..Set::default() }
    }

    /// How long one call in this direction waits.
    fn own(&self, direction: Direction) -> Option<Duration> {
        match direction {
            Direction::Read => self.read,
            Direction::Write => self.write,
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.read.or(self.write).or(self.idle).is_none() && self.deadline.is_none()
    }
}

impl Limits {
    /// Of a call that begins now. It goes by the timers as they are at its first system call.
    pub(crate) fn new(direction: Direction) -> Limits {
        Limits { direction, set: None, began: Instant::now(), was_woken: false }
    }

    /// The same without the timeout of a single call: for a wait in which nothing is read or written.
    pub(crate) fn of_connection(mut self) -> Limits {
        if let Some(set) = &mut self.set {
            (set.read, set.write) = (None, None);
        }
        self
    }

    /// How far one system call may go.
    ///
    /// A write that the kernel takes a part of does not return before its time is up, and then says nothing of when the
    /// part was taken; who reads at the same time would take the connection for idle. So it is asked several times.
    fn in_slices(&self, set: Set, until: Option<Until>, now: Instant) -> Option<Until> {
        let shortest = match self.direction {
            Direction::Read => None,
            Direction::Write => set.write.into_iter().chain(set.idle).min().map(|time| time / 8),
        };
        let slice = shortest.into_iter().chain(sys::SLICE).min().and_then(|time| now.checked_add(time));
        match (until, slice) {
            (Some(until), Some(at)) if at < until.at => Some(Until { at, is_exact: true }),
            (None, Some(at)) => Some(Until { at, is_exact: true }),
            (until, _) => until,
        }
    }
}

impl Direction {
    pub(crate) fn call(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
        }
    }
}

/// Whether a call that failed was ended by a time of ours, if it `may_be` that. The clock does not tell: the kernel's may
/// be behind, on a virtual machine that was stopped for a moment, and a time of its be over at once.
pub(crate) fn is_timeout(stream: &TcpStream, error: &io::Error, may_be: bool) -> bool {
    sys::is_timeout(error) && may_be && !sys::is_nonblocking(&SockRef::from(stream)).unwrap_or(false)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn idle_too_long(direction: Direction, time: Duration) -> io::Error {
    let text = format!("{} timed out: nothing was read or written for {time:?}", direction.call());
    Error::of_cause(Cause::Idle, text).into()
}

fn waited_too_long(direction: Direction, time: Option<Duration>) -> io::Error {
    let what = match direction {
        Direction::Read => "arrived",
        Direction::Write => "could be written",
    };
    let text = format!("{} timed out: nothing {what} for {:?}", direction.call(), time.unwrap_or_default());
    Error::of_cause(Cause::Waited, text).into()
}

fn past_deadline(direction: Direction) -> io::Error {
    let text = format!("{} timed out: the deadline has passed", direction.call());
    Error::fixed(io::ErrorKind::TimedOut, "ERR_SOCKET_DEADLINE", text).into()
}
