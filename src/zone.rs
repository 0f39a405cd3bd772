//! The zone of an IPv6 address: the interface that the address belongs to, given by name or number.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};

/// The address and the zone of a host such as `fe80::1%eth0`.
pub(crate) fn split(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (ip, zone) = host.split_once('%').filter(|(_, zone)| !zone.is_empty())?;
    Some((ip.parse().ok()?, zone))
}

/// Whether a host is an IPv6 address with a zone. No name server is asked for it.
pub(crate) fn has_zone(host: &str) -> bool {
    split(host).is_some()
}

/// The number of the interface with this name or number. The error is the resolver's, getaddrinfo(3).
///
/// The resolver knows the numbers of interfaces, because the zone of an address contains one. It looks up the name of
/// an interface only for a link-local address, so it is asked for one.
pub(crate) fn index_of(name: &str) -> io::Result<u32> {
    let mut found = (&*format!("fe80::1%{name}"), 0).to_socket_addrs()?;
    let index = found.find_map(|at| match at {
        SocketAddr::V6(at) => Some(at.scope_id()),
        SocketAddr::V4(_) => None,
    });
    Ok(index.unwrap_or(0))
}
