//! A server: the handle to it.

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
/// It listens from the moment [`listen`](Server::listen) has returned. Then either [`serve`](Server::serve) its
/// connections, each on a thread of its own, or take them one by one with [`accept`](Server::accept).
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
/// Clones are handles to the same server. While it is served it lives until [`close`](Server::close); otherwise the
/// last handle to be dropped closes it, and [`shutdown_on_drop`](Server::shutdown_on_drop) gives one that ends it in
/// any case. Connections live on without it.
#[derive(Clone)]
#[doc(alias = "TcpListener")]
#[doc(alias = "UnixListener")]
pub struct Server {
    pub(crate) inner: Arc<Listener>,
}

impl Server {
    /// Listens with the default options; see [`ServerOptions::listen`].
    ///
    /// # Errors
    /// Those of `ServerOptions::listen`.
    #[doc(alias = "createServer")]
    pub fn listen(at: impl Into<Endpoint>) -> io::Result<Server> {
        ServerOptions::new().listen(at)
    }

    /// Calls `handler` with each connection, each on a thread of its own, at the same time. Blocks until the server is
    /// closed and all of it has ended: the last handler has returned, the last connection is closed, those that
    /// [`accept`](Server::accept) had given out before included, and nothing [lingers](ServerOptions::lingering_close)
    /// any more. The calling thread is the first to serve.
    ///
    /// The handler may borrow from the caller. On a thread of a [`std::thread::scope`] the scope waits for it, also
    /// when the scope's closure has returned an error or panicked: there,
    /// [`shutdown_on_drop`](Server::shutdown_on_drop) ends the server on every path.
    ///
    /// When the handler returns, its connection ends: first the slot is free, then the peer sees our end, then the
    /// thread accepts again; what the peer still sends is thrown away on another thread for at most
    /// [`lingering_close`](ServerOptions::lingering_close). When the handler returns an error, the connection is
    /// destroyed and the error reported. When it panics, the same; no other connection is harmed, as long as the
    /// program is not built with `panic = "abort"`. Clones of the socket that outlive the handler are closed sockets.
    ///
    /// A thread serves one connection after the other: what a handler leaves in a `thread_local!` is there for the next
    /// client. Keep it in variables of the handler, or clear it by a value whose `Drop` does so.
    ///
    /// An error of another crate, or of a `parse()`, becomes the handler's by [`io::Error::other`]:
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
    /// Passing errors of accept(2), a shortage of descriptors, memory or threads end nothing: they are reported, and
    /// after a pause it goes on.
    ///
    /// | accept(2) says | what is done |
    /// |---|---|
    /// | interrupted by a signal | again |
    /// | `EAGAIN` after a wait, as with a receive timeout | again |
    /// | `EAGAIN` at once, as with `O_NONBLOCK` | again after 2 to 16 ms |
    /// | `ECONNABORTED`, `ECONNRESET`: the client is gone again | again; after sixteen in a row as in the last row |
    /// | `EINVAL`, `EBADF`, `ENOTSOCK` | the server is closed, and this returns the error |
    /// | anything else: `EMFILE`, `ENFILE`, `ENOMEM`, `ENOBUFS`, `EPERM`, `EPROTO`, … | reported once, again after 5 ms to 1 s |
    ///
    /// # Errors
    /// `ERR_SERVER_ALREADY_LISTEN` if the server is being served already. `accept` with `EINVAL`, `EBADF` or `ENOTSOCK`
    /// if the listening socket has become useless, as when the giver of an adopted one has shut it down: the server is
    /// closed then. `WouldBlock` never.
    pub fn serve(&self, handler: impl Fn(&Socket) -> io::Result<()> + Sync) -> io::Result<()> {
        self.claim()?;
        self.serve_claimed(&handler, &Hooks::default())
    }

    /// As [`serve`](Server::serve), on a thread of its own.
    ///
    /// # Errors
    /// `ERR_SERVER_ALREADY_LISTEN` if the server is being served already. The thread cannot be started. What `serve`
    /// returns, [`Running::join`] gives.
    pub fn spawn(&self, handler: impl Fn(&Socket) -> io::Result<()> + Send + Sync + 'static) -> io::Result<Running> {
        self.claim()?;
        let server = self.clone();
        self.start(move || server.serve_claimed(&handler, &Hooks::default()))
    }

