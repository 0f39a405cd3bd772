//! A connection: the handle to it.

pub(crate) mod buffered;
pub(crate) mod carried;
#[cfg(feature = "channel")]
pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod each;
pub(crate) mod keep_alive;
pub(crate) mod lingering;
pub(crate) mod outbox;
pub(crate) mod pipe;
pub(crate) mod read;
pub(crate) mod settings;
pub(crate) mod stream;
pub(crate) mod timers;
pub(crate) mod unread;
pub(crate) mod write;

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use socket2::SockRef;

use crate::address::{Address, Family};
use crate::error::Error;
use crate::net::socket::connection::{CloseMode, Connection, Owner, RESET_PATIENCE};
use crate::net::socket::stream::{Options, Settings, plain};
use crate::net::socket::write::Data;
use crate::report::{ConnectionId, Outcome, Reporter};
use crate::sys;

/// A connection over TCP or a Unix socket: a client's own, or one that a server accepted.
///
/// A `Socket` is [`Read`] and [`Write`], owned or by reference. `read`, `read_exact`, `write_all` and `write_fmt` also
/// take `&self`, so one thread can read while another writes. The other methods of the two traits need `&mut &socket`.
///
/// Clones are handles to the same connection. Closing one closes the connection for all. Their calls then fail with
/// `NotConnected`, or with `ABORT_ERR` if a [`Cancel`](crate::Cancel) closed it. Dropping the last handle of an open
/// connection closes it by close(2), once its [outbox](Socket::outbox) is empty.
///
/// A write is whole. The bytes of two calls never mix, whatever threads make them.
///
/// ```
/// use std::io;
/// use landline::net::{Server, Socket};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let echo = server.spawn(|socket| socket.pipe(socket))?;
///
/// let socket = Socket::connect(server.address())?;
/// socket.write_end("hello")?;
/// assert_eq!(io::read_to_string(&socket)?, "hello");
///
/// server.close();
/// echo.join()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # When it can be read and written
///
/// The two directions end separately. [`end`](Socket::end) ends ours. The peer's end is a read of 0 bytes, which closes
/// nothing. After [`read_to_end`](Read::read_to_end) a reply can still be written. [`ready_state`](Socket::ready_state)
/// says which directions are open.
#[derive(Clone)]
#[doc(alias = "TcpStream")]
#[doc(alias = "UnixStream")]
pub struct Socket {
    pub(crate) connection: Arc<Connection>,
}

/// Which directions of a [`Socket`] are open, as far as this program knows. Prints as Node's `readyState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadyState {
    /// Both directions are open.
    Open,
    /// Our direction has ended. The peer may still send.
    ReadOnly,
    /// A read has reached the peer's end, or we have [ended reading](Socket::end_reading). We may still write.
    WriteOnly,
    /// Both directions have ended, or the socket is [destroyed](Socket::is_destroyed).
    Closed,
}

impl Display for ReadyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ReadyState::Open => "open",
            ReadyState::ReadOnly => "readOnly",
            ReadyState::WriteOnly => "writeOnly",
            ReadyState::Closed => "closed",
        })
    }
}

