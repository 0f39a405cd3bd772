//! The counter of open connections, with the total limit, the limit for each address, and whether new connections are
//! admitted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex};

use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, wait};

/// The lowest bit of the word. If set, no client is admitted any more.
const CLOSED: usize = 1;
/// If set, a thread waits for room. A returned slot then wakes it, with a system call that happens even if no thread
/// waits any more.
const WAITED: usize = 2;
/// One slot. The count is stored above the two bits.
const ONE: usize = 4;

/// The count and the closed bit share one word, so one compare-and-swap decides both. No client is admitted beyond the
/// limit or after `close()`, and none is denied while a slot is free. If a thread first added one and then took back
/// the excess, it would deny others for a moment.
#[derive(Debug)]
pub(crate) struct Slots {
    word: AtomicUsize,
    limit: AtomicUsize,
    /// How many threads wait for room.
    waiting: Mutex<usize>,
    freed: Condvar,
    /// The slots of the shared limit, if there is one. Each slot is taken there too.
    shared: Option<Arc<Slots>>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    Full,
    Closed,
    /// The address has all of its slots.
    PerAddress,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Slots {
        Slots {
            word: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            waiting: Mutex::new(0),
            freed: Condvar::new(),
            shared: None,
        }
    }

    /// Makes slots with their own count and closed bit, and the limit of `shared`.
    pub(crate) fn within(shared: Arc<Slots>) -> Slots {
        Slots { shared: Some(shared), ..Slots::new(usize::MAX) }
    }

    /// Takes a slot, unless the limit is reached or the slots are closed.
    pub(crate) fn take(self: &Arc<Slots>) -> Result<Slot, Denied> {
        if let Some(shared) = &self.shared {
            // Checked first, so that closed slots do not take a shared one even for a moment. Only a race with `close`
            // can still do so.
            if self.word.load(SeqCst) & CLOSED != 0 {
                return Err(Denied::Closed);
            }
            shared.raise()?;
        }
        match self.raise() {
            Ok(nth) => Ok(Slot { slots: Arc::clone(self), nth, address: None }),
            Err(denied) => {
                self.shared.iter().for_each(|shared| shared.lower());
                Err(denied)
            }
        }
    }

    /// Takes a slot together with a slot of the address, if addresses have limits, or neither. So no client is refused
    /// because of a slot of its address that another client was about to give back.
    pub(crate) fn take_for(
        self: &Arc<Slots>,
        addresses: Option<&Arc<Addresses>>,
        ip: Option<IpAddr>,
    ) -> Result<Slot, Denied> {
        let Some((addresses, ip)) = addresses.zip(ip) else { return self.take() };
        let (mut slot, address) = addresses.take_with(ip, || self.take())?;
        slot.address = Some(address);
        Ok(slot)
    }

    /// Adds one to the count and returns it, unless the limit is reached or the slots are closed.
    fn raise(&self) -> Result<usize, Denied> {
        let mut word = self.word.load(SeqCst);
        loop {
            if word & CLOSED != 0 {
                return Err(Denied::Closed);
            }
            // Read for each try, because the limit may change between tries.
            if word / ONE >= self.limit.load(SeqCst) {
                return Err(Denied::Full);
            }
            match self.word.compare_exchange_weak(word, word + ONE, SeqCst, SeqCst) {
                Ok(_) => return Ok(word / ONE + 1),
                Err(now) => word = now,
            }
        }
    }

    fn lower(&self) {
        if self.word.fetch_sub(ONE, SeqCst) & WAITED != 0 {
            self.wake();
        }
    }

    /// How many slots are taken.
    pub(crate) fn taken(&self) -> usize {
        self.word.load(SeqCst) / ONE
    }

    pub(crate) fn limit(&self) -> usize {
        self.shared.as_deref().unwrap_or(self).limit.load(SeqCst)
    }

