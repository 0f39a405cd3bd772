//! What a server is made with, as data: the options, and whether they can be right.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use crate::address::Address;
use crate::before_bind::BeforeBind;
use crate::block_list::BlockList;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::limit::Limit;
use crate::net::proxy::{self, Trusted};
use crate::net::server::filter::Filter;
use crate::net::socket::keep_alive::KeepAlive;
use crate::net::socket::lingering;
use crate::net::socket::lingering::LINGERING_CLOSE;
use crate::net::socket::stream::Options;
use crate::report::{Report, Reporter};
use crate::sys;
use crate::thread::ThreadOptions;

/// The longest goodbye. As Linux sizes its buffers by default, the kernel takes this much at once, whether the client
/// reads or not.
const LONGEST_GOODBYE: usize = 64 * 1024;

/// How to listen: options for a [`Server`](crate::net::Server), then [`listen`](ServerOptions::listen).
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
    pub(crate) max_connections: Max,
    pub(crate) when_full: WhenFull,
    pub(crate) block_list: Option<BlockList>,
    pub(crate) filter: Filter,
    pub(crate) max_per_address: Option<usize>,
    pub(crate) shared_limit: Option<Limit>,
    pub(crate) trusted: Option<Trusted>,
    pub(crate) proxy_timeout: Option<Duration>,
    pub(crate) backlog: u32,
    pub(crate) answer_queued: bool,
    pub(crate) ipv6_only: bool,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) readable_all: bool,
    pub(crate) writable_all: bool,
    pub(crate) remove_stale: bool,
    pub(crate) before_bind: BeforeBind,
    pub(crate) connection: Options,
    pub(crate) lingering_close: Duration,
    pub(crate) threads: ThreadOptions,
    pub(crate) reporter: Reporter,
    pub(crate) cancel: Option<Cancel>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Max {
    Default,
    Ceiling,
    Of(usize),
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions::new()
    }
}

impl ServerOptions {
    /// The defaults, as each option names its own.
    pub fn new() -> ServerOptions {
        ServerOptions {
            max_connections: Max::Default,
            when_full: WhenFull::default(),
            block_list: None,
            filter: Filter::default(),
            max_per_address: None,
            shared_limit: None,
            trusted: None,
            proxy_timeout: Some(proxy::TIMEOUT),
            backlog: 4096,
            answer_queued: false,
            ipv6_only: false,
            reuse_address: true,
            reuse_port: false,
            readable_all: false,
            writable_all: false,
            remove_stale: false,
            before_bind: BeforeBind::default(),
            connection: Options::default(),
            lingering_close: LINGERING_CLOSE,
            threads: ThreadOptions::default(),
            reporter: Reporter::default(),
            cancel: None,
        }
    }

    /// How many connections may be open at once; 0 lets nobody in, `None` allows as many as the system has threads for.
    /// Default: 10,000, or 64 less than seven eighths of the limit of descriptors (`ulimit -n`; 1,024 on Linux without
    /// /proc) if that is lower: an eighth is for connections that [linger](ServerOptions::lingering_close).
    ///
    /// More than the threads of one process, on Linux a quarter of `vm.max_map_count` less 1,000, is an error.
    #[doc(alias = "maxConnections")]
    pub fn max_connections(mut self, max: impl Into<Option<usize>>) -> ServerOptions {
        self.max_connections = max.into().map_or(Max::Ceiling, Max::Of);
        self
    }

    /// Clients whose address is on this list are closed as soon as they are accepted, whether there is room or not.
    /// They are counted in [`Stats`](crate::net::Stats) and reported, and nobody else is told. The rules may be changed
    /// while the server runs. Default: none.
    pub fn block_list(self, list: &BlockList) -> ServerOptions {
        ServerOptions { block_list: Some(list.clone()), ..self }
    }

