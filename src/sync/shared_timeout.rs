//! A timeout that the kernel keeps for a descriptor, of which several threads need one each.
//!
//! A blocked call goes by what the kernel had when the call began. So the kernel has the least that any thread needs
//! that is in a call or about to make it: each is woken in time, and one that is woken too early calls again.

use std::time::{Duration, Instant};

/// What the kernel was told, and what is needed of it. The lock around it is held while the kernel is told, so the two
/// do not part.
#[derive(Debug)]
pub(crate) struct SharedTimeout {
    /// In milliseconds; 0 is none.
    told: u64,
    /// How often it was told.
    tells: u32,
    /// When the calls are over that may block no longer.
    ends: Vec<Instant>,
}

/// How long the call of one thread may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Until {
    pub(crate) at: Instant,
    /// The time is the same for each call, or is what is left of it: it is told as it is. A time that differs a little
    /// with each call would have to be told before each.
    pub(crate) is_exact: bool,
}

impl SharedTimeout {
    /// Of a descriptor that has none.
    pub(crate) const NONE: SharedTimeout = SharedTimeout { told: 0, tells: 0, ends: Vec::new() };

    /// Before a call that may block until then; without an end, for as long as it takes. `tell` tells the kernel.
    /// What it gives is for `leave`, which must follow.
    pub(crate) fn enter<E>(
        &mut self,
        until: Option<Until>,
        now: Instant,
        tell: impl FnOnce(Option<Duration>) -> Result<(), E>,
    ) -> Result<Entry, E> {
        let first = self.ends.iter().copied().chain(until.map(|until| until.at)).min();
        let needed = first.map_or(0, |first| milliseconds(first.saturating_duration_since(now)));
        let is_exact = until.is_some_and(|until| until.is_exact && Some(until.at) == first);
        let time = match needed {
            0 => 0,
            _ if is_exact => needed,
            _ if self.told <= needed && needed / 4 <= self.told => self.told,
            _ => 1 << needed.ilog2(),
        };
        if time != self.told {
            tell((time > 0).then(|| Duration::from_millis(time)))?;
            self.told = time;
            self.tells = self.tells.wrapping_add(1);
        }
        let at = until.map(|until| until.at);
        self.ends.extend(at);
        Ok(Entry { at, tells: self.tells })
    }

    /// After the call. Gives whether the kernel may have ended it by a time that it was told here.
    pub(crate) fn leave(&mut self, entry: Entry) -> bool {
        if let Some(at) = entry.at.and_then(|at| self.ends.iter().position(|end| *end == at)) {
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
    at: Option<Instant>,
    tells: u32,
}

/// Whole, rounded up, so that the same time again is the same number; the kernel takes zero for none.
fn milliseconds(time: Duration) -> u64 {
    /// Some kernels count milliseconds in 31 bits.
    const MOST: u64 = i32::MAX as u64;
    let whole = time.as_secs().saturating_mul(1000);
    whole.saturating_add(u64::from(time.subsec_nanos().div_ceil(1_000_000))).clamp(1, MOST)
}
