//! What can be set on a connection.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::connection::Settings;
use super::keep_alive::KeepAlive;
use super::socket::Socket;
use crate::address::Family;
use crate::error::{Error, Result};
use crate::sys::{self, Raw};

/// Settings.
impl Socket {
    /// Whether each write is sent at once: TCP_NODELAY. Default: on, unlike Node, since a reply in two writes would
    /// otherwise wait some 40 ms for the peer's delayed acknowledgement.
    ///
    /// # Errors
    /// `setNoDelay` with the system's code. `NotConnected` once the socket is closed. On a Unix socket it does nothing.
    #[doc(alias = "set_nodelay")]
    pub fn set_no_delay(&self, on: bool) -> Result<()> {
        if self.core.family() == Family::Unix {
            return Ok(());
        }
        self.core.change(|s| &mut s.no_delay, on, "setNoDelay", |socket, on| socket.set_tcp_nodelay(*on))
    }

    /// Whether each write is sent at once, as last set.
    #[doc(alias = "nodelay")]
    pub fn no_delay(&self) -> bool {
        self.core.settings().no_delay
    }

    /// Whether and when a silent connection is probed; see [`KeepAlive`]. Default: off.
    ///
    /// # Errors
    /// `setKeepAlive` with the system's code, `EINVAL` for a time it cannot take (on Linux more than 32,767 s).
    /// `NotConnected` once the socket is closed. On a Unix socket it does nothing.
    pub fn set_keep_alive(&self, keep_alive: impl Into<KeepAlive>) -> Result<()> {
        if self.core.family() == Family::Unix {
            return Ok(());
        }
        let keep_alive = Some(keep_alive.into());
        self.core.change(
            |s| &mut s.keep_alive,
            keep_alive,
            "setKeepAlive",
            |socket, keep_alive| keep_alive.map_or(Ok(()), |keep_alive| keep_alive.apply(socket)),
        )
    }

    /// The type of service, that is, DSCP and ECN, of what is sent from now on: IP_TOS or IPV6_TCLASS. Linux takes the ECN
    /// bits for itself. Default: 0.
    ///
    /// # Errors
    /// `setTypeOfService` with the system's code; `ENOTSUP` on a Unix socket. `NotConnected` once the socket is closed.
    pub fn set_type_of_service(&self, value: u8) -> Result<()> {
        let raw = self.raw().map_err(Error::from)?;
        let set = sys::set_type_of_service(&SockRef::from(&raw), self.core.family(), value);
        set.map_err(|error| Error::call("setTypeOfService", &error))
    }

    /// The type of service.
    ///
    /// # Errors
    /// `getTypeOfService` with the system's code; `ENOTSUP` on a Unix socket. `NotConnected` once the socket is closed.
    #[doc(alias = "getTypeOfService")]
    pub fn type_of_service(&self) -> Result<u8> {
        let raw = self.raw().map_err(Error::from)?;
        let value = sys::type_of_service(&SockRef::from(&raw), self.core.family());
        value.map_err(|error| Error::call("getTypeOfService", &error))
    }

    /// How long the connection may be idle: no byte read and none written. Then a blocked read or write fails with
    /// `TimedOut`, and [`each`](Self::each) tells `Timeout`. Nothing is closed and nothing received is lost. The next
    /// blocking call waits for the whole time again; `Timeout` is told once, until bytes have moved again. `None` and zero
    /// switch it off. Default: off.
    ///
    /// It counts from the next call on; one that is blocked already goes by the old time. It is never early, and at most
    /// some 10 ms late, the kernel's ticks; a write of which the kernel took a part and then no more may be a period late.
    /// To give up a peer that is silent, destroy the connection, or return the error from the handler: [`end`](Self::end)
    /// alone would go on waiting for the peer's end.
    #[doc(alias = "setTimeout")]
    #[doc(alias = "set_read_timeout")]
    #[doc(alias = "set_write_timeout")]
    pub fn set_timeout(&self, time: impl Into<Option<Duration>>) {
        self.core.timers.set_idle(time.into());
    }

    /// The idle timeout, as last set.
    pub fn timeout(&self) -> Option<Duration> {
        self.core.timers.idle()
    }

    /// When everything on this connection must be done: from then on every read and write fails with `TimedOut`, however
    /// many bytes a slow peer still sends. It ends the loop of [`each`](Self::each) as an error. Default: none.
    ///
    /// It counts from the next call on; one that is blocked already goes by the old deadline.
    pub fn set_deadline(&self, at: impl Into<Option<Instant>>) {
        self.core.timers.set_deadline(at.into());
    }

    /// The deadline, as last set.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.timers.deadline()
    }

    /// The descriptor, for what landline has no call for. While a `Raw` is held, the descriptor stays open, even when the
    /// connection is closed.
    ///
    /// # Errors
    /// `NotConnected` once the socket is closed.
    pub fn raw(&self) -> io::Result<Raw> {
        self.core.stream("raw").map(Raw)
    }
}

/// Makes a socket that somebody else has set up block, and for as long as it takes. It fails on a dead socket only.
pub(super) fn plain(stream: &TcpStream) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(None);
    let _ = stream.set_write_timeout(None);
}

/// Makes the settings of a new socket that are not made already.
pub(super) fn apply(socket: &SockRef<'_>, settings: Settings) -> io::Result<()> {
    if settings.no_delay {
        socket.set_tcp_nodelay(true)?;
    }
    match settings.keep_alive {
        Some(keep_alive) if keep_alive.is_on() => keep_alive.apply(socket),
        _ => Ok(()),
    }
}
