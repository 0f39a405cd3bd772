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
    /// Sets whether each write is sent at once: TCP_NODELAY. Default: yes, unlike Node.
    ///
    /// If this is off, a reply that takes two writes can wait about 40 ms for the peer's delayed acknowledgement. On a
    /// Unix socket the setting does nothing.
    ///
    /// # Errors
    /// `setNoDelay` with the system's code. `NotConnected` once the socket is closed.
    #[doc(alias = "set_nodelay")]
    pub fn set_no_delay(&self, on: bool) -> io::Result<()> {
        if self.connection.family() == Family::Unix {
            return Ok(());
        }
        self.connection.change(|s| &mut s.no_delay, (on, !on), "setNoDelay", |socket| socket.set_tcp_nodelay(on))
    }

    /// Whether each write is sent at once.
    #[doc(alias = "nodelay")]
    pub fn no_delay(&self) -> bool {
        self.connection.settings().no_delay
    }

    /// Sets whether and when the system probes a silent connection. See [`KeepAlive`]. On a Unix socket the setting
    /// does nothing. Default: none.
    ///
    /// # Errors
    /// `setKeepAlive` with the system's code, such as `EINVAL` for a time that the system does not support (on Linux
    /// more than 32,767 s). The system may have taken a part of the setting before the error. The next call sets all of
    /// it. `NotConnected` once the socket is closed.
    #[doc(alias = "keepalive")]
    #[doc(alias = "setKeepAlive")]
    pub fn set_keep_alive(&self, keep_alive: impl Into<KeepAlive>) -> io::Result<()> {
        if self.connection.family() == Family::Unix {
            return Ok(());
        }
        let keep_alive = keep_alive.into();
        // It takes several system calls. If one fails, those before it have changed the kernel's values.
        let values = (Some(keep_alive), None);
        self.connection.change(|s| &mut s.keep_alive, values, "setKeepAlive", |socket| keep_alive.apply(socket))
    }

    /// Sets how long written data may stay unacknowledged, or unsent because the peer's receive buffer is full:
    /// TCP_USER_TIMEOUT, tcp(7), RFC 5482. After that time the system gives up on the connection, and reads and writes
    /// fail with `ETIMEDOUT`, of kind `ConnectionAborted`. The time is rounded up to whole milliseconds. `None` and
    /// zero leave the time to the system: Linux retries for about 15 minutes. On a Unix socket the setting does
    /// nothing. Default: the system's.
    ///
    /// [Keep-alive](KeepAlive) detects a dead peer of an idle connection, but it sends no probes while our data is
    /// unacknowledged. The user timeout covers that case. If both are set, Linux ignores the keep-alive's count: it
    /// gives up on an idle connection once the peer has been silent for the user timeout and at least one probe is
    /// unanswered. So set the user timeout to the delay plus all intervals of the keep-alive.
    ///
    /// The user timeout also ends the connection to a live peer that reads nothing for that long.
    ///
    /// # Errors
    /// `setUserTimeout` with the system's code. `ERR_OUT_OF_RANGE` above 2,147,483,647 ms, about 24 days.
    /// `NotConnected` once the socket is closed.
    ///
    /// # Platform
    /// Only Linux and Android have this setting. On other systems, a time other than zero fails with `ENOTSUP`.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    pub fn set_user_timeout(&self, time: impl Into<Option<Duration>>) -> io::Result<()> {
        let time = time.into().unwrap_or_default();
        check_user_timeout(time)?;
        if self.connection.family() == Family::Unix {
            return Ok(());
        }
        let values = (Some(time), None);
        self.connection.change(
            |s| &mut s.user_timeout,
            values,
            "setUserTimeout",
            |socket| sys::set_user_timeout(socket, time),
        )
    }

    /// How long written data may stay unacknowledged, as the system reports it. `None` if no time is set.
    ///
    /// # Errors
    /// `getUserTimeout` with the system's code, such as `ENOTSUP` on a Unix socket and on systems other than Linux and
    /// Android. `NotConnected` once the socket is closed.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        let stream = self.connection.stream("user_timeout")?;
        if self.connection.family() == Family::Unix {
            return Err(Error::call("getUserTimeout", &io::ErrorKind::Unsupported.into()).into());
        }
        Ok(sys::user_timeout(&SockRef::from(&*stream)).map_err(|error| Error::call("getUserTimeout", &error))?)
    }

    /// Sets the type of service (DSCP and ECN) of packets that are sent from now on: IP_TOS or IPV6_TCLASS. Linux
    /// manages the ECN bits itself. Default: 0.
    ///
    /// # Errors
    /// `setTypeOfService` with the system's code, such as `ENOTSUP` on a Unix socket and for IPv6 on Windows.
    /// `NotConnected` once the socket is closed.
    pub fn set_type_of_service(&self, value: u8) -> io::Result<()> {
        let stream = self.connection.stream("set_type_of_service")?;
        let set = self.is_v6().and_then(|v6| sys::set_type_of_service(&SockRef::from(&*stream), v6, value));
        Ok(set.map_err(|error| Error::call("setTypeOfService", &error))?)
    }

    /// The type of service (DSCP and ECN) of packets that are sent.
    ///
    /// # Errors
    /// `getTypeOfService` with the system's code, such as `ENOTSUP` on a Unix socket and for IPv6 on Windows.
    /// `NotConnected` once the socket is closed.
    #[doc(alias = "getTypeOfService")]
    pub fn type_of_service(&self) -> io::Result<u8> {
        let stream = self.connection.stream("type_of_service")?;
        let value = self.is_v6().and_then(|v6| sys::type_of_service(&SockRef::from(&*stream), v6));
        Ok(value.map_err(|error| Error::call("getTypeOfService", &error))?)
    }

    /// Whether this is an IPv6 socket. `Unsupported` for a Unix socket.
    fn is_v6(&self) -> io::Result<bool> {
        match self.connection.family() {
            Family::Unix => Err(io::ErrorKind::Unsupported.into()),
            family => Ok(family == Family::Ipv6),
        }
    }

    /// Sets how long one read waits: SO_RCVTIMEO. When the time expires, [`read`](Self::read), [`peek`](Self::peek) and
    /// calls built on them fail with `TimedOut`. Nothing is lost, and the next call waits for the whole time again.
    /// [`Error::is_tick`] distinguishes this timeout from errors that end a connection. [`each`](Self::each) and
    /// channels deliver `Timeout` each time. `None` waits forever. Default: none.
    ///
    /// What we write does not extend the time, so this timeout suits a peer that must send something regularly.
    /// [`read_exact`](Self::read_exact) waits this long for each piece that arrives.
    ///
    /// A new value applies from the next call on, and a call that is already blocked keeps the old value. The timeout
    /// never expires early. It can be late by one interval of the kernel's timer, 1 to 10 ms. On Linux a long timeout
    /// can be late by up to an eighth of its length.
    ///
    /// # Errors
    /// `ERR_OUT_OF_RANGE`, of kind `InvalidInput`, for zero, as in std. `NotConnected` once the socket is closed.
    #[doc(alias = "SO_RCVTIMEO")]
    pub fn set_read_timeout(&self, time: impl Into<Option<Duration>>) -> io::Result<()> {
        let time = self.check_timeout("read_timeout", time.into())?;
        self.connection.set_timer(Timer::Read, time);
        Ok(())
    }

    /// Sets how long one write waits while the peer takes nothing: SO_SNDTIMEO. When the time expires, the write fails
    /// with `TimedOut`, for which [`Error::is_tick`] is true. Part of the data may be written:
    /// [`bytes_written`](Self::bytes_written) counts it, and [`Write::write`] returns its length. What the peer sends
    /// does not extend the time. `None` waits forever. Default: none.
    ///
    /// A new value applies from the next call on. The timeout never expires early. If the kernel takes only a part of a
    /// write, the timeout is late by at most an eighth of the time, plus another eighth each time the kernel took a
    /// further part.
    ///
    /// A write begins after the writes of other threads and of the outbox. The wait for them fails in the same way if
    /// the peer takes nothing during the whole time, and the write then has the whole time again. What another
    /// thread writes counts after each eighth of the time, if the same timers were set when its write began. Otherwise
    /// it may count only when that write returns.
    ///
    /// The thread that writes an [outbox](Self::outbox) ignores this timeout.
    /// [`Outbox::send`](crate::net::Outbox::send), which waits for room in the outbox, obeys it.
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

    /// How long one read waits. `None` waits forever.
    ///
    /// # Errors
    /// `NotConnected` once the socket is closed.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.connection.check_open("read_timeout")?;
        Ok(self.connection.timers.get(Timer::Read))
    }

    /// How long one write waits while the peer takes nothing. `None` waits forever.
    ///
    /// # Errors
    /// `NotConnected` once the socket is closed.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.connection.check_open("write_timeout")?;
        Ok(self.connection.timers.get(Timer::Write))
    }

    /// Sets how long the connection may be idle, with no byte read and none written, as in Node. When the time expires,
    /// a blocked read or write fails with `TimedOut`, for which [`Error::is_tick`] is true. [`each`](Self::each) and
    /// channels deliver `Timeout`. Nothing is closed, and no received data is lost. The next blocking call waits for
    /// the whole time again. After a `Timeout`, the next one is delivered only after bytes have moved again. `None` and
    /// zero switch the timeout off. On a closed socket the call does nothing. Default: none.
    ///
    /// What we write extends the time. To notice a peer that sends nothing while we write, use the [read
    /// timeout](Self::set_read_timeout). To close the connection to a silent peer, call [`destroy`](Self::destroy), or
    /// return the error from the handler. [`end`](Self::end) alone would still wait for the peer to end its direction.
    ///
    /// A new value applies from the next call on, and a call that is already blocked keeps the old value. The timeout
    /// never expires early, but it can be late for each of these reasons:
    /// - by one interval of the kernel's timer, 1 to 10 ms,
    /// - on Linux, if the time is long, by up to an eighth of the time,
    /// - if the kernel takes only a part of a write, by an eighth of the time, plus another eighth each time the kernel
    ///   takes a further part,
    /// - by up to 1.6 s, for a `Timeout` that follows another, if only writes of other threads have moved bytes between
    ///   the two.
    #[doc(alias = "setTimeout")]
    pub fn set_timeout(&self, time: impl Into<Option<Duration>>) {
        self.connection.set_timer(Timer::Idle, time.into());
    }

    /// The idle timeout. `None` if it is off.
    pub fn timeout(&self) -> Option<Duration> {
        self.connection.timers.get(Timer::Idle)
    }

    /// Sets the time by which everything on this connection must be done. After the deadline, every read and write
    /// fails with `ERR_SOCKET_DEADLINE`, of kind `TimedOut`, until the deadline is changed. This holds even while a
    /// slow peer still sends. [`Error::is_tick`] is false for this error, so [`each`](Self::each) and
    /// [`lines`](crate::net::Buffered::lines) end with it. On a closed socket the call does nothing. Default: none.
    ///
    /// The deadline also ends the writing of messages in the [outbox](Self::outbox), and the wait for the peer after a
    /// handler has returned. While no call reads or writes, nothing happens at the deadline.
    ///
    /// A new deadline applies from the next call on, and a call that is already blocked keeps the old one. The clock is
    /// [`Instant`], as for every time in this library. On Linux and macOS this clock stops while the machine is
    /// suspended, so the deadline comes later in wall-clock time.
    pub fn set_deadline(&self, at: impl Into<Option<Instant>>) {
        self.connection.set_deadline(at.into());
    }

    /// The deadline. `None` if there is none.
    pub fn deadline(&self) -> Option<Instant> {
        self.connection.timers.deadline()
    }

    /// Calls `f` with the borrowed descriptor of the connection, and returns what `f` returns. Use it for settings that
    /// landline has no call for. The descriptor implements `AsFd`, on Windows `AsSocket`, so crates for system calls
    /// accept it. No lock is held, and other threads can use the socket while `f` runs.
    ///
    /// The descriptor stays valid while `f` runs. If another thread, or `f` itself, calls [`destroy`](Self::destroy),
    /// the connection is shut down at once, and the descriptor is closed when `f` returns.
    /// [`reset_and_destroy`](Self::reset_and_destroy) sends its RST at once on Linux, and when `f` returns on other
    /// systems. If `f` duplicates the descriptor, the duplicate belongs to the caller. It keeps the connection open
    /// after the last handle is dropped, but not after a `destroy`.
    ///
    /// The caller is responsible for what `f` changes:
    /// - `O_NONBLOCK`: reads and writes that would block fail with `WouldBlock`. If a queued message of the
    ///   [outbox](Self::outbox) would block, the connection is closed with that error.
    /// - `SO_RCVTIMEO`, `SO_SNDTIMEO`: landline sets and removes both for its own timeouts. If a value set by `f`
    ///   expires, the read or write fails with `WouldBlock`. It may have tried again before, each time with this value.
    /// - `SO_LINGER`: closing the connection may then block, or send RST.
    /// - `shutdown(2)`: [`ready_state`](Self::ready_state) shows it only after the next read or write.
    /// - Settings that landline has a call for, such as [`no_delay`](Self::no_delay): landline still returns the value
    ///   that its own call set last.
    /// - Reading and writing: bytes that `f` reads or writes are not counted, and may come between those of other
    ///   threads.
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
    /// `ERR_STREAM_DESTROYED`, of kind `NotConnected`, once the socket is closed. In that case `f` is not called. If
    /// `f` returns a `Result`, it is nested inside the result of `with_raw`, and `??` unwraps both.
    #[doc(alias = "handle")]
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let stream = self.connection.stream("with_raw")?;
        Ok(f(sys::borrow(&*stream)))
    }
}
