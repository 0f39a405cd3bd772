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

/// Options for a [`Server`](crate::net::Server). Set them, then call [`listen`](ServerOptions::listen).
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
    /// Returns options with their default values, which each option documents.
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

    /// Sets how many connections may be open at once. Each open connection takes up one place, called its slot. With 0,
    /// every client is refused, or waits if [`WhenFull::Wait`] is set. `None` allows as many as the system has threads
    /// for. Default: 10,000, or a lower number if the limit of descriptors is too low for that.
    ///
    /// The lower number is seven eighths of the limit of descriptors, less 64. The other eighth is for connections that
    /// [linger](ServerOptions::lingering_close). The limit of descriptors is `ulimit -n`, or 1,024 on Linux without
    /// /proc.
    ///
    /// [`listen`](Self::listen) fails if the number is more than the threads that one process can have. On Linux that
    /// is a quarter of `vm.max_map_count`, less 1,000.
    #[doc(alias = "maxConnections")]
    pub fn max_connections(mut self, max: impl Into<Option<usize>>) -> ServerOptions {
        self.max_connections = max.into().map_or(Max::Ceiling, Max::Of);
        self
    }

    /// Blocks clients whose address is on this list: they are closed as soon as they are accepted. Blocked clients are
    /// counted in [`Stats`](crate::net::Stats) and reported. No other callback is called for them. The rules may change
    /// while the server runs. Default: none.
    pub fn block_list(self, list: &BlockList) -> ServerOptions {
        ServerOptions { block_list: Some(list.clone()), ..self }
    }

    /// Calls `filter` with the address of each client, to decide whether the client is admitted. If it returns `true`,
    /// the limits are checked next. If it returns `false`, the client is closed without a
    /// [goodbye](WhenFull::RefuseWith), and counted and reported as
    /// [`RefusedBy::Filtered`](crate::RefusedBy::Filtered). No other callback is called. Default: none.
    ///
    /// The filter is called once for each client, on the thread that accepted it, before the client has a slot. It is
    /// not called for clients on the [`block_list`](Self::block_list), nor for clients that are refused because the
    /// server is closing.
    ///
    /// No lock is held. The filter may block, and may call any method of the server:
    /// - Other threads accept while the filter runs. [`serve`](crate::net::Server::serve) accepts and serves with at
    ///   most one thread for each connection that the limit allows, and sixteen more. Handlers, filters and the other
    ///   [callbacks](crate::net::ServerCallbacks) share these threads.
    /// - [`accept`](crate::net::Server::accept), [`accept_timeout`](crate::net::Server::accept_timeout),
    ///   [`try_accept`](crate::net::Server::try_accept) and the one thread of
    ///   [`incoming`](crate::net::Server::incoming) wait until the filter returns, even if that takes longer than their
    ///   timeout.
    /// - [`close`](crate::net::Server::close) does not wait for the filter. If the filter admits a client after
    ///   `close`, the client is refused, because the server is closing. On an [adopted](Self::adopt) listener, and
    ///   behind load balancers, the client is still served.
    /// - [`shutdown`](crate::net::Server::shutdown) waits for the filter up to `grace`, then counts it as still
    ///   running.
    /// - If the filter panics, only that client is refused.
    ///
    /// Behind [load balancers](Self::proxy_protocol), the filter is called after the header has arrived, with the
    /// client's address from the header. The connection already holds a slot while the header is awaited and while the
    /// filter runs. If the header names no client, the filter is not called.
    ///
    /// With [`WhenFull::Wait`], all slots may be taken when the filter returns. The accepted client, and the thread
    /// that accepted it, then wait for a slot.
    ///
    /// A client on a Unix socket has a path as its address, which is usually empty. On systems other than Linux,
    /// `close` wakes the threads of a Unix socket by connecting to it, and the filter may be called for these
    /// connections too.
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

    /// Sets what happens to a client that connects when the server is full. Default: [`WhenFull::Refuse`].
    pub fn when_full(self, when_full: WhenFull) -> ServerOptions {
        ServerOptions { when_full, ..self }
    }

    /// Sets how many connections one address may have open at once. An IPv4 address and its form in IPv6 (`::ffff:…`)
    /// count as the same address. IPv6 addresses are counted by their /64 network, because a provider gives each
    /// customer a whole /64. So all hosts of one IPv6 network count together, and all hosts that use link-local
    /// addresses count together.
    ///
    /// A client above this limit is refused, even if the server is not full, and even with [`WhenFull::Wait`]. With
    /// [`WhenFull::RefuseWith`] it gets the goodbye. With 0, every client is refused. The limit does not apply to Unix
    /// sockets. Memory is used only for addresses that are connected. Default: none, which means as many as there is
    /// room for.
    pub fn max_connections_per_address(self, max: impl Into<Option<usize>>) -> ServerOptions {
        ServerOptions { max_per_address: max.into(), ..self }
    }

    /// Counts this server's connections against `limit`, which other servers and other parts of the program may share.
    /// See [`Limit`]. The shared limit replaces [`max_connections`](ServerOptions::max_connections) and
    /// [`max_connections_per_address`](ServerOptions::max_connections_per_address).
    ///
    /// [`Server::connections`](crate::net::Server::connections) counts the connections of this server, and
    /// [`Limit::in_use`] counts all. [`Server::set_max_connections`](crate::net::Server::set_max_connections) changes
    /// the limit for all. Closing one server does not close the others. The limit may be higher than the number of
    /// threads that the system allows. If there is no thread for a client, the client is refused. Default: none.
    /// Without a shared limit, each server has its own limit.
    ///
    /// [`listen`](Self::listen) fails with `ERR_INVALID_ARG_VALUE` if one of the replaced options is set too. It also
    /// fails if [`WhenFull::Wait`] is set, which accepts a client only while a slot is free: another server could take
    /// that slot before the client gets it. The client would then be accepted, and yet have to wait for a slot.
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

    /// Sets how many connections the kernel completes and keeps until they are accepted: listen(2). The system may
    /// reduce the number. Linux reduces it to `net.core.somaxconn` if it is higher. When the backlog is full, a connect
    /// takes a second or longer. Default: 4096.
    pub fn backlog(self, backlog: u32) -> ServerOptions {
        ServerOptions { backlog, ..self }
    }

    /// Sets whether [`close`](crate::net::Server::close) answers the clients in the [backlog](ServerOptions::backlog):
    /// it accepts each of them, and then refuses it. Without this option the kernel resets them. At most as many
    /// clients are refused as the backlog holds. With [`WhenFull::RefuseWith`] they get the goodbye, but the server
    /// sends it to a limited number of clients at once. Clients above that number read the end of the stream, or get
    /// `ConnectionReset` if they have already written.
    ///
    /// These clients are reported on the thread that calls `close`, and counted as refused (`closing`). Clients on a
    /// block list are closed without the goodbye and counted as `blocked`. The `refused` callback is called only for a
    /// client that another thread was accepting at that moment.
    ///
    /// `close` blocks until all these clients are refused. Goodbyes may still be in progress after that, so call
    /// [`wait`](crate::net::Server::wait) before the program ends. The option has no effect on an
    /// [adopted](ServerOptions::adopt) listener, because its queue belongs to the program that passed it. Default: no,
    /// as in Node.
    pub fn answer_queued(self, answer: bool) -> ServerOptions {
        ServerOptions { answer_queued: answer, ..self }
    }

    /// Sets whether a server on an IPv6 address accepts only IPv6 clients: IPV6_V6ONLY. Default: no. So a server on
    /// `::` also accepts IPv4 clients. OpenBSD has no such sockets: a server on a bare port accepts only IPv4 clients
    /// there, and `::` needs this option.
    pub fn ipv6_only(self, only: bool) -> ServerOptions {
        ServerOptions { ipv6_only: only, ..self }
    }

    /// Sets whether the server can listen on a port while connections of an earlier server on this port are in
    /// TIME_WAIT: SO_REUSEADDR. On Windows this option would let two programs share a port, so it is never set there.
    /// Default: yes.
    pub fn reuse_address(self, reuse: bool) -> ServerOptions {
        ServerOptions { reuse_address: reuse, ..self }
    }

    /// Sets whether several servers may listen on the same port, if all of them set this option: SO_REUSEPORT. The
    /// servers may be in different processes. Linux distributes the clients among them. macOS and FreeBSD do not. When
    /// one server closes, the clients in its backlog are reset, unless [`answer_queued`](ServerOptions::answer_queued)
    /// is set. On systems other than Linux, a thread of that server may then stay in accept(2), see
    /// [`close`](crate::net::Server::close). Not supported on Windows. Default: no.
    pub fn reuse_port(self, reuse: bool) -> ServerOptions {
        ServerOptions { reuse_port: reuse, ..self }
    }

    /// Sets whether every user may read the file of a Unix socket. Default: no. Without this option, the umask decides.
    pub fn readable_all(self, all: bool) -> ServerOptions {
        ServerOptions { readable_all: all, ..self }
    }

    /// Sets whether every user may write to the file of a Unix socket. Connecting needs this permission. Default: no.
    /// Without this option, the umask decides.
    pub fn writable_all(self, all: bool) -> ServerOptions {
        ServerOptions { writable_all: all, ..self }
    }

    /// Sets whether [`listen`](Self::listen) removes the file of a Unix socket that a crashed program has left at the
    /// path. The file is removed only if it is a socket (not a link to one) and refuses two connects, 20 ms apart. Any
    /// other file stays, and `listen` fails with `listen EADDRINUSE`, as without this option. If a server is listening
    /// on the socket, that server gets one client that disconnects at once. On macOS and the BSDs, a server refuses
    /// connects while its backlog is full, so its file may be removed. If several programs listen with this option at
    /// the same time, one of them succeeds. Default: no.
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
    /// this machine does not have yet. The descriptor implements `AsFd`, on Windows `AsSocket`. If the hook returns an
    /// error, `listen` fails with that error. If that error comes from a system call, its text begins with
    /// `before_bind` and the system's code, as in `before_bind EINVAL`.
    ///
    /// The hook runs on the calling thread. No lock is held, and the descriptor stays open while the hook runs. The
    /// hook must not bind or connect the socket, nor make it non-blocking. A panic in the hook unwinds through
    /// `listen`, and the socket is closed. Default: none.
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

    /// Sets how many received bytes the system may keep for each connection: SO_RCVBUF. It is set before listen(2), so
    /// that the window offered to clients can be that large. The system may grant less. With this option, Linux no
    /// longer adjusts the size itself. The option has no effect on a Unix socket. Default: the system's.
    #[doc(alias = "SO_RCVBUF")]
    pub fn recv_buffer_size(mut self, bytes: usize) -> ServerOptions {
        self.connection.buffers.recv_buffer_size = Some(bytes);
        self
    }

    /// Sets how many bytes the system may keep for each connection until they are sent and acknowledged: SO_SNDBUF. The
    /// notes on [`recv_buffer_size`](Self::recv_buffer_size) apply here too. Default: the system's.
    #[doc(alias = "SO_SNDBUF")]
    pub fn send_buffer_size(mut self, bytes: usize) -> ServerOptions {
        self.connection.buffers.send_buffer_size = Some(bytes);
        self
    }

    /// Sets whether each write is sent at once, for each connection. See
    /// [`Socket::set_no_delay`](crate::net::Socket::set_no_delay). Default: yes.
    pub fn no_delay(mut self, on: bool) -> ServerOptions {
        self.connection.settings.no_delay = on;
        self
    }

    /// Sets whether and when a silent peer is probed, for each connection. See
    /// [`Socket::set_keep_alive`](crate::net::Socket::set_keep_alive). Default: none.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> ServerOptions {
        self.connection.settings.keep_alive = Some(keep_alive.into());
        self
    }

    /// Sets how long written data may stay unacknowledged, for each connection. See
    /// [`Socket::set_user_timeout`](crate::net::Socket::set_user_timeout). If the system does not support the time,
    /// [`listen`](Self::listen) fails, and the error names the option. Default: the system's.
    pub fn user_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.settings.user_timeout = Some(time.into().unwrap_or_default());
        self
    }

    /// Sets the type of service of packets, for each connection. See
    /// [`Socket::set_type_of_service`](crate::net::Socket::set_type_of_service). The option has no effect on a Unix
    /// socket, nor for IPv6 on Windows. Default: 0.
    pub fn type_of_service(mut self, value: u8) -> ServerOptions {
        self.connection.settings.type_of_service = Some(value);
        self
    }

    /// Sets whether [`each`](crate::net::Socket::each) leaves our direction open after the peer has ended its
    /// direction, until [`end`](crate::net::Socket::end) is called. With blocking reads and writes, and in a
    /// [channel](crate::net::Server::events), our direction always stays open until the program ends it. Default: no.
    ///
    /// ```
    /// use landline::net::{ServerOptions, Socket, SocketEvent};
    /// use std::thread;
    ///
    /// let server = ServerOptions::new().allow_half_open(true).listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| {
    ///     socket.each(|socket, event| {
    ///         if let SocketEvent::End = event {
    ///             let socket = socket.clone(); // the answer is sent after this closure has returned
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

    /// Sets whether each connection starts [paused](crate::net::Socket::pause). Its events begin when its handler, or
    /// another thread that has the socket, calls [`resume`](crate::net::Socket::resume). Default: no.
    pub fn pause_on_connect(mut self, pause: bool) -> ServerOptions {
        self.connection.paused = pause;
        self
    }

    /// Sets how many bytes the [outbox](crate::net::Socket::outbox) of each connection can queue. Default: 1 MiB.
    pub fn outbox_limit(mut self, bytes: usize) -> ServerOptions {
        self.connection.outbox_limit = bytes;
        self
    }

    /// Sets the idle timeout of each connection. See [`Socket::set_timeout`](crate::net::Socket::set_timeout). Default:
    /// none.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.timeout = time.into();
        self
    }

    /// Sets how long each connection may last in all, including the sending of queued data and the time of
    /// [`lingering_close`](Self::lingering_close). See [`Socket::set_deadline`](crate::net::Socket::set_deadline).
    /// Default: none.
    pub fn deadline(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.connection.deadline = time.into();
        self
    }

    /// Sets how long a connection lingers after its handler has returned `Ok` or [`each`](crate::net::Socket::each) has
    /// ended. While it lingers, our direction has ended, and input is discarded until the peer has ended its direction
    /// too. Without lingering, the kernel could send RST because of unread input, and the RST can destroy the reply on
    /// its way to the peer. A lingering connection has no slot and no handler thread: one thread of the server serves
    /// all of them. At most 1 MiB is discarded for each connection. `None` or zero closes at once. Default: 1 s. Once
    /// the server is closed, the time is 100 ms if the peer has sent nothing since our direction ended.
    ///
    /// If another thread is in a read of the connection when the handler returns, the read ends with the lingering at
    /// the latest. [`destroy`](crate::net::Socket::destroy) ends it at once.
    ///
    /// At most as many connections linger as [may be open](ServerOptions::max_connections), and at most 1,024. In the
    /// whole process, lingering connections use at most an eighth of the limit of descriptors. Above these bounds, one
    /// of them is closed: the oldest whose peer has sent nothing since our direction ended. Its data is still sent,
    /// unless the peer sends something first. If all peers have sent something, a handler that returns waits until one
    /// of the lingering connections closes, or until its own connection's [deadline](Self::deadline). While it waits,
    /// its connection keeps its slot and its thread, and its [outbox](crate::net::Socket::outbox) takes no message.
    ///
    /// During a [shutdown](crate::net::Server::shutdown), the end of the peer's direction cannot be seen. So the server
    /// discards input until none has arrived for 100 ms, and only then ends our direction. If there is no input and the
    /// handler has written nothing since the shutdown began, as with an idle client, the server skips this wait.
    pub fn lingering_close(self, time: impl Into<Option<Duration>>) -> ServerOptions {
        ServerOptions { lingering_close: time.into().unwrap_or_default(), ..self }
    }

    /// Sets the stack size of each thread that the server starts, in bytes, at least 64 KiB. The whole size reserves
    /// address space, but memory is used only for the part that the thread touches. 128 to 256 KiB are enough for a
    /// handler that keeps its buffers on the heap. Default: std's, 2 MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> ServerOptions {
        self.threads.stack_size = bytes.into();
        self
    }

    /// Sets the first part of the names of the server's threads. The role of the thread and the server's address
    /// follow, as in `landline worker 127.0.0.1:3000`. Tools on Linux show the first 15 bytes. Threads that a socket
    /// starts, such as the one of an outbox, always begin with `landline`. Default: `landline`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> ServerOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Calls `hook` with every event of the server and its connections. See [`Report`]. Default: none.
    pub fn report(self, hook: impl Fn(&Report) + Send + Sync + 'static) -> ServerOptions {
        ServerOptions { reporter: Reporter::new(hook), ..self }
    }

    /// Lets `cancel` close the server, as [`close`](crate::net::Server::close) does. If `cancel` was cancelled before,
    /// the server is closed as soon as it listens. Default: none.
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

    /// Rejects the options that a shared limit excludes.
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
    /// Accepts connections only from load balancers whose address is on the list `trusted`, and expects a PROXY header
    /// from each. On this list, unlike on a block list, a match means that the address is trusted. The header names the
    /// client, and has version 1 or 2 (HAProxy's `send-proxy` and `send-proxy-v2`, nginx's `proxy_protocol on`). The
    /// rules may change while the server runs. Default: none, and no header is expected.
    ///
    /// If the header names a client:
    /// - [`remote_address`](crate::net::Socket::remote_address) is the client's address, and
    ///   [`local_address`](crate::net::Socket::local_address) is the address that the client connected to. Reports use
    ///   these addresses too.
    /// - [`proxy_address`](crate::net::Socket::proxy_address) is the load balancer's address.
    /// - The [`block_list`](Self::block_list) and [`max_connections_per_address`](Self::max_connections_per_address)
    ///   apply to the client, never to the load balancer.
    ///
    /// If the header names no client, the addresses are those of the connection, and the block list and the limit do
    /// not apply. These headers name no client: `LOCAL` (a load balancer's own checks), `UNKNOWN`, and headers for an
    /// unspecified family or for datagrams.
    ///
    /// A client whose address is not on the list could put any address into its header. So its connection is closed as
    /// soon as it is accepted, before any byte is read. An empty list refuses every client. On a Unix socket, the
    /// permissions of the file decide which peers can connect. All of these peers are trusted, and must send a header.
    ///
    /// The header is read on the thread that serves the connection. If the program calls
    /// [`accept`](crate::net::Server::accept), that call reads the header and blocks until it has arrived. The header
    /// must arrive within [`proxy_timeout`](Self::proxy_timeout), and have at most 107 bytes (version 1) or 4096 bytes
    /// (version 2). While the header is expected:
    /// - The connection holds a slot of [`max_connections`](Self::max_connections), does not count as
    ///   [accepted](crate::net::Stats::accepted), and delays no other client.
    /// - [`close`](crate::net::Server::close) does not shorten the time for the header.
    /// - [`shutdown`](crate::net::Server::shutdown), and dropping the server's [`events`](crate::net::Server::events),
    ///   refuse the connection unless its header has already arrived.
    ///
    /// If the header is wrong or late, the connection is closed, and no handler is called. The connection counts as
    /// [refused](crate::net::Stats::refused) for this cause. The `refused` callback is called, and the error is
    /// [reported](crate::Report::Failed).
    ///
    /// The first byte that a handler reads is the one after the header. The counter
    /// [`bytes_read`](crate::net::Socket::bytes_read), the [`timeout`](Self::timeout) and the
    /// [`deadline`](Self::deadline) also begin after the header.
    ///
    /// All other fields of a version 2 header are ignored, except a checksum (CRC32C). A checksum must be right, even
    /// if the header names no client.
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

    /// Sets how long the PROXY header may take, counted from when the connection was accepted. Bytes that arrive do not
    /// extend the time. `None` or zero means no limit. Default: 5 s. Less than 3 s is too short if a packet is lost and
    /// sent again.
    pub fn proxy_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.proxy_timeout = time.into();
        self
    }
}

