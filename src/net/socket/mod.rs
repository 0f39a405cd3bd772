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
/// It is [`Read`] and [`Write`], owned or by reference, and has `read`, `read_exact`, `write_all` and `write_fmt` on
/// `&self` itself, so that one thread can read while another writes; the other methods of the traits are for
/// `&mut &socket`. Clones are handles to the same connection. Closing acts on the connection, whatever handles are
/// left: their calls then fail with `NotConnected`, or with `ABORT_ERR` where a [`Cancel`](crate::Cancel) has closed
/// it. When the last handle of an open connection is dropped, it is closed as std closes, by close(2), as soon as what
/// its [outbox](Socket::outbox) holds is out.
///
/// A write is whole: no other thread's bytes come between those of one call.
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
/// Both directions end separately. [`end`](Socket::end) ends ours; the peer's end is a read of 0 bytes. Reading 0 bytes
/// closes nothing: after [`read_to_end`](Read::read_to_end) a reply can still be written.
/// [`ready_state`](Socket::ready_state) tells where things stand.
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
    /// Both.
    Open,
    /// We have ended; the peer may still send.
    ReadOnly,
    /// The peer has ended, and a read has come to its end, or we have [ended reading](Socket::end_reading); we may
    /// still write.
    WriteOnly,
    /// Neither: both sides have ended, or the socket is [destroyed](Socket::is_destroyed).
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
    /// Blocks until something arrives. Several threads may read: they take turns, each waits for its own time, and each
    /// byte goes to one of them. [`destroy`](Self::destroy) from any thread ends it.
    ///
    /// # Errors
    /// Ticks, of kind `TimedOut`: the [read timeout](Self::set_read_timeout) or the [idle timeout](Self::set_timeout)
    /// is over. Nothing is lost, and the next read waits anew; [`Error::is_tick`] tells them. `TimedOut` too, with the
    /// code `ERR_SOCKET_DEADLINE`, once the [deadline](Self::set_deadline) has passed: every call says so until it is
    /// changed.
    ///
    /// Ends, after which every later read says the same: `ConnectionReset` if the peer has reset the connection.
    /// `ConnectionAborted` with the code `ETIMEDOUT` if the system has given the peer up, see
    /// [keep-alive](Self::set_keep_alive) and [user timeout](Self::set_user_timeout). `ConnectionAborted`,
    /// `ERR_SERVER_SHUTTING_DOWN`, when the server that has accepted the connection
    /// [shuts down](crate::net::Server::shutdown): what had arrived was read, and the socket can still be written to.
    /// `NotConnected` once the socket is closed.
    ///
    /// `WouldBlock` if other code has made the descriptor non-blocking and nothing has arrived.
    #[doc(alias = "onread")]
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match buf.is_empty() {
            true => self.connection.check_open("read").map(|()| 0),
            false => self.connection.read(buf),
        }
    }

    /// As [`read`](Self::read), but leaves what it gives to be read again: recv(2) with MSG_PEEK. While another thread
    /// reads or peeks it waits for its turn; [`available`](Self::available) does not.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        match buf.is_empty() {
            true => self.connection.check_open("read").map(|()| 0),
            false => self.connection.peek(buf),
        }
    }

    /// Fills `buf`. Blocks until that many bytes have arrived.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer ends before. Those of [`read`](Self::read). What had arrived is put back, and does
    /// not count as [read](Self::bytes_read): the next read, of whatever kind, begins with it.
    pub fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        self.connection.check_open("read")?;
        self.connection.read_exact(buf)
    }

    /// What a read would do now, without waiting: recv(2) with MSG_PEEK and MSG_DONTWAIT.
    ///
    /// - `Some(0)`: the peer has ended, and everything before was read.
    /// - `Some(n)`: it would give bytes, at least `n` of them; `n` is 16,384 at most.
    /// - `None`: it would wait.
    ///
    /// So a pool knows a connection that is still good, on which the peer has neither ended nor sent anything:
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
    /// Never blocks, takes nothing, and asks no timer. A peer whose end stands behind bytes that were not read yet is
    /// not seen to have ended.
    ///
    /// # Errors
    /// The ends of [`read`](Self::read), which later reads say too.
    #[doc(alias = "try_read")]
    #[doc(alias = "try_peek")]
    #[doc(alias = "readableLength")]
    pub fn available(&self) -> io::Result<Option<usize>> {
        self.connection.available()
    }
}

