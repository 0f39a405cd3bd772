use std::fmt::{self, Write};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::Error;
use crate::one_line::OneLine;

/// The kind of an [`Address`]. It prints as in Node, `IPv4`, `IPv6` or `Unix`.
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

/// The address of a socket. It is an IP address and a port, or the path of a Unix socket.
///
/// Addresses are canonical. A client that reached a dual-stack server over IPv4 is `127.0.0.1`, never
/// `::ffff:127.0.0.1`, so one peer has one name in logs, maps and lists.
///
/// The zone of an IPv6 address is part of it, as in `[fe80::1%2]:3000`. It is the number of the interface.
///
/// It prints as `127.0.0.1:3000` or `[::1]:3000`, and [parses](str::parse) from the same, with or without the port. A
/// path prints as one line. Its control characters are escaped, as `\n`, and the NUL of a Linux abstract name prints as
/// `@`.
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
#[doc(alias = "SocketAddress", alias = "parse")]
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub(crate) Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Repr {
    Ip(SocketAddr),
    Path(PathBuf),
}

impl Address {
    /// The address that the system gave. `None` if it is of another kind.
    pub(crate) fn of(address: &socket2::SockAddr) -> Option<Address> {
        match address.as_socket() {
            Some(at) => Some(at.into()),
            None => crate::sys::path_of(address).map(Address::from),
        }
    }

    /// The IP address. `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|at| at.ip())
    }

    /// The port. It is 0 for a Unix socket, which has none.
    #[doc(alias = "localPort")]
    #[doc(alias = "remotePort")]
    pub fn port(&self) -> u16 {
        self.socket_addr().map_or(0, |at| at.port())
    }

    /// IPv4, IPv6 or Unix.
    pub fn family(&self) -> Family {
        match &self.0 {
            Repr::Ip(SocketAddr::V4(_)) => Family::Ipv4,
            Repr::Ip(SocketAddr::V6(_)) => Family::Ipv6,
            Repr::Path(_) => Family::Unix,
        }
    }

    /// The path of a Unix socket. `None` for an IP address. Empty for a client that is not bound to a name.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Repr::Ip(_) => None,
            Repr::Path(path) => Some(path),
        }
    }

    /// The same as std's type. `None` for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Repr::Ip(at) => Some(*at),
            Repr::Path(_) => None,
        }
    }

    /// The address as JSON, in the form of Node's `JSON.stringify(server.address())`. It is
    /// `{"address":"127.0.0.1","family":"IPv4","port":3000}`, or the path as a JSON string. Three things differ from
    /// Node:
    ///
    /// - A zone is a number, `fe80::1%2`, and not the name of the interface.
    /// - An IPv4-mapped address is the IPv4 address that it means.
    /// - Bytes of a path that are not UTF-8 are replaced by U+FFFD.
    pub fn to_json(&self) -> String {
        match &self.0 {
            Repr::Ip(at) => {
                let (ip, family, port) = (zoned(at), self.family(), at.port());
                format!(r#"{{"address":"{ip}","family":"{family}","port":{port}}}"#)
            }
            Repr::Path(path) => json_string(&path.to_string_lossy()),
        }
    }

    /// As Node's error messages write it, `127.0.0.1:3000` or `::1:3000`. With port 0 it is the address alone.
    pub(crate) fn in_messages(&self) -> String {
        match &self.0 {
            Repr::Ip(at) if at.port() == 0 => zoned(at),
            Repr::Ip(at) => format!("{}:{}", zoned(at), at.port()),
            Repr::Path(path) => printed(path),
        }
    }
}

/// The address with its zone and without its port.
fn zoned(at: &SocketAddr) -> String {
    match at {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => at.ip().to_string(),
    }
}

/// The same, with an IPv4-mapped address as IPv4.
#[inline]
pub(crate) fn canonical(at: SocketAddr) -> SocketAddr {
    match &at {
        SocketAddr::V4(_) => at,
        SocketAddr::V6(v6) => canonical_v6(v6),
    }
}

