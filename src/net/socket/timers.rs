//! The four timers of a connection, over blocking calls.
//!
//! The kernel ends a blocked call after SO_RCVTIMEO or SO_SNDTIMEO. Both measure one call in one direction, so when one
//! has ended, this file decides whether the time of one of the timers is up or the call goes on with what is left. A
//! call goes by the timers as they were when it began. Nothing is asked of the system while no timer is set, and while
//! one is, only when the number it has been given must change.

use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::error::{Cause, Error};
use crate::sync::atomic_u64::AtomicU64;
use crate::sync::poison::lock;
use crate::sync::shared_timeout::{Entry, NEVER, SharedTimeout, Until};
use crate::sys;

/// Moments are nanoseconds since `since`.
#[derive(Debug)]
pub(crate) struct Timers {
    since: Instant,
    /// When a byte was last read or written. Kept only while a timer is set.
    active: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    set: Set,
    /// What the kernel was told, for reading and for writing.
    kernel: [SharedTimeout; 2],
}

/// The timers, as they are set, in nanoseconds; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
struct Set {
    read: u64,
    write: u64,
    idle: u64,
    deadline: u64,
}

/// One of the timers that are a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Read,
    Write,
    Idle,
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
    set: Set,
    /// The timers were not asked yet.
    is_new: bool,
    /// When it began, or last wrote something.
    began: u64,
    /// Whether it was woken since: then what is left is told to the kernel as it is.
    was_woken: bool,
}

/// The last activity when an idle timeout was told, so that it is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleMark(u64);

/// How soon a thread looks again, at least, that has told an idle time and waits for activity, which may be another
/// thread's writes: 1.6 s. A thousand threads that looked ten times a second would take a fifth of a processor.
const LOOK: u64 = 1_600_000_000;

