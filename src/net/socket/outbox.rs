//! Writes that do not wait: what the kernel does not take at once is queued, and a thread writes it as long as there is any.
//!
//! The queue belongs to whoever has the turn to write: the writer thread, or any other writer, which first writes what was
//! queued before. So everything goes out in the order it was given, each message whole.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use crate::error::{Error, Result};
use crate::net::socket::Socket;
use crate::net::socket::connection::{Core, destroyed};
use crate::net::socket::timers::{Direction, is_idle};
use crate::net::socket::write::{Turn, written_after_end};
use crate::report::guarded;
use crate::sync::poison::lock;
use crate::thread::Builder;

/// The queue of writes of a [`Socket`], made by [`Socket::outbox`]: for those who must not block, or write to many.
///
/// A message is handed over to the kernel at once if it has room and nothing is queued. What is left is queued, up to a
/// limit in bytes, and written by a thread that lives only while something is queued. Blocking writes of the same socket
/// wait until what was queued before them is out, and so does [`end`](Socket::end).
///
/// ```
/// use landline::net::{Server, Socket};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let socket = Socket::connect(server.address())?;
/// let slow = server.accept()?.expect("the server is open");
///
/// while slow.outbox().try_send(*b"frame").is_ok() {} // until the kernel is full, and then the queue
/// assert!(slow.outbox().pending() > 1_000_000);
/// slow.destroy(); // it reads too slowly: drop it
/// # drop(socket);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Outbox {
    core: Arc<Core>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} {}, {} bytes queued)", self.core.id, self.core.remote, self.pending())
    }
}

/// Why [`Outbox::try_send`] did not take a message: nothing of it was sent or queued.
#[derive(Debug, Clone)]
pub struct Full(Error);