    /// Claims the server for one who serves it.
    pub(crate) fn claim(&self) -> io::Result<()> {
        // What it acts for must be known to those who wait for the server.
        acts_for()?;
        if self.inner.registry.gate.claim() { Ok(()) } else { Err(served_already()) }
    }

    /// Serves on a thread of its own what is claimed; if none can be started, the server is free again.
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

    /// Waits for a client and gives its connection, which counts as open until it is closed: destroyed, or its last
    /// handle dropped. `None` once the server is closed, from any thread. Blocks until a client comes; several threads
    /// may wait, and each client goes to one of them. Where a [PROXY header](ServerOptions::proxy_protocol) is asked
    /// for, it is read here, and the call blocks for that too, beyond the server's close if need be; so let several
    /// threads wait, or [`serve`](Server::serve).
    ///
    /// Clients above the limit are refused here as in [`serve`](Server::serve), and passing errors are dealt with as
    /// there, so `while let Some(socket) = server.accept()?` is a correct server.
    ///
    /// # Errors
    /// `ERR_SERVER_ALREADY_LISTEN` if the server is being served: its clients go to the handler. `accept` with
    /// `EINVAL`, `EBADF` or `ENOTSOCK` if the listening socket has become useless; the server is closed then.
    pub fn accept(&self) -> io::Result<Option<Socket>> {
        accept::accept(&self.inner, &Caller::patient())
    }

    /// The next client if one waits, as std's `try_recv` gives the next message. It does not block, unless a
    /// [filter](ServerOptions::filter) does. `None` once the server is closed. Otherwise as [`accept`](Server::accept).
    ///
    /// A client whose [PROXY header](ServerOptions::proxy_protocol) has not arrived is kept for the next call, with its
    /// slot and its time for the header.
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
    /// `WouldBlock`, `accept EAGAIN`, if no client waits, if another thread is accepting, if the server is full and
    /// clients [wait](crate::net::WhenFull::Wait) for a slot, if accepting fails for the time being, or if the first
    /// sixteen clients that wait are refused. `ERR_NOT_SUPPORTED` on an [adopted](ServerOptions::adopt) listener, whose
    /// settings belong to its giver. Those of `accept`.
    pub fn try_accept(&self) -> io::Result<Option<Socket>> {
        accept::accept(&self.inner, &Caller::impatient())
    }

    /// As [`accept`](Server::accept), for `time` at most, whatever it waits for: another thread that accepts, a slot, a
    /// client, its PROXY header. A client that is refused does not begin the time anew. Zero looks once, as std's
    /// `recv_timeout` does; a time that is too long for the clock is none.
    ///
    /// No client is lost when the time is over: one that has not been accepted waits in the
    /// [backlog](ServerOptions::backlog), and one whose PROXY header is not complete, or that has no slot because the
    /// limit was lowered before that, is kept for the next call. [`close`](Server::close) refuses those that are kept.
    ///
    /// Several threads may wait, with times or without. Blocked calls end when the server is closed: with `None`, from
    /// any thread.
    ///
    /// From the first call with a time on, each connection costs one more system call on Linux, which takes the time
    /// off the accepted socket. Other systems know no time for accept(2): there the call looks every 2 to 16 ms.
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
    /// `TimedOut`, `ERR_SOCKET_TIMEOUT`, if no client came in time; the next call goes on. `ERR_NOT_SUPPORTED` on an
    /// [adopted](ServerOptions::adopt) listener, whose settings belong to its giver. Those of `accept`.
    pub fn accept_timeout(&self, time: Duration) -> io::Result<Option<Socket>> {
        accept::accept(&self.inner, &Caller::with_time(time))
    }

    /// Where the server listens, with the port the system chose. Captured when it began to listen, and kept after.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Whether the server has not been closed.
    #[doc(alias = "listening")]
    pub fn is_listening(&self) -> bool {
        !self.inner.is_closing()
    }

    /// How many connections are open at this instant: admitted, and not closed yet. Refused clients never count, but
    /// those do whose [PROXY header](ServerOptions::proxy_protocol) is awaited. Of a server that
    /// [shares](ServerOptions::shared_limit) its limit these are its own.
    #[doc(alias = "getConnections")]
    pub fn connections(&self) -> usize {
        self.inner.registry.slots.taken()
    }