    /// Asks `filter` about each client, by its address, before the client counts: with `true` the limits are next, with
    /// `false` the client is closed without a goodbye. It is counted and reported as
    /// [`RefusedBy::Filtered`](crate::RefusedBy::Filtered), and no other callback is called. Default: none.
    ///
    /// It is called once for each client, on the thread that has accepted it, before the client has a slot. It is not
    /// called for clients on the [`block_list`](Self::block_list), nor for those that a server refuses because it is
    /// closing, in the backlog or accepted.
    ///
    /// It is called without a lock held, and may block and call anything of the server:
    /// - Other threads accept while it runs. In [`serve`](crate::net::Server::serve) at most sixteen threads beyond the
    ///   limit of connections are in it, as in other [callbacks](crate::net::ServerCallbacks). The one thread of
    ///   [`incoming`](crate::net::Server::incoming) waits for it, and so do callers of
    ///   [`accept`](crate::net::Server::accept), [`accept_timeout`](crate::net::Server::accept_timeout) and
    ///   [`try_accept`](crate::net::Server::try_accept), whatever their time.
    /// - [`close`](crate::net::Server::close) does not wait for it. A client that it lets in after that is refused
    ///   since the server is closing. On an [adopted](Self::adopt) listener, and behind load balancers, it is served.
    ///   [`shutdown`](crate::net::Server::shutdown) waits for `grace`, and counts it as still running then.
    /// - A panic in it refuses the client, and no other.
    ///
    /// Behind [load balancers](Self::proxy_protocol) it is called with the address that the header names, after the
    /// header, and the connection holds its slot while it runs. It is not called where the header names no client. With
    /// [`WhenFull::Wait`] other clients may have taken the slots when it returns. The client then waits for one with
    /// its thread, accepted already. A client on a Unix socket has a path, which mostly is empty. Elsewhere than on
    /// Linux the calls by which `close` wakes the threads of a Unix socket are taken for such clients.
    ///
    /// ```
    /// use landline::RefusedBy;
    /// use landline::net::{ServerOptions, Socket};
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    ///
    /// let clients = AtomicU32::new(0);
    /// let options = ServerOptions::new().filter(move |_| clients.fetch_add(1, Relaxed) < 1);
    /// let server = options.listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| socket.write_end("the first"))?;
    ///
    /// assert_eq!(std::io::read_to_string(Socket::connect(server.address())?)?, "the first");
    /// assert_eq!(std::io::read_to_string(Socket::connect(server.address())?)?, "");
    /// server.close();
    /// serving.join()?;
    /// assert_eq!(server.stats().refused(RefusedBy::Filtered), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "verifyClient")]
    #[doc(alias = "TCPServerConnectionFilter")]
    pub fn filter(mut self, filter: impl Fn(&Address) -> bool + Send + Sync + 'static) -> ServerOptions {
        self.filter = Filter::new(filter);
        self
    }

    /// What a client gets that comes when the server is full. Default: [`WhenFull::Refuse`].
    pub fn when_full(self, when_full: WhenFull) -> ServerOptions {
        ServerOptions { when_full, ..self }
    }

    /// How many connections may be open at once from one address: one of IPv4, in whichever form it comes, or the /64
    /// of an IPv6 address, which one customer of a provider has all of. A client above that is refused, whether there
    /// is room or not and whatever [`when_full`](ServerOptions::when_full) says; with [`WhenFull::RefuseWith`] it is
    /// told so. All hosts of one IPv6 network count as one, then, and so do all that use link-local addresses. 0
    /// refuses everybody; Unix sockets have no addresses to limit. It takes memory for the addresses that are
    /// connected, and for no others. Default: none, as many as there is room for.
    pub fn max_connections_per_address(self, max: impl Into<Option<usize>>) -> ServerOptions {
        ServerOptions { max_per_address: max.into(), ..self }
    }

