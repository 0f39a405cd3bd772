//! The four timers of a connection, over blocking calls.
//!
//! The kernel ends a blocked call after SO_RCVTIMEO or SO_SNDTIMEO. Each of these limits one call in one direction.
//! When the kernel ends a call, this file decides whether a timer has expired, or whether the call continues for the
//! remaining time. A call uses the timers as they were when it began. If no timer is set, the timers cost no system
//! call. If one is set, they cost a system call only when the kernel's value must change.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};
use std::{io, mem};

use socket2::SockRef;

use crate::error::{Cause, Error};
use crate::sync::atomic_u64::AtomicU64;
use crate::sync::poison::lock;
use crate::sys;

/// Times are nanoseconds since `since`.
#[derive(Debug)]
pub(crate) struct Timers {
    since: Instant,
    /// How many calls have begun and not returned. Each may ask for `active`.
    calls: AtomicUsize,
    /// When a byte was last read or written, or earlier if no call had begun by then. It rises after each, unless a
    /// later one has been stored before. Kept only while a timer is set.
    active: AtomicU64,
    /// The timers as set, by [`Timer`]. 0 is none.
    times: [AtomicU64; 3],
    deadline: AtomicU64,
    /// Held while a timer is set.
    setting: Mutex<()>,
    /// The kernel's timeouts in milliseconds, by [`Direction`]. 0 is none. The thread with the turn changes them.
    kernel: [AtomicU64; 2],
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

/// The limits of one call, from the timers as they were when it began.
#[derive(Debug)]
pub(crate) struct Limits<'a> {
    timers: &'a Timers,
    direction: Direction,
    /// How long one call in this direction may wait.
    own: u64,
    idle: u64,
    deadline: u64,
    /// When the call began, or last wrote something.
    began: u64,
    /// Whether `began` is still now.
    is_new: bool,
    /// Whether it was woken since. The kernel then gets exactly the time left.
    was_woken: bool,
}

/// When a call must end.
#[derive(Debug, Clone, Copy)]
struct Until {
    /// A moment, or [`NEVER`].
    at: u64,
    /// The time is the same for each call, or is the rest of a deadline. It is set as it is. A time that differs a
    /// little for each call would have to be set before each.
    is_exact: bool,
}

/// The call may block without an end.
const NEVER: u64 = u64::MAX;

/// The last activity when an idle timeout was reported, so that it is reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleMark(u64);

/// How often, at least, a thread that has reported an idle timeout checks for new activity, such as writes of other
/// threads: 1.6 s. A thousand threads that check ten times a second would use a fifth of a core.
const LOOK: u64 = 1_600_000_000;

impl Timers {
    pub(crate) fn new(idle: Option<Duration>, deadline: Option<Instant>) -> Timers {
        let timers = Timers {
            since: Instant::now(),
            calls: AtomicUsize::new(0),
            active: AtomicU64::new(0),
            times: [0, 0, idle.map_or(0, nanoseconds)].map(AtomicU64::new),
            deadline: AtomicU64::new(0),
            setting: Mutex::new(()),
            kernel: [0, 0].map(AtomicU64::new),
        };
        timers.set_deadline(deadline, |_| ());
        timers
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether a timer is set, or the kernel has a timeout of ours.
    pub(crate) fn is_on(&self) -> bool {
        let is_set = |time: &AtomicU64| time.load(Relaxed) > 0;
        self.times.iter().any(is_set) || is_set(&self.deadline) || self.kernel.iter().any(is_set)
    }

    pub(crate) fn get(&self, timer: Timer) -> Option<Duration> {
        let time = self.times[timer as usize].load(Relaxed);
        (time > 0).then(|| Duration::from_nanos(time))
    }

    /// Sets one of the timers. Calls `mark` under the lock, with `true` if calls must read the timers from now on.
    pub(crate) fn set(&self, timer: Timer, time: Option<Duration>, mark: impl FnOnce(bool)) {
        if timer == Timer::Idle {
            self.moved();
        }
        self.store(&self.times[timer as usize], time.map_or(0, nanoseconds), mark);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let at = self.deadline.load(Relaxed);
        if at > 0 { self.since.checked_add(Duration::from_nanos(at)) } else { None }
    }

    /// Like `set`, for the deadline.
    pub(crate) fn set_deadline(&self, at: Option<Instant>, mark: impl FnOnce(bool)) {
        // A deadline in the past must not become 0, which means none.
        let at = at.map_or(0, |at| nanoseconds(at.saturating_duration_since(self.since)).max(1));
        self.store(&self.deadline, at, mark);
    }

    fn store(&self, timer: &AtomicU64, time: u64, mark: impl FnOnce(bool)) {
        let _setting = lock(&self.setting);
        timer.store(time, Relaxed);
        mark(self.is_on());
    }

    /// Calls `mark` under the lock if calls need not read the timers any more. If another call has yet to set the
    /// kernel's timeout for a timer that was removed, a later call that it ends finds it here.
    pub(crate) fn rest(&self, mark: impl FnOnce()) {
        if self.is_on() {
            return;
        }
        let _setting = lock(&self.setting);
        if !self.is_on() {
            mark();
        }
    }

    /// The time left until the deadline. Without a deadline, `Duration::MAX`.
    pub(crate) fn lifetime_left(&self) -> Duration {
        self.deadline().map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Called when bytes were read or written.
    ///
    /// A call that begins later counts from its own beginning. If none has begun, the clock is not read.
    pub(crate) fn moved(&self) {
        match self.calls.load(SeqCst) {
            0 => _ = self.active.fetch_add(1, Relaxed),
            _ => self.moved_now(),
        }
    }

    #[cold]
    fn moved_now(&self) {
        // Another thread may have stored a later time since this one has read the clock.
        self.active.fetch_max(self.now(), Relaxed);
    }

    fn now(&self) -> u64 {
        nanoseconds(self.since.elapsed())
    }

    /// Begins a call that reads or writes.
    pub(crate) fn begin(&self, direction: Direction) -> Limits<'_> {
        // Before the clock is read, so that what moves later is stored.
        self.calls.fetch_add(1, SeqCst);
        Limits {
            timers: self,
            direction,
            own: self.times[direction as usize].load(Relaxed),
            idle: self.times[Timer::Idle as usize].load(Relaxed),
            deadline: self.deadline.load(Relaxed),
            began: self.now(),
            is_new: true,
            was_woken: false,
        }
    }

    /// Begins a call that neither reads nor writes. The read and write timeouts do not apply to it.
    pub(crate) fn begin_waiting(&self) -> Limits<'_> {
        let mut limits = self.begin(Direction::Read);
        limits.own = 0;
        limits
    }

