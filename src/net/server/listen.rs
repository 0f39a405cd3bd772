use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;
use std::{io, process};

use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::{Address, canonical};
use crate::endpoint::{Endpoint, Target, first_of, has_no_dual_stack, reachable, resolve};
use crate::error::{Error, Result};
use crate::net::server::Server;
use crate::net::server::listener::Listener;
use crate::net::server::options::{ServerOptions, WhenFull};
use crate::net::server::registry::Registry;
use crate::net::server::shortage::Shortage;
use crate::net::socket::lingering::Lingering;
use crate::net::socket::stream;
use crate::net::unix::{self, SocketFile};
use crate::slots::{Addresses, Slots};
use crate::sync::poison::lock;
use crate::sync::wait_queue::WaitQueue;
use crate::sys;
use crate::thread::ThreadOptions;

/// Where a listener comes from.
enum Origin {
    /// Made here, with its file if it has a path.
    Made(Option<SocketFile>),
    /// Made elsewhere, and no other program has it.
    Owned,
    /// Other programs have it too. `is_called`: whether `close` connects to its address.
    Adopted { is_called: bool },
}

impl ServerOptions {
    /// Listens: socket(2), bind(2), listen(2).
    ///
    /// - With a bare port, the server listens on every interface, over IPv6 and IPv4, or only over IPv4 if the system
    ///   has no IPv6. With port 0 the system chooses a port, and [`Server::address`] returns it.
    /// - A name is looked up, which may block. The server listens on the first of its addresses that this machine has.
    ///   Link-local addresses are tried last.
    /// - From a list, the first address that works is used.
    /// - A path makes a Unix socket, unix(7). On Linux a path that starts with a NUL is an abstract name, without a
    ///   file.
    ///
    /// The file of a Unix socket is removed on `close`, or when the last handle is dropped, even if the current
    /// directory has changed. If that fails, the error is [reported](crate::Report::Failed), as `unlink EACCES /path`.
    /// Only the process that made the file removes it, never a forked child. After a crash the file remains. See
    /// [`remove_stale`](Self::remove_stale).
    ///
    /// # Errors
    /// - `listen EADDRINUSE: address already in use 127.0.0.1:3000`: another socket listens there.
    /// - `listen EADDRNOTAVAIL`: this machine does not have the address.
    /// - `listen EACCES`: only root may use the port (below 1024).
    /// - `getaddrinfo ENOTFOUND host`: the name has no address.
    /// - `listen EADDRINUSE 2 addresses (…)`: no address of the list works. [`Error::causes`] has the error of each,
    ///   and the code is that of the first.
    /// - `listen EADDRINUSE: address already in use /path`: the file exists.
    /// - `listen EACCES` with a path: the directory does not exist or is not writable.
    /// - `listen EINVAL` with a path: the path is longer than 107 bytes (103 on systems other than Linux), or contains
    ///   a NUL.
    /// - `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_VALUE`, `ERR_SOCKET_BAD_PORT`: an option or the endpoint is invalid. The
    ///   text names it. No socket was made.
    #[doc(alias = "createServer")]
    #[doc(alias = "bind")]
    pub fn listen(&self, at: impl Into<Endpoint>) -> io::Result<Server> {
        let limit = self.check()?;
        let (listener, at) = match at.into().target()? {
            Target::Port(port) => {
                let (v6, v4) = (SocketAddr::from(([0; 16], port)), SocketAddr::from(([0; 4], port)));
                match self.open(v6) {
                    Err(error) if !self.ipv6_only && has_no_dual_stack(&error) => (self.open(v4)?, v4),
                    listener => (listener?, v6),
                }
            }
            Target::Ip(at) => (self.open(canonical(at))?, at),
            Target::Name { host, port } => self.open_first(resolve(&host, port, None)?)?,
            Target::Several(list) => first_of(&list, |at| Ok((self.open(at)?, at)))?,
            Target::Path(path) => return Ok(self.listen_on_path(path, limit)?),
            Target::Invalid(error) => return Err(error.into()),
        };
        let bound = listener.local_addr().map_err(|error| Error::call("listen", &error).at(at))?;
        Ok(self.server(listener, bound.as_socket().unwrap_or(at).into(), Origin::Made(None), limit))
    }

