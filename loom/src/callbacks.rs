//! Models of `src/sync/callbacks.rs`.

#[path = "../../src/sync/callbacks.rs"]
mod library;

use loom::sync::atomic::AtomicBool;

use crate::sync::Arc;
use crate::{Model, SeqCst, both};
use library::Callbacks;

pub(crate) const MODELS: &[Model] = &[
    ("a delay is reported once while a thread is in a callback", None, reported_once),
    ("a delay that begins when no thread is in a callback is reported", None, reported_again),
];

/// Both threads enter a callback, and accepting is delayed twice while one of them is there.
fn reported_once() {
    let callbacks = Arc::new(Callbacks::default());
    let its = Arc::clone(&callbacks);
    let other = move || {
        let _in_hook = its.enter();
        its.hold_up();
    };
    both(other, || {
        let _in_hook = callbacks.enter();
        callbacks.hold_up();
        assert!(!callbacks.hold_up(), "it was reported, and this thread is in its callback since");
    });
    assert_eq!(callbacks.count(), 0, "no thread is counted any more");
}

/// One thread reports a delay, and leaves its callback. The other sees that no thread is in a callback since.
fn reported_again() {
    let (callbacks, is_reported) = (Arc::new(Callbacks::default()), Arc::new(AtomicBool::new(false)));
    let (its, its_mark) = (Arc::clone(&callbacks), Arc::clone(&is_reported));
    let other = move || {
        let _in_hook = its.enter();
        assert!(its.hold_up(), "it is the first");
        its_mark.store(true, SeqCst);
    };
    let again = || {
        if is_reported.load(SeqCst) && callbacks.count() == 0 {
            let _in_hook = callbacks.enter();
            assert!(callbacks.hold_up(), "this is another delay");
        }
    };
    both(other, again);
    assert_eq!(callbacks.count(), 0, "no thread is counted any more");
}
