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
use crate::net::socket::write::{Data, WriteGuard};
use crate::report::{ConnectionId, Outcome, Reporter};
use crate::sys;

/// A connection over TCP or a Unix socket. A client makes one with [`connect`](Socket::connect), and a
/// [`Server`](crate::net::Server) accepts them.
///
/// A `Socket` is [`Read`] and [`Write`], owned or by reference. `read`, `read_exact`, `write_all` and `write_fmt` also
/// take `&self`, so one thread can read while another writes. The other methods of the two traits need `&mut &socket`.
///
/// Clones are handles to the same connection. Closing the connection through one handle closes it for all. Calls on
/// every handle then fail with `NotConnected`, or with `ABORT_ERR` if a [`Cancel`](crate::Cancel) closed the
/// connection. Dropping the last handle closes the connection with close(2), as soon as its [outbox](Socket::outbox) is
/// empty.
///
/// Each write stays in one piece: the bytes of two writes never mix, even if two threads write at once.
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
/// # The two directions
///
/// Each direction of a connection ends on its own. "Our direction" carries what we write, and the peer's direction
/// carries what the peer writes.
///
/// - [`end`](Socket::end) ends our direction: it sends FIN. The peer reads everything that we wrote before, and then
///   the end of the stream.
/// - When the peer has ended its direction and we have read everything it sent, a read returns 0 bytes. This is the end
///   of the stream. It closes nothing: after [`read_to_end`](Read::read_to_end), a reply can still be written.
/// - [`ready_state`](Socket::ready_state) says which directions are open.
/// - [`destroy`](Socket::destroy) closes the connection, both directions at once.
#[derive(Clone)]
#[doc(alias = "TcpStream")]
#[doc(alias = "UnixStream")]
pub struct Socket {
    pub(crate) connection: Arc<Connection>,
}

/// Which directions of a [`Socket`] are open, as far as this program knows. Prints like Node's `readyState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadyState {
    /// Both directions are open.
    Open,
    /// Our direction has ended. The peer may still send.
    ReadOnly,
    /// A read has reached the end of the stream, or we have [ended reading](Socket::end_reading). We may still write.
    WriteOnly,
    /// Both directions have ended, or the connection is [closed](Socket::is_destroyed).
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
    /// Reads what has arrived, at most `buf.len()` bytes: recv(2). Returns 0 at the end of the stream, or if `buf` is
    /// empty.
    ///
    /// Blocks until something arrives, or another thread calls [`destroy`](Self::destroy). Threads that read the same
    /// socket take turns. Each byte goes to one thread, and each thread has its own timeout.
    ///
    /// # Errors
    /// After these errors the connection stays usable, and nothing is lost:
    /// - `TimedOut` when the [read timeout](Self::set_read_timeout) or the [idle timeout](Self::set_timeout) expires.
    ///   [`Error::is_tick`] recognizes this error. The next call waits for the whole time again.
    /// - `WouldBlock` if other code has made the descriptor non-blocking and nothing has arrived.
    ///
    /// After the [deadline](Self::set_deadline), every call returns `ERR_SOCKET_DEADLINE`, of kind `TimedOut`, until
    /// the deadline is changed.
    ///
    /// After these errors nothing more can be read, and every later read returns the same error:
    /// - `ConnectionReset` if the peer has reset the connection.
    /// - `ETIMEDOUT`, of kind `ConnectionAborted`, if the system has given up on the peer. See
    ///   [keep-alive](Self::set_keep_alive) and [user timeout](Self::set_user_timeout).
    /// - `ERR_SERVER_SHUTTING_DOWN`, of kind `ConnectionAborted`, when the server that accepted the connection [shuts
    ///   down](crate::net::Server::shutdown). This error comes after everything that had arrived was read. The socket
    ///   can still be written to.
    /// - `NotConnected` once the socket is closed.
    #[doc(alias = "onread")]
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match buf.is_empty() {
            true => self.connection.check_open("read").map(|()| 0),
            false => self.connection.read(buf),
        }
    }

    /// Reads like [`read`](Self::read), but leaves the bytes for the next read: recv(2) with MSG_PEEK. Blocks until
    /// something arrives, and while another thread reads or peeks. [`available`](Self::available) never blocks.
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
    /// `UnexpectedEof` if the stream ends earlier, and the errors of [`read`](Self::read). After an error, the bytes
    /// that had arrived are put back: they do not count in [`bytes_read`](Self::bytes_read), and the next read begins
    /// with them.
    pub fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        self.connection.check_open("read")?;
        self.connection.read_exact(buf)
    }

    /// Returns how many bytes a read would return now, without blocking: recv(2) with MSG_PEEK and MSG_DONTWAIT.
    ///
    /// - `Some(0)`: the end of the stream. The peer has ended its direction, and everything it sent was read.
    /// - `Some(n)`: at least `n` bytes can be read. `n` is at most 16,384.
    /// - `None`: a read would block.
    ///
    /// A connection pool can use this call to check an idle connection. If the result is not `None`, the peer has ended
    /// its direction or sent something unexpected:
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
    /// Consumes nothing and ignores all timeouts. While bytes are unread, the result does not show whether the peer has
    /// ended its direction.
    ///
    /// # Errors
    /// The errors of [`read`](Self::read) after which nothing more can be read. Later reads return the same error.
    #[doc(alias = "try_read")]
    #[doc(alias = "try_peek")]
    #[doc(alias = "readableLength")]
    pub fn available(&self) -> io::Result<Option<usize>> {
        self.connection.available()
    }
}

