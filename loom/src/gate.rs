//! Models of `src/sync/gate.rs`.

#[allow(dead_code, reason = "what the models do not use")]
#[path = "../../src/sync/gate.rs"]
mod library;

use loom::sync::atomic::AtomicBool;
use loom::thread::{self, JoinHandle};
use real::sync::atomic::Ordering::SeqCst;
use real::time::Duration;

use crate::deadline::Deadline;
use crate::sync::Arc;
use crate::{Count, Model, Note, both};
use library::{Gate, NoSeat, Phase, View};

pub(crate) const MODELS: &[Model] = &[
    ("the end is told once, after a client that is served", None, told_once::<true>),
    ("the end is told once, after a seat that is given up", None, told_once::<false>),
    ("the end is told once, after two workers, one with a client", Some(3), told_once_after_two_workers::<true>),
    ("the end is told once, after two workers without a client", Some(3), told_once_after_two_workers::<false>),
    ("the end is told once, when the listener is gone and connections leave", None, told_once_by_the_last_to_leave),
    ("a thread outside that waits for the end is woken by it", Some(3), an_outsider_is_woken),
    ("all threads outside that wait for the end are woken by it", Some(3), outsiders_are_woken),
    ("a closer that waits for the seats is woken by a client", None, a_closer_is_woken::<true>),
    ("a closer that waits for the seats is woken by a seat given up", None, a_closer_is_woken::<false>),
    ("of two closers one closes, and the other is woken when it is closed", None, a_second_closer_is_woken),
    ("a thread that waits for another to sit is woken", None, a_seat_wakes),
    ("two that wait inside are let go together", None, insiders_are_let_go_together),
    ("two that wait inside are let go together once the listener is gone", Some(3), insiders_are_let_go_by_the_closer),
    ("two that wait inside are let go once a third has left", None, insiders_are_let_go_by_the_last_other),
    ("two that wait inside are let go once a seat was given up", None, insiders_are_let_go_by_the_last_seat),
    ("one present that waits on two threads counts once", None, one_on_two_threads_counts_once),
    ("a thread that acts for two waits for neither", None, one_thread_for_two),
    ("one that waits inside is named as long as it waits", None, an_insider_is_named),
    ("one inside that has what it waited for keeps no other", Some(3), an_insider_that_is_done_keeps_no_other),
    ("a wait whose time is up ends, and counts no more", None, a_wait_ends_in_time),
    ("no thread sits once closing has begun", None, no_seat_once_closing),
    ("no more sit than there are seats, and each sees what the one before has done", None, seats_exclude_one_another),
    ("a claim is given to one, and can be given back", None, one_claim),
    ("what was done before a claim was given up is seen by a thread that finds none", None, a_claim_hands_over),
    ("a full field gives no seat and has room for the closer", None, a_full_field_has_room_for_the_closer),
    ("the word has 12 bits for seats, and all above 16 bits for what is present", None, the_field),
    ("a seat of a full field that comes back lets the next one in", None, a_full_field_lets_the_next_in::<9>),
    ("a connection of a full field that leaves lets the next one in", None, a_full_field_lets_the_next_in::<2>),
    ("a pause is ended by closing", None, a_pause_is_ended),
    ("a thread that sees the phase sees what was done before it", None, a_phase_hands_over),
];

/// A server's life, and what its threads do with it.
#[derive(Clone)]
struct Life {
    gate: Arc<Gate>,
    told: Arc<Count>,
    /// What each presence did before it left, by its number.
    done: [Note; 4],
    /// What has been done before the end was told.
    end: Note,
    /// What the closer did before it began, and before it was closed.
    begun: Note,
    closed: Note,
}

impl Life {
    /// As many are present as `connections`.
    fn new(connections: usize) -> Life {
        let life = Life {
            gate: Arc::new(Gate::new()),
            told: Arc::default(),
            done: [(); 4].map(|()| Note::new()),
            end: Note::new(),
            begun: Note::new(),
            closed: Note::new(),
        };
        for nth in 1..=connections {
            life.gate.sit().expect("a seat is free");
            let view = life.gate.rise();
            assert_eq!((view.phase(), view.seats(), view.present()), (Phase::Listening, 0, nth));
            assert_eq!(view, life.gate.view(), "it is what is so after it");
        }
        life
    }

