//! Connecting: the options of a client, and `connect`.

pub(crate) mod lookup;
pub(crate) mod race;

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io};

use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::{Address, Family, canonical, printed};
use crate::before_bind::BeforeBind;
use crate::block_list::BlockList;
use crate::cancel::{Cancel, Limits};
use crate::endpoint::{Endpoint, Target, has_zone, loopback, reachable, resolve};
use crate::error::{Error, Result};
use crate::net::connect::lookup::{Question, Resolver};
use crate::net::connect::race::{End, FOREVER, RaceConfig, is_to_itself, timed_out};
use crate::net::socket::Socket;
use crate::net::socket::connection::{Origin, Removal};
use crate::net::socket::keep_alive::KeepAlive;
use crate::net::socket::stream::{Options, apply};
use crate::net::unix::{self, SocketFile};
use crate::report::{Report, Reporter};
use crate::sync::deadline::Deadline;
use crate::sys;
use crate::thread::ThreadOptions;

/// Options for a client's [`Socket`]. Set them, then call [`connect`](SocketOptions::connect).
///
/// ```
/// use landline::net::{Server, SocketOptions};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let socket = SocketOptions::new().no_delay(false).local_address("127.0.0.1").connect(server.address())?;
/// assert_eq!(socket.remote_address(), server.address());
/// # Ok::<(), landline::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SocketOptions {
    family: Option<Family>,
    local_address: Option<String>,
    local_port: u16,
    before_bind: BeforeBind,
    local_path: Option<PathBuf>,
    connection: Options,
    reporter: Reporter,
    connect_timeout: Option<Duration>,
    cancel: Option<Cancel>,
    resolver: Option<Resolver>,
    auto_select_family: bool,
    attempt_timeout: Duration,
    block_list: Option<BlockList>,
    threads: ThreadOptions,
}

/// The smallest [`SocketOptions::attempt_timeout`], as in RFC 8305 (8) and Node. A shorter time would flood the
/// network.
const LEAST_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(10);

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions::new()
    }
}

impl SocketOptions {
    /// Returns options with their default values, which each option documents.
    pub fn new() -> SocketOptions {
        SocketOptions {
            family: None,
            local_address: None,
            local_port: 0,
            before_bind: BeforeBind::default(),
            local_path: None,
            connection: Options::default(),
            reporter: Reporter::default(),
            connect_timeout: None,
            cancel: None,
            resolver: None,
            auto_select_family: true,
            attempt_timeout: Duration::from_millis(250),
            block_list: None,
            threads: ThreadOptions::default(),
        }
    }

    /// Sets how long connecting may take in all, from looking up the name to the last attempt. When the time expires,
    /// [`connect`](Self::connect) fails with an error of kind `TimedOut` that names the step:
    /// `getaddrinfo ETIMEDOUT name`, `connect ETIMEDOUT 192.0.2.1:80`. With `None` or zero, connecting may take as long
    /// as the resolver and the system need. Default: none.
    ///
    /// A resolver cannot be interrupted. So with this option or [`cancel`](Self::cancel), a new thread calls the
    /// resolver. If the answer is late, the look-up is abandoned: `connect` returns, and the thread continues until the
    /// resolver returns. At most 16 such look-ups run in a process, including abandoned ones. Further look-ups wait
    /// until one returns, or fail with `EAI_AGAIN` if all 16 are abandoned.
    pub fn connect_timeout(self, time: impl Into<Option<Duration>>) -> SocketOptions {
        SocketOptions { connect_timeout: time.into().filter(|time| !time.is_zero()), ..self }
    }

    /// Lets `cancel` end the connect, and later the connection, at any time. Default: none.
    ///
    /// - A connect in progress fails with `ABORT_ERR`. On Linux this takes well below a millisecond, or about 10 ms if
    ///   the connect waits for room in the backlog of a Unix socket.
    /// - A connected socket is destroyed. Its blocked and later calls fail with `ABORT_ERR` too.
    /// - If `cancel` was cancelled before, the connect fails at once.
    #[doc(alias = "signal")]
    pub fn cancel(self, cancel: &Cancel) -> SocketOptions {
        SocketOptions { cancel: Some(cancel.clone()), ..self }
    }

