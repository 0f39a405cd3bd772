//! The receive timeout of a socket that several threads receive from.

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// The receive timeout, `SO_RCVTIMEO`. There is one for the socket and not one for each thread, so it is kept at the
/// least that any of them needs; who is woken too early waits again.
pub(crate) struct Timeouts {
    set: Option<Duration>,
    /// What it is for those who want none.
    most: Option<Duration>,
    /// One for each thread that is in a receive with a timeout.
    deadlines: Vec<Instant>,
}

impl Timeouts {
    pub(crate) fn new(socket: &UdpSocket, most: Option<Duration>) -> Timeouts {
        // It fails only on a socket that is broken, and then so does receiving.
        let _ = socket.set_read_timeout(most);
        Timeouts { set: most, most, deadlines: Vec::new() }
    }

    pub(crate) fn enter(&mut self, socket: &UdpSocket, until: Instant) -> io::Result<()> {
        let first = self.deadlines.iter().copied().min().map_or(until, |first| first.min(until));
        // Whole milliseconds, so that the same timeout again is the same number and costs no system call. Zero is none.
        let wait = first.saturating_duration_since(Instant::now());
        let millis = wait.as_nanos().div_ceil(1_000_000).clamp(1, u128::from(u32::MAX));
        let needed = Duration::from_millis(millis as u64).min(self.most.unwrap_or(Duration::MAX));
        if self.set != Some(needed) {
            socket.set_read_timeout(Some(needed))?;
            self.set = Some(needed);
        }
        self.deadlines.push(until);
        Ok(())
    }

    pub(crate) fn leave(&mut self, until: Instant) {
        if let Some(i) = self.deadlines.iter().position(|deadline| *deadline == until) {
            self.deadlines.swap_remove(i);
        }
    }

    /// Takes the timeout off for receives without one, unless another receive needs it.
    pub(crate) fn lift(&mut self, socket: &UdpSocket) -> io::Result<()> {
        if self.deadlines.is_empty() && self.set != self.most {
            socket.set_read_timeout(self.most)?;
            self.set = self.most;
        }
        Ok(())
    }
}
