//! The idle timeout and the deadline of a connection, over blocking calls.
//!
//! The kernel ends a blocked call after SO_RCVTIMEO or SO_SNDTIMEO. Both measure one call in one direction, so when one
//! has ended, this file decides whether the connection's own time is up or the call goes on with what is left. Nothing
//! is asked of the system while no timer is set, and while one is, only when the number it has been given must change.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::error::{Cause, Error};
use crate::sys;

/// All in nanoseconds; the moments since `since`. 0 is none.
#[derive(Debug)]
pub(crate) struct Timers {
    since: Instant,
    idle: AtomicU64,
    deadline: AtomicU64,
    /// When a byte was last read or written. Kept only while `idle` is set.
    active: AtomicU64,
    /// What the kernel was last told, for reading and for writing.
    armed: [AtomicU64; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// When a call began, if that matters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start(u64);

/// The last activity when an idle timeout was told of, so that it is told of once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleMark(u64);

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers {
            since: Instant::now(),
            idle: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            active: AtomicU64::new(0),
            armed: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    /// How old the connection is.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    fn now(&self) -> u64 {
        nanoseconds(self.since.elapsed())
    }

    pub(crate) fn idle(&self) -> Option<Duration> {
        Some(self.idle.load(Relaxed)).filter(|time| *time > 0).map(Duration::from_nanos)
    }

    pub(crate) fn set_idle(&self, time: Option<Duration>) {
        self.active.store(self.now(), Relaxed);
        self.idle.store(time.map_or(0, nanoseconds), Relaxed);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.deadline.load(Relaxed)).filter(|at| *at > 0).map(|at| self.since + Duration::from_nanos(at))
    }

    pub(crate) fn set_deadline(&self, at: Option<Instant>) {
        // One that is past already is not none.
        let at = at.map_or(0, |at| nanoseconds(at.saturating_duration_since(self.since)).max(1));
        self.deadline.store(at, Relaxed);
    }

    /// How long it is to the deadline, if there is one.
    pub(crate) fn lifetime_left(&self) -> Duration {
        self.deadline().map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// A call has read or written bytes.
    pub(crate) fn moved(&self) {
        if self.idle.load(Relaxed) > 0 {
            self.active.store(self.now(), Relaxed);
        }
    }

    /// When a call begins that waits by itself.
    pub(crate) fn begin(&self) -> Start {
        let is_on = self.idle.load(Relaxed) > 0;
        Start(if is_on { self.now() } else { 0 })
    }

    /// Before a call that may block: tells the kernel how long it may.
    pub(crate) fn arm(&self, stream: &TcpStream, direction: Direction) -> io::Result<Start> {
        let (idle, deadline) = (self.idle.load(Relaxed), self.deadline.load(Relaxed));
        let armed = self.armed[direction as usize].load(Relaxed);
        if idle | deadline | armed == 0 && sys::SLICE.is_none() {
            return Ok(Start(0));
        }
        let now = self.now();
        let mut left = NEVER;
        if deadline > 0 {
            left = deadline.saturating_sub(now);
            if left == 0 {
                return Err(past_deadline(direction));
            }
        }
        let idle = if idle == 0 { NEVER } else { slice(idle, idle, direction) };
        let time = if idle <= left { idle } else { steady(armed, left) };
        self.tell_kernel(stream, direction, if time == NEVER { 0 } else { time })?;
        Ok(Start(now))
    }

    /// After a call was ended by its time or by a signal: `Ok` if it shall go on, with the time that is left.
    pub(crate) fn again(
        &self,
        stream: &TcpStream,
        direction: Direction,
        began: Start,
        told: Option<IdleMark>,
    ) -> io::Result<()> {
        let left = self.left(direction, began, told)?.map_or(NEVER, nanoseconds);
        let idle = self.idle.load(Relaxed);
        let left = if idle == 0 { left } else { slice(idle, left, direction) };
        self.tell_kernel(stream, direction, if left == NEVER { 0 } else { left })
    }

    /// How long a call may still block; the error if its time is up. A call that began after the last activity has a
    /// whole idle time of its own.
    pub(crate) fn left(
        &self,
        direction: Direction,
        began: Start,
        told: Option<IdleMark>,
    ) -> io::Result<Option<Duration>> {
        let (idle, deadline, now) = (self.idle.load(Relaxed), self.deadline.load(Relaxed), self.now());
        let mut left = NEVER;
        if deadline > 0 {
            left = deadline.saturating_sub(now);
            if left == 0 {
                return Err(past_deadline(direction));
            }
        }
        if idle > 0 {
            let since = self.active.load(Relaxed);
            let silent = now.saturating_sub(since.max(began.0));
            if told == Some(IdleMark(since)) {
                left = left.min(idle);
            } else if silent >= idle {
                return Err(idle_too_long(direction, idle));
            } else {
                left = left.min(idle - silent);
            }
        }
        Ok(if left == NEVER { None } else { Some(Duration::from_nanos(left)) })
    }

    /// What to hand to later calls once an idle timeout was told of.
    pub(crate) fn told(&self) -> IdleMark {
        IdleMark(self.active.load(Relaxed))
    }

    fn tell_kernel(&self, stream: &TcpStream, direction: Direction, time: u64) -> io::Result<()> {
        let time = match sys::SLICE.map(nanoseconds) {
            Some(slice) if time == 0 || slice < time => slice,
            _ => time,
        };
        if self.armed[direction as usize].swap(time, Relaxed) == time {
            return Ok(());
        }
        // The kernel rounds up to its own ticks, and takes 0 for none.
        let time =
            Some(time).filter(|time| *time > 0).map(|time| Duration::from_nanos(time).max(Duration::from_micros(1)));
        match direction {
            Direction::Read => stream.set_read_timeout(time),
            Direction::Write => stream.set_write_timeout(time),
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

/// Longer than any time that can be set.
const NEVER: u64 = u64::MAX;

/// How much of the time that is left of `whole` one call may take. A write that the kernel takes a part of does not
/// return before its time is up, and then says nothing of when the part was taken; who reads meanwhile would take the
/// connection for idle. So it is asked several times.
fn slice(whole: u64, left: u64, direction: Direction) -> u64 {
    match direction {
        Direction::Read => left,
        Direction::Write => left.min(whole / 8).max(1),
    }
}

/// What to tell the kernel if a call may last for `left`, and `armed` is what it was told last.
///
/// What is left changes with every call. A number that is too small is put right when it has run out, so it is halved
/// now and then instead of being set each time.
fn steady(armed: u64, left: u64) -> u64 {
    if armed > 0 && armed <= left && armed >= left / 4 {
        return armed;
    }
    if left == NEVER { left } else { 1 << left.ilog2() }
}

fn nanoseconds(time: Duration) -> u64 {
    // Half the range, some 290 years, is as good as never and leaves room to add.
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
}

fn idle_too_long(direction: Direction, idle: u64) -> io::Error {
    let text =
        format!("{} timed out: nothing was read or written for {:?}", direction.call(), Duration::from_nanos(idle));
    Error::of_cause(Cause::Idle, text).into()
}

fn past_deadline(direction: Direction) -> io::Error {
    let text = format!("{} timed out: the deadline has passed", direction.call());
    Error::fixed(io::ErrorKind::TimedOut, "ERR_SOCKET_DEADLINE", text).into()
}
