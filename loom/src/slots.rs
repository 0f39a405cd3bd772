//! Models of `src/slots.rs`.

#[allow(dead_code, reason = "what the models do not use")]
#[path = "../../src/slots.rs"]
mod library;

use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};
use loom::thread;
use real::net::IpAddr;
use real::time::Duration;

use crate::deadline::Deadline;
use crate::sync::Arc;
use crate::{Count, Model, Note, both};
use library::{Addresses, Denied, Slots};

pub(crate) const MODELS: &[Model] = &[
    ("two threads never hold more than one slot, and it comes back", None, never_more_than_the_limit::<1>),
    ("three threads never hold more than two slots, and they come back", Some(4), never_more_than_the_limit::<2>),
    ("no thread is denied while there are as many slots as threads", None, no_thread_is_denied_a_free_slot),
    ("a denial in progress denies no other thread", None, a_denial_denies_no_other),
    ("slots that are taken together have different numbers", None, slots_have_numbers),
    ("no slot is given out once close has returned", None, no_slot_after_close),
    ("a limit that was lowered holds for later takers", None, a_lowered_limit_holds),
    ("a limit that was raised admits later takers", None, a_raised_limit_admits),
    ("what was done before a slot came back is seen by its next holder", None, a_slot_hands_over),
    ("what was done before a slot came back is seen where none is taken", None, no_slot_is_taken),
    ("what was done before close is seen by a thread that is denied", None, a_denied_thread_sees_what_was_before_close),
    ("threads that wait for room are woken by each slot that comes back", Some(4), a_slot_that_comes_back_wakes),
    ("a thread that waits for room is woken by a higher limit", None, a_raised_limit_wakes),
    ("a thread that waits for room is woken by close, or to give up", None, close_wakes),
    ("a thread that stops waiting leaves the others to be woken", None, a_wait_ends_while_another_waits),
    ("a thread whose time is up stops waiting, and leaves the others to be woken", None, a_wait_ends_in_time),
    ("two that share a limit never hold more than it allows, and all comes back", None, a_shared_limit_holds),
    ("a slot that one gives back is free for another that shares the limit", None, a_shared_slot_comes_back),
    ("closing one that shares a limit is exact, and closes no other", None, closing_one_closes_no_other),
    ("a client that gets no slot takes none of its address", None, a_full_limit_takes_no_slot_of_an_address),
    ("a client that waits for room finds the slot of its address free", None, a_slot_of_an_address_comes_back_first),
];

const IP: IpAddr = IpAddr::V4(real::net::Ipv4Addr::LOCALHOST);

fn slots(limit: usize) -> Arc<Slots> {
    Arc::new(Slots::new(limit))
}

/// Two threads and one slot, three threads and two: each takes one, holds it a while, and gives it back.
fn never_more_than_the_limit<const LIMIT: usize>() {
    let (slots, held) = (slots(LIMIT), Arc::new(Count::new(0)));
    let work = move |slots: &Arc<Slots>, held: &Count| {
        let Ok(slot) = slots.take() else { return 0 };
        assert!(held.fetch_add(1, SeqCst) < LIMIT, "more are held than allowed");
        // Here loom lets other threads run.
        assert!(slots.taken() <= LIMIT, "more are counted than allowed");
        held.fetch_sub(1, SeqCst);
        drop(slot);
        1
    };
    let others = [(); LIMIT].map(|()| {
        let (slots, held) = (Arc::clone(&slots), Arc::clone(&held));
        thread::spawn(move || work(&slots, &held))
    });
    let mut served = work(&slots, &held);
    for other in others {
        served += other.join().expect("no panic");
    }
    assert!(served >= LIMIT, "as many as there are slots are served");
    assert_eq!(slots.taken(), 0, "every slot comes back");
    let all = [(); LIMIT].map(|()| slots.take());
    assert!(all.iter().all(Result::is_ok), "and can be taken again");
    assert_eq!(slots.take().err(), Some(Denied::Full), "and no more than these");
}

fn no_thread_is_denied_a_free_slot() {
    let slots = slots(2);
    let work = |slots: &Arc<Slots>| (0..2).for_each(|_| drop(slots.take().expect("there is one for each thread")));
    let its = Arc::clone(&slots);
    both(move || work(&its), || work(&slots));
}

/// Adding first and taking back what was too much would fail here: both are denied, and the slot is free.
fn a_denial_denies_no_other() {
    let slots = slots(1);
    let only = slots.take().expect("it is free");
    let other = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.take().map(drop)
    });
    drop(only);
    let again = slots.take().map(drop);
    let other = other.join().expect("no panic");
    assert!(again.is_ok() || other.is_ok(), "of two threads that ask for a free slot, one gets it");
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn slots_have_numbers() {
    let slots = slots(3);
    let first = slots.take().expect("it is free");
    let other = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.take().expect("it is free")
    });
    let mine = slots.take().expect("it is free");
    let other = other.join().expect("no panic");
    let mut numbers = [first.nth, mine.nth, other.nth];
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3], "the first is 1, and none has the number of another");
}