/// Writing.
///
/// Every call here writes all it is given before it returns, by as few system calls as possible: send(2). It blocks
/// while another thread's write is under way, and while the peer reads more slowly than we write and the buffers
/// between are full; [`destroy`](Self::destroy) from another thread ends that.
///
/// By itself it waits for as long as the peer's system lives, as std and Node do: a peer may have reasons to take its
/// time, and only the program knows how much it has. On a server that does not trust its clients, set one of these, for
/// every connection: a [write timeout](Self::set_write_timeout) ends a write to a peer that takes nothing, a
/// [deadline](Self::set_deadline) any.
///
/// # Errors
/// `BrokenPipe` or `ConnectionReset` if the peer is gone, with Node's text `write EPIPE`; often only the second write
/// after that says so, since the first is taken by the kernel. `BrokenPipe`, `write after end`, after
/// [`end`](Self::end); `This socket has been ended by the other party` if the peer has ended too, unless half-open is
/// allowed. `NotConnected` once the socket is closed. `ConnectionAborted` with the code `ETIMEDOUT` if the system has
/// given the peer up. `TimedOut` once the deadline has passed; and as a tick, see [`Error::is_tick`], when the peer has
/// taken nothing for the length of the write timeout, or nothing has moved in either direction for that of the idle
/// timeout. How far a failed write came, [`bytes_written`](Self::bytes_written) says. `WouldBlock` if other code has
/// made the descriptor non-blocking and the buffers are full.
///
/// No write raises SIGPIPE, whatever the program has done about the signal.
impl Socket {
    /// Writes all of `data`. Blocks until the kernel has taken it, as said above.
    ///
    /// # Errors
    /// See above.
    #[doc(alias = "write")]
    pub fn write_all(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        // Its bytes first: that is code of the program's.
        let data = data.as_ref();
        self.connection.turn().write_all(data)
    }

    /// What `write!(socket, …)` and `writeln!` call: the text is put together first, then written as one message.
    /// Blocks as [`write_all`](Self::write_all) does.
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
    /// Ends our direction: the peer reads all that was written and then its end (FIN): shutdown(2). Reading goes on.
    ///
    /// Blocks while another thread's write is under way, so as not to cut it. Doing it twice is harmless.
    ///
    /// # Errors
    /// A failure of shutdown(2); that the peer is gone already is none.
    #[doc(alias = "shutdown")]
    #[doc(alias = "SHUT_WR")]
    pub fn end(&self) -> io::Result<()> {
        self.connection.turn().end()
    }

    /// Ends reading, and leaves writing as it is: shutdown(2) with SHUT_RD. The peer is not told. For a connection that
    /// is only written from now on, or to end a thread that reads it.
    ///
    /// - A read that is blocked, on whatever thread, and every later one of this program get 0 bytes, as at the peer's
    ///   end. So do [`peek`](Self::peek) and [`available`](Self::available). What had arrived and was not read is not
    ///   read any more. What a [`Buffered`](crate::net::Buffered) holds still is.
    /// - [`each`](Self::each) and channels tell `End`, and what follows is what follows the peer's end: without
    ///   [`allow_half_open`](crate::net::SocketOptions::allow_half_open) `each` closes the connection then.
    ///   [`pipe`](Self::pipe) and [`relay`](crate::net::relay) pass it on as an end.
    /// - [`ready_state`](Self::ready_state) is `WriteOnly`, or `Closed` if our direction has ended too.
    ///
    /// Never blocks. Doing it twice is harmless, and so is doing it on a closed socket.
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
    /// What becomes of what the peer still sends:
    ///
    /// - Linux, TCP: the system takes it until the receive buffer is full. Then the peer's writes block, for ever if
    ///   they have no time limit. Once our direction has ended too, it is answered with RST, which can destroy what the
    ///   peer has not read yet. So a handler that has ended reading returns after its last write, without
    ///   [`end`](Self::end): its connection then ends when the peer has paused for some 100 ms. A client's connection
    ///   does not wait for that.
    /// - Linux, Unix socket: the peer's writes fail with `BrokenPipe`.
    /// - macOS, the BSDs: it is thrown away, and the peer notices nothing.
    /// - Windows: it is answered with RST.
    ///
    /// Elsewhere than on Linux this is what the systems' manuals say; it is not tested.
    #[doc(alias = "shutdown")]
    #[doc(alias = "SHUT_RD")]
    #[doc(alias = "close_read")]
    pub fn end_reading(&self) {
        self.connection.end_reading();
    }