impl Timers {
    pub(crate) fn new(idle: Option<Duration>, deadline: Option<Instant>) -> Timers {
        let since = Instant::now();
        let deadline = deadline.map_or(0, |at| nanoseconds(at.saturating_duration_since(since)).max(1));
        let set = Set { idle: idle.map_or(0, nanoseconds), deadline, ..Set::default() };
        let state = State { set, kernel: [SharedTimeout::NONE, SharedTimeout::NONE] };
        Timers { since, active: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// How old the connection is.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    pub(crate) fn is_on(&self) -> bool {
        lock(&self.state).is_on()
    }

    pub(crate) fn get(&self, timer: Timer) -> Option<Duration> {
        let time = *lock(&self.state).set.timer(timer);
        (time > 0).then(|| Duration::from_nanos(time))
    }

    /// Sets one of the timers; `mark` is called with whether calls must ask for them, under the lock.
    pub(crate) fn set(&self, timer: Timer, time: Option<Duration>, mark: impl FnOnce(bool)) {
        if timer == Timer::Idle {
            self.moved();
        }
        let mut state = lock(&self.state);
        *state.set.timer(timer) = time.map_or(0, nanoseconds);
        mark(state.is_on());
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let at = lock(&self.state).set.deadline;
        if at > 0 { self.since.checked_add(Duration::from_nanos(at)) } else { None }
    }

    /// As `set`, of the deadline.
    pub(crate) fn set_deadline(&self, at: Option<Instant>, mark: impl FnOnce(bool)) {
        let mut state = lock(&self.state);
        // One that is past already is not none.
        state.set.deadline = at.map_or(0, |at| nanoseconds(at.saturating_duration_since(self.since)).max(1));
        mark(state.is_on());
    }

    /// How long it is to the deadline, if there is one.
    pub(crate) fn lifetime_left(&self) -> Duration {
        self.deadline().map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// A call has read or written bytes.
    pub(crate) fn moved(&self) {
        self.active.store(self.now(), Relaxed);
    }

    fn now(&self) -> u64 {
        nanoseconds(self.since.elapsed())
    }

    /// When a call begins that reads or writes. It goes by the timers as they are when it first asks for them.
    pub(crate) fn begin(&self, direction: Direction) -> Limits {
        Limits { direction, set: Set::default(), is_new: true, began: self.now(), was_woken: false }
    }

    /// When a call begins that neither reads nor writes: without the timeouts of a single call.
    pub(crate) fn begin_waiting(&self) -> Limits {
        let mut limits = self.begin(Direction::Read);
        self.look_at(&mut limits);
        (limits.set.read, limits.set.write) = (0, 0);
        limits
    }

    /// Takes the timers as they are, unless that was done.
    fn look_at(&self, limits: &mut Limits) {
        if std::mem::take(&mut limits.is_new) {
            limits.set = lock(&self.state).set;
        }
    }

    /// After a system call that did not end the call: whether it has moved anything.
    pub(crate) fn go_on(&self, limits: &mut Limits, has_moved: bool) {
        if has_moved {
            limits.began = self.now();
        }
        limits.was_woken = true;
    }

    /// Before a system call that may block: tells the kernel how long it may. The error if the time is up; otherwise
    /// `leave` must follow.
    pub(crate) fn enter(
        &self,
        stream: &TcpStream,
        limits: &mut Limits,
        told: &mut Option<IdleMark>,
    ) -> io::Result<Entry> {
        let now = if limits.is_new { limits.began } else { self.now() };
        let mut state = lock(&self.state);
        if std::mem::take(&mut limits.is_new) {
            limits.set = state.set;
        }
        let until = limits.in_slices(self.until(limits, told, now)?, now);
        state.kernel[limits.direction as usize].enter(until, now, |time| match limits.direction {
            Direction::Read => stream.set_read_timeout(time),
            Direction::Write => stream.set_write_timeout(time),
        })
    }

    /// After the call: whether the kernel may have ended it by a time that it was told here. `rest` is called, under
    /// the lock, if calls need no longer ask for timers.
    pub(crate) fn leave(&self, limits: &Limits, entry: Entry, rest: impl FnOnce()) -> bool {
        let mut state = lock(&self.state);
        let may_be_ours = state.kernel[limits.direction as usize].leave(entry);
        if !state.is_on() {
            rest();
        }
        may_be_ours
    }

    /// Before a system call that does not block: the error if the time is up.
    pub(crate) fn check(&self, limits: &mut Limits) -> io::Result<()> {
        self.look_at(limits);
        self.until(limits, &mut None, self.now()).map(drop)
    }

    /// How long a call may still wait; the error if its time is up.
    pub(crate) fn left(&self, limits: &mut Limits, told: &mut Option<IdleMark>) -> io::Result<Option<Duration>> {
        self.look_at(limits);
        let now = self.now();
        let until = self.until(&Limits { was_woken: true, ..*limits }, told, now)?;
        Ok((until.at != NEVER).then(|| Duration::from_nanos(until.at.saturating_sub(now))))
    }

    /// The error if the deadline has passed.
    pub(crate) fn check_deadline(&self, direction: Direction) -> io::Result<()> {
        let is_over = self.deadline().is_some_and(|at| at <= Instant::now());
        if is_over { Err(past_deadline(direction)) } else { Ok(()) }
    }

    /// When the first timer is up; the error if it is. A call has one try at least, except after the deadline. An idle
    /// time that was `told` is passed over until bytes have moved; one that is told here is noted there.
    #[inline]
    fn until(&self, limits: &Limits, told: &mut Option<IdleMark>, now: u64) -> io::Result<Until> {
        let Limits { direction, set, began, was_woken, .. } = *limits;
        if set.deadline > 0 && set.deadline <= now {
            return Err(past_deadline(direction));
        }
        let mut first = NEVER;
        let own = set.own(direction);
        if own > 0 {
            first = began.saturating_add(own);
            if was_woken && first <= now {
                return Err(waited_too_long(direction, own));
            }
        }
        if set.idle > 0 {
            let active = self.active.load(Relaxed);
            if *told == Some(IdleMark(active)) {
                first = first.min(now.saturating_add(set.idle.max(LOOK)));
            } else {
                // A call that began after the last activity has a whole idle time of its own.
                let at = began.max(active).saturating_add(set.idle);
                if was_woken && at <= now {
                    *told = Some(IdleMark(active));
                    return Err(idle_too_long(direction, set.idle));
                }
                first = first.min(at);
            }
        }
        Ok(if set.deadline > 0 && set.deadline < first {
            Until { at: set.deadline, is_exact: was_woken }
        } else {
            Until { at: first, is_exact: true }
        })
    }
}

impl State {
    fn is_on(&self) -> bool {
        let Set { read, write, idle, deadline } = self.set;
        (read | write | idle | deadline) > 0 || self.kernel.iter().any(|kernel| !kernel.is_none())
    }
}

impl Set {
    fn timer(&mut self, timer: Timer) -> &mut u64 {
        match timer {
            Timer::Read => &mut self.read,
            Timer::Write => &mut self.write,
            Timer::Idle => &mut self.idle,
        }
    }

    /// How long one call in this direction waits.
    fn own(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Read => self.read,
            Direction::Write => self.write,
        }
    }
}

impl Limits {
    /// How far one system call may go.
    ///
    /// A write that the kernel takes a part of does not return before its time is up, and then says nothing of when the
    /// part was taken; who reads at the same time would take the connection for idle. So it is asked several times.
    fn in_slices(&self, until: Until, now: u64) -> Until {
        let mut slice = sys::SLICE.map_or(NEVER, nanoseconds);
        if self.direction == Direction::Write {
            for time in [self.set.write, self.set.idle] {
                slice = if time > 0 { slice.min(time / 8) } else { slice };
            }
        }
        let at = now.saturating_add(slice);
        if at < until.at { Until { at, is_exact: true } } else { until }
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

/// Whether a call that failed was ended by a time of ours, if it `may_be` that. The clock does not tell: the kernel's
/// may be behind, on a virtual machine that was stopped for a moment, and a time of its be over at once.
pub(crate) fn is_timeout(stream: &TcpStream, error: &io::Error, may_be: bool) -> bool {
    sys::is_timeout(error) && may_be && !sys::is_nonblocking(&SockRef::from(stream)).unwrap_or(false)
}

/// Half the range at most, some 290 years, which is as good as never and leaves room to add.
fn nanoseconds(time: Duration) -> u64 {
    let whole = time.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(time.subsec_nanos().into()).min(NEVER / 2)
}

fn idle_too_long(direction: Direction, time: u64) -> io::Error {
    let time = Duration::from_nanos(time);
    let text = format!("{} timed out: nothing was read or written for {time:?}", direction.call());
    Error::of_cause(Cause::Idle, text).into()
}

fn waited_too_long(direction: Direction, time: u64) -> io::Error {
    let what = match direction {
        Direction::Read => "arrived",
        Direction::Write => "could be written",
    };
    let text = format!("{} timed out: nothing {what} for {:?}", direction.call(), Duration::from_nanos(time));
    Error::of_cause(Cause::Waited, text).into()
}

fn past_deadline(direction: Direction) -> io::Error {
    let text = format!("{} timed out: the deadline has passed", direction.call());
    Error::fixed(io::ErrorKind::TimedOut, "ERR_SOCKET_DEADLINE", text).into()
}