    /// Counts the connections in `limit`, which other servers and other parts of the program may share: see [`Limit`].
    /// It takes the place of [`max_connections`](ServerOptions::max_connections) and
    /// [`max_connections_per_address`](ServerOptions::max_connections_per_address).
    ///
    /// [`Server::connections`](crate::net::Server::connections) counts the server's own, [`Limit::in_use`] all;
    /// [`Server::set_max_connections`](crate::net::Server::set_max_connections) changes the limit for all. Closing a
    /// server closes no other. The limit may allow more connections than the system has threads for; a client that gets
    /// no thread is then refused. Default: none, the server has a limit of its own.
    ///
    /// Listening with one of these options and another that it excludes is `ERR_INVALID_ARG_VALUE`. So it is with
    /// [`WhenFull::Wait`]: a server that saw a free slot could have accepted its next client when another server was
    /// faster, and that client would wait outside the backlog.
    ///
    /// ```
    /// use landline::{Cancel, Limit};
    /// use landline::net::ServerOptions;
    ///
    /// let (limit, cancel) = (Limit::new(100).per_address(10), Cancel::new());
    /// let options = ServerOptions::new().shared_limit(&limit).cancel(&cancel);
    /// let servers = [options.listen("127.0.0.1:0")?, options.listen("127.0.0.1:0")?];
    /// cancel.cancel();
    /// assert!(servers.iter().all(|server| !server.is_listening()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "limit")]
    #[doc(alias = "LimitListener")]
    pub fn shared_limit(self, limit: &Limit) -> ServerOptions {
        ServerOptions { shared_limit: Some(limit.clone()), ..self }
    }

    /// How many connections the kernel completes and keeps until they are accepted: listen(2). The system cuts it,
    /// Linux to `net.connection.somaxconn`. When it is used up, clients wait a second and longer for their connect.
    /// Default: 4096.
    pub fn backlog(self, backlog: u32) -> ServerOptions {
        ServerOptions { backlog, ..self }
    }

    /// Whether [`close`](crate::net::Server::close) accepts and turns away those clients whom the kernel has connected
    /// and no thread has accepted yet, at most as many as the [backlog](ServerOptions::backlog) holds. With
    /// [`WhenFull::RefuseWith`] they get the goodbye, as many of them as it serves at once. The others see the end, or
    /// still `ConnectionReset` if they have written already. They are reported, on the thread that closes, and counted
    /// as refused since the server was closing, or because a list shuts them out, and those are only closed; the
    /// `refused` callback is called only for one that a thread was accepting just then. `close` blocks until all are
    /// answered; the goodbyes go on after that, so wait for them before the program ends. Not for an
    /// [adopted](ServerOptions::adopt) listener, whose queue belongs to its giver. Default: no, as in Node.
    pub fn answer_queued(self, answer: bool) -> ServerOptions {
        ServerOptions { answer_queued: answer, ..self }
    }

    /// Whether a server on an IPv6 address takes IPv6 clients only: IPV6_V6ONLY. Default: no; `::` takes IPv4 too.
    pub fn ipv6_only(self, only: bool) -> ServerOptions {
        ServerOptions { ipv6_only: only, ..self }
    }

    /// Whether a port can be listened on again while connections of its last server are still in TIME_WAIT:
    /// SO_REUSEADDR. On Windows, where it would let two programs share a port, it is never set. Default: yes.
    pub fn reuse_address(self, reuse: bool) -> ServerOptions {
        ServerOptions { reuse_address: reuse, ..self }
    }

    /// Whether several servers, of several processes too, may listen on the port if all of them ask for it; the kernel
    /// shares the clients out: SO_REUSEPORT. When one of them closes, what waits in its backlog is reset. Unsupported
    /// on Windows. Default: no.
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

    /// Whether the file of a Unix socket that is in the way is removed, if it was left by a program that crashed: if it
    /// is a socket, no link to one, and a connect to it is refused, twice within 20 ms. What anything listens on, and
    /// what is no socket, stays, and is `listen EADDRINUSE` as without this. A server that listens there gets a client
    /// that ends at once. Several programs may do this at the same time: one of them listens then. Default: no.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use landline::net::ServerOptions;
    /// use std::os::unix::net::UnixListener;
    ///
    /// let path = std::env::temp_dir().join(format!("stale-{}.sock", std::process::id()));
    /// drop(UnixListener::bind(&path)?); // std leaves the file, as a crash does
    ///
    /// assert_eq!(ServerOptions::new().listen(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    /// let server = ServerOptions::new().remove_stale(true).listen(&path)?;
    /// assert_eq!(ServerOptions::new().remove_stale(true).listen(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    /// server.close();
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn remove_stale(self, remove: bool) -> ServerOptions {
        ServerOptions { remove_stale: remove, ..self }
    }

