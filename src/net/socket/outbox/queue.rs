//! The queue of an outbox, as data: what is queued, how much of it is written, and how many bytes may be.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::{fmt, io};

use crate::error::{Cause, Error, Result};
use crate::sync::poison::{Guard, lock};

/// Why [`Outbox::try_send`](crate::net::Outbox::try_send) did not take a message: nothing of it was sent or queued.
#[derive(Debug, Clone)]
pub struct TrySendError(pub(crate) Error);

impl TrySendError {
    /// Whether it is for want of room, so that it can be tried again; otherwise nothing can be written any more.
    pub fn is_full(&self) -> bool {
        self.0.kind() == io::ErrorKind::WouldBlock
    }
}

impl fmt::Display for TrySendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for TrySendError {}

impl From<TrySendError> for io::Error {
    fn from(full: TrySendError) -> io::Error {
        full.0.into()
    }
}

/// The queue itself. Only who has the turn to write takes messages out.
pub(crate) struct Queue {
    pub(crate) state: Mutex<State>,
    /// There is more room, or there will never be any.
    pub(crate) moved: Condvar,
}

pub(crate) struct State {
    pub(crate) messages: VecDeque<Message>,
    /// How much of the first message is written.
    pub(crate) offset: usize,
    /// The first message is being written, or part of it is.
    pub(crate) begun: bool,
    /// What is left of all messages.
    pub(crate) bytes: usize,
    pub(crate) limit: usize,
    /// A writer thread runs, and will look at the queue before it ends.
    pub(crate) has_writer: bool,
    /// How many threads wait for room.
    pub(crate) senders: usize,
    pub(crate) closed: bool,
    /// Messages were given up.
    pub(crate) gave_up: bool,
    /// Our end is queued: nothing can be written behind it.
    pub(crate) ending: bool,
}

pub(crate) struct Message {
    pub(crate) data: Arc<[u8]>,
    /// Not data, but our end.
    pub(crate) end: bool,
}

impl Message {
    pub(crate) fn data(data: Arc<[u8]>) -> Message {
        Message { data, end: false }
    }

    pub(crate) fn end() -> Message {
        Message { data: Arc::new([]), end: true }
    }
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Queue {
        let state = State {
            messages: VecDeque::new(),
            offset: 0,
            begun: false,
            bytes: 0,
            limit,
            has_writer: false,
            senders: 0,
            closed: false,
            gave_up: false,
            ending: false,
        };
        Queue { state: Mutex::new(state), moved: Condvar::new() }
    }

    pub(crate) fn state(&self) -> Guard<'_, State> {
        lock(&self.state)
    }

    /// Nothing more is queued, since our end follows.
    pub(crate) fn begin_end(&self) {
        self.state().ending = true;
    }

    /// It does not follow after all, unless it is queued.
    pub(crate) fn take_back_end(&self) {
        let mut state = self.state();
        state.ending = state.messages.iter().any(|message| message.end);
    }

    /// The connection is closed: nothing of the queue will be written.
    pub(crate) fn abandon(&self) {
        {
            let mut state = self.state();
            state.closed = true;
            state.gave_up |= state.messages.iter().any(|message| !message.end);
            state.bytes = 0;
            state.offset = 0;
            state.begun = false;
            state.messages.clear();
        }
        self.tell_moved();
    }

    /// Wakes those who wait for room. Waking is a system call, so not if nobody does: every connection that ends comes
    /// here.
    pub(crate) fn tell_moved(&self) {
        if self.state().senders > 0 {
            self.moved.notify_all();
        }
    }
}

impl State {
    pub(crate) fn check_room(&self, length: usize, any_size: bool) -> Result<(), TrySendError> {
        if self.bytes + length <= self.limit || length == 0 || (any_size && self.messages.is_empty()) {
            return Ok(());
        }
        let text = format!("{length} bytes do not fit: {} of {} are queued", self.bytes, self.limit);
        Err(TrySendError(Error::of_cause(Cause::Full, text)))
    }

    /// Takes the first message out.
    pub(crate) fn pop(&mut self) {
        if let Some(first) = self.messages.pop_front() {
            self.bytes -= first.data.len() - self.offset;
            self.offset = 0;
            self.begun = false;
        }
    }

    /// Throws away the messages that are not begun. An end stays.
    pub(crate) fn clear(&mut self) {
        let keep = usize::from(self.begun);
        let (ends, dropped): (Vec<_>, Vec<_>) = self.messages.drain(keep..).partition(|message| message.end);
        self.messages.extend(ends);
        self.bytes -= dropped.iter().map(|message| message.data.len()).sum::<usize>();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.state().bytes).finish_non_exhaustive()
    }
}