    fn spawn<T: 'static>(&self, run: impl FnOnce(Life) -> T + 'static) -> JoinHandle<T> {
        let life = self.clone();
        thread::spawn(move || run(life))
    }

    /// What a thread does whose step was the end.
    fn tell(&self, is_end: bool) {
        if is_end {
            self.done.iter().for_each(Note::read);
            assert_eq!(self.told.fetch_add(1, SeqCst), 0, "the end is told once");
            self.end.write();
            self.gate.over();
        }
    }

    fn leave(&self, number: usize) {
        self.done[number].write();
        self.tell(self.gate.leave());
    }

    /// A worker: it sits, gets a client or not, and serves it.
    fn work(&self, number: usize, gets_a_client: bool) {
        match self.gate.sit() {
            Ok(()) if gets_a_client => {
                let view = self.gate.rise();
                assert!(view.present() > 0, "its client is present");
                if view.phase() != Phase::Listening {
                    self.begun.read();
                }
                self.leave(number);
            }
            Ok(()) => {
                self.done[number].write();
                self.tell(self.gate.stand());
            }
            Err(none) => {
                assert_eq!(none, NoSeat::Closing, "there is room");
                self.begun.read();
            }
        }
    }

    /// The one that closes is present under the number 0.
    fn close(&self) {
        self.begun.write();
        assert!(self.gate.begin_close(), "no other thread closes");
        self.gate.wait(Deadline::NEVER, &[], &|view| view.seats() == 0);
        self.closed.write();
        self.gate.closed();
        self.leave(0);
    }

    fn wait_for_the_end(&self, own: &[usize]) -> View {
        self.gate.wait(Deadline::NEVER, own, &|view| view.phase() == Phase::Over)
    }

    fn is_over(&self) {
        assert_eq!(self.told.load(SeqCst), 1, "the end is told");
        assert_eq!(self.gate.view(), Life::ended().gate.view(), "it is over, and no wait has left anything behind");
        assert_eq!(self.gate.inside(), [], "none waits inside");
        assert_eq!(self.gate.phase(), Phase::Over);
    }

    /// One at which no thread has ever waited.
    fn ended() -> Life {
        let life = Life::new(0);
        assert!(life.gate.begin_close(), "it listens");
        life.gate.closed();
        life.leave(0);
        life
    }
}

fn told_once<const GETS_A_CLIENT: bool>() {
    let life = Life::new(0);
    let its = life.clone();
    both(move || its.work(1, GETS_A_CLIENT), || life.close());
    life.is_over();
}

fn told_once_after_two_workers<const ONE_GETS_A_CLIENT: bool>() {
    let life = Life::new(0);
    let one = life.spawn(|life| life.work(1, ONE_GETS_A_CLIENT));
    let other = life.spawn(|life| life.work(2, false));
    life.close();
    one.join().expect("no panic");
    other.join().expect("no panic");
    life.is_over();
}

/// A thread that has not noticed brings a client when all is closed.
fn told_once_by_the_last_to_leave() {
    let life = Life::new(1);
    life.gate.sit().expect("a seat is free");
    assert!(life.gate.begin_close(), "no other thread closes");
    let served = life.spawn(|life| life.leave(1));
    let late = life.spawn(|life| {
        let view = life.gate.rise();
        assert!(view.phase() < Phase::Over && view.present() > 0, "it is not over, since a client is present");
        life.leave(2);
    });
    life.gate.closed();
    life.leave(0);
    served.join().expect("no panic");
    late.join().expect("no panic");
    life.is_over();
}

fn an_outsider_is_woken() {
    let life = Life::new(1);
    let outside = life.spawn(|life| {
        let view = life.wait_for_the_end(&[]);
        assert_eq!(view.phase(), Phase::Over);
        life.end.read();
    });
    let serves = life.spawn(|life| life.leave(1));
    life.close();
    serves.join().expect("no panic");
    outside.join().expect("no panic");
    life.is_over();
}

fn outsiders_are_woken() {
    let life = Life::new(1);
    life.close();
    let outside = [(); 2].map(|()| {
        life.spawn(|life| {
            life.wait_for_the_end(&[]);
            life.end.read();
        })
    });
    life.leave(1);
    outside.into_iter().for_each(|one| one.join().expect("no panic"));
    life.is_over();
}

