//! The handle to a server.

pub(crate) mod accept;
pub(crate) mod admission;
pub(crate) mod arrival;
pub(crate) mod callbacks;
#[cfg(feature = "channel")]
pub(crate) mod channel;
pub(crate) mod filter;
pub(crate) mod guard;
pub(crate) mod idle;
pub(crate) mod kept;
pub(crate) mod listen;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod patience;
pub(crate) mod refuse;
pub(crate) mod registry;
pub(crate) mod shortage;
pub(crate) mod shutdown;
pub(crate) mod told;
pub(crate) mod wake;
pub(crate) mod workers;

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::address::Address;
use crate::callback::acts_for;
use crate::endpoint::Endpoint;
use crate::error::{Cause, Error};
use crate::net::server::listener::Listener;
use crate::net::server::options::ServerOptions;
use crate::net::server::patience::Caller;
use crate::net::server::refuse::Hooks;
use crate::net::server::registry::Stats;
use crate::net::socket::Socket;
use crate::sys;
use crate::thread::{Running, ThreadOptions};

/// A TCP server: a listening socket, and a thread for each connection.
///
/// When [`listen`](Server::listen) returns, the server is listening. Then there are two ways to use it:
/// [`serve`](Server::serve) runs a handler for each connection, each on its own thread. [`accept`](Server::accept)
/// returns connections one by one.
///
/// ```
/// use landline::net::{Server, Socket};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let serving = server.spawn(|socket| socket.write_end("hello\n"))?;
///
/// let hello = std::io::read_to_string(Socket::connect(server.address())?)?;
/// assert_eq!(hello, "hello\n");
///
/// server.close();
/// serving.join()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Clones are handles to the same server. While [`serve`](Server::serve) or a similar call runs, the server runs until
/// [`close`](Server::close). Otherwise dropping the last handle closes it.
/// [`shutdown_on_drop`](Server::shutdown_on_drop) returns a guard that shuts the server down when it is dropped, even
/// after an early return or a panic. Open connections continue to work without the server.
#[derive(Clone)]
#[doc(alias = "TcpListener")]
#[doc(alias = "UnixListener")]
pub struct Server {
    pub(crate) inner: Arc<Listener>,
}

impl Server {
    /// Listens with the default options. See [`ServerOptions::listen`].
    ///
    /// # Errors
    /// Those of `ServerOptions::listen`.
    #[doc(alias = "createServer")]
    pub fn listen(at: impl Into<Endpoint>) -> io::Result<Server> {
        ServerOptions::new().listen(at)
    }

    /// Calls `handler` with each connection, each on its own thread. The calling thread is the first of these threads.
    ///
    /// Blocks until the server is closed and all of this is true:
    /// - the last handler has returned,
    /// - the last connection is closed, including those from [`accept`](Server::accept),
    /// - no connection [lingers](ServerOptions::lingering_close).
    ///
    /// The handler may borrow from the caller. If `serve` runs on a thread of a [`std::thread::scope`], the scope waits
    /// for it, even if the scope's closure returns an error or panics. Use
    /// [`shutdown_on_drop`](Server::shutdown_on_drop) there, so that the server is shut down in each case.
    ///
    /// When the handler returns `Ok`:
    /// - What is queued in the connection's [outbox](crate::net::Socket::outbox) is written. Until then, the connection
    ///   keeps its slot and its thread.
    /// - The connection no longer counts towards [`max_connections`](ServerOptions::max_connections), and our direction
    ///   ends: the peer reads the end of the stream.
    /// - The thread accepts the next client. A different thread discards what the peer still sends, for at most
    ///   [`lingering_close`](ServerOptions::lingering_close).
    /// - Clones of the socket are closed too.
    ///
    /// When the handler returns an error or panics, the connection is destroyed and the error is reported. Other
    /// connections are not affected, unless the program is built with `panic = "abort"`.
    ///
    /// One thread serves many connections, one after another, so a value in a `thread_local!` is still there for the
    /// next client. Keep a client's state in local variables of the handler, or clear it in the `Drop` of such a
    /// variable.
    ///
    /// To return an error of a different crate, or of `parse()`, from the handler, convert it with
    /// [`io::Error::other`]:
    ///
    /// ```
    /// use std::io;
    /// use landline::net::Server;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| {
    ///     let number: u32 = io::read_to_string(socket)?.trim().parse().map_err(io::Error::other)?;
    ///     socket.write_end(format!("{}\n", number / 2))
    /// })?;
    /// # let client = landline::net::Socket::connect(server.address())?;
    /// # client.write_end("42\n")?;
    /// # assert_eq!(io::read_to_string(&client)?, "21\n");
    /// # server.close();
    /// # serving.join()?;
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// Transient errors of accept(2), and a shortage of descriptors, memory or threads, do not stop the server. They
    /// are reported, and the server accepts again after a pause.
    ///
    /// | accept(2) returns | what the server does |
    /// |---|---|
    /// | interrupted by a signal | retries |
    /// | `EAGAIN` after a wait, as with a receive timeout | retries |
    /// | `EAGAIN` at once, as with `O_NONBLOCK` | retries after 2 to 16 ms |
    /// | `ECONNABORTED`, `ECONNRESET`: the client is gone again | retries; after sixteen in a row, as in the last row |
    /// | `EINVAL`, `EBADF`, `ENOTSOCK` | closes, and this call returns the error |
    /// | anything else, such as `EMFILE`, `ENFILE`, `ENOMEM`, `EPERM` | reports it once, retries after 5 ms to 1 s |
    ///
    /// # Errors
    /// - `ERR_SERVER_ALREADY_LISTEN` if `serve` or a similar call already takes the server's clients.
    /// - `accept` with `EINVAL`, `EBADF` or `ENOTSOCK` if the listening socket no longer works, for instance because
    ///   the process that passed it has shut it down. The server is closed then.
    ///
    /// Never `WouldBlock`.
    pub fn serve(&self, handler: impl Fn(&Socket) -> io::Result<()> + Sync) -> io::Result<()> {
        self.claim()?;
        self.serve_claimed(&handler, &Hooks::default())
    }