/// Reading.
impl Socket {
    /// Reads what has arrived, at most `buf.len()` bytes: recv(2). 0 is the peer's end, unless `buf` is empty.
    ///
    /// Blocks until something arrives, or another thread calls [`destroy`](Self::destroy). Threads that read the same
    /// socket take turns. Each has its own timeout, and each byte goes to one of them.
    ///
    /// # Errors
    /// After these the connection stays usable, and nothing is lost:
    /// - `TimedOut` when the [read timeout](Self::set_read_timeout) or the [idle timeout](Self::set_timeout) expires.
    ///   It is a tick, as [`Error::is_tick`] says. The next call waits for the whole time again.
    /// - `WouldBlock` if other code has made the descriptor non-blocking and nothing has arrived.
    ///
    /// `TimedOut`, `ERR_SOCKET_DEADLINE`, once the [deadline](Self::set_deadline) has passed. Every call returns it
    /// until the deadline is changed.
    ///
    /// These end reading, and every later read returns the same:
    /// - `ConnectionReset` if the peer has reset the connection.
    /// - `ConnectionAborted`, `ETIMEDOUT`, if the system has given up on the peer. See
    ///   [keep-alive](Self::set_keep_alive) and [user timeout](Self::set_user_timeout).
    /// - `ConnectionAborted`, `ERR_SERVER_SHUTTING_DOWN`, when the server that accepted the connection [shuts
    ///   down](crate::net::Server::shutdown). Everything that had arrived was read. The socket can still be written to.
    /// - `NotConnected` once the socket is closed.
    #[doc(alias = "onread")]
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match buf.is_empty() {
            true => self.connection.check_open("read").map(|()| 0),
            false => self.connection.read(buf),
        }
    }

    /// Like [`read`](Self::read), but the next read returns the same bytes again: recv(2) with MSG_PEEK. Blocks until
    /// something arrives. It also waits while another thread reads or peeks. [`available`](Self::available) does not.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        match buf.is_empty() {
            true => self.connection.check_open("read").map(|()| 0),
            false => self.connection.peek(buf),
        }
    }

    /// Fills `buf`. Blocks until `buf.len()` bytes have arrived.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer ends earlier, and those of [`read`](Self::read). The bytes that had arrived are put
    /// back. They do not count as [read](Self::bytes_read), and the next read of any kind begins with them.
    pub fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        self.connection.check_open("read")?;
        self.connection.read_exact(buf)
    }

    /// What a read would return now: recv(2) with MSG_PEEK and MSG_DONTWAIT.
    ///
    /// - `Some(0)`: the peer has ended, and everything it sent was read.
    /// - `Some(n)`: at least `n` bytes can be read. `n` is at most 16,384.
    /// - `None`: a read would block.
    ///
    /// A pool can check that an idle connection is still good. The peer of a good one has neither ended nor sent
    /// anything:
    ///
    /// ```
    /// # use landline::net::{Server, Socket};
    /// # let server = Server::listen("127.0.0.1:0")?;
    /// # let pooled = Socket::connect(server.address())?;
    /// let is_good = matches!(pooled.available(), Ok(None));
    /// # assert!(is_good);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// Never blocks, consumes nothing, and ignores the timers. The peer's end is not seen while bytes before it are
    /// unread.
    ///
    /// # Errors
    /// Those by which [`read`](Self::read) ends. Later reads return them too.
    #[doc(alias = "try_read")]
    #[doc(alias = "try_peek")]
    #[doc(alias = "readableLength")]
    pub fn available(&self) -> io::Result<Option<usize>> {
        self.connection.available()
    }
}

/// Writing.
///
/// Every call here writes all its data before it returns, by as few system calls as possible: send(2). It blocks while
/// another thread writes. It also blocks while the buffers are full because the peer reads more slowly than we write.
/// [`destroy`](Self::destroy) from another thread ends the wait.
///
/// By default a write to a peer that stops reading can block forever, as in std and Node. On a server that does not
/// trust its clients, set one of these for every connection:
/// - a [write timeout](Self::set_write_timeout) ends a write while the peer takes nothing;
/// - a [deadline](Self::set_deadline) ends any write.
///
/// # Errors
/// - `BrokenPipe` or `ConnectionReset` if the peer is gone, with Node's text `write EPIPE`. Often only the second write
///   after that fails, since the kernel takes the first.
/// - `BrokenPipe`, `write after end`, after [`end`](Self::end). The text is
///   `This socket has been ended by the other party` if the peer has ended too, unless half-open is allowed.
/// - `NotConnected` once the socket is closed.
/// - `ConnectionAborted`, `ETIMEDOUT`, if the system has given up on the peer.
/// - `TimedOut` once the deadline has passed.
/// - `TimedOut` as a tick ([`Error::is_tick`]): the peer took nothing for the write timeout, or no byte moved in either
///   direction for the idle timeout.
/// - `WouldBlock` if other code has made the descriptor non-blocking and the buffers are full.
///
/// [`bytes_written`](Self::bytes_written) says how many bytes of a failed write were taken. No write raises SIGPIPE,
/// whatever the program does about that signal.
impl Socket {
    /// Writes all of `data`. Blocks until the kernel has taken it. See above.
    ///
    /// # Errors
    /// See above.
    #[doc(alias = "write")]
    pub fn write_all(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        // `as_ref` is the program's code, so it runs before a lock is taken.
        let data = data.as_ref();
        self.connection.turn().write_all(data)
    }

