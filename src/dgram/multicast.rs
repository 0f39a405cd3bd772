use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use socket2::SockRef;

use crate::address::Family;
use crate::dgram::interface::{Interface, Membership, NoInterface};
use crate::dgram::shared::Setup;
use crate::dgram::socket::Socket;
use crate::error::{Error, Result};
use crate::sys;

impl Socket {
    /// Joins a multicast group on an interface, to receive what is sent to the group there. The socket option is
    /// `IP_ADD_MEMBERSHIP` or `IPV6_JOIN_GROUP`. The socket must be bound to the port that senders use, and to a
    /// wildcard or the group's address. On Linux the socket also receives the datagrams of other groups that another
    /// socket of this machine has joined. The system announces members to routers, so joining is visible on the
    /// network.
    ///
    /// The group is an [`IpAddr`] or the text of one.
    ///
    /// ```
    /// use landline::dgram::SocketOptions;
    ///
    /// let member = SocketOptions::udp4().reuse_address(true).bind(0)?;
    /// member.join_multicast("239.255.13.1", "127.0.0.1")?;
    ///
    /// let sender = SocketOptions::udp4().bind("127.0.0.1:0")?;
    /// sender.set_multicast_interface("127.0.0.1")?;
    /// sender.send_to(b"to all", ("239.255.13.1", member.address().port()))?;
    /// assert_eq!(member.recv(&mut [0; 100])?.expect("it is open").0, b"to all");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// - `EINVAL` if the address is not a group, or is of a family that the socket does not reach
    /// - `ENODEV` if there is no such interface
    /// - `EADDRINUSE` if the socket has already joined the group
    /// - `ENOBUFS` if the socket has joined too many groups. Linux allows 20 IPv4 groups,
    ///   `net.ipv4.igmp_max_memberships`.
    /// - `EMFILE` or `ENFILE` if no descriptor is left. Finding an interface by its name takes one.
    /// - `ERR_INVALID_IP_ADDRESS` for a text that is not an IP address
    /// - `ERR_SOCKET_DGRAM_NOT_RUNNING` once the socket is closed
    #[doc(alias = "addMembership", alias = "join_multicast_v4", alias = "join_multicast_v6")]
    pub fn join_multicast(&self, group: impl ToString, interface: impl Into<Interface>) -> io::Result<()> {
        self.change_membership("addMembership", true, Membership::new(&group.to_string(), None, interface.into())?)
    }

    /// Leaves a group, `IP_DROP_MEMBERSHIP` or `IPV6_LEAVE_GROUP`. The interface may be named in a different form than
    /// in the join. The group is left for all sources.
    ///
    /// # Errors
    /// - `EADDRNOTAVAIL` if the socket has not joined the group
    /// - `ENODEV` if there is no such interface. If the interface was removed after the join, the socket receives
    ///   nothing from it, and the next [`disconnect`](Socket::disconnect) reports that it cannot join the group again.
    /// - The other errors of [`join_multicast`](Socket::join_multicast)
    #[doc(alias = "dropMembership", alias = "leave_multicast_v4", alias = "leave_multicast_v6")]
    pub fn leave_multicast(&self, group: impl ToString, interface: impl Into<Interface>) -> io::Result<()> {
        self.change_membership("dropMembership", false, Membership::new(&group.to_string(), None, interface.into())?)
    }

    /// Joins a group to receive only what one source sends to it, `IP_ADD_SOURCE_MEMBERSHIP`. To receive from several
    /// sources, join once for each source.
    ///
    /// The system call identifies the interface by its IPv4 address. If the interface has none, the error is `ENODEV`.
    ///
    /// If the socket has joined the group for all sources on the same interface, Linux replaces that join. When the
    /// socket has then left the group for its last source, it has left the group.
    ///
    /// # Errors
    /// - `ENOTSUP` for IPv6, and on OpenBSD, NetBSD and DragonFly BSD, where safe Rust has no call for it
    /// - `EADDRNOTAVAIL` if the socket has already joined the group for this source
    /// - `ENOBUFS` also for too many sources. Linux allows 10 for each group, `net.ipv4.igmp_max_msf`.
    /// - The other errors of [`join_multicast`](Socket::join_multicast)
    #[doc(alias = "addSourceSpecificMembership", alias = "join_ssm_v4")]
    pub fn join_multicast_source(
        &self,
        source: impl ToString,
        group: impl ToString,
        interface: impl Into<Interface>,
    ) -> io::Result<()> {
        let membership = Membership::new(&group.to_string(), Some(&source.to_string()), interface.into())?;
        self.change_membership("addSourceSpecificMembership", true, membership)
    }