    fn listen_on_path(&self, path: PathBuf, limit: usize) -> Result<Server> {
        if unix::is_abstract(&path) && (self.readable_all || self.writable_all) {
            let text = "readable_all and writable_all need a file: an abstract name has none";
            return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text));
        }
        let rights = (self.readable_all, self.writable_all);
        let (listener, file) = unix::listen(&path, self.backlog, rights, self.remove_stale, &self.before_bind)?;
        Ok(self.server(listener, path.into(), Origin::Made(file), limit))
    }

    /// Makes a server from a listener that no other program uses: a `TcpListener`, on Unix also a `UnixListener` or an
    /// `OwnedFd`. The server works like one from [`listen`](Self::listen): [`close`](Server::close) shuts the listener
    /// down with shutdown(2), and [`answer_queued`](Self::answer_queued) and [`accept_timeout`](Server::accept_timeout)
    /// work. If systemd, a parent process or another part of the program also uses the listener, [adopt](Self::adopt)
    /// it instead, because `close` would end it for all of them.
    ///
    /// The listener is made blocking and close-on-exec, and its timeout is removed. Its backlog and address stay.
    /// Options for binding, such as [`before_bind`](Self::before_bind) and [`remove_stale`](Self::remove_stale), are
    /// ignored. Options for connections apply, also those that are off. On systems where an accepted socket inherits
    /// settings of its listener, such as Linux, an option that was not given leaves the inherited setting. No-delay
    /// counts as given. The file of a Unix socket remains after the server is closed, as in std.
    ///
    /// [`Server::from`] does the same with the default options, and cannot fail.
    ///
    /// ```
    /// use landline::net::{ServerOptions, Socket};
    /// use std::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let server = ServerOptions::new().max_connections(100).own(listener)?;
    /// let serving = server.spawn(|socket| socket.write_end("hello"))?;
    /// assert_eq!(std::io::read_to_string(Socket::connect(server.address())?)?, "hello");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// - `listen EINVAL: invalid argument`: it is not a listening stream socket.
    /// - `ERR_OUT_OF_RANGE`: an option is invalid. The text names it.
    #[doc(alias = "from_listener")]
    #[doc(alias = "from_std")]
    pub fn own(&self, listener: impl Into<sys::OwnedHandle>) -> io::Result<Server> {
        let limit = self.check()?;
        let (socket, bound) = given(listener.into())?;
        Ok(self.server_of(socket, bound, limit))
    }

    /// Makes a server from a listener that only this program has. If something fails here, the first accept fails.
    fn server_of(&self, socket: socket2::Socket, bound: Address, limit: usize) -> Server {
        let _ = sys::close_on_exec(&socket);
        let _ = socket.set_nonblocking(false);
        let _ = socket.set_read_timeout(None);
        if bound.path().is_none() {
            let _ = self.connection.buffers.apply(&SockRef::from(&socket));
        }
        // The backlog was set elsewhere, so `answer_queued` applies to all queued clients.
        let options = ServerOptions { backlog: u32::MAX, ..self.clone() };
        options.server(socket, bound, Origin::Owned, limit)
    }

    /// Makes a server from a listener that other programs also use, for instance a service manager or a parent process:
    /// a `TcpListener`, on Unix also a `UnixListener` or an `OwnedFd`. The other programs can keep using the listener.
    /// If only this program uses it, call [`own`](Self::own).
    ///
    /// systemd can pass its listener as standard input (`StandardInput=socket`). Adopt a duplicate of standard input,
    /// as the example `systemd` does. For several listeners, as in `LISTEN_FDS`, use the crate `listenfd`.
    ///
    /// Backlog and address of the listener stay. Options for listening are ignored. Options for connections apply as
    /// with [`own`](Self::own), also those that are off. Our descriptor is made close-on-exec.
    ///
    /// [`close`](Server::close) closes only our descriptor. It wakes our accepting threads by connecting to the
    /// listener. A client that is accepted at that moment is served. If clients connect at that moment, a connection
    /// that `close` has made may stay in the queue. In that case the next accept, in any program, gets a client that
    /// disconnects at once.
    ///
    /// `close` may be unable to connect to these listeners:
    /// - a listener in a different network namespace,
    /// - a listener that is bound to a device, or to an address that this machine does not have,
    /// - a TCP listener with SO_REUSEPORT, because the connection may reach another listener on the port,
    /// - a Unix socket whose file was removed before, or at whose path another socket listens,
    /// - a Unix socket whose file this user may not write to.
    ///
    /// On Linux, such a listener gets a receive timeout (SO_RCVTIMEO) of 500 ms, and `close` takes at most 1.5 s. All
    /// programs that have the listener share that timeout: their accept(2) sometimes fails with `EAGAIN`, even after
    /// this program was killed. The TCP connections that they accept inherit the timeout, so they must remove it from
    /// those. If the listener already has a timeout, that timeout is kept. If it is longer than 1.5 s, `close` may
    /// return while a thread is still in accept(2).
    ///
    /// On other systems accept(2) ignores such a timeout, so none is set, and `close` tries to connect. If that fails,
    /// `close` takes 5.4 s, and a thread stays in accept(2).
    ///
    /// On Linux, but not with musl, `close` reaches a Unix socket whose file is moved or removed later. Elsewhere, or
    /// without /proc or a free descriptor, it then takes 5.4 s, and a thread stays in accept(2). The same happens if
    /// this user may no longer write to the file. Only on Linux does `adopt` notice that another socket listens at the
    /// path, or that the file may not be written to.
    ///
    /// A non-blocking listener stays non-blocking, and one thread polls it every 2 to 16 ms. To avoid that, make it
    /// blocking first. If it is made non-blocking while a thread is in accept(2), `close` takes 1.5 s. The same holds
    /// if the machine is so busy that the polling thread does not return within that time. Then a connection that
    /// `close` has made may stay in the queue.
    ///
    /// # Errors
    /// - `listen EINVAL: invalid argument`: it is not a listening stream socket.
    /// - `ERR_OUT_OF_RANGE`: an option is invalid. The text names it.
    pub fn adopt(&self, listener: impl Into<sys::OwnedHandle>) -> io::Result<Server> {
        let limit = self.check()?;
        let (socket, bound) = given(listener.into())?;
        let failed = |error| Error::call("listen", &error);
        sys::close_on_exec(&socket).map_err(failed)?;
        // Where accept(2) ignores the receive timeout, nothing else may wake the threads, so they are called anyway.
        let is_called = !sys::ACCEPT_TAKES_TIME || is_call_expected(&socket, &bound);
        if !is_called && socket.read_timeout().map_err(failed)?.is_none() {
            socket.set_read_timeout(Some(LOOK_AROUND)).map_err(failed)?;
        }
        Ok(self.server(socket, bound, Origin::Adopted { is_called }, limit))
    }

    fn server(&self, listener: socket2::Socket, address: Address, origin: Origin, limit: usize) -> Server {
        let is_given = !matches!(origin, Origin::Made(_));
        let (adopted, is_called, file) = match origin {
            Origin::Made(file) => (false, true, file),
            Origin::Owned => (false, true, None),
            Origin::Adopted { is_called } => (true, is_called, None),
        };
        let may_call = adopted || !sys::SHUTDOWN_WAKES_ACCEPT;
        let spare = if may_call { socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).ok() } else { None };
        let is_wildcard = address.ip().is_some_and(|ip| ip.is_unspecified());
        let ThreadOptions { thread_name, stack_size } = &self.threads;
        let lingering = Lingering::new(self.lingering_close, format!("{thread_name} linger {address}"), *stack_size);
        let goodbye = match &self.when_full {
            WhenFull::RefuseWith(message) => Some(message.as_slice().into()),
            WhenFull::Refuse | WhenFull::Wait => None,
        };
        let (slots, addresses) = match &self.shared_limit {
            Some(shared) => (Slots::within(Arc::clone(&shared.slots)), shared.addresses.clone()),
            None => (Slots::new(limit), self.max_per_address.map(Addresses::new)),
        };
        let gives_linger = is_given && listener.linger().is_ok_and(|time| time.is_some());
        let inner = Arc::new(Listener {
            inherits: sys::ACCEPTED_INHERITS && !is_given,
            is_called,
            registry: Registry::new(slots, self.reporter.clone(), address.clone(), lingering),
            options: self.clone(),
            inode: sys::inode(&listener),
            listener: RwLock::new(Some(Arc::new(listener))),
            path: address.path().map(|path| if unix::is_abstract(path) { path.into() } else { unix::absolute(path) }),
            held: Mutex::new(address.path().filter(|_| adopted).and_then(sys::hold)),
            local: (!is_wildcard).then(|| address.clone()),
            address,
            adopted,
            gives_linger,
            made_by: process::id(),
            wakers: Mutex::default(),
            file: Mutex::new(file),
            spare: Mutex::new(spare),
            shortage: Shortage::default(),
            turn: WaitQueue::default(),
            timed: AtomicBool::new(false),
            told: Mutex::default(),
            kept: Mutex::default(),
            in_hand: AtomicUsize::new(0),
            addresses,
            goodbye,
            shutdowns: Mutex::default(),
            reported: Condvar::new(),
            attached: Mutex::default(),
        });
        let server = Server { inner };
        if let Some(cancel) = &self.cancel {
            let inner = Arc::downgrade(&server.inner);
            let attached = cancel.attach(move || {
                if let Some(inner) = inner.upgrade() {
                    inner.close();
                }
            });
            *lock(&server.inner.attached) = Some(attached);
        }
        server
    }

    /// Listens on the first address of a name that this machine has. Link-local addresses are tried last. `localhost`
    /// may be `::1` even if the machine has no such address, as in many containers.
    fn open_first(&self, found: Vec<SocketAddr>) -> Result<(socket2::Socket, SocketAddr)> {
        let (mut in_order, mut link_local) = (Vec::new(), Vec::new());
        for at in found {
            if is_link_local(&at) { link_local.push(at) } else { in_order.push(at) }
        }
        in_order.append(&mut link_local);
        let mut missing = None;
        for at in in_order {
            match self.open(at) {
                Err(error) if matches!(error.code(), "EADDRNOTAVAIL" | "EAFNOSUPPORT") => {
                    missing = missing.or(Some(error));
                }
                listener => return Ok((listener?, at)),
            }
        }
        Err(missing.unwrap_or_else(|| Error::call("listen", &io::ErrorKind::AddrNotAvailable.into())))
    }

    fn open(&self, at: SocketAddr) -> Result<socket2::Socket> {
        let failed = |error| Error::call("listen", &error).at(at);
        let socket = self.prepare(at).map_err(failed)?;
        self.before_bind.run(&socket).map_err(|error| error.at(at))?;
        socket.bind(&at.into()).map_err(failed)?;
        socket.listen(self.backlog.try_into().unwrap_or(i32::MAX)).map_err(failed)?;
        Ok(socket)
    }

    /// A socket with the options that must be set before bind(2).
    fn prepare(&self, at: SocketAddr) -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        if at.is_ipv6() {
            // Set to yes or no in any case, because the systems' defaults differ. OpenBSD has only one behaviour and
            // rejects the option. The option matters only for a wildcard: no IPv4 client reaches an IPv6 address.
            let is_as_asked = || self.ipv6_only && socket.only_v6().unwrap_or(false);
            match socket.set_only_v6(self.ipv6_only) {
                Err(error) if at.ip().is_unspecified() && !is_as_asked() => return Err(error),
                _ => {}
            }
        }
        if self.reuse_address && sys::REUSE_ADDRESS_IS_SAFE {
            socket.set_reuse_address(true)?;
        }
        if self.reuse_port {
            sys::reuse_port(&socket)?;
        }
        if sys::ACCEPTED_INHERITS {
            stream::apply(&SockRef::from(&socket), self.connection.settings, true)?;
        }
        self.connection.buffers.apply(&SockRef::from(&socket))?;
        Ok(socket)
    }
}