    /// Writes `data`, then ends our direction, with no other thread's bytes between. Blocks as
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

    /// Closes the connection now, both ways: whoever is blocked in one of its calls, on whatever thread, gets
    /// `NotConnected`. Its slot in the server is free when this returns. Never blocks; doing it twice is harmless.
    ///
    /// What was written and not sent yet is still sent; what was received and not read is lost. If there was any, or if
    /// the peer goes on sending, the kernel sends RST: the peer sees `ConnectionReset` instead of an end, or soon after
    /// it. The peer hears of the end although a child that was forked has a copy of the descriptor. Dropping the last
    /// handle is close(2) alone, and such a copy goes on with the connection.
    #[doc(alias = "close")]
    pub fn destroy(&self) {
        self.connection.close(Outcome::Destroyed, CloseMode::Cut);
    }

    /// Closes the connection now with RST: the peer's next call fails with `ConnectionReset`, and what was not sent yet
    /// is lost. A peer that has read our end already goes on reading 0 bytes; only its writes fail. For a peer that has
    /// broken the protocol, or to spare the TIME_WAIT of thousands of connections.
    ///
    /// On Linux the RST is sent at once, also while other threads are blocked on the socket, and although a child that
    /// was forked has a copy of the descriptor. Elsewhere, and on Linux 6.4 to 6.6 while a thread is blocked, the RST
    /// is sent when the last call that is blocked has been woken and the last copy is closed. There it blocks for 10 ms
    /// at most, and only while another thread writes to the socket; a peer that makes room for all of that write just
    /// then sees an end instead.
    ///
    /// # Errors
    /// `ERR_SOCKET_CLOSED`, of kind `NotConnected`, if the socket is closed already.
    /// `ERR_INVALID_HANDLE_TYPE` on a Unix socket, which has no RST.
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

    /// Which directions are open. Makes no system call: the peer's end counts once a read, a [`peek`](Self::peek) or
    /// [`available`](Self::available) has come to it, behind all that was sent before. So a socket that nothing reads
    /// stays `Open` after the peer's end, as in Node; `available` asks.
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

    /// Whether the connection is closed for good: by [`destroy`](Self::destroy), by an error, by the end of its handler
    /// or of [`each`](Self::each). Its calls fail then, and its slot in the server is free. A connection of which both
    /// sides have ended is not destroyed by that: [`ready_state`](Self::ready_state) is `Closed`, and it still has its
    /// slot.
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

/// What is known of the connection. None of it blocks, and all of it outlives the connection.
impl Socket {
    /// The number of the connection, as reports show it; [`get`](ConnectionId::get) gives it.
    pub fn id(&self) -> ConnectionId {
        self.connection.id
    }

    /// Our end, captured when the connection was made. Behind a load balancer, the end that its client connected to;
    /// see [`proxy_protocol`](crate::net::ServerOptions::proxy_protocol).
    #[doc(alias = "address")]
    #[doc(alias = "localPort")]
    #[doc(alias = "localFamily")]
    #[doc(alias = "local_addr")]
    pub fn local_address(&self) -> &Address {
        &self.connection.local
    }

    /// The other end, captured when the connection was made. Behind a load balancer, its client's; see
    /// [`proxy_protocol`](crate::net::ServerOptions::proxy_protocol).
    #[doc(alias = "remotePort")]
    #[doc(alias = "remoteFamily")]
    #[doc(alias = "peer_addr")]
    pub fn remote_address(&self) -> &Address {
        &self.connection.remote
    }

