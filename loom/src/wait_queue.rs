//! Models of `src/sync/wait_queue.rs`. Two threads have room at the front; the third sleeps.

#[path = "../../src/sync/wait_queue.rs"]
mod library;

use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};
use loom::thread;
use real::time::Duration;

use crate::deadline::Deadline;
use crate::sync::Arc;
use crate::{Count, Model, Note};
use library::WaitQueue;

pub(crate) const MODELS: &[Model] = &[
    ("a thread that leaves the front calls the next", None, a_leaver_calls_the_next),
    ("each that leaves calls one, until none waits", Some(4), each_leaver_calls_one),
    ("a free place needs no call", None, a_free_place_needs_no_call),
    ("all threads that give up are let go, and leave their places in the queue", Some(3), threads_give_up),
    ("a call to a thread that gives up is not lost", Some(3), a_call_is_not_lost),
    ("of two calls to threads of which one gives up, none is lost", Some(3), two_calls_are_not_lost),
    (
        "a thread with time left is called, whether one place is at the front or two",
        None,
        a_thread_with_time_left_is_called,
    ),
    ("a thread whose time is up is let go, unless it was called, and its place is not lost", Some(3), times_are_up),
];

/// A queue, and how many are at the front of it.
#[derive(Clone)]
struct Line {
    queue: Arc<WaitQueue<2>>,
    at_front: Arc<Count>,
    left: Note,
}

impl Line {
    fn new() -> Line {
        Line { queue: Arc::default(), at_front: Arc::default(), left: Note::new() }
    }

    /// Enters, stays at the front a while, and leaves; whether it did not give up.
    fn pass(&self, given_up: impl Fn() -> bool) -> bool {
        let Some(ticket) = self.queue.enter(Deadline::NEVER, given_up) else { return false };
        assert!(self.at_front.fetch_add(1, SeqCst) < 2, "there is room for two at the front");
        // Here loom lets other threads run.
        assert!(!self.queue.is_empty(), "a thread is at the front");
        self.at_front.fetch_sub(1, SeqCst);
        drop(ticket);
        true
    }

    /// Fills the front, but for `free`, lets other threads run, and leaves the front. Once all have ended, none is there.
    fn with_full_front(&self, free: usize, others: impl FnOnce() -> Vec<thread::JoinHandle<()>>) {
        let mut tickets: Vec<_> =
            (free..2).map(|_| self.queue.enter(Deadline::NEVER, || false).expect("it is free")).collect();
        self.at_front.store(tickets.len(), SeqCst);
        let others = others();
        // One leaves while the others come, and one only after them: so that each of them has to be called by a leaver.
        self.left.write();
        self.at_front.fetch_sub(1, SeqCst);
        drop(tickets.pop());
        for other in others {
            other.join().expect("no panic");
        }
        drop(tickets);
        assert!(self.queue.is_empty(), "every place is free again");
    }

    fn spawn(&self, run: impl FnOnce(Line) + 'static) -> thread::JoinHandle<()> {
        let line = self.clone();
        thread::spawn(move || run(line))
    }
}

fn a_leaver_calls_the_next() {
    let line = Line::new();
    line.with_full_front(0, || {
        vec![line.spawn(|line| {
            assert!(line.pass(|| false), "it does not give up");
            line.left.read();
        })]
    });
}

fn each_leaver_calls_one() {
    let line = Line::new();
    line.with_full_front(0, || {
        let pass = |line: Line| assert!(line.pass(|| false), "it does not give up");
        vec![line.spawn(pass), line.spawn(pass)]
    });
}

fn a_free_place_needs_no_call() {
    let line = Line::new();
    assert!(line.queue.is_empty(), "none is there");
    line.with_full_front(1, || vec![line.spawn(|line| assert!(line.pass(|| false), "it does not give up"))]);
}

/// The front stays full until both have given up.
fn threads_give_up() {
    let line = Line::new();
    let tickets = [(); 2].map(|()| line.queue.enter(Deadline::NEVER, || false).expect("it is free"));
    let over = Arc::new(AtomicBool::new(false));
    let waiting = [(); 2].map(|()| {
        let over = Arc::clone(&over);
        line.spawn(move |line| {
            assert!(line.queue.enter(Deadline::NEVER, || over.load(SeqCst)).is_none(), "no place is free")
        })
    });
    over.store(true, SeqCst);
    line.queue.wake_all();
    waiting.into_iter().for_each(|one| one.join().expect("no panic"));
    drop(tickets);
    assert!(line.queue.is_empty(), "no place is kept for threads that have given up");
}

fn a_call_is_not_lost() {
    let line = Line::new();
    let over = Arc::new(AtomicBool::new(false));
    line.with_full_front(0, || {
        let its = Arc::clone(&over);
        let gives_up = line.spawn(move |line| {
            let _ = line.pass(|| its.load(SeqCst));
        });
        let stays = line.spawn(|line| assert!(line.pass(|| false), "it does not give up"));
        over.store(true, SeqCst);
        line.queue.wake_all();
        vec![gives_up, stays]
    });
}

/// The thread that makes the others give up is not the one that calls them.
fn two_calls_are_not_lost() {
    let line = Line::new();
    let over = Arc::new(AtomicBool::new(false));
    line.with_full_front(0, || {
        let (its, whose) = (Arc::clone(&over), Arc::clone(&over));
        let gives_up = line.spawn(move |line| {
            let _ = line.pass(|| its.load(SeqCst));
        });
        let makes_it = line.spawn(move |line| {
            whose.store(true, SeqCst);
            line.queue.wake_all();
            assert!(line.pass(|| false), "it does not give up");
        });
        vec![gives_up, makes_it]
    });
}

fn a_thread_with_time_left_is_called() {
    let hour = Deadline::after(Duration::from_secs(3600));
    let queue: Arc<WaitQueue<1>> = Arc::default();
    let (at_front, left) = (Arc::new(Count::new(1)), Note::new());
    let ticket = queue.enter(Deadline::NEVER, || false).expect("it is free");
    let (its, its_count, its_note) = (Arc::clone(&queue), Arc::clone(&at_front), left.clone());
    let waits = thread::spawn(move || {
        let ticket = its.enter(hour, || false).expect("its time is not up");
        assert_eq!(its_count.fetch_add(1, SeqCst), 0, "there is room for one at the front");
        its_note.read();
        drop(ticket);
    });
    left.write();
    at_front.fetch_sub(1, SeqCst);
    drop(ticket);
    waits.join().expect("no panic");
    assert!(queue.is_empty(), "the place is free again");
    let line = Line::new();
    line.with_full_front(0, || {
        vec![line.spawn(move |line| drop(line.queue.enter(hour, || false).expect("its time is not up")))]
    });
}

fn times_are_up() {
    let now = Deadline::after(Duration::ZERO);
    let line = Line::new();
    let tickets = [(); 2].map(|()| line.queue.enter(now, || false).expect("a free place takes no time"));
    assert!(line.queue.enter(now, || false).is_none(), "no place is free");
    line.at_front.store(2, SeqCst);
    let its_time_is_up = line.spawn(move |line| drop(line.queue.enter(now, || false)));
    let stays = line.spawn(|line| assert!(line.pass(|| false), "it does not give up"));
    let [first, second] = tickets;
    line.at_front.fetch_sub(1, SeqCst);
    drop(first);
    its_time_is_up.join().expect("no panic");
    stays.join().expect("no panic");
    drop(second);
    assert!(line.queue.is_empty(), "every place is free again");
}