/// Checks an existing listener, and returns it with its address.
fn given(listener: sys::OwnedHandle) -> Result<(socket2::Socket, Address)> {
    let socket = socket2::Socket::from(listener);
    let failed = |error| Error::call("listen", &error);
    let wrong = || failed(io::ErrorKind::InvalidInput.into());
    let bound = socket.local_addr().ok().and_then(|bound| Address::of(&bound)).ok_or_else(wrong)?;
    // Rejects a listener for packets, which Unix sockets can be, because a read would lose the rest of each packet.
    if !sys::is_listener(&socket).map_err(failed)? || socket.r#type().map_err(failed)? != Type::STREAM {
        return Err(wrong());
    }
    Ok((socket, bound))
}

impl From<TcpListener> for Server {
    /// Makes a server from a listener of std that no other program uses, like [`ServerOptions::own`] with the default
    /// options. If the descriptor is not a listener, or the system refuses to accept on it, the first
    /// [`accept`](Server::accept) or [`serve`](Server::serve) returns the error, and the server is closed.
    fn from(listener: TcpListener) -> Server {
        from_any(listener.into())
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Server {
    /// Makes a server from a Unix listener of std that no other program uses, like [`ServerOptions::own`] with the
    /// default options. The socket's file remains after the server is closed, as in std.
    fn from(listener: std::os::unix::net::UnixListener) -> Server {
        from_any(listener.into())
    }
}

fn from_any(socket: socket2::Socket) -> Server {
    let bound = socket.local_addr().ok().and_then(|bound| Address::of(&bound));
    let bound = bound.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)).into());
    let options = ServerOptions::new();
    let limit = options.check().expect("the defaults are right");
    options.server_of(socket, bound, limit)
}