    /// Called by `write!(socket, …)` and `writeln!`. The text is formatted first, then written as one message. Blocks
    /// as [`write_all`](Self::write_all) does.
    ///
    /// # Errors
    /// See above.
    pub fn write_fmt(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        match text.as_str() {
            Some(text) => self.write_all(text),
            None => self.connection.compose(|out| out.write_fmt(text)),
        }
    }
}

/// Ending and closing.
impl Socket {
    /// Ends our direction: shutdown(2). The peer reads everything written before, then the end (FIN). Reading is not
    /// affected.
    ///
    /// Blocks while another thread writes, so that its write stays whole. A second call does nothing.
    ///
    /// # Errors
    /// That of shutdown(2). It is not an error if the peer is gone already.
    #[doc(alias = "shutdown")]
    #[doc(alias = "SHUT_WR")]
    pub fn end(&self) -> io::Result<()> {
        self.connection.turn().end()
    }

    /// Ends reading and leaves writing as it is: shutdown(2) with SHUT_RD. The peer is not notified. Use it for a
    /// connection that is only written from now on, or to wake the thread that reads.
    ///
    /// - Blocked reads and all later ones return 0 bytes, as at the peer's end, on every thread. So do
    ///   [`peek`](Self::peek) and [`available`](Self::available). Bytes that had arrived and were not read are lost,
    ///   except those in a [`Buffered`](crate::net::Buffered).
    /// - [`each`](Self::each) and channels deliver `End`, and continue as after the peer's end. Without
    ///   [`allow_half_open`](crate::net::SocketOptions::allow_half_open), `each` then closes the connection.
    ///   [`pipe`](Self::pipe) and [`relay`](crate::net::relay) end the other side.
    /// - [`ready_state`](Self::ready_state) is `WriteOnly`, or `Closed` if our direction has ended too.
    ///
    /// Never blocks. A second call does nothing, and neither does a call on a closed socket.
    ///
    /// ```
    /// # use std::thread;
    /// # use landline::net::{Server, Socket};
    /// # let server = Server::listen("127.0.0.1:0")?;
    /// # let socket = Socket::connect(server.address())?;
    /// # let accepted = server.accept()?.expect("the server is open");
    /// let reader = socket.clone();
    /// let reading = thread::spawn(move || reader.read(&mut [0; 100]));
    /// socket.end_reading();
    /// assert_eq!(reading.join().expect("it does not panic")?, 0);
    /// socket.write_end("writing goes on")?;
    /// # assert_eq!(std::io::read_to_string(accepted)?, "writing goes on");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Platform
    /// What happens to bytes that the peer still sends:
    ///
    /// - Linux, TCP: the system takes them until the receive buffer is full. Then the peer's writes block, forever if
    ///   they have no time limit. Once our direction has ended too, the system answers with RST, which can destroy data
    ///   that the peer has not read yet. So let a handler that has ended reading return after its last write, without
    ///   [`end`](Self::end). Its connection ends when the peer has sent nothing for about 100 ms. A client's connection
    ///   does not wait for that.
    /// - Linux, Unix socket: the peer's writes fail with `BrokenPipe`.
    /// - macOS, the BSDs: the system discards them, and the peer does not notice.
    /// - Windows: the system answers with RST.
    ///
    /// The lines for other systems than Linux are from their manuals and not tested.
    #[doc(alias = "shutdown")]
    #[doc(alias = "SHUT_RD")]
    #[doc(alias = "close_read")]
    pub fn end_reading(&self) {
        self.connection.end_reading();
    }

