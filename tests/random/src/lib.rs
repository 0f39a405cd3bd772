//! What holds for every input: addresses, endpoints, block lists, encodings, buffered reading and PROXY headers, with
//! inputs that are made up anew in each run: `cargo test`. An input that breaks a rule is printed in the shortest form
//! that still does.
//!
//! A crate of its own, so that the library's tests do not compile proptest. The parser of PROXY headers is private in
//! the library, so its file is compiled here too, with those it uses.

#![cfg(test)]

#[allow(dead_code, reason = "what the library's other files use")]
#[path = "../../../src/address.rs"]
mod address;
mod addresses;
mod block_lists;
mod buffered;
mod encodings;
#[allow(dead_code, reason = "what the library's other files use")]
#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/net/proxy/header.rs"]
mod header;
#[path = "../../../src/one_line.rs"]
mod one_line;
mod proxy_headers;
mod schedules;
#[allow(dead_code, reason = "what the library's other files use")]
#[path = "../../../src/sys.rs"]
mod sys;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

/// So many inputs for each rule; none is written to a file.
pub(crate) fn inputs(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// IP addresses of both families, of which many are close together, and some are the last ones.
pub(crate) fn ip() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u8>().prop_map(|low| Ipv4Addr::new(10, 0, 0, low));
    prop_oneof![
        3 => v4.clone().prop_map(IpAddr::V4),
        2 => v4.prop_map(|ip| IpAddr::V6(ip.to_ipv6_mapped())),
        2 => any::<u8>().prop_map(|low| IpAddr::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low)))),
        1 => prop_oneof![Just(Ipv6Addr::from(0)), Just(Ipv6Addr::from(u128::MAX))].prop_map(IpAddr::V6),
        1 => prop_oneof![Just(Ipv4Addr::from(0)), Just(Ipv4Addr::from(u32::MAX))].prop_map(IpAddr::V4),
        1 => any::<IpAddr>(),
    ]
}

/// The bytes in pieces, cut wherever `cuts` says.
pub(crate) fn cut<'a>(mut bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = bytes.split_at(cut.index(bytes.len() + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}