impl Full {
    /// Whether it is for want of room, so that it can be tried again; otherwise nothing can be written any more.
    pub fn is_full(&self) -> bool {
        self.0.kind() == io::ErrorKind::WouldBlock
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Full {}

impl From<Full> for io::Error {
    fn from(full: Full) -> io::Error {
        full.0.into()
    }
}

/// What a completion is told.
pub(crate) type Then = Box<dyn FnOnce(io::Result<()>) + Send>;

impl Socket {
    /// Its queue of writes.
    pub fn outbox(&self) -> Outbox {
        Outbox { core: Arc::clone(&self.core) }
    }
}

impl Outbox {
    /// Sends a message without blocking: all of it, part at once and the rest queued, or none.
    ///
    /// # Errors
    /// `Full` if it does not fit in the queue's limit together with what is queued, if a thread to write it cannot be
    /// started, or if the socket is closed or ended; [`Full::is_full`] tells.
    #[doc(alias = "write")]
    pub fn try_send(&self, message: impl Into<Arc<[u8]>>) -> Result<(), Full> {
        self.queue(message.into(), None, false)
    }

    /// As [`try_send`](Self::try_send); `then` is called once when the kernel has taken the whole message, or when it is
    /// clear that it will not: on this thread, before this returns, if that is at once, otherwise on the thread that
    /// wrote it or gave it up. It must not block for long, since others wait behind it. Not called if this fails.
    ///
    /// # Errors
    /// Those of `try_send`.
    pub fn try_send_then(
        &self,
        message: impl Into<Arc<[u8]>>,
        then: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> Result<(), Full> {
        self.queue(message.into(), Some(Box::new(then)), false)
    }

    /// Sends a message, waiting for room in the queue; a message that is longer than the limit waits until nothing is
    /// queued. Blocks until then, and no longer: it does not wait until the message is written.
    ///
    /// # Errors
    /// `BrokenPipe` or `NotConnected` if nothing can be written any more; `TimedOut` once the socket's deadline is over.
    /// `WouldBlock` if a thread to write it cannot be started.
    pub fn send(&self, message: impl Into<Arc<[u8]>>) -> io::Result<()> {
        let message = message.into();
        let queue = self.core.queue();
        loop {
            queue.wait_for_room(&self.core, message.len())?;
            match self.queue(Arc::clone(&message), None, true) {
                Err(full) if full.is_full() && full.0.code() == FULL => {}
                result => return Ok(result?),
            }
        }
    }

    /// Blocks until nothing is queued, writing on this thread what is.
    ///
    /// # Errors
    /// Those of [`Socket::write_all`]; `NotConnected`, or `TimedOut` once the socket's deadline is over, too if the connection
    /// was closed before all was out.
    pub fn flush(&self) -> io::Result<()> {
        self.core.turn().flush()?;
        self.core.queue().check_kept(&self.core)
    }

    /// Ends our direction when all that is queued is out, without blocking: [`Socket::end`] later.
    ///
    /// # Errors
    /// `Full` if a thread to do it cannot be started. A socket that is ended or closed already is no error.
    #[doc(alias = "destroySoon")]
    pub fn end(&self) -> Result<(), Full> {
        if self.core.we_ended() || self.core.is_closed() {
            return Ok(());
        }
        self.push(Message { data: Arc::new([]), then: None, end: true }, true)
    }

    /// How many bytes are queued, those of the message that is being written included.
    #[doc(alias = "writableLength")]
    #[doc(alias = "bufferSize")]
    pub fn pending(&self) -> usize {
        self.core.queue().state().bytes
    }

    /// Throws away the messages that nobody has begun to write, as a game does with the last frame when it has a new one.
    /// Their completions are told `Interrupted`.
    pub fn clear(&self) {
        let queue = self.core.queue();
        let dropped = {
            let mut state = queue.state();
            let keep = usize::from(state.begun);
            let (ends, dropped): (Vec<_>, Vec<_>) = state.messages.drain(keep..).partition(|message| message.end);
            state.messages.extend(ends);
            state.bytes -= dropped.iter().map(|message| message.data.len()).sum::<usize>();
            dropped
        };
        queue.tell_moved();
        for then in dropped.into_iter().filter_map(|message| message.then) {
            guarded(|| then(Err(io::Error::new(io::ErrorKind::Interrupted, "the outbox was cleared"))));
        }
    }

    /// How many bytes may be queued.
    #[doc(alias = "writableHighWaterMark")]
    pub fn limit(&self) -> usize {
        self.core.queue().state().limit
    }

    /// Changes how many bytes may be queued, from the next message on. Default: 1 MiB, or what
    /// [`outbox_limit`](super::SocketOptions::outbox_limit) set.
    pub fn set_limit(&self, bytes: usize) {
        self.core.queue().state().limit = bytes;
        self.core.queue().tell_moved();
    }

    /// Calls `f` each time the last queued byte has been handed to the kernel, on the thread that did it. One at a time; a
    /// new one replaces the old. It is dropped when the connection is closed, so it may hold a handle to it.
    #[doc(alias = "drain")]
    pub fn on_drain(&self, f: impl FnMut() + Send + 'static) {
        let before = {
            let mut state = self.core.queue().state();
            // Of a closed connection nothing is written any more.
            // Whoever closes it takes the callback out of a queue that is there by then, but not of one made after.
            if state.closed || self.core.is_closed() { None } else { state.on_drain.replace(Box::new(f)) }
        };
        // What it holds may call us when it is dropped.
        drop(before);
    }

    fn queue(&self, data: Arc<[u8]>, then: Option<Then>, any_size: bool) -> Result<(), Full> {
        self.push(Message { data, then, end: false }, any_size)
    }

    /// Hands the message to the kernel, as far as that goes at once, and queues the rest.
    fn push(&self, message: Message, any_size: bool) -> Result<(), Full> {
        let queue = self.core.queue();
        let turn = self.core.try_turn();
        {
            let mut state = queue.state();
            let ending = |()| if state.ending { Err(written_after_end()) } else { Ok(()) };
            match self.core.check_writable().and_then(ending) {
                Err(_) if message.end => return Ok(()),
                Err(error) => return Err(Full(Error::told_by(&error))),
                Ok(()) => state.check_room(message.data.len(), any_size)?,
            }
            state.ending = message.end;
            if turn.is_none() || !state.messages.is_empty() {
                // Behind the others. Under the lock: the writer that finds the queue empty leaves under it too.
                drop(turn);
                let length = message.data.len();
                state.bytes += length;
                state.messages.push_back(message);
                if !state.has_writer {
                    if let Err(error) = start_writer(&self.core) {
                        let message = state.messages.pop_back();
                        state.bytes -= length;
                        state.ending = false;
                        // What its completion holds may call us when it is dropped.
                        drop(state);
                        drop(message);
                        return Err(Full(Error::call("spawn", &error)));
                    }
                    state.has_writer = true;
                }
                return Ok(());
            }
        }
        let turn = turn.expect("without the turn, the message was queued");
        self.write_at_once(turn, message)
    }

    /// With the turn and an empty queue.
    fn write_at_once(&self, turn: Turn<'_>, message: Message) -> Result<(), Full> {
        let queue = self.core.queue();
        if message.end {
            // Nothing was queued, and nothing is from here on.
            return turn.end_now().map_err(|error| Full(Error::told_by(&error)));
        }
        let written = turn.write_now(&message.data).map_err(|error| Full(Error::told_by(&error)))?;
        if written == message.data.len() {
            turn.complete(message.then, Ok(()));
            return Ok(());
        }
        let mut state = queue.state();
        if state.closed {
            return Err(Full(destroyed("write")));
        }
        // To the front: others may have queued theirs meanwhile, since this one holds the turn.
        state.bytes += message.data.len() - written;
        state.begun = written > 0;
        state.offset = written;
        state.messages.push_front(message);
        if !state.has_writer {
            if let Err(error) = start_writer(&self.core) {
                let error = Error::call("spawn", &error);
                if written == 0 {
                    state.pop();
                    return Err(Full(error));
                }
                // Part of a message is out and nobody will write the rest: the connection cannot be kept.
                drop(state);
                drop(turn);
                self.core.fail(&error);
                return Err(Full(error));
            }
            state.has_writer = true;
        }
        Ok(())
    }
}

const FULL: &str = "ERR_OUTBOX_FULL";

/// The queue itself. Only who has the turn to write takes messages out.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// There is more room, or there will never be any.
    moved: Condvar,
}

struct State {
    messages: VecDeque<Message>,
    /// How much of the first message is written.
    offset: usize,
    /// The first message is being written, or part of it is.
    begun: bool,
    /// What is left of all messages.
    bytes: usize,
    limit: usize,
    /// A writer thread runs, and will look at the queue before it ends.
    has_writer: bool,
    /// How many threads wait for room.
    senders: usize,
    closed: bool,
    /// Messages were given up.
    gave_up: bool,
    /// Our end is queued: nothing can be written behind it.
    ending: bool,
    on_drain: Option<Box<dyn FnMut() + Send>>,
    /// `on_drain` is running, so it is not in its place.
    telling: bool,
    /// `on_drain` has not been called for the last time the queue became empty.
    drained: bool,
}

struct Message {
    data: Arc<[u8]>,
    then: Option<Then>,
    /// Not data, but our end.
    end: bool,
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
            on_drain: None,
            telling: false,
            drained: false,
        };
        Queue { state: Mutex::new(state), moved: Condvar::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Writes, by the turn's holder, what is queued at this moment; or one message of it. An error leaves the queue as it
    /// is, as far as it is written.
    pub(crate) fn write_out(&self, turn: &Turn<'_>, at_most: usize) -> io::Result<()> {
        let count = self.state().messages.len().min(at_most);
        for _ in 0..count {
            let (data, offset, end) = {
                let mut state = self.state();
                let offset = state.offset;
                let Some(first) = state.messages.front() else {
                    break;
                };
                let next = (Arc::clone(&first.data), offset, first.end);
                state.begun = true;
                next
            };
            let (n, result) = if end { (0, turn.end_now()) } else { turn.write_counted(&data[offset..]) };
            let mut state = self.state();
            if state.closed {
                return Err(destroyed("write").into());
            }
            state.bytes -= n;
            state.offset += n;
            result?;
            let then = state.pop();
            if state.messages.is_empty() {
                turn.drained();
            }
            drop(state);
            self.tell_moved();
            turn.complete(then, Ok(()));
        }
        Ok(())
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

    /// Tells that the queue is empty. The callback is taken out while it runs, so that it may send; what others write out
    /// meanwhile is told of after it.
    pub(crate) fn tell_drained(&self) {
        let mut state = self.state();
        state.drained = true;
        while state.drained && !state.telling {
            state.drained = false;
            let Some(mut on_drain) = state.on_drain.take() else {
                return;
            };
            state.telling = true;
            drop(state);
            guarded(&mut on_drain);
            state = self.state();
            state.telling = false;
            if state.closed || state.on_drain.is_some() {
                drop(state);
                guarded(|| drop(on_drain));
                state = self.state();
            } else {
                state.on_drain = Some(on_drain);
            }
        }
    }

    /// The connection is closed: nothing of the queue will be written.
    pub(crate) fn abandon(&self) {
        let (messages, on_drain) = {
            let mut state = self.state();
            state.closed = true;
            state.gave_up |= state.messages.iter().any(|message| !message.end);
            state.bytes = 0;
            state.offset = 0;
            state.begun = false;
            (std::mem::take(&mut state.messages), state.on_drain.take())
        };
        // It may hold a handle to the connection, which would never go away then. It is the user's, so it may panic, and the
        // connection is closed half-way.
        guarded(|| drop(on_drain));
        self.tell_moved();
        for then in messages.into_iter().filter_map(|message| message.then) {
            guarded(|| then(Err(destroyed("write").into())));
        }
    }

    /// The error if the connection was closed before all was out.
    fn check_kept(&self, core: &Core) -> io::Result<()> {
        if !self.state().gave_up {
            return Ok(());
        }
        // The writer may have met the deadline first, and closed it for that.
        core.timers.left(Direction::Write, core.timers.begin(), Some(core.timers.told()))?;
        Err(destroyed("write").into())
    }

    /// Wakes those who wait for room. Waking is a system call, so not if nobody does: every connection that ends comes here.
    fn tell_moved(&self) {
        if self.state().senders > 0 {
            self.moved.notify_all();
        }
    }

    fn wait_for_room(&self, core: &Core, length: usize) -> io::Result<()> {
        let began = core.timers.begin();
        let mut state = self.state();
        while !state.closed && state.check_room(length, true).is_err() {
            let left = match core.timers.left(Direction::Write, began, Some(core.timers.told())) {
                Ok(left) => left.unwrap_or(Duration::from_secs(3600)),
                Err(error) => return Err(error),
            };
            state.senders += 1;
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.senders -= 1;
        }
        if state.closed {
            // The writer may have met the deadline first, and closed it for that.
            core.timers.left(Direction::Write, began, Some(core.timers.told()))?;
        }
        Ok(())
    }
}

impl State {
    fn check_room(&self, length: usize, any_size: bool) -> Result<(), Full> {
        if self.bytes + length <= self.limit || length == 0 || (any_size && self.messages.is_empty()) {
            return Ok(());
        }
        let text = format!("{length} bytes do not fit: {} of {} are queued", self.bytes, self.limit);
        Err(Full(Error::fixed(io::ErrorKind::WouldBlock, FULL, text)))
    }

    /// Takes the first message out.
    fn pop(&mut self) -> Option<Then> {
        let first = self.messages.pop_front()?;
        self.bytes -= first.data.len() - self.offset;
        self.offset = 0;
        self.begun = false;
        first.then
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.state().bytes).finish_non_exhaustive()
    }
}

/// Starts the thread that writes as long as there is anything queued. It ends with the queue or with the connection.
fn start_writer(core: &Arc<Core>) -> io::Result<()> {
    let core = Arc::clone(core);
    let name = format!("landline outbox {}", core.remote);
    // It may be in a completion when its connection has long ended, and then the server is not over yet.
    let presence = core.presence();
    Builder::new(name, Some(128 * 1024))?.spawn(move || {
        let _presence = presence;
        let queue = core.queue();
        loop {
            // One message a turn, so that other writers get theirs and completions are told soon.
            let turn = core.turn();
            let result = queue.write_out(&turn, 1);
            // Given up first: what is told of the failure may write to the socket, or end it.
            drop(turn);
            match result {
                Err(error) if is_idle(&error) => {}
                // Closed or ended by us: what was sent too late is given up, and nothing has failed.
                Err(_) if core.check_writable().is_err() => queue.abandon(),
                Err(error) => core.fail(&Error::told_by(&error)),
                Ok(()) => {}
            }
            let mut state = queue.state();
            if state.messages.is_empty() {
                state.has_writer = false;
                return;
            }
        }
    })?;
    Ok(())
}