    /// Sets the limit, starting with the next `take`. Slots already taken stay taken. A shared limit changes for all
    /// that share it.
    pub(crate) fn set_limit(&self, limit: usize) {
        let of = self.shared.as_deref().unwrap_or(self);
        of.limit.store(limit, SeqCst);
        of.wake();
    }

    /// Blocks until a slot is free, the slots are closed, the time is up, or `given_up` returns true when the thread is
    /// woken. It takes no slot. It is not for a shared limit, where a different server could take the slot first, and
    /// the accepted client would have to wait.
    pub(crate) fn wait_for_room(&self, until: Deadline, given_up: impl Fn() -> bool) {
        let mut waiting = lock(&self.waiting);
        *waiting += 1;
        // Set before the count is read, so that a slot returned later finds the bit.
        let mut word = self.word.fetch_or(WAITED, SeqCst);
        while word & CLOSED == 0 && word / ONE >= self.limit.load(SeqCst) && !given_up() && !until.is_over() {
            waiting = wait(&self.freed, waiting, until.left());
            word = self.word.load(SeqCst);
        }
        *waiting -= 1;
        if *waiting == 0 {
            self.word.fetch_and(!WAITED, SeqCst);
        }
    }

    /// Wakes the threads that wait for room. It always takes the lock, because the limit and the reasons to give up are
    /// not in the word.
    pub(crate) fn wake(&self) {
        let waiting = lock(&self.waiting);
        if *waiting > 0 {
            self.freed.notify_all();
        }
    }

    /// Closes the slots. After this has returned, no slot is given out.
    pub(crate) fn close(&self) {
        self.word.fetch_or(CLOSED, SeqCst);
        self.wake();
    }
}

/// A taken slot. Dropping it returns the slot.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    /// How many slots were taken when this one was, including this one.
    pub(crate) nth: usize,
    /// The slot of the address, if it is counted. Returned first: a client that waits for room may come from the same
    /// address.
    pub(crate) address: Option<AddressSlot>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.address.take());
        self.slots.lower();
        self.slots.shared.iter().for_each(|shared| shared.lower());
    }
}

/// The counts of each address. Only addresses with open connections have a count, so the counts take no more memory
/// than the connections.
#[derive(Debug)]
pub(crate) struct Addresses {
    limit: usize,
    counts: Mutex<BTreeMap<u128, usize>>,
}

impl Addresses {
    pub(crate) fn new(limit: usize) -> Arc<Addresses> {
        Arc::new(Addresses { limit, counts: Mutex::default() })
    }

    /// Takes one of the address's slots together with what `take` takes, or neither. `take` runs under the lock.
    fn take_with<T>(
        self: &Arc<Addresses>,
        ip: IpAddr,
        take: impl FnOnce() -> Result<T, Denied>,
    ) -> Result<(T, AddressSlot), Denied> {
        let holder = holder(ip);
        let mut counts = lock(&self.counts);
        let count = counts.get(&holder).copied().unwrap_or(0);
        if count >= self.limit {
            return Err(Denied::PerAddress);
        }
        let taken = take()?;
        counts.insert(holder, count + 1);
        Ok((taken, AddressSlot { addresses: Arc::clone(self), holder }))
    }

    /// Takes one of the address's slots, for a client that has a slot already.
    pub(crate) fn take(self: &Arc<Addresses>, ip: IpAddr) -> Result<AddressSlot, Denied> {
        self.take_with(ip, || Ok(())).map(|((), slot)| slot)
    }
}

/// A connection of an address. Dropping it returns the address's slot.
#[derive(Debug)]
pub(crate) struct AddressSlot {
    addresses: Arc<Addresses>,
    holder: u128,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut counts = lock(&self.addresses.counts);
        match counts.remove(&self.holder) {
            Some(count) if count > 1 => _ = counts.insert(self.holder, count - 1),
            _ => {}
        }
    }
}

