use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::{Address, Endpoint, Target, resolve};
use crate::block_list::BlockList;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::net::proxy::{self, Trusted};
use crate::net::server::accept::Shortage;
use crate::net::server::goodbye::{self, Goodbyes};
use crate::net::server::limit::Slots;
use crate::net::server::per_address::Addresses;
use crate::net::server::registry::Ledger;
use crate::net::server::reject::WhenFull;
use crate::net::server::{Inner, Server};
use crate::net::socket::keep_alive::KeepAlive;
use crate::net::socket::linger::LINGER;
use crate::net::socket::rate::MinRate;
use crate::net::socket::stream;
use crate::net::socket::stream::Options;
use crate::net::unix::{self, SocketFile};
use crate::report::{Report, Reporter};
use crate::running::{NAME, check_name};
use crate::sys;

/// How to listen: options for a [`Server`], then [`listen`](ServerOptions::listen).
///
/// ```
/// use landline::net::ServerOptions;
///
/// let server = ServerOptions::new().max_connections(100).report(|r| eprintln!("{r}")).listen("127.0.0.1:0")?;
/// assert_eq!(server.max_connections(), 100);
/// # Ok::<(), landline::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ServerOptions {
    max_connections: Limit,
    pub(crate) when_full: WhenFull,
    pub(crate) block_list: Option<BlockList>,
    max_per_address: Option<usize>,
    pub(crate) trusted: Option<Trusted>,
    pub(crate) proxy_timeout: Option<Duration>,
    pub(crate) backlog: u32,
    pub(crate) answer_queued: bool,
    ipv6_only: bool,
    reuse_address: bool,
    reuse_port: bool,
    readable_all: bool,
    writable_all: bool,
    pub(crate) connection: Options,
    pub(crate) linger: Duration,
    pub(crate) stack_size: Option<usize>,
    pub(crate) thread_name: Cow<'static, str>,
    reporter: Reporter,
    cancel: Option<Cancel>,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Default,
    Ceiling,
    Of(usize),
}

/// The fewest bytes of stack a thread gets: with less, the printing of a panic overflows it and ends the process.
const SMALLEST_STACK: usize = 64 * 1024;

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions::new()
    }
}

impl ServerOptions {
    /// The defaults, as each option names its own.
    pub fn new() -> ServerOptions {
        ServerOptions {
            max_connections: Limit::Default,
            when_full: WhenFull::default(),
            block_list: None,
            max_per_address: None,
            trusted: None,
            proxy_timeout: Some(proxy::TIMEOUT),
            backlog: 4096,
            answer_queued: false,
            ipv6_only: false,
            reuse_address: true,
            reuse_port: false,
            readable_all: false,
            writable_all: false,
            connection: Options::default(),
            linger: LINGER,
            stack_size: None,
            thread_name: NAME.into(),
            reporter: Reporter::default(),
            cancel: None,
        }
    }

    /// How many connections may be open at once; 0 lets nobody in, `None` allows as many as the system has threads for.
    /// Default: 10,000, or 64 less than the limit of descriptors (`ulimit -n`) if that is lower; with [`WhenFull::Reply`]
    /// also less what its goodbyes may take.
    ///
    /// More than the threads of one process, on Linux a quarter of `vm.max_map_count` less 1,000, is an error.
    #[doc(alias = "maxConnections")]
    pub fn max_connections(mut self, max: impl Into<Option<usize>>) -> ServerOptions {
        self.max_connections = max.into().map_or(Limit::Ceiling, Limit::Of);
        self
    }

    /// Clients whose address is on this list are closed as soon as they are accepted, whether there is room or not.
    /// They are counted in [`Stats`](crate::net::Stats) and reported, and nobody else is told. The rules may be changed
    /// while the server runs. Default: an empty list.
    pub fn block_list(self, list: &BlockList) -> ServerOptions {
        ServerOptions { block_list: Some(list.clone()), ..self }
    }

    /// What a client gets that comes when the server is full. Default: [`WhenFull::Refuse`].
    pub fn when_full(self, when_full: WhenFull) -> ServerOptions {
        ServerOptions { when_full, ..self }
    }

    /// How many connections may be open at once from one address: one of IPv4, in whichever form it comes, or the /64
    /// of an IPv6 address, which one customer of a provider has all of. A client above that is refused, whether there
    /// is room or not and whatever [`when_full`](ServerOptions::when_full) says; with [`WhenFull::Reply`] it is told
    /// so. All hosts of one IPv6 network count as one, then, and so do all that use link-local addresses. 0 refuses
    /// everybody; Unix sockets have no addresses to limit. It takes memory for the addresses that are connected, and
    /// for no others. Default: none, as many as there is room for.
    pub fn max_connections_per_address(self, max: impl Into<Option<usize>>) -> ServerOptions {
        ServerOptions { max_per_address: max.into(), ..self }
    }