    /// Returns an error if the deadline has passed.
    pub(crate) fn check_deadline(&self, direction: Direction) -> io::Result<()> {
        let is_over = self.deadline().is_some_and(|at| at <= Instant::now());
        if is_over { Err(past_deadline(direction)) } else { Ok(()) }
    }
}

impl Limits<'_> {
    /// Continues after a system call that did not end the call. `has_moved`: whether it moved bytes.
    pub(crate) fn go_on(&mut self, has_moved: bool) {
        if has_moved {
            self.began = self.timers.now();
        }
        self.was_woken = true;
    }

    /// Called before a system call that may block, by the thread that has the turn. Sets how long the kernel may block,
    /// or returns the error of an expired timer. Returns whether a time of ours may end the system call.
    pub(crate) fn enter(&mut self, stream: &TcpStream, told: &mut Option<IdleMark>) -> io::Result<bool> {
        let now = if mem::take(&mut self.is_new) { self.began } else { self.timers.now() };
        let until = self.in_slices(self.until(told, now, self.was_woken)?, now);
        let kernel = &self.timers.kernel[self.direction as usize];
        let before = kernel.load(Relaxed);
        let millis = until.millis(now, before);
        if millis != before {
            let time = (millis > 0).then(|| Duration::from_millis(millis));
            let set = match self.direction {
                Direction::Read => stream.set_read_timeout(time),
                Direction::Write => stream.set_write_timeout(time),
            };
            match set {
                Ok(()) => kernel.store(millis, Relaxed),
                // macOS refuses this once neither direction is open. No call on the socket blocks then. If one did, the
                // time that was set before might end it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(millis > 0)
    }

    /// Called before a system call that does not block. Returns the error of an expired timer.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.until(&mut None, self.timers.now(), self.was_woken).map(drop)
    }

    /// How long a call may still wait, or the error of an expired timer.
    pub(crate) fn left(&mut self, told: &mut Option<IdleMark>) -> io::Result<Option<Duration>> {
        self.is_new = false;
        let now = self.timers.now();
        let until = self.until(told, now, true)?;
        Ok((until.at != NEVER).then(|| Duration::from_nanos(until.at.saturating_sub(now))))
    }

    /// Like `left`, for a call that waits while another thread writes. `has_moved`: whether bytes of that write were
    /// counted since the last call. They are counted after each part of the time, so the call looks as often, and waits
    /// for one part more.
    pub(crate) fn left_beside_write(&mut self, has_moved: bool) -> io::Result<Option<Duration>> {
        let part = self.eighth();
        if has_moved {
            self.began = self.timers.now();
        }
        if has_moved || mem::take(&mut self.is_new) {
            self.began += if part == NEVER { 0 } else { part };
        }
        let left = self.left(&mut None)?;
        Ok(left.map(|left| left.min(Duration::from_nanos(part))))
    }

    /// An eighth of the shorter of the two timeouts.
    fn eighth(&self) -> u64 {
        let mut part = NEVER;
        for time in [self.own, self.idle] {
            part = if time > 0 { part.min(time / 8) } else { part };
        }
        part
    }

    /// When the first timer expires, or the error of a timer that has expired. A call tries at least once, except after
    /// the deadline. If an idle timeout is in `told`, it is ignored until bytes have moved. If one is reported here, it
    /// is stored in `told`.
    #[inline]
    fn until(&self, told: &mut Option<IdleMark>, now: u64, was_woken: bool) -> io::Result<Until> {
        let Limits { direction, own, idle, deadline, began, .. } = *self;
        if deadline > 0 && deadline <= now {
            return Err(past_deadline(direction));
        }
        let mut first = NEVER;
        if own > 0 {
            first = began.saturating_add(own);
            if was_woken && first <= now {
                return Err(waited_too_long(direction, own));
            }
        }
        if idle > 0 {
            let active = self.timers.active.load(Relaxed);
            if *told == Some(IdleMark(active)) {
                first = first.min(now.saturating_add(idle.max(LOOK)));
            } else {
                // A call that began after the last activity has the whole idle time.
                let at = began.max(active).saturating_add(idle);
                if was_woken && at <= now {
                    *told = Some(IdleMark(active));
                    return Err(idle_too_long(direction, idle));
                }
                first = first.min(at);
            }
        }
        Ok(if deadline > 0 && deadline < first {
            Until { at: deadline, is_exact: was_woken }
        } else {
            Until { at: first, is_exact: true }
        })
    }

    /// Limits one system call to a part of the time.
    ///
    /// If the kernel takes only a part of a write, the call returns only after its whole time, and does not say when
    /// the part was taken. In that time, a thread that reads would find the connection idle. So the time is split over
    /// several calls.
    fn in_slices(&self, until: Until, now: u64) -> Until {
        let mut slice = sys::SLICE.map_or(NEVER, nanoseconds);
        if self.direction == Direction::Write {
            slice = slice.min(self.eighth());
        }
        let at = now.saturating_add(slice);
        if at < until.at { Until { at, is_exact: true } } else { until }
    }
}

