//! `Socket::bind` is "of IPv6 for an IPv6 address". It is not if that has a zone by name or stands apart from its port,
//! nor for a name that has IPv6 addresses alone: such are looked up as IPv4 and not found.
use landline::dgram::{Socket, SocketOptions};

fn main() {
    let right = SocketOptions::udp6().bind(("::1%1", 0));
    let short = Socket::bind(("::1%1", 0));
    let text = format!("an address with a zone: udp6().bind {right:?}, Socket::bind {short:?}");
    cases::verdict(right.is_ok() && short.is_ok(), text)
}