    /// Writes `data`, then ends our direction. No other thread's bytes come in between. Blocks as
    /// [`write_all`](Self::write_all) does.
    ///
    /// # Errors
    /// Those of [`write_all`](Self::write_all) and [`end`](Self::end).
    pub fn write_end(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        let data = data.as_ref();
        let turn = self.connection.turn();
        turn.write_all(data)?;
        turn.end()
    }

    /// Closes the connection now, in both directions. Calls that are blocked on it, on any thread, return
    /// `NotConnected`. Its slot in the server is free when this returns. Never blocks. A second call does nothing.
    ///
    /// Data that was written is still sent. Data that was received and not read is lost. If there was any, or if the
    /// peer sends more, the kernel sends RST, and the peer sees `ConnectionReset` instead of the end or soon after it.
    ///
    /// The peer sees the end even if a forked child has a copy of the descriptor. Dropping the last handle only calls
    /// close(2), and the connection lives on with such a copy.
    #[doc(alias = "close")]
    pub fn destroy(&self) {
        self.connection.close(Outcome::Destroyed, CloseMode::Cut);
    }

    /// Closes the connection now with RST. The peer's next call fails with `ConnectionReset`, and data that was not
    /// sent yet is lost. A peer that has already read our end keeps reading 0 bytes, and only its writes fail. Use it
    /// for a peer that has broken the protocol, or to avoid thousands of connections in TIME_WAIT.
    ///
    /// On Linux the RST is sent at once, even if other threads are blocked on the socket or a forked child has a copy
    /// of the descriptor. On other systems, and on Linux 6.4 to 6.6 while a thread is blocked, it is sent when the last
    /// blocked call has returned and the last copy is closed. There the call blocks for at most 10 ms, and only while
    /// another thread writes. If the peer makes room for all of that write just then, it sees an end instead.
    ///
    /// # Errors
    /// - `ERR_SOCKET_CLOSED`, of kind `NotConnected`, if the socket is closed already.
    /// - `ERR_INVALID_HANDLE_TYPE` on a Unix socket, which has no RST.
    pub fn reset_and_destroy(&self) -> io::Result<()> {
        if self.connection.family() == Family::Unix {
            let text = "This handle type cannot be sent";
            return Err(Error::invalid("ERR_INVALID_HANDLE_TYPE", text).into());
        }
        if self.connection.close(Outcome::Reset, CloseMode::Reset(RESET_PATIENCE)) {
            return Ok(());
        }
        Err(Error::fixed(io::ErrorKind::NotConnected, "ERR_SOCKET_CLOSED", "Socket is closed").into())
    }

    /// Which directions are open. Makes no system call. The peer's end counts once a read, a [`peek`](Self::peek) or
    /// [`available`](Self::available) has reached it, after everything sent before. So a socket that no thread reads
    /// stays `Open` after the peer's end, as in Node. Call `available` to find out.
    #[doc(alias = "readyState")]
    pub fn ready_state(&self) -> ReadyState {
        match (self.connection.we_ended(), self.connection.has_read_all()) {
            _ if self.connection.is_closed() => ReadyState::Closed,
            (false, false) => ReadyState::Open,
            (true, false) => ReadyState::ReadOnly,
            (false, true) => ReadyState::WriteOnly,
            (true, true) => ReadyState::Closed,
        }
    }

    /// Whether the connection is closed for good: by [`destroy`](Self::destroy), by an error, or because its handler or
    /// [`each`](Self::each) has returned. Its calls then fail, and its slot in the server is free. A connection whose
    /// two directions have ended is not destroyed yet. Its [`ready_state`](Self::ready_state) is `Closed`, and it keeps
    /// its slot.
    ///
    /// ```
    /// use landline::net::{ReadyState, Server, Socket};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let socket = Socket::connect(server.address())?;
    /// server.accept()?.expect("the server is open").end()?;
    /// socket.end()?;
    /// assert_eq!(socket.read(&mut [0; 8])?, 0);
    /// assert_eq!((socket.ready_state(), socket.is_destroyed()), (ReadyState::Closed, false));
    ///
    /// socket.destroy();
    /// assert!(socket.is_destroyed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "destroyed")]
    #[doc(alias = "closed")]
    #[doc(alias = "is_closed")]
    pub fn is_destroyed(&self) -> bool {
        self.connection.is_closed()
    }
}

