//! Where to listen, connect or send, before a name in it is looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::path::{Path, PathBuf};

use crate::address::{Address, Family, Repr, canonical, printed};
use crate::error::{Error, Result};

/// Where to listen, connect or send. It is a port, an address, or a name that has not been looked up yet.
///
/// Every call that takes `impl Into<Endpoint>` takes any of these:
///
/// | you write | it means |
/// |---|---|
/// | `3000` | to listen, every interface, IPv6 and IPv4; to connect or send, this machine |
/// | `"127.0.0.1:3000"`, `"[::1]:3000"`, `"localhost:3000"` | that host and port |
/// | `":3000"`, `"3000"` | the same as the bare port |
/// | `("localhost", 3000)`, `([127, 0, 0, 1], 3000)`, `(ip, 3000)` | that host and port |
/// | a [`SocketAddr`], an [`Address`] or a reference to one | that address |
/// | a [`Path`] or [`PathBuf`] | a Unix socket |
/// | a slice, an array or a [`Vec`] of [`SocketAddr`]s | these addresses, tried in turn |
///
/// An IPv6 address may have a zone, which is the name or the number of an interface, as in `"[fe80::1%eth0]:3000"`. An
/// IPv4-mapped address means the IPv4 address. A name has to be ASCII. Write `bücher.example` in its encoded form,
/// `xn--bcher-kva.example`.
///
/// Of a list, listening and binding take the first address that works. Connecting treats it as the addresses of a name.
/// If none works, [`Error::causes`] has the error of each. Sending takes the first address that the socket can send to.
/// If it can send to none, the error is that of the first.
///
/// If a program has std's [`ToSocketAddrs`], `at.to_socket_addrs()?.collect::<Vec<_>>()` is the list:
///
/// ```
/// use std::net::ToSocketAddrs;
/// use landline::net::Server;
///
/// fn listen(at: impl ToSocketAddrs) -> std::io::Result<Server> {
///     Ok(Server::listen(at.to_socket_addrs()?.collect::<Vec<_>>())?)
/// }
/// let taken = listen("127.0.0.1:0")?.address().socket_addr().expect("it is an IP address");
/// let server = Server::listen([taken, ([127, 0, 0, 1], 0).into()])?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A text is never a path. For a text that is none of these, or for an empty list, the call that gets it returns an
/// error that names it. An endpoint that holds one address allocates nothing.
#[derive(Clone)]
#[doc(alias = "ToSocketAddrs")]
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
    /// At least two, without duplicates.
    Several(Box<[SocketAddr]>),
    /// Not an endpoint. The call that gets it returns this error.
    Invalid(Error),
}

impl Endpoint {
    fn parse(text: &str) -> Target {
        if let Ok(at) = text.parse() {
            return Target::Ip(at);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        if port.is_empty() || !port.bytes().all(|c| c.is_ascii_digit()) {
            let paths = if text.contains('/') { ". A path is given as a Path" } else { "" };
            return Target::Invalid(Error::invalid(
                "ERR_INVALID_ARG_VALUE",
                format!("The endpoint '{text}' is invalid: expected host:port, [ipv6]:port, :port or a port{paths}"),
            ));
        }
        let Ok(port) = port.parse() else {
            return Target::Invalid(Error::bad_port(port));
        };
        match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) if inner.contains(':') => Target::host(inner, port),
            Some(_) => Target::bad_host(host),
            None if host.is_empty() => Target::Port(port),
            None if host.as_bytes().windows(2).any(|pair| pair == b"//") => Target::bad_host(host),
            None if host.contains(':') => Target::Invalid(Error::invalid(
                "ERR_INVALID_ARG_VALUE",
                format!("The endpoint '{text}' is invalid: an IPv6 address needs brackets, [{host}]:{port}"),
            )),
            None => Target::host(host, port),
        }
    }

    /// The target, or the error of a text that is no endpoint.
    pub(crate) fn target(self) -> Result<Target> {
        match self.0 {
            Target::Invalid(error) => Err(error),
            target => Ok(target),
        }
    }
}

