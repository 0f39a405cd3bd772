use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
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
    /// It was made here, with the file that it has on a path.
    Made(Option<SocketFile>),
    /// It was given, and others have it not.
    Owned,
    /// Others have it too. `is_called`: whether a call of ours reaches it.
    Adopted { is_called: bool },
}

impl ServerOptions {
    /// Listens: socket(2), bind(2), listen(2). A bare port listens on every interface, over IPv6 and IPv4, or over IPv4
    /// alone where there is no IPv6; port 0 is the system's choice, which [`Server::address`] tells. A name is looked
    /// up, which may block; its first address that is not link-local, and that this machine has, counts. Of a list, the
    /// first address that can be listened on counts.
    ///
    /// A path makes a Unix socket, unix(7): its file is made here and removed by `close`, or when the last handle is
    /// dropped, in the process that made it, also from another directory. That it could not be removed is
    /// [reported](crate::Report::Failed), as `unlink EACCES /path`. A child that was forked leaves it. After a crash it
    /// is left too: see [`remove_stale`](Self::remove_stale). On Linux a path that starts with a NUL is an abstract
    /// name, without a file.
    ///
    /// # Errors
    /// - `listen EADDRINUSE: address already in use 127.0.0.1:3000`: another socket listens there.
    /// - `listen EADDRNOTAVAIL`: the address is not this machine's. `listen EACCES`: the port is for root (below 1024).
    /// - `getaddrinfo ENOTFOUND host`: the name has no address.
    /// - `listen EADDRINUSE 2 addresses (…)`: no address of the list can be listened on. [`Error::causes`] has the
    ///   error of each, and the code is the first one's.
    /// - `listen EADDRINUSE: address already in use /path`: there is a file; `EACCES`: there is no such directory, or
    ///   it is not to be written; `EINVAL`: the path is longer than 107 bytes on Linux, 103 elsewhere, or holds a NUL.
    /// - `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_VALUE`, `ERR_SOCKET_BAD_PORT`: the option or endpoint that the text names
    ///   is wrong. No socket exists then.
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

    /// Serves a listener of this program's own, which no other process and no other part of this one has: a
    /// `TcpListener`, on Unix a `UnixListener` or an `OwnedFd` too. It is a server like one that
    /// [`listen`](Self::listen) makes: [`close`](Server::close) ends listening by shutdown(2),
    /// [`answer_queued`](Self::answer_queued) and [`accept_timeout`](Server::accept_timeout) work. A listener that
    /// others have too, such as systemd or a parent process, is [adopted](Self::adopt) instead: `close` would end it
    /// for all of them.
    ///
    /// It is made blocking, without a timeout of its own, and is not passed on to programs that are started
    /// (close-on-exec). Backlog and address stay as they are. Options for binding, such as
    /// [`before_bind`](Self::before_bind) and [`remove_stale`](Self::remove_stale), are not applied; those of the
    /// connections are. The file of a Unix socket stays when the server is closed, as std leaves it.
    ///
    /// With the default options, [`Server::from`] is the same and cannot fail.
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
    /// - `listen EINVAL: invalid argument`: it is no stream socket that listens for connections.
    /// - `ERR_OUT_OF_RANGE`: the option that the text names is wrong.
    #[doc(alias = "from_listener")]
    #[doc(alias = "from_std")]
    pub fn own(&self, listener: impl Into<sys::OwnedHandle>) -> io::Result<Server> {
        let limit = self.check()?;
        let (socket, bound) = given(listener.into())?;
        Ok(self.server_of(socket, bound, limit))
    }

    /// A server of a listener that this program alone has. What fails here makes the first accept fail.
    fn server_of(&self, socket: socket2::Socket, bound: Address, limit: usize) -> Server {
        let _ = sys::close_on_exec(&socket);
        let _ = socket.set_nonblocking(false);
        let _ = socket.set_read_timeout(None);
        if bound.path().is_none() {
            let _ = self.connection.buffers.apply(&SockRef::from(&socket));
        }
        // Its giver has said how many may wait: `answer_queued` means all of them.
        let options = ServerOptions { backlog: u32::MAX, ..self.clone() };
        options.server(socket, bound, Origin::Owned, limit)
    }

