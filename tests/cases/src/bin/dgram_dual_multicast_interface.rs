//! On a dual-stack socket TTL and loop are set for both families, but the interface for IPv6 alone: what is sent to a
//! group of IPv4 takes the default route, whatever was set.
use std::net::Ipv4Addr;

use landline::dgram::SocketOptions;

fn main() {
    cases::inside("ip link set lo up");
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let socket = SocketOptions::udp6().bind("[::]:0").unwrap();
    socket.join_multicast(group, "lo").unwrap();
    socket.set_multicast_interface("lo").unwrap();
    let sent = socket.send_to(b"x", (group, socket.address().port()));
    cases::verdict(sent.is_ok(), format!("joined on lo, sending by lo was set and is Ok, and then: {sent:?}"))
}
