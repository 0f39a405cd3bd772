//! How accept(2) waits, as the kernel was told.

use std::io;
use std::time::Duration;

use crate::sync::deadline::Deadline;
use crate::sys;

/// How accept(2) on the listener waits, as the kernel was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    blocks: bool,
    timeout: Option<Duration>,
}

impl Default for Told {
    /// As a listener is made.
    fn default() -> Told {
        Told { blocks: true, timeout: None }
    }
}

impl Told {
    /// What is to be told next for a call that waits until then.
    pub(crate) fn next(self, until: Deadline) -> Told {
        match until.left() {
            None => Told::default(),
            Some(left) if sys::ACCEPT_TAKES_TIME && !left.is_zero() => {
                // Whole milliseconds, so that the same time again is the same number and costs no system call.
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