/// Apart, since datagrams from IPv4 should not pay for it.
#[inline(never)]
fn canonical_v6(at: &SocketAddrV6) -> SocketAddr {
    match at.ip().to_ipv4_mapped() {
        Some(ip) => (ip, at.port()).into(),
        None => (*at).into(),
    }
}

/// The path as one line. A client chooses its own path, which must not be able to forge a line of a log. The NUL of an
/// abstract name is written `@`, as other programs do. It would be invisible in a log, and a panic in the name of a
/// thread.
pub(crate) fn printed(path: &Path) -> String {
    let (mut shown, mut text) = (String::new(), String::new());
    for c in path.to_string_lossy().chars() {
        shown.push(if c == '\0' { '@' } else { c });
    }
    // Writing to a string cannot fail.
    let _ = OneLine(&mut text).write_str(&shown);
    text
}

fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                json.push('\\');
                json.push(c);
            }
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
            Repr::Ip(at) => at.fmt(f),
            Repr::Path(path) => f.pad(&printed(path)),
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
        Address(Repr::Ip(canonical(at)))
    }
}

impl From<IpAddr> for Address {
    /// With port 0.
    fn from(ip: IpAddr) -> Address {
        SocketAddr::from((ip, 0)).into()
    }
}

/// The other forms of an IP address, each by one of those above.
macro_rules! address_from {
    ($($given:ty, $as:ty;)*) => {$(
        impl From<$given> for Address {
            fn from(given: $given) -> Address {
                <$as>::from(given).into()
            }
        }
    )*};
}

address_from! {
    SocketAddrV4, SocketAddr;
    SocketAddrV6, SocketAddr;
    Ipv4Addr, IpAddr;
    Ipv6Addr, IpAddr;
    [u8; 4], IpAddr;
    [u8; 16], IpAddr;
    [u16; 8], IpAddr;
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address(Repr::Path(path))
    }
}

impl TryFrom<&Address> for SocketAddr {
    type Error = io::Error;

    /// `ERR_INVALID_ADDRESS_FAMILY` for a Unix socket.
    fn try_from(address: &Address) -> io::Result<SocketAddr> {
        let is_path =
            || Error::invalid("ERR_INVALID_ADDRESS_FAMILY", format!("A path is not an IP address: {address}"));
        Ok(address.socket_addr().ok_or_else(is_path)?)
    }
}

#[cfg(unix)]
impl TryFrom<&Address> for std::os::unix::net::SocketAddr {
    type Error = io::Error;

    /// `ERR_INVALID_ADDRESS_FAMILY` for an IP address. An abstract name of Linux stays an abstract name.
    fn try_from(address: &Address) -> io::Result<std::os::unix::net::SocketAddr> {
        let is_ip = || Error::invalid("ERR_INVALID_ADDRESS_FAMILY", format!("An IP address is not a path: {address}"));
        crate::sys::address_of(address.path().ok_or_else(is_ip)?)
    }
}

impl FromStr for Address {
    type Err = io::Error;

    /// Parses an IP address with or without a port, as `127.0.0.1`, `127.0.0.1:3000`, `[::1]` or `[::1]:3000`. Without
    /// a port, the port is 0. Names are not looked up.
    ///
    /// An IPv6 address with a port needs its brackets, since `::1:3000` is another address. Unlike Node's parser, which
    /// reads a URL, this one keeps port 80 and takes an IPv4 address in its one plain form only. Programs disagree
    /// about which addresses `0x7f.1`, `2130706433` and `010.0.0.1` are, so here they are errors.
    ///
    /// # Errors
    /// `ERR_INVALID_ADDRESS` for any other text. The error names the text.
    fn from_str(text: &str) -> io::Result<Address> {
        let at: Result<SocketAddr, _> = text.parse().or_else(|_| format!("{text}:0").parse());
        let invalid = |_| Error::invalid("ERR_INVALID_ADDRESS", format!("Invalid address: {text}"));
        Ok(at.map(Address::from).map_err(invalid)?)
    }
}
