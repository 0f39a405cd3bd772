//! Connecting.

pub(crate) mod lookup;
pub(crate) mod options;
pub(crate) mod race;

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::{fmt, io};

use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::{Address, Family, canonical, printed};
use crate::cancel::{Cancel, Limits};
use crate::endpoint::{Endpoint, Target, loopback, reachable, resolve};
use crate::error::{Error, Result};
use crate::net::connect::lookup::Question;
use crate::net::connect::options::SocketOptions;
use crate::net::connect::race::{End, FOREVER, RaceConfig, is_to_itself, timed_out};
use crate::net::socket::Socket;
use crate::net::socket::connection::{Origin, Removal};
use crate::net::socket::stream::apply;
use crate::net::unix::{self, SocketFile};
use crate::report::{Report, Reporter};
use crate::sync::deadline::Deadline;
use crate::sys;
use crate::zone::has_zone;

impl SocketOptions {
    /// Connects to a server: connect(2).
    ///
    /// | endpoint | what is connected to |
    /// |---|---|
    /// | a bare port | this machine: `127.0.0.1`, then `::1` |
    /// | an IP address | this address |
    /// | `::` | this machine: `::1`, then `127.0.0.1` |
    /// | `0.0.0.0` | this machine: `127.0.0.1` |
    /// | a name or a list | the first of its addresses that connects, tried as in RFC 8305 |
    /// | a path | a Unix socket |
    ///
    /// How the addresses of a name or list are tried is set by [`auto_select_family`](Self::auto_select_family) and
    /// [`attempt_timeout`](Self::attempt_timeout). Once one address has connected, all other attempts are closed.
    ///
    /// Blocks while the name is looked up and addresses are tried, but no longer than
    /// [`connect_timeout`](Self::connect_timeout) and [`cancel`](Self::cancel) allow. Without these options, the system
    /// gives up on an unanswered attempt after about two minutes.
    ///
    /// # Platform
    /// On Linux, no thread and no socket of an attempt is left when this returns, because connect(2) can be
    /// interrupted. On other systems, an attempt that is no longer needed keeps its thread and its socket until the
    /// time for connecting expires. If there is no such time, it keeps them until the system gives up.
    ///
    /// # Errors
    /// - `connect ECONNREFUSED 127.0.0.1:1`: no program listens there.
    /// - `connect` with `ETIMEDOUT`, `EHOSTUNREACH` or `ENETUNREACH`: no answer.
    /// - If several addresses failed, the code is that of the first, and [`Error::causes`] has the error of each.
    /// - `ETIMEDOUT`, of kind `TimedOut`: the time for connecting has expired.
    /// - `ABORT_ERR`: the connect was cancelled.
    /// - `getaddrinfo ENOTFOUND host`, of kind `NotFound`: the name has no address, or no address of the requested
    ///   family. If no descriptor is left, glibc may answer this too.
    /// - `getaddrinfo EAI_AGAIN host: …`: the resolver did not answer, or too many look-ups are stuck. Try again later.
    ///   Every failure that is not known to be permanent has this code. Its kind is `WouldBlock` if too many look-ups
    ///   are stuck, and `Other` in all other cases.
    /// - `getaddrinfo EAI_FAIL host: …`, of kind `Other`: the resolver failed permanently. An error of the system has
    ///   its own code in place of `EAI_FAIL`, such as `EMFILE`, and is of kind `Other` too. The text after the host is
    ///   the system's, in the language of the program's locale.
    /// - `ERR_INVALID_ARG_VALUE`: the name is not ASCII. Pass its encoded form, `xn--…`.
    /// - `ERR_INVALID_ADDRESS_FAMILY`: a list, or the answer of [`lookup`](Self::lookup), has no address of the
    ///   requested family. Or the endpoint is a port, and the requested family is that of Unix sockets.
    /// - `ERR_IP_BLOCKED`: the address is on the [`block_list`](Self::block_list).
    /// - `connect ENOENT /path`: there is no such Unix socket.
    /// - `connect ECONNREFUSED /path`: the file is not a socket, or no program listens on it.
    /// - `bind EADDRINUSE`, `bind EADDRNOTAVAIL`: the local address is not available, or the local path exists already.
    /// - `bind ENOENT`, `bind EACCES`: the folder of the local path does not exist or is not writable.
    /// - `ERR_INVALID_ARG_VALUE`: a local address or port is set, and the endpoint is a Unix socket. Or a local path is
    ///   set, and the endpoint is no Unix socket.
    /// - If an option or the endpoint is invalid: an error that names it. No socket was made.
    #[doc(alias = "createConnection")]
    pub fn connect(&self, to: impl Into<Endpoint>) -> io::Result<Socket> {
        let result = self.try_connect(to.into());
        if let Err(error) = &result {
            self.reporter.tell_failed(error);
        }
        Ok(result?)
    }

