//! Writes that do not block. What the kernel does not take at once is queued. While the queue is not empty, a thread
//! writes it.
//!
//! The queue belongs to the thread that has the turn to write: the writer thread, or a thread that makes a blocking
//! write and first writes what was queued before. So messages are sent in the order they were given, each one whole.

pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod queue;

use std::sync::Arc;
use std::{fmt, io, slice};

use crate::error::{Cause, Error};
use crate::net::socket::Socket;
use crate::net::socket::connection::Connection;
use crate::net::socket::outbox::error::SendError;
use crate::net::socket::outbox::message::Message;
use crate::net::socket::outbox::queue::{NotTaken, State, can_be_counted};
use crate::net::socket::timers::Direction;
use crate::net::socket::write::written_after_end;
use crate::sync::poison::lock;
use crate::thread::spawn;

/// A queue of messages to write to a [`Socket`], made by [`Socket::outbox`]. Use it in threads that must not block, or
/// that write to many connections.
///
/// If nothing is queued, a message goes to the kernel at once. What the kernel has no room for is queued, up to a limit
/// in bytes. While something is queued, a separate thread writes it. It writes the messages in order and each one
/// whole, and sends many small messages with one system call. Blocking writes and [`end`](Socket::end) on the same
/// socket wait until all earlier messages are written.
///
/// When a handler or [`each`](Socket::each) ends the connection in order, its thread first waits for its turn to write.
/// From then on no message is taken, as after [`end`](Socket::end). Then it writes what is queued, and the connection
/// ends.
///
/// ```
/// use landline::net::{Server, Socket};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let socket = Socket::connect(server.address())?;
/// let slow = server.accept()?.expect("the server is open");
///
/// while slow.outbox().try_send("frame").is_ok() {} // fills the buffers of the kernel, then the queue
/// assert!(slow.outbox().pending() > 1_000_000);
/// slow.destroy(); // this peer reads too slowly
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
    /// Returns the socket's [`Outbox`], for writes that do not block.
    pub fn outbox(&self) -> Outbox {
        Outbox { connection: Arc::clone(&self.connection) }
    }
}

