//! A queue of threads that wait for the same thing. Only the threads at the front actually wait for it.
//!
//! If thousands of threads were in a `select!` on one channel, every change would wake them all, under one lock. Here
//! all but the first few sleep. Each thread that leaves wakes the next, in the order of arrival.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread::{self, Thread};

use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;

/// `FRONT` is the maximum number of threads at the front.
#[derive(Default)]
pub(crate) struct WaitQueue<const FRONT: usize>(Mutex<State>);

#[derive(Default)]
pub(crate) struct State {
    at_front: usize,
    last: u64,
    waiting: VecDeque<(u64, Thread)>,
    /// Called to the front and not awake yet. These threads count as being at the front.
    called: Vec<u64>,
}

impl<const FRONT: usize> WaitQueue<FRONT> {
    /// Waits for a place at the front. A place that is free is given even if the time has passed. `None` if the time
    /// passes first, or if `given_up` returns true when the thread is woken.
    pub(crate) fn enter(&self, until: Deadline, given_up: impl Fn() -> bool) -> Option<Ticket<'_>> {
        enter(&self.0, FRONT, until, &given_up)
    }

    /// Whether no thread is at the front or waits for it.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).at_front == 0
    }

    /// Wakes all waiting threads, which then call `given_up`.
    pub(crate) fn wake_all(&self) {
        for (_, thread) in &lock(&self.0).waiting {
            thread.unpark();
        }
    }
}

fn enter<'a>(
    queue: &'a Mutex<State>,
    front: usize,
    until: Deadline,
    given_up: &dyn Fn() -> bool,
) -> Option<Ticket<'a>> {
    let number = {
        let mut state = lock(queue);
        if state.at_front < front {
            state.at_front += 1;
            return Some(Ticket(queue));
        }
        state.last += 1;
        let number = state.last;
        state.waiting.push_back((number, thread::current()));
        number
    };
    loop {
        // Called before every sleep. A thread that changes its answer to true wakes this thread after that.
        let is_over = given_up() || until.is_over();
        let mut state = lock(queue);
        if let Some(at) = state.called.iter().position(|called| *called == number) {
            state.called.swap_remove(at);
            return Some(Ticket(queue));
        }
        if is_over {
            state.waiting.retain(|(other, _)| *other != number);
            return None;
        }
        drop(state);
        match until.left() {
            None => thread::park(),
            Some(time) => thread::park_timeout(time),
        }
    }
}

/// A place at the front of a [`WaitQueue`]. Dropping it calls the next thread to the front.
pub(crate) struct Ticket<'a>(&'a Mutex<State>);

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.0);
        match state.waiting.pop_front() {
            Some((number, thread)) => {
                state.called.push(number);
                thread.unpark();
            }
            None => state.at_front -= 1,
        }
    }
}
