//! Events through one bounded channel. A thread that runs `each` sends them.

use std::convert::Infallible;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;
use std::{fmt, io, mem};

use crossbeam_channel::{
    self as channel, Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded, select,
};

use crate::error::{Error, Result};
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;
use crate::sync::wait_queue::{Ticket, WaitQueue};
use crate::thread::Running;

/// The receiver of a channel of events. A server's or socket's `events(n)` makes it, and so does a server's
/// [`incoming(n)`](crate::net::Server::incoming).
///
/// While this exists, the server or socket stays open. `for event in &events` receives one event after the other.
/// [`receiver`](Events::receiver) lends the receiver to the `select!` of [`landline::channel`](crate::channel). The
/// channel is disconnected as soon as the server or socket is closed and the last event has been received.
///
/// The channel holds at most `n` events. While it is full, the threads that read from the sockets block, so the peers
/// have to wait and nothing is lost. The thread that receives the events must never wait for those reading threads:
///
/// - It writes through [`outbox`](crate::net::Socket::outbox), never with a blocking write.
/// - It stops the server or socket with [`begin_shutdown`](Events::begin_shutdown).
///
/// Dropping this closes the server or socket, destroys its connections and waits for its threads to end. A callback
/// that runs on one of these threads may drop it too. That drop does not wait. The events still in the channel are
/// dropped, unless a clone of the receiver exists. The clone still receives them. For
/// [`incoming`](crate::net::Server::incoming), dropping this destroys only the connections that are still in the
/// channel, and a clone of the receiver gets none of them.
pub struct Events<T> {
    receiver: Receiver<T>,
    fed: Fed,
    /// Called for each event that was not received when this is dropped, if dropping the event is not enough.
    discard: Option<fn(T)>,
}

/// What the receiver knows about the sending side.
struct Fed {
    /// Dropped first. It makes the threads that wait for room stop waiting.
    stop: Option<Sender<Infallible>>,
    room: Arc<Room>,
    close: Box<dyn Fn() + Send + Sync>,
    begin_shutdown: Box<BeginShutdown>,
    running: Option<Running>,
    /// The threads of shutdowns that have begun, unless something else waits for them.
    shutdowns: Mutex<Vec<Running>>,
}

/// What sends into a channel.
pub(crate) struct Source {
    /// The thread that sends.
    pub(crate) running: Running,
    /// Closes the server or socket behind it.
    pub(crate) close: Box<dyn Fn() + Send + Sync>,
    pub(crate) begin_shutdown: Box<BeginShutdown>,
}

// The channel and the closures change their contents in one atomic step or under a lock.
impl<T> UnwindSafe for Events<T> {}
impl<T> RefUnwindSafe for Events<T> {}

/// Begins to shut down the server or socket behind a channel. Returns the thread that does it, if the channel has to
/// wait for that thread.
pub(crate) type BeginShutdown = dyn Fn(Duration) -> io::Result<Option<Running>> + Send + Sync;

/// Held by the code that sends the events of one connection. When it is dropped, a thread that waits for room for these
/// events stops waiting.
pub(crate) struct CloseSignal {
    open: Option<Sender<Infallible>>,
    sender: Thread,
}

impl CloseSignal {
    /// Makes the signal for the calling thread, and the receiver that [`send`](Feed::send) watches.
    pub(crate) fn new() -> (CloseSignal, Over) {
        let (open, over) = bounded(0);
        (CloseSignal { open: Some(open), sender: thread::current() }, over)
    }
}

impl Drop for CloseSignal {
    fn drop(&mut self) {
        drop(self.open.take());
        self.sender.unpark();
    }
}

/// The sending side of a channel. The code that sends is compiled once, and the channel's code in each program that
/// uses it. The box separates the two.
pub(crate) struct Feed<T>(Box<SendTo<T>>);

type SendTo<T> = dyn Fn(T, Option<&Over>) -> Sent + Send + Sync;

/// It is disconnected when a thread should stop waiting.
pub(crate) type Over = Receiver<Infallible>;