/// Its client leaves only when the closer has been woken.
fn a_closer_is_woken<const GETS_A_CLIENT: bool>() {
    let life = Life::new(0);
    life.gate.sit().expect("a seat is free");
    let its = life.clone();
    let sits = move || {
        its.done[1].write();
        if GETS_A_CLIENT {
            its.gate.rise();
        } else {
            its.tell(its.gate.stand());
        }
    };
    both(sits, || {
        assert!(life.gate.begin_close(), "no other thread closes");
        let view = life.gate.wait(Deadline::NEVER, &[], &|view| view.seats() == 0);
        assert_eq!(view.seats(), 0, "what is given is so after the wait");
        life.done[1].read();
    });
    if GETS_A_CLIENT {
        life.leave(1);
    }
    life.gate.closed();
    life.leave(0);
    life.is_over();
}

/// The one that closes stays present until the other has been woken.
fn a_second_closer_is_woken() {
    let life = Life::new(0);
    let closers = Arc::new(Count::new(0));
    let close = |life: &Life, closers: &Count, number: usize| {
        life.done[number].write();
        if life.gate.begin_close() {
            assert_eq!(closers.fetch_add(1, SeqCst), 0, "one thread closes");
            life.closed.write();
            life.gate.closed();
        } else {
            life.done[1 - number].read();
            life.gate.wait(Deadline::NEVER, &[], &|view| view.phase() >= Phase::Closed);
            life.closed.read();
        }
    };
    let (its, its_closers) = (life.clone(), Arc::clone(&closers));
    both(move || close(&its, &its_closers, 0), || close(&life, &closers, 1));
    assert_eq!(closers.load(SeqCst), 1, "one thread closes");
    life.leave(0);
    life.is_over();
}

fn a_seat_wakes() {
    let life = Life::new(0);
    let its = life.clone();
    let sits = move || {
        its.done[1].write();
        its.gate.sit().expect("a seat is free");
    };
    both(sits, || {
        life.gate.wait(Deadline::NEVER, &[], &|view| view.seats() > 0);
        life.done[1].read();
    });
}

/// Both leave only when both have been let go.
fn insiders_are_let_go_together() {
    let life = Life::new(2);
    life.close();
    let its = life.clone();
    let inside = move || its.wait_for_the_end(&[1]);
    both(inside, || life.wait_for_the_end(&[2]));
    assert_eq!(life.gate.view().present(), 2, "they are still present");
    life.leave(1);
    life.leave(2);
    life.is_over();
}

fn insiders_are_let_go_by_the_closer() {
    let life = Life::new(2);
    let inside = [1, 2].map(|number| {
        life.spawn(move |life| {
            let view = life.wait_for_the_end(&[number]);
            assert!(view.phase() >= Phase::Closed, "they wait for the listener too");
            life.done[0].read();
        })
    });
    life.close();
    inside.into_iter().for_each(|one| one.join().expect("no panic"));
    life.leave(1);
    life.leave(2);
    life.is_over();
}

fn insiders_are_let_go_by_the_last_other() {
    let life = Life::new(3);
    life.close();
    let inside = [1, 2].map(|number| {
        life.spawn(move |life| {
            life.wait_for_the_end(&[number]);
            life.done[3].read();
        })
    });
    life.leave(3);
    inside.into_iter().for_each(|one| one.join().expect("no panic"));
    life.leave(1);
    life.leave(2);
    life.is_over();
}

fn insiders_are_let_go_by_the_last_seat() {
    let life = Life::new(2);
    life.gate.sit().expect("a seat is free");
    assert!(life.gate.begin_close(), "no other thread closes");
    life.gate.closed();
    life.leave(0);
    let inside = [1, 2].map(|number| {
        life.spawn(move |life| {
            life.wait_for_the_end(&[number]);
            life.done[3].read();
        })
    });
    life.done[3].write();
    life.tell(life.gate.stand());
    inside.into_iter().for_each(|one| one.join().expect("no panic"));
    life.leave(1);
    life.leave(2);
    life.is_over();
}

/// The other one that is present does not wait. Were the first counted twice, it would be let go too early.
fn one_on_two_threads_counts_once() {
    let life = Life::new(2);
    life.close();
    let inside = [1, 1].map(|number| {
        life.spawn(move |life| {
            life.wait_for_the_end(&[number]);
            life.done[2].read();
        })
    });
    life.leave(2);
    inside.into_iter().for_each(|one| one.join().expect("no panic"));
    life.leave(1);
    life.is_over();
}

fn one_thread_for_two() {
    let life = Life::new(3);
    life.close();
    let its = life.clone();
    let inside = move || {
        its.wait_for_the_end(&[1, 2]);
        its.done[3].read();
        its.leave(1);
        its.leave(2);
    };
    both(inside, || life.leave(3));
    life.is_over();
}

