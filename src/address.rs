use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};

/// The kind of an [`Address`]. Prints as Node does: `IPv4`, `IPv6`, `Unix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Family {
    /// IPv4, as `127.0.0.1`.
    Ipv4,
    /// IPv6, as `::1`.
    Ipv6,
    /// A Unix-domain socket, named by a path.
    Unix,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
            Family::Unix => "Unix",
        })
    }
}

/// Where a socket is, known: an IP address and a port, or the path of a Unix socket.
///
/// Addresses are canonical: a client that reached a dual-stack server over IPv4 is `127.0.0.1`, never
/// `::ffff:127.0.0.1`, so that one peer has one name in logs, maps and lists.
///
/// It prints as `127.0.0.1:3000` or `[::1]:3000`, and parses from the same. A path prints as it is, but for
/// control characters, which are escaped, `\n`, and the NUL of a Linux abstract name, which is `@`: so it is one line.
///
/// ```
/// use landline::{Address, Family};
///
/// let address: Address = "[::1]:3000".parse()?;
/// assert_eq!(address.family(), Family::Ipv6);
/// assert_eq!(address.port(), 3000);
/// assert_eq!(address.to_json(), r#"{"address":"::1","family":"IPv6","port":3000}"#);
/// # Ok::<(), landline::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(Place);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    Ip(SocketAddr),
    Path(PathBuf),
}

impl Address {
    /// An IP address with or without a port: `127.0.0.1`, `127.0.0.1:3000`, `[::1]`, `[::1]:3000`. Without one the port
    /// is 0. `None` for any other text; names are not looked up.
    ///
    /// Unlike Node, which reads it as part of a URL, this keeps port 80 and takes an IPv4 address in its one plain form
    /// only: `0x7f.1`, `2130706433` and `010.0.0.1` are addresses to some programs, other addresses to others, and none
    /// here.
    ///
    /// ```
    /// use landline::Address;
    ///
    /// assert_eq!(Address::parse("127.0.0.1:80").map(|address| address.port()), Some(80));
    /// assert_eq!(Address::parse("[::1]").map(|address| address.port()), Some(0));
    /// assert_eq!(Address::parse("localhost:80"), None);
    /// ```
    #[doc(alias = "SocketAddress")]
    pub fn parse(text: &str) -> Option<Address> {
        // An IPv6 address needs its brackets: without them `::1:3000` would be an address, and not the one that is meant.
        let at: SocketAddr = text.parse().or_else(|_| format!("{text}:0").parse()).ok()?;
        Some(at.into())
    }

    /// What the system gives; `None` for an address of another kind.
    pub(crate) fn of(address: &socket2::SockAddr) -> Option<Address> {
        match address.as_socket() {
            Some(at) => Some(at.into()),
            None => crate::sys::path_of(address).map(Address::from),
        }
    }

    /// The IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|at| at.ip())
    }

    /// The port; 0 for a Unix socket, which has none.
    #[doc(alias = "localPort")]
    #[doc(alias = "remotePort")]
    pub fn port(&self) -> u16 {
        self.socket_addr().map_or(0, |at| at.port())
    }

    /// IPv4, IPv6 or Unix.
    pub fn family(&self) -> Family {
        match &self.0 {
            Place::Ip(SocketAddr::V4(_)) => Family::Ipv4,
            Place::Ip(SocketAddr::V6(_)) => Family::Ipv6,
            Place::Path(_) => Family::Unix,
        }
    }

    /// The path of a Unix socket; `None` for an IP address. Empty for a client that has no name of its own.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Ip(_) => None,
            Place::Path(path) => Some(path),
        }
    }

    /// The same as std's type; `None` for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Place::Ip(at) => Some(*at),
            Place::Path(_) => None,
        }
    }

    /// What Node's `JSON.stringify(server.address())` prints: `{"address":"127.0.0.1","family":"IPv4","port":3000}`,
    /// or the path as a JSON string.
    pub fn to_json(&self) -> String {
        match &self.0 {
            Place::Ip(at) => {
                let (ip, family, port) = (at.ip(), self.family(), at.port());
                format!(r#"{{"address":"{ip}","family":"{family}","port":{port}}}"#)
            }
            Place::Path(path) => json_string(&path.to_string_lossy()),
        }
    }

    /// As Node's error messages write it: `127.0.0.1:3000`, `::1:3000`, and the address alone where the port is 0.
    pub(crate) fn in_messages(&self) -> String {
        match &self.0 {
            Place::Ip(at) if at.port() == 0 => at.ip().to_string(),
            Place::Ip(at) => format!("{}:{}", at.ip(), at.port()),
            Place::Path(path) => printed(path),
        }
    }
}

