//! Writes that do not wait: what the kernel does not take at once is queued, and a thread writes it as long as there is
//! any.
//!
//! The queue belongs to the thread that has the turn to write: the writer thread, or any other writer, which first
//! writes what was queued before. So everything goes out in the order it was given, each message whole.

pub(crate) mod queue;

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::error::{Cause, Error, Result};
use crate::net::socket::Socket;
use crate::net::socket::connection::{Connection, destroyed};
use crate::net::socket::outbox::queue::{Message, TrySendError};
use crate::net::socket::timers::Direction;
use crate::net::socket::write::{WriteGuard, written_after_end};
use crate::sync::poison::wait;
use crate::thread::Builder;

/// The queue of writes of a [`Socket`], made by [`Socket::outbox`]: for those who must not block, or write to many.
///
/// A message is handed over to the kernel at once if it has room and nothing is queued. What is left is queued, up to a
/// limit in bytes, and written by a thread that lives only while something is queued. Blocking writes of the same
/// socket wait until what was queued before them is out, and so does [`end`](Socket::end).
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
    connection: Arc<Connection>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} {}, {} bytes queued)", self.connection.id, self.connection.remote, self.pending())
    }
}

impl Socket {
    /// Its queue of writes.
    pub fn outbox(&self) -> Outbox {
        Outbox { connection: Arc::clone(&self.connection) }
    }
}

impl Outbox {
    /// Sends a message without blocking: all of it, part at once and the rest queued, or none. Of text these are its
    /// `as_bytes()`; one `Arc<[u8]>` for many receivers is not copied.
    ///
    /// # Errors
    /// `TrySendError` if it does not fit in the queue's limit together with what is queued, if a thread to write it
    /// cannot be started, or if the socket is closed or ended; [`TrySendError::is_full`] tells.
    #[doc(alias = "write")]
    pub fn try_send(&self, message: impl Into<Arc<[u8]>>) -> Result<(), TrySendError> {
        self.push(Message::data(message.into()), false)
    }

