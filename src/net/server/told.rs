//! How accept(2) waits: the settings last made on the listener.

use std::io;
use std::time::Duration;

use crate::sync::deadline::Deadline;
use crate::sys;

/// How accept(2) waits, as last set on the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    blocks: bool,
    timeout: Option<Duration>,
}

impl Default for Told {
    /// The settings of a new listener.
    fn default() -> Told {
        Told { blocks: true, timeout: None }
    }
}

impl Told {
    /// The settings for a call that waits until `until`.
    pub(crate) fn next(self, until: Deadline) -> Told {
        match until.left() {
            None => Told::default(),
            Some(left) if sys::ACCEPT_TAKES_TIME && !left.is_zero() => {
                // Rounded to whole milliseconds. So the same time gives the same value, and costs no system call.
                let millis = left.as_nanos().div_ceil(1_000_000).min(u128::from(u32::MAX));
                Told { blocks: true, timeout: Some(Duration::from_millis(millis as u64)) }
            }
            Some(_) => Told { blocks: false, ..self },
        }
    }

    pub(crate) fn change(&mut self, next: Told, listener: &socket2::Socket) -> io::Result<()> {
        if self.timeout != next.timeout {
            listener.set_read_timeout(next.timeout)?;
            self.timeout = next.timeout;
        }
        if self.blocks != next.blocks {
            listener.set_nonblocking(!next.blocks)?;
            self.blocks = next.blocks;
        }
        Ok(())
    }
}