    /// Calls `hook` with the descriptor of each socket that [`listen`](Self::listen) makes, borrowed, before
    /// bind(2) and listen(2): for what landline has no option for, such as a device, a mark, or an address that
    /// this machine does not have yet. It is `AsFd`, on Windows `AsSocket`. Its error is that of `listen`:
    /// `before_bind` with the code of the system, or an error of the program's own.
    ///
    /// It runs on the calling thread, and no lock is held. The descriptor is not closed while it runs. It must
    /// not bind or connect the socket, nor make it non-blocking. A panic in it is the caller's; the socket is
    /// closed then. Default: none.
    ///
    /// ```
    /// use landline::net::ServerOptions;
    /// use socket2::SockRef;
    ///
    /// let options = ServerOptions::new().before_bind(|fd| SockRef::from(&fd).set_ttl_v4(8));
    /// let server = options.listen("127.0.0.1:0")?;
    /// assert_eq!(server.with_raw(|fd| SockRef::from(&fd).ttl_v4())??, 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "Control")]
    #[doc(alias = "SO_BINDTODEVICE")]
    #[doc(alias = "SO_MARK")]
    #[doc(alias = "IP_FREEBIND")]
    pub fn before_bind(
        mut self,
        hook: impl Fn(sys::BorrowedHandle<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> ServerOptions {
        self.before_bind = BeforeBind::new(hook);
        self
    }

    /// How many bytes the system may keep of each connection until they are read: SO_RCVBUF. It is set before
    /// listen(2), so that the window that is offered to clients can be as large. The system may grant less, and
    /// on Linux no longer sizes the buffer by itself then. On a Unix socket it does nothing. Default: the
    /// system's.
    #[doc(alias = "SO_RCVBUF")]
    pub fn recv_buffer_size(mut self, bytes: usize) -> ServerOptions {
        self.connection.buffers.recv_buffer_size = Some(bytes);
        self
    }

    /// How many bytes the system may keep of each connection until they are sent and acknowledged: SO_SNDBUF.
    /// Otherwise as [`recv_buffer_size`](Self::recv_buffer_size). Default: the system's.
    #[doc(alias = "SO_SNDBUF")]
    pub fn send_buffer_size(mut self, bytes: usize) -> ServerOptions {
        self.connection.buffers.send_buffer_size = Some(bytes);
        self
    }

    /// For each connection, see [`Socket::set_no_delay`](crate::net::Socket::set_no_delay). Default: yes.
    pub fn no_delay(mut self, on: bool) -> ServerOptions {
        self.connection.settings.no_delay = on;
        self
    }

    /// For each connection, see [`Socket::set_keep_alive`](crate::net::Socket::set_keep_alive). Default: none.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> ServerOptions {
        self.connection.settings.keep_alive = Some(keep_alive.into());
        self
    }

    /// For each connection, see [`Socket::set_user_timeout`](crate::net::Socket::set_user_timeout). A time the system
    /// cannot take is an error that names the option. Default: the system's.
    pub fn user_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.settings.user_timeout = Some(time.into().unwrap_or_default());
        self
    }

    /// For each connection, see [`Socket::set_type_of_service`](crate::net::Socket::set_type_of_service). It does
    /// nothing on a Unix socket, nor for IPv6 on Windows. Default: 0.
    pub fn type_of_service(mut self, value: u8) -> ServerOptions {
        self.connection.settings.type_of_service = Some(value);
        self
    }