    /// The load balancer that passed the connection on, if one did and its header named the client:
    /// [`remote_address`](Self::remote_address) is that client then, and this the other end of the connection itself.
    pub fn proxy_address(&self) -> Option<&Address> {
        self.connection.proxied.get().map(|ends| &ends.1)
    }

    /// How many bytes were read.
    pub fn bytes_read(&self) -> u64 {
        self.connection.bytes_read.load(Relaxed)
    }

    /// How many bytes the kernel has taken for the peer, those of a write that failed half-way included.
    pub fn bytes_written(&self) -> u64 {
        self.connection.bytes_written.load(Relaxed)
    }
}

impl From<TcpStream> for Socket {
    /// Takes over a connection of std's. Its settings stay as they are, but it is made blocking, without timeouts of
    /// its own and without SO_LINGER, and is not passed on to programs that are started (close-on-exec).
    fn from(stream: TcpStream) -> Socket {
        from_any(socket2::Socket::from(stream))
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for Socket {
    /// Takes over a connection of std's; it is made blocking, without timeouts of its own and without SO_LINGER, and
    /// close-on-exec.
    fn from(stream: std::os::unix::net::UnixStream) -> Socket {
        from_any(socket2::Socket::from(stream))
    }
}

#[cfg(unix)]
impl TryFrom<std::os::fd::OwnedFd> for Socket {
    type Error = io::Error;

    /// Takes over a connection that another program has handed on; it is made blocking, without timeouts of its own and
    /// without SO_LINGER, and is not passed on to programs that are started (close-on-exec).
    ///
    /// # Errors
    /// `ERR_INVALID_FD_TYPE` if it is no TCP or Unix stream socket. `getpeername ENOTCONN`, of kind `NotConnected`, if
    /// it is one and has no peer: it was never connected, or its connect is still under way. The descriptor is closed
    /// then. A connection that the peer has reset is taken, and its first read says so.
    fn try_from(descriptor: std::os::fd::OwnedFd) -> io::Result<Socket> {
        let socket = socket2::Socket::from(descriptor);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM);
        if !is_stream || !socket.local_addr().is_ok_and(|address| Address::of(&address).is_some()) {
            return Err(wrong_type().into());
        }
        let has_peer = socket.peer_addr().map(drop);
        let is_listener = sys::is_listener(&socket).unwrap_or(false);
        // Nothing is set before it is known to be one: others may have a listener too.
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

/// Whether a socket without a peer had one once: one that was reset has its error, or its end, to be read.
#[cfg(unix)]
fn was_connected(socket: &Socket) -> bool {
    match socket.available() {
        Ok(there_is) => there_is.is_some(),
        // Linux says so of a Unix socket that has no peer.
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::InvalidInput),
    }
}

/// A stream socket of either kind.
fn from_any(socket: socket2::Socket) -> Socket {
    settled(taken(socket))
}

/// The same, in the mode that it was left in. getpeername(2) fails once the peer has reset the connection: the address
/// is not known any more then.
fn taken(socket: socket2::Socket) -> Socket {
    // If it was inherited, it would be passed on. A socket can always be kept back.
    let _ = sys::close_on_exec(&socket);
    let address = |found: io::Result<socket2::SockAddr>| {
        let found = found.ok().and_then(|found| Address::of(&found));
        found.unwrap_or_else(|| std::net::SocketAddr::from(([0; 4], 0)).into())
    };
    let addresses = (address(socket.local_addr()), address(socket.peer_addr()));
    let settings = Settings { no_delay: socket.tcp_nodelay().unwrap_or(false), ..Settings::UNKNOWN };
    // std's type for a stream: its calls are recv(2), send(2) and shutdown(2), which serve both kinds.
    let stream = TcpStream::from(socket);
    Socket::new(stream, addresses, Options { settings, ..Options::default() }, Reporter::default(), None)
}

/// Takes off what a giver may have left.
fn settled(socket: Socket) -> Socket {
    if let Ok(stream) = socket.connection.stream("read") {
        plain(&stream);
        // Closing would wait, or reset the connection.
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

/// std's traits for a handle, and for a reference to one.
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
            /// Writes all of `data` and returns its length. It is less only if an error came between, which the next
            /// call meets.
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

            /// Nothing is held back: an error only if the socket is closed.
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