/// Facts about the connection. None of these calls blocks, and all of them still answer after it is closed.
impl Socket {
    /// The number of the connection in reports. [`get`](ConnectionId::get) returns it as an integer.
    pub fn id(&self) -> ConnectionId {
        self.connection.id
    }

    /// Our address when the connection was made. Behind a load balancer, the address its client connected to. See
    /// [`proxy_protocol`](crate::net::ServerOptions::proxy_protocol).
    #[doc(alias = "address")]
    #[doc(alias = "localPort")]
    #[doc(alias = "localFamily")]
    #[doc(alias = "local_addr")]
    pub fn local_address(&self) -> &Address {
        &self.connection.local
    }

    /// The peer's address when the connection was made. Behind a load balancer, the address of its client. See
    /// [`proxy_protocol`](crate::net::ServerOptions::proxy_protocol).
    #[doc(alias = "remotePort")]
    #[doc(alias = "remoteFamily")]
    #[doc(alias = "peer_addr")]
    pub fn remote_address(&self) -> &Address {
        &self.connection.remote
    }

    /// The load balancer's address, if the connection came through one and its header named the client.
    /// [`remote_address`](Self::remote_address) is that client then.
    pub fn proxy_address(&self) -> Option<&Address> {
        self.connection.proxied.get().map(|ends| &ends.1)
    }

    /// How many bytes were read.
    pub fn bytes_read(&self) -> u64 {
        self.connection.bytes_read.load(Relaxed)
    }

    /// How many bytes the kernel has taken for sending, including those of a write that failed halfway.
    pub fn bytes_written(&self) -> u64 {
        self.connection.bytes_written.load(Relaxed)
    }
}

impl From<TcpStream> for Socket {
    /// Takes over a connection of std. It is made blocking and close-on-exec. Its timeouts and SO_LINGER are removed.
    /// Other settings stay.
    fn from(stream: TcpStream) -> Socket {
        from_any(socket2::Socket::from(stream))
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for Socket {
    /// Takes over a connection of std. It is made blocking and close-on-exec. Its timeouts and SO_LINGER are removed.
    fn from(stream: std::os::unix::net::UnixStream) -> Socket {
        from_any(socket2::Socket::from(stream))
    }
}

#[cfg(unix)]
impl TryFrom<std::os::fd::OwnedFd> for Socket {
    type Error = io::Error;

    /// Takes over a connection from another program. It is made blocking and close-on-exec. Its timeouts and SO_LINGER
    /// are removed.
    ///
    /// A connection that the peer has reset is taken, and its first read returns the error.
    ///
    /// # Errors
    /// The descriptor is closed in each case:
    /// - `ERR_INVALID_FD_TYPE` if it is not a TCP or Unix stream socket.
    /// - `getpeername ENOTCONN`, of kind `NotConnected`, if it has no peer: it was never connected, or is still
    ///   connecting.
    fn try_from(descriptor: std::os::fd::OwnedFd) -> io::Result<Socket> {
        let socket = socket2::Socket::from(descriptor);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM);
        if !is_stream || !socket.local_addr().is_ok_and(|address| Address::of(&address).is_some()) {
            return Err(wrong_type().into());
        }
        let has_peer = socket.peer_addr().map(drop);
        let is_listener = sys::is_listener(&socket).unwrap_or(false);
        // Settings change only once it is known to be a connection. Other processes may use a listener that was passed
        // in error.
        let socket = taken(socket);
        match has_peer {
            Err(error) if error.kind() == io::ErrorKind::NotConnected && !was_connected(&socket) => {
                Err(if is_listener { wrong_type() } else { Error::call("getpeername", &error) }.into())
            }
            _ => Ok(settled(socket)),
        }
    }
}

#[cfg(unix)]
fn wrong_type() -> Error {
    Error::invalid("ERR_INVALID_FD_TYPE", "Unsupported fd type: not a stream socket")
}

/// Whether a socket without a peer once had one. After a reset, its error or its end is still to be read.
#[cfg(unix)]
fn was_connected(socket: &Socket) -> bool {
    match socket.available() {
        Ok(there_is) => there_is.is_some(),
        // What Linux returns for a Unix socket that has no peer.
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::InvalidInput),
    }
}

