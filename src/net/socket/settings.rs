//! What can be set on a connection.

use std::io;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::address::Family;
use crate::error::Error;
use crate::net::socket::Socket;
use crate::net::socket::keep_alive::KeepAlive;
use crate::net::socket::stream::check_user_timeout;
use crate::net::socket::timers::Timer;
use crate::sys;

/// Settings.
impl Socket {
    /// Whether each write is sent at once: TCP_NODELAY. Default: yes, unlike Node, since a reply in two writes would
    /// otherwise wait some 40 ms for the peer's delayed acknowledgement.
    ///
    /// # Errors
    /// `setNoDelay` with the system's code. `NotConnected` once the socket is closed. On a Unix socket it does nothing.
    #[doc(alias = "set_nodelay")]
    pub fn set_no_delay(&self, on: bool) -> io::Result<()> {
        if self.connection.family() == Family::Unix {
            return Ok(());
        }
        self.connection.change(|s| &mut s.no_delay, on, "setNoDelay", |socket, on| socket.set_tcp_nodelay(*on))
    }

    /// Whether each write is sent at once, as last set.
    #[doc(alias = "nodelay")]
    pub fn no_delay(&self) -> bool {
        self.connection.settings().no_delay
    }

    /// Whether and when a silent connection is probed; see [`KeepAlive`]. Default: none.
    ///
    /// # Errors
    /// `setKeepAlive` with the system's code, `EINVAL` for a time it cannot take (on Linux more than 32,767 s).
    /// `NotConnected` once the socket is closed. On a Unix socket it does nothing.
    #[doc(alias = "keepalive")]
    #[doc(alias = "setKeepAlive")]
    pub fn set_keep_alive(&self, keep_alive: impl Into<KeepAlive>) -> io::Result<()> {
        if self.connection.family() == Family::Unix {
            return Ok(());
        }
        let keep_alive = Some(keep_alive.into());
        self.connection.change(
            |s| &mut s.keep_alive,
            keep_alive,
            "setKeepAlive",
            |socket, keep_alive| keep_alive.map_or(Ok(()), |keep_alive| keep_alive.apply(socket)),
        )
    }