    /// Looks up names with `f`, in place of the system's resolver. Default: the system's resolver, getaddrinfo(3).
    ///
    /// - `f` gets the name, and the requested [`family`](Self::family) if one is set.
    /// - `f` returns addresses in the order in which to try them. The zone of each address is used. The port is
    ///   ignored.
    /// - If the name does not exist, `f` returns no address, or an error of kind `NotFound`. The connect fails with any
    ///   other error of `f`.
    ///
    /// IP addresses, with or without a zone, are not looked up. A name that is not ASCII is passed to `f` unchanged,
    /// but the system's resolver never gets such a name. `f` may run on a separate thread: see
    /// [`connect_timeout`](Self::connect_timeout).
    ///
    /// If `f` itself connects to a name, give that connect a time limit. Otherwise 16 look-ups can each wait for a
    /// further look-up that cannot begin, and none of them ends by itself.
    ///
    /// ```
    /// use landline::net::{Server, SocketOptions};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let options = SocketOptions::new().lookup(|name, _| match name {
    ///     "home.example" => Ok(vec![[127, 0, 0, 1]]),
    ///     _ => Ok(vec![]),
    /// });
    /// options.connect(("home.example", server.address().port()))?;
    /// assert_eq!(options.connect("away.example:80").unwrap_err().to_string(), "getaddrinfo ENOTFOUND away.example");
    /// # Ok::<(), landline::Error>(())
    /// ```
    pub fn lookup<I>(self, f: impl Fn(&str, Option<Family>) -> io::Result<I> + Send + Sync + 'static) -> SocketOptions
    where
        I: IntoIterator,
        I::Item: Into<Address>,
    {
        SocketOptions { resolver: Some(Resolver::new(f)), ..self }
    }

    /// Sets whether all addresses of a name or list are tried, until one connects (RFC 8305). IPv6 and IPv4 addresses
    /// alternate, beginning with the family of the first address. Only one address is tried if this is off, or if
    /// [`family`](Self::family) or [`local_address`](Self::local_address) is set. Default: yes.
    #[doc(alias = "autoSelectFamily")]
    #[doc(alias = "happy_eyeballs")]
    pub fn auto_select_family(self, on: bool) -> SocketOptions {
        SocketOptions { auto_select_family: on, ..self }
    }

    /// Sets how long to wait for one address before the next address is tried too. With less than 10 ms,
    /// [`connect`](Self::connect) fails. Default: 250 ms.
    ///
    /// Unlike in Node, the earlier attempt continues, and may still be the first to succeed. If an attempt fails, the
    /// next begins at once. At most 8 attempts run at the same time, each on its own thread. Before a ninth attempt
    /// begins, the oldest is given up. With the default time, it has then run for about 2 s. With
    /// [`local_port`](Self::local_port), only one attempt can run at a time, and each attempt except the last is given
    /// up after this time.
    #[doc(alias = "autoSelectFamilyAttemptTimeout")]
    pub fn attempt_timeout(self, time: Duration) -> SocketOptions {
        SocketOptions { attempt_timeout: time, ..self }
    }

    /// Sets a list of addresses that are never connected to, whatever name they belong to. An address on this list
    /// counts as an attempt that failed with `ERR_IP_BLOCKED`. If there is no other address, the connect fails with
    /// that error. Default: none.
    pub fn block_list(self, list: &BlockList) -> SocketOptions {
        SocketOptions { block_list: Some(list.clone()), ..self }
    }

    /// Sets the address family. From a name or list, only the first address of this family is used. A bare port means
    /// this machine, with an address of this family. An IP address is used unchanged. Default: any.
    pub fn family(self, family: Family) -> SocketOptions {
        SocketOptions { family: Some(family), ..self }
    }

    /// Sets the local IP address to connect from, as text or as [`IpAddr`]: bind(2). The address may have a zone, which
    /// is the name or number of an interface: `fe80::1%eth0`. If the target is a name or a list, only its first address
    /// of the same family is used. `::` and `0.0.0.0` mean any address, of both families. Default: the system's choice.
    ///
    /// Without [`local_port`](Self::local_port), bind(2) chooses a local port that no other connection of this machine
    /// uses. So the ports run out after about 28,000 connections. While none is left, `connect` on Linux tries the
    /// ports that other connections use, until one works, because connections to different peers can share a port. Each
    /// port that it tries takes three or more system calls. On other systems, `connect` fails with `EADDRINUSE`.
    #[doc(alias = "BoundSocket")]
    pub fn local_address(self, ip: impl ToString) -> SocketOptions {
        SocketOptions { local_address: Some(ip.to_string()), ..self }
    }

    /// Sets the local port to connect from: bind(2), on Unix with SO_REUSEADDR, as in Node. The port can be used again
    /// at once, and for connections to several peers. A second connection to the same peer fails with
    /// `connect EADDRNOTAVAIL` as long as the system keeps the first, even after it is closed (TIME_WAIT). Default: 0,
    /// the system's choice.
    pub fn local_port(self, port: u16) -> SocketOptions {
        SocketOptions { local_port: port, ..self }
    }

    /// Calls `hook` with the borrowed descriptor of each socket that [`connect`](Self::connect) makes, before bind(2)
    /// and connect(2). Use it for settings that landline has no option for, such as a device or a mark. The descriptor
    /// implements `AsFd`, on Windows `AsSocket`. With several addresses, each attempt has its own socket. If the hook
    /// returns an error, that attempt fails with the error. If that error comes from a system call, its text begins
    /// with `before_bind` and the system's code, as in `before_bind EINVAL`.
    ///
    /// The hook runs on the calling thread. No lock is held, and the descriptor stays open while the hook runs. The
    /// hook must not bind or connect the socket, nor make it non-blocking. A panic in the hook unwinds through
    /// `connect`, and the socket is closed. Default: none.
    ///
    /// ```
    /// use landline::net::{Server, SocketOptions};
    /// use socket2::SockRef;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let options = SocketOptions::new().before_bind(|fd| SockRef::from(&fd).set_ttl_v4(8));
    /// let socket = options.connect(server.address())?;
    /// assert_eq!(socket.with_raw(|fd| SockRef::from(&fd).ttl_v4())??, 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "Control")]
    #[doc(alias = "SO_BINDTODEVICE")]
    #[doc(alias = "SO_MARK")]
    #[doc(alias = "IP_FREEBIND")]
    pub fn before_bind(
        mut self,
        hook: impl Fn(sys::BorrowedHandle<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> SocketOptions {
        self.before_bind = BeforeBind::new(hook);
        self
    }

    /// Sets how many received bytes the system may keep: SO_RCVBUF. It is set before connect(2), so that the window
    /// offered to the peer can be that large. The system may grant less. With this option, Linux no longer adjusts the
    /// size itself. The option has no effect on a Unix socket. Default: the system's.
    #[doc(alias = "SO_RCVBUF")]
    pub fn recv_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.connection.buffers.recv_buffer_size = Some(bytes);
        self
    }

    /// Sets how many bytes the system may keep until they are sent and acknowledged: SO_SNDBUF. The notes on
    /// [`recv_buffer_size`](Self::recv_buffer_size) apply here too. Default: the system's.
    #[doc(alias = "SO_SNDBUF")]
    pub fn send_buffer_size(mut self, bytes: usize) -> SocketOptions {
        self.connection.buffers.send_buffer_size = Some(bytes);
        self
    }

    /// Sets the local path of a client that connects to a Unix socket: bind(2). The server sees the path as the
    /// client's address. On Linux a path that starts with a NUL is an abstract name. Default: none.
    ///
    /// [`connect`](Self::connect) creates a file at this path. The process that created the file removes it when the
    /// connection is closed or could not be made. A forked child does not remove it. If the file cannot be removed, the
    /// error is [reported](crate::Report::Failed). After a crash the file remains, and the next `bind` to this path
    /// fails. To avoid that, put the process id into the path.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use landline::net::{Server, SocketOptions};
    ///
    /// let folder = std::env::temp_dir();
    /// let [ours, theirs] = ["client", "server"].map(|end| folder.join(format!("{end}-{}", std::process::id())));
    /// let server = Server::listen(&theirs)?;
    /// let socket = SocketOptions::new().local_path(&ours).connect(&theirs)?;
    /// assert_eq!(server.accept()?.expect("it is not closed").remote_address().path(), Some(ours.as_path()));
    /// socket.destroy();
    /// assert!(!ours.exists());
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_path(self, path: impl AsRef<Path>) -> SocketOptions {
        SocketOptions { local_path: Some(path.as_ref().to_path_buf()), ..self }
    }

    /// Sets whether each write is sent at once. See [`Socket::set_no_delay`]. Default: yes.
    pub fn no_delay(mut self, on: bool) -> SocketOptions {
        self.connection.settings.no_delay = on;
        self
    }

    /// Sets whether and when a silent peer is probed. See [`Socket::set_keep_alive`]. Default: none.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> SocketOptions {
        self.connection.settings.keep_alive = Some(keep_alive.into());
        self
    }

    /// Sets how long written data may stay unacknowledged. See [`Socket::set_user_timeout`]. If the system does not
    /// support the time, [`connect`](Self::connect) fails, and the error names the option. Default: the system's.
    pub fn user_timeout(mut self, time: impl Into<Option<Duration>>) -> SocketOptions {
        self.connection.settings.user_timeout = Some(time.into().unwrap_or_default());
        self
    }

    /// Sets the type of service of packets. See [`Socket::set_type_of_service`]. The option has no effect on a Unix
    /// socket, nor for IPv6 on Windows. Default: 0.
    pub fn type_of_service(mut self, value: u8) -> SocketOptions {
        self.connection.settings.type_of_service = Some(value);
        self
    }

    /// Sets whether [`each`](Socket::each) leaves our direction open after the peer has ended its direction, until
    /// [`end`](Socket::end) is called. With blocking reads and writes, and in a [channel](Socket::events), our
    /// direction always stays open until the program ends it. Default: no.
    pub fn allow_half_open(mut self, allow: bool) -> SocketOptions {
        self.connection.allow_half_open = allow;
        self
    }

    /// Sets how many bytes the [outbox](Socket::outbox) can queue. Default: 1 MiB.
    #[doc(alias = "highWaterMark")]
    pub fn outbox_limit(mut self, bytes: usize) -> SocketOptions {
        self.connection.outbox_limit = bytes;
        self
    }

    /// Sets the idle timeout of the connection, counted from when it is made. See [`Socket::set_timeout`]. Default:
    /// none.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> SocketOptions {
        self.connection.timeout = time.into();
        self
    }

