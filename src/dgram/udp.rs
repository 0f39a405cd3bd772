//! The settings and counts of a plain UDP socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::SockRef;

use crate::error::{Error, Result};
use crate::sys;

/// In Node's errors about buffer sizes, these are the names of libuv's calls.
pub(crate) const RECV: &str = "uv_recv_buffer_size";
pub(crate) const SEND: &str = "uv_send_buffer_size";

pub(crate) fn recv_buffer_size(socket: &UdpSocket, bytes: usize) -> Result<()> {
    buffer_size(RECV, bytes, &|| SockRef::from(socket).set_recv_buffer_size(bytes))
}

pub(crate) fn send_buffer_size(socket: &UdpSocket, bytes: usize) -> Result<()> {
    buffer_size(SEND, bytes, &|| SockRef::from(socket).set_send_buffer_size(bytes))
}

pub(crate) fn check_buffer_size(bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Err(Error::invalid("ERR_SOCKET_BAD_BUFFER_SIZE", "Buffer size must be a positive integer"));
    }
    Ok(())
}

fn buffer_size(call: &'static str, bytes: usize, set: &dyn Fn() -> io::Result<()>) -> Result<()> {
    check_buffer_size(bytes)?;
    // The system takes a C int, in which a larger number would be negative.
    let set = match i32::try_from(bytes) {
        Ok(_) => set().map_err(|error| Error::call(call, &error)),
        Err(_) => Err(invalid(call)),
    };
    set.map_err(|error| Error::buffer_size(call, &error))
}

pub(crate) fn broadcast(socket: &UdpSocket, allow: bool) -> Result<()> {
    socket.set_broadcast(allow).map_err(|error| Error::call("setBroadcast", &error))
}

pub(crate) fn ttl(socket: &UdpSocket, v6: bool, hops: u32) -> Result<()> {
    const CALL: &str = "setTTL";
    if !(1..=255).contains(&hops) {
        return Err(invalid(CALL));
    }
    let set_v4 = || SockRef::from(socket).set_ttl_v4(hops);
    let set_v6 = || SockRef::from(socket).set_unicast_hops_v6(hops);
    both(socket, v6, CALL, &set_v4, &set_v6)
}

pub(crate) fn multicast_ttl(socket: &UdpSocket, v6: bool, hops: u32) -> Result<()> {
    const CALL: &str = "setMulticastTTL";
    if hops > 255 {
        return Err(invalid(CALL));
    }
    let set_v4 = || SockRef::from(socket).set_multicast_ttl_v4(hops);
    let set_v6 = || SockRef::from(socket).set_multicast_hops_v6(hops);
    both(socket, v6, CALL, &set_v4, &set_v6)
}

pub(crate) fn multicast_loop(socket: &UdpSocket, v6: bool, on: bool) -> Result<()> {
    let set_v4 = || SockRef::from(socket).set_multicast_loop_v4(on);
    let set_v6 = || SockRef::from(socket).set_multicast_loop_v6(on);
    both(socket, v6, "setMulticastLoopback", &set_v4, &set_v6)
}

/// Sets an option of the socket's family. On a dual-stack socket it also sets IPv4's option, if the system can.
fn both(
    socket: &UdpSocket,
    v6: bool,
    call: &'static str,
    set_v4: &dyn Fn() -> io::Result<()>,
    set_v6: &dyn Fn() -> io::Result<()>,
) -> Result<()> {
    let set = if v6 { set_v6() } else { set_v4() };
    if v6 && is_dual_stack(socket) {
        // Linux and Windows allow IPv4's options on an IPv6 socket. Other systems do not, and offer no other way.
        let _ = set_v4();
    }
    set.map_err(|error| Error::call(call, &error))
}

/// The error that the system would return.
fn invalid(call: &'static str) -> Error {
    Error::coded(call, io::ErrorKind::InvalidInput, "EINVAL")
}

/// Whether an IPv6 socket also reaches IPv4.
pub(crate) fn is_dual_stack(socket: &UdpSocket) -> bool {
    SockRef::from(socket).only_v6().is_ok_and(|only| !only)
}

/// Whether the calling thread's network namespace lists the socket, which is bound to `local`. `false` without /proc.
pub(crate) fn is_listed(socket: &UdpSocket, local: SocketAddr) -> bool {
    sys::is_of_this_network(sys::inode(socket), if local.is_ipv6() { "udp6" } else { "udp" })
}

/// How many datagrams the socket with this inode has lost, if it is among the first `most` rows of the table.
pub(crate) fn lost(inode: u64, v6: bool, most: usize) -> Option<u64> {
    let row = sys::table_row(inode, if v6 { "udp6" } else { "udp" }, most)?;
    row.split_whitespace().last()?.parse().ok()
}

/// The source address of datagrams to this address, if there is a route. Nothing is sent.
pub(crate) fn source_for(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind((any, 0))?;
    probe.connect(to)?;
    Ok(probe.local_addr()?.ip())
}

/// Whether this machine has no address of the destination's family, or no route to it.
pub(crate) fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable)
}