    /// Serves a listener that others have too, in this process or another: a service manager's, a parent process's. It
    /// takes a `TcpListener`, on Unix a `UnixListener` or an `OwnedFd` too. One that this program alone has is better
    /// [owned](Self::own). systemd hands its listener over as standard input
    /// (`StandardInput=socket`): adopt a duplicate of that, as the example `systemd` does. For several, as `LISTEN_FDS`
    /// says, there is the crate `listenfd`.
    ///
    /// Its giver may go on using it: [`close`](Server::close) wakes the threads that accept on it by connecting to it,
    /// and closes our descriptor only. A client that is accepted while that goes on is served. If clients come at that
    /// very moment, a call of ours may be left in the queue: the next accept gets a client that ends at once. Our
    /// descriptor is not passed on to programs that are started (close-on-exec).
    ///
    /// A call of ours is not expected to reach a listener of another network namespace, one that is bound to a device
    /// or to an address that this machine does not have, or a Unix socket whose file is gone. Such a listener is given
    /// a receive timeout of 500 ms, SO_RCVTIMEO, and `close` takes 1.5 s at most. The timeout is the giver's too: its
    /// own accept(2) fails with `EAGAIN` now and then, and it stays when this program is killed. A timeout that a
    /// listener has already is left as it is. A non-blocking listener stays so too: one thread looks for clients every
    /// 2 to 16 ms. To wait for them instead, make it blocking before. Backlog and address are the giver's, and so are
    /// the options that belong to listening; those of the connections apply.
    ///
    /// # Errors
    /// - `listen EINVAL: invalid argument`: it is no stream socket that listens for connections.
    /// - `ERR_OUT_OF_RANGE`: the option that the text names is wrong.
    pub fn adopt(&self, listener: impl Into<sys::OwnedHandle>) -> io::Result<Server> {
        let limit = self.check()?;
        let (socket, bound) = given(listener.into())?;
        let failed = |error| Error::call("listen", &error);
        sys::close_on_exec(&socket).map_err(failed)?;
        let is_called = is_call_expected(&socket, &bound);
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

    /// Of a name's addresses the first that is not link-local, or else the next that this machine has: `localhost` may
    /// be `::1` where there is no such address, as in many containers.
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

    /// A socket with what has to be set before it is bound.
    fn prepare(&self, at: SocketAddr) -> io::Result<socket2::Socket> {
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
        self.connection.buffers.apply(&SockRef::from(&socket))?;
        Ok(socket)
    }
}

/// A listener that exists already, with its address.
fn given(listener: sys::OwnedHandle) -> Result<(socket2::Socket, Address)> {
    let socket = socket2::Socket::from(listener);
    let failed = |error| Error::call("listen", &error);
    let wrong = || failed(io::ErrorKind::InvalidInput.into());
    let bound = socket.local_addr().ok().and_then(|bound| Address::of(&bound)).ok_or_else(wrong)?;
    // One of packets listens too, on a Unix socket: a read would lose the rest of each.
    if !sys::is_listener(&socket).map_err(failed)? || socket.r#type().map_err(failed)? != Type::STREAM {
        return Err(wrong());
    }
    Ok((socket, bound))
}

impl From<TcpListener> for Server {
    /// Serves a listener of std's that this program alone has, as [`ServerOptions::own`] does, with the default
    /// options. If the system refuses its address or to accept on it, as it does for a descriptor that is no listener,
    /// the first [`accept`](Server::accept) or [`serve`](Server::serve) says so, and the server is closed.
    fn from(listener: TcpListener) -> Server {
        from_any(listener.into())
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Server {
    /// The same of a listener on a Unix socket. Its file stays when the server is closed, as std leaves it.
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

/// How often a thread that accepts looks whether an adopted listener is being closed that no call of ours reaches.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// Whether a connection to a listener's address is expected to reach that listener from here.
fn is_call_expected(listener: &socket2::Socket, address: &Address) -> bool {
    if let Some(path) = address.path() {
        return unix::is_abstract(path) || sys::file_identity(path).is_ok();
    }
    let Some(at) = address.socket_addr() else { return false };
    let table = if at.is_ipv6() { "tcp6" } else { "tcp" };
    // It is this machine's, and there is a way to it, which there is not where no interface is up. Nothing is sent.
    let has_way = |to: SocketAddr| {
        let mut from = to;
        from.set_port(0);
        UdpSocket::bind(from).and_then(|probe| probe.connect(to)).is_ok()
    };
    let by_ipv4 = at.ip() == Ipv6Addr::UNSPECIFIED;
    !sys::is_bound_to_device(&SockRef::from(listener))
        && sys::is_of_this_network(sys::inode(listener), table)
        && (has_way(reachable(at)) || by_ipv4 && has_way((Ipv4Addr::LOCALHOST, at.port()).into()))
}
