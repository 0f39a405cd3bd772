//! The rules of a block list as text: a subnet or a rule. What was taken is written so that it is taken as the same again.
#![no_main]

use std::net::IpAddr;

use landline::BlockList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let list = BlockList::new();
    match list.add_cidr(text) {
        Ok(()) => {
            let (network, _) = text.rsplit_once('/').expect("a subnet has a slash");
            let network: IpAddr = network.parse().expect("an address is before the slash");
            assert!(list.check(network), "a subnet holds its own address");
            assert_eq!(list.remove_cidr(text).ok(), Some(true), "what was added can be removed");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(list.is_empty() && list.rules().is_empty(), "nothing is left, nothing is half-added");

    let added = list.add_rules([text]);
    assert_eq!(list.size(), added, "a text is one rule or none");
    let rules = list.rules();
    let other = BlockList::new();
    assert_eq!(other.add_rules(&rules), rules.len(), "each text it writes is a rule");
    assert_eq!(other.rules(), rules, "and the same one");
});
