//! The settings of a connection.

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
    /// On a Unix socket it does nothing.
    ///
    /// # Errors
    /// `setNoDelay` with the system's code. `NotConnected` once the socket is closed.
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

    /// Whether and when a silent connection is probed. See [`KeepAlive`]. On a Unix socket it does nothing. Default:
    /// none.
    ///
    /// # Errors
    /// `setKeepAlive` with the system's code, `EINVAL` for a time it cannot take (on Linux more than 32,767 s).
    /// `NotConnected` once the socket is closed.
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

    /// How long written data may stay unacknowledged, or be blocked by the peer's full receive buffer:
    /// TCP_USER_TIMEOUT, tcp(7), RFC 5482. Then the system gives up on the connection. Reads and writes fail with
    /// `ETIMEDOUT`, of kind `ConnectionAborted`. The unit is whole milliseconds, rounded up. `None` and zero leave it
    /// to the system. Linux retries for about 15 minutes. On a Unix socket it does nothing. Default: the system's.
    ///
    /// [Keep-alive](KeepAlive) detects a dead peer of an idle connection, but sends no probes while our data is
    /// unacknowledged. This option covers that case. With both, Linux also gives up an idle connection after this time
    /// once a probe is unanswered, whatever the number of probes. So set it to the delay plus all intervals. It also
    /// ends a connection to a live peer that has stopped reading for that long.
    ///
    /// # Errors
    /// `setUserTimeout` with the system's code. `ERR_OUT_OF_RANGE` above 2,147,483,647 ms, about 24 days.
    /// `NotConnected` once the socket is closed.
    ///
    /// # Platform
    /// Only Linux and Android have it. Elsewhere a time other than zero fails with `ENOTSUP`.
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

    /// How long written data may stay unacknowledged, as the system reports it. `None` if it is not set.
    ///
    /// # Errors
    /// `getUserTimeout` with the system's code, such as `ENOTSUP` on a Unix socket, and on other systems than Linux and
    /// Android. `NotConnected` once the socket is closed.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        let stream = self.connection.stream("user_timeout")?;
        if self.connection.family() == Family::Unix {
            return Err(Error::call("getUserTimeout", &io::ErrorKind::Unsupported.into()).into());
        }
        Ok(sys::user_timeout(&SockRef::from(&*stream)).map_err(|error| Error::call("getUserTimeout", &error))?)
    }

    /// The type of service (DSCP and ECN) of packets sent from now on: IP_TOS or IPV6_TCLASS. Linux manages the ECN
    /// bits itself. Default: 0.
    ///
    /// # Errors
    /// `setTypeOfService` with the system's code, such as `ENOTSUP` on a Unix socket, and for IPv6 on Windows.
    /// `NotConnected` once the socket is closed.
    pub fn set_type_of_service(&self, value: u8) -> io::Result<()> {
        let stream = self.connection.stream("set_type_of_service")?;
        let set = self.is_v6().and_then(|v6| sys::set_type_of_service(&SockRef::from(&*stream), v6, value));
        Ok(set.map_err(|error| Error::call("setTypeOfService", &error))?)
    }

    /// The type of service.
    ///
    /// # Errors
    /// `getTypeOfService` with the system's code, such as `ENOTSUP` on a Unix socket, and for IPv6 on Windows.
    /// `NotConnected` once the socket is closed.
    #[doc(alias = "getTypeOfService")]
    pub fn type_of_service(&self) -> io::Result<u8> {
        let stream = self.connection.stream("type_of_service")?;
        let value = self.is_v6().and_then(|v6| sys::type_of_service(&SockRef::from(&*stream), v6));
        Ok(value.map_err(|error| Error::call("getTypeOfService", &error))?)
    }

    /// Whether it is an IPv6 socket. `Unsupported` for a Unix socket.
    fn is_v6(&self) -> io::Result<bool> {
        match self.connection.family() {
            Family::Unix => Err(io::ErrorKind::Unsupported.into()),
            family => Ok(family == Family::Ipv6),
        }
    }

    /// How long one read waits: SO_RCVTIMEO. Then [`read`](Self::read), [`peek`](Self::peek) and calls built on them
    /// fail with a tick, of kind `TimedOut`. Nothing is lost, and the next call waits for the whole time again.
    /// [`Error::is_tick`] distinguishes it from errors that end a connection. [`each`](Self::each) and channels deliver
    /// `Timeout` each time. Our writes do not extend it, so it suits a peer that must send something regularly. `None`
    /// waits forever. Default: none.
    ///
    /// It applies from the next call on. A blocked call keeps the value it began with. It never expires early. It is
    /// late by the kernel's ticks, 1 to 10 ms. On Linux long times are late by up to an eighth.
    /// [`read_exact`](Self::read_exact) waits this long for each piece.
    ///
    /// # Errors
    /// `InvalidInput`, `ERR_OUT_OF_RANGE`, for zero, as in std. `NotConnected` once the socket is closed.
    #[doc(alias = "SO_RCVTIMEO")]
    pub fn set_read_timeout(&self, time: impl Into<Option<Duration>>) -> io::Result<()> {
        let time = self.check_timeout("read_timeout", time.into())?;
        self.connection.set_timer(Timer::Read, time);
        Ok(())
    }

    /// How long one write waits while the peer takes nothing: SO_SNDTIMEO. Then it fails with a tick, of kind
    /// `TimedOut`. Part of its bytes may be written, as [`bytes_written`](Self::bytes_written) says, and
    /// [`Write::write`] returns how many. What the peer sends does not extend it. `None` waits forever. Default: none.
    ///
    /// It applies from the next call on. It never expires early. A write of which the kernel takes only a part is late
    /// by at most an eighth of the time, plus another eighth each time there was still some room. The thread that
    /// writes an [outbox](Self::outbox) ignores it. [`send`](crate::net::Outbox::send), which waits for room there,
    /// does not.
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

    /// How long the connection may be idle: no byte read and none written, as in Node. Then a blocked read or write
    /// fails with a tick, of kind `TimedOut`, and [`each`](Self::each) delivers `Timeout`. Nothing is closed, and no
    /// received data is lost. The next blocking call waits for the whole time again. `Timeout` is delivered once until
    /// bytes have moved again. `None` and zero switch it off. On a closed socket it does nothing. Default: none.
    ///
    /// Our own writes extend it. To notice a peer that sends nothing while we write, use the [read
    /// timeout](Self::set_read_timeout). To end the connection to a silent peer, destroy it or return the error from
    /// the handler. [`end`](Self::end) alone would still wait for the peer's end.
    ///
    /// It applies from the next call on. A blocked call keeps the value it began with. It never expires early. It is
    /// late by the kernel's ticks, 1 to 10 ms. On Linux long times are late by up to an eighth. A write of which the
    /// kernel takes only a part is late by an eighth, plus another each time there was still some room. If only writes
    /// of other threads moved bytes after a `Timeout`, the next one is up to 1.6 s late.
    #[doc(alias = "setTimeout")]
    pub fn set_timeout(&self, time: impl Into<Option<Duration>>) {
        self.connection.set_timer(Timer::Idle, time.into());
    }

    /// The idle timeout; `None` if it is off.
    pub fn timeout(&self) -> Option<Duration> {
        self.connection.timers.get(Timer::Idle)
    }

    /// The time by which everything on this connection must be done. After it, every read and write fails with
    /// `TimedOut`, `ERR_SOCKET_DEADLINE`, even while a slow peer still sends, until the deadline is changed. It is not
    /// a tick, so [`each`](Self::each) and [lines](crate::net::Buffered::lines) end. On a closed socket it does
    /// nothing. Default: none.
    ///
    /// It also bounds writes queued in the [outbox](Self::outbox), and the wait for the peer after a handler has
    /// returned. While no call reads or writes, nothing happens at the deadline.
    ///
    /// It applies from the next call on. A blocked call keeps the value it began with. The clock is [`Instant`], as for
    /// every time of this library. On Linux and macOS it stops while the machine is suspended, so a connection ends
    /// later by wall-clock time.
    pub fn set_deadline(&self, at: impl Into<Option<Instant>>) {
        self.connection.set_deadline(at.into());
    }

    /// The deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.connection.timers.deadline()
    }

    /// Calls `f` with the borrowed descriptor of the connection and returns its result, for settings that landline has
    /// no call for. The descriptor is `AsFd`, on Windows `AsSocket`, as system call crates expect. No lock is held, and
    /// other threads use the socket as before.
    ///
    /// A [`destroy`](Self::destroy) in another thread, or in `f`, does not wait for `f`. The peer sees the end at once,
    /// as by shutdown(2), and the descriptor is closed when `f` returns. So the descriptor stays valid while `f` runs.
    /// [`reset_and_destroy`](Self::reset_and_destroy) sends its RST at once on Linux, elsewhere when `f` returns. A
    /// duplicate of the descriptor belongs to the caller. It keeps the connection open after the last handle is
    /// dropped, but not after a `destroy`.
    ///
    /// The caller answers for what `f` changes:
    /// - `O_NONBLOCK`: reads and writes that would block fail with `WouldBlock`.
    /// - `SO_RCVTIMEO`, `SO_SNDTIMEO`: landline's own timeouts set and remove both. A read or write that another value
    ///   ends fails with `WouldBlock`.
    /// - `SO_LINGER`: decides whether the close is an RST, and may make it block.
    /// - `shutdown(2)`: [`ready_state`](Self::ready_state) shows it once a read or write has met it.
    /// - Settings that landline has a call for, such as [`no_delay`](Self::no_delay): landline still returns the value
    ///   that its own call set last.
    /// - Bytes that `f` reads or writes: they are not counted, and may come between those of other threads.
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
    /// `NotConnected`, `ERR_STREAM_DESTROYED`, once the socket is closed. `f` is not called then. An error that `f`
    /// returns is inside the result, so `??` returns both.
    #[doc(alias = "handle")]
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let stream = self.connection.stream("with_raw")?;
        Ok(f(sys::borrow(&*stream)))
    }
}
