use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use socket2::SockRef;

use super::socket::{Setup, Socket};
use crate::error::{Error, Result};
use crate::sys;

/// Which network interface a multicast call is about: by one of its addresses, by its number, or by its name.
///
/// Every call that takes `impl Into<Interface>` takes an [`IpAddr`] or one of its forms, a `u32`, or a text:
/// `"127.0.0.1"`, `"eth0"`, or Node's `"::%eth0"`.
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
    /// Whichever the system chooses: mostly the one of the default route.
    pub const ANY: Interface = Interface(Kind::Any);

    /// The one that has this address. The unspecified address is [`ANY`](Interface::ANY).
    pub fn address(address: impl Into<IpAddr>) -> Interface {
        let address = address.into();
        if address.is_unspecified() { Interface::ANY } else { Interface(Kind::Address(address)) }
    }

    /// The one with this number, as `ip link` shows it. 0 is [`ANY`](Interface::ANY).
    pub fn index(index: u32) -> Interface {
        if index == 0 { Interface::ANY } else { Interface(Kind::Index(index)) }
    }

    /// The one with this name.
    pub fn name(name: &str) -> Interface {
        Interface(Kind::Name(name.into()))
    }

    /// For IPv4's calls, which take an address.
    fn v4(&self) -> Result<Ipv4Addr, NoInterface> {
        match &self.0 {
            Kind::Any => Ok(Ipv4Addr::UNSPECIFIED),
            Kind::Address(IpAddr::V4(address)) => Ok(*address),
            Kind::Address(IpAddr::V6(_)) => Err(NoInterface::Invalid),
            Kind::Index(index) => sys::multicast_interface_v4(*index).ok_or(NoInterface::Unknown),
            Kind::Name(name) => sys::multicast_interface_v4(index_of(name)?).ok_or(NoInterface::Unknown),
        }
    }

    /// For IPv6's calls, which take a number.
    fn v6(&self) -> Result<u32, NoInterface> {
        match &self.0 {
            Kind::Any => Ok(0),
            Kind::Address(IpAddr::V6(address)) => sys::interface_of(*address).ok_or(NoInterface::Unknown),
            Kind::Address(IpAddr::V4(_)) => Err(NoInterface::Invalid),
            Kind::Index(index) => Ok(*index),
            Kind::Name(name) => index_of(name),
        }
    }
}

/// The resolver is who knows the numbers of interfaces: it has to, for the zone of an address.
fn index_of(name: &str) -> Result<u32, NoInterface> {
    let found = (&*format!("fe80::1%{name}"), 0).to_socket_addrs().map_err(|_| NoInterface::Unknown)?;
    let mut zones = found.filter_map(|at| match at {
        SocketAddr::V6(at) => Some(at.scope_id()),
        SocketAddr::V4(_) => None,
    });
    zones.next().filter(|index| *index != 0).ok_or(NoInterface::Unknown)
}

enum NoInterface {
    Unknown,
    /// Of the other family.
    Invalid,
}

