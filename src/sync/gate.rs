//! The state of a server in one word: its phase, which only rises; whether it is being served; whether a thread waits
//! for a change; how many threads are at the listener; and how many connections are present. A thread at the listener
//! holds a "seat". A connection is "present" from the moment it is accepted until it has ended.
//!
//! Because all of this is in one word, "closed, and no connection is present" is one value that is reached in one
//! atomic step. The thread that makes this step reports that the server has ended. A presence comes only from a seat,
//! or from the thread that closes the server. It is counted once, however many threads hold it.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Condvar, Mutex};

use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, wait};

/// How far the server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It admits clients.
    Listening,
    /// A thread is closing the listener. A thread with a seat may still bring a client.
    Closing,
    /// The listener is closed. A thread that has not noticed this yet brings clients that are refused.
    Closed,
    /// No connection was present any more, and the end of the server has been reported.
    Over,
}

const PHASE: usize = 0b11;
const CLAIMED: usize = 1 << 2;
const WAITED: usize = 1 << 3;
const SEAT: usize = 1 << 4;
const PRESENT: usize = 1 << 16;

/// The parts of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View(usize);

impl View {
    pub(crate) fn phase(self) -> Phase {
        match self.0 & PHASE {
            0 => Phase::Listening,
            1 => Phase::Closing,
            2 => Phase::Closed,
            _ => Phase::Over,
        }
    }

    /// How many threads have a seat. They are in accept(2), or about to be.
    pub(crate) fn seats(self) -> usize {
        self.0 % PRESENT / SEAT
    }

    /// How many connections, refused clients and closing threads have not ended.
    pub(crate) fn present(self) -> usize {
        self.0 / PRESENT
    }

    /// Whether no client can come any more, and at most `excused` connections are present.
    pub(crate) fn is_left_to(self, excused: usize) -> bool {
        self.phase() >= Phase::Closed && self.seats() == 0 && self.present() <= excused
    }
}

/// Why a thread gets no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// The server is being closed, or is closed.
    Closing,
    /// The word cannot count one more. The caller pauses.
    Full,
}

/// See the module's documentation. The word counts at most `SEATS` and `ROOM`.
pub(crate) struct Gate<const SEATS: usize = { PRESENT / SEAT - 1 }, const ROOM: usize = { usize::MAX / PRESENT }> {
    word: AtomicUsize,
    waiting: Mutex<Waiting>,
    moved: Condvar,
}

#[derive(Default)]
struct Waiting {
    threads: usize,
    /// The numbers of the connections whose own threads wait. A connection that waits on several threads is here
    /// several times.
    inside: Vec<usize>,
    /// How often these waits were ended because only such connections were left.
    round: u64,
}

impl Waiting {
    fn excused(&self) -> usize {
        let mut excused = 0;
        for (n, number) in self.inside.iter().enumerate() {
            excused += usize::from(!self.inside[..n].contains(number));
        }
        excused
    }
}

impl<const SEATS: usize, const ROOM: usize> Gate<SEATS, ROOM> {
    pub(crate) fn new() -> Self {
        Gate { word: AtomicUsize::new(0), waiting: Mutex::default(), moved: Condvar::new() }
    }

    pub(crate) fn view(&self) -> View {
        View(self.word.load(SeqCst))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.view().phase()
    }

    /// Claims the server for one caller. Returns whether it was unclaimed.
    pub(crate) fn claim(&self) -> bool {
        self.word.fetch_or(CLAIMED, SeqCst) & CLAIMED == 0
    }

    pub(crate) fn unclaim(&self) {
        self.word.fetch_and(!CLAIMED, SeqCst);
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.word.load(SeqCst) & CLAIMED != 0
    }