impl Drop for Limits<'_> {
    fn drop(&mut self) {
        self.timers.calls.fetch_sub(1, SeqCst);
    }
}

impl Until {
    /// The timeout for the kernel, which has `told`. In whole milliseconds, rounded up, so that the same time is the
    /// same number again. For the kernel zero means none, and some kernels count in 31 bits.
    fn millis(self, now: u64, told: u64) -> u64 {
        if self.at == NEVER {
            return 0;
        }
        let needed = self.at.saturating_sub(now).div_ceil(1_000_000).clamp(1, i32::MAX as u64);
        match self.is_exact {
            true => needed,
            false if told <= needed && (needed / 4).max(1) <= told => told,
            false => 1 << needed.ilog2(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ensures that the kernel gets no longer time than a call has, that a time which is the same for each call is the
    /// same number each time, and that the rest of a deadline is a new number about once for each halving.
    #[test]
    fn the_kernels_timeout_changes_seldom() {
        for now in (0..1000).map(|n| n * MS / 7) {
            let until = Until { at: now + 250 * MS, is_exact: true };
            assert_eq!(until.millis(now, 77), 250, "the same time is the same number");
        }
        let (mut told, mut changes) = (0, 0);
        for now in (0..1000).map(|n| n * MS) {
            let millis = Until { at: 1000 * MS, is_exact: false }.millis(now, told);
            assert!((1..=1000 - now / MS).contains(&millis), "{millis} ms at {now}: none is longer than the time left");
            changes += u32::from(millis != told);
            told = millis;
        }
        assert!(changes <= 12, "a thousand calls up to a deadline set {changes} timeouts");
        for left in 1..10 {
            let millis = Until { at: left * MS, is_exact: false }.millis(0, 0);
            assert!((1..=left).contains(&millis), "{millis} ms of {left}: no timeout is longer than any");
        }
        assert_eq!(Until { at: NEVER, is_exact: true }.millis(0, told), 0, "it is removed when it is not needed");
    }

    /// Ensures that bytes that another thread moves during a call extend it, and that an idle timeout that was reported
    /// is reported again after bytes have moved, also between two calls.
    #[test]
    fn what_moves_is_seen_by_calls_that_have_begun() {
        let timers = Timers::new(Some(Duration::from_secs(3600)), None);
        let hour = 3600 * 1000 * MS;
        let begun = timers.begin(Direction::Read);
        while timers.now() <= begun.began {}
        timers.moved();
        let until = begun.until(&mut None, begun.began, true).expect("it is not idle");
        assert!(until.at > begun.began + hour, "the idle time counts from the last byte");

        let mut told = None;
        let late = timers.now() + hour;
        begun.until(&mut told, late, true).expect_err("it is idle");
        begun.until(&mut told, late, true).expect("it is reported once");
        drop(begun);
        timers.moved();
        let next = timers.begin(Direction::Read);
        next.until(&mut told, timers.now() + hour, true).expect_err("bytes have moved since");
    }

    /// Ensures that a thread which reads the clock, and stores it only after others have stored a later time, does not
    /// make the connection look idle for longer than it is.
    #[test]
    fn the_last_activity_never_goes_back() {
        let timers = Timers::new(Some(Duration::from_secs(3600)), None);
        let _begun = timers.begin(Direction::Read);
        let later = timers.now() + 3600 * 1000 * MS;
        timers.active.store(later, Relaxed);
        timers.moved();
        assert!(timers.active.load(Relaxed) >= later, "the later time stays");
    }
}
