//! The options of a server, and their checks.

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

/// The longest goodbye. With Linux's default buffers the kernel takes this much at once, whether the client reads or
/// not.
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
    /// The defaults that each option documents.
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

    /// How many connections may be open at once. 0 refuses every client. `None` allows as many as the system has
    /// threads for. Default: 10,000, or 64 less than seven eighths of the limit of descriptors (`ulimit -n`; 1,024 on
    /// Linux without /proc) if that is lower: an eighth is for connections that
    /// [linger](ServerOptions::lingering_close).
    ///
    /// [`listen`](Self::listen) fails if it is more than the threads of one process: on Linux a quarter of
    /// `vm.max_map_count` less 1,000.
    #[doc(alias = "maxConnections")]
    pub fn max_connections(mut self, max: impl Into<Option<usize>>) -> ServerOptions {
        self.max_connections = max.into().map_or(Max::Ceiling, Max::Of);
        self
    }

    /// Closes clients whose address is on this list as soon as they are accepted, even if there is room. They are
    /// counted in [`Stats`](crate::net::Stats) and reported, and no other callback is called. The rules may change
    /// while the server runs. Default: none.
    pub fn block_list(self, list: &BlockList) -> ServerOptions {
        ServerOptions { block_list: Some(list.clone()), ..self }
    }

    /// Asks `filter` about each client, by its address, before the client counts. With `true` the limits are checked
    /// next. With `false` the client is closed without a goodbye, and counted and reported as
    /// [`RefusedBy::Filtered`](crate::RefusedBy::Filtered). No other callback is called. Default: none.
    ///
    /// It is called once for each client, on the thread that accepted it, before the client has a slot. It is not
    /// called for clients on the [`block_list`](Self::block_list), nor for those refused because the server is closing.
    ///
    /// No lock is held. The filter may block, and may call anything of the server:
    /// - Other threads accept while it runs. In [`serve`](crate::net::Server::serve) at most sixteen threads beyond the
    ///   limit of connections are in it or in other [callbacks](crate::net::ServerCallbacks). Callers of
    ///   [`accept`](crate::net::Server::accept), [`accept_timeout`](crate::net::Server::accept_timeout) and
    ///   [`try_accept`](crate::net::Server::try_accept) wait for it, whatever their time. So does the one thread of
    ///   [`incoming`](crate::net::Server::incoming).
    /// - [`close`](crate::net::Server::close) does not wait for it. A client that it admits after that is refused,
    ///   because the server is closing. On an [adopted](Self::adopt) listener, and behind load balancers, the client is
    ///   served. [`shutdown`](crate::net::Server::shutdown) waits for it up to `grace`, then counts it as still
    ///   running.
    /// - A panic in it refuses that client only.
    ///
    /// Behind [load balancers](Self::proxy_protocol) it is called after the header, with the address in the header, and
    /// the connection holds its slot until it returns. It is not called if the header names no client. With
    /// [`WhenFull::Wait`] the slots may be taken when it returns. The accepted client then waits for one, and its
    /// thread with it. A client on a Unix socket has a path, which is usually empty. On other systems than Linux, the
    /// connections by which `close` wakes the threads of a Unix socket look like such clients.
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

    /// What happens to a client that connects when the server is full. Default: [`WhenFull::Refuse`].
    pub fn when_full(self, when_full: WhenFull) -> ServerOptions {
        ServerOptions { when_full, ..self }
    }

    /// How many connections one address may have open at once. An IPv4 address counts in any form it comes in. An IPv6
    /// address counts as its /64, since a provider gives a customer all of one. So all hosts of one IPv6 network count
    /// together, and so do all that use link-local addresses.
    ///
    /// A client above the limit is refused, even if there is room and whatever [`when_full`](ServerOptions::when_full)
    /// says. With [`WhenFull::RefuseWith`] it gets the goodbye. 0 refuses every client. Unix sockets have no addresses
    /// to limit. Memory is used only for addresses that are connected. Default: none, as many as there is room for.
    pub fn max_connections_per_address(self, max: impl Into<Option<usize>>) -> ServerOptions {
        ServerOptions { max_per_address: max.into(), ..self }
    }

    /// Counts the connections in `limit`, which other servers and other parts of the program may share. See [`Limit`].
    /// It replaces [`max_connections`](ServerOptions::max_connections) and
    /// [`max_connections_per_address`](ServerOptions::max_connections_per_address).
    ///
    /// [`Server::connections`](crate::net::Server::connections) counts this server's connections, [`Limit::in_use`]
    /// all. [`Server::set_max_connections`](crate::net::Server::set_max_connections) changes the limit for all. Closing
    /// one server does not close the others. The limit may be higher than the number of threads the system allows. A
    /// client that gets no thread is refused. Default: none, the server has a limit of its own.
    ///
    /// [`listen`](Self::listen) fails with `ERR_INVALID_ARG_VALUE` if one of the replaced options is set too. It also
    /// fails with [`WhenFull::Wait`]: between seeing a free slot and accepting a client, another server could take the
    /// slot, and the client would wait outside the backlog.
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

    /// How many connections the kernel completes and keeps until they are accepted: listen(2). The system may reduce
    /// it, Linux to `net.core.somaxconn`. When the backlog is full, a connect takes a second or longer. Default: 4096.
    pub fn backlog(self, backlog: u32) -> ServerOptions {
        ServerOptions { backlog, ..self }
    }

    /// Whether [`close`](crate::net::Server::close) accepts and refuses the clients in the
    /// [backlog](ServerOptions::backlog), at most as many as it holds. With [`WhenFull::RefuseWith`] they get the
    /// goodbye, up to the number it serves at once. The others see the end, or `ConnectionReset` if they have already
    /// written.
    ///
    /// They are reported on the thread that calls `close`, and counted as refused (`closing`). Clients on a block list
    /// are closed without the goodbye and counted as `blocked`. The `refused` callback is called only for a client that
    /// another thread was accepting at that moment.
    ///
    /// `close` blocks until all are refused. Goodbyes may still be in progress, so [`wait`](crate::net::Server::wait)
    /// before the program ends. It has no effect on an [adopted](ServerOptions::adopt) listener, whose queue belongs to
    /// the program that passed it. Default: no, as in Node.
    pub fn answer_queued(self, answer: bool) -> ServerOptions {
        ServerOptions { answer_queued: answer, ..self }
    }

    /// Whether a server on an IPv6 address accepts IPv6 clients only: IPV6_V6ONLY. Default: no; `::` takes IPv4 too.
    pub fn ipv6_only(self, only: bool) -> ServerOptions {
        ServerOptions { ipv6_only: only, ..self }
    }

    /// Whether the server can listen on a port while connections of its last server are still in TIME_WAIT:
    /// SO_REUSEADDR. It is never set on Windows, where it would let two programs share a port. Default: yes.
    pub fn reuse_address(self, reuse: bool) -> ServerOptions {
        ServerOptions { reuse_address: reuse, ..self }
    }

    /// Whether several servers, also of several processes, may listen on the port if all of them set this:
    /// SO_REUSEPORT. The kernel distributes the clients. When one of them closes, the clients in its backlog are reset.
    /// Unsupported on Windows. Default: no.
    pub fn reuse_port(self, reuse: bool) -> ServerOptions {
        ServerOptions { reuse_port: reuse, ..self }
    }

    /// Whether every user may read the file of a Unix socket. Default: no, as the umask says.
    pub fn readable_all(self, all: bool) -> ServerOptions {
        ServerOptions { readable_all: all, ..self }
    }

    /// Whether every user may write the file of a Unix socket, which is what connecting needs. Default: no, as the
    /// umask says.
    pub fn writable_all(self, all: bool) -> ServerOptions {
        ServerOptions { writable_all: all, ..self }
    }

    /// Whether [`listen`](Self::listen) removes the file of a Unix socket that a crashed program has left at the path.
    /// The file must be a socket and not a link, and must refuse two connects within 20 ms. Any other file, and a
    /// socket that something listens on, stays, and the error is `listen EADDRINUSE` as without this option. A server
    /// that does listen there gets a client that ends at once. If several programs do this at the same time, one of
    /// them listens. Default: no.
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

    /// Calls `hook` with the borrowed descriptor of each socket that [`listen`](Self::listen) makes, before bind(2) and
    /// listen(2). Use it for settings that landline has no option for, such as a device, a mark, or an address that
    /// this machine does not have yet. The descriptor is `AsFd`, on Windows `AsSocket`. An error of the hook makes
    /// `listen` fail: `before_bind` with the system's code, or the program's own error.
    ///
    /// It runs on the calling thread. No lock is held, and the descriptor stays open while it runs. It must not bind or
    /// connect the socket, nor make it non-blocking. A panic in it unwinds through `listen`, and the socket is closed.
    /// Default: none.
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

    /// How many received bytes the system may keep for each connection: SO_RCVBUF. It is set before listen(2), so that
    /// the window offered to clients can be as large. The system may grant less. Linux then no longer adjusts the size
    /// itself. It has no effect on a Unix socket. Default: the system's.
    #[doc(alias = "SO_RCVBUF")]
    pub fn recv_buffer_size(mut self, bytes: usize) -> ServerOptions {
        self.connection.buffers.recv_buffer_size = Some(bytes);
        self
    }

    /// How many bytes the system may keep for each connection until they are sent and acknowledged: SO_SNDBUF.
    /// Otherwise like [`recv_buffer_size`](Self::recv_buffer_size). Default: the system's.
    #[doc(alias = "SO_SNDBUF")]
    pub fn send_buffer_size(mut self, bytes: usize) -> ServerOptions {
        self.connection.buffers.send_buffer_size = Some(bytes);
        self
    }

    /// See [`Socket::set_no_delay`](crate::net::Socket::set_no_delay). Applies to each connection. Default: yes.
    pub fn no_delay(mut self, on: bool) -> ServerOptions {
        self.connection.settings.no_delay = on;
        self
    }

    /// See [`Socket::set_keep_alive`](crate::net::Socket::set_keep_alive). Applies to each connection. Default: none.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> ServerOptions {
        self.connection.settings.keep_alive = Some(keep_alive.into());
        self
    }

    /// See [`Socket::set_user_timeout`](crate::net::Socket::set_user_timeout). Applies to each connection.
    /// [`listen`](Self::listen) fails, naming the option, if the system cannot take the time. Default: the system's.
    pub fn user_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.settings.user_timeout = Some(time.into().unwrap_or_default());
        self
    }

    /// See [`Socket::set_type_of_service`](crate::net::Socket::set_type_of_service). Applies to each connection. It has
    /// no effect on a Unix socket, nor for IPv6 on Windows. Default: 0.
    pub fn type_of_service(mut self, value: u8) -> ServerOptions {
        self.connection.settings.type_of_service = Some(value);
        self
    }

    /// Whether, in [`each`](crate::net::Socket::each), our direction stays open after the peer's end until
    /// [`end`](crate::net::Socket::end) is called. Blocking reads and writes never end a direction themselves. Neither
    /// does a [channel](crate::net::Server::events), where our direction always stays open. Default: no.
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

    /// Whether each connection starts [paused](crate::net::Socket::pause). Its handler, or another thread that has the
    /// socket, calls [`resume`](crate::net::Socket::resume). Default: no.
    pub fn pause_on_connect(mut self, pause: bool) -> ServerOptions {
        self.connection.paused = pause;
        self
    }

    /// How many bytes an [outbox](crate::net::Socket::outbox) queues. Default: 1 MiB.
    pub fn outbox_limit(mut self, bytes: usize) -> ServerOptions {
        self.connection.outbox_limit = bytes;
        self
    }

    /// The idle timeout of each connection. See [`Socket::set_timeout`](crate::net::Socket::set_timeout). Default:
    /// none.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.timeout = time.into();
        self
    }

    /// How long each connection may last in all, including queued data and the
    /// [`lingering_close`](Self::lingering_close) time. See [`Socket::set_deadline`](crate::net::Socket::set_deadline).
    /// Default: none.
    pub fn deadline(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.deadline = time.into();
        self
    }

    /// How long the server discards input of a connection that has ended in order while the peer has not, at most 1 MiB
    /// of it. Closing with unread input would make the kernel send RST, which can destroy the reply on its way. The
    /// slot and the thread are already free. One thread of the server does this for all connections. `None` or zero
    /// closes at once. Default: 1 s; once the server is closed, 100 ms for a peer that has sent nothing since our end.
    ///
    /// At most as many connections linger as [may be open](ServerOptions::max_connections), and at most 1,024. In the
    /// whole process they use at most an eighth of the limit of descriptors. Above that, the oldest one whose peer has
    /// sent nothing since our end is closed. Its data is still sent, unless the peer sends something first. If all
    /// peers have sent, the connection that is ending waits for one of them, and keeps its slot and thread.
    ///
    /// During a [shutdown](crate::net::Server::shutdown) the peer's end cannot be seen. Input is discarded, and our end
    /// held back, until none has arrived for 100 ms. This is skipped if there is no input and the handler has written
    /// nothing since the shutdown began, as with an idle client.
    pub fn lingering_close(self, time: impl Into<Option<Duration>>) -> ServerOptions {
        ServerOptions { lingering_close: time.into().unwrap_or_default(), ..self }
    }

    /// The stack size of each thread the server starts, in bytes, at least 64 KiB. It reserves address space. Memory is
    /// used only for the part that is touched. 128 to 256 KiB are enough for a handler that keeps its buffers on the
    /// heap. Default: std's, 2 MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> ServerOptions {
        self.threads.stack_size = bytes.into();
        self
    }

    /// The first part of the names of the server's threads. The role of the thread and the server's address follow.
    /// Linux's tools show the first 15 bytes. Threads that a socket starts, as for an outbox, keep `landline`. Default:
    /// `landline`, so `landline worker 127.0.0.1:3000`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> ServerOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Calls `hook` with every event of the server and its connections. See [`Report`]. Default: none.
    pub fn report(self, hook: impl Fn(&Report) + Send + Sync + 'static) -> ServerOptions {
        ServerOptions { reporter: Reporter::new(hook), ..self }
    }

    /// Lets `cancel` close the server, as [`close`](crate::net::Server::close) does. If `cancel` was fired before, the
    /// server is closed as soon as it listens. Default: none.
    #[doc(alias = "signal")]
    pub fn cancel(self, cancel: &Cancel) -> ServerOptions {
        ServerOptions { cancel: Some(cancel.clone()), ..self }
    }

    /// Checks the options, and returns the limit of connections.
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

    /// Refuses the options that a shared limit excludes.
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
    /// Accepts connections only from load balancers with an address on this list, and expects a PROXY header from each.
    /// A match means trusted here, not blocked. The header has version 1 or 2 (HAProxy's `send-proxy` and
    /// `send-proxy-v2`, nginx's `proxy_protocol on`) and names the client. The rules may change while the server runs.
    /// Default: none; no header is expected then.
    ///
    /// [`remote_address`](crate::net::Socket::remote_address) is then the client's address, and
    /// [`local_address`](crate::net::Socket::local_address) the address that the client connected to. Reports use them
    /// too. [`proxy_address`](crate::net::Socket::proxy_address) is the load balancer's. The
    /// [`block_list`](Self::block_list) and [`max_connections_per_address`](Self::max_connections_per_address) apply to
    /// clients, never to load balancers. If the header names no client, the addresses are those of the connection, and
    /// neither applies. Such headers are `LOCAL` (a load balancer's own checks), `UNKNOWN`, an unspecified family, and
    /// datagrams.
    ///
    /// A connection from any other address is closed as soon as it is accepted, before any byte is read, since its
    /// header could claim any address. So an empty list refuses every client. A Unix socket has no addresses. There
    /// every peer that the rights of the file admit is trusted, and has to send a header too.
    ///
    /// The header is read on the thread that serves the connection, or that called
    /// [`accept`](crate::net::Server::accept), which blocks for it. The header must arrive within
    /// [`proxy_timeout`](Self::proxy_timeout), in 107 bytes (version 1) or 4096 (version 2). Until then:
    /// - The connection holds a slot of [`max_connections`](Self::max_connections), does not count as
    ///   [accepted](crate::net::Stats::accepted), and delays no other client.
    /// - [`close`](crate::net::Server::close) still leaves it its time.
    /// - [`shutdown`](crate::net::Server::shutdown), and dropping the server's [`events`](crate::net::Server::events),
    ///   refuse it unless its header has already arrived.
    ///
    /// A connection whose header is wrong or late is closed, and no handler sees it. It counts as
    /// [refused](crate::net::Stats::refused), by cause. `refused` is called, and the error is
    /// [reported](crate::Report::Failed). The first byte that a handler reads is the one after the header.
    /// [`bytes_read`](crate::net::Socket::bytes_read), [`timeout`](Self::timeout) and [`deadline`](Self::deadline)
    /// begin there too.
    ///
    /// Other fields of a version 2 header are ignored, except a checksum (CRC32C). It must be right, even if no client
    /// is named.
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

    /// How long the PROXY header may take, counted from when the connection was accepted, even while bytes arrive.
    /// `None` or zero: no limit. Default: 5 s; less than three is too little for a packet that was lost.
    pub fn proxy_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.proxy_timeout = time.into();
        self
    }
}

