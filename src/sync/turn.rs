//! A turn that only one thread has at any time. A thread that takes the turn again and again can hand it to a waiting
//! thread.
//!
//! With a std mutex, that thread would take it again before a waiting thread is awake.

use std::convert::Infallible;
use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::sync::poison::{Counted, lock, wait};

const FREE: usize = 0;
const TAKEN: usize = 1;
/// Taken. The thread that returns the turn wakes a waiting thread.
const WANTED: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct Turn {
    word: AtomicUsize,
    waiting: Mutex<Waiting>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    threads: usize,
    /// The turn belongs to the next waiting thread that wakes.
    is_handed_over: bool,
}

impl Turn {
    pub(crate) fn take(&self) -> Taken<'_> {
        self.try_take().unwrap_or_else(|| match self.wait(&mut || Ok::<_, Infallible>(None)) {
            Ok(taken) => taken,
            Err(never) => match never {},
        })
    }

    /// Waits for the turn. `left` returns how long to wait each time, and its error ends the wait.
    #[cold]
    pub(crate) fn wait<E>(&self, left: &mut dyn FnMut() -> Result<Option<Duration>, E>) -> Result<Taken<'_>, E> {
        let mut waiting = lock(&self.waiting);
        waiting.threads += 1;
        let result = loop {
            if self.word.swap(WANTED, SeqCst) == FREE {
                break Ok(());
            }
            match left() {
                Ok(time) => waiting = wait(&self.freed, waiting, time),
                // The word still says that a thread waits. That costs one notification if none does.
                Err(error) => break Err(error),
            }
            // Not checked before the wait, because the turn is handed to a thread that already waits.
            if mem::take(&mut waiting.is_handed_over) {
                break Ok(());
            }
        };
        waiting.threads -= 1;
        result.map(|()| Taken::of(self))
    }

    /// Wakes one of the waiting threads.
    #[cold]
    fn wake(&self) {
        let _waiting = lock(&self.waiting);
        self.freed.notify_one();
    }

    /// Takes the turn, unless a different thread has it.
    #[inline]
    pub(crate) fn try_take(&self) -> Option<Taken<'_>> {
        self.word.compare_exchange(FREE, TAKEN, SeqCst, SeqCst).ok().map(|_| Taken::of(self))
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.word.load(SeqCst) != FREE
    }

    /// How many threads wait for it.
    #[allow(dead_code, reason = "asked by the models alone")]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.waiting).threads
    }
}

/// The turn. Dropping it returns the turn.
pub(crate) struct Taken<'a> {
    /// `None` once it has been handed over.
    turn: Option<&'a Turn>,
    _counted: Counted,
}

impl<'a> Taken<'a> {
    fn of(turn: &'a Turn) -> Taken<'a> {
        Taken { turn: Some(turn), _counted: Counted::one() }
    }

    /// Hands the turn to a waiting thread, if there is one. No other thread can take it in between, not even this one.
    pub(crate) fn hand_over(mut self) {
        let Some(turn) = self.turn else { return };
        let mut waiting = lock(&turn.waiting);
        if waiting.threads > 0 {
            self.turn = None;
            waiting.is_handed_over = true;
            turn.freed.notify_one();
        }
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(turn) = self.turn else { return };
        if turn.word.swap(FREE, SeqCst) == WANTED {
            turn.wake();
        }
    }
}
