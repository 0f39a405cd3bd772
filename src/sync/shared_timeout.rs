//! The kernel's timeout of a descriptor, shared by several threads that each need a timeout of their own.
//!
//! A blocked call uses the timeout that the kernel had when the call began. So the kernel always has the smallest
//! timeout that any thread needs for its current or next call. Each thread then wakes in time. A thread that wakes too
//! early calls again.
//!
//! Times are nanoseconds of one clock of the caller.

use std::time::Duration;

/// The kernel's timeout, and what the threads need. The lock is held while the kernel's timeout is set, so the two
/// agree.
#[derive(Debug)]
pub(crate) struct SharedTimeout {
    /// The kernel's timeout in milliseconds. 0 is none.
    told: u64,
    /// How often it was set.
    tells: u32,
    /// When the current calls that have a time limit must end.
    ends: Vec<u64>,
}

/// How long the call of one thread may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Until {
    /// A time, or [`NEVER`].
    pub(crate) at: u64,
    /// Whether the timeout is set exactly. It is, if it is the same for each call or is the rest of a deadline. A
    /// timeout that differs a little from call to call would have to be set before each call.
    pub(crate) is_exact: bool,
}

/// The call may block without a time limit.
pub(crate) const NEVER: u64 = u64::MAX;

impl SharedTimeout {
    /// For a descriptor without a timeout.
    pub(crate) const NONE: SharedTimeout = SharedTimeout { told: 0, tells: 0, ends: Vec::new() };

    /// Called before a call that may block until then. `tell` sets the kernel's timeout. The result must be passed to
    /// `leave`.
    #[inline]
    pub(crate) fn enter<E>(
        &mut self,
        until: Until,
        now: u64,
        tell: impl FnOnce(Option<Duration>) -> Result<(), E>,
    ) -> Result<Entry, E> {
        let first = self.ends.iter().fold(until.at, |first, end| first.min(*end));
        let needed = if first == NEVER { 0 } else { milliseconds(first.saturating_sub(now)) };
        let time = match needed {
            0 => 0,
            _ if until.is_exact && until.at == first => needed,
            _ if self.told <= needed && needed / 4 <= self.told => self.told,
            _ => 1 << needed.ilog2(),
        };
        if time != self.told {
            tell((time > 0).then(|| Duration::from_millis(time)))?;
            self.told = time;
            self.tells = self.tells.wrapping_add(1);
        }
        if until.at != NEVER {
            self.ends.push(until.at);
        }
        Ok(Entry { at: until.at, tells: self.tells })
    }

    /// Called after the call. Returns whether a timeout set here may have ended it.
    pub(crate) fn leave(&mut self, entry: Entry) -> bool {
        // It never contains NEVER.
        if let Some(at) = self.ends.iter().position(|end| *end == entry.at) {
            self.ends.swap_remove(at);
        }
        self.told > 0 || self.tells != entry.tells
    }

    /// Whether the kernel has no timeout and no thread needs one.
    pub(crate) fn is_none(&self) -> bool {
        self.told == 0 && self.ends.is_empty()
    }
}

/// A thread in a call.
#[derive(Debug)]
pub(crate) struct Entry {
    at: u64,
    tells: u32,
}

/// A time in nanoseconds as whole milliseconds, rounded up, so that an equal time is an equal number. For the kernel
/// zero means none, and some kernels count in 31 bits.
fn milliseconds(time: u64) -> u64 {
    time.div_ceil(1_000_000).clamp(1, i32::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ensures that the kernel's timeout is never longer than that of any thread in a call or about to make one,
    /// however such threads come and go, and that it is removed once no thread needs it.
    #[test]
    fn the_kernel_has_the_least_that_is_needed() {
        let mut random = 1_u64;
        let mut below = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let (mut timeout, mut kernel, mut inside, mut now) = (SharedTimeout::NONE, None, Vec::new(), 0);
        for _ in 0..100_000 {
            now += below(3 * MS);
            inside.retain(|(at, _)| *at > now);
            if below(2) == 0 && !inside.is_empty() {
                let (_, entry) = inside.swap_remove(below(inside.len() as u64) as usize);
                timeout.leave(entry);
                continue;
            }
            let at = if below(4) == 0 { NEVER } else { now + 1 + below(500 * MS) };
            let until = Until { at, is_exact: below(2) == 0 };
            let tell = |time| {
                kernel = time;
                Ok::<_, ()>(())
            };
            let entry = timeout.enter(until, now, tell).expect("it is told");
            if at != NEVER {
                inside.push((at, entry));
            }
            let first = timeout.ends.iter().min();
            let needed = first.map(|first| Duration::from_millis(first.saturating_sub(now).div_ceil(MS).max(1)));
            assert!(
                needed.is_none_or(|needed| kernel.is_some_and(|time| time <= needed)),
                "the kernel has {kernel:?}, and {needed:?} is needed"
            );
            assert!(kernel.is_none_or(|time| !time.is_zero()), "zero is none");
        }
    }

    fn tell(tells: &mut Vec<Option<Duration>>) -> impl FnOnce(Option<Duration>) -> Result<(), ()> {
        |time| {
            tells.push(time);
            Ok(())
        }
    }

    /// Ensures that a time that is the same for each call is set once, and that a deadline, which leaves less time for
    /// each call, is set about once for each halving.
    #[test]
    fn the_same_time_is_told_once() {
        let (mut timeout, mut tells) = (SharedTimeout::NONE, Vec::new());
        for now in (0..1000).map(|n| n * MS / 7) {
            let until = Until { at: now + 250 * MS, is_exact: true };
            let entry = timeout.enter(until, now, tell(&mut tells)).expect("it is told");
            assert!(timeout.leave(entry), "the kernel may end the call by it");
        }
        assert_eq!(tells, [Some(Duration::from_millis(250))], "once");
        tells.clear();
        for now in (0..1000).map(|n| n * MS) {
            let until = Until { at: 1000 * MS, is_exact: false };
            let entry = timeout.enter(until, now, tell(&mut tells)).expect("it is told");
            timeout.leave(entry);
        }
        assert!(tells.len() <= 12, "a thousand calls up to a deadline: {tells:?}");
        let entry = timeout.enter(Until { at: NEVER, is_exact: true }, 0, tell(&mut tells));
        assert!(!timeout.leave(entry.expect("it is told")), "no time of ours ends a call that has none");
        assert_eq!(tells.last(), Some(&None), "it is taken off when it is not needed");
        assert!(timeout.is_none(), "and that is known");
    }
}