    /// Leaves a group for one source, `IP_DROP_SOURCE_MEMBERSHIP`.
    ///
    /// # Errors
    /// - `EADDRNOTAVAIL` if the socket has joined the group for other sources, but not for this one
    /// - `EINVAL` if the socket has joined the group for no source at all
    /// - The errors of [`join_multicast_source`](Socket::join_multicast_source).
    #[doc(alias = "dropSourceSpecificMembership", alias = "leave_ssm_v4")]
    pub fn leave_multicast_source(
        &self,
        source: impl ToString,
        group: impl ToString,
        interface: impl Into<Interface>,
    ) -> io::Result<()> {
        let membership = Membership::new(&group.to_string(), Some(&source.to_string()), interface.into())?;
        self.change_membership("dropSourceSpecificMembership", false, membership)
    }

    /// Sets the interface that sends multicast datagrams, `IP_MULTICAST_IF` or `IPV6_MULTICAST_IF`. [`Interface::ANY`]
    /// lets the system choose again. Default: [`Interface::ANY`].
    ///
    /// On a socket that reaches both families, the interface is set for both. If one fails, it is set for neither. On
    /// macOS and the BSDs an IPv6 socket has no such setting for IPv4, so make the socket
    /// [`ipv6_only`](super::SocketOptions::ipv6_only) there. For IPv4 the system identifies the interface by its IPv4
    /// address, as in [`join_multicast_source`](Socket::join_multicast_source).
    ///
    /// # Errors
    /// - `EADDRNOTAVAIL` if no interface has the IPv4 address
    /// - `ENODEV` if no interface has the name, number or IPv6 address, or if for IPv4 the interface has no IPv4 address
    /// - `EINVAL` for an address of the other family. For a socket that reaches both families, it is an IPv4 address:
    ///   give the name, the number or an IPv6 address of the interface.
    /// - `EMFILE` or `ENFILE` if no descriptor is left. Finding an interface takes one.
    /// - `ERR_SOCKET_DGRAM_NOT_RUNNING` once the socket is closed
    #[doc(alias = "setMulticastInterface", alias = "set_multicast_if_v4", alias = "set_multicast_if_v6")]
    pub fn set_multicast_interface(&self, interface: impl Into<Interface>) -> io::Result<()> {
        self.send_by(interface.into())
    }

    fn send_by(&self, interface: Interface) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        send_by(&open.socket, &setup, &interface)?;
        setup.interface = Some(interface);
        Ok(())
    }

    fn change_membership(&self, call: &'static str, join: bool, membership: Membership) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        // Determined while the socket is still a member, so that routers see no change.
        let ended = if join { replaced_by(&setup, &membership) } else { left_by(&setup, &membership) };
        let mut ended = ended.map_err(|error| Error::call(call, &error))?.into_iter();
        change(&open.socket, setup.only, call, join, &membership)?;
        setup.memberships.retain(|_| ended.next() != Some(true));
        if join {
            setup.memberships.push(membership);
        }
        Ok(())
    }
}

/// Joins the groups that the replaced socket had joined. Returns the errors. What fails is forgotten, because the socket
/// does not have it, so the next replacement does not report it again.
pub(crate) fn rejoin(socket: &UdpSocket, setup: &mut Setup) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(Err(error)) = setup.interface.as_ref().map(|interface| send_by(socket, setup, interface)) {
        setup.interface = None;
        errors.push(error);
    }
    let only = setup.only;
    setup.memberships.retain(|membership| {
        let call = if membership.source.is_some() { "addSourceSpecificMembership" } else { "addMembership" };
        let joined = change(socket, only, call, true, membership);
        let is_member = joined.is_ok();
        errors.extend(joined.err());
        is_member
    });
    errors
}

