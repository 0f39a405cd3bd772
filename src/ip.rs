use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::{Address, Family};
use crate::error::{Error, Result};

/// Whether a text is an IP address, and of which family: Node's 4, 6 and 0 as `Some(Ipv4)`, `Some(Ipv6)` and `None`.
///
/// Brackets, ports and names are not part of an address. An IPv6 address may name its zone, `fe80::1%eth0`, in
/// letters, digits, `.`, `:` and `-`; an IPv4 address has four decimal parts without leading zeros.
///
/// ```
/// use landline::{Family, is_ip};
///
/// assert_eq!(is_ip("127.0.0.1"), Some(Family::Ipv4));
/// assert_eq!(is_ip("fe80::1%eth0"), Some(Family::Ipv6));
/// assert_eq!(is_ip("127.000.000.001"), None);
/// assert_eq!(is_ip("localhost"), None);
/// ```
#[doc(alias = "isIP")]
pub fn is_ip(text: &str) -> Option<Family> {
    literal(text).map(|ip| if ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 })
}

/// Whether a text is an IPv4 address, as [`is_ip`] tells it.
///
/// ```
/// assert!(landline::is_ipv4("127.0.0.1"));
/// assert!(!landline::is_ipv4("::ffff:127.0.0.1"));
/// ```
#[doc(alias = "isIPv4")]
pub fn is_ipv4(text: &str) -> bool {
    is_ip(text) == Some(Family::Ipv4)
}

/// Whether a text is an IPv6 address, as [`is_ip`] tells it.
///
/// ```
/// assert!(landline::is_ipv6("::1"));
/// assert!(!landline::is_ipv6("[::1]"));
/// ```
#[doc(alias = "isIPv6")]
pub fn is_ipv6(text: &str) -> bool {
    is_ip(text) == Some(Family::Ipv6)
}

/// An IP address as text, its zone dropped.
fn literal(text: &str) -> Option<IpAddr> {
    let Some((ip, zone)) = text.split_once('%') else {
        return text.parse().ok();
    };
    let named = !zone.is_empty() && zone.bytes().all(|c| c.is_ascii_alphanumeric() || b".:-".contains(&c));
    if named { ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6) } else { None }
}

/// What names one IP address: std's types, an [`Address`], or a text.
///
/// Every call that takes `impl ToIp` takes any of them, by value or by reference. The port of a socket address is
/// ignored, and so is a zone (`fe80::1%eth0`). It cannot be implemented elsewhere.
pub trait ToIp: sealed::Sealed {
    /// The address, in the family in which it was given.
    ///
    /// # Errors
    /// `ERR_INVALID_ADDRESS` for a text that is not an IP address and for the [`Address`] of a Unix socket. Names are
    /// not looked up.
    fn to_ip(&self) -> Result<IpAddr>;
}

mod sealed {
    pub trait Sealed {}
}

/// Each form, and how it gives the address.
macro_rules! to_ip {
    ($($given:ty, |$value:ident| $as:expr;)*) => {$(
        impl sealed::Sealed for $given {}
        impl ToIp for $given {
            fn to_ip(&self) -> Result<IpAddr> {
                let $value = self;
                $as
            }
        }
    )*};
}

to_ip! {
    IpAddr, |ip| Ok(*ip);
    Ipv4Addr, |ip| Ok(IpAddr::V4(*ip));
    Ipv6Addr, |ip| Ok(IpAddr::V6(*ip));
    [u8; 4], |parts| Ok(IpAddr::from(*parts));
    SocketAddr, |at| Ok(at.ip());
    Address, |address| address.ip().ok_or_else(|| invalid(&address.to_string()));
    str, |text| literal(text).ok_or_else(|| invalid(text));
    String, |text| text.as_str().to_ip();
}

impl<T: ToIp + ?Sized> sealed::Sealed for &T {}
impl<T: ToIp + ?Sized> ToIp for &T {
    fn to_ip(&self) -> Result<IpAddr> {
        (**self).to_ip()
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid("ERR_INVALID_ADDRESS", format!("Invalid address: {text}"))
}