    /// How many connections the kernel completes and keeps until they are accepted: listen(2). The system cuts it, Linux
    /// to `net.core.somaxconn`. When it is used up, clients wait a second and longer for their connect. Default: 4096.
    pub fn backlog(self, backlog: u32) -> ServerOptions {
        ServerOptions { backlog, ..self }
    }

    /// Whether [`close`](Server::close) accepts and turns away those clients whom the kernel has connected and nobody
    /// has accepted yet, at most as many as the [backlog](ServerOptions::backlog) holds. With [`WhenFull::Reply`] they
    /// get the goodbye, as many of them as it serves at once. The others see the end, or still `ConnectionReset` if
    /// they have written already. They are reported, on the thread that closes, and counted as refused since the server
    /// was closing, or because a list shuts them out, and those are only closed; the `refused` callback is told only of one whom a thread was accepting just then. `close` blocks
    /// until all are answered; the goodbyes go on after that, so wait for them before the program ends. Not for an
    /// [adopted](ServerOptions::adopt) listener, whose queue belongs to its giver. Default: no, as in Node.
    pub fn answer_queued(self, answer: bool) -> ServerOptions {
        ServerOptions { answer_queued: answer, ..self }
    }

    /// Whether a server on an IPv6 address takes IPv6 clients only: IPV6_V6ONLY. Default: no; `::` takes IPv4 too.
    pub fn ipv6_only(self, only: bool) -> ServerOptions {
        ServerOptions { ipv6_only: only, ..self }
    }

    /// Whether a port can be listened on again while connections of its last server are still in TIME_WAIT: SO_REUSEADDR.
    /// On Windows, where it would let two programs share a port, it is never set. Default: yes.
    pub fn reuse_address(self, reuse: bool) -> ServerOptions {
        ServerOptions { reuse_address: reuse, ..self }
    }

    /// Whether several servers, of several processes too, may listen on the port if all of them ask for it; the kernel
    /// shares the clients out: SO_REUSEPORT. When one of them closes, what waits in its backlog is reset. Unsupported on
    /// Windows. Default: no.
    pub fn reuse_port(self, reuse: bool) -> ServerOptions {
        ServerOptions { reuse_port: reuse, ..self }
    }

    /// Whether everybody may read the file of a Unix socket. Default: no, as the umask says.
    pub fn readable_all(self, all: bool) -> ServerOptions {
        ServerOptions { readable_all: all, ..self }
    }

    /// Whether everybody may write the file of a Unix socket, which is what connecting to it takes. Default: no, as the
    /// umask says.
    pub fn writable_all(self, all: bool) -> ServerOptions {
        ServerOptions { writable_all: all, ..self }
    }

    /// For each connection, see [`Socket::set_no_delay`](crate::net::Socket::set_no_delay). Default: on.
    pub fn no_delay(mut self, on: bool) -> ServerOptions {
        self.connection.settings.no_delay = on;
        self
    }