/// What happens to a client that connects while [`max_connections`] connections are open.
///
/// [`max_connections`]: crate::net::ServerOptions::max_connections
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Accepts the client, reports it as refused, and closes it. Its connect succeeds, then it sees the end, or
    /// `ConnectionReset` if it has already written. As in Node.
    #[default]
    Refuse,
    /// Like `Refuse`, with a goodbye of at most 64 KiB that the client receives:
    /// `WhenFull::RefuseWith("server busy\n".into())`.
    ///
    /// The server writes the goodbye and ends our direction. Then it discards input until the client's end, for at most
    /// [`lingering_close`](crate::net::ServerOptions::lingering_close) and at most 1 MiB, so that a client that writes
    /// first and reads later gets the goodbye too. If `lingering_close` is zero, the connection is closed right after
    /// the goodbye, and a client that is still writing may lose it.
    ///
    /// One thread does this for all clients, and never delays accepting. It starts with the first such client and ends
    /// after the last. It serves 1,024 clients at once, or an eighth of the limit of descriptors if that is less.
    /// Clients beyond that are closed without the goodbye. So are clients on the block list.
    ///
    /// Clients refused for another reason get it too: too many from their address, no thread, a server that is closing.
    /// [`serve`](crate::net::Server::serve) and [`wait`](crate::net::Server::wait) also wait for the last goodbye, so a
    /// client that does not end delays them by the lingering time. [`shutdown`](crate::net::Server::shutdown) does not
    /// wait longer than its `grace`.
    RefuseWith(Vec<u8>),
    /// Does not accept the client until a slot is free. It waits in the [backlog](crate::net::ServerOptions::backlog):
    /// its connect has succeeded, and the system keeps what it writes. When the backlog is full too, a connect takes a
    /// second or longer. As Go's `LimitListener`.
    ///
    /// One thread at a time accepts, and only while a slot is free. If the limit is lowered while it accepts, it may
    /// keep one client until there is room. A program that calls [`accept`](crate::net::Server::accept) on the thread
    /// that uses the sockets blocks forever once it holds as many as the limit.
    ///
    /// Only a full server makes clients wait. A client is refused as soon as it is accepted if it is on the block list,
    /// if its address is at its own limit, or if there is no thread for it.
    Wait,
}
