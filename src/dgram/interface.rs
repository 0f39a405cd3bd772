//! Network interfaces, identified by address, number or name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Error, Result};
use crate::{sys, zone};

/// The network interface of a multicast call, given as one of its addresses, its number or its name.
///
/// Every call that takes `impl Into<Interface>` accepts an [`IpAddr`] or one of its forms, a `u32`, or a text such as
/// `"127.0.0.1"`, `"eth0"` or Node's `"::%eth0"`.
///
/// ```
/// use landline::dgram::Interface;
///
/// assert_eq!(Interface::from("127.0.0.1"), Interface::address([127, 0, 0, 1]));
/// assert_eq!(Interface::from("::%lo"), Interface::name("lo"));
/// assert_eq!(Interface::from(2), Interface::index(2));
/// assert_eq!(Interface::from("0.0.0.0"), Interface::ANY);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Any,
    Address(IpAddr),
    Index(u32),
    Name(Box<str>),
}

impl Interface {
    /// Lets the system choose. It usually chooses the interface of the default route.
    pub const ANY: Interface = Interface(Kind::Any);

    /// The interface with this address. The unspecified address is [`ANY`](Interface::ANY).
    pub fn address(address: impl Into<IpAddr>) -> Interface {
        Interface::of(address.into().to_canonical())
    }

    fn of(address: IpAddr) -> Interface {
        if address.is_unspecified() { Interface::ANY } else { Interface(Kind::Address(address)) }
    }

    /// The interface with this number, as `ip link` shows it. 0 is [`ANY`](Interface::ANY).
    pub fn index(index: u32) -> Interface {
        if index == 0 { Interface::ANY } else { Interface(Kind::Index(index)) }
    }

    /// The interface with this name.
    pub fn name(name: &str) -> Interface {
        Interface(Kind::Name(name.into()))
    }

    /// For IPv4 calls that take only an address.
    pub(crate) fn v4(&self) -> Result<Ipv4Addr, NoInterface> {
        match self.number()? {
            None => self.v4_address(),
            Some(index) => {
                let name = if let Kind::Name(name) = &self.0 { Some(&**name) } else { None };
                sys::multicast_interface_v4(index, name).ok_or(NoInterface::Unknown)
            }
        }
    }

    /// Its number, if it was given by number or name.
    pub(crate) fn number(&self) -> Result<Option<u32>, NoInterface> {
        match &self.0 {
            Kind::Any | Kind::Address(_) => Ok(None),
            Kind::Index(index) => Ok(Some(*index)),
            Kind::Name(name) => index_of(name).map(Some),
        }
    }

    /// Its address, if it was not given as a number or name.
    pub(crate) fn v4_address(&self) -> Result<Ipv4Addr, NoInterface> {
        match &self.0 {
            Kind::Any => Ok(Ipv4Addr::UNSPECIFIED),
            Kind::Address(IpAddr::V4(address)) => Ok(*address),
            _ => Err(NoInterface::Invalid),
        }
    }

    /// For IPv4 calls on a socket that also sends over IPv6. An IPv6 address identifies the interface for both.
    pub(crate) fn v4_beside_v6(&self) -> Result<Ipv4Addr, NoInterface> {
        match &self.0 {
            Kind::Address(IpAddr::V6(_)) => sys::multicast_interface_v4(self.v6()?, None).ok_or(NoInterface::Unknown),
            _ => self.v4(),
        }
    }

    /// For IPv6 calls, which take a number.
    pub(crate) fn v6(&self) -> Result<u32, NoInterface> {
        match &self.0 {
            Kind::Any => Ok(0),
            Kind::Address(IpAddr::V6(address)) => sys::interface_of(*address).ok_or(NoInterface::Unknown),
            Kind::Address(IpAddr::V4(_)) => Err(NoInterface::Invalid),
            Kind::Index(index) => Ok(*index),
            Kind::Name(name) => index_of(name),
        }
    }
}

fn index_of(name: &str) -> Result<u32, NoInterface> {
    zone::index_of(name).ok().filter(|index| *index != 0).ok_or(NoInterface::Unknown)
}

pub(crate) enum NoInterface {
    /// It does not exist, or a descriptor to find it was missing.
    Unknown,
    /// It is of the other family.
    Invalid,
}

impl NoInterface {
    pub(crate) fn error(self, call: &'static str) -> Error {
        match self {
            NoInterface::Unknown => match sys::shortage() {
                Some(shortage) => Error::call(call, &shortage),
                None => Error::coded(call, io::ErrorKind::NotFound, "ENODEV"),
            },
            NoInterface::Invalid => Error::coded(call, io::ErrorKind::InvalidInput, "EINVAL"),
        }
    }
}

impl From<&str> for Interface {
    fn from(text: &str) -> Interface {
        match (text.parse::<IpAddr>(), text.split_once('%')) {
            (Ok(address), _) => Interface::address(address),
            (Err(_), Some((_, zone))) => zone.parse().map_or_else(|_| Interface::name(zone), Interface::index),
            (Err(_), None) => Interface::name(text),
        }
    }
}

impl From<String> for Interface {
    fn from(text: String) -> Interface {
        text.as_str().into()
    }
}

impl From<&String> for Interface {
    fn from(text: &String) -> Interface {
        text.as_str().into()
    }
}

impl From<u32> for Interface {
    fn from(index: u32) -> Interface {
        Interface::index(index)
    }
}

impl From<IpAddr> for Interface {
    fn from(address: IpAddr) -> Interface {
        Interface::address(address)
    }
}

impl From<[u8; 4]> for Interface {
    fn from(address: [u8; 4]) -> Interface {
        Interface::address(address)
    }
}

impl From<Ipv4Addr> for Interface {
    fn from(address: Ipv4Addr) -> Interface {
        Interface::address(address)
    }
}

impl From<Ipv6Addr> for Interface {
    fn from(address: Ipv6Addr) -> Interface {
        Interface::address(address)
    }
}

/// A group that the socket has joined.
#[derive(PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) group: IpAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) interface: Interface,
}

impl Membership {
    /// An IPv4-mapped address becomes IPv4.
    pub(crate) fn new(group: &str, source: Option<&str>, interface: Interface) -> Result<Membership> {
        let ip = |text: &str, name| match text.parse::<IpAddr>() {
            Ok(ip) => Ok(ip.to_canonical()),
            Err(_) => Err(Error::invalid("ERR_INVALID_IP_ADDRESS", format!("Invalid IP address: {text} ({name})"))),
        };
        let source = source.map(|source| ip(source, "source")).transpose()?;
        Ok(Membership { group: ip(group, "group")?, source, interface })
    }
}
