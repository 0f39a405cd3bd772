//! The options of a client.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::{Address, Family};
use crate::before_bind::BeforeBind;
use crate::block_list::BlockList;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::net::connect::lookup::Resolver;
use crate::net::socket::keep_alive::KeepAlive;
use crate::net::socket::stream::Options;
use crate::report::{Report, Reporter};
use crate::sys;
use crate::thread::ThreadOptions;

/// Options for a client's [`Socket`](crate::net::Socket). Set them, then call [`connect`](SocketOptions::connect).
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
    pub(super) family: Option<Family>,
    pub(super) local_address: Option<String>,
    pub(super) local_port: u16,
    pub(super) before_bind: BeforeBind,
    pub(super) local_path: Option<PathBuf>,
    pub(super) connection: Options,
    pub(super) reporter: Reporter,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) cancel: Option<Cancel>,
    pub(super) resolver: Option<Resolver>,
    pub(super) auto_select_family: bool,
    pub(super) attempt_timeout: Duration,
    pub(super) block_list: Option<BlockList>,
    pub(super) threads: ThreadOptions,
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

    /// Sets the local IP address to connect from, as text or as [`IpAddr`](std::net::IpAddr): bind(2). The address may
    /// have a zone, which is the name or number of an interface: `fe80::1%eth0`. If the target is a name or a list,
    /// only its first address of the same family is used. `::` and `0.0.0.0` mean any address, of both families.
    /// Default: the system's choice.
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

    /// Sets whether each write is sent at once. See [`Socket::set_no_delay`](crate::net::Socket::set_no_delay).
    /// Default: yes.
    pub fn no_delay(mut self, on: bool) -> SocketOptions {
        self.connection.settings.no_delay = on;
        self
    }

    /// Sets whether and when a silent peer is probed. See
    /// [`Socket::set_keep_alive`](crate::net::Socket::set_keep_alive). Default: none.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> SocketOptions {
        self.connection.settings.keep_alive = Some(keep_alive.into());
        self
    }

    /// Sets how long written data may stay unacknowledged. See
    /// [`Socket::set_user_timeout`](crate::net::Socket::set_user_timeout). If the system does not support the time,
    /// [`connect`](Self::connect) fails, and the error names the option. Default: the system's.
    pub fn user_timeout(mut self, time: impl Into<Option<Duration>>) -> SocketOptions {
        self.connection.settings.user_timeout = Some(time.into().unwrap_or_default());
        self
    }

    /// Sets the type of service of packets. See
    /// [`Socket::set_type_of_service`](crate::net::Socket::set_type_of_service). The option has no effect on a Unix
    /// socket, nor for IPv6 on Windows. Default: 0.
    pub fn type_of_service(mut self, value: u8) -> SocketOptions {
        self.connection.settings.type_of_service = Some(value);
        self
    }

    /// Sets whether [`each`](crate::net::Socket::each) leaves our direction open after the peer has ended its
    /// direction, until [`end`](crate::net::Socket::end) is called. With blocking reads and writes, and in a
    /// [channel](crate::net::Socket::events), our direction always stays open until the program ends it. Default: no.
    pub fn allow_half_open(mut self, allow: bool) -> SocketOptions {
        self.connection.allow_half_open = allow;
        self
    }

    /// Sets how many bytes the [outbox](crate::net::Socket::outbox) can queue. Default: 1 MiB.
    #[doc(alias = "highWaterMark")]
    pub fn outbox_limit(mut self, bytes: usize) -> SocketOptions {
        self.connection.outbox_limit = bytes;
        self
    }

    /// Sets the idle timeout of the connection, counted from when it is made. See
    /// [`Socket::set_timeout`](crate::net::Socket::set_timeout). Default: none.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> SocketOptions {
        self.connection.timeout = time.into();
        self
    }

    /// Sets how long the connection may last in all, counted from when it is made. This includes the time to send what
    /// the outbox holds, but not the time for connecting. See
    /// [`Socket::set_deadline`](crate::net::Socket::set_deadline). Default: none.
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

    /// Sets the stack size of the threads that [`events`](crate::net::Socket::events) and
    /// [`relay`](crate::net::Socket::relay) start for the socket, in bytes, at least 64 KiB. Default: std's, 2 MiB.
    pub fn stack_size(mut self, bytes: impl Into<Option<usize>>) -> SocketOptions {
        self.threads.stack_size = bytes.into();
        self
    }

    /// Sets the first part of the names of the threads that the socket starts: those of
    /// [`events`](crate::net::Socket::events), of an [outbox](crate::net::Socket::outbox) and of
    /// [`relay`](crate::net::Socket::relay). The role of the thread and the peer's address follow. The names of threads
    /// that connect always begin with `landline`. Default: `landline`.
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> SocketOptions {
        self.threads.thread_name = name.into();
        self
    }

    /// Calls `hook` with every event of the connection. See [`Report`]. Default: none.
    pub fn report(self, hook: impl Fn(&Report) + Send + Sync + 'static) -> SocketOptions {
        SocketOptions { reporter: Reporter::new(hook), ..self }
    }

    /// Checks the options. The error names the option.
    pub(super) fn check(&self) -> Result<()> {
        if self.attempt_timeout < LEAST_ATTEMPT_TIMEOUT {
            let (must, received) = (format!(">= {LEAST_ATTEMPT_TIMEOUT:?}"), format!("{:?}", self.attempt_timeout));
            return Err(Error::option("attempt_timeout", must, received));
        }
        self.threads.check()?;
        self.connection.check()
    }
}