/// The receiver is gone, so it will never get this event.
pub(crate) struct Disconnected;

/// Whether an event went into the channel.
pub(crate) type Sent = Result<(), Disconnected>;

/// What the threads that wait for room watch.
struct Room {
    gone: Over,
    queue: WaitQueue<SENDING>,
}

/// How many of the threads that wait for room are in a `select!`. The others queue behind them.
const SENDING: usize = 2;

/// The largest allowed `n`. The channel allocates all of its room at once.
const MOST: usize = 1 << 20;

/// Makes a channel for at most `n` events. `feed` starts the thread that sends.
pub(crate) fn channel<T: Send + 'static>(
    n: usize,
    feed: impl FnOnce(Feed<T>) -> io::Result<Source>,
) -> io::Result<Events<T>> {
    let (stop, room) = Room::for_events(n)?;
    let (sender, receiver) = bounded(n);
    let its = Arc::clone(&room);
    let source = feed(Feed(Box::new(move |event, over| send(&sender, &its, event, over))))?;
    Ok(Events { receiver, fed: Fed::new(stop, room, source), discard: None })
}

impl<T> Events<T> {
    /// Sets a function that is called for each event left in the channel when this is dropped.
    pub(crate) fn discarded_by(mut self, discard: fn(T)) -> Events<T> {
        self.discard = Some(discard);
        self
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// `RecvError` once the server or socket is closed and the last event has been received.
    pub fn recv(&self) -> std::result::Result<T, RecvError> {
        self.receiver.recv()
    }

    /// Returns the next event, without waiting.
    ///
    /// # Errors
    /// `Empty` if there is no event now. `Disconnected` when [`recv`](Events::recv) would fail.
    pub fn try_recv(&self) -> std::result::Result<T, TryRecvError> {
        self.receiver.try_recv()
    }

    /// Waits at most `time` for the next event.
    ///
    /// # Errors
    /// `Timeout` if no event arrived in time. `Disconnected` when [`recv`](Events::recv) would fail.
    pub fn recv_timeout(&self, time: Duration) -> std::result::Result<T, RecvTimeoutError> {
        self.receiver.recv_timeout(time)
    }

    /// Returns an iterator that blocks for each next event. It ends after the last event.
    pub fn iter(&self) -> channel::Iter<'_, T> {
        self.receiver.iter()
    }

    /// Begins to shut down the server or socket, and returns at once. Keep receiving until the channel is disconnected.
    /// Several servers and sockets can be shutting down at the same time. What happens depends on the kind:
    ///
    /// - A server does what [`Server::begin_shutdown`](crate::net::Server::begin_shutdown) does.
    /// - A connection stops reading. After the data that had already arrived, the channel gets
    ///   [`ShuttingDown`](crate::net::SocketEvent::ShuttingDown). Answer this event with
    ///   [`outbox().end()`](crate::net::Outbox::end). If the connection is still open after `grace`, it is destroyed.
    /// - A datagram socket has no connections to wait for, so it is closed at once. Datagrams that were not received
    ///   are lost.
    ///
    /// ```
    /// use landline::net::{Server, ServerEvent, SocketEvent};
    /// use std::time::Duration;
    ///
    /// let servers = [Server::listen("127.0.0.1:0")?, Server::listen("127.0.0.1:0")?];
    /// let channels = [servers[0].events(16)?, servers[1].events(16)?];
    /// for events in &channels {
    ///     events.begin_shutdown(Duration::from_secs(10))?;
    /// }
    /// for event in channels.iter().flatten() {
    ///     if let ServerEvent::Socket(socket, SocketEvent::ShuttingDown) = event {
    ///         socket.outbox().end()?;
    ///     }
    /// }
    /// assert!(servers.iter().all(|server| server.report().is_some_and(|report| report.forced == 0)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The system's error if the thread that waits for the shutdown cannot be started. Nothing has changed in this
    /// case.
    pub fn begin_shutdown(&self, grace: Duration) -> io::Result<()> {
        self.fed.begin_shutdown(grace)
    }