    /// For each connection, see [`Socket::set_keep_alive`](crate::net::Socket::set_keep_alive). Default: off.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> ServerOptions {
        self.connection.settings.keep_alive = Some(keep_alive.into());
        self
    }

    /// For each connection, see [`Socket::set_user_timeout`](crate::net::Socket::set_user_timeout). A time the system cannot take is an error that names the option.
    /// Default: the system's.
    pub fn user_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.settings.user_timeout = Some(time.into().unwrap_or_default());
        self
    }

    /// For each connection, see [`Socket::set_type_of_service`](crate::net::Socket::set_type_of_service). On a Unix socket it does nothing. Default: 0.
    pub fn type_of_service(mut self, value: u8) -> ServerOptions {
        self.connection.settings.type_of_service = Some(value);
        self
    }

    /// Whether, in [`each`](crate::net::Socket::each) and [`on`](crate::net::Socket::on), our direction stays open after the peer has ended, until
    /// [`end`](crate::net::Socket::end) is called. Blocking reads and writes never end a direction by themselves, and neither does
    /// a [channel](Server::events): there it stays open either way. Default: no.
    ///
    /// ```
    /// use landline::net::{ServerOptions, Socket, SocketEvent};
    /// use std::thread;
    ///
    /// let server = ServerOptions::new().allow_half_open(true).listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| {
    ///     socket.each(|socket, event| {
    ///         if let SocketEvent::End = event {
    ///             let socket = socket.clone(); // its answer comes after this closure has returned
    ///             thread::spawn(move || socket.write_end("you have ended, I have not"));
    ///         }
    ///         Ok(())
    ///     })
    /// })?;
    ///
    /// let client = Socket::connect(server.address())?;
    /// client.end()?;
    /// assert_eq!(client.read_to_string()?, "you have ended, I have not");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn allow_half_open(mut self, allow: bool) -> ServerOptions {
        self.connection.allow_half_open = allow;
        self
    }

    /// Whether each connection starts [paused](crate::net::Socket::pause): its handler, or whoever it hands the socket to, calls
    /// [`resume`](crate::net::Socket::resume). Default: no.
    pub fn pause_on_connect(mut self, pause: bool) -> ServerOptions {
        self.connection.paused = pause;
        self
    }

    /// How many bytes an [outbox](crate::net::Socket::outbox) queues. Default: 1 MiB.
    pub fn outbox_limit(mut self, bytes: usize) -> ServerOptions {
        self.connection.outbox_limit = bytes;
        self
    }

    /// The idle timeout of each connection, see [`Socket::set_timeout`](crate::net::Socket::set_timeout). Default: none.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.timeout = time.into();
        self
    }

    /// The least that the peer has to send while we wait for more, and to take while we write, see
    /// [`Socket::set_min_rate`](crate::net::Socket::set_min_rate). A grace outside its range is an error that names the option. Default: none.
    pub fn min_rate(mut self, bytes_per_second: impl Into<Option<u64>>, grace: Duration) -> ServerOptions {
        self.connection.min_rate = MinRate::new(bytes_per_second.into(), grace);
        self
    }

    /// How long each connection may last in all, what is queued and the [`linger`](Self::linger) time included, see
    /// [`Socket::set_deadline`](crate::net::Socket::set_deadline). Default: without end.
    pub fn deadline(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.deadline = time.into();
        self
    }

    /// How long, when a handler has returned and the peer has not ended, its input is still taken in and thrown away, at
    /// most 1 MiB of it. Closing with input unread would make the kernel send RST, which can destroy the reply on its way.
    /// The slot is free meanwhile; the thread is not. `None` or zero: not at all. Default: 1 s.
    ///
    /// In a [shutdown](Server::shutdown) the peer's end cannot be seen any more. There input is thrown away, and our end held
    /// back, until none has come for 100 ms; not so if none is there and the handler has written nothing since the shutdown
    /// began, as with an idle client.
    pub fn linger(self, time: impl Into<Option<Duration>>) -> ServerOptions {
        ServerOptions { linger: time.into().unwrap_or_default(), ..self }
    }

    /// The stack of each thread the server starts, in bytes, at least 64 KiB. It is address space, not memory: only what
    /// is used is paid for. 128 to 256 KiB do for a handler that keeps its buffers on the heap. Default: std's, 2 MiB.
    pub fn stack_size(self, bytes: usize) -> ServerOptions {
        ServerOptions { stack_size: Some(bytes), ..self }
    }

    /// What the names of the server's threads begin with; behind it they say what each is for, and the server's address.
    /// Linux's tools show the first 15 bytes. Threads that are started by a socket, as an outbox's, keep `landline`. Default:
    /// `landline`, so `landline worker 127.0.0.1:3000`.
    pub fn thread_name(self, name: impl Into<Cow<'static, str>>) -> ServerOptions {
        ServerOptions { thread_name: name.into(), ..self }
    }

    /// Tells `hook` all that happens: see [`Report`]. Default: none.
    pub fn report(self, hook: impl Fn(&Report) + Send + Sync + 'static) -> ServerOptions {
        ServerOptions { reporter: Reporter::new(hook), ..self }
    }

    /// Lets `cancel` close the server, as [`close`](Server::close) does. If it was fired before, the server is closed as
    /// soon as it listens. Default: none.
    #[doc(alias = "signal")]
    pub fn cancel(self, cancel: &Cancel) -> ServerOptions {
        ServerOptions { cancel: Some(cancel.clone()), ..self }
    }

    /// Listens: socket(2), bind(2), listen(2). A bare port listens on every interface, over IPv6 and IPv4, or over IPv4
    /// alone where there is no IPv6; port 0 is the system's choice, which [`Server::address`] tells. A name is looked up,
    /// which may block; its first address that is not link-local counts.
    ///
    /// A path makes a Unix socket, unix(7): its file is made here and removed by `close`. After a crash it is left, and has
    /// to be removed before the next time. On Linux a path that starts with a NUL is an abstract name, without a file.
    ///
    /// # Errors
    /// - `listen EADDRINUSE: address already in use 127.0.0.1:3000`: somebody listens there.
    /// - `listen EADDRNOTAVAIL`: the address is not this machine's. `listen EACCES`: the port is for root (below 1024).
    /// - `getaddrinfo ENOTFOUND host`: the name has no address.
    /// - `listen EADDRINUSE: address already in use /path`: there is a file; `EACCES`: there is no such directory, or it is
    ///   not to be written; `EINVAL`: the path is longer than 107 bytes on Linux, 103 elsewhere.
    /// - `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_VALUE`, `ERR_SOCKET_BAD_PORT`: the option or endpoint that the text names is
    ///   wrong. No socket exists then.
    #[doc(alias = "createServer")]
    #[doc(alias = "bind")]
    pub fn listen(&self, at: impl Into<Endpoint>) -> Result<Server> {
        let limit = self.check()?;
        let (listener, at) = match at.into().target()? {
            Target::Port(port) => {
                let (v6, v4) = (SocketAddr::from(([0; 16], port)), SocketAddr::from(([0; 4], port)));
                match self.open(v6) {
                    Err(error)
                        if !self.ipv6_only && matches!(error.code(), "EAFNOSUPPORT" | "EADDRNOTAVAIL" | "EINVAL") =>
                    {
                        (self.open(v4)?, v4)
                    }
                    listener => (listener?, v6),
                }
            }
            Target::Ip(at) => (self.open(at)?, at),
            Target::Name { host, port } => {
                let found = resolve(&host, port, None)?;
                let at = *found.iter().find(|at| !is_link_local(at)).unwrap_or(&found[0]);
                (self.open(at)?, at)
            }
            Target::Path(path) => return self.listen_on_path(path, limit),
            Target::Invalid(error) => return Err(error),
        };
        let bound = listener.local_addr().map_err(|error| Error::call("listen", &error).at(at))?;
        Ok(self.server(listener, bound.as_socket().unwrap_or(at).into(), None, false, limit))
    }

    fn listen_on_path(&self, path: PathBuf, limit: usize) -> Result<Server> {
        if unix::is_abstract(&path) && (self.readable_all || self.writable_all) {
            let text = "readable_all and writable_all need a file: an abstract name has none";
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text));
        }
        let (listener, file) = unix::listen(&path, self.backlog, (self.readable_all, self.writable_all))?;
        Ok(self.server(listener, path.into(), file, false, limit))
    }

    /// Serves a socket that listens already: a service manager's, a parent process's, one made by hand. It takes a
    /// `TcpListener`, on Unix a `UnixListener` or an `OwnedFd` too. systemd hands its listener over as standard input
    /// (`StandardInput=socket`): adopt a duplicate of that, as the example `systemd` does. For several, as `LISTEN_FDS`
    /// says, there is the crate `listenfd`.
    ///
    /// Its giver may go on using it: [`close`](Server::close) wakes the threads that accept on it by connecting to it, and
    /// closes our descriptor only. A client that is accepted while that goes on is served. If clients come at that very
    /// moment, a call of ours may be left in the queue: whoever accepts next sees a client that ends at once. Our
    /// descriptor is not passed on to programs that are started (close-on-exec). Backlog and address are the
    /// giver's, and so are the options that belong to listening; those of the connections apply.
    ///
    /// # Errors
    /// - `listen EINVAL: invalid argument`: it is no socket that listens for connections.
    /// - `ERR_INVALID_ARG_VALUE`: it is non-blocking or has a receive timeout; clear that first. Its giver may count on it,
    ///   so it is not done here.
    /// - `ERR_OUT_OF_RANGE`: the option that the text names is wrong.
    pub fn adopt(&self, listener: impl Into<sys::OwnedHandle>) -> Result<Server> {
        let limit = self.check()?;
        let socket = socket2::Socket::from(listener.into());
        let failed = |error| Error::call("listen", &error);
        let wrong = || failed(io::ErrorKind::InvalidInput.into());
        let bound = socket.local_addr().ok().and_then(|bound| Address::of(&bound)).ok_or_else(wrong)?;
        if !sys::is_listener(&socket).map_err(failed)? {
            return Err(wrong());
        }
        sys::close_on_exec(&socket).map_err(failed)?;
        if sys::is_nonblocking(&socket).map_err(failed)? || socket.read_timeout().map_err(failed)?.is_some() {
            let text = "The listener is non-blocking or has a receive timeout: clear both before it is adopted";
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text));
        }
        Ok(self.server(socket, bound, None, true, limit))
    }

    fn server(
        &self,
        listener: socket2::Socket,
        address: Address,
        file: Option<SocketFile>,
        adopted: bool,
        limit: usize,
    ) -> Server {
        let is_called = adopted || !sys::SHUTDOWN_WAKES_ACCEPT;
        let spare = if is_called { socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).ok() } else { None };
        let is_wildcard = address.ip().is_some_and(|ip| ip.is_unspecified());
        let slots = if self.when_full == WhenFull::Wait { Slots::with_room(limit) } else { Slots::new(limit) };
        let goodbyes = match &self.when_full {
            WhenFull::Reply(message) => {
                let name = format!("{} refuse {address}", self.thread_name);
                Some(Goodbyes::new(message.clone(), self.linger, name, self.stack_size))
            }
            WhenFull::Refuse | WhenFull::Wait => None,
        };
        let inner = Arc::new_cyclic(|server| Inner {
            ledger: Ledger::new(slots, self.reporter.clone(), address.clone(), server.clone()),
            options: self.clone(),
            listener: RwLock::new(Some(Arc::new(listener))),
            local: (!is_wildcard).then(|| address.clone()),
            address,
            adopted,
            closing: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
            answering: Mutex::default(),
            wakers: Mutex::default(),
            file: Mutex::new(file),
            spare: Mutex::new(spare),
            shortage: Shortage::default(),
            turn: Mutex::default(),
            addresses: self.max_per_address.map(Addresses::new),
            goodbyes,
            served: AtomicBool::new(false),
            consumer: OnceLock::new(),
            attached: OnceLock::new(),
        });
        let server = Server { inner };
        if let Some(cancel) = &self.cancel {
            let inner = Arc::downgrade(&server.inner);
            let attached = cancel.attach(move || {
                if let Some(inner) = inner.upgrade() {
                    inner.close();
                }
            });
            let _ = server.inner.attached.set(attached);
        }
        server
    }

    /// Whether the options can be right; gives the limit of connections.
    fn check(&self) -> Result<usize> {
        if let Some(bytes) = self.stack_size {
            if bytes < SMALLEST_STACK {
                return Err(Error::option("stack_size", format!(">= {SMALLEST_STACK}"), bytes));
            }
        }
        check_name(&self.thread_name)?;
        self.connection.check()?;
        let mut goodbyes = 0;
        if let WhenFull::Reply(message) = &self.when_full {
            if message.len() > goodbye::LONGEST {
                let must = format!("<= {} bytes", goodbye::LONGEST);
                return Err(Error::option("when_full reply", must, message.len()));
            }
            goodbyes = goodbye::at_once();
        }
        let ceiling = sys::thread_ceiling();
        match self.max_connections {
            Limit::Of(max) if max > ceiling => {
                let must = format!("<= {ceiling}, the threads that vm.max_map_count allows one process");
                Err(Error::option("max_connections", must, max))
            }
            Limit::Of(max) => Ok(max),
            Limit::Ceiling => Ok(ceiling),
            Limit::Default => {
                let descriptors = sys::descriptor_limit();
                let descriptors = descriptors.map_or(usize::MAX, |limit| limit.saturating_sub(64 + goodbyes).max(1));
                Ok(10_000.min(descriptors).min(ceiling))
            }
        }
    }

    fn open(&self, at: SocketAddr) -> Result<socket2::Socket> {
        self.try_open(at).map_err(|error| Error::call("listen", &error).at(at))
    }

    fn try_open(&self, at: SocketAddr) -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        if at.is_ipv6() {
            // Said either way: the systems' defaults differ.
            socket.set_only_v6(self.ipv6_only)?;
        }
        if self.reuse_address && sys::REUSE_ADDRESS_IS_SAFE {
            socket.set_reuse_address(true)?;
        }
        if self.reuse_port {
            sys::reuse_port(&socket)?;
        }
        if sys::ACCEPTED_INHERITS {
            stream::apply(&SockRef::from(&socket), self.connection.settings)?;
        }
        socket.bind(&at.into())?;
        socket.listen(self.backlog.try_into().unwrap_or(i32::MAX))?;
        Ok(socket)
    }
}

fn is_link_local(at: &SocketAddr) -> bool {
    match at {
        SocketAddr::V4(at) => at.ip().is_link_local(),
        SocketAddr::V6(at) => at.ip().is_unicast_link_local(),
    }
}
