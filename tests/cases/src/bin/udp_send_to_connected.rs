//! A connected UDP socket of std may send to its peer's address by `send_to` (Linux). Landline's may not, as in Node.
use std::net::UdpSocket;

fn main() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = peer.local_addr().unwrap();
    let std = UdpSocket::bind("127.0.0.1:0").unwrap();
    std.connect(to).unwrap();
    let by_std = std.send_to(b"x", to);
    let socket = landline::dgram::Socket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    let sent = socket.send_to(b"x", to);
    cases::verdict(sent.is_ok(), format!("std {by_std:?}, landline {sent:?}"))
}