/// A client names its own end as it likes, and must not forge a line of a log by that. The NUL that begins an abstract name
/// is written `@`, as other programs do: in a log it would be invisible, and in the name of a thread a panic.
fn printed(path: &Path) -> String {
    let mut text = String::new();
    for c in path.to_string_lossy().chars() {
        match c {
            '\0' => text.push('@'),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => json.push_str(&format!("\\u{:04x}", c as u32)),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Ip(at) => at.fmt(f),
            Place::Path(path) => f.write_str(&printed(path)),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SocketAddr> for Address {
    /// IPv4-mapped IPv6 addresses become IPv4.
    fn from(at: SocketAddr) -> Address {
        Address(Place::Ip(match at.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::from((ip, at.port())),
            IpAddr::V6(_) => at,
        }))
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address(Place::Path(path))
    }
}

impl FromStr for Address {
    type Err = Error;

    /// # Errors
    /// `ERR_INVALID_ADDRESS` for anything but `a.b.c.d:port` and `[ipv6]:port`; names are not looked up.
    fn from_str(text: &str) -> Result<Address> {
        let at: SocketAddr =
            text.parse().map_err(|_| Error::invalid("ERR_INVALID_ADDRESS", format!("Invalid address: {text}")))?;
        Ok(at.into())
    }
}

/// Where to listen, connect or send: a port, an address, or a name that has not been looked up yet.
///
/// Every call that takes `impl Into<Endpoint>` takes any of these:
///
/// | you write | it means |
/// |---|---|
/// | `3000` | listening: every interface, IPv6 and IPv4; connecting and sending: this machine |
/// | `"127.0.0.1:3000"`, `"[::1]:3000"`, `"localhost:3000"` | that host and port |
/// | `":3000"`, `"3000"` | the same as the bare port |
/// | `("localhost", 3000)`, `([127, 0, 0, 1], 3000)`, `(ip, 3000)` | that host and port |
/// | a [`SocketAddr`], an [`Address`] or a reference to one | that address |
/// | a [`Path`] or [`PathBuf`] | a Unix socket |
///
/// A text is never a path. A text that is none of these is an error from the call it was given to, which names it.
/// An endpoint that holds an address allocates nothing.
#[derive(Clone)]
pub struct Endpoint(pub(crate) Target);

#[derive(Clone)]
pub(crate) enum Target {
    Port(u16),
    Ip(SocketAddr),
    Name {
        host: Box<str>,
        port: u16,
    },
    Path(PathBuf),
    /// Not an endpoint; kept so that the call it is given to can say so.
    Invalid(Error),
}

impl Endpoint {
    fn parse(text: &str) -> Target {
        if let Ok(at) = text.parse() {
            return Target::Ip(at);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        if port.is_empty() || !port.bytes().all(|c| c.is_ascii_digit()) {
            return Target::Invalid(Error::invalid(
                "ERR_INVALID_ARG_VALUE",
                format!("The endpoint '{text}' is invalid: expected host:port, [ipv6]:port, :port or a port"),
            ));
        }
        let Ok(port) = port.parse() else {
            return Target::Invalid(Error::bad_port(port));
        };
        match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) if inner.contains(':') => Target::host(inner, port),
            Some(_) => Target::bad_host(host),
            None if host.is_empty() => Target::Port(port),
            None if host.contains(':') => Target::Invalid(Error::invalid(
                "ERR_INVALID_ARG_VALUE",
                format!("The endpoint '{text}' is invalid: an IPv6 address stands in brackets, [{host}]:{port}"),
            )),
            None => Target::host(host, port),
        }
    }

    /// The endpoint itself, or the error of a text that is none.
    pub(crate) fn target(self) -> Result<Target> {
        match self.0 {
            Target::Invalid(error) => Err(error),
            target => Ok(target),
        }
    }
}

impl Target {
    /// A host that was given apart from its port: a literal, or a name to look up.
    fn host(host: &str, port: u16) -> Target {
        match host.parse::<IpAddr>() {
            Ok(ip) => Target::Ip((ip, port).into()),
            Err(_)
                if host.is_empty()
                    || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/[]@".contains(c)) =>
            {
                Target::bad_host(host)
            }
            // A literal with a zone, `fe80::1%eth0`, is left to the resolver: it alone knows the interfaces.
            Err(_) => Target::Name { host: host.into(), port },
        }
    }

    fn bad_host(host: &str) -> Target {
        Target::Invalid(Error::invalid(
            "ERR_INVALID_ARG_VALUE",
            format!("The host {host:?} is invalid: expected a name or an IP address"),
        ))
    }
}

/// Asks the system's resolver, getaddrinfo(3), in the order it answers. Blocks as long as the resolver does; there is
/// no way to limit or cancel that.
pub(crate) fn resolve(host: &str, port: u16, family: Option<Family>) -> Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for at in (host, port).to_socket_addrs().map_err(|error| Error::lookup(host, &error))? {
        let wanted = family.is_none_or(|family| Address::from(at).family() == family);
        if wanted && !found.contains(&at) {
            found.push(at);
        }
    }
    if found.is_empty() {
        return Err(Error::not_found(host));
    }
    Ok(found)
}