impl Outbox {
    /// Sends a message, text or bytes, without blocking. The message is taken whole or not at all. While nothing is
    /// queued, it may be longer than the limit. To send the same message to many connections without copying it, make a
    /// [`Message`] and clone it.
    ///
    /// # Errors
    /// The queue is full, the writer thread cannot be started, our direction has ended, or the connection is closed or
    /// has failed. [`SendError::is_full`] says whether to try again, and [`SendError::into_message`] returns the
    /// message.
    #[doc(alias = "write")]
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        match self.push(slice::from_ref(&message), false) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError::new(error, message)),
        }
    }

    /// Sends several messages without blocking: all of them or none. No bytes of other threads come between them. If
    /// nothing is queued, they are sent with one system call, except on Windows.
    ///
    /// ```
    /// use landline::net::Message;
    /// # use landline::net::{Server, Socket};
    /// # let server = Server::listen("127.0.0.1:0")?;
    /// # let socket = Socket::connect(server.address())?;
    ///
    /// let body = Message::from("for everyone"); // not copied for each receiver
    /// socket.outbox().try_send_all(&[format!("{}:", body.len()).into(), body])?;
    /// # socket.end()?;
    /// # assert_eq!(std::io::read_to_string(server.accept()?.expect("the server is open"))?, "12:for everyone");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// - `WouldBlock` if the queue is full or the writer thread cannot be started. Try again.
    /// - `WouldBlock` on 32 bits, if the messages have 4 GiB or more together. Send fewer.
    /// - `BrokenPipe` or `NotConnected` if nothing can be written any more.
    #[doc(alias = "writev")]
    pub fn try_send_all(&self, messages: &[Message]) -> io::Result<()> {
        if !can_be_counted(messages) {
            return Err(full(messages, &self.connection.queue().state()));
        }
        if messages.iter().all(|message| !message.is_empty()) {
            return Ok(self.push(messages, false)?);
        }
        let mut messages = messages.to_vec();
        messages.retain(|message| !message.is_empty());
        Ok(self.push(&messages, false)?)
    }

    /// Sends a message. Blocks until the queue has room for it, but not until it is written. For a message longer than
    /// the limit, the call blocks until nothing is queued.
    ///
    /// # Errors
    /// [`SendError::into_message`] returns the message.
    /// - `BrokenPipe`, `ConnectionReset` or `NotConnected` if nothing can be written any more.
    /// - `TimedOut` as in [`Socket::write_all`]. The call uses the timeouts and the deadline as they were when it
    ///   began. After a timeout, try again.
    /// - `WouldBlock` if the writer thread cannot be started.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        match self.push(slice::from_ref(&message), true) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError::new(error, message)),
        }
    }

    /// Blocks until nothing is queued, and until an [`end`](Self::end) that was queued is done. Then everything is
    /// written: the kernel has taken it, and the peer may not have read it yet. Does not wait for a blocking write of
    /// another thread, unless queued messages must wait for that write. If the connection is closed while a thread
    /// writes all that is queued, `flush` waits until that write has returned. The close ends the write, so this is
    /// soon.
    ///
    /// After an `end`, FIN may be sent only later, by a close that is in progress, or never, if the connection is reset
    /// at the same moment. The kernel has taken every byte all the same.
    ///
    /// # Errors
    /// - `TimedOut` as in [`Socket::write_all`]. The call uses the timeouts and the deadline as they were when it
    ///   began. The messages stay queued.
    /// - The system's error, such as `ConnectionReset`, or else `NotConnected`: the connection was closed before
    ///   everything was written, or before a queued `end` was done.
    #[doc(alias = "drain")]
    pub fn flush(&self) -> io::Result<()> {
        let (queue, mut limits) = (self.connection.queue(), self.connection.timers.begin(Direction::Write));
        let mut state = queue.state();
        // A close does not know what a thread has written that is inside the system call. That thread says it.
        while !state.is_settled() {
            let time = limits.left(&mut None)?;
            state = queue.wait(state, time);
        }
        let gave_up = state.gave_up();
        drop(state);
        if gave_up { Err(self.why_closed(self.connection.gone("write").into())) } else { Ok(()) }
    }

    /// Ends our direction as soon as everything that is queued is written. Does not block. Otherwise it is like
    /// [`Socket::end`]. If a [`Socket::end`] in progress on another thread fails, the queued end stays queued.
    ///
    /// # Errors
    /// `WouldBlock` if the writer thread cannot be started. If our direction has ended or the connection is closed
    /// already, `end` succeeds.
    #[doc(alias = "destroySoon")]
    pub fn end(&self) -> io::Result<()> {
        if self.connection.we_ended() || self.connection.is_closed() {
            return Ok(());
        }
        let end_now = || match self.connection.try_turn() {
            Some(turn) => turn.end_now().map(|()| true),
            None => Ok(false),
        };
        self.connection.queue().push_end(end_now, || start_writer(&self.connection))
    }

    /// How many bytes are queued and not written yet, as counted against the [limit](Self::limit). A message shorter
    /// than 64 bytes counts as 64, because each message takes up about that much memory besides its bytes. 0 means that
    /// nothing is queued.
    #[doc(alias = "writableLength")]
    #[doc(alias = "bufferSize")]
    pub fn pending(&self) -> usize {
        self.connection.queue().state().bytes()
    }

    /// Discards the queued messages that no thread has begun to write, for instance the last frame of a game when there
    /// is a new one. A thread takes one message at a time from the queue, or several small ones of at most 16 KiB
    /// together, and every message that it has taken counts as begun. If one of several messages from
    /// [`try_send_all`](Self::try_send_all) has begun, the others of that call are not discarded.
    pub fn clear(&self) {
        self.connection.queue().clear();
    }

    /// How many bytes may be queued. A message longer than the limit is taken only while nothing is queued.
    #[doc(alias = "writableHighWaterMark")]
    pub fn limit(&self) -> usize {
        self.connection.queue().state().limit()
    }

    /// Sets how many bytes may be queued, from the next message on. Default: 1 MiB, or what
    /// [`outbox_limit`](crate::net::SocketOptions::outbox_limit) set.
    pub fn set_limit(&self, bytes: usize) {
        self.connection.queue().set_limit(bytes);
    }

    /// Passes messages to the kernel, as far as the kernel takes them at once, and queues the rest. If `waits` is false
    /// and there is no room, returns an error.
    fn push(&self, messages: &[Message], waits: bool) -> crate::error::Result<()> {
        if messages.iter().all(|message| message.is_empty()) {
            // There is nothing to write, and nothing to keep.
            self.connection.check_writable()?;
            let is_ending = self.connection.queue().state().is_ending();
            return if is_ending { Err(written_after_end().into()) } else { Ok(()) };
        }
        let connection = &self.connection;
        // The wait begins now.
        let mut limits = None;
        let ask = move |state: &State, has_room: bool| {
            let ending = |()| if state.is_ending() { Err(written_after_end()) } else { Ok(()) };
            if let Err(error) = connection.check_writable().and_then(ending) {
                return Err(if waits { self.why_closed(error) } else { error });
            }
            match () {
                () if has_room => Ok(None),
                () if !waits => Err(full(messages, state)),
                () => {
                    let begin = || connection.timers.begin(Direction::Write);
                    limits.get_or_insert_with(begin).left(&mut None)
                }
            }
        };
        // The turn is kept until the rest is queued or the connection is closed, so that no other bytes follow part of
        // a message.
        let mut turn = None;
        let write_now = || {
            turn = connection.try_turn();
            turn.as_ref().map_or(Ok(0), |turn| turn.write_now(messages))
        };
        match connection.queue().push(messages, ask, write_now, || start_writer(connection)) {
            Ok(()) => Ok(()),
            Err(NotTaken::Whole(error)) => Err(error.into()),
            Err(NotTaken::Torn(error)) => {
                // The call cannot be tried again, because part of the message is sent. So the connection is closed.
                let text = format!("part of a message was sent, and the rest cannot be written: {error}");
                let error = Error::of_cause(Cause::Destroyed, text);
                let ended = connection.end_by(&error);
                drop(turn);
                connection.tell_end_by(&error, ended);
                Err(error)
            }
        }
    }

    /// The error of a call that waited when the connection was closed. If the writer thread closed the connection,
    /// because of an error or the deadline, that error is returned.
    fn why_closed(&self, error: io::Error) -> io::Error {
        if let Err(deadline) = self.connection.timers.check_deadline(Direction::Write) {
            return deadline;
        }
        lock(&self.connection.broken).clone().map_or(error, io::Error::from)
    }
}