/// The other leaves only after it has looked.
fn an_insider_is_named() {
    let life = Life::new(2);
    life.close();
    let waits = Arc::new(AtomicBool::new(false));
    let (its, its_waits) = (life.clone(), Arc::clone(&waits));
    let inside = move || {
        its.gate.wait(Deadline::NEVER, &[1], &|view| {
            its_waits.store(true, SeqCst);
            view.phase() == Phase::Over
        })
    };
    both(inside, || {
        if waits.load(SeqCst) {
            assert_eq!(life.gate.inside(), [1], "it waits");
        }
        life.leave(2);
    });
    life.leave(1);
    life.is_over();
}

/// One waits inside for the listener only, and leaves. The other is let go when nothing is left but it.
fn an_insider_that_is_done_keeps_no_other() {
    let life = Life::new(2);
    let one = life.spawn(|life| {
        life.gate.wait(Deadline::NEVER, &[1], &|view| view.phase() >= Phase::Closed);
        life.leave(1);
    });
    let other = life.spawn(|life| {
        life.wait_for_the_end(&[2]);
        life.done[0].read();
        life.leave(2);
    });
    life.close();
    one.join().expect("no panic");
    other.join().expect("no panic");
    life.is_over();
}

fn a_wait_ends_in_time() {
    let life = Life::new(2);
    life.close();
    let before = life.gate.view();
    let view = life.gate.wait(Deadline::after(Duration::ZERO), &[], &|_| false);
    assert_eq!(view, before, "a wait leaves nothing behind");
    let its = life.clone();
    let inside = move || {
        its.wait_for_the_end(&[2]);
        its.leave(2);
    };
    both(inside, || {
        life.gate.wait(Deadline::after(Duration::ZERO), &[1], &|_| false);
        assert!(!life.gate.inside().contains(&1), "it waits no more");
        life.leave(1);
    });
    life.is_over();
}

fn no_seat_once_closing() {
    let life = Life::new(0);
    let begun = Arc::new(Count::new(0));
    let (its, its_begun) = (life.clone(), Arc::clone(&begun));
    let closes = move || {
        its.begun.write();
        assert!(its.gate.begin_close(), "no other thread closes");
        its_begun.store(1, SeqCst);
        its.gate.closed();
        its.leave(0);
    };
    both(closes, || {
        let had_begun = begun.load(SeqCst) == 1;
        match life.gate.sit() {
            Ok(()) => {
                assert!(!had_begun, "a thread sits after closing has begun");
                life.tell(life.gate.stand());
            }
            Err(none) => {
                assert_eq!(none, NoSeat::Closing, "there is room");
                life.begun.read();
            }
        }
    });
    assert_eq!(life.gate.sit(), Err(NoSeat::Closing), "none sits when it is over");
    assert!(!life.gate.begin_close(), "nor closes");
    life.is_over();
}

fn seats_exclude_one_another() {
    let (gate, done) = (Arc::new(Gate::<1, 3>::new()), Note::new());
    let work = |gate: &Gate<1, 3>, done: &Note| {
        match gate.sit() {
            Ok(()) => done.write(),
            Err(none) => return assert_eq!(none, NoSeat::Full, "it listens"),
        }
        assert_eq!(gate.view().seats(), 1, "no other sits");
        assert!(!gate.stand(), "it is not the end");
    };
    let (its, its_done) = (Arc::clone(&gate), done.clone());
    both(move || work(&its, &its_done), || work(&gate, &done));
    assert_eq!(gate.view().seats(), 0, "every seat comes back");
    assert!(gate.sit().is_ok(), "one sits where one may");
    assert_eq!(gate.sit(), Err(NoSeat::Full), "and no second");
}

fn one_claim() {
    let (life, claims) = (Life::new(0), Arc::new(Count::new(0)));
    let work = |life: &Life, claims: &Count| {
        if life.gate.claim() {
            assert_eq!(claims.fetch_add(1, SeqCst), 0, "two have claimed it");
            life.done[0].write();
            assert!(life.gate.is_claimed(), "it is claimed");
            claims.fetch_sub(1, SeqCst);
            life.gate.unclaim();
        }
    };
    let (its, its_claims) = (life.clone(), Arc::clone(&claims));
    let closes = life.spawn(|life| assert!(life.gate.begin_close(), "a claim changes nothing for a closer"));
    both(move || work(&its, &its_claims), || work(&life, &claims));
    closes.join().expect("no panic");
    let view = life.gate.view();
    assert_eq!((view.phase(), view.seats(), view.present()), (Phase::Closing, 0, 1), "a claim changes nothing else");
    assert!(!life.gate.is_claimed() && life.gate.claim(), "it is free again");
    assert!(life.gate.is_claimed() && !life.gate.claim(), "and claimed once");
}