fn no_slot_after_close() {
    let slots = slots(3);
    let closing = thread::spawn({
        let slots = Arc::clone(&slots);
        move || {
            slots.close();
            slots.taken()
        }
    });
    let setting = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.set_limit(2)
    });
    let slot = slots.take();
    let were_taken = closing.join().expect("no panic");
    setting.join().expect("no panic");
    assert_eq!(slots.limit(), 2, "the limit is the one that was set");
    assert!(slots.taken() <= were_taken, "a slot was given out after close had returned");
    assert_eq!(slots.taken(), usize::from(slot.is_ok()), "the count is right with the closed bit set");
    drop(slot);
    assert_eq!(slots.take().err(), Some(Denied::Closed), "closed for good, whatever comes back or is set");
    slots.close();
    assert_eq!(slots.take().err(), Some(Denied::Closed), "closing twice changes nothing");
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn a_lowered_limit_holds() {
    let slots = slots(2);
    let kept = slots.take().expect("it is free");
    let other = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.take().map(drop)
    });
    slots.set_limit(1);
    assert_eq!(slots.take().err(), Some(Denied::Full), "one is held and one is allowed");
    // It may have come before the limit did.
    let _ = other.join().expect("no panic");
    assert_eq!(slots.taken(), 1, "lowering the limit takes no slot back");
    drop(kept);
    assert!(slots.take().is_ok(), "the one allowed is free");
}

