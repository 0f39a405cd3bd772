//! The third way: events through one bounded channel. What feeds it is `each`, the second way.

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

/// The receiving end of a channel of events, made by the `events(n)` of a server or socket, and by the
/// [`incoming(n)`](crate::net::Server::incoming) of a server.
///
/// It keeps what feeds it open. It is an iterator's source: `for event in &events`; and [`receiver`](Events::receiver)
/// lends it to the `select!` of [`landline::channel`](crate::channel). When what feeds it is closed and the last event
/// was taken, receiving says that the channel is disconnected.
///
/// At most `n` events wait in it. When it is full, the threads that read wait, and so do the peers: nothing is lost. So
/// the thread that receives must not wait for them in turn: it writes through [`outbox`](crate::net::Socket::outbox),
/// never by a blocking write, and ends what feeds the channel by [`begin_shutdown`](Events::begin_shutdown).
///
/// Dropping it closes what feeds it, destroys its connections, and waits for its threads, but for one that drops it: in
/// a callback of theirs it does not wait. Events that are left are dropped; a clone of the receiver still gives those
/// that had been sent. Of [`incoming`](crate::net::Server::incoming) only the connections that are left in it are
/// destroyed, and a clone of the receiver gives none.
pub struct Events<T> {
    receiver: Receiver<T>,
    fed: Fed,
    /// What is done with what nothing has received when this is dropped, where that is more than dropping it.
    discard: Option<fn(T)>,
}

/// What the receiving end has of what feeds it.
struct Fed {
    /// Dropped first: those who wait for room give up.
    stop: Option<Sender<Infallible>>,
    room: Arc<Room>,
    close: Box<dyn Fn() + Send + Sync>,
    begin_shutdown: Box<BeginShutdown>,
    running: Option<Running>,
    /// Threads of shutdowns that were begun, where nothing else waits for them.
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

// What the channel and the closures hold is changed by one atomic step or under a lock.
impl<T> UnwindSafe for Events<T> {}
impl<T> RefUnwindSafe for Events<T> {}

/// Begins to end what feeds a channel; gives the thread that does, where the channel is to wait for it.
pub(crate) type BeginShutdown = dyn Fn(Duration) -> io::Result<Option<Running>> + Send + Sync;

/// What those who send for one connection hold open. When it is dropped, the thread that made it gives up waiting for
/// room.
pub(crate) struct CloseSignal {
    open: Option<Sender<Infallible>>,
    sender: Thread,
}

impl CloseSignal {
    /// For the calling thread; and what [`send`](Feed::send) looks at.
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

/// The sending end. What feeds a channel is compiled once, and the channel where a program makes one: so the two meet
/// in a box.
pub(crate) struct Feed<T>(Box<SendTo<T>>);

type SendTo<T> = dyn Fn(T, Option<&Over>) -> Result<(), Disconnected> + Send + Sync;

/// It is disconnected when something is over.
pub(crate) type Over = Receiver<Infallible>;

/// The channel's end will never come to this event.
pub(crate) struct Disconnected;

/// What those who wait for room look at.
struct Room {
    gone: Over,
    queue: WaitQueue<SENDING>,
}

/// How many threads of those that wait for room are in a `select!`; the others wait behind them.
const SENDING: usize = 2;

/// More room than this is a mistake: all of it is allocated at once.
const MOST: usize = 1 << 20;

/// A channel for at most `n` events, which `feed` begins to feed.
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
    /// There is none just now; or as for [`recv`](Events::recv).
    pub fn try_recv(&self) -> std::result::Result<T, TryRecvError> {
        self.receiver.try_recv()
    }

    /// Waits for the next event, for `time` at most.
    ///
    /// # Errors
    /// None came in time; or as for [`recv`](Events::recv).
    pub fn recv_timeout(&self, time: Duration) -> std::result::Result<T, RecvTimeoutError> {
        self.receiver.recv_timeout(time)
    }

    /// Each event as it comes, until the last one was taken. Blocks for the next.
    pub fn iter(&self) -> channel::Iter<'_, T> {
        self.receiver.iter()
    }

    /// Begins to end what feeds the channel, and returns at once. Go on receiving until the channel is disconnected. So
    /// several servers and channels end under one clock.
    ///
    /// - The channel of a server: as [`Server::begin_shutdown`](crate::net::Server::begin_shutdown).
    /// - The channel of a connection: reading ends. [`ShuttingDown`](crate::net::SocketEvent::ShuttingDown) comes after
    ///   what had arrived; answer it by [`outbox().end()`](crate::net::Outbox::end). A connection that is open when
    ///   `grace` is over is destroyed.
    /// - The channel of a datagram socket: it has no peers to wait for, so it is closed, whatever `grace` is. Datagrams
    ///   that were not received are lost.
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
    /// The thread that sees to the end cannot be started. Nothing was done then.
    pub fn begin_shutdown(&self, grace: Duration) -> io::Result<()> {
        self.fed.begin_shutdown(grace)
    }

    /// The channel's own receiver, for `select!` and for several threads that receive: each event goes to one of them.
    /// A clone does not keep what feeds the channel open.
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
            // What it ended with went through the channel. On one of its own threads there is nothing to wait for.
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
    /// Sends, waiting for room until the receiver is gone or `over` is disconnected. Where there is an `over`, the end of
    /// the receiver disconnects that too.
    pub(crate) fn send(&self, event: T, over: Option<&Over>) -> Result<(), Disconnected> {
        (self.0)(event, over)
    }
}

fn send<T>(sender: &Sender<T>, room: &Room, mut event: T, over: Option<&Over>) -> Result<(), Disconnected> {
    // First: an event must not slip into a channel that was dropped, as if somebody would answer it.
    if is_over(&room.gone) {
        return Err(Disconnected);
    }
    // Mostly there is room and nobody waits for it, and then a `select!` would cost several times as much.
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

    /// Waits to be one of those in a `select!`.
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
