use std::ffi::OsString;
use std::fmt::{self, Write};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::Error;
use crate::one_line::OneLine;

/// The kind of an [`Address`]. A `Family` prints as in Node: `IPv4`, `IPv6` or `Unix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Family {
    /// IPv4, such as `127.0.0.1`.
    Ipv4,
    /// IPv6, such as `::1`.
    Ipv6,
    /// A Unix-domain socket. Its address is a path.
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

/// The address of a socket: an IP address and a port, or the path of a Unix socket.
///
/// Each address has one form. A client that reaches a dual-stack server over IPv4 has the address `127.0.0.1`, never
/// `::ffff:127.0.0.1`. So one peer has one name in logs, maps and lists.
///
/// The zone of an IPv6 address is part of the address, as in `[fe80::1%2]:3000`. A zone is the number of a network
/// interface. The flow label is not part of it.
///
/// Paths are compared as they are written, because an abstract name is no path: `/tmp/a` and `/tmp//a` differ.
///
/// An IP address prints as `127.0.0.1:3000` or `[::1]:3000`. The same text, with or without the port,
/// [parses](str::parse) as an address. A path prints as one line: control characters are escaped, such as `\n`, and the
/// NUL of a Linux abstract name prints as `@`.
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
    /// Not as a path: std compares the parts of paths, and takes `a//b` for `a/b`.
    Path(OsString),
}

impl Address {
    /// The address that the system returned. `None` if it is neither an IP address nor a Unix one.
    pub(crate) fn of(address: &socket2::SockAddr) -> Option<Address> {
        match address.as_socket() {
            Some(at) => Some(at.into()),
            None => crate::sys::path_of(address).map(Address::from),
        }
    }

    /// Returns the IP address. `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|at| at.ip())
    }

    /// Returns the port. A Unix socket has no port and returns 0.
    #[doc(alias = "localPort")]
    #[doc(alias = "remotePort")]
    pub fn port(&self) -> u16 {
        self.socket_addr().map_or(0, |at| at.port())
    }

    /// Returns whether the address is IPv4, IPv6 or Unix.
    pub fn family(&self) -> Family {
        match &self.0 {
            Repr::Ip(SocketAddr::V4(_)) => Family::Ipv4,
            Repr::Ip(SocketAddr::V6(_)) => Family::Ipv6,
            Repr::Path(_) => Family::Unix,
        }
    }

    /// Returns the path of a Unix socket. `None` for an IP address. The path is empty for a client that is not bound to
    /// a path.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Repr::Ip(_) => None,
            Repr::Path(path) => Some(Path::new(path)),
        }
    }

    /// Returns the address as std's type. `None` for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Repr::Ip(at) => Some(*at),
            Repr::Path(_) => None,
        }
    }

    /// Returns the address as JSON, like Node's `JSON.stringify(server.address())`. An IP address is
    /// `{"address":"127.0.0.1","family":"IPv4","port":3000}`. A path is a JSON string. Three things differ from Node:
    ///
    /// - A zone is a number, as in `fe80::1%2`, and not the name of the interface.
    /// - An IPv4-mapped address is written as IPv4.
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

    /// The form in Node's error messages: `127.0.0.1:3000` or `::1:3000`. If the port is 0, only the IP address.
    pub(crate) fn in_messages(&self) -> String {
        match &self.0 {
            Repr::Ip(at) if at.port() == 0 => zoned(at),
            Repr::Ip(at) => format!("{}:{}", zoned(at), at.port()),
            Repr::Path(path) => printed(Path::new(path)),
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

/// The same address. If it is IPv4-mapped, it becomes IPv4.
#[inline]
pub(crate) fn canonical(at: SocketAddr) -> SocketAddr {
    match &at {
        SocketAddr::V4(_) => at,
        SocketAddr::V6(v6) => canonical_v6(v6),
    }
}

/// A separate function, so that IPv4 datagrams do not pay for it.
#[inline(never)]
fn canonical_v6(at: &SocketAddrV6) -> SocketAddr {
    match at.ip().to_ipv4_mapped() {
        Some(ip) => (ip, at.port()).into(),
        None => (*at).into(),
    }
}

/// The path as one line. A client chooses its own path, and that path must not be able to forge a line in a log. The
/// NUL of an abstract name is written as `@`, as other programs do. A NUL would be invisible in a log, and would panic
/// in the name of a thread.
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
            '\u{8}' => json.push_str("\\b"),
            '\t' => json.push_str("\\t"),
            '\n' => json.push_str("\\n"),
            '\u{c}' => json.push_str("\\f"),
            '\r' => json.push_str("\\r"),
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
            Repr::Path(path) => f.pad(&printed(Path::new(path))),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SocketAddr> for Address {
    /// Converts an IPv4-mapped IPv6 address to IPv4, and removes the flow label of an IPv6 address.
    fn from(at: SocketAddr) -> Address {
        let mut at = canonical(at);
        if let SocketAddr::V6(v6) = &mut at {
            v6.set_flowinfo(0);
        }
        Address(Repr::Ip(at))
    }
}

impl From<IpAddr> for Address {
    /// Makes an address with port 0.
    fn from(ip: IpAddr) -> Address {
        SocketAddr::from((ip, 0)).into()
    }
}

/// The other forms of an IP address. Each uses one of the conversions above.
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
        Address(Repr::Path(path.into_os_string()))
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

    /// Parses an IP address with or without a port, such as `127.0.0.1`, `127.0.0.1:3000`, `[::1]` or `[::1]:3000`.
    /// Without a port in the text, the port is 0. Names are not looked up.
    ///
    /// An IPv6 address with a port needs brackets, because `::1:3000` is a different, valid address. Two things differ
    /// from Node's parser, which parses a URL:
    ///
    /// - A text with port 80 keeps that port. Node's parser turns it into port 0, because 80 is the default port of a
    ///   URL.
    /// - An IPv4 address must have four decimal numbers without leading zeros. Programs disagree about what `0x7f.1`,
    ///   `2130706433` and `010.0.0.1` mean, so landline rejects them.
    ///
    /// # Errors
    /// `ERR_INVALID_ADDRESS` for any other text. The error names the text.
    fn from_str(text: &str) -> io::Result<Address> {
        let at: Result<SocketAddr, _> = text.parse().or_else(|_| format!("{text}:0").parse());
        let invalid = |_| Error::invalid("ERR_INVALID_ADDRESS", format!("Invalid address: {text}"));
        Ok(at.map(Address::from).map_err(invalid)?)
    }
}
