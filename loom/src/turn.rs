//! Models of `src/sync/turn.rs`.

#[path = "../../src/sync/turn.rs"]
mod library;

use loom::sync::atomic::AtomicBool;
use loom::thread;

use crate::sync::Arc;
use crate::{Count, Model, Note, SeqCst, both};
pub(crate) use library::Turn;

pub(crate) const MODELS: &[Model] = &[
    ("one thread has the turn, and sees what the one before has done", None, one_at_a_time),
    ("three threads have it one after the other", Some(3), three_threads),
    ("a thread that has it is the only one for a thread that tries", None, a_try_does_not_share),
    ("a thread that gives up waiting loses the turn for no other", Some(3), gives_up),
    ("a turn that is handed over goes to the thread that waits", Some(4), handed_over),
    ("a thread that finds the turn given back sees what was done before", None, a_look_takes_over),
    ("a turn that is handed over wakes one of two, and that one the other", Some(3), handed_over_to_two),
];

fn turn() -> Arc<Turn> {
    Arc::default()
}

/// Has the turn for a while.
fn pass(turn: &Turn, note: &Note) {
    let taken = turn.take();
    note.write();
    // Here loom lets other threads run.
    assert!(turn.try_take().is_none(), "another thread has it meanwhile");
    note.write();
    drop(taken);
}

fn one_at_a_time() {
    let (turn, note) = (turn(), Note::new());
    let (its, its_note) = (Arc::clone(&turn), note.clone());
    both(move || pass(&its, &its_note), || pass(&turn, &note));
    assert!(turn.try_take().is_some(), "it is free again");
}

fn three_threads() {
    let (turn, note) = (turn(), Note::new());
    let others = [(); 2].map(|()| {
        let (turn, note) = (Arc::clone(&turn), note.clone());
        thread::spawn(move || pass(&turn, &note))
    });
    pass(&turn, &note);
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    assert!(turn.try_take().is_some(), "it is free again");
}

/// One waits until it is told that its time is over, which may be at once, and another for as long as it takes.
fn gives_up() {
    let (turn, note) = (turn(), Note::new());
    let taken = turn.take();
    let (its, its_note) = (Arc::clone(&turn), note.clone());
    let impatient = thread::spawn(move || {
        let mut looks = 0;
        let mut left = || {
            looks += 1;
            if looks == 2 { Err(()) } else { Ok(None) }
        };
        if let Ok(taken) = its.wait(&mut left) {
            its_note.write();
            drop(taken);
        }
    });
    let (its, its_note) = (Arc::clone(&turn), note.clone());
    let patient = thread::spawn(move || pass(&its, &its_note));
    drop(taken);
    impatient.join().expect("no panic");
    patient.join().expect("no panic");
    assert!(!turn.is_taken(), "it is free again");
}

fn a_try_does_not_share() {
    let (turn, note) = (turn(), Note::new());
    let (its, its_note) = (Arc::clone(&turn), note.clone());
    let tries = move || {
        if let Some(taken) = its.try_take() {
            its_note.write();
            drop(taken);
        }
    };
    both(tries, || pass(&turn, &note));
    assert!(turn.try_take().is_some(), "it is free again");
}

fn a_look_takes_over() {
    let (turn, note, begun) = (turn(), Note::new(), Arc::new(AtomicBool::new(false)));
    let (its, its_note, its_begun) = (Arc::clone(&turn), note.clone(), Arc::clone(&begun));
    let has_it = move || {
        let taken = its.take();
        its_begun.store(true, SeqCst);
        its_note.write();
        drop(taken);
    };
    both(has_it, || {
        if begun.load(SeqCst) && !turn.is_taken() {
            note.read();
        }
    });
}

/// A thread that takes it again and again comes behind one that waits.
fn handed_over() {
    let (turn, order) = (turn(), Arc::new(Count::new(0)));
    let greedy = turn.take();
    let other = thread::spawn({
        let (turn, order) = (Arc::clone(&turn), Arc::clone(&order));
        move || {
            let taken = turn.take();
            order.fetch_add(1, SeqCst);
            drop(taken);
        }
    });
    let is_waited_for = turn.waiting() > 0;
    greedy.hand_over();
    let again = turn.take();
    assert!(!is_waited_for || order.load(SeqCst) == 1, "the thread that waited had it before");
    again.hand_over();
    other.join().expect("no panic");
    assert!(turn.try_take().is_some(), "it is free again");
}

fn handed_over_to_two() {
    let (turn, note) = (turn(), Note::new());
    let first = turn.take();
    let others = [(); 2].map(|()| {
        let (turn, note) = (Arc::clone(&turn), note.clone());
        thread::spawn(move || pass(&turn, &note))
    });
    note.write();
    first.hand_over();
    let again = turn.take();
    note.write();
    again.hand_over();
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    assert!(turn.try_take().is_some(), "it is free again");
}
