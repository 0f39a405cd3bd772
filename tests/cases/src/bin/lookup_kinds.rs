//! A look-up that fails for want of descriptors is of kind `NotFound`, as if there were no such name: a caller that
//! looks at the kind gives the name up. No question is sent.
use std::io::ErrorKind;
use std::net::ToSocketAddrs;

use landline::net::Socket;

fn main() {
    // What the C library reads once, it has read then.
    let _ = "localhost:1".to_socket_addrs();
    cases::limit_descriptors(64);
    let all = cases::all_descriptors();
    let result = Socket::connect("nothing.example:80");
    drop(all);
    let error = landline::Error::from(result.unwrap_err());
    let text = format!("'{error}': code {}, kind {:?}", error.code(), error.kind());
    cases::verdict(error.code() == "ENOTFOUND" || error.kind() != ErrorKind::NotFound, text)
}