fn is_link_local(at: &SocketAddr) -> bool {
    match at {
        SocketAddr::V4(at) => at.ip().is_link_local(),
        SocketAddr::V6(at) => at.ip().is_unicast_link_local(),
    }
}

/// How often an accepting thread checks whether an adopted listener is closing, if connecting to it does not reach it.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// Whether a connect to a listener's address is expected to reach it from here. With SO_REUSEPORT it may reach a
/// different listener.
fn is_call_expected(listener: &socket2::Socket, address: &Address) -> bool {
    let inode = sys::inode(listener);
    if let Some(path) = address.path() {
        return match unix::is_abstract(path) {
            true => sys::is_of_this_network(inode, "unix"),
            false => sys::is_writable_socket(path) && !sys::is_listened_on_by_another(path, inode),
        };
    }
    let Some(at) = address.socket_addr() else { return false };
    let table = if at.is_ipv6() { "tcp6" } else { "tcp" };
    // Checks that the address belongs to this machine, and that there is a route to it. There is no route while no
    // interface is up. Nothing is sent.
    let has_way = |to: SocketAddr| {
        let mut from = to;
        from.set_port(0);
        UdpSocket::bind(from).and_then(|probe| probe.connect(to)).is_ok()
    };
    let by_ipv4 = at.ip() == Ipv6Addr::UNSPECIFIED;
    let listener = SockRef::from(listener);
    !sys::may_share_port(&listener)
        && !sys::is_bound_to_device(&listener)
        && sys::is_of_this_network(inode, table)
        && (has_way(reachable(at)) || by_ipv4 && has_way((Ipv4Addr::LOCALHOST, at.port()).into()))
}
