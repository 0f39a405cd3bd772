//! Events through one bounded channel. A thread in `each` feeds it.

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

/// The receiving end of a channel of events. It is made by the `events(n)` of a server or socket and by the
/// [`incoming(n)`](crate::net::Server::incoming) of a server.
///
/// It keeps the server or socket open. `for event in &events` iterates over it. [`receiver`](Events::receiver) lends it
/// to the `select!` of [`landline::channel`](crate::channel). When the server or socket is closed and the last event
/// was received, the channel is disconnected.
///
/// At most `n` events wait in it. When it is full, the threads that read block, and so do the peers, so nothing is
/// lost. The thread that receives must never block on them in turn. It writes through
/// [`outbox`](crate::net::Socket::outbox), never by a blocking write, and ends the server or socket by
/// [`begin_shutdown`](Events::begin_shutdown).
///
/// Dropping it closes the server or socket, destroys its connections and waits for its threads. In a callback on one of
/// these threads it does not wait. Events that are left are dropped. A clone of the receiver still gives those that had
/// been sent. With [`incoming`](crate::net::Server::incoming), only the connections that are left in the channel are
/// destroyed, and a clone of the receiver gives none.
pub struct Events<T> {
    receiver: Receiver<T>,
    fed: Fed,
    /// Called at the drop for each event that was not received, if dropping the event is not enough.
    discard: Option<fn(T)>,
}

/// What the receiving end knows of the feeding one.
struct Fed {
    /// Dropped first. Threads that wait for room give up.
    stop: Option<Sender<Infallible>>,
    room: Arc<Room>,
    close: Box<dyn Fn() + Send + Sync>,
    begin_shutdown: Box<BeginShutdown>,
    running: Option<Running>,
    /// The threads of shutdowns that have begun, unless something else waits for them.
    shutdowns: Mutex<Vec<Running>>,
}

/// What feeds a channel.
pub(crate) struct Source {
    /// The thread that feeds it.
    pub(crate) running: Running,
    /// Ends what feeds it.
    pub(crate) close: Box<dyn Fn() + Send + Sync>,
    pub(crate) begin_shutdown: Box<BeginShutdown>,
}

// The channel and the closures change what they hold by one atomic step or under a lock.
impl<T> UnwindSafe for Events<T> {}
impl<T> RefUnwindSafe for Events<T> {}

/// Begins to end what feeds a channel. Returns the thread that does, if the channel has to wait for it.
pub(crate) type BeginShutdown = dyn Fn(Duration) -> io::Result<Option<Running>> + Send + Sync;

/// Held open by the threads that send for one connection. When it is dropped, the thread that made it stops waiting for
/// room.
pub(crate) struct CloseSignal {
    open: Option<Sender<Infallible>>,
    sender: Thread,
}

impl CloseSignal {
    /// The signal for the calling thread, and the end that [`send`](Feed::send) watches.
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

/// The sending end. The code that feeds a channel is compiled once and the channel's code where a program makes one, so
/// a box stands between them.
pub(crate) struct Feed<T>(Box<SendTo<T>>);

type SendTo<T> = dyn Fn(T, Option<&Over>) -> Sent + Send + Sync;

/// It is disconnected to say that a thread should stop waiting.
pub(crate) type Over = Receiver<Infallible>;

/// The receiving end will never get this event.
pub(crate) struct Disconnected;

/// Whether an event is in the channel.
pub(crate) type Sent = Result<(), Disconnected>;

/// What threads that wait for room watch.
struct Room {
    gone: Over,
    queue: WaitQueue<SENDING>,
}

/// How many of the threads that wait for room are in a `select!`. The others wait behind them.
const SENDING: usize = 2;

/// The largest `n`. The channel allocates all of its room at once.
const MOST: usize = 1 << 20;

/// A channel for at most `n` events. `feed` starts what feeds it.
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
    /// Calls `discard` with what is left in the channel when this is dropped.
    pub(crate) fn discarded_by(mut self, discard: fn(T)) -> Events<T> {
        self.discard = Some(discard);
        self
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// What feeds the channel is closed, and the last event was taken.
    pub fn recv(&self) -> std::result::Result<T, RecvError> {
        self.receiver.recv()
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// There is none at this moment, or the errors of [`recv`](Events::recv).
    pub fn try_recv(&self) -> std::result::Result<T, TryRecvError> {
        self.receiver.try_recv()
    }

    /// Waits for the next event, for `time` at most.
    ///
    /// # Errors
    /// None arrived in time, or the errors of [`recv`](Events::recv).
    pub fn recv_timeout(&self, time: Duration) -> std::result::Result<T, RecvTimeoutError> {
        self.receiver.recv_timeout(time)
    }

    /// Blocks for each next event, until the last one was received.
    pub fn iter(&self) -> channel::Iter<'_, T> {
        self.receiver.iter()
    }

    /// Begins to end the server or socket, and returns at once. Keep receiving until the channel is disconnected.
    /// Several servers and channels can end at the same time.
    ///
    /// - For a server it is [`Server::begin_shutdown`](crate::net::Server::begin_shutdown).
    /// - For a connection, reading ends. [`ShuttingDown`](crate::net::SocketEvent::ShuttingDown) comes after the data
    ///   that had arrived. Answer it by [`outbox().end()`](crate::net::Outbox::end). A connection that is still open
    ///   after `grace` is destroyed.
    /// - A datagram socket has no peers to wait for, so it is closed at once. Datagrams that were not received are
    ///   lost.
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
    /// The thread that waits for the end cannot be started. Nothing has changed then.
    pub fn begin_shutdown(&self, grace: Duration) -> io::Result<()> {
        self.fed.begin_shutdown(grace)
    }

    /// The channel's own receiver, for `select!` and for several threads. Each event goes to one of them. A clone does
    /// not keep the server or socket open.
    pub fn receiver(&self) -> &Receiver<T> {
        &self.receiver
    }
}

impl<'a, T> IntoIterator for &'a Events<T> {
    type Item = T;
    type IntoIter = channel::Iter<'a, T>;

    /// As [`iter`](Events::iter).
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
            // Its result went through the channel. A thread that feeds the channel cannot wait for itself.
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
    /// Sends. Waits for room until the receiver is gone or `over` is disconnected. The end of the receiver disconnects
    /// `over` too.
    pub(crate) fn send(&self, event: T, over: Option<&Over>) -> Sent {
        (self.0)(event, over)
    }
}

fn send<T>(sender: &Sender<T>, room: &Room, mut event: T, over: Option<&Over>) -> Sent {
    // First. An event must not get into a channel that was dropped, since it would never be answered.
    if is_over(&room.gone) {
        return Err(Disconnected);
    }
    // Usually there is room and no thread waits for it. A `select!` would cost several times as much.
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

    /// Waits for one of the places in a `select!`.
    #[inline]
    fn enter(&self, over: &Over) -> Result<Ticket<'_>, Disconnected> {
        let front = self.queue.enter(Deadline::NEVER, || is_over(&self.gone) || is_over(over)).ok_or(Disconnected)?;
        // Again, since `select!` takes any arm that is ready.
        if is_over(&self.gone) { Err(Disconnected) } else { Ok(front) }
    }
}

#[inline]
fn is_over(over: &Over) -> bool {
    over.try_recv() == Err(TryRecvError::Disconnected)
}
