//! A timeout that the kernel keeps for a descriptor, of which several threads need one each.
//!
//! A blocked call goes by what the kernel had when the call began. So the kernel has the least that any thread needs
//! that is in a call or about to make it: each is woken in time, and one that is woken too early calls again.
//!
//! Moments are nanoseconds of one clock of the caller's.

use std::time::Duration;

/// What the kernel was told, and what is needed of it. The lock around it is held while the kernel is told, so the two
/// do not part.
#[derive(Debug)]
pub(crate) struct SharedTimeout {
    /// In milliseconds; 0 is none.
    told: u64,
    /// How often it was told.
    tells: u32,
    /// When the calls are over that may block no longer.
    ends: Vec<u64>,
}

/// How long the call of one thread may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Until {
    /// [`NEVER`], or when.
    pub(crate) at: u64,
    /// The time is the same for each call, or is what is left of it: it is told as it is. A time that differs a little
    /// with each call would have to be told before each.
    pub(crate) is_exact: bool,
}

/// No moment: it may block for as long as it takes.
pub(crate) const NEVER: u64 = u64::MAX;

impl SharedTimeout {
    /// Of a descriptor that has none.
    pub(crate) const NONE: SharedTimeout = SharedTimeout { told: 0, tells: 0, ends: Vec::new() };

    /// Before a call that may block until then. `tell` tells the kernel. What it gives is for `leave`, which must follow.
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

    /// After the call. Gives whether the kernel may have ended it by a time that it was told here.
    pub(crate) fn leave(&mut self, entry: Entry) -> bool {
        if entry.at != NEVER
            && let Some(at) = self.ends.iter().position(|end| *end == entry.at)
        {
            self.ends.swap_remove(at);
        }
        self.told > 0 || self.tells != entry.tells
    }

    /// Whether the kernel has none, and no thread needs one.
    pub(crate) fn is_none(&self) -> bool {
        self.told == 0 && self.ends.is_empty()
    }
}

/// A thread that is in a call.
#[derive(Debug)]
pub(crate) struct Entry {
    at: u64,
    tells: u32,
}

/// Whole ones of a time in nanoseconds, rounded up, so that the same time again is the same number; the kernel takes zero
/// for none, and some count them in 31 bits.
fn milliseconds(time: u64) -> u64 {
    time.div_ceil(1_000_000).clamp(1, i32::MAX as u64)
}