    /// Whether, in [`each`](crate::net::Socket::each), our direction stays open after the peer has ended, until
    /// [`end`](crate::net::Socket::end) is called. Blocking reads and writes never end a direction by themselves, and
    /// neither does a [channel](crate::net::Server::events): there it stays open either way. Default: no.
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
    /// assert_eq!(std::io::read_to_string(&client)?, "you have ended, I have not");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn allow_half_open(mut self, allow: bool) -> ServerOptions {
        self.connection.allow_half_open = allow;
        self
    }

    /// Whether each connection starts [paused](crate::net::Socket::pause): its handler, or the thread it hands the
    /// socket to, calls [`resume`](crate::net::Socket::resume). Default: no.
    pub fn pause_on_connect(mut self, pause: bool) -> ServerOptions {
        self.connection.paused = pause;
        self
    }

    /// How many bytes an [outbox](crate::net::Socket::outbox) queues. Default: 1 MiB.
    pub fn outbox_limit(mut self, bytes: usize) -> ServerOptions {
        self.connection.outbox_limit = bytes;
        self
    }

    /// The idle timeout of each connection, see [`Socket::set_timeout`](crate::net::Socket::set_timeout). Default:
    /// none.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.timeout = time.into();
        self
    }

    /// How long each connection may last in all, what is queued and the [`lingering_close`](Self::lingering_close) time
    /// included, see [`Socket::set_deadline`](crate::net::Socket::set_deadline). Default: none.
    pub fn deadline(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.deadline = time.into();
        self
    }

    /// How long, when a connection has ended in order and the peer has not, its input is still taken in and thrown
    /// away, at most 1 MiB of it. Closing with input unread would make the kernel send RST, which can destroy the reply
    /// on its way. The slot and the thread are free by then: one thread of the server does it for all. `None` or zero:
    /// not at all. Default: 1 s; once the server is closed, 100 ms for a peer that has sent nothing since our end.
    ///
    /// As many linger at most as [may be connected](ServerOptions::max_connections), not more than 1,024, and in the
    /// whole process not more than an eighth of the limit of descriptors. Above that the oldest is closed whose peer
    /// has sent nothing since our end: what it has not read yet is still sent, unless it sends something first. Where
    /// all have sent, the connection that is about to end waits for one of them, with its slot and thread.
    ///
    /// In a [shutdown](crate::net::Server::shutdown) the peer's end cannot be seen any more. There input is thrown
    /// away, and our end held back, until none has come for 100 ms; not so if none is there and the handler has written
    /// nothing since the shutdown began, as with an idle client.
    pub fn lingering_close(self, time: impl Into<Option<Duration>>) -> ServerOptions {
        ServerOptions { lingering_close: time.into().unwrap_or_default(), ..self }
    }

    /// The stack of each thread the server starts, in bytes, at least 64 KiB. It is address space, not memory: only
    /// what is used is paid for. 128 to 256 KiB do for a handler that keeps its buffers on the heap. Default: std's, 2
    /// MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> ServerOptions {
        self.threads.stack_size = bytes.into();
        self
    }

    /// What the names of the server's threads begin with; behind it they say what each is for, and the server's
    /// address. Linux's tools show the first 15 bytes. Threads that are started by a socket, as an outbox's, keep
    /// `landline`. Default: `landline`, so `landline worker 127.0.0.1:3000`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> ServerOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Tells `hook` all that happens: see [`Report`]. Default: none.
    pub fn report(self, hook: impl Fn(&Report) + Send + Sync + 'static) -> ServerOptions {
        ServerOptions { reporter: Reporter::new(hook), ..self }
    }

    /// Lets `cancel` close the server, as [`close`](crate::net::Server::close) does. If it was fired before, the server
    /// is closed as soon as it listens. Default: none.
    #[doc(alias = "signal")]
    pub fn cancel(self, cancel: &Cancel) -> ServerOptions {
        ServerOptions { cancel: Some(cancel.clone()), ..self }
    }

    /// Whether the options can be right; gives the limit of connections.
    pub(crate) fn check(&self) -> Result<usize> {
        self.threads.check()?;
        self.connection.check()?;
        if let WhenFull::RefuseWith(message) = &self.when_full {
            if message.len() > LONGEST_GOODBYE {
                let must = format!("<= {} bytes", LONGEST_GOODBYE);
                return Err(Error::option("when_full message", must, message.len()));
            }
        }
        if self.shared_limit.is_some() {
            self.check_shared()?;
        }
        let ceiling = sys::thread_ceiling();
        match self.max_connections {
            Max::Of(max) if max > ceiling => {
                let must = format!("<= {ceiling}, the threads that vm.max_map_count allows one process");
                Err(Error::option("max_connections", must, max))
            }
            Max::Of(max) => Ok(max),
            Max::Ceiling => Ok(ceiling),
            Max::Default => {
                let left = |limit: usize| limit.saturating_sub(64 + lingering::share()).max(1);
                let descriptors = sys::descriptor_limit().map_or(usize::MAX, left);
                Ok(10_000.min(descriptors).min(ceiling))
            }
        }
    }

    /// What a limit that is shared excludes.
    fn check_shared(&self) -> Result<()> {
        let excluded = match self {
            ServerOptions { when_full: WhenFull::Wait, .. } => "when_full(WhenFull::Wait)",
            ServerOptions { max_connections: Max::Of(_) | Max::Ceiling, .. } => "max_connections",
            ServerOptions { max_per_address: Some(_), .. } => "max_connections_per_address",
            _ => return Ok(()),
        };
        let text = format!("shared_limit excludes {excluded}: the limit is not the server's own");
        Err(Error::invalid("ERR_INVALID_ARG_VALUE", text))
    }
}