    /// How many connections may be open at once.
    #[doc(alias = "maxConnections")]
    pub fn max_connections(&self) -> usize {
        self.inner.registry.slots.limit()
    }

    /// Changes how many connections may be open at once, from the next client on. Lowering it closes no connection; 0
    /// lets nobody in; `None`, and anything above it, is as many as the system has threads for. Default: 10,000, or
    /// what [`max_connections`](super::ServerOptions::max_connections) says.
    ///
    /// Where the limit is [shared](ServerOptions::shared_limit), it changes for all that share it, as by
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

    /// The connections that are open at this instant, in the order they came. These handles keep them open: dropping
    /// the last one of a connection closes it.
    ///
    /// [`connections`](Self::connections) counts a client when it gets its slot, a moment before it is listed here. A
    /// program that sends to all and must leave out none waits for the length of this list, and not for the count.
    pub fn sockets(&self) -> Vec<Socket> {
        let mut sockets = Vec::new();
        for open in self.inner.registry.open(&[]) {
            if let Some(connection) = open.upgrade() {
                sockets.push(Socket { connection });
            }
        }
        sockets
    }

    /// How many clients the kernel has connected and no thread has accepted yet, those in the
    /// [backlog](crate::net::ServerOptions::backlog). On Linux, from /proc/net/tcp and tcp6; `None` elsewhere, where
    /// /proc is not to be read, of a Unix socket, and once closed.
    ///
    /// It takes reading a table of all sockets, so once a second is often enough; `close` does not wait for that. A
    /// number that stays up says that accepting does not keep up, or waits: for a slot
    /// ([`WhenFull::Wait`](crate::net::WhenFull::Wait)), or for a descriptor.
    pub fn queued(&self) -> Option<usize> {
        // By its number alone, without a lock or the listener itself: a `close` meanwhile frees the port at once.
        let inode = self.inner.inode.filter(|_| self.is_listening())?;
        // A listener on an IPv4 address may be a socket of IPv6.
        let row = sys::table_row(inode, "tcp", usize::MAX).or_else(|| sys::table_row(inode, "tcp6", usize::MAX))?;
        // The column is tx_queue:rx_queue, in hexadecimal; of a listener the second is the length of its queue.
        let (_, queued) = row.split_whitespace().nth(4)?.split_once(':')?;
        usize::from_str_radix(queued, 16).ok()
    }

    /// Calls `f` with the descriptor of the listener, borrowed, for what landline has no call for. It is `AsFd`, on
    /// Windows `AsSocket`, as crates of system calls expect. It gives what `f` returns. No lock is held.
    ///
    /// A [`close`](Self::close) in another thread, or in `f`, does not wait for `f`: it shuts the listener down, which
    /// frees the port on Linux, and the descriptor is closed when `f` returns. Elsewhere, and for an
    /// [adopted](ServerOptions::adopt) listener, the address is in use until then.
    ///
    /// What `f` changes is for the caller to answer for:
    /// - `O_NONBLOCK` and `SO_RCVTIMEO`, which [`try_accept`](Self::try_accept) and
    ///   [`accept_timeout`](Self::accept_timeout) set too: a listener that does not block is looked at every 2 to 16
    ///   ms;
    /// - settings that accepted connections inherit, such as `SO_LINGER`: clients that are connected already keep
    ///   theirs;
    /// - `shutdown(2)`, which ends accepting: the server is closed then, and [`serve`](Self::serve) returns the error;
    /// - accept(2): such a client is none of the server's.
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
    /// `NotConnected`, `ERR_SERVER_NOT_RUNNING`, once the server is closed; `f` is not called then. What `f` returns is
    /// no error of this call: where it is a `Result`, `??` gives both.
    #[doc(alias = "as_fd")]
    #[doc(alias = "as_raw_fd")]
    pub fn with_raw<R>(&self, f: impl FnOnce(sys::BorrowedHandle<'_>) -> R) -> io::Result<R> {
        let not_running =
            || Error::fixed(io::ErrorKind::NotConnected, "ERR_SERVER_NOT_RUNNING", "Server is not running.");
        let listener = self.inner.listener().ok_or_else(not_running)?;
        Ok(f(sys::borrow(&*listener)))
    }

    /// The server's accounts.
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
