//! Every order in which threads can meet in `src/limit.rs`, tried by loom: `cargo run --release`.
//!
//! It is the library's own file. In this crate, `std` is this crate, so that the file gets loom's atomics from it; all else
//! is std's.

extern crate self as std;
extern crate std as real;

#[allow(dead_code, reason = "what the models do not ask")]
#[path = "../../src/limit.rs"]
mod limit;

#[allow(dead_code, reason = "what the slots do not use")]
#[path = "../../src/sync/poison.rs"]
mod poison;

/// What these use of std.
pub use real::{collections, net};

/// What these use of std's locks, and of the library's.
pub mod sync {
    pub(crate) use crate::poison;
    pub use loom::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
    pub use real::sync::{Arc, PoisonError};
}

use real::sync::atomic::AtomicUsize as Count;
use real::time::Instant;

use limit::{Denied, Slots};
use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};
use loom::thread;
use sync::Arc;

fn main() {
    let models: [(&str, fn()); 10] = [
        ("two threads never hold more than one slot, and it comes back", never_more_than_the_limit::<1>),
        ("three threads never hold more than two slots, and they come back", never_more_than_the_limit::<2>),
        ("nobody is denied while there are as many slots as threads", nobody_is_denied_a_free_slot),
        ("a denial in progress denies nobody else", a_denial_denies_nobody_else),
        ("nobody is admitted once close has returned", nobody_is_admitted_after_close),
        ("a limit that was lowered holds for whoever asks then", a_lowered_limit_holds),
        ("a limit that was raised admits whoever asks then", a_raised_limit_admits),
        ("who waits for room is woken by each slot that comes back", a_slot_that_comes_back_wakes),
        ("who waits for room is woken by a higher limit", a_raised_limit_wakes),
        ("who waits for room is woken by close, and by who makes them give up", close_wakes),
    ];
    for (claim, model) in models {
        let start = Instant::now();
        static ORDERS: Count = Count::new(0);
        ORDERS.store(0, SeqCst);
        let mut builder = loom::model::Builder::new();
        // Where a thread is interrupted in the middle more often than this, loom looks no further: with three threads it
        // would not come to an end.
        builder.preemption_bound = Some(4);
        builder.check(move || {
            ORDERS.fetch_add(1, SeqCst);
            model();
        });
        println!("{claim}: {} orders in {:.1} s", ORDERS.load(SeqCst), start.elapsed().as_secs_f64());
    }
    println!("{} passed, 0 failed", models.len());
}

fn slots(limit: usize) -> Arc<Slots> {
    Arc::new(Slots::new(limit))
}

/// Two threads and one slot, three threads and two: each takes one, holds it a while, and gives it back.
fn never_more_than_the_limit<const LIMIT: usize>() {
    let (slots, held) = (slots(LIMIT), Arc::new(Count::new(0)));
    let work = move |slots: &Arc<Slots>, held: &Count| {
        let Ok(slot) = slots.take() else { return 0 };
        assert!(held.fetch_add(1, SeqCst) < LIMIT, "more are held than allowed");
        // Here loom lets others run.
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

fn nobody_is_denied_a_free_slot() {
    let slots = slots(2);
    let other = thread::spawn({
        let slots = Arc::clone(&slots);
        move || (0..2).for_each(|_| drop(slots.take().expect("there is one for each thread")))
    });
    (0..2).for_each(|_| drop(slots.take().expect("there is one for each thread")));
    other.join().expect("no panic");
}

/// Adding first and taking back what was too much would fail here: both are denied, and the slot is free.
fn a_denial_denies_nobody_else() {
    let slots = slots(1);
    let only = slots.take().expect("it is free");
    let other = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.take().map(drop)
    });
    drop(only);
    let again = slots.take().map(drop);
    let other = other.join().expect("no panic");
    assert!(again.is_ok() || other.is_ok(), "of two who ask for a free slot, one gets it");
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn nobody_is_admitted_after_close() {
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
    assert!(slots.taken() <= were_taken, "a slot was given out after close had returned");
    assert_eq!(slots.taken(), usize::from(slot.is_ok()), "the count is right with the closed bit set");
    drop(slot);
    assert_eq!(slots.take().err(), Some(Denied::Closed), "closed for good, whatever comes back or is set");
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
    assert_eq!(slots.taken(), 1, "lowering the limit takes nobody's slot");
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

/// Waits for room until it gets a slot, and gives it back.
fn wait_and_take(slots: &Arc<Slots>) {
    loop {
        slots.wait_for_room(|| false);
        if slots.take().is_ok() {
            return;
        }
    }
}

fn a_slot_that_comes_back_wakes() {
    let slots = Arc::new(Slots::with_room(1));
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
    let slots = Arc::new(Slots::with_room(1));
    let kept = slots.take().expect("it is free");
    let waiting = thread::spawn({
        let slots = Arc::clone(&slots);
        move || wait_and_take(&slots)
    });
    slots.set_limit(2);
    waiting.join().expect("no panic");
    drop(kept);
    assert_eq!(slots.taken(), 0, "every slot comes back");
}

fn close_wakes() {
    let (slots, given_up) = (Arc::new(Slots::with_room(0)), Arc::new(AtomicBool::new(false)));
    let waiting = thread::spawn({
        let (slots, given_up) = (Arc::clone(&slots), Arc::clone(&given_up));
        move || slots.wait_for_room(|| given_up.load(SeqCst))
    });
    let closed = thread::spawn({
        let slots = Arc::clone(&slots);
        move || slots.wait_for_room(|| false)
    });
    given_up.store(true, SeqCst);
    slots.wake();
    waiting.join().expect("no panic");
    slots.close();
    closed.join().expect("no panic");
    assert_eq!(slots.take().err(), Some(Denied::Closed), "it is closed");
}
