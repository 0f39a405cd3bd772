//! Wine binds a datagram socket to an address that this machine does not have, and sends from another address than the
//! one that a socket is bound to. Windows fails by WSAEADDRNOTAVAIL, and sends from 127.0.0.2, which it has.
//!
//! - `address::bind_to_a_foreign_address_is_eaddrnotavail`
//! - `connected::disconnect_gives_a_wildcard_back`
//! - `pitfalls::a_socket_bound_to_one_address_answers_from_it`
//! - `multicast::source_specific_member_hears_its_source_alone`

use std::net::UdpSocket;
use std::process::ExitCode;

fn main() -> ExitCode {
    // TEST-NET-1, RFC 5737.
    let foreign = UdpSocket::bind("192.0.2.1:0");
    println!("binding to 192.0.2.1: {:?}", foreign.as_ref().map(|_| ()));
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("port 0 is free");
    let sender = UdpSocket::bind("127.0.0.2:0").expect("all of 127.0.0.0/8 is this machine's");
    sender.send_to(b"hello", receiver.local_addr().unwrap()).expect("it is this machine's");
    let (_, from) = receiver.recv_from(&mut [0; 16]).expect("it has arrived");
    println!("what is sent from {} comes from {from}", sender.local_addr().unwrap());
    let is_right = foreign.is_err() && from == sender.local_addr().unwrap();
    if is_right { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
