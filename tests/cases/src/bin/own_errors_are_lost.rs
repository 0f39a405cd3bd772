//! What the program's own handler or resolver returns is kept as text: neither `source` nor a downcast gives the error
//! back, so an error hook cannot distinguish the program's own errors.
use std::error::Error as _;
use std::net::IpAddr;
use std::{fmt, io};

use landline::net::SocketOptions;

#[derive(Debug)]
struct Mine;

impl fmt::Display for Mine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mine")
    }
}

impl std::error::Error for Mine {}

fn main() {
    let resolver = |_: &str, _| Err::<Vec<IpAddr>, _>(io::Error::other(Mine));
    let error = SocketOptions::new().lookup(resolver).connect("x.example:1").unwrap_err();
    let by_source = error.source().is_some_and(|source| source.is::<Mine>());
    let inside = error.get_ref().is_some_and(|inside| inside.is::<Mine>());
    cases::verdict(by_source || inside, format!("'{error}': by source() {by_source}, by downcast {inside}"))
}