    /// Sets how long the connection may last in all, counted from when it is made. This includes the time to send what
    /// the outbox holds, but not the time for connecting. See [`Socket::set_deadline`]. Default: none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use landline::net::{Server, SocketOptions};
    /// # let server = Server::listen("127.0.0.1:0")?;
    /// let (to_connect, in_all) = (Duration::from_millis(500), Duration::from_millis(50));
    /// let socket = SocketOptions::new().connect_timeout(to_connect).deadline(in_all).connect(server.address())?;
    /// let error = std::io::read_to_string(&socket).unwrap_err(); // the server sends nothing
    /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn deadline(mut self, time: impl Into<Option<Duration>>) -> SocketOptions {
        self.connection.deadline = time.into();
        self
    }

    /// Sets the stack size of the threads that [`events`](Socket::events) and [`relay`](Socket::relay) start for the
    /// socket, in bytes, at least 64 KiB. Default: std's, 2 MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> SocketOptions {
        self.threads.stack_size = bytes.into();
        self
    }

    /// Sets the first part of the names of the threads that the socket starts: those of [`events`](Socket::events), of
    /// an [outbox](Socket::outbox) and of [`relay`](Socket::relay). The role of the thread and the peer's address
    /// follow. The names of threads that connect always begin with `landline`. Default: `landline`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> SocketOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Calls `hook` with every event of the connection. See [`Report`]. Default: none.
    pub fn report(self, hook: impl Fn(&Report) + Send + Sync + 'static) -> SocketOptions {
        SocketOptions { reporter: Reporter::new(hook), ..self }
    }

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
    ///   family.
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

    /// Checks the options. The error names the option.
    fn check(&self) -> Result<()> {
        if self.attempt_timeout < LEAST_ATTEMPT_TIMEOUT {
            let (must, received) = (format!(">= {LEAST_ATTEMPT_TIMEOUT:?}"), format!("{:?}", self.attempt_timeout));
            return Err(Error::option("attempt_timeout", must, received));
        }
        self.threads.check()?;
        self.connection.check()
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