    /// Takes a seat at the listener. It also reserves room for a client that the thread may bring.
    pub(crate) fn sit(&self) -> Result<(), NoSeat> {
        let mut word = self.word.load(SeqCst);
        loop {
            let view = View(word);
            if view.phase() != Phase::Listening {
                return Err(NoSeat::Closing);
            }
            // One is reserved for the thread that closes.
            if view.seats() == SEATS || view.seats() + view.present() + 1 >= ROOM {
                return Err(NoSeat::Full);
            }
            match self.word.compare_exchange_weak(word, word + SEAT, SeqCst, SeqCst) {
                Ok(before) => {
                    self.tell(before);
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
    }

    /// Leaves the seat with a client. In the same step the client becomes present. Returns the word after this step.
    pub(crate) fn rise(&self) -> View {
        let before = self.word.fetch_add(PRESENT - SEAT, SeqCst);
        self.tell(before);
        View(before + PRESENT - SEAT)
    }

    /// Leaves the seat without a client. Returns whether the server has ended with this, which the caller must report.
    #[must_use]
    pub(crate) fn stand(&self) -> bool {
        self.lower(SEAT)
    }

    /// Makes one connection no longer present. Returns whether the server has ended with this, which the caller must
    /// report.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        self.lower(PRESENT)
    }

    /// Begins to close, and counts the caller as present. Returns whether the caller is the first to close.
    pub(crate) fn begin_close(&self) -> bool {
        let closing = |word| (View(word).phase() == Phase::Listening).then_some(word + 1 + PRESENT);
        let changed = self.word.fetch_update(SeqCst, SeqCst, closing);
        changed.is_ok_and(|before| {
            self.tell(before);
            true
        })
    }

    /// Records that the listener is closed. The thread for which `begin_close` returned true calls this, while it is
    /// still present.
    pub(crate) fn closed(&self) {
        let before = self.word.fetch_add(1, SeqCst);
        self.tell(before);
    }

    /// Records that the end has been reported. The thread for which `leave` or `stand` returned true calls this.
    pub(crate) fn over(&self) {
        let before = self.word.fetch_add(1, SeqCst);
        self.tell(before);
    }

    /// Blocks until `done` returns true or the time is up. `own` lists the connections that the caller acts for. The
    /// wait does not count them. Once only such connections are left, all of these waits end.
    pub(crate) fn wait(&self, until: Deadline, own: &[usize], done: &dyn Fn(View) -> bool) -> View {
        let mut waiting = lock(&self.waiting);
        waiting.threads += 1;
        waiting.inside.extend_from_slice(own);
        let round = waiting.round;
        self.word.fetch_or(WAITED, SeqCst);
        loop {
            let view = self.view();
            if done(view) {
                break;
            }
            if !own.is_empty() {
                if view.is_left_to(waiting.excused()) {
                    waiting.round += 1;
                    self.moved.notify_all();
                }
                if waiting.round != round {
                    break;
                }
            }
            if until.is_over() {
                break;
            }
            waiting = wait(&self.moved, waiting, until.left());
        }
        for number in own {
            let at = waiting.inside.iter().position(|other| other == number).expect("it was put there above");
            waiting.inside.swap_remove(at);
        }
        waiting.threads -= 1;
        if waiting.threads == 0 {
            self.word.fetch_and(!WAITED, SeqCst);
        }
        self.view()
    }

    /// The numbers of the connections whose own threads wait.
    #[allow(dead_code, reason = "asked by the models alone")]
    pub(crate) fn inside(&self) -> Vec<usize> {
        lock(&self.waiting).inside.clone()
    }

    fn lower(&self, by: usize) -> bool {
        let before = self.word.fetch_sub(by, SeqCst);
        self.tell(before);
        let now = View(before - by);
        now.phase() == Phase::Closed && now.is_left_to(0)
    }

    /// Wakes the threads that wait. A waiting thread sets its bit and reads the word under the lock. So either it sees
    /// the step that returned `before`, or that step saw its bit.
    fn tell(&self, before: usize) {
        if before & WAITED != 0 {
            let _waiting = lock(&self.waiting);
            self.moved.notify_all();
        }
    }
}