    fn try_connect(&self, to: Endpoint) -> Result<Socket> {
        let deadline = self.connect_timeout.map_or(Deadline::NEVER, Deadline::after);
        let limits = Limits { deadline, cancel: self.cancel.as_ref() };
        self.check()?;
        let target = to.target()?;
        self.check_ends(&target)?;
        let local = self.local()?;
        let family = self.family.or(local.map(|local| Address::from(local).family()));
        if limits.is_cancelled() {
            return Err(Cancel::error());
        }
        match target {
            Target::Port(port) => match family {
                None => self.connect_here(port, [Family::Ipv4, Family::Ipv6], local, limits),
                Some(_) => {
                    let here = [Family::Ipv4, Family::Ipv6].map(|family| (loopback(family), port).into());
                    self.connect_to(of_family(&here, family)?[0], local, limits)
                }
            },
            Target::Ip(at) => match canonical(at) {
                // `::` means every address of this machine, in both families.
                SocketAddr::V6(at) if at.ip().is_unspecified() => match local.map(|local| local.is_ipv4()) {
                    None => self.connect_here(at.port(), [Family::Ipv6, Family::Ipv4], local, limits),
                    Some(true) => self.connect_to((loopback(Family::Ipv4), at.port()).into(), local, limits),
                    Some(false) => self.connect_to(reachable(at.into()), local, limits),
                },
                at => self.connect_to(reachable(at), local, limits),
            },
            Target::Name { host, port } => {
                let addresses = interleave(self.look_up(&host, port, family, limits)?);
                self.connect_to_any(addresses, format_args!("{host}:{port}"), family, local, limits)
            }
            Target::Several(list) => {
                let addresses = of_family(&list, family)?;
                self.connect_to_any(addresses, format_args!("{} addresses", list.len()), family, local, limits)
            }
            Target::Path(path) => {
                let (socket, file) = unix::connect(&path, self.local_path.as_deref(), &self.before_bind, limits)?;
                let local = self.local_path.clone().unwrap_or_default();
                self.made(socket.into(), (local.into(), path.into()), &[], file)
            }
            Target::Invalid(error) => Err(error),
        }
    }

    /// Rejects a local address or path that does not fit the endpoint's kind. The error names both.
    fn check_ends(&self, to: &Target) -> Result<()> {
        let ours = match (to, &self.local_path, &self.local_address, self.local_port) {
            (Target::Path(_), _, Some(ip), _) => ip.clone(),
            (Target::Path(_), _, None, port) if port != 0 => format!("port {port}"),
            (Target::Path(_), ..) | (_, None, ..) => return Ok(()),
            (_, Some(path), ..) => printed(path),
        };
        let text = format!("Cannot connect from {ours} to {to}: either both ends are paths, or neither is");
        Err(Error::invalid("ERR_INVALID_ARG_VALUE", text))
    }

    /// Looks up the addresses of a name, at least one.
    fn look_up(&self, host: &str, port: u16, family: Option<Family>, limits: Limits<'_>) -> Result<Vec<SocketAddr>> {
        if has_zone(host) {
            return resolve(host, port, family);
        }
        let addresses = Question { host, port, family, resolver: self.resolver.as_ref() }.look_up(limits)?;
        self.reporter.tell(|| Report::LookedUp { host: host.into(), addresses: addresses_of(&addresses, Some(0)) });
        Ok(addresses)
    }

    /// Connects to the first address that answers, or tries only the first address. The addresses are of the requested
    /// family, in the order to try them. `to` is the name or list.
    fn connect_to_any(
        &self,
        addresses: Vec<SocketAddr>,
        to: fmt::Arguments<'_>,
        family: Option<Family>,
        local: Option<SocketAddr>,
        limits: Limits<'_>,
    ) -> Result<Socket> {
        match addresses[..] {
            [at] => self.connect_to(at, local, limits),
            _ if family.is_some() || !self.auto_select_family => self.connect_to(addresses[0], local, limits),
            _ => self.race(&addresses, to, local, limits, &self.reporter),
        }
    }

