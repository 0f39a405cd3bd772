//! `Write::write_vectored` of a socket takes the first buffer alone: a system call and, without delay, a packet for
//! each. std's takes them all (writev).
use std::io::{IoSlice, Write};
use std::net::TcpStream;

use landline::net::{Server, Socket};

fn main() {
    let server = Server::listen("127.0.0.1:0").unwrap();
    let mut std = TcpStream::connect(server.address().socket_addr().unwrap()).unwrap();
    let mut ours = Socket::connect(server.address()).unwrap();
    let parts =
        [IoSlice::new(b"HTTP/1.1 200 OK\r\n"), IoSlice::new(b"content-length: 5\r\n\r\n"), IoSlice::new(b"hello")];
    let (by_std, by_ours) = (std.write_vectored(&parts).unwrap(), ours.write_vectored(&parts).unwrap());
    cases::verdict(
        by_ours == by_std,
        format!("bytes of 3 buffers that one call writes: std {by_std}, landline {by_ours}"),
    )
}