/// Writing.
///
/// Each of these calls writes all its data before it returns, with as few system calls as possible: send(2). The call
/// blocks in two cases:
/// - while another thread writes,
/// - while the kernel's buffers are full, because the peer reads more slowly than we write.
///
/// [`destroy`](Self::destroy) on another thread ends the wait.
///
/// By default a write to a peer that stops reading can block forever, as in std and Node. On a server that does not
/// trust its clients, set one of these for every connection:
/// - a [write timeout](Self::set_write_timeout), which ends a write when the peer takes nothing during the whole
///   timeout,
/// - a [deadline](Self::set_deadline), which ends any write.
///
/// # Errors
/// - `BrokenPipe` or `ConnectionReset` if the peer is gone. Their texts are Node's, `write EPIPE` and
///   `write ECONNRESET`. The kernel often still accepts the first write after the peer has gone, and only the second
///   write fails.
/// - `BrokenPipe`, with the text `write after end`, after [`end`](Self::end). If the peer has ended its direction too
///   and [`allow_half_open`](crate::net::SocketOptions::allow_half_open) is off, the text is
///   `This socket has been ended by the other party`.
/// - `NotConnected` once the socket is closed.
/// - `ETIMEDOUT`, of kind `ConnectionAborted`, if the system has given up on the peer.
/// - `TimedOut` once the deadline has passed.
/// - `TimedOut`, for which [`Error::is_tick`] is true: the peer took nothing during the whole write timeout, or no byte
///   moved in either direction during the whole idle timeout. The connection stays usable.
/// - `WouldBlock` if other code has made the descriptor non-blocking and the buffers are full.
///
/// After a failed write, [`bytes_written`](Self::bytes_written) includes the bytes that the kernel took before the
/// error. No write raises SIGPIPE, whatever the program has set for that signal.
impl Socket {
    /// Writes all of `data`. Blocks until the kernel has taken it.
    ///
    /// # Errors
    /// Those listed above, under "Writing".
    #[doc(alias = "write")]
    pub fn write_all(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        // `as_ref` is the program's code, so it runs before a lock is taken.
        let data = data.as_ref();
        self.connection.write(Data::One(data)).1
    }

    /// Formats the text, then writes it in one piece. `write!(socket, …)` and `writeln!` call it. Blocks as
    /// [`write_all`](Self::write_all) does.
    ///
    /// # Errors
    /// Those listed above, under "Writing".
    pub fn write_fmt(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        match text.as_str() {
            Some(text) => self.write_all(text),
            None => self.connection.compose(|out| out.write_fmt(text)),
        }
    }
}

/// Ending and closing.
impl Socket {
    /// Ends our direction: sends FIN, with shutdown(2). The peer reads everything that was written before, then the end
    /// of the stream. Reading is not affected.
    ///
    /// Blocks while another thread writes, so that its write stays whole, and until everything that the
    /// [outbox](Self::outbox) has queued is written. A second call does nothing.
    ///
    /// # Errors
    /// - Those listed above, under "Writing", if the queued messages cannot be written. Our direction then stays open.
    ///   After a timeout, call `end` again.
    /// - The error of the close, such as `NotConnected` after [`destroy`](Self::destroy), if the connection is closed
    ///   while `end` waits, and queued messages are lost by that.
    /// - The error of shutdown(2). If the peer is already gone and nothing is queued, `end` succeeds.
    #[doc(alias = "shutdown")]
    #[doc(alias = "SHUT_WR")]
    pub fn end(&self) -> io::Result<()> {
        let was_closed = self.connection.is_closed();
        let turn = self.connection.turn_in_time()?;
        if was_closed { Ok(()) } else { self.end_in(turn) }
    }

