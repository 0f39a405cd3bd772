use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::error::{Error, Result};
use crate::sys;

/// Whether and when the system probes a silent connection, to detect a dead peer: SO_KEEPALIVE, tcp(7).
///
/// `true` and `false` convert into a `KeepAlive`, and so does a [`Duration`], which sets the delay.
///
/// ```
/// use landline::net::{KeepAlive, SocketOptions};
/// use std::time::Duration;
///
/// SocketOptions::new().keep_alive(true); // the system chooses when and how often: Linux begins after two hours
/// SocketOptions::new().keep_alive(Duration::from_secs(30)); // after 30 s of silence, one probe each second, 10 times
/// SocketOptions::new().keep_alive(KeepAlive::new().delay(Duration::from_secs(30)).interval(Duration::from_secs(5)).count(3));
/// ```
///
/// If no probe is answered, reads and writes fail with `ETIMEDOUT`, of kind `ConnectionAborted`.
///
/// While our data is unacknowledged, the system sends no probes. It retransmits the data instead, and gives up after
/// the [user timeout](crate::net::Socket::set_user_timeout), on Linux by default after about 15 minutes. Set both the
/// keep-alive and the user timeout to cover both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    on: bool,
    delay: Duration,
    interval: Duration,
    count: u32,
}

impl KeepAlive {
    /// Switches keep-alive on, and leaves delay, interval and count as they are. They are the system's, unless an
    /// earlier call has set them.
    pub fn new() -> KeepAlive {
        KeepAlive { on: true, delay: Duration::ZERO, interval: Duration::from_secs(1), count: 10 }
    }

    /// Sets how long a connection is silent before the first probe: TCP_KEEPIDLE. The time is rounded down to whole
    /// seconds, and is at most 32,767 s. Less than one second leaves delay, interval and count as they are, as in
    /// Node. Default: the system's, 7,200 s on Linux.
    #[doc(alias = "keepAliveInitialDelay")]
    pub fn delay(self, delay: Duration) -> KeepAlive {
        KeepAlive { delay, ..self }
    }

    /// Sets the time between probes: TCP_KEEPINTVL. The time is rounded down to whole seconds, and is at least 1 s
    /// and at most 32,767 s. It applies only if a delay is set. Default: 1 s.
    pub fn interval(self, interval: Duration) -> KeepAlive {
        KeepAlive { interval, ..self }
    }

    /// Sets how many unanswered probes in a row end the connection: TCP_KEEPCNT, from 1 to 127. The number applies only
    /// if a delay is set. Default: 10.
    pub fn count(self, count: u32) -> KeepAlive {
        KeepAlive { count, ..self }
    }

    /// Rejects values that no system supports. The error names the option.
    pub(crate) fn check(self) -> Result<()> {
        let longest = Duration::from_secs(32_767);
        // The system gets whole seconds.
        let is_too_long = |time: Duration| time.as_secs() > longest.as_secs();
        if self.on && is_too_long(self.delay) {
            return Err(Error::option("keep_alive delay", "<= 32767 s", format!("{:?}", self.delay)));
        }
        if self.on && is_too_long(self.interval) {
            return Err(Error::option("keep_alive interval", "<= 32767 s", format!("{:?}", self.interval)));
        }
        if self.on && self.count > 127 {
            return Err(Error::option("keep_alive count", "<= 127", self.count));
        }
        Ok(())
    }

    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    pub(crate) fn apply(self, socket: &SockRef<'_>) -> std::io::Result<()> {
        socket.set_keepalive(self.on)?;
        let delay = Duration::from_secs(self.delay.as_secs());
        if self.on && !delay.is_zero() {
            let interval = Duration::from_secs(self.interval.as_secs().max(1));
            let settings = TcpKeepalive::new().with_time(delay);
            let set = socket.set_tcp_keepalive(&sys::keep_alive_probes(settings, interval, self.count.max(1)));
            return set.or_else(|error| if sys::has_no_number_of_probes(&error) { Ok(()) } else { Err(error) });
        }
        Ok(())
    }
}

impl Default for KeepAlive {
    fn default() -> KeepAlive {
        KeepAlive::new()
    }
}

impl From<bool> for KeepAlive {
    fn from(on: bool) -> KeepAlive {
        KeepAlive { on, ..KeepAlive::new() }
    }
}

impl From<Duration> for KeepAlive {
    fn from(delay: Duration) -> KeepAlive {
        KeepAlive::new().delay(delay)
    }
}
