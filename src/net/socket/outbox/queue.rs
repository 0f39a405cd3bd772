//! The queue of an outbox: its messages, how much of them is written, and the threads that wait.
//!
//! While the queue has work, a writer thread runs. It starts and leaves while the lock of the queue is held. This file
//! uses only std, so that loom can try every order of threads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::net::socket::outbox::message::Message;
use crate::sync::poison::{Guard, lock, wait};

/// The least that a message counts, in bytes: about its own memory use.
const LEAST: usize = 64;

/// How many messages one write sends at most.
const BATCH: usize = 64;

/// How many bytes one write of several messages sends at most. Room is free again only after the write, and what is
/// being written cannot be cleared.
const BATCH_BYTES: usize = 16 * 1024;

/// For how many messages an empty queue keeps memory.
const KEPT: usize = 64;

pub(crate) struct Queue {
    state: Mutex<State>,
    /// Threads wait here for room, or for the end of the work.
    moved: Condvar,
}

pub(crate) struct State {
    messages: VecDeque<Queued>,
    /// How many bytes of the first message are written.
    offset: usize,
    /// How many messages a thread is writing. The thread has the turn.
    begun: usize,
    /// How many bytes the messages count, without the bytes already written.
    bytes: usize,
    limit: usize,
    end: End,
    life: Life,
    has_writer: bool,
    /// How many threads wait for a change.
    waiting: usize,
}

struct Queued {
    message: Message,
    /// The message was given together with the message before it, and is discarded only together with that one.
    follows: bool,
}

/// The end of our direction. Nothing is queued after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// A thread is ending our direction, or has ended it.
    Begun,
    /// The end is queued.
    Queued,
}

/// Whether the connection is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// Closed, and nothing was discarded.
    Closed,
    /// Closed while a thread was writing all that was queued: so many bytes. The kernel may have taken them already.
    /// The thread will say how many it took.
    Unclear(usize),
    /// Closed, and messages or the end of our direction were discarded.
    GaveUp,
}

#[derive(Debug)]
pub(crate) enum NotTaken<E> {
    Whole(E),
    /// Part of the message is sent, and no thread can be started to write the rest.
    Torn(E),
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Queue {
        let state = State {
            messages: VecDeque::new(),
            offset: 0,
            begun: 0,
            bytes: 0,
            limit,
            end: End::Open,
            life: Life::Open,
            has_writer: false,
            waiting: 0,
        };
        Queue { state: Mutex::new(state), moved: Condvar::new() }
    }