fn a_claim_hands_over() {
    let life = Life::new(0);
    assert!(life.gate.claim(), "it is free");
    let its = life.clone();
    let claimer = move || {
        its.done[1].write();
        its.gate.unclaim();
    };
    both(claimer, || {
        if !life.gate.is_claimed() {
            life.done[1].read();
        }
    });
}

/// Three have room, of which one is present, and one place is kept for the closer.
fn a_full_field_has_room_for_the_closer() {
    let gate = Arc::new(Gate::<2, 3>::new());
    gate.sit().expect("a seat is free");
    gate.rise();
    let room = |view: View| assert!(view.seats() + view.present() <= 3, "it counts no further: {view:?}");
    let sits = [(); 2].map(|()| {
        let gate = Arc::clone(&gate);
        thread::spawn(move || match gate.sit() {
            Ok(()) => {
                room(gate.view());
                room(gate.rise());
                1
            }
            Err(NoSeat::Full) => 0,
            Err(none) => {
                assert_eq!(none, NoSeat::Closing, "there is room");
                2
            }
        })
    });
    assert!(gate.begin_close(), "the closer has room");
    room(gate.view());
    let sits = sits.map(|one| one.join().expect("no panic"));
    assert_ne!(sits, [1, 1], "one of them has room");
    assert_ne!(sits, [0, 0], "and is not refused it");
    let present = gate.view().present();
    assert_eq!(present, 2 + sits.iter().filter(|sits| **sits == 1).count(), "none is lost, and the closer is one");
}

fn the_field() {
    fn counts<const SEATS: usize, const ROOM: usize>(_: &Gate<SEATS, ROOM>) -> (usize, usize) {
        (SEATS, ROOM)
    }
    assert_eq!(counts(&*Life::new(0).gate), ((1 << 12) - 1, usize::MAX >> 16), "neither overflows into the other");
}

/// All seats are taken, or all places but the one of the closer.
fn a_full_field_lets_the_next_in<const ROOM: usize>() {
    let gate = Arc::new(Gate::<1, ROOM>::new());
    gate.sit().expect("a seat is free");
    let by_connections = ROOM == 2;
    if by_connections {
        gate.rise();
    }
    assert_eq!(gate.sit(), Err(NoSeat::Full), "it is full");
    let (its, note) = (Arc::clone(&gate), Note::new());
    let its_note = note.clone();
    let leaves = move || {
        its_note.write();
        assert!(!if by_connections { its.leave() } else { its.stand() }, "it is not the end");
    };
    both(leaves, || {
        let full = gate.view();
        while let Err(none) = gate.sit() {
            assert_eq!(none, NoSeat::Full, "it listens, and more are wanted");
            gate.wait(Deadline::NEVER, &[], &|view| (view.seats(), view.present()) != (full.seats(), full.present()));
        }
        note.read();
    });
    assert_eq!(gate.view().seats(), 1, "the next one sits");
    assert!(gate.begin_close(), "the closer has room");
}

/// The closer continues only when the pause has ended.
fn a_pause_is_ended() {
    let life = Life::new(0);
    let its = life.clone();
    let pauses = move || {
        let view = its.gate.wait(Deadline::NEVER, &[], &|view| view.phase() != Phase::Listening);
        assert_eq!(view.phase(), Phase::Closing, "it is being closed");
        its.begun.read();
    };
    both(pauses, || {
        life.begun.write();
        assert!(life.gate.begin_close(), "no other thread closes");
    });
    life.gate.closed();
    life.leave(0);
    life.is_over();
}

fn a_phase_hands_over() {
    let life = Life::new(0);
    let looks = life.spawn(|life| match life.gate.phase() {
        Phase::Listening => {}
        Phase::Closing => life.begun.read(),
        Phase::Closed => life.closed.read(),
        Phase::Over => life.end.read(),
    });
    life.begun.write();
    assert!(life.gate.begin_close(), "no other thread closes");
    life.closed.write();
    life.gate.closed();
    life.leave(0);
    looks.join().expect("no panic");
    life.is_over();
}
