//! The third way: events through one bounded channel. What feeds it is `each`, the second way.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use crossbeam_channel::{self as channel, Receiver, Sender, TryRecvError, TrySendError, bounded, never, select};

use crate::error::{Error, Result};
use crate::sync::poison::lock;
use crate::sync::wait_queue::WaitQueue;
use crate::thread::Running;

/// The receiving end of a channel of events, made by the `events(n)` of a server or socket.
///
/// It is used as crossbeam's [`Receiver`], so `select!` of [`landline::channel`](crate::channel) takes it, and it keeps
/// what feeds it open. It is an iterator's source too: `for event in &events`. When what feeds it is closed and the
/// last event was taken, receiving says that the channel is disconnected. Dropping it closes what feeds it and waits
/// for its threads; so not by a `report` callback, which runs on one of them.
///
/// At most `n` events wait in it. When it is full, the threads that read wait, and so do the peers: nothing is lost. So
/// the thread that receives must not wait for them in turn: it writes through [`outbox`](crate::net::Socket::outbox),
/// never by a blocking write.
pub struct Events<T> {
    receiver: Receiver<T>,
    consumer: Arc<Consumer>,
    close: Box<dyn Fn() + Send + Sync>,
    running: Option<Running>,
}

/// Who receives, as those who send see it.
pub(crate) struct Consumer {
    /// The thread that looked into the channel last, by an address that is its own; 0 before.
    thread: AtomicUsize,
    /// The thread that made the channel.
    maker: usize,
    /// Dropped when nobody will receive any more: those who wait for room give up.
    present: Mutex<Option<Sender<Infallible>>>,
    queue: Arc<WaitQueue>,
}

/// What those who send for one connection hold open. When it is dropped, the thread that made it gives up waiting for
/// room.
pub(crate) struct CloseSignal {
    open: Option<Sender<Infallible>>,
    sender: Thread,
}

impl CloseSignal {
    /// For the calling thread; and what [`send_unless`](Feed::send_unless) looks at.
    pub(crate) fn new() -> (CloseSignal, Receiver<Infallible>) {
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

impl fmt::Debug for CloseSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloseSignal")
    }
}

/// The sending end.
pub(crate) struct Feed<T> {
    sender: Sender<T>,
    gone: Receiver<Infallible>,
    /// Those who wait for room.
    queue: Arc<WaitQueue>,
}

/// The channel's end will never come to this event.
pub(crate) struct Disconnected;

/// More room than this is a mistake: all of it is allocated at once.
const MOST: usize = 1 << 20;

/// A channel for at most `n` events.
pub(crate) fn channel<T>(n: usize) -> Result<(Feed<T>, Receiver<T>, Arc<Consumer>)> {
    if n > MOST {
        return Err(Error::option("n", format!("<= {MOST}"), n));
    }
    let (sender, receiver) = bounded(n);
    let (present, gone) = bounded(0);
    let queue = Arc::new(WaitQueue::default());
    let consumer = Consumer {
        thread: AtomicUsize::new(0),
        maker: this_thread(),
        present: Mutex::new(Some(present)),
        queue: Arc::clone(&queue),
    };
    Ok((Feed { sender, gone, queue }, receiver, Arc::new(consumer)))
}

impl<T> Events<T> {
    /// `close` ends what feeds the channel; `running` is the thread that does.
    pub(crate) fn new(
        receiver: Receiver<T>,
        consumer: Arc<Consumer>,
        running: Running,
        close: impl Fn() + Send + Sync + 'static,
    ) -> Events<T> {
        Events { receiver, consumer, close: Box::new(close), running: Some(running) }
    }
}

impl<T> Deref for Events<T> {
    type Target = Receiver<T>;

    fn deref(&self) -> &Receiver<T> {
        self.consumer.thread.store(this_thread(), Relaxed);
        &self.receiver
    }
}

impl<'a, T> IntoIterator for &'a Events<T> {
    type Item = T;
    type IntoIter = channel::Iter<'a, T>;

    /// Each event as it comes, until the last one was taken. Blocks for the next.
    fn into_iter(self) -> channel::Iter<'a, T> {
        self.iter()
    }
}

impl<T> Drop for Events<T> {
    fn drop(&mut self) {
        self.consumer.leave();
        (self.close)();
        if let Some(running) = self.running.take() {
            // What it ended with went through the channel.
            let _ = running.join();
        }
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.receiver.len()).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Nobody receives any more.
    pub(crate) fn leave(&self) {
        lock(&self.present).take();
        self.queue.wake_all();
    }

    /// Whether the calling thread is the one that receives. If it waited for those who send, they would wait for each
    /// other.
    pub(crate) fn is_here(&self) -> bool {
        self.thread.load(Relaxed) == this_thread()
    }

    /// Whether no thread has looked into the channel yet, which the calling thread has made. It may never be looked
    /// into, or be on its way to another thread.
    pub(crate) fn may_be_here(&self) -> bool {
        self.thread.load(Relaxed) == 0 && self.maker == this_thread()
    }
}

impl<T> Feed<T> {
    /// Sends, waiting for room until the receiver is gone.
    pub(crate) fn send(&self, event: T) -> Result<(), Disconnected> {
        self.send_unless(event, &never())
    }

    /// Sends, waiting for room until the receiver is gone or `over` is disconnected.
    pub(crate) fn send_unless(&self, mut event: T, over: &Receiver<Infallible>) -> Result<(), Disconnected> {
        let is_gone = || self.gone.try_recv() == Err(TryRecvError::Disconnected);
        let is_over = || is_gone() || over.try_recv() == Err(TryRecvError::Disconnected);
        // First: an event must not slip into a channel that was dropped, as if somebody would answer it.
        if is_gone() {
            return Err(Disconnected);
        }
        // Mostly there is room and nobody waits for it, and then a `select!` would cost several times as much.
        if self.queue.is_empty() {
            match self.sender.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => event = back,
                Err(TrySendError::Disconnected(_)) => return Err(Disconnected),
            }
        }
        let _front = self.queue.enter(is_over).ok_or(Disconnected)?;
        // Again, since `select!` takes any arm that is ready.
        if is_gone() {
            return Err(Disconnected);
        }
        select! {
            send(self.sender, event) -> sent => sent.map_err(|_| Disconnected),
            recv(self.gone) -> _ => Err(Disconnected),
            recv(over) -> _ => Err(Disconnected),
        }
    }
}

/// The calling thread, by an address that is its own as long as it lives.
pub(crate) fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here) as usize)
}