    pub(crate) fn state(&self) -> Guard<'_, State> {
        lock(&self.state)
    }

    // ---- for threads that send

    /// Takes all the messages or none of them. No message is empty, and their bytes can be counted.
    ///
    /// `ask` gets the state and whether there is room. It returns how long to wait for room, or an error. `write_now`
    /// is called if nothing is queued, and returns how many bytes it has written. `start` starts a writer.
    pub(crate) fn push<E>(
        &self,
        messages: &[Message],
        mut ask: impl FnMut(&State, bool) -> Result<Option<Duration>, E>,
        write_now: impl FnOnce() -> Result<usize, E>,
        start: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), NotTaken<E>> {
        let needed = messages.iter().map(|message| size(message.len())).sum();
        let mut state = self.state();
        loop {
            let has_room = state.has_room(needed);
            let time = ask(&state, has_room).map_err(NotTaken::Whole)?;
            if has_room {
                break;
            }
            state = self.wait(state, time);
        }
        // Written under the lock, so that no other message comes in between, and no thread sees more queued than
        // allowed.
        let mut written = if state.messages.is_empty() { write_now().map_err(NotTaken::Whole)? } else { 0 };
        let is_torn = written > 0;
        let mut left = messages.iter();
        while let Some(first) = left.as_slice().first().filter(|first| first.len() <= written) {
            written -= first.len();
            left.next();
        }
        if left.len() == 0 {
            return Ok(());
        }
        if !state.has_writer {
            match start() {
                Ok(()) => state.has_writer = true,
                Err(error) if is_torn => {
                    state.life = Life::GaveUp;
                    return Err(NotTaken::Torn(error));
                }
                Err(error) => return Err(NotTaken::Whole(error)),
            }
        }
        let first = messages.len() - left.len();
        for (nth, message) in messages.iter().enumerate().skip(first) {
            state.bytes += size(message.len());
            state.messages.push_back(Queued { message: message.clone(), follows: nth > 0 });
        }
        state.advance(written);
        Ok(())
    }

    /// Queues the end of our direction. If nothing is queued, calls `end_now`, which returns whether it has ended our
    /// direction. Does nothing if the end is queued already, or the connection is closed.
    pub(crate) fn push_end<E>(
        &self,
        end_now: impl FnOnce() -> Result<bool, E>,
        start: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state();
        if state.end == End::Queued || state.life != Life::Open {
            return Ok(());
        }
        if state.messages.is_empty() && end_now()? {
            state.end = End::Begun;
            return Ok(());
        }
        if !state.has_writer {
            start()?;
            state.has_writer = true;
        }
        state.end = End::Queued;
        Ok(())
    }

    /// Waits for a change, for at most `time`.
    pub(crate) fn wait<'a>(&'a self, mut state: Guard<'a, State>, time: Option<Duration>) -> Guard<'a, State> {
        state.waiting += 1;
        state = wait(&self.moved, state, time);
        state.waiting -= 1;
        state
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        let mut state = self.state();
        state.limit = limit;
        self.tell_moved(&state);
    }

    /// Discards messages that no thread is writing or has written a part of, and that were not given together with one
    /// that is. A queued end stays.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        let mut kept = state.begun.max(usize::from(state.offset > 0));
        while state.messages.get(kept).is_some_and(|queued| queued.follows) {
            kept += 1;
        }
        let dropped = state.messages.split_off(kept);
        for queued in &dropped {
            state.bytes -= size(queued.message.len());
        }
        self.tell_moved(&state);
        drop(state);
        drop(dropped);
    }

    // ---- for the thread that has the turn

    /// Returns the next messages to write, and how many bytes of the first are already written. `left` is how many
    /// messages the thread writes in all. Those returned are subtracted. If there are any, the thread must call
    /// `wrote`.
    pub(crate) fn begin(&self, left: &mut usize) -> (Vec<Message>, usize) {
        let mut state = self.state();
        // If the queue was cleared and others were queued, `left` may end inside messages that were given together.
        while state.messages.get(*left).is_some_and(|queued| queued.follows) {
            *left += 1;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for Queued { message, .. } in state.messages.iter().take(BATCH.min(*left)) {
            bytes += message.len();
            if !batch.is_empty() && bytes > BATCH_BYTES {
                break;
            }
            batch.push(message.clone());
        }
        state.begun = batch.len();
        *left -= batch.len();
        (batch, state.offset)
    }

    /// Removes `bytes` that were written. Called once for each `begin`, also if nothing was written.
    pub(crate) fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        state.begun = 0;
        if let Life::Unclear(all) = state.life {
            state.life = if bytes == all { Life::Closed } else { Life::GaveUp };
        }
        state.advance(bytes);
        self.tell_moved(&state);
    }

    /// Whether our direction must be ended now. The end stays queued until `ended` is called.
    pub(crate) fn ends_now(&self) -> bool {
        let state = self.state();
        state.end == End::Queued && state.messages.is_empty()
    }

    /// The queued end was sent.
    pub(crate) fn ended(&self) {
        let mut state = self.state();
        state.end = End::Begun;
        self.tell_moved(&state);
    }

    /// The thread is about to end our direction. Nothing is queued any more.
    pub(crate) fn begin_end(&self) {
        let mut state = self.state();
        if state.end == End::Open {
            state.end = End::Begun;
        }
    }

    /// The thread does not end our direction after all. A queued end stays.
    pub(crate) fn take_back_end(&self) {
        let mut state = self.state();
        if state.end == End::Begun {
            state.end = End::Open;
        }
    }

    /// For the writer thread: whether it leaves, because there is no work.
    pub(crate) fn leave(&self) -> bool {
        let mut state = self.state();
        state.has_writer = state.has_work();
        !state.has_writer
    }

    /// The connection is closed, and nothing queued will be written. `is_end_sent`: a queued end is not lost, because the
    /// FIN was sent or the close sends it.
    pub(crate) fn abandon(&self, is_end_sent: bool) {
        let mut state = self.state();
        let dropped = std::mem::take(&mut state.messages);
        if is_end_sent {
            state.end = End::Begun;
        }
        if state.life == Life::Open {
            let length: usize = dropped.iter().map(|queued| queued.message.len()).sum();
            state.life = match length - state.offset {
                _ if state.end == End::Queued => Life::GaveUp,
                0 => Life::Closed,
                left if state.begun == dropped.len() => Life::Unclear(left),
                _ => Life::GaveUp,
            };
        }
        (state.bytes, state.offset, state.begun) = (0, 0, 0);
        self.tell_moved(&state);
        drop(state);
        drop(dropped);
    }

    /// Wakes waiting threads. Waking is a system call, and every connection that closes calls this. So it is skipped if
    /// no thread waits.
    fn tell_moved(&self, state: &State) {
        if state.waiting > 0 {
            self.moved.notify_all();
        }
    }
}

impl State {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the end of our direction is queued, or a thread is ending it.
    pub(crate) fn is_ending(&self) -> bool {
        self.end != End::Open
    }

    pub(crate) fn gave_up(&self) -> bool {
        self.life == Life::GaveUp
    }

    /// Whether there is no work, and it is known what was written.
    pub(crate) fn is_settled(&self) -> bool {
        !self.has_work() && !matches!(self.life, Life::Unclear(_))
    }

    pub(crate) fn has_work(&self) -> bool {
        self.life == Life::Open && (!self.messages.is_empty() || self.end == End::Queued)
    }

    /// An empty queue has room for any message.
    fn has_room(&self, size: usize) -> bool {
        self.messages.is_empty() || self.bytes.checked_add(size).is_some_and(|bytes| bytes <= self.limit)
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(first) = self.messages.front() {
            let left = first.message.len() - self.offset;
            self.bytes -= size(left);
            if bytes < left {
                self.offset += bytes;
                self.bytes += size(left - bytes);
                return;
            }
            bytes -= left;
            // The writing thread has a clone, which it drops without the lock.
            self.messages.pop_front();
            self.offset = 0;
            if bytes == 0 {
                break;
            }
        }
        if self.messages.is_empty() && self.messages.capacity() > KEPT {
            self.messages = VecDeque::new();
        }
    }
}

/// Whether the bytes of all these messages can be counted. On 32 bits, those of several clones of a long message may be
/// too many.
pub(crate) fn can_be_counted(messages: &[Message]) -> bool {
    messages.iter().try_fold(0, |sum: usize, message| sum.checked_add(size(message.len()))).is_some()
}

/// What a message of this length counts.
fn size(length: usize) -> usize {
    length.max(LEAST)
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.state().bytes).finish_non_exhaustive()
    }
}