/// What the server does with a client that connects while [`max_connections`] connections are open.
///
/// [`max_connections`]: crate::net::ServerOptions::max_connections
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Accepts the client, reports it as refused, and closes it, as in Node. The client's connect succeeds. Then the
    /// client reads the end of the stream, or gets `ConnectionReset` if it has already written.
    #[default]
    Refuse,
    /// Refuses the client like `Refuse`, but first sends it these bytes, the goodbye, at most 64 KiB:
    /// `WhenFull::RefuseWith("server busy\n".into())`.
    ///
    /// The server writes the goodbye and ends our direction. Then it discards input until the client ends its
    /// direction, for at most [`lingering_close`](crate::net::ServerOptions::lingering_close) and at most 1 MiB. So a
    /// client that writes first and reads later gets the goodbye too. If `lingering_close` is zero, the connection is
    /// closed right after the goodbye, and a client that is still writing may lose the goodbye.
    ///
    /// One thread sends the goodbyes to all clients, and never delays accepting. The thread is started for the first
    /// such client, and ends after the last. The thread serves 1,024 clients at once, or an eighth of the limit of
    /// descriptors if that is less. Further clients are closed without the goodbye. Clients on the block list never get
    /// it.
    ///
    /// Clients that are refused for a different reason also get the goodbye: because there are too many from their
    /// address, because there is no thread for them, or because the server is closing.
    ///
    /// [`serve`](crate::net::Server::serve) and [`wait`](crate::net::Server::wait) also wait until the last goodbye is
    /// done. A client that does not end its direction delays both calls by the lingering time.
    /// [`shutdown`](crate::net::Server::shutdown) waits no longer than its `grace`.
    RefuseWith(Vec<u8>),
    /// Does not accept the client until a slot is free, like Go's `LimitListener`. The client waits in the
    /// [backlog](crate::net::ServerOptions::backlog): its connect succeeds, and the system keeps what it writes. When
    /// the backlog is full too, a connect takes a second or longer.
    ///
    /// Only one thread accepts at a time, and only while a slot is free. If the limit is lowered while that thread
    /// accepts, the thread may hold one client back until a slot is free.
    ///
    /// If a program calls [`accept`](crate::net::Server::accept) on the same thread that uses the sockets, `accept`
    /// blocks forever as soon as the program holds as many sockets as the limit.
    ///
    /// Only a full server makes clients wait. A client is refused as soon as it is accepted if it is on the block list,
    /// if its address is at its own limit, or if there is no thread for it.
    Wait,
}
