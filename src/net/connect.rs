use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Type};

use super::connection::Options;
use super::keep_alive::KeepAlive;
use super::socket::{Socket, apply};
use super::unix;
use crate::address::{Address, Endpoint, Family, Target, loopback, resolve};
use crate::error::{Error, Result};
use crate::report::{Report, Reporter};

/// How to connect: options for a [`Socket`], then [`connect`](SocketOptions::connect).
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
    connection: Options,
    reporter: Reporter,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions::new()
    }
}

impl SocketOptions {
    /// The defaults, as each option names its own.
    pub fn new() -> SocketOptions {
        SocketOptions {
            family: None,
            local_address: None,
            local_port: 0,
            connection: Options::default(),
            reporter: Reporter::default(),
        }
    }

    /// Only addresses of this family are used. Default: any.
    pub fn family(self, family: Family) -> SocketOptions {
        SocketOptions { family: Some(family), ..self }
    }

    /// The address of ours to connect from, an IP address as text or as [`IpAddr`]: bind(2). Only addresses of its family
    /// are used then. Default: the system's choice.
    pub fn local_address(self, ip: impl ToString) -> SocketOptions {
        SocketOptions { local_address: Some(ip.to_string()), ..self }
    }

    /// The port of ours to connect from: bind(2). Default: 0, the system's choice.
    pub fn local_port(self, port: u16) -> SocketOptions {
        SocketOptions { local_port: port, ..self }
    }

    /// See [`Socket::set_no_delay`]. Default: on.
    pub fn no_delay(mut self, on: bool) -> SocketOptions {
        self.connection.settings.no_delay = on;
        self
    }