/// Behind load balancers.
impl ServerOptions {
    /// The server stands behind load balancers, whose addresses are on this list: a match means trusted here, not
    /// blocked. Each connection has to begin with a header of the PROXY protocol, version 1 or 2 (HAProxy's
    /// `send-proxy` and `send-proxy-v2`, nginx's `proxy_protocol on`), which says whose it is. The rules may be changed
    /// while the server runs. Default: none; no header is expected then.
    ///
    /// [`remote_address`](crate::net::Socket::remote_address) is then the client's address, and
    /// [`local_address`](crate::net::Socket::local_address) the one it connected to, as the header has them; so are
    /// those in reports. [`proxy_address`](crate::net::Socket::proxy_address) is the load balancer's. The
    /// [`block_list`](Self::block_list) and [`max_connections_per_address`](Self::max_connections_per_address) are for
    /// clients, and never for load balancers. Where the header names no client (`LOCAL`, which a load balancer's own
    /// checks say, `UNKNOWN`, an unspecified family, datagrams), the addresses are those of the connection, and both
    /// lists are passed over.
    ///
    /// A connection from any other address is closed as soon as it is accepted, before anything of it is read: whoever
    /// can write a header could take any address. An empty list so refuses everybody. A Unix socket has no addresses;
    /// there everybody is trusted whom the rights of its file let in, and has to send a header too.
    ///
    /// The header is read on the thread that will serve the connection, or that has called
    /// [`accept`](crate::net::Server::accept), which blocks for it. It is bounded by
    /// [`proxy_timeout`](Self::proxy_timeout), by 107 bytes (version 1) and by 4096 (version 2). Meanwhile the
    /// connection takes a slot of [`max_connections`](Self::max_connections) and holds up nobody else; it does not
    /// count as [accepted](crate::net::Stats::accepted) yet. When the header is wrong or late, it is closed and never
    /// seen by a handler: it counts as [refused](crate::net::Stats::refused), by cause; `refused` is told, and what was
    /// wrong is [reported](crate::Report::Failed). [`close`](crate::net::Server::close) leaves it its time;
    /// [`shutdown`](crate::net::Server::shutdown), and dropping the server's [`events`](crate::net::Server::events),
    /// leave it the header that has arrived, and no more. The first byte that is read of the connection is the one
    /// behind the header, and [`bytes_read`](crate::net::Socket::bytes_read), like the connection's
    /// [`timeout`](Self::timeout) and [`deadline`](Self::deadline), begins there.
    ///
    /// What a header of version 2 says besides is passed over, but for a checksum (CRC32C), which has to be right, also
    /// where no client is named.
    ///
    /// ```
    /// use landline::BlockList;
    /// use landline::net::{ServerOptions, Socket};
    ///
    /// let balancers = BlockList::new();
    /// balancers.add_cidr("127.0.0.0/8")?;
    /// let server = ServerOptions::new().proxy_protocol(&balancers).listen("127.0.0.1:0")?;
    ///
    /// let balancer = Socket::connect(server.address())?;
    /// balancer.write_all("PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\nhello")?;
    ///
    /// let socket = server.accept()?.expect("the server is open");
    /// assert_eq!(socket.remote_address().to_string(), "192.0.2.7:56324");
    /// assert_eq!(socket.local_address().to_string(), "192.0.2.1:443");
    /// assert_eq!(socket.proxy_address(), Some(balancer.local_address()));
    /// let mut first = [0; 5];
    /// socket.read_exact(&mut first)?;
    /// assert_eq!(&first, b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "send-proxy")]
    pub fn proxy_protocol(mut self, trusted: &BlockList) -> ServerOptions {
        self.trusted = Some(Trusted(trusted.clone()));
        self
    }