    /// How long what was written may stay unacknowledged by the peer's system, or, while its receive buffer is full,
    /// may fail to be taken: TCP_USER_TIMEOUT, tcp(7), RFC 5482. Then the system gives the connection up: reads and
    /// writes fail with `ETIMEDOUT`, of kind `ConnectionAborted`. Whole milliseconds, rounded up; `None` and zero leave
    /// it to the system, which on Linux goes on sending for some 15 minutes. Default: the system's.
    ///
    /// [Keep-alive](KeepAlive) finds a peer that is gone while nothing is under way, but sends no probes while data of
    /// ours is unacknowledged; this finds it then. With both, Linux gives up an idle connection after this time too,
    /// once a probe has gone unanswered, whatever the number of probes: set it to the delay and all intervals together.
    /// It also ends a connection to a peer that lives but has stopped reading for that long.
    ///
    /// # Errors
    /// `setUserTimeout` with the system's code. `ERR_OUT_OF_RANGE` above 2,147,483,647 ms, some 24 days. `NotConnected`
    /// once the socket is closed. On a Unix socket it does nothing.
    ///
    /// # Platform
    /// Linux and Android alone have it: elsewhere a time other than zero is `ENOTSUP`.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    pub fn set_user_timeout(&self, time: impl Into<Option<Duration>>) -> io::Result<()> {
        let time = time.into().unwrap_or_default();
        check_user_timeout(time)?;
        if self.connection.family() == Family::Unix {
            return Ok(());
        }
        self.connection.change(
            |s| &mut s.user_timeout,
            Some(time),
            "setUserTimeout",
            |socket, time| sys::set_user_timeout(socket, time.unwrap_or_default()),
        )
    }

    /// How long what was written may stay unacknowledged, as the system says; `None` if nobody has set it.
    ///
    /// # Errors
    /// `getUserTimeout` with the system's code; `ENOTSUP` where there is no such thing, a Unix socket included.
    /// `NotConnected` once the socket is closed.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        let stream = self.connection.stream("user_timeout")?;
        if self.connection.family() == Family::Unix {
            return Err(Error::call("getUserTimeout", &io::ErrorKind::Unsupported.into()).into());
        }
        Ok(sys::user_timeout(&SockRef::from(&*stream)).map_err(|error| Error::call("getUserTimeout", &error))?)
    }

    /// The type of service, that is, DSCP and ECN, of what is sent from now on: IP_TOS or IPV6_TCLASS. Linux takes the
    /// ECN bits for itself. Default: 0.
    ///
    /// # Errors
    /// `setTypeOfService` with the system's code; `ENOTSUP` on a Unix socket, and for IPv6 on Windows. `NotConnected`
    /// once the socket is closed.
    pub fn set_type_of_service(&self, value: u8) -> io::Result<()> {
        let stream = self.connection.stream("set_type_of_service")?;
        let set = self.is_v6().and_then(|v6| sys::set_type_of_service(&SockRef::from(&*stream), v6, value));
        Ok(set.map_err(|error| Error::call("setTypeOfService", &error))?)
    }

    /// The type of service.
    ///
    /// # Errors
    /// `getTypeOfService` with the system's code; `ENOTSUP` on a Unix socket, and for IPv6 on Windows. `NotConnected`
    /// once the socket is closed.
    #[doc(alias = "getTypeOfService")]
    pub fn type_of_service(&self) -> io::Result<u8> {
        let stream = self.connection.stream("type_of_service")?;
        let value = self.is_v6().and_then(|v6| sys::type_of_service(&SockRef::from(&*stream), v6));
        Ok(value.map_err(|error| Error::call("getTypeOfService", &error))?)
    }

    /// Whether it is a socket of IPv6; `Unsupported` for a Unix socket.
    fn is_v6(&self) -> io::Result<bool> {
        match self.connection.family() {
            Family::Unix => Err(io::ErrorKind::Unsupported.into()),
            family => Ok(family == Family::Ipv6),
        }
    }

    /// How long one read waits: SO_RCVTIMEO. Then [`read`](Self::read), [`peek`](Self::peek) and what is built of them
    /// fail by a tick, of kind `TimedOut`: nothing is lost, the next call waits anew, and [`Error::is_tick`] tells it
    /// from the errors that end a connection. [`each`](Self::each) and channels tell `Timeout` each time. What is
    /// written has no part in it: for a peer that must speak now and then, whatever we send. `None` is for ever.
    /// Default: none.
    ///
    /// It counts from the next call on; one that is blocked goes by what was set when it began. It is never early, and
    /// it is late by the kernel's ticks, 1 to 10 ms; of a long time, Linux' timers are late by up to an eighth of it.
    /// [`read_exact`](Self::read_exact) waits so long for each piece.
    ///
    /// # Errors
    /// `InvalidInput`, `ERR_OUT_OF_RANGE`, for zero, as in std. `NotConnected` once the socket is closed.
    #[doc(alias = "SO_RCVTIMEO")]
    pub fn set_read_timeout(&self, time: impl Into<Option<Duration>>) -> io::Result<()> {
        let time = self.check_timeout("read_timeout", time.into())?;
        self.connection.set_timer(Timer::Read, time);
        Ok(())
    }

    /// How long one write waits while the peer takes nothing: SO_SNDTIMEO. Then it fails by a tick, of kind `TimedOut`;
    /// part of its bytes may be written, as [`bytes_written`](Self::bytes_written) tells, and [`Write::write`] returns
    /// how many. What the peer sends has no part in it. `None` is for ever. Default: none.
    ///
    /// It counts from the next call on. It is never early; a write of which the kernel takes a part and then no more is
    /// an eighth of the time late at most, and another for each time that it finds some room still. The thread that
    /// writes an [outbox](Self::outbox) goes on; [`send`](crate::net::Outbox::send), which waits for room there, does
    /// not.
    ///
    /// # Errors
    /// Those of [`set_read_timeout`](Self::set_read_timeout).
    ///
    /// [`Write::write`]: std::io::Write::write
    #[doc(alias = "SO_SNDTIMEO")]
    pub fn set_write_timeout(&self, time: impl Into<Option<Duration>>) -> io::Result<()> {
        let time = self.check_timeout("write_timeout", time.into())?;
        self.connection.set_timer(Timer::Write, time);
        Ok(())
    }

    fn check_timeout(&self, name: &'static str, time: Option<Duration>) -> io::Result<Option<Duration>> {
        if time.is_some_and(|time| time.is_zero()) {
            return Err(Error::option(name, "> 0", "0").into());
        }
        self.connection.check_open(name)?;
        Ok(time)
    }

    /// How long one read waits.
    ///
    /// # Errors
    /// `NotConnected` once the socket is closed.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.connection.check_open("read_timeout")?;
        Ok(self.connection.timers.get(Timer::Read))
    }

    /// How long one write waits.
    ///
    /// # Errors
    /// `NotConnected` once the socket is closed.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.connection.check_open("write_timeout")?;
        Ok(self.connection.timers.get(Timer::Write))
    }

    /// How long the connection may be idle: no byte read and none written, as Node counts. Then a blocked read or write
    /// fails by a tick, of kind `TimedOut`, and [`each`](Self::each) tells `Timeout`. Nothing is closed and nothing
    /// received is lost. The next blocking call waits for the whole time again; `Timeout` is told once, until bytes
    /// have moved again. `None` and zero switch it off. Default: none. On a closed socket it does nothing.
    ///
    /// Own writes put it off, so it says nothing of a peer that is silent while we write: that is the
    /// [read timeout](Self::set_read_timeout).
    ///
    /// It counts from the next call on; one that is blocked goes by what was set when it began. It is never early, and
    /// it is late by the kernel's ticks, 1 to 10 ms; of a long time, Linux' timers are late by up to an eighth of it. A
    /// write of which the kernel takes a part and then no more is an eighth of the time late, and another for each time
    /// that it finds some room still. Once `Timeout` was told and bytes were moved by writes of other threads alone,
    /// the next one is up to 1.6 s late. To give up a peer that is silent, destroy the connection, or return the error
    /// from the handler: [`end`](Self::end) alone would go on waiting for the peer's end.
    #[doc(alias = "setTimeout")]
    pub fn set_timeout(&self, time: impl Into<Option<Duration>>) {
        self.connection.set_timer(Timer::Idle, time.into());
    }

    /// The idle timeout; `None` if it is off.
    pub fn timeout(&self) -> Option<Duration> {
        self.connection.timers.get(Timer::Idle)
    }

    /// When everything on this connection must be done: from then on every read and write fails with `TimedOut`,
    /// `ERR_SOCKET_DEADLINE`, however many bytes a slow peer still sends, until the deadline is changed. It is no tick:
    /// the loop of [`each`](Self::each) ends by it as by an error, and so do [lines](crate::net::Buffered::lines).
    /// Default: none. On a closed socket it does nothing.
    ///
    /// Writes that are queued in the [outbox](Self::outbox) count too, and the end of a connection whose handler has
    /// returned: nothing of the peer is waited for beyond it. While no call reads or writes, nothing happens at the
    /// deadline.
    ///
    /// It counts from the next call on; one that is blocked goes by what was set when it began. The clock is that of
    /// [`Instant`]: on Linux and macOS, time for which the machine is suspended does not count, so that a connection
    /// ends later by the clock on the wall. That holds of every time of this library.
    pub fn set_deadline(&self, at: impl Into<Option<Instant>>) {
        self.connection.set_deadline(at.into());
    }

    /// The deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.connection.timers.deadline()
    }

    /// Calls `f` with the descriptor of the connection, borrowed, for what landline has no call for. It is `AsFd`, on
    /// Windows `AsSocket`, as crates of system calls expect. It gives what `f` returns. No lock is held: other threads
    /// use the socket as before.
    ///
    /// A [`destroy`](Self::destroy) in another thread, or in `f`, does not wait for `f`: the peer sees the end at once,
    /// as by shutdown(2), and the descriptor is closed when `f` returns. The RST of
    /// [`reset_and_destroy`](Self::reset_and_destroy) is sent at once on Linux, elsewhere then. So the descriptor stays
    /// the same one for as long as `f` runs, and no descriptor outlives the connection otherwise. A duplicate of it is
    /// the caller's: dropping the last handle leaves it the connection, a `destroy` ends it for the duplicate too.
    ///
    /// What `f` changes is for the caller to answer for:
    /// - `O_NONBLOCK`: reads and writes that would block fail with `WouldBlock`;
    /// - `SO_RCVTIMEO`, `SO_SNDTIMEO`: landline's own timeouts set both and take them off; a read or write that ends by
    ///   another one fails with `WouldBlock`;
    /// - `SO_LINGER`: it decides whether the close is an RST, and may make it block;
    /// - `shutdown(2)`: [`ready_state`](Self::ready_state) knows of it once a read or write has met it;
    /// - what landline has a call for, such as [`no_delay`](Self::no_delay): the value that was last set by that call
    ///   is reported;
    /// - bytes that `f` reads or writes itself: they are not counted, and may come between those of other threads.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use socket2::SockRef;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let socket = Socket::connect(server.address())?;
    /// let ttl = socket.with_raw(|fd| SockRef::from(&fd).ttl_v4())??;
    /// assert!(ttl > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected`, `ERR_STREAM_DESTROYED`, once the socket is closed; `f` is not called then. What `f` returns is
    /// no error of this call: where it is a `Result`, `??` gives both.
    #[doc(alias = "handle")]
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let stream = self.connection.stream("with_raw")?;
        Ok(f(sys::borrow(&*stream)))
    }
}