/// The address of this machine in the family that is asked for.
pub(crate) fn loopback(family: Family) -> IpAddr {
    match family {
        Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

/// Where to connect or send in order to reach a socket bound to `at`: a wildcard is reached over loopback, since
/// connecting to it works on some systems only.
pub(crate) fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        _ => at,
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Port(port) => write!(f, ":{port}"),
            Target::Ip(at) => at.fmt(f),
            Target::Name { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Target::Name { host, port } => write!(f, "{host}:{port}"),
            Target::Path(path) => path.display().fmt(f),
            Target::Invalid(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl From<u16> for Endpoint {
    fn from(port: u16) -> Endpoint {
        Endpoint(Target::Port(port))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(at: SocketAddr) -> Endpoint {
        Endpoint(Target::Ip(at))
    }
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Endpoint {
        Endpoint(Endpoint::parse(text))
    }
}

impl From<(&str, u16)> for Endpoint {
    fn from((host, port): (&str, u16)) -> Endpoint {
        Endpoint(Target::host(host, port))
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Endpoint {
        Endpoint(match address.0 {
            Place::Ip(at) => Target::Ip(at),
            Place::Path(path) => Target::Path(path),
        })
    }
}

impl From<PathBuf> for Endpoint {
    fn from(path: PathBuf) -> Endpoint {
        Endpoint(Target::Path(path))
    }
}

/// The other forms, each by way of one above.
macro_rules! endpoint_from {
    ($($given:ty, |$value:pat_param| $as:expr;)*) => {$(
        impl From<$given> for Endpoint {
            fn from($value: $given) -> Endpoint {
                $as.into()
            }
        }
    )*};
}

endpoint_from! {
    &SocketAddr, |at| *at;
    SocketAddrV4, |at| SocketAddr::V4(at);
    SocketAddrV6, |at| SocketAddr::V6(at);
    (IpAddr, u16), |at| SocketAddr::from(at);
    (Ipv4Addr, u16), |at| SocketAddr::from(at);
    (Ipv6Addr, u16), |at| SocketAddr::from(at);
    ([u8; 4], u16), |at| SocketAddr::from(at);
    &Address, |address| address.clone();
    String, |text| text.as_str();
    &String, |text| text.as_str();
    (String, u16), |(host, port)| (host.as_str(), port);
    &Path, |path| path.to_path_buf();
    &PathBuf, |path| path.clone();
}
