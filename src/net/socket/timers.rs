//! The four timers of a connection, over blocking calls.
//!
//! The kernel ends a blocked call after SO_RCVTIMEO or SO_SNDTIMEO. Each of these limits one call in one direction.
//! When the kernel ends a call, this file decides whether a timer has expired, or whether the call continues for the
//! remaining time. A call uses the timers as they were when it began. If no timer is set, the timers cost no system
//! call. If one is set, they cost a system call only when the kernel's value must change.

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

/// Times are nanoseconds since `since`.
#[derive(Debug)]
pub(crate) struct Timers {
    since: Instant,
    /// When a byte was last read or written. It is recorded only while a timer is set.
    active: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    set: Set,
    /// The kernel's current values, for reading and for writing.
    kernel: [SharedTimeout; 2],
}

/// The timers as set, in nanoseconds. 0 is none.
#[derive(Debug, Clone, Copy, Default)]
struct Set {
    read: u64,
    write: u64,
    idle: u64,
    deadline: u64,
}

/// A timer that is a length of time.
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

/// The limits of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    direction: Direction,
    set: Set,
    /// The timers were not read yet.
    is_new: bool,
    /// When the call began, or last wrote something.
    began: u64,
    /// Whether the call was woken since. If so, the kernel gets exactly the remaining time.
    was_woken: bool,
}

/// When the last activity was, at the moment an idle timeout was reported. So each idle timeout is reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleMark(u64);

/// How often, at least, a thread that has reported an idle timeout checks for new activity, such as writes of other
/// threads: 1.6 s. A thousand threads that check ten times a second would use a fifth of a core.
const LOOK: u64 = 1_600_000_000;

impl Timers {
    pub(crate) fn new(idle: Option<Duration>, deadline: Option<Instant>) -> Timers {
        let since = Instant::now();
        let deadline = deadline.map_or(0, |at| nanoseconds(at.saturating_duration_since(since)).max(1));
        let set = Set { idle: idle.map_or(0, nanoseconds), deadline, ..Set::default() };
        let state = State { set, kernel: [SharedTimeout::NONE, SharedTimeout::NONE] };
        Timers { since, active: AtomicU64::new(0), state: Mutex::new(state) }
    }

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

    /// Sets one of the timers. Calls `mark` under the lock, with `true` if calls must read the timers from now on.
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

    /// Like `set`, for the deadline.
    pub(crate) fn set_deadline(&self, at: Option<Instant>, mark: impl FnOnce(bool)) {
        let mut state = lock(&self.state);
        // A deadline in the past must not become 0, which means none.
        state.set.deadline = at.map_or(0, |at| nanoseconds(at.saturating_duration_since(self.since)).max(1));
        mark(state.is_on());
    }

    /// The time left until the deadline. Without a deadline, `Duration::MAX`.
    pub(crate) fn lifetime_left(&self) -> Duration {
        self.deadline().map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Called when bytes were read or written.
    pub(crate) fn moved(&self) {
        self.active.store(self.now(), Relaxed);
    }

    fn now(&self) -> u64 {
        nanoseconds(self.since.elapsed())
    }

    /// Begins a call that reads or writes. The call uses the timers as they are when it first looks at them.
    pub(crate) fn begin(&self, direction: Direction) -> Limits {
        Limits { direction, set: Set::default(), is_new: true, began: self.now(), was_woken: false }
    }

    /// Begins a call that neither reads nor writes. The read and write timeouts do not apply to it.
    pub(crate) fn begin_waiting(&self) -> Limits {
        let mut limits = self.begin(Direction::Read);
        self.look_at(&mut limits);
        (limits.set.read, limits.set.write) = (0, 0);
        limits
    }

    /// Gets the timers, unless the call has them already.
    fn look_at(&self, limits: &mut Limits) {
        if std::mem::take(&mut limits.is_new) {
            limits.set = lock(&self.state).set;
        }
    }

    /// Continues after a system call that did not end the call. `has_moved`: whether it moved bytes.
    pub(crate) fn go_on(&self, limits: &mut Limits, has_moved: bool) {
        if has_moved {
            limits.began = self.now();
        }
        limits.was_woken = true;
    }

    /// Called before a system call that may block. Sets how long the kernel may block, or returns the error of an
    /// expired timer. `leave` must follow if there is no error.
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

    /// Called after the system call. Returns whether a timeout that was set here may have ended the system call. Calls
    /// `rest` under the lock if calls need not read the timers any more.
    pub(crate) fn leave(&self, limits: &Limits, entry: Entry, rest: impl FnOnce()) -> bool {
        let mut state = lock(&self.state);
        let may_be_ours = state.kernel[limits.direction as usize].leave(entry);
        if !state.is_on() {
            rest();
        }
        may_be_ours
    }

    /// Called before a system call that does not block. Returns the error of an expired timer.
    pub(crate) fn check(&self, limits: &mut Limits) -> io::Result<()> {
        self.look_at(limits);
        self.until(limits, &mut None, self.now()).map(drop)
    }

    /// How long a call may still wait, or the error of an expired timer.
    pub(crate) fn left(&self, limits: &mut Limits, told: &mut Option<IdleMark>) -> io::Result<Option<Duration>> {
        self.look_at(limits);
        let now = self.now();
        let until = self.until(&Limits { was_woken: true, ..*limits }, told, now)?;
        Ok((until.at != NEVER).then(|| Duration::from_nanos(until.at.saturating_sub(now))))
    }

    /// Returns an error if the deadline has passed.
    pub(crate) fn check_deadline(&self, direction: Direction) -> io::Result<()> {
        let is_over = self.deadline().is_some_and(|at| at <= Instant::now());
        if is_over { Err(past_deadline(direction)) } else { Ok(()) }
    }

    /// When the first timer expires, or the error of a timer that has expired. A call tries at least once, except after
    /// the deadline. If an idle timeout is in `told`, it is ignored until bytes have moved. If one is reported here, it
    /// is stored in `told`.
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
                // If the call began after the last activity, it has the whole idle time.
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

    /// How long one call in this direction may wait.
    fn own(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Read => self.read,
            Direction::Write => self.write,
        }
    }
}

impl Limits {
    /// Limits one system call to a part of the time.
    ///
    /// If the kernel takes only a part of a write, the call returns only after its whole time, and does not say when
    /// the part was taken. In that time, a thread that reads would find the connection idle. So the time is split over
    /// several calls.
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

/// Whether one of our timeouts ended a failed call, if that is possible (`may_be`). The clock cannot decide this: on a
/// virtual machine that was stopped for a moment, the kernel's clock may be behind, so that its timeouts expire at
/// once.
pub(crate) fn is_timeout(stream: &TcpStream, error: &io::Error, may_be: bool) -> bool {
    sys::is_timeout(error) && may_be && !sys::is_nonblocking(&SockRef::from(stream)).unwrap_or(false)
}

/// At most half the range, about 290 years. That is as good as never, and leaves room to add.
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