    /// See [`Socket::set_keep_alive`]. Default: off.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> SocketOptions {
        self.connection.settings.keep_alive = Some(keep_alive.into());
        self
    }

    /// Whether, in [`each`](Socket::each) and [`on`](Socket::on), our direction stays open after the peer has ended, until
    /// [`end`](Socket::end) is called. Blocking reads and writes never end a direction by themselves. Default: no.
    pub fn allow_half_open(mut self, allow: bool) -> SocketOptions {
        self.connection.allow_half_open = allow;
        self
    }

    /// How many bytes an [outbox](Socket::outbox) queues. Default: 1 MiB.
    pub fn outbox_limit(mut self, bytes: usize) -> SocketOptions {
        self.connection.outbox_limit = bytes;
        self
    }

    /// The idle timeout of the connection, see [`Socket::set_timeout`]. Default: none.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> SocketOptions {
        self.connection.timeout = time.into();
        self
    }

    /// Tells `hook` what happens to the connection; see [`Report`]. Default: nobody.
    pub fn report(self, hook: impl Fn(&Report) + Send + Sync + 'static) -> SocketOptions {
        SocketOptions { reporter: Reporter::new(hook), ..self }
    }

    /// Connects: connect(2). A bare port means this machine. A name is looked up, and every address it has is tried in the
    /// order the resolver gives, until one answers. A path is that of a Unix socket.
    ///
    /// Blocks as long as the look-up and the attempts take; the system gives up an attempt that nobody answers after about
    /// two minutes.
    ///
    /// # Errors
    /// - `connect ECONNREFUSED 127.0.0.1:1`: nobody listens there. `ETIMEDOUT`, `EHOSTUNREACH`, `ENETUNREACH`: nobody
    ///   answers. When several addresses failed, [`Error::causes`] has the error of each.
    /// - `getaddrinfo ENOTFOUND host`: the name has no address, or none of the family asked for.
    /// - `connect ENOENT /path`: no such Unix socket; `ECONNREFUSED`: it is stale, or no socket.
    /// - `bind EADDRINUSE`, `bind EADDRNOTAVAIL`: the local address cannot be had.
    /// - An error that names the option or the endpoint that is wrong; no socket exists then.
    #[doc(alias = "createConnection")]
    pub fn connect(&self, to: impl Into<Endpoint>) -> Result<Socket> {
        let result = self.try_connect(to.into());
        if let Err(error) = &result {
            self.reporter.tell(|| Report::Failed { connection: None, error: error.clone() });
        }
        result
    }

    fn try_connect(&self, to: Endpoint) -> Result<Socket> {
        let local = self.local()?;
        let family = self.family.or(local.map(|local| Address::from(SocketAddr::from((local, 0))).family()));
        let shown = to.to_string();
        let addresses = match to.target()? {
            Target::Port(port) => vec![SocketAddr::from((loopback(family.unwrap_or(Family::Ipv4)), port))],
            Target::Ip(at) => vec![at],
            Target::Name { host, port } => resolve(&host, port, family)?,
            Target::Path(path) => return self.connect_to_path(path),
            Target::Invalid(error) => return Err(error),
        };
        let mut failed = Vec::new();
        for at in &addresses {
            match self.connect_to(*at, local) {
                Ok(socket) => return Ok(socket),
                Err(error) => failed.push(error),
            }
        }
        match failed.pop() {
            Some(only) if failed.is_empty() => Err(only),
            last => {
                failed.extend(last);
                Err(Error::aggregate(shown, failed))
            }
        }
    }

    fn connect_to(&self, at: SocketAddr, local: Option<IpAddr>) -> Result<Socket> {
        let failed = |error| Error::call("connect", &error).at(at);
        let stream = match self.bind_to(at, local) {
            None => TcpStream::connect(at).map_err(failed)?,
            Some(bind_to) => {
                let socket =
                    socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
                socket.bind(&bind_to.into()).map_err(|error| Error::call("bind", &error).at(bind_to))?;
                // Unlike its plain connect, this one goes on after a signal. The system gives up long before the time.
                let named =
                    |error| if self.local_port == 0 { failed(error) } else { failed(error).with_local(bind_to) };
                socket.connect_timeout(&at.into(), Duration::from_secs(24 * 60 * 60)).map_err(named)?;
                socket.into()
            }
        };
        let local = stream.local_addr().map_err(failed)?;
        apply(&SockRef::from(&stream), self.connection.settings).map_err(failed)?;
        let (addresses, reporter) = ((local.into(), at.into()), self.reporter.clone());
        let socket = Socket::new(stream, addresses, self.connection, reporter, None);
        self.reporter.tell(|| Report::Connected { connection: socket.core.name() });
        Ok(socket)
    }

    /// The options of TCP do not apply.
    fn connect_to_path(&self, path: PathBuf) -> Result<Socket> {
        let stream = unix::connect(&path)?.into();
        let addresses = (Address::from(PathBuf::new()), path.into());
        let socket = Socket::new(stream, addresses, self.connection, self.reporter.clone(), None);
        self.reporter.tell(|| Report::Connected { connection: socket.core.name() });
        Ok(socket)
    }

    /// The local address as an address: a name would have to be looked up, and may have several.
    fn local(&self) -> Result<Option<IpAddr>> {
        let Some(text) = &self.local_address else {
            return Ok(None);
        };
        match text.parse() {
            Ok(ip) => Ok(Some(ip)),
            Err(_) => {
                Err(Error::invalid("ERR_INVALID_IP_ADDRESS", format!("Invalid IP address: {text} (local_address)")))
            }
        }
    }

    /// What to bind to before connecting, if anything.
    fn bind_to(&self, at: SocketAddr, local: Option<IpAddr>) -> Option<SocketAddr> {
        let wildcard = || if at.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        (local.is_some() || self.local_port != 0).then(|| (local.unwrap_or_else(wildcard), self.local_port).into())
    }
}

impl Socket {
    /// Connects with the default options; see [`SocketOptions::connect`].
    ///
    /// # Errors
    /// Those of `SocketOptions::connect`.
    #[doc(alias = "createConnection")]
    pub fn connect(to: impl Into<Endpoint>) -> Result<Socket> {
        SocketOptions::new().connect(to)
    }
}
