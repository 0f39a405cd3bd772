//! How many connections each address has, where each may have only so many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use crate::sync::poison::lock;

/// The counts. There is one for each address that has a connection just now, so they take no more memory than those do.
#[derive(Debug)]
pub(crate) struct Addresses {
    limit: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    pub(crate) fn new(limit: usize) -> Arc<Addresses> {
        Arc::new(Addresses { limit, counts: Mutex::default() })
    }

    /// Takes one of the address's slots; `None` if it has as many as it may.
    pub(crate) fn take(self: &Arc<Addresses>, ip: IpAddr) -> Option<AddressSlot> {
        let holder = holder(ip);
        let mut counts = lock(&self.counts);
        match counts.entry(holder) {
            Entry::Occupied(mut count) if *count.get() < self.limit => *count.get_mut() += 1,
            Entry::Vacant(count) if self.limit > 0 => drop(count.insert(1)),
            _ => return None,
        }
        Some(AddressSlot { addresses: Arc::clone(self), holder })
    }
}

/// One connection of an address. Dropping it, on whatever path, gives it back, once.
#[derive(Debug)]
pub(crate) struct AddressSlot {
    addresses: Arc<Addresses>,
    holder: IpAddr,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut counts = lock(&self.addresses.counts);
        if let Entry::Occupied(mut count) = counts.entry(self.holder) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        // The memory of a peak goes again, in steps that halve it at least.
        if counts.capacity() > 256 && counts.len() < counts.capacity() / 8 {
            let enough = counts.len() * 2;
            counts.shrink_to(enough);
        }
    }
}

/// Who is taken to hold an address: the one IPv4 address, in whichever form it comes; of IPv6 the /64, which is the least
/// that a provider gives a customer, who has all its addresses.
fn holder(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Ensures that what belongs to one customer counts as one, and nothing else does.
    #[test]
    fn an_ipv4_address_in_both_forms_and_a_64_of_ipv6_are_one_holder() {
        let same = [("10.0.0.1", "::ffff:10.0.0.1"), ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff")];
        for (a, b) in same {
            assert_eq!(holder(ip(a)), holder(ip(b)), "{a} and {b} have one holder");
        }
        let different = [("10.0.0.1", "10.0.0.2"), ("2001:db8:0:1::1", "2001:db8:0:2::1"), ("127.0.0.1", "::1")];
        for (a, b) in different {
            assert_ne!(holder(ip(a)), holder(ip(b)), "{a} and {b} have different holders");
        }
    }

    /// Ensures that the limit is exact, that each slot comes back, and that nothing is kept of addresses that have left.
    #[test]
    fn an_address_has_as_many_slots_as_the_limit_and_leaves_nothing_behind() {
        let addresses = Addresses::new(2);
        let held: Vec<_> = (0..3).map(|_| addresses.take(ip("10.0.0.1"))).collect();
        assert_eq!(held.iter().flatten().count(), 2, "two of three are let in");
        assert!(addresses.take(ip("10.0.0.2")).is_some(), "another address has slots of its own");
        drop(held);
        assert!(addresses.take(ip("10.0.0.1")).is_some(), "the slots came back");

        let many: Vec<_> = (0..10_000u32).map(|n| addresses.take(std::net::Ipv4Addr::from(n).into())).collect();
        assert_eq!(lock(&addresses.counts).len(), 10_000, "each address is counted by itself");
        drop(many);
        let counts = lock(&addresses.counts);
        assert!(counts.is_empty(), "no address is kept that has no connection");
        assert!(counts.capacity() <= 512, "and the memory of the peak has gone, but for {}", counts.capacity());
        drop(counts);
        assert!(Addresses::new(0).take(ip("10.0.0.1")).is_none(), "0 lets nobody in");
    }
}