fn a_raised_limit_admits() {
    let slots = slots(1);
    let kept = slots.take().expect("it is free");
    let raised = Arc::new(AtomicBool::new(false));
    let other = thread::spawn({
        let (slots, raised) = (Arc::clone(&slots), Arc::clone(&raised));
        move || {
            let was_raised = raised.load(SeqCst);
            let slot = slots.take();
            assert!(slot.is_ok() || !was_raised, "the limit is higher, and only one slot is held");
            slot.map(drop)
        }
    });
    slots.set_limit(2);
    raised.store(true, SeqCst);
    drop(kept);
    other.join().expect("no panic").ok();
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn a_slot_hands_over() {
    let (slots, note) = (slots(1), Note::new());
    let work = |slots: &Arc<Slots>, note: &Note| {
        if let Ok(slot) = slots.take() {
            note.write();
            drop(slot);
        }
    };
    let (its, its_note) = (Arc::clone(&slots), note.clone());
    both(move || work(&its, &its_note), || work(&slots, &note));
}

fn no_slot_is_taken() {
    let (slots, note) = (slots(1), Note::new());
    let slot = slots.take();
    let its = note.clone();
    let gives_back = move || {
        its.write();
        drop(slot);
    };
    both(gives_back, || {
        if slots.taken() == 0 {
            note.read();
        }
    });
}

/// It is denied at the first look, after it has lost against another, or after it has waited for room.
fn a_denied_thread_sees_what_was_before_close() {
    let (slots, note) = (slots(1), Note::new());
    let (its, its_note) = (Arc::clone(&slots), note.clone());
    let close = move || {
        its_note.write();
        its.close();
    };
    both(close, || {
        let slot = slots.take();
        if slot.as_ref().err() == Some(&Denied::Closed) {
            note.read();
        }
        // Its own slot is never free: it is let go by close alone.
        if slot.is_ok() {
            slots.wait_for_room(Deadline::NEVER, || false);
            note.read();
        }
    });
}

/// Waits for room until it gets a slot, and gives it back.
fn wait_and_take(slots: &Arc<Slots>) {
    loop {
        slots.wait_for_room(Deadline::NEVER, || false);
        if slots.take().is_ok() {
            return;
        }
    }
}

fn a_slot_that_comes_back_wakes() {
    let slots = slots(1);
    let only = slots.take().expect("it is free");
    let waiting = [(); 2].map(|()| {
        let slots = Arc::clone(&slots);
        thread::spawn(move || wait_and_take(&slots))
    });
    drop(only);
    waiting.into_iter().for_each(|one| one.join().expect("no panic"));
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn a_raised_limit_wakes() {
    let slots = slots(1);
    let kept = slots.take().expect("it is free");
    let its = Arc::clone(&slots);
    both(move || wait_and_take(&its), || slots.set_limit(2));
    drop(kept);
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn close_wakes() {
    let (slots, given_up) = (slots(0), Arc::new(AtomicBool::new(false)));
    let waiting = thread::spawn({
        let (slots, given_up) = (Arc::clone(&slots), Arc::clone(&given_up));
        move || slots.wait_for_room(Deadline::NEVER, || given_up.load(SeqCst))
    });
    let closed = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.wait_for_room(Deadline::NEVER, || false)
    });
    given_up.store(true, SeqCst);
    slots.wake();
    waiting.join().expect("no panic");
    slots.close();
    closed.join().expect("no panic");
    assert_eq!(slots.take().err(), Some(Denied::Closed), "it is closed");
}

/// Two threads wait. One is let go, and the other is still woken by a slot that comes back.
fn a_wait_ends_while_another_waits() {
    let (slots, given_up) = (slots(1), Arc::new(AtomicBool::new(false)));
    let only = slots.take().expect("it is free");
    let gives_up = thread::spawn({
        let (slots, given_up) = (Arc::clone(&slots), Arc::clone(&given_up));
        move || slots.wait_for_room(Deadline::NEVER, || given_up.load(SeqCst))
    });
    let waiting = thread::spawn({
        let slots = Arc::clone(&slots);
        move || wait_and_take(&slots)
    });
    given_up.store(true, SeqCst);
    slots.wake();
    gives_up.join().expect("no panic");
    drop(only);
    waiting.join().expect("no panic");
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn a_wait_ends_in_time() {
    let slots = slots(1);
    let only = slots.take().expect("it is free");
    let its = Arc::clone(&slots);
    let waiting = thread::spawn(move || wait_and_take(&its));
    slots.wait_for_room(Deadline::after(Duration::ZERO), || false);
    drop(only);
    waiting.join().expect("no panic");
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

/// Two that share a limit, and the limit.
fn sharing(limit: usize) -> [Arc<Slots>; 3] {
    let shared = slots(limit);
    [Arc::new(Slots::within(Arc::clone(&shared))), Arc::new(Slots::within(Arc::clone(&shared))), shared]
}

fn a_shared_limit_holds() {
    let [one, other, shared] = sharing(1);
    let held = Arc::new(Count::new(0));
    let work = |slots: &Arc<Slots>, held: &Count| {
        let Ok(slot) = slots.take() else { return };
        assert_eq!(held.fetch_add(1, SeqCst), 0, "more are held than allowed");
        assert_eq!(slots.taken(), 1, "its own count is its own");
        held.fetch_sub(1, SeqCst);
        drop(slot);
    };
    let (its, its_held) = (Arc::clone(&other), Arc::clone(&held));
    both(move || work(&its, &its_held), || work(&one, &held));
    assert_eq!([&one, &other, &shared].map(|slots| slots.taken()), [0; 3], "every slot comes back, here and there");
    let last = one.take().expect("it is free again");
    assert_eq!(other.take().err(), Some(Denied::Full), "and no more than this one");
    drop(last);
}

fn a_shared_slot_comes_back() {
    let [one, other, shared] = sharing(1);
    let (only, note) = (one.take().expect("it is free"), Note::new());
    let its = note.clone();
    let gives_back = move || {
        its.write();
        drop(only);
    };
    both(gives_back, || {
        if let Ok(slot) = other.take() {
            note.read();
            drop(slot);
        }
    });
    assert!(other.take().is_ok(), "it is free");
    assert_eq!(shared.taken(), 0, "every slot comes back");
}

fn closing_one_closes_no_other() {
    let ([one, other, shared], note) = (sharing(2), Note::new());
    let closing = thread::spawn({
        let (one, note) = (Arc::clone(&one), note.clone());
        move || {
            note.write();
            one.close();
            one.taken()
        }
    });
    let slot = one.take();
    if slot.is_err() {
        note.read();
    }
    let were_taken = closing.join().expect("no panic");
    assert!(one.taken() <= were_taken, "a slot was given out after close had returned");
    assert_eq!(shared.taken(), usize::from(slot.is_ok()), "the limit counts what was given out, and no more");
    drop(slot);
    assert_eq!(one.take().err(), Some(Denied::Closed), "it is closed");
    let both = [other.take(), other.take()];
    assert!(both.iter().all(Result::is_ok), "the other is not, and every slot came back");
}

fn a_full_limit_takes_no_slot_of_an_address() {
    let (slots, addresses) = (slots(0), Addresses::new(1));
    let ask = |slots: &Arc<Slots>, addresses: &Arc<Addresses>| {
        let denied = slots.take_for(Some(addresses), Some(IP)).err();
        assert_eq!(denied, Some(Denied::Full), "no connection of the address has a slot");
    };
    let (its, its_addresses) = (Arc::clone(&slots), Arc::clone(&addresses));
    both(move || ask(&its, &its_addresses), || ask(&slots, &addresses));
}

fn a_slot_of_an_address_comes_back_first() {
    let (slots, addresses) = (slots(1), Addresses::new(1));
    let only = slots.take_for(Some(&addresses), Some(IP)).expect("it is free");
    let waits = || {
        slots.wait_for_room(Deadline::NEVER, || false);
        assert!(slots.take_for(Some(&addresses), Some(IP)).is_ok(), "the one slot of the address came back");
    };
    both(move || drop(only), waits);
}