    fn end_in(&self, turn: WriteGuard<'_>) -> io::Result<()> {
        let ended = turn.end();
        drop(turn);
        // If the connection was closed during this call, what was queued may be lost. `flush` knows, and why.
        if self.connection.is_closed() { self.outbox().flush() } else { ended }
    }

    /// Ends reading, but not writing: shutdown(2) with SHUT_RD. The peer is not notified. Use it when you will only
    /// write from now on, or to wake a thread that is blocked in a read.
    ///
    /// - Blocked and later reads return 0 bytes on every thread, as at the end of the stream. [`peek`](Self::peek)
    ///   returns 0 too, and [`available`](Self::available) returns `Some(0)`. Bytes that had arrived and were not read
    ///   are lost, except those in a [`Buffered`](crate::net::Buffered).
    /// - [`each`](Self::each) and channels deliver `End`, as if the peer had ended its direction. Without
    ///   [`allow_half_open`](crate::net::SocketOptions::allow_half_open), `each` then closes the connection.
    ///   [`pipe`](Self::pipe) and [`relay`](crate::net::relay) end our direction of the socket that they copy to.
    /// - [`ready_state`](Self::ready_state) is `WriteOnly`, or `Closed` if our direction has ended too.
    ///
    /// Never blocks. A second call, or a call on a closed socket, does nothing.
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
    /// - Linux, TCP: the system takes them until the receive buffer is full. After that the peer's writes block,
    ///   forever if they have no timeout. Once our direction has ended too, the system answers with RST, and the RST
    ///   can destroy data that the peer has not read yet. So a server's handler that has ended reading should not call
    ///   [`end`](Self::end): it should return after its last write. Its connection then closes when the peer has sent
    ///   nothing for about 100 ms. A client's connection closes without that wait.
    /// - Linux, Unix socket: the peer's writes fail with `BrokenPipe`.
    /// - macOS, the BSDs: the system discards them, and the peer does not notice.
    /// - Windows: the system answers with RST.
    ///
    /// Only the lines for Linux are tested. The others are from the manuals of those systems.
    #[doc(alias = "shutdown")]
    #[doc(alias = "SHUT_RD")]
    #[doc(alias = "close_read")]
    pub fn end_reading(&self) {
        self.connection.end_reading();
    }

    /// Writes `data`, then ends our direction. No write of another thread comes between the two, except messages that
    /// an [outbox](Self::outbox) takes while `data` is written. They come after `data` and before the end. Blocks as
    /// [`write_all`](Self::write_all) does.
    ///
    /// # Errors
    /// Those of [`write_all`](Self::write_all) and [`end`](Self::end).
    pub fn write_end(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        let data = data.as_ref();
        let turn = self.connection.turn_in_time()?;
        turn.write_all(data)?;
        self.end_in(turn)
    }

    /// Closes the connection now, in both directions. Calls that are blocked on the connection, on any thread, return
    /// `NotConnected`. When this returns, the connection no longer counts towards the server's limit. Never blocks. A
    /// second call does nothing.
    ///
    /// If the connection is closed already, but [lingers](crate::net::ServerOptions::lingering_close) because its
    /// handler has returned, `destroy` only ends the reads of other threads that are still blocked. After that, the
    /// kernel answers what the peer sends with RST.
    ///
    /// Data that was written is still sent, followed by FIN. Data that was received but not read is lost. If there was
    /// unread data, or if the peer sends more, the kernel sends RST. The peer then gets `ConnectionReset`, either in
    /// place of the end of the stream or soon after it.
    ///
    /// `destroy` ends the connection even if a forked child has a copy of the descriptor, because it calls shutdown(2).
    /// Dropping the last handle only calls close(2), so the connection stays open while such a copy exists.
    #[doc(alias = "close")]
    pub fn destroy(&self) {
        self.connection.destroy(Outcome::Destroyed, CloseMode::Cut);
    }

    /// Closes the connection now and sends RST. The peer's next call fails with `ConnectionReset`, and data that was
    /// not sent yet is lost. If the peer has already read the end of the stream, its reads continue to return 0 bytes,
    /// and only its writes fail. Use it for a peer that has broken the protocol, or to avoid thousands of connections
    /// in TIME_WAIT.
    ///
    /// On Linux the RST is sent at once, even if other threads are blocked on the socket or a forked child has a copy
    /// of the descriptor. On other systems, and on Linux 6.4 to 6.6 while a thread is blocked on the socket, two things
    /// differ:
    /// - The RST is sent when the last blocked call has returned and the last copy is closed.
    /// - While another thread writes, this call blocks for at most 10 ms. If the peer reads enough within these 10 ms
    ///   for the whole write to finish, the peer gets FIN instead of RST.
    ///
    /// # Errors
    /// - `ERR_SOCKET_CLOSED`, of kind `NotConnected`, if the socket is closed already.
    /// - `ERR_INVALID_HANDLE_TYPE` on a Unix socket, which has no RST.
    pub fn reset_and_destroy(&self) -> io::Result<()> {
        if self.connection.family() == Family::Unix {
            let text = "This handle type cannot be sent";
            return Err(Error::invalid("ERR_INVALID_HANDLE_TYPE", text).into());
        }
        if self.connection.destroy(Outcome::Reset, CloseMode::Reset(RESET_PATIENCE)) {
            return Ok(());
        }
        Err(Error::fixed(io::ErrorKind::NotConnected, "ERR_SOCKET_CLOSED", "Socket is closed").into())
    }

