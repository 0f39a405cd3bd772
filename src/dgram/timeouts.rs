//! The receive timeout of a socket that several threads receive from.

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// The receive timeout, `SO_RCVTIMEO`. All threads share the socket's one timeout, so it is the smallest that any of
/// them needs. A thread that wakes too early waits again.
///
/// The timeout of an adopted socket belongs to other owners too. There it is changed only while a receive with a
/// timeout waits, and is restored afterwards. It is set again each time even if it is the same, because other owners
/// change it as well.
pub(crate) struct Timeouts {
    set: Option<Duration>,
    /// The timeout for receives that have none of their own.
    most: Option<Duration>,
    adopted: bool,
    /// One for each thread in a receive with a timeout.
    deadlines: Vec<Instant>,
}

impl Timeouts {
    /// `look` is how often receivers check for `close`, if they must check.
    pub(crate) fn new(socket: &UdpSocket, look: Option<Duration>, adopted: bool) -> Timeouts {
        let given = if adopted { socket.read_timeout().unwrap_or(None) } else { None };
        let most = match (look, given) {
            (Some(look), Some(given)) => Some(look.min(given)),
            (look, given) => look.or(given),
        };
        if most != given {
            // It fails only on a broken socket, on which receiving fails too.
            let _ = socket.set_read_timeout(most);
        }
        Timeouts { set: most, most, adopted, deadlines: Vec::new() }
    }

    pub(crate) fn enter(&mut self, socket: &UdpSocket, until: Instant, now: Instant) -> io::Result<()> {
        let first = self.first().map_or(until, |first| first.min(until));
        let needed = self.needed(first, now);
        if self.adopted || self.set != Some(needed) {
            self.change(socket, Some(needed))?;
        }
        self.deadlines.push(until);
        Ok(())
    }

    pub(crate) fn leave(&mut self, socket: &UdpSocket, until: Instant) {
        if let Some(i) = self.deadlines.iter().position(|deadline| *deadline == until) {
            self.deadlines.swap_remove(i);
        }
        if self.adopted {
            let _ = self.lift(socket);
        }
    }

    /// Sets the timeout that the receives with a timeout need, or that receives without one have.
    pub(crate) fn lift(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let needed = match self.first() {
            Some(first) => Some(self.needed(first, Instant::now())),
            None => self.most,
        };
        if self.set != needed { self.change(socket, needed) } else { Ok(()) }
    }

    fn first(&self) -> Option<Instant> {
        self.deadlines.iter().copied().min()
    }

    /// The timeout for a receive until `first`. It is whole milliseconds, so that an equal timeout is an equal number
    /// and costs no system call. Zero means no timeout.
    fn needed(&self, first: Instant, now: Instant) -> Duration {
        let wait = first.saturating_duration_since(now).saturating_add(Duration::from_nanos(999_999));
        let millis = wait.as_millis().clamp(1, u32::MAX.into());
        Duration::from_millis(millis as u64).min(self.most.unwrap_or(Duration::MAX))
    }

    fn change(&mut self, socket: &UdpSocket, timeout: Option<Duration>) -> io::Result<()> {
        socket.set_read_timeout(timeout)?;
        self.set = timeout;
        Ok(())
    }
}