fn from_any(socket: socket2::Socket) -> Socket {
    settled(taken(socket))
}

/// A handle with unchanged settings. getpeername(2) fails once the peer has reset the connection, so its address is
/// then unknown.
fn taken(socket: socket2::Socket) -> Socket {
    // An inherited descriptor would be passed on to child processes.
    let _ = sys::close_on_exec(&socket);
    let address = |found: io::Result<socket2::SockAddr>| {
        let found = found.ok().and_then(|found| Address::of(&found));
        found.unwrap_or_else(|| std::net::SocketAddr::from(([0; 4], 0)).into())
    };
    let addresses = (address(socket.local_addr()), address(socket.peer_addr()));
    let settings = Settings { no_delay: socket.tcp_nodelay().unwrap_or(false), ..Settings::UNKNOWN };
    // std's type for a stream. Its calls are recv(2), send(2) and shutdown(2), which serve both kinds of socket.
    let stream = TcpStream::from(socket);
    Socket::new(stream, addresses, Options { settings, ..Options::default() }, Reporter::default(), None)
}

/// Resets what the previous owner may have set.
fn settled(socket: Socket) -> Socket {
    if let Ok(stream) = socket.connection.stream("read") {
        plain(&stream);
        // With SO_LINGER, closing could block or reset the connection.
        let raw = SockRef::from(&*stream);
        if raw.linger().is_ok_and(|time| time.is_some()) {
            let _ = raw.set_linger(None);
        }
    }
    socket
}

impl Socket {
    pub(crate) fn new(
        stream: TcpStream,
        addresses: (Address, Address),
        options: Options,
        reporter: Reporter,
        owner: Option<Arc<dyn Owner>>,
    ) -> Socket {
        sys::prepare(&stream);
        Socket { connection: Arc::new(Connection::new(stream, addresses, options, reporter, owner)) }
    }
}

/// std's traits, for a handle and for a reference to one.
macro_rules! read_and_write {
    ($($socket:ty)*) => {$(
        impl Read for $socket {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                Socket::read(self, buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                match bufs.iter().all(|buf| buf.is_empty()) {
                    true => Socket::read(self, &mut []),
                    false => self.connection.read_vectored(bufs),
                }
            }

            fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
                Socket::read_exact(self, buf)
            }
        }

        impl Write for $socket {
            /// Writes all of `data` and returns its length. Returns less only if an error occurred after that many
            /// bytes. The next call returns that error.
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                written(self.connection.turn().write(Data::One(data)))
            }

            /// Writes all of several buffers as one message, by one system call where the system has a safe one.
            /// Returns as `write` does.
            fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
                written(self.connection.turn().write(Data::Many(data, 0)))
            }

            fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
                Socket::write_all(self, data)
            }

            fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
                Socket::write_fmt(self, text)
            }

            /// Does nothing, since nothing is buffered. Fails only if the socket is closed.
            fn flush(&mut self) -> io::Result<()> {
                self.connection.check_open("write")
            }
        }
    )*};
}

read_and_write! { Socket &Socket }

fn written((n, result): (usize, io::Result<()>)) -> io::Result<usize> {
    if n == 0 { result.map(|()| 0) } else { Ok(n) }
}

/// Handles to the same connection are equal.
impl PartialEq for Socket {
    fn eq(&self, other: &Socket) -> bool {
        self.connection.id == other.connection.id
    }
}

impl Eq for Socket {}

impl Hash for Socket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.connection.id.hash(state);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, remote) = (self.id(), self.remote_address());
        write!(f, "Socket({id} {remote} {})", self.ready_state())
    }
}