    /// Connects to this machine over one family, then over the other. If both fail, returns the error of the first
    /// family that this machine has. Many containers have no IPv6 address.
    fn connect_here(
        &self,
        port: u16,
        families: [Family; 2],
        local: Option<SocketAddr>,
        limits: Limits<'_>,
    ) -> Result<Socket> {
        let addresses = families.map(|family| SocketAddr::from((loopback(family), port)));
        if !self.auto_select_family {
            return self.connect_to(addresses[0], local, limits);
        }
        let result = self.race(&addresses, format_args!("localhost:{port}"), local, limits, &self.reporter);
        result.map_err(|error| match error.causes() {
            [first, second] if error.kind() != io::ErrorKind::TimedOut => {
                let is_there = !matches!(first.code(), "EADDRNOTAVAIL" | "EAFNOSUPPORT" | "ENETUNREACH");
                if is_there { first.clone() } else { second.clone() }
            }
            _ => error,
        })
    }

    /// Connects to one address.
    fn connect_to(&self, at: SocketAddr, local: Option<SocketAddr>, limits: Limits<'_>) -> Result<Socket> {
        let result = self.connect_from(at, local, limits, &self.reporter);
        match (&result, local) {
            (Err(error), Some(local))
                if local.port() == 0 && (error.syscall(), error.code()) == (Some("bind"), "EADDRINUSE") =>
            {
                self.connect_from_a_shared_port(at, local, limits).unwrap_or(result)
            }
            _ => result,
        }
    }

    /// Connects from a local port that other connections use too. bind(2) to an address without a port takes only ports
    /// that no other connection of this machine uses, until none is left. But connections to different peers can share
    /// a port, as connections without bind(2) do. So this tries the ports that the system uses for those. Returns
    /// `None` if these ports are not known, or if no port works.
    fn connect_from_a_shared_port(
        &self,
        at: SocketAddr,
        local: SocketAddr,
        limits: Limits<'_>,
    ) -> Option<Result<Socket>> {
        let ports = sys::local_ports()?;
        // At random, so that simultaneous connects do not try the same ports.
        let begin = RandomState::new().hash_one(()) as usize % ports.len().max(1);
        for port in ports[begin..].iter().chain(&ports[..begin]) {
            match self.connect_from(at, Some(with_port(local, *port)), limits, &Reporter::default()) {
                Err(error) if matches!(error.code(), "EADDRINUSE" | "EADDRNOTAVAIL") => {}
                result => return Some(result),
            }
        }
        None
    }

    fn connect_from(
        &self,
        at: SocketAddr,
        local: Option<SocketAddr>,
        limits: Limits<'_>,
        reporter: &Reporter,
    ) -> Result<Socket> {
        if !limits.is_none() {
            return self.race(&[at], format_args!(""), local, limits, reporter);
        }
        reporter.tell(|| Report::Attempt { address: at.into() });
        let result = self.connect_freely(at, local).and_then(|stream| self.socket(stream, at, &[]));
        if let Err(error) = &result {
            reporter.tell(|| Report::AttemptFailed { address: at.into(), error: error.clone() });
        }
        result
    }

    /// Connects to one address, without a time limit.
    fn connect_freely(&self, at: SocketAddr, local: Option<SocketAddr>) -> Result<TcpStream> {
        let failed = |error| Error::call("connect", &error).at(at);
        match self.bind_to(at, local) {
            None if self.before_bind.is_none() && self.connection.buffers.are_none() => {
                self.check_blocked(at)?;
                TcpStream::connect(at).map_err(failed)
            }
            bind_to => {
                let named = |error| match bind_to.filter(|_| self.local_port != 0) {
                    Some(bound) => failed(error).with_local(bound),
                    None => failed(error),
                };
                let socket = self.open(at, local)?;
                // Unlike std's plain connect, this one continues after a signal.
                sys::connect_timeout(&socket, &at.into(), FOREVER).map_err(named)?;
                Ok(socket.into())
            }
        }
    }

    /// Connects to the first address that answers. `to` is the name or list that has the addresses.
    fn race(
        &self,
        addresses: &[SocketAddr],
        to: fmt::Arguments<'_>,
        local: Option<SocketAddr>,
        limits: Limits<'_>,
        reporter: &Reporter,
    ) -> Result<Socket> {
        let course = RaceConfig {
            addresses,
            stagger: self.attempt_timeout,
            serial: self.local_port != 0,
            limits,
            reporter,
            open: &|at| self.open(at, local),
        };
        let outcome = course.run();
        let with_local = |error: Error| match (addresses, error.syscall()) {
            ([at], Some("connect")) if self.local_port != 0 => match self.bind_to(*at, local) {
                Some(bound) => error.with_local(bound),
                None => error,
            },
            _ => error,
        };
        match outcome.end {
            End::Connected(socket, at) => {
                let attempted = if addresses.len() > 1 { &addresses[..outcome.attempted] } else { &[] };
                self.socket(socket.into(), at, attempted)
            }
            End::Failed(mut causes) | End::TimedOut(mut causes) if addresses.len() == 1 || causes.is_empty() => {
                Err(with_local(causes.pop().unwrap_or_else(|| timed_out(addresses[0]))))
            }
            End::Failed(causes) => Err(Error::aggregate(to, causes)),
            End::TimedOut(causes) => Err(Error::aggregate_at_deadline(to, causes)),
            End::Cancelled => Err(Cancel::error()),
        }
    }