impl NoInterface {
    fn error(self, call: &'static str) -> Error {
        match self {
            NoInterface::Unknown => Error::coded(call, io::ErrorKind::NotFound, "ENODEV"),
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

/// A group the socket is in.
#[derive(PartialEq, Eq)]
pub(super) struct Membership {
    group: IpAddr,
    source: Option<IpAddr>,
    interface: Interface,
}

impl Socket {
    /// Joins a multicast group on an interface, so that what is sent to it there is received: `IP_ADD_MEMBERSHIP`,
    /// `IPV6_JOIN_GROUP`. The socket's port has to be the one that is sent to, and its address a wildcard or the
    /// group's. On Linux it then gets what comes for other groups too, if another socket of this machine has joined
    /// those. The system tells the routers of members, so joining is seen outside.
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    /// use landline::dgram::SocketOptions;
    ///
    /// let group = Ipv4Addr::new(239, 255, 13, 1);
    /// let member = SocketOptions::udp4().reuse_address(true).bind(0)?;
    /// member.join(group, "127.0.0.1")?;
    ///
    /// let sender = SocketOptions::udp4().bind("127.0.0.1:0")?;
    /// sender.set_multicast_interface("127.0.0.1")?;
    /// sender.send_to(b"to all", (group, member.address().port()))?;
    /// assert_eq!(member.recv(&mut [0; 100])?.expect("nobody closed it").0, b"to all");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EINVAL` if it is no group or one of the other family, `ENODEV` if there is no such interface, `EADDRINUSE` if
    /// it is joined already, `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "addMembership", alias = "join_multicast_v4", alias = "join_multicast_v6")]
    pub fn join(&self, group: impl Into<IpAddr>, interface: impl Into<Interface>) -> Result<()> {
        let (group, interface) = (group.into(), interface.into());
        self.change_membership("addMembership", true, Membership { group, source: None, interface })
    }

    /// Leaves a group: `IP_DROP_MEMBERSHIP`, `IPV6_LEAVE_GROUP`.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if it is not joined; otherwise as of [`join`](Socket::join).
    #[doc(alias = "dropMembership", alias = "leave_multicast_v4", alias = "leave_multicast_v6")]
    pub fn leave(&self, group: impl Into<IpAddr>, interface: impl Into<Interface>) -> Result<()> {
        let (group, interface) = (group.into(), interface.into());
        self.change_membership("dropMembership", false, Membership { group, source: None, interface })
    }

    /// Joins a group for what one source sends to it: `IP_ADD_SOURCE_MEMBERSHIP`. Again for each further source.
    ///
    /// # Errors
    /// `ENOTSUP` for IPv6, and on OpenBSD, NetBSD and DragonFly BSD, where there is no safe call for it; otherwise as
    /// of [`join`](Socket::join).
    #[doc(alias = "addSourceSpecificMembership", alias = "join_ssm_v4")]
    pub fn join_source(
        &self,
        source: impl Into<IpAddr>,
        group: impl Into<IpAddr>,
        interface: impl Into<Interface>,
    ) -> Result<()> {
        let (source, group, interface) = (Some(source.into()), group.into(), interface.into());
        self.change_membership("addSourceSpecificMembership", true, Membership { group, source, interface })
    }

    /// Leaves a group for one source: `IP_DROP_SOURCE_MEMBERSHIP`.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if it is not joined for this source, `EINVAL` if for none; otherwise as of
    /// [`join_source`](Socket::join_source).
    #[doc(alias = "dropSourceSpecificMembership", alias = "leave_ssm_v4")]
    pub fn leave_source(
        &self,
        source: impl Into<IpAddr>,
        group: impl Into<IpAddr>,
        interface: impl Into<Interface>,
    ) -> Result<()> {
        let (source, group, interface) = (Some(source.into()), group.into(), interface.into());
        self.change_membership("dropSourceSpecificMembership", false, Membership { group, source, interface })
    }

    /// Sets the interface that multicast datagrams are sent by: `IP_MULTICAST_IF`, `IPV6_MULTICAST_IF`.
    /// [`Interface::ANY`] leaves it to the system again. Default: [`Interface::ANY`].
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if no interface has the address, `ENODEV` if none has the name or number, `EINVAL` for an
    /// address of the other family, `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setMulticastInterface", alias = "set_multicast_if_v4", alias = "set_multicast_if_v6")]
    pub fn set_multicast_interface(&self, interface: impl Into<Interface>) -> Result<()> {
        let interface = interface.into();
        self.set(|socket, setup| {
            send_by(socket, setup.v6, &interface)?;
            setup.interface = Some(interface);
            Ok(())
        })
    }

    fn change_membership(&self, call: &'static str, join: bool, membership: Membership) -> Result<()> {
        self.set(|socket, setup| {
            change(socket, setup.v6, call, join, &membership)?;
            if join {
                setup.memberships.push(membership);
            } else {
                setup.memberships.retain(|other| *other != membership);
            }
            Ok(())
        })
    }
}

/// Puts a new socket into the groups of the one before it, and gives what failed.
pub(super) fn rejoin(socket: &UdpSocket, setup: &Setup) -> Vec<Error> {
    let by = setup.interface.iter().map(|interface| send_by(socket, setup.v6, interface));
    let joined = setup.memberships.iter().map(|membership| {
        let call = if membership.source.is_some() { "addSourceSpecificMembership" } else { "addMembership" };
        change(socket, setup.v6, call, true, membership)
    });
    by.chain(joined).filter_map(Result::err).collect()
}

fn change(socket: &UdpSocket, v6: bool, call: &'static str, join: bool, membership: &Membership) -> Result<()> {
    let options = SockRef::from(socket);
    let no_interface = |none: NoInterface| none.error(call);
    let changed = match (membership.group, membership.source) {
        (group, _) if !group.is_multicast() => return Err(NoInterface::Invalid.error(call)),
        (IpAddr::V4(group), None) => {
            let interface = membership.interface.v4().map_err(no_interface)?;
            if join {
                options.join_multicast_v4(&group, &interface)
            } else {
                options.leave_multicast_v4(&group, &interface)
            }
        }
        (IpAddr::V4(group), Some(IpAddr::V4(source))) => {
            let interface = membership.interface.v4().map_err(no_interface)?;
            sys::join_source_v4(socket, [source, group, interface], join)
        }
        (IpAddr::V6(group), None) if v6 => {
            let interface = membership.interface.v6().map_err(no_interface)?;
            if join {
                options.join_multicast_v6(&group, interface)
            } else {
                options.leave_multicast_v6(&group, interface)
            }
        }
        (IpAddr::V6(_), Some(IpAddr::V6(_))) if v6 => Err(io::ErrorKind::Unsupported.into()),
        _ => return Err(NoInterface::Invalid.error(call)),
    };
    changed.map_err(|error| Error::call(call, &error))
}

fn send_by(socket: &UdpSocket, v6: bool, interface: &Interface) -> Result<()> {
    const CALL: &str = "setMulticastInterface";
    let options = SockRef::from(socket);
    let set = if v6 {
        options.set_multicast_if_v6(interface.v6().map_err(|none| none.error(CALL))?)
    } else {
        options.set_multicast_if_v4(&interface.v4().map_err(|none| none.error(CALL))?)
    };
    set.map_err(|error| Error::call(CALL, &error))
}
