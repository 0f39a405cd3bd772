//! Block lists, beside a search through all their rules.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use landline::BlockList;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{inputs, ip};

/// A change to a block list.
#[derive(Debug, Clone)]
enum Change {
    Add(Rule),
    Remove(Rule),
    Clear,
}

#[derive(Debug, Clone)]
enum Rule {
    Address(IpAddr),
    Range(IpAddr, IpAddr),
    Subnet(IpAddr, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let rule = prop_oneof![
        ip().prop_map(Rule::Address),
        (ip(), ip()).prop_map(|(start, end)| Rule::Range(start, end)),
        (ip(), prop_oneof![0..=130_u8, 24..=32_u8]).prop_map(|(ip, prefix)| Rule::Subnet(ip, prefix)),
    ];
    prop_oneof![
        12 => rule.clone().prop_map(Change::Add),
        6 => rule.prop_map(Change::Remove),
        1 => Just(Change::Clear),
    ]
}

impl Rule {
    fn add(&self, list: &BlockList) -> io::Result<()> {
        match *self {
            Rule::Address(ip) => {
                list.add_address(ip);
                Ok(())
            }
            Rule::Range(start, end) => list.add_range(start, end),
            Rule::Subnet(ip, prefix) => list.add_subnet(ip, prefix),
        }
    }

    fn remove(&self, list: &BlockList) -> io::Result<bool> {
        match *self {
            Rule::Address(ip) => Ok(list.remove_address(ip)),
            Rule::Range(start, end) => list.remove_range(start, end),
            Rule::Subnet(ip, prefix) => list.remove_subnet(ip, prefix),
        }
    }

    /// Its kind and the first and last number it covers; none if it is no rule.
    fn covers(&self) -> Option<(u8, u128, u128)> {
        match *self {
            Rule::Address(ip) => Some((0, number(ip), number(ip))),
            Rule::Range(start, end) => {
                let is_one = start.is_ipv4() == end.is_ipv4() && number(start) <= number(end);
                is_one.then(|| (1, number(start), number(end)))
            }
            Rule::Subnet(ip, prefix) => {
                let bits: u8 = if ip.is_ipv4() { 32 } else { 128 };
                // One by one, from the last bit on, so as not to do what the library does.
                let host = (0..bits).rev().take(usize::from(bits.checked_sub(prefix)?)).enumerate();
                let mask = host.fold(0_u128, |mask, (bit, _)| mask | 1 << bit);
                Some((2, number(ip) & !mask, number(ip) | mask))
            }
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => 0xffff_0000_0000 | u128::from(u32::from(ip)),
        IpAddr::V6(ip) => ip.into(),
    }
}

proptest! {
    #![proptest_config(inputs(200))]

    /// Ensures that a block list, whatever is added and removed, matches just what a search through all its rules
    /// finds, and is the same list again when made from its texts.
    #[test]
    fn a_block_list_is_a_search_through_all_its_rules(changes in vec(change(), 0..40), asked in vec(ip(), 1..20)) {
        let (list, mut rules) = (BlockList::new(), Vec::new());
        let mut edges = Vec::new();
        for change in &changes {
            match change {
                Change::Add(rule) => {
                    let covers = rule.covers();
                    prop_assert_eq!(rule.add(&list).is_ok(), covers.is_some(), "{:?} is a rule, or an error", rule);
                    rules.retain(|known| Some(known) != covers.as_ref());
                    rules.extend(covers);
                    edges.extend(covers.into_iter().flat_map(|(_, first, last)| [first, last]));
                }
                Change::Remove(rule) => {
                    let known = rules.iter().position(|known| Some(known) == rule.covers().as_ref());
                    let removed = rule.remove(&list).ok();
                    prop_assert_eq!(removed, rule.covers().map(|_| known.is_some()), "{:?} was there, or not", rule);
                    known.map(|at| rules.remove(at));
                }
                Change::Clear => {
                    list.clear();
                    rules.clear();
                }
            }
            prop_assert_eq!(list.size(), rules.len());
        }
        let near = edges.iter().flat_map(|edge| [*edge, edge.saturating_add(1), edge.saturating_sub(1)]);
        let asked = asked.iter().map(|ip| number(*ip)).chain(near);
        let again = BlockList::new();
        prop_assert_eq!(again.add_rules(list.rules()), list.size(), "each text it writes is a rule");
        prop_assert_eq!(again.rules(), list.rules(), "made from its texts, it is the same list");
        for ip in asked {
            let found = rules.iter().any(|(_, first, last)| (*first..=*last).contains(&ip));
            prop_assert_eq!(list.check(Ipv6Addr::from(ip)), found, "{}", Ipv6Addr::from(ip));
            prop_assert_eq!(again.check(Ipv6Addr::from(ip)), found, "and its copy: {}", Ipv6Addr::from(ip));
        }
    }
}