    /// Makes a socket to connect with, and binds it if an option requires that.
    fn open(&self, at: SocketAddr, local: Option<SocketAddr>) -> Result<socket2::Socket> {
        self.check_blocked(at)?;
        let socket = socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))
            .map_err(|error| Error::call("connect", &error).at(at))?;
        let buffers = self.connection.buffers.apply(&SockRef::from(&socket));
        buffers.map_err(|error| Error::call("connect", &error).at(at))?;
        if let Some(bind_to) = self.bind_to(at, local) {
            if sys::REUSE_ADDRESS_IS_SAFE {
                // As in libuv: allows connecting from a port whose last connection is in TIME_WAIT, or that has a
                // connection to another peer.
                socket.set_reuse_address(true).map_err(|error| Error::call("bind", &error).at(bind_to))?;
            }
        }
        self.before_bind.run(&socket).map_err(|error| error.at(at))?;
        if let Some(bind_to) = self.bind_to(at, local) {
            socket.bind(&bind_to.into()).map_err(|error| Error::call("bind", &error).at(bind_to))?;
        }
        Ok(socket)
    }

    fn check_blocked(&self, at: SocketAddr) -> Result<()> {
        match &self.block_list {
            // A wildcard means this machine on most systems.
            Some(list) if list.check(at.ip()) || list.check(reachable(at).ip()) => {
                let text = format!("IP({}) is blocked by net.BlockList", at.ip());
                Err(Error::fixed(io::ErrorKind::PermissionDenied, "ERR_IP_BLOCKED", text).at(at))
            }
            _ => Ok(()),
        }
    }

    /// Applies the options to a connected stream.
    fn socket(&self, stream: TcpStream, at: SocketAddr, attempted: &[SocketAddr]) -> Result<Socket> {
        let failed = |error| Error::call("connect", &error).at(at);
        let local = stream.local_addr().map_err(failed)?;
        if local.port() == at.port() && is_to_itself(&SockRef::from(&stream), at.port()) {
            return Err(failed(io::ErrorKind::ConnectionRefused.into()));
        }
        apply(&SockRef::from(&stream), self.connection.settings, true).map_err(failed)?;
        self.made(stream, (local.into(), at.into()), attempted, None)
    }

    /// Makes the `Socket` of a stream that has its options.
    fn made(
        &self,
        stream: TcpStream,
        addresses: (Address, Address),
        attempted: &[SocketAddr],
        file: Option<SocketFile>,
    ) -> Result<Socket> {
        let socket = Socket::new(stream, addresses, self.connection, self.reporter.clone(), None);
        // Set before `cancel` is attached, which may close the connection from then on.
        self.reporter.tell(|| Report::Connected { connection: socket.connection.name() });
        let is_plain = self.cancel.is_none() && attempted.is_empty() && file.is_none() && self.threads.is_default();
        if !is_plain {
            let attached = self.cancel.as_ref().map(|cancel| {
                let connection = Arc::downgrade(&socket.connection);
                cancel.attach(move || match connection.upgrade() {
                    Some(connection) if !connection.is_closed() => connection.abort(),
                    _ => {}
                })
            });
            let attempted = addresses_of(attempted, None);
            let file = Mutex::new(file.map(|mut file| Removal(Box::new(move || file.remove()))));
            let origin = Origin { attempted, attached: Mutex::new(attached), threads: self.threads.clone(), file };
            let _ = socket.connection.origin.set(Box::new(origin));
        }
        match &self.cancel {
            Some(cancel) if cancel.is_cancelled() => Err(Cancel::error()),
            _ => Ok(socket),
        }
    }

    /// Returns the local address as an IP address. Rejects a name, which would need a look-up and may have several
    /// addresses. Returns `None` for a wildcard, which means any address of both families.
    fn local(&self) -> Result<Option<SocketAddr>> {
        let Some(text) = &self.local_address else {
            return Ok(None);
        };
        let invalid =
            || Error::invalid("ERR_INVALID_IP_ADDRESS", format!("Invalid IP address: {text} (local_address)"));
        let at = match text.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::from((ip, 0)),
            Err(_) if has_zone(text) && !text.contains(char::is_control) => match resolve(text, 0, None) {
                Ok(found) => found[0],
                // There is no such interface.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(invalid()),
                Err(error) => return Err(error),
            },
            Err(_) => return Err(invalid()),
        };
        let at = with_port(canonical(at), self.local_port);
        Ok((!at.ip().is_unspecified()).then_some(at))
    }

    /// What to bind to before connecting.
    fn bind_to(&self, at: SocketAddr, local: Option<SocketAddr>) -> Option<SocketAddr> {
        let wildcard = if at.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        local.or_else(|| (self.local_port != 0).then(|| (wildcard, self.local_port).into()))
    }
}