    /// Returns the channel's own receiver, for `select!` and for several receiving threads. Each event goes to one
    /// thread. A clone of the receiver does not keep the server or socket open.
    pub fn receiver(&self) -> &Receiver<T> {
        &self.receiver
    }
}

impl<'a, T> IntoIterator for &'a Events<T> {
    type Item = T;
    type IntoIter = channel::Iter<'a, T>;

    /// Receives each event like [`iter`](Events::iter).
    fn into_iter(self) -> channel::Iter<'a, T> {
        self.iter()
    }
}

impl Fed {
    fn new(stop: Sender<Infallible>, room: Arc<Room>, source: Source) -> Fed {
        let Source { running, close, begin_shutdown } = source;
        Fed { stop: Some(stop), room, close, begin_shutdown, running: Some(running), shutdowns: Mutex::default() }
    }

    fn begin_shutdown(&self, grace: Duration) -> io::Result<()> {
        let running = (self.begin_shutdown)(grace)?;
        lock(&self.shutdowns).extend(running);
        Ok(())
    }

    fn end(&mut self) {
        self.stop = None;
        self.room.queue.wake_all();
        (self.close)();
        if let Some(running) = self.running.take() {
            // Its result went through the channel. If this is a thread that sends into the channel, the join returns at
            // once, because a thread cannot wait for itself.
            let _ = running.join();
        }
        for shutdown in mem::take(&mut *lock(&self.shutdowns)) {
            let _ = shutdown.join();
        }
    }
}

impl<T> Drop for Events<T> {
    fn drop(&mut self) {
        self.fed.end();
        if let Some(discard) = self.discard {
            self.receiver.try_iter().for_each(discard);
        }
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.receiver.len()).finish_non_exhaustive()
    }
}

impl<T> Feed<T> {
    /// Sends an event. While the channel is full, it blocks until there is room, the receiver is gone or `over` is
    /// disconnected.
    pub(crate) fn send(&self, event: T, over: Option<&Over>) -> Sent {
        (self.0)(event, over)
    }
}

fn send<T>(sender: &Sender<T>, room: &Room, mut event: T, over: Option<&Over>) -> Sent {
    // Checked first. An event that got into a dropped channel would never be answered.
    if is_over(&room.gone) {
        return Err(Disconnected);
    }
    // Usually there is room and no other thread waits for it. A `select!` would cost several times as much.
    if room.queue.is_empty() {
        match sender.try_send(event) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(back)) => event = back,
            Err(TrySendError::Disconnected(_)) => return Err(Disconnected),
        }
    }
    let over = over.unwrap_or(&room.gone);
    let _front = room.enter(over)?;
    select! {
        send(sender, event) -> sent => sent.map_err(|_| Disconnected),
        recv(over) -> _ => Err(Disconnected),
        // Dropping the receiver disconnects `over` only after the `report` hook, which may wait for this thread.
        recv(room.gone) -> _ => Err(Disconnected),
    }
}

impl Room {
    #[inline]
    fn for_events(n: usize) -> Result<(Sender<Infallible>, Arc<Room>)> {
        if n > MOST {
            return Err(Error::option("n", format!("<= {MOST}"), n));
        }
        let (stop, gone) = bounded(0);
        Ok((stop, Arc::new(Room { gone, queue: WaitQueue::default() })))
    }

    /// Waits until this thread may be in a `select!`.
    #[inline]
    fn enter(&self, over: &Over) -> Result<Ticket<'_>, Disconnected> {
        let front = self.queue.enter(Deadline::NEVER, || is_over(&self.gone) || is_over(over)).ok_or(Disconnected)?;
        // Checked again, because `select!` may take any arm that is ready.
        if is_over(&self.gone) { Err(Disconnected) } else { Ok(front) }
    }
}

#[inline]
fn is_over(over: &Over) -> bool {
    over.try_recv() == Err(TryRecvError::Disconnected)
}