    /// Sends a message, waiting for room in the queue; a message that is longer than the limit waits until nothing is
    /// queued. Blocks until then, and no longer: it does not wait until the message is written.
    ///
    /// # Errors
    /// `BrokenPipe` or `NotConnected` if nothing can be written any more; `TimedOut` once the socket's deadline is
    /// over. `WouldBlock` if a thread to write it cannot be started.
    pub fn send(&self, message: impl Into<Arc<[u8]>>) -> io::Result<()> {
        let message = message.into();
        loop {
            self.wait_for_room(message.len())?;
            match self.push(Message::data(Arc::clone(&message)), true) {
                Err(full) if full.0.has(Cause::Full) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Blocks until nothing is queued, writing on this thread what is.
    ///
    /// # Errors
    /// Those of [`Socket::write_all`]; `NotConnected`, or `TimedOut` once the socket's deadline is over, too if the
    /// connection was closed before all was out.
    #[doc(alias = "drain")]
    pub fn flush(&self) -> io::Result<()> {
        self.connection.turn().flush()?;
        self.check_kept()
    }

    /// Ends our direction when all that is queued is out, without blocking: [`Socket::end`] later.
    ///
    /// # Errors
    /// `TrySendError` if a thread to do it cannot be started. A socket that is ended or closed already is no error.
    #[doc(alias = "destroySoon")]
    pub fn end(&self) -> Result<(), TrySendError> {
        if self.connection.we_ended() || self.connection.is_closed() {
            return Ok(());
        }
        self.push(Message::end(), true)
    }

    /// How many bytes are queued, those of the message that is being written included.
    #[doc(alias = "writableLength")]
    #[doc(alias = "bufferSize")]
    pub fn pending(&self) -> usize {
        self.connection.queue().state().bytes
    }

    /// Throws away the messages that no thread has begun to write, as a game does with the last frame when it has a new
    /// one.
    pub fn clear(&self) {
        let queue = self.connection.queue();
        queue.state().clear();
        queue.tell_moved();
    }

    /// How many bytes may be queued.
    #[doc(alias = "writableHighWaterMark")]
    pub fn limit(&self) -> usize {
        self.connection.queue().state().limit
    }

    /// Changes how many bytes may be queued, from the next message on. Default: 1 MiB, or what
    /// [`outbox_limit`](crate::net::SocketOptions::outbox_limit) set.
    pub fn set_limit(&self, bytes: usize) {
        self.connection.queue().state().limit = bytes;
        self.connection.queue().tell_moved();
    }

    fn wait_for_room(&self, length: usize) -> io::Result<()> {
        let (queue, timers) = (self.connection.queue(), &self.connection.timers);
        let limits = timers.begin(Direction::Write);
        let mut state = queue.state();
        while !state.closed && state.check_room(length, true).is_err() {
            let left = match timers.left(&limits, Some(timers.told())) {
                Ok(left) => left.unwrap_or(Duration::from_secs(3600)),
                Err(error) => return Err(error),
            };
            state.senders += 1;
            state = wait(&queue.moved, state, Some(left));
            state.senders -= 1;
        }
        if state.closed {
            // The writer may have met the deadline first, and closed it for that.
            timers.left(&limits, Some(timers.told()))?;
        }
        Ok(())
    }

    /// The error if the connection was closed before all was out.
    fn check_kept(&self) -> io::Result<()> {
        if !self.connection.queue().state().gave_up {
            return Ok(());
        }
        // The writer may have met the deadline first, and closed it for that.
        let timers = &self.connection.timers;
        timers.left(&timers.begin(Direction::Write), Some(timers.told()))?;
        Err(destroyed("write").into())
    }

    /// Hands the message to the kernel, as far as that goes at once, and queues the rest.
    fn push(&self, message: Message, any_size: bool) -> Result<(), TrySendError> {
        let queue = self.connection.queue();
        let turn = self.connection.try_turn();
        {
            let mut state = queue.state();
            let ending = |()| if state.ending { Err(written_after_end()) } else { Ok(()) };
            match self.connection.check_writable().and_then(ending) {
                Err(_) if message.end => return Ok(()),
                Err(error) => return Err(TrySendError(Error::told_by(&error))),
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
                    if let Err(error) = start_writer(&self.connection) {
                        state.messages.pop_back();
                        state.bytes -= length;
                        state.ending = false;
                        return Err(TrySendError(Error::call("spawn", &error)));
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
    fn write_at_once(&self, turn: WriteGuard<'_>, message: Message) -> Result<(), TrySendError> {
        let queue = self.connection.queue();
        if message.end {
            // Nothing was queued, and nothing is from here on.
            return turn.end_now().map_err(|error| TrySendError(Error::told_by(&error)));
        }
        let written = turn.write_now(&message.data).map_err(|error| TrySendError(Error::told_by(&error)))?;
        if written == message.data.len() {
            return Ok(());
        }
        let mut state = queue.state();
        if state.closed {
            return Err(TrySendError(destroyed("write")));
        }
        // To the front: others may have queued theirs meanwhile, since this one holds the turn.
        state.bytes += message.data.len() - written;
        state.begun = written > 0;
        state.offset = written;
        state.messages.push_front(message);
        if !state.has_writer {
            if let Err(error) = start_writer(&self.connection) {
                let error = Error::call("spawn", &error);
                if written == 0 {
                    state.pop();
                    return Err(TrySendError(error));
                }
                // Part of a message is out and nobody will write the rest: the connection cannot be kept.
                drop(state);
                drop(turn);
                self.connection.fail(&error);
                return Err(TrySendError(error));
            }
            state.has_writer = true;
        }
        Ok(())
    }
}

/// Starts the thread that writes as long as there is anything queued. It ends with the queue or with the connection.
fn start_writer(connection: &Arc<Connection>) -> io::Result<()> {
    let connection = Arc::clone(connection);
    let name = format!("landline outbox {}", connection.remote);
    // It may tell the report hook of a failed write when its connection has long ended, and then the server is not
    // over.
    let owner = connection.owner();
    Builder::new(name, Some(128 * 1024))?.spawn(move || {
        // Dropped last, after the connection.
        let owner = owner;
        let connection = connection;
        let _frame = owner.as_ref().map(|owner| owner.frame());
        let queue = connection.queue();
        loop {
            // One message a turn, so that other writers get theirs. The turn is over before a failure is reported,
            // since the hook may write to the socket, or end it.
            let result = connection.turn().write_queued(1);
            match result {
                Err(error) if Error::is_tick(&error) => {}
                // Closed or ended by us: what was sent too late is given up, and nothing has failed.
                Err(_) if connection.check_writable().is_err() => queue.abandon(),
                Err(error) => connection.fail(&Error::told_by(&error)),
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