/// The key under which an address is counted: an IPv4 address, even if written as IPv4-mapped, or the /64 of an IPv6
/// address. Providers give each customer at least a /64.
fn holder(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V6(ip) => u128::from(ip) >> 64 << 64,
        IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    /// Ensures that threads that race for slots never hold more than the limit, and that every slot comes back.
    #[test]
    fn racing_threads_never_pass_the_limit() {
        for limit in [1, 3, 64] {
            let slots = Arc::new(Slots::new(limit));
            let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..50_000 {
                            if let Ok(slot) = slots.take() {
                                most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                                held.fetch_sub(1, SeqCst);
                                drop(slot);
                            }
                        }
                    });
                }
            });
            assert!(most.load(SeqCst) <= limit, "never more than {limit} at once, but {most:?}");
            assert_eq!(slots.taken(), 0, "every slot came back");
            let all: Vec<_> = (0..limit).map(|_| slots.take()).collect();
            assert!(all.iter().all(Result::is_ok), "all {limit} are free again");
            assert_eq!(slots.take().err(), Some(Denied::Full), "and no more than {limit}");
        }
    }

    /// Ensures that with as many slots as threads no thread is ever denied one.
    #[test]
    fn nobody_is_denied_while_a_slot_is_free() {
        let slots = Arc::new(Slots::new(8));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        assert!(slots.take().is_ok(), "eight threads share eight slots, one each: one is always free");
                    }
                });
            }
        });
    }

    /// Ensures that `close` is exact. A thread that asks after it has returned is denied.
    #[test]
    fn nothing_is_admitted_once_close_has_returned() {
        for _ in 0..200 {
            let slots = Arc::new(Slots::new(usize::MAX >> 2));
            let closed = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    slots.close();
                    closed.store(true, SeqCst);
                });
                loop {
                    let was_closed = closed.load(SeqCst);
                    let taken = slots.take();
                    assert!(!(was_closed && taken.is_ok()), "a slot was given out after close had returned");
                    if taken.is_err() {
                        break;
                    }
                }
            });
        }
    }

    /// Ensures that lowering the limit takes no slot back and keeps new ones out until enough came back.
    #[test]
    fn a_lowered_limit_waits_for_slots_to_come_back() {
        let slots = Arc::new(Slots::new(3));
        let mut taken: Vec<_> = (0..3).map(|_| slots.take()).collect();
        slots.set_limit(1);
        assert_eq!(slots.taken(), 3, "lowering the limit gives up no slot");
        taken.truncate(1);
        assert_eq!(slots.take().err(), Some(Denied::Full), "one is taken and one is allowed");
        taken.clear();
        assert!(slots.take().is_ok(), "the one allowed is free");
        slots.set_limit(0);
        assert_eq!(slots.take().err(), Some(Denied::Full), "0 lets no client in");
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("the tests name addresses")
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

    /// Ensures that the limit is exact, that each slot comes back, and that nothing is kept of addresses that have
    /// left.
    #[test]
    fn an_address_has_as_many_slots_as_the_limit_and_leaves_nothing_behind() {
        let addresses = Addresses::new(2);
        let held: Vec<_> = (0..3).map(|_| addresses.take(ip("10.0.0.1"))).collect();
        assert_eq!(held.iter().flatten().count(), 2, "two of three are let in");
        assert!(addresses.take(ip("10.0.0.2")).is_ok(), "another address has slots of its own");
        drop(held);
        assert!(addresses.take(ip("10.0.0.1")).is_ok(), "the slots came back");

        let many: Vec<_> = (0..10_000u32).map(|n| addresses.take(std::net::Ipv4Addr::from(n).into())).collect();
        assert_eq!(lock(&addresses.counts).len(), 10_000, "each address is counted by itself");
        drop(many);
        assert!(lock(&addresses.counts).is_empty(), "no address is kept that has no connection");
        let none = Addresses::new(0).take(ip("10.0.0.1"));
        assert_eq!(none.err(), Some(Denied::PerAddress), "0 lets no client in");
    }
}