/// `only`: the family that the socket reaches, if it reaches only one.
fn change(
    socket: &UdpSocket,
    only: Option<Family>,
    call: &'static str,
    join: bool,
    membership: &Membership,
) -> Result<()> {
    let options = SockRef::from(socket);
    let is_reached = only.is_none_or(|only| (only == Family::Ipv6) == membership.group.is_ipv6());
    let no_interface = |none: NoInterface| none.error(call);
    let changed = match (membership.group, membership.source) {
        (group, _) if !group.is_multicast() || !is_reached => return Err(NoInterface::Invalid.error(call)),
        (IpAddr::V4(group), None) => match membership.interface.number().map_err(no_interface)? {
            Some(index) => sys::change_membership_v4(&options, group, index, join),
            None => {
                let interface = membership.interface.v4_address().map_err(no_interface)?;
                if join {
                    options.join_multicast_v4(&group, &interface)
                } else {
                    options.leave_multicast_v4(&group, &interface)
                }
            }
        },
        (IpAddr::V4(group), Some(IpAddr::V4(source))) => {
            let interface = membership.interface.v4().map_err(no_interface)?;
            sys::join_source_v4(socket, [source, group, interface], join)
        }
        (IpAddr::V6(group), None) => {
            let interface = membership.interface.v6().map_err(no_interface)?;
            if join {
                options.join_multicast_v6(&group, interface)
            } else {
                options.leave_multicast_v6(&group, interface)
            }
        }
        (IpAddr::V6(_), Some(IpAddr::V6(_))) => Err(io::ErrorKind::Unsupported.into()),
        _ => return Err(NoInterface::Invalid.error(call)),
    };
    changed.map_err(|error| Error::call(call, &error))
}

/// Which memberships end when the socket joins this one. On Linux a join for one source replaces the join of the same
/// group for all sources.
fn replaced_by(setup: &Setup, joining: &Membership) -> io::Result<Vec<bool>> {
    let for_all = Membership { group: joining.group, source: None, interface: joining.interface.clone() };
    let mut replaced = Vec::with_capacity(setup.memberships.len());
    for member in &setup.memberships {
        let is_of_group = member.group == joining.group && member.source.is_none() && joining.source.is_some();
        replaced.push(is_of_group && is_on_same_interface(setup, member, &for_all)?);
    }
    Ok(replaced)
}

/// Which memberships end when the socket leaves this one.
fn left_by(setup: &Setup, leaving: &Membership) -> io::Result<Vec<bool>> {
    let is_of_group = |member: &Membership| {
        member.group == leaving.group && (leaving.source.is_none() || member.source == leaving.source)
    };
    // If a group was joined only once, that membership ends, even if the interface has been renamed.
    let is_only_one = setup.memberships.iter().filter(|member| is_of_group(member)).count() == 1;
    let mut left = Vec::with_capacity(setup.memberships.len());
    for member in &setup.memberships {
        left.push(is_of_group(member) && (is_only_one || is_on_same_interface(setup, member, leaving)?));
    }
    if leaving.group.is_ipv6() && leaving.interface == Interface::ANY {
        // Without an interface, the system leaves the group that was joined last.
        let last = left.iter().rposition(|left| *left);
        left.iter_mut().enumerate().for_each(|(i, left)| *left = Some(i) == last);
    }
    Ok(left)
}

/// Whether `other` is on the interface of a membership of the same group. The interface may be given in a different
/// form, so a probe socket joins in one form and leaves in the other.
fn is_on_same_interface(setup: &Setup, member: &Membership, other: &Membership) -> io::Result<bool> {
    if member.interface == other.interface {
        return Ok(true);
    }
    let any: IpAddr = if setup.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind((any, 0))?;
    for (join, membership) in [(true, member), (false, other)] {
        if let Err(error) = change(&probe, setup.only, "", join, membership) {
            // Without a descriptor it is not known.
            return if ["EMFILE", "ENFILE"].contains(&error.code()) { Err(error.into()) } else { Ok(false) };
        }
    }
    Ok(true)
}

/// Sets the interface for each family that the socket sends with. If one fails, it is set for none.
fn send_by(socket: &UdpSocket, setup: &Setup, interface: &Interface) -> Result<()> {
    const CALL: &str = "setMulticastInterface";
    let options = SockRef::from(socket);
    let unknown = |none: NoInterface| none.error(CALL);
    let failed = |error: io::Error| Error::call(CALL, &error);
    if setup.only == Some(Family::Ipv4) {
        return options.set_multicast_if_v4(&interface.v4().map_err(unknown)?).map_err(failed);
    }
    let v6 = interface.v6().map_err(unknown)?;
    if setup.only.is_some() {
        return options.set_multicast_if_v6(v6).map_err(failed);
    }
    let before = options.multicast_if_v4().map_err(failed)?;
    options.set_multicast_if_v4(&interface.v4_beside_v6().map_err(unknown)?).map_err(failed)?;
    options.set_multicast_if_v6(v6).map_err(|error| {
        let _ = options.set_multicast_if_v4(&before);
        failed(error)
    })
}
