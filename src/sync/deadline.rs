//! The time at which a wait ends.

use std::time::{Duration, Instant};

/// The time at which a wait ends, or none. A time too long for the clock is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline(None);

    pub(crate) fn at(end: Option<Instant>) -> Deadline {
        Deadline(end)
    }

    pub(crate) fn after(time: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(time))
    }

    pub(crate) fn instant(self) -> Option<Instant> {
        self.0
    }

    /// The earlier of this deadline and of `time` from now.
    pub(crate) fn or_after(self, time: Duration) -> Deadline {
        self.min(Deadline::after(time))
    }

    /// The earlier of the two.
    pub(crate) fn min(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (Some(end), Some(other)) => Deadline(Some(end.min(other))),
            (end, other) => Deadline(end.or(other)),
        }
    }

    /// The time left. It is zero once the deadline has passed, and `None` if there is no deadline.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|end| end <= Instant::now())
    }
}