    /// How long after a connection was accepted its PROXY header may take, however few bytes of it come at a time.
    /// `None` or zero: as long as the load balancer likes. Default: 5 s; less than three is too little for a packet
    /// that was lost.
    pub fn proxy_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.proxy_timeout = time.into();
        self
    }
}

/// What happens to a client that comes while as many connections are open as [`max_connections`] allows.
///
/// [`max_connections`]: crate::net::ServerOptions::max_connections
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is accepted, reported as refused, and closed: it sees its connect succeed and then the end, or
    /// `ConnectionReset` if it had written already. What Node does.
    #[default]
    Refuse,
    /// The same, with a goodbye that it really gets, at most 64 KiB: `WhenFull::RefuseWith("server busy\n".into())`.
    ///
    /// The goodbye is written, our direction is ended, and what the client still sends is thrown away until its own
    /// end, for at most [`lingering_close`](crate::net::ServerOptions::lingering_close), and 1 MiB. So a client that
    /// writes first and reads later gets it too. One thread does that for all; it is started by the first such client
    /// and ends after the last. It never holds up the thread that accepts. It serves 1,024 clients at once, or an
    /// eighth of the limit of descriptors if that is less; those that come at that time are only closed. So are clients
    /// on the block list.
    ///
    /// It goes to clients that are refused for another reason too: too many from their address, no thread, a server
    /// that is closing. [`serve`](crate::net::Server::serve) and [`wait`](crate::net::Server::wait) return when the
    /// last goodbye is over too, so a client that does not end holds them up for the lingering time;
    /// [`shutdown`](crate::net::Server::shutdown) does not wait longer than it was told. With a `lingering_close` of
    /// zero the connection is closed right behind the goodbye, which a client that is still writing may lose.
    RefuseWith(Vec<u8>),
    /// It is not accepted until a slot is free: it waits in the [backlog](crate::net::ServerOptions::backlog), where
    /// its connect has succeeded and what it writes is kept for it. When the backlog is full too, its connect takes a
    /// second and longer. What Go's `LimitListener` does.
    ///
    /// One thread at a time accepts then, and only while a slot is free. If the limit is lowered while it does, it
    /// keeps the one client it may get until there is room. A program that calls [`accept`](crate::net::Server::accept)
    /// on the thread that uses the sockets waits for itself when it has as many as the limit.
    ///
    /// Only a full server makes clients wait: whoever is on the block list, comes from an address that has its number,
    /// or can be given no thread, is turned away when its turn has come.
    Wait,
}