fn with_port(mut at: SocketAddr, port: u16) -> SocketAddr {
    at.set_port(port);
    at
}

/// The addresses, with `port` if it is given, or else with their own ports.
fn addresses_of(list: &[SocketAddr], port: Option<u16>) -> Vec<Address> {
    let mut addresses = Vec::with_capacity(list.len());
    for at in list {
        addresses.push(with_port(*at, port.unwrap_or(at.port())).into());
    }
    addresses
}

/// Returns the addresses of a list that are of the requested family, in the order to try them, and in a form that can
/// be connected to. Fails if there are none. `::` stands for this machine in both families, and its IPv4 address comes
/// last.
fn of_family(list: &[SocketAddr], family: Option<Family>) -> Result<Vec<SocketAddr>> {
    let is_wanted = |at: &SocketAddr| family.is_none_or(|family| Address::from(*at).family() == family);
    let is_everywhere = |at: &SocketAddr| at.is_ipv6() && at.ip().is_unspecified();
    let by_v4 = |at: &SocketAddr| SocketAddr::from((loopback(Family::Ipv4), at.port()));
    let meant = |at: &SocketAddr| match family {
        Some(Family::Ipv4) if is_everywhere(at) => by_v4(at),
        _ => reachable(*at),
    };
    let mut wanted = Vec::new();
    for at in list {
        let at = meant(at);
        if is_wanted(&at) {
            wanted.push(at);
        }
    }
    wanted = interleave(wanted);
    for at in list {
        let by_v4 = by_v4(at);
        if is_everywhere(at) && is_wanted(&by_v4) && !wanted.contains(&by_v4) {
            wanted.push(by_v4);
        }
    }
    if wanted.is_empty() {
        let first = Address::from(list[0]);
        let text = format!("Invalid address family: {} {first}", first.family());
        return Err(Error::invalid("ERR_INVALID_ADDRESS_FAMILY", text).at(first));
    }
    Ok(wanted)
}

/// Puts addresses into the order to try them (RFC 8305, 4). The families alternate, beginning with the family of the
/// first address. Within a family the order stays.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let mut turns = Vec::with_capacity(addresses.len());
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for at in addresses {
        if at.is_ipv4() == first { same.push(at) } else { other.push(at) }
    }
    for nth in 0..same.len().max(other.len()) {
        for family in [&same, &other] {
            if let Some(at) = family.get(nth) {
                turns.push(*at);
            }
        }
    }
    turns
}

impl Socket {
    /// Connects to a server with the default options. Blocks until the connection is made or has failed. See
    /// [`SocketOptions::connect`].
    ///
    /// ```
    /// use landline::net::{Server, Socket, SocketEvent};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let echo = server.spawn(|socket| socket.pipe(socket))?;
    ///
    /// let client = Socket::connect(("localhost", server.address().port()))?;
    /// client.write_all("message of the client")?;
    /// client.each(|client, event| match event {
    ///     SocketEvent::Data(bytes) => {
    ///         println!("the server says: {}", String::from_utf8_lossy(bytes));
    ///         client.end()
    ///     }
    ///     _ => Ok(()),
    /// })?;
    /// assert_eq!(client.bytes_read(), 21);
    /// server.close();
    /// echo.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `SocketOptions::connect`.
    #[doc(alias = "createConnection")]
    #[doc(alias = "ready")]
    pub fn connect(to: impl Into<Endpoint>) -> io::Result<Socket> {
        SocketOptions::new().connect(to)
    }

    /// The addresses that were tried, in order. The address that answered may come before the last, because a further
    /// attempt may have begun before the answer. Empty if there was only one address.
    #[doc(alias = "autoSelectFamilyAttemptedAddresses")]
    pub fn attempted_addresses(&self) -> &[Address] {
        self.connection.origin.get().map_or(&[], |origin| &origin.attempted)
    }
}