    /// Runs [`serve`](Server::serve) on a new thread. [`Running::join`] returns its result.
    ///
    /// # Errors
    /// - `ERR_SERVER_ALREADY_LISTEN` if `serve` or a similar call already takes the server's clients.
    /// - The system's error if the thread cannot be started.
    pub fn spawn(&self, handler: impl Fn(&Socket) -> io::Result<()> + Send + Sync + 'static) -> io::Result<Running> {
        self.claim()?;
        let server = self.clone();
        self.start(move || server.serve_claimed(&handler, &Hooks::default()))
    }

    /// Claims the server for a caller that will serve it.
    pub(crate) fn claim(&self) -> io::Result<()> {
        // Fails if handlers are nested too deep, because `wait` could not know which connections this thread acts for.
        acts_for()?;
        if self.inner.registry.gate.claim() { Ok(()) } else { Err(served_already()) }
    }

    /// Runs `serve` on a new thread. The server must be claimed before. If the thread cannot start, the claim is
    /// released.
    pub(crate) fn start(&self, serve: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<Running> {
        let registry = &self.inner.registry;
        let ThreadOptions { thread_name, stack_size } = &self.inner.options.threads;
        let name = format!("{thread_name} serve {}", self.address());
        let inner = Arc::downgrade(&self.inner);
        let close = move || {
            if let Some(inner) = inner.upgrade() {
                inner.close();
            }
        };
        Running::start(name, *stack_size, registry.identity(), close, serve).inspect_err(|_| registry.gate.unclaim())
    }

    pub(crate) fn serve_claimed(
        &self,
        handler: &(dyn Fn(&Socket) -> io::Result<()> + Sync),
        hooks: &Hooks<'_>,
    ) -> io::Result<()> {
        let served = workers::serve(&self.inner, handler, hooks);
        served.and(self.wait())
    }

    /// Waits for a client and returns its connection. Returns `None` once any thread has closed the server. The
    /// connection counts as open until it is destroyed or its last handle is dropped.
    ///
    /// Blocks until a client connects. Several threads may wait, and each client goes to one of them. If a [PROXY
    /// header](ServerOptions::proxy_protocol) is expected, this call also blocks until the header has arrived, even
    /// after the server is closed. In that case call `accept` on several threads, or use [`serve`](Server::serve).
    ///
    /// Clients above the limit are refused, and transient errors are handled as in [`serve`](Server::serve). So
    /// `while let Some(socket) = server.accept()?` is a correct server.
    ///
    /// # Errors
    /// - `ERR_SERVER_ALREADY_LISTEN` while `serve` or a similar call takes the server's clients.
    /// - `accept` with `EINVAL`, `EBADF` or `ENOTSOCK` if the listening socket no longer works. The server is closed
    ///   then.
    pub fn accept(&self) -> io::Result<Option<Socket>> {
        accept::accept(&self.inner, &Caller::patient())
    }

    /// Returns the next connection if a client is waiting, without blocking, like std's `try_recv`. Returns `None` once
    /// the server is closed. Blocks only if a [filter](ServerOptions::filter) blocks, or as below. Otherwise it is like
    /// [`accept`](Server::accept).
    ///
    /// If the [PROXY header](ServerOptions::proxy_protocol) of a client has not arrived, the client is kept for the
    /// next call. A kept client counts towards the limit, and the time for its header continues. If another thread
    /// begins to serve during this call, there is no next call. Then this call waits for the header of a kept client.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::io::ErrorKind;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// assert_eq!(server.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    ///
    /// let client = Socket::connect(server.address())?;
    /// let socket = server.try_accept()?.expect("the server is open");
    /// assert_eq!(socket.remote_address(), client.local_address());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// - `accept EAGAIN`, of kind `WouldBlock`, in these cases: no client is waiting, another thread is accepting,
    ///   accepting fails at present, sixteen clients in a row were refused, or the server is full and
    ///   [`WhenFull::Wait`](crate::net::WhenFull::Wait) makes clients wait.
    /// - `ERR_NOT_SUPPORTED` on an [adopted](ServerOptions::adopt) listener, because its settings belong to the program
    ///   that passed it.
    /// - Those of `accept`.
    pub fn try_accept(&self) -> io::Result<Option<Socket>> {
        accept::accept(&self.inner, &Caller::impatient())
    }

    /// Waits for a client like [`accept`](Server::accept), but for at most `time` in all. The time covers every wait:
    /// for another thread that is accepting, for a free slot on a full server, for a client and for its PROXY header.
    /// Refusing a client does not restart the time. With zero, the call checks once, like std's `recv_timeout`. If
    /// `time` is too long for the clock, there is no limit.
    ///
    /// No client is lost when the time expires. A client that was not accepted stays in the
    /// [backlog](ServerOptions::backlog). An accepted client is kept for the next call if its PROXY header is
    /// incomplete, or if the limit was just lowered below the number of connections. A call that is waiting at that
    /// moment may return the kept client too, but not a call of `accept` that has blocked since before the first call
    /// with a time. [`close`](Server::close) refuses clients that are kept. If another thread begins to serve during
    /// the call, there is no next call. Then this call waits for the header of a kept client, which may take longer
    /// than `time`.
    ///
    /// Several threads may wait, with or without a time. When any thread closes the server, blocked calls return
    /// `None`.
    ///
    /// On Linux the timeout is set on the listening socket. So after the first such call, each accepted connection
    /// costs one more system call, which removes the inherited timeout. Other systems have no timeout for accept(2), so
    /// the call polls every 2 to 16 ms.
    ///
    /// ```
    /// use landline::net::Server;
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let error = server.accept_timeout(Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// - `ERR_SOCKET_TIMEOUT`, of kind `TimedOut`, if no client came in time. Call again to wait longer.
    /// - `ERR_NOT_SUPPORTED` on an [adopted](ServerOptions::adopt) listener, because its settings belong to the program
    ///   that passed it.
    /// - Those of `accept`.
    pub fn accept_timeout(&self, time: Duration) -> io::Result<Option<Socket>> {
        accept::accept(&self.inner, &Caller::with_time(time))
    }

    /// The address that the server listens on, with the port that the system chose. It stays available after the server
    /// is closed.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Whether the server is listening: it is not closed yet.
    #[doc(alias = "listening")]
    pub fn is_listening(&self) -> bool {
        !self.inner.is_closing()
    }

    /// How many connections are open now: admitted, and not closed yet. Refused clients do not count. Clients whose
    /// [PROXY header](ServerOptions::proxy_protocol) has not arrived yet count too. If the limit is
    /// [shared](ServerOptions::shared_limit), only the connections of this server count.
    #[doc(alias = "getConnections")]
    pub fn connections(&self) -> usize {
        self.inner.registry.slots.taken()
    }

    /// How many connections may be open at once.
    #[doc(alias = "maxConnections")]
    pub fn max_connections(&self) -> usize {
        self.inner.registry.slots.limit()
    }

    /// Sets how many connections may be open at once, from the next client on. Lowering the limit closes no connection.
    /// With 0, every client is refused. With [`WhenFull::Wait`](crate::net::WhenFull::Wait), clients wait until the
    /// limit is raised or the server is closed. `None` allows as many connections as the system has threads for. A
    /// number larger than that has the same effect. Default: 10,000, or what
    /// [`max_connections`](super::ServerOptions::max_connections) says.
    ///
    /// If the limit is [shared](ServerOptions::shared_limit), it changes for all its users, as with
    /// [`Limit::set_max`](crate::Limit::set_max).
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// server.set_max_connections(3);
    /// let counted = server.clone();
    /// let serving = server.spawn(move |socket| socket.write_end(format!("{} connected", counted.connections())))?;
    ///
    /// assert_eq!(std::io::read_to_string(Socket::connect(server.address())?)?, "1 connected");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "maxConnections")]
    pub fn set_max_connections(&self, max: impl Into<Option<usize>>) {
        let ceiling = sys::thread_ceiling();
        self.inner.registry.slots.set_limit(max.into().map_or(ceiling, |max| max.min(ceiling)));
    }

    /// Returns handles to the connections that are open now, oldest first. A handle keeps its connection open. Dropping
    /// the last handle of a connection closes it.
    ///
    /// [`connections`](Self::connections) counts a client a moment before this list contains it. So a program that must
    /// send to every client should wait until this list has the expected length.
    pub fn sockets(&self) -> Vec<Socket> {
        let mut sockets = Vec::new();
        for open in self.inner.registry.open(&[]) {
            if let Some(connection) = open.upgrade() {
                sockets.push(Socket { connection });
            }
        }
        sockets
    }

    /// How many clients are in the [backlog](crate::net::ServerOptions::backlog): the kernel has connected them, and no
    /// thread has accepted them yet. Works on Linux, where it reads /proc/net/tcp and tcp6. `None` on other systems, if
    /// /proc cannot be read, for a Unix socket, and once the server is closed.
    ///
    /// Each call reads a table of every socket on the machine, so do not call it more often than about once a second.
    /// `close` does not wait for such a call. If the number stays high, accepting is too slow, the server is full
    /// ([`WhenFull::Wait`](crate::net::WhenFull::Wait)), or no descriptor is free.
    pub fn queued(&self) -> Option<usize> {
        // Uses the inode alone, without a lock or the listener itself, so that a `close` during it frees the port at
        // once.
        let inode = self.inner.inode.filter(|_| self.is_listening())?;
        // A listener on an IPv4 address may be an IPv6 socket.
        let row = sys::table_row(inode, "tcp", usize::MAX).or_else(|| sys::table_row(inode, "tcp6", usize::MAX))?;
        // The column is tx_queue:rx_queue in hexadecimal. For a listener, rx_queue is the length of its queue.
        let (_, queued) = row.split_whitespace().nth(4)?.split_once(':')?;
        usize::from_str_radix(queued, 16).ok()
    }

    /// Calls `f` with the borrowed descriptor of the listener, and returns what `f` returns. Use it for settings that
    /// landline has no call for. The descriptor implements `AsFd`, on Windows `AsSocket`. Crates for system calls take
    /// these. No lock is held.
    ///
    /// The descriptor stays valid while `f` runs. If another thread, or `f` itself, calls [`close`](Self::close), the
    /// listener is shut down at once, and the descriptor is closed when `f` returns. On Linux the shutdown frees the
    /// port. On other systems, and for an [adopted](ServerOptions::adopt) listener, the address stays in use until `f`
    /// returns.
    ///
    /// The caller is responsible for what `f` changes:
    /// - `O_NONBLOCK` and `SO_RCVTIMEO`: [`try_accept`](Self::try_accept) and [`accept_timeout`](Self::accept_timeout)
    ///   change them too. A non-blocking listener is polled every 2 to 16 ms.
    /// - Settings that accepted connections inherit, such as `SO_LINGER`: connections that exist already keep their old
    ///   value.
    /// - `shutdown(2)`: the server is closed, and [`serve`](Self::serve) returns the error.
    /// - accept(2): a client that `f` accepts is unknown to the server.
    ///
    /// ```
    /// use landline::net::Server;
    /// use socket2::SockRef;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// assert!(server.with_raw(|fd| SockRef::from(&fd).reuse_address())??);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ERR_SERVER_NOT_RUNNING`, of kind `NotConnected`, once the server is closed. In that case `f` is not called. If
    /// `f` returns a `Result`, it is nested inside the result of `with_raw`, and `??` unwraps both.
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let not_running =
            || Error::fixed(io::ErrorKind::NotConnected, "ERR_SERVER_NOT_RUNNING", "Server is not running.");
        let listener = self.inner.listener().ok_or_else(not_running)?;
        Ok(f(sys::borrow(&*listener)))
    }

    /// Returns the server's counters.
    pub fn stats(&self) -> Stats {
        self.inner.registry.stats()
    }
}

pub(crate) fn served_already() -> io::Error {
    let text = "This server is being served already";
    Error::of_cause(Cause::AlreadyListen, text).into()
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_listening() { "listening" } else { "closed" };
        write!(f, "Server({} {state}, {} open)", self.address(), self.connections())
    }
}