    /// Returns which directions are open, without a system call. The peer's direction counts as ended as soon as a
    /// read, a [`peek`](Self::peek) or [`available`](Self::available) has reached the end of the stream. So a socket
    /// that no thread reads stays `Open` after the peer has ended its direction, as in Node. Call `available` to find
    /// out.
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

    /// Returns whether the connection is closed: by [`destroy`](Self::destroy), by an error, or because its handler or
    /// [`each`](Self::each) has returned. Calls on a closed connection fail, and it no longer counts towards the
    /// server's limit.
    ///
    /// A connection whose two directions have ended is not closed yet: its [`ready_state`](Self::ready_state) is
    /// `Closed`, but it still counts towards the server's limit.
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
        self.connection.has_ended()
    }
}

/// Facts about the connection. None of these calls blocks, and all of them still work after the connection is closed.
impl Socket {
    /// The connection's number, as in reports. [`get`](ConnectionId::get) returns it as an integer.
    pub fn id(&self) -> ConnectionId {
        self.connection.id
    }

    /// Our address when the connection was made. Behind a load balancer, it is the address that the client connected
    /// to. See [`proxy_protocol`](crate::net::ServerOptions::proxy_protocol).
    #[doc(alias = "address")]
    #[doc(alias = "localPort")]
    #[doc(alias = "localFamily")]
    #[doc(alias = "local_addr")]
    pub fn local_address(&self) -> &Address {
        &self.connection.local
    }

    /// The peer's address when the connection was made. Behind a load balancer, it is the address of the client. See
    /// [`proxy_protocol`](crate::net::ServerOptions::proxy_protocol).
    #[doc(alias = "remotePort")]
    #[doc(alias = "remoteFamily")]
    #[doc(alias = "peer_addr")]
    pub fn remote_address(&self) -> &Address {
        &self.connection.remote
    }

    /// The load balancer's address, if the connection came through a load balancer whose header named the client. In
    /// that case [`remote_address`](Self::remote_address) is the client's address.
    pub fn proxy_address(&self) -> Option<&Address> {
        self.connection.proxied.get().map(|ends| &ends.1)
    }

    /// How many bytes were read from the connection.
    pub fn bytes_read(&self) -> u64 {
        self.connection.bytes_read.load(Relaxed)
    }

    /// How many bytes the kernel has taken for sending, including those taken from a write that failed halfway.
    pub fn bytes_written(&self) -> u64 {
        self.connection.bytes_written.load(Relaxed)
    }
}

impl From<TcpStream> for Socket {
    /// Takes over a connection from std. It is made blocking and close-on-exec. Its timeouts and SO_LINGER are removed.
    /// Other settings stay.
    fn from(stream: TcpStream) -> Socket {
        from_any(socket2::Socket::from(stream))
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for Socket {
    /// Takes over a connection from std. It is made blocking and close-on-exec. Its timeouts and SO_LINGER are removed.
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
    /// If the peer has reset the connection, this succeeds, and the first read returns the error.
    ///
    /// # Errors
    /// After an error the descriptor is closed:
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

/// Whether a socket without a peer once had one. After a reset, a read still returns the error or the end of the
/// stream.
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
            /// Writes all of `data` and returns its length. Returns a smaller number only if an error occurred after
            /// that many bytes. The next call tries again. If the connection has failed, it fails too, possibly with
            /// `EPIPE`.
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                written(self.connection.write(Data::One(data)))
            }

            /// Writes all of several buffers in one piece, with one system call, except on Windows. Returns what
            /// `write` returns.
            fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
                written(self.connection.write(Data::Many(data, 0)))
            }

            fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
                Socket::write_all(self, data)
            }

            fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
                Socket::write_fmt(self, text)
            }

            /// Does nothing, because nothing is buffered. Fails only if the socket is closed.
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

/// Two handles are equal if they are handles to the same connection.
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
