//! Where to listen, connect or send, before its name is looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::path::{Path, PathBuf};

use crate::address::{Address, Family, Repr, canonical, printed};
use crate::error::{Error, Result};
use crate::zone;

/// Where to listen, connect or send: a port, an address, or a name that is still to be looked up.
///
/// Every call that takes `impl Into<Endpoint>` accepts each of these:
///
/// | you write | it means |
/// |---|---|
/// | `3000` | for listening: every interface, IPv6 and IPv4; for connecting and sending: this machine |
/// | `"127.0.0.1:3000"`, `"[::1]:3000"`, `"localhost:3000"` | that host and port |
/// | `":3000"`, `"3000"` | the same as the number `3000` |
/// | `("localhost", 3000)`, `([127, 0, 0, 1], 3000)`, `(ip, 3000)` | that host and port |
/// | a [`SocketAddr`], an [`Address`] or a reference to one | that address |
/// | a [`Path`] or [`PathBuf`] | a Unix socket |
/// | a slice, an array or a [`Vec`] of [`SocketAddr`]s | these addresses, tried in order |
///
/// An IPv6 address may have a zone: the name or number of an interface, as in `"[fe80::1%eth0]:3000"`. An IPv4-mapped
/// address means the IPv4 address. A name must be ASCII, so write `bücher.example` in its encoded form,
/// `xn--bcher-kva.example`.
///
/// How a list of addresses is used depends on the call:
///
/// - Listening and binding use the first address that works. If none works, [`Error::causes`] has the error of each.
/// - Connecting tries the addresses like those of a looked-up name. If none works, [`Error::causes`] has the error of
///   each.
/// - Sending uses the first address that the socket can send to. If it can send to none, the error is that of the
///   first.
///
/// If a program has a value of std's [`ToSocketAddrs`], this turns it into a list:
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
/// A text is never taken as a path. An empty list makes the call fail, and so does a text that has none of the forms
/// above. In that case the error quotes the text. An endpoint with a single address allocates no memory.
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
    /// Not a valid endpoint. The call that gets it returns this error.
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

    /// The target. For an invalid text, its error.
    pub(crate) fn target(self) -> Result<Target> {
        match self.0 {
            Target::Invalid(error) => Err(error),
            target => Ok(target),
        }
    }
}

impl Target {
    /// A host that was given separately from its port. It is a literal address, or a name to look up.
    fn host(host: &str, port: u16) -> Target {
        match host.parse::<IpAddr>() {
            Ok(ip) => Target::Ip((ip, port).into()),
            Err(_)
                if host.is_empty()
                    || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/[]@".contains(c)) =>
            {
                Target::bad_host(host)
            }
            // It has a port, or is no IPv6 address. No name contains a colon.
            Err(_) if host.contains(':') && !zone::has_zone(host) => Target::bad_host(host),
            // A literal with a zone, such as `fe80::1%eth0`, may have the name of an interface in it.
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

/// Asks the system's resolver, getaddrinfo(3), and keeps the order of its answer. The call blocks as long as the
/// resolver does. That time cannot be limited, and the call cannot be cancelled. Of an address with a zone, only the
/// zone is looked up.
pub(crate) fn resolve(host: &str, port: u16, family: Option<Family>) -> Result<Vec<SocketAddr>> {
    if !host.is_ascii() && !zone::has_zone(host) {
        // Some resolvers encode such a name and others send its bytes unchanged, so one name could mean two hosts.
        let text = format!(
            "The host {host:?} is invalid: a name is ASCII. Give its encoded form (IDNA), in which a part that is not \
             begins with xn--"
        );
        return Err(Error::invalid("ERR_INVALID_ARG_VALUE", text).of_host(host));
    }
    let answers = match zone::split(host) {
        Some((ip, zone)) => {
            zone::index_of(zone).map(|index| vec![SocketAddrV6::new(ip, port, 0, index).into()].into_iter())
        }
        None => (host, port).to_socket_addrs(),
    };
    let mut found: Vec<SocketAddr> = Vec::new();
    for at in answers.map_err(|error| Error::lookup(host, error))?.map(canonical) {
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

/// Returns the result of `call` for the first address for which it succeeds. If it fails for each of several addresses,
/// the error contains all the errors and has the code of the first.
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

/// Whether an error means that the system has no IPv6, or has no socket that reaches both families.
pub(crate) fn has_no_dual_stack(error: &Error) -> bool {
    let is_the_systems = error.syscall().is_some_and(|call| call != "before_bind");
    is_the_systems && matches!(error.code(), "EAFNOSUPPORT" | "EADDRNOTAVAIL" | "EINVAL")
}

/// The loopback address of the given family.
pub(crate) fn loopback(family: Family) -> IpAddr {
    match family {
        Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

/// Where to connect or send to reach a socket that is bound to `at`. For a wildcard it is loopback, because only some
/// systems can connect to a wildcard.
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
            Repr::Path(path) => Target::Path(path.into()),
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

/// The other forms. Each uses one of the conversions above.
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