impl Target {
    /// A host that was given apart from its port. It is a literal or a name to look up.
    fn host(host: &str, port: u16) -> Target {
        match host.parse::<IpAddr>() {
            Ok(ip) => Target::Ip((ip, port).into()),
            Err(_)
                if host.is_empty()
                    || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/[]@".contains(c)) =>
            {
                Target::bad_host(host)
            }
            // A literal with a zone, `fe80::1%eth0`, is left to the resolver, which knows the interfaces.
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

/// Whether a host is an IPv6 address with a zone, `fe80::1%eth0`. The system resolves it without asking a name server.
pub(crate) fn has_zone(host: &str) -> bool {
    host.split_once('%').is_some_and(|(ip, zone)| !zone.is_empty() && ip.parse::<Ipv6Addr>().is_ok())
}

/// Asks the system's resolver, getaddrinfo(3), and keeps the order of its answer. Blocks as long as the resolver does,
/// which cannot be limited or cancelled.
pub(crate) fn resolve(host: &str, port: u16, family: Option<Family>) -> Result<Vec<SocketAddr>> {
    if !host.is_ascii() && !has_zone(host) {
        // Some resolvers encode it and others send the bytes as they are, so one name would be two.
        let text = format!(
            "The host {host:?} is invalid: a name is ASCII. Give its encoded form (IDNA), in which a part that is not \
             begins with xn--"
        );
        return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text).of_host(host));
    }
    let mut found: Vec<SocketAddr> = Vec::new();
    for at in (host, port).to_socket_addrs().map_err(|error| Error::lookup(host, error))?.map(canonical) {
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

/// The result of `call` for the first address that works. If none of several works, the error has the errors of all and
/// the code of the first.
pub(crate) fn first_of<T>(addresses: &[SocketAddr], call: impl Fn(SocketAddr) -> Result<T>) -> Result<T> {
    let mut causes = Vec::new();
    for at in addresses {
        match call(*at) {
            Ok(value) => return Ok(value),
            Err(error) => causes.push(error),
        }
    }
    match &causes[..] {
        [only] => Err(only.clone()),
        _ => Err(Error::aggregate(format_args!("{} addresses", addresses.len()), causes)),
    }
}

/// Whether an error means that the system has no IPv6, or no socket that reaches both families.
pub(crate) fn has_no_dual_stack(error: &Error) -> bool {
    let is_the_systems = error.syscall().is_some_and(|call| call != "before_bind");
    is_the_systems && matches!(error.code(), "EAFNOSUPPORT" | "EADDRNOTAVAIL" | "EINVAL")
}

/// The address of this machine in the family that is asked for.
pub(crate) fn loopback(family: Family) -> IpAddr {
    match family {
        Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

/// Where to connect or send in order to reach a socket bound to `at`. A wildcard is reached over loopback, since only
/// some systems can connect to a wildcard.
pub(crate) fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        _ => at,
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Target::Port(port) => format!(":{port}"),
            Target::Ip(at) => at.to_string(),
            Target::Name { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Target::Name { host, port } => format!("{host}:{port}"),
            Target::Path(path) => printed(path),
            Target::Several(list) => {
                let mut text = String::new();
                for at in list {
                    let separator = if text.is_empty() { "" } else { ", " };
                    text.push_str(&format!("{separator}{at}"));
                }
                text
            }
            Target::Invalid(error) => error.to_string(),
        };
        f.pad(&text)
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
            Repr::Ip(at) => Target::Ip(at),
            Repr::Path(path) => Target::Path(path),
        })
    }
}

impl From<PathBuf> for Endpoint {
    fn from(path: PathBuf) -> Endpoint {
        Endpoint(Target::Path(path))
    }
}

impl From<&[SocketAddr]> for Endpoint {
    fn from(list: &[SocketAddr]) -> Endpoint {
        let mut addresses = Vec::with_capacity(list.len());
        for at in list.iter().copied().map(canonical) {
            if !addresses.contains(&at) {
                addresses.push(at);
            }
        }
        Endpoint(match addresses[..] {
            [] => Target::Invalid(Error::invalid("ERR_INVALID_ARG_VALUE", "The list of addresses is empty")),
            [at] => Target::Ip(at),
            _ => Target::Several(addresses.into()),
        })
    }
}

impl<const N: usize> From<[SocketAddr; N]> for Endpoint {
    fn from(list: [SocketAddr; N]) -> Endpoint {
        list.as_slice().into()
    }
}

impl<const N: usize> From<&[SocketAddr; N]> for Endpoint {
    fn from(list: &[SocketAddr; N]) -> Endpoint {
        list.as_slice().into()
    }
}

/// The other forms, each by one of those above.
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
    Vec<SocketAddr>, |list| list.as_slice();
    &Vec<SocketAddr>, |list| list.as_slice();
}