fn full(messages: &[Message], state: &State) -> io::Error {
    let length: u64 = messages.iter().map(|message| message.len() as u64).sum();
    let text = format!("{length} bytes do not fit: {} of {} are queued", state.bytes(), state.limit());
    Error::of_cause(Cause::Full, text).into()
}

/// Starts the thread that writes while anything is queued. It ends when the queue is empty or the connection is closed.
fn start_writer(connection: &Arc<Connection>) -> io::Result<()> {
    let connection = Arc::clone(connection);
    let name = format!("{} outbox {}", connection.threads().thread_name, connection.remote);
    // The thread may report a failed write after its connection has ended. The server must not stop before that.
    let owner = connection.owner();
    let work = move || {
        // Dropped last, after the connection.
        let owner = owner;
        let connection = connection;
        let _frame = owner.as_ref().map(|owner| owner.frame());
        let queue = connection.queue();
        loop {
            // Each turn writes one batch, and a waiting thread gets the next turn. The turn ends before a failure is
            // reported, because the hook may write to the socket or end our direction.
            let turn = connection.turn();
            let result = turn.write_next();
            turn.hand_over();
            match result {
                Err(error) if Error::is_tick(&error) => {}
                // The program has closed the socket or ended our direction. Messages that came after that are
                // discarded, and nothing has failed.
                Err(_) if connection.check_writable().is_err() => queue.abandon(false),
                Err(error) => {
                    let error = error.into();
                    connection.tell_end_by(&error, connection.end_by(&error));
                }
                Ok(()) => {}
            }
            if queue.leave() {
                return Ok(());
            }
        }
    };
    spawn(name, Some(128 * 1024), work).map(drop)
}
