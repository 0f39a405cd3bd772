//! Models of `src/net/socket/outbox/queue.rs`, with the turn to write. What a thread does with both is what
//! `src/net/socket/outbox/mod.rs` and `src/net/socket/write.rs` do.

#[allow(dead_code, reason = "what the models do not use")]
#[path = "../../src/net/socket/outbox/queue.rs"]
mod library;

use loom::thread::{self, JoinHandle};
use real::sync::Mutex;
use real::time::Duration;

use crate::net::socket::outbox::message::Message;
use crate::sync::Arc;
use crate::turn::Turn;
use crate::{Count, Model, SeqCst};
use library::{NotTaken, Queue, State};

pub(crate) const MODELS: &[Model] = &[
    ("of two senders no message is lost, doubled or torn", Some(3), two_senders::<0>),
    ("of two senders no message is torn of which part leaves at once", Some(3), two_senders::<1>),
    ("of two senders no message is torn that leaves at once", Some(3), two_senders::<2>),
    ("a flush returns when what was queued before it is out", Some(3), a_flush_waits),
    ("a blocking write comes behind what was queued before it, and tears nothing", Some(3), a_blocking_write),
    ("a blocking write comes not between messages that were given together", Some(3), given_together),
    ("a message that could leave at once comes behind what is queued", Some(3), in_order),
    ("a writer that has left is followed by another", Some(3), a_writer_leaves),
    ("senders that wait for room are woken by each message that is out", Some(3), senders_wait_for_room),
    ("closing wakes threads that wait, and says what was given up", Some(3), closing_wakes),
    ("a close beside a write gives up what is not out, and nothing else", Some(3), a_close_beside_a_write),
    ("a close gives up a message whose write has stopped, and waits for none", Some(3), a_write_that_stops),
    ("clearing wakes a thread that waits for room", Some(3), clearing_wakes),
    ("clearing tears no message of which part left at once", Some(3), clearing_tears_nothing),
    ("a higher limit wakes a thread that waits for room", Some(3), a_limit_wakes),
    ("what is queued is at most the limit", Some(3), at_most_the_limit),
    ("a queued end comes behind all messages", Some(3), a_queued_end),
    ("a queued end outlives another that fails", Some(3), an_end_that_fails),
    ("a close that sends the end gives no queued end up", Some(3), an_end_and_a_close),
    ("a close beside a write gives up a queued end that is not sent", Some(3), a_lost_end),
    ("a writer that cannot be started leaves nothing behind", None, no_writer),
];

const END: u8 = 0xFF;

/// Why a message was not taken.
#[derive(Debug, PartialEq)]
enum Refused {
    Full,
    Closed,
    NoWriter,
}

/// A connection: its queue, its turn, and what its peer gets. Locks of std's are held for no step of loom's.
#[derive(Clone)]
struct Link {
    queue: Arc<Queue>,
    turn: Arc<Turn>,
    sent: Arc<Mutex<Vec<u8>>>,
    /// How much a write that does not wait may still write.
    kernel: Arc<Count>,
    writers: Arc<Mutex<Vec<JoinHandle<()>>>>,
    is_closed: Arc<Count>,
}

impl Link {
    fn new(limit: usize, kernel: usize) -> Link {
        Link {
            queue: Arc::new(Queue::new(limit)),
            turn: Arc::default(),
            sent: Arc::default(),
            kernel: Arc::new(Count::new(kernel)),
            writers: Arc::default(),
            is_closed: Arc::default(),
        }
    }

    fn spawn<T: 'static>(&self, run: impl FnOnce(Link) -> T + 'static) -> JoinHandle<T> {
        let link = self.clone();
        thread::spawn(move || run(link))
    }

    /// The messages of these bytes, each twice.
    fn push(&self, bytes: &[u8], waits: bool) -> Result<(), NotTaken<Refused>> {
        let messages: Vec<Message> = bytes.iter().map(|byte| [*byte; 2].into()).collect();
        let ask = |state: &State, has_room: bool| -> Result<Option<Duration>, Refused> {
            assert!(state.bytes() <= state.limit().max(64), "more is queued than may be");
            match () {
                () if self.is_closed.load(SeqCst) > 0 || state.is_ending() => Err(Refused::Closed),
                () if has_room || waits => Ok(None),
                () => Err(Refused::Full),
            }
        };
        let write_now = || {
            let Some(_turn) = self.turn.try_take() else { return Ok(0) };
            let most = self.kernel.swap(0, SeqCst);
            let all: Vec<u8> = messages.iter().flat_map(|message| message.iter().copied()).take(most).collect();
            self.sent.lock().unwrap().extend(&all);
            Ok(all.len())
        };
        self.queue.push(&messages, ask, write_now, || self.start())
    }

    fn send(&self, byte: u8) {
        self.push(&[byte], true).expect("it is open");
    }

    fn start(&self) -> Result<(), Refused> {
        let writer = self.spawn(|link| {
            loop {
                let turn = link.turn.take();
                let mut all = usize::MAX;
                let result = link.write_batch(&mut all);
                if result.is_ok() {
                    link.send_end();
                }
                turn.hand_over();
                if result.is_err() {
                    link.queue.abandon(false);
                }
                if link.queue.leave() {
                    break;
                }
            }
        });
        self.writers.lock().unwrap().push(writer);
        Ok(())
    }

    fn write_batch(&self, left: &mut usize) -> Result<bool, Refused> {
        let (batch, offset) = self.queue.begin(left);
        if batch.is_empty() {
            return Ok(false);
        }
        let mut n = 0;
        for byte in batch.iter().flat_map(|message| message.iter()).skip(offset) {
            // A close cuts the write off. Loom lets other threads run before each look at the queue.
            drop(self.queue.state());
            if self.is_closed.load(SeqCst) > 0 {
                break;
            }
            self.sent.lock().unwrap().push(*byte);
            n += 1;
        }
        self.queue.wrote(n);
        if self.is_closed.load(SeqCst) > 0 { Err(Refused::Closed) } else { Ok(true) }
    }

    fn send_end(&self) {
        if self.queue.ends_now() {
            self.end_now();
            self.queue.ended();
        }
    }

    /// Once: a connection has a flag for it.
    fn end_now(&self) {
        let mut sent = self.sent.lock().unwrap();
        if sent.last() != Some(&END) {
            sent.push(END);
        }
    }

    fn write_all(&self, byte: u8) {
        let _turn = self.turn.take();
        let mut left = self.queue.state().len();
        while left > 0 && self.write_batch(&mut left).expect("it is open") {}
        self.send_end();
        self.sent.lock().unwrap().extend([byte; 2]);
    }

    fn end(&self) {
        let end_now = || {
            let Some(_turn) = self.turn.try_take() else { return Ok(false) };
            self.end_now();
            Ok(true)
        };
        self.queue.push_end(end_now, || self.start()).expect("a writer is started");
    }

    fn close(&self) {
        self.is_closed.store(1, SeqCst);
        self.queue.abandon(false);
    }

    /// Sends the end by closing.
    fn close_in_order(&self) {
        self.is_closed.store(1, SeqCst);
        self.queue.abandon(true);
        self.end_now();
    }

    /// Returns whether everything was written.
    fn flush(&self) -> bool {
        let mut state = self.queue.state();
        while !state.is_settled() {
            state = self.queue.wait(state, None);
        }
        !state.gave_up()
    }

    fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }

    /// What was sent once all writers have left; each byte twice in a row.
    fn all(&self) -> Vec<u8> {
        loop {
            let Some(writer) = self.writers.lock().unwrap().pop() else { break };
            writer.join().expect("no panic");
        }
        assert!(self.queue.state().is_settled(), "nothing is queued or being written");
        assert_eq!(self.queue.state().bytes(), 0, "and nothing counts");
        let sent = self.sent();
        let (pairs, _) = sent.as_chunks::<2>();
        assert!(pairs.iter().all(|pair| pair[0] == pair[1]), "a message is torn: {sent:?}");
        pairs.iter().map(|pair| pair[0]).collect()
    }
}

fn two_senders<const KERNEL: usize>() {
    let link = Link::new(1000, KERNEL);
    let other = link.spawn(|link| link.send(2));
    link.send(1);
    other.join().expect("no panic");
    link.flush();
    let mut all = link.all();
    all.sort_unstable();
    assert_eq!(all, [1, 2], "each once");
}

fn a_flush_waits() {
    let link = Link::new(1000, 1);
    let other = link.spawn(|link| link.send(2));
    link.push(&[1, 3], false).expect("there is room");
    link.flush();
    let sent = link.sent();
    let place = sent.iter().position(|byte| *byte == 1).expect("it was queued before the flush");
    assert_eq!(sent[place..place + 4], [1, 1, 3, 3], "all of it is out, together");
    other.join().expect("no panic");
    assert_eq!(link.all().len(), 3, "each once");
}

fn a_blocking_write() {
    let link = Link::new(1000, 1);
    let other = link.spawn(|link| {
        link.send(2);
        link.write_all(3);
    });
    link.send(1);
    other.join().expect("no panic");
    let mut all = link.all();
    let place = |byte| all.iter().position(|other| *other == byte).expect("it is sent");
    assert!(place(2) < place(3), "what the thread had queued before is out before");
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3], "each once");
}

/// The thread that makes the blocking write has counted what is queued, which then is cleared.
fn given_together() {
    let link = Link::new(1000, 0);
    let blocked = link.turn.take();
    link.send(1);
    let other = link.spawn(|link| link.write_all(2));
    drop(blocked);
    link.queue.clear();
    link.push(&[3, 4], false).expect("there is room");
    other.join().expect("no panic");
    let all = link.all();
    let place = all.iter().position(|byte| *byte == 3).expect("it is sent");
    assert_eq!(all.get(place + 1), Some(&4), "no other message is between the two");
}

/// The first is queued since another thread has the turn, and not for want of room in the kernel.
fn in_order() {
    let link = Link::new(1000, 2);
    let blocked = link.turn.take();
    link.send(1);
    drop(blocked);
    link.send(2);
    assert_eq!(link.all(), [1, 2], "in order");
}

fn a_writer_leaves() {
    let link = Link::new(1000, 0);
    for byte in 1..=3 {
        link.send(byte);
    }
    assert_eq!(link.all(), [1, 2, 3], "in order");
}

/// Each of them fills the queue.
fn senders_wait_for_room() {
    let link = Link::new(64, 0);
    let other = link.spawn(|link| link.send(2));
    link.send(1);
    link.send(3);
    other.join().expect("no panic");
    let mut all = link.all();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3], "each once");
}

fn closing_wakes() {
    let link = Link::new(64, 0);
    // No writer runs: the turn is taken by a thread that is blocked until the close.
    let blocked = link.turn.take();
    link.send(1);
    let sender = link.spawn(|link| link.push(&[2], true));
    let flusher = link.spawn(|link| {
        assert!(!link.flush(), "the message is not out");
    });
    link.close();
    drop(blocked);
    let refused = sender.join().expect("no panic").expect_err("there is no room, and it is closed");
    assert!(matches!(refused, NotTaken::Whole(Refused::Closed)), "since it is closed");
    flusher.join().expect("no panic");
    assert_eq!(link.all(), [], "nothing is sent");
}

/// The first byte leaves at once.
fn a_close_beside_a_write() {
    let link = Link::new(1000, 1);
    link.send(1);
    link.send(2);
    let other = link.spawn(|link| link.close());
    let is_written = link.flush();
    other.join().expect("no panic");
    link.all();
    assert_eq!(is_written, link.sent() == [1, 1, 2, 2], "a flush says whether everything is out: {:?}", link.sent());
}

/// As by a timeout. The thread keeps the turn, so no other thread begins a write.
fn a_write_that_stops() {
    let link = Link::new(1000, 0);
    let blocked = link.turn.take();
    link.send(1);
    let mut all = usize::MAX;
    link.queue.begin(&mut all);
    link.queue.wrote(1);
    let other = link.spawn(|link| link.close());
    assert!(!link.flush(), "the second byte is not out");
    other.join().expect("no panic");
    drop(blocked);
    assert_eq!(link.all(), [], "it is not sent any more");
}

fn clearing_wakes() {
    let link = Link::new(64, 0);
    let blocked = link.turn.take();
    link.send(1);
    let sender = link.spawn(|link| link.send(2));
    link.queue.clear();
    sender.join().expect("no panic");
    drop(blocked);
    assert_eq!(link.all(), [2], "what was cleared is not sent");
}

fn clearing_tears_nothing() {
    let link = Link::new(1000, 1);
    link.send(1);
    link.queue.clear();
    assert_eq!(link.all(), [1], "the rest of it follows");
}

fn a_limit_wakes() {
    let link = Link::new(64, 0);
    let blocked = link.turn.take();
    link.send(1);
    let sender = link.spawn(|link| link.send(2));
    link.queue.set_limit(128);
    sender.join().expect("no panic");
    assert_eq!(link.writers.lock().unwrap().len(), 1, "one writer is enough");
    drop(blocked);
    assert_eq!(link.all(), [1, 2], "each once");
}

/// Looked at by every sender, under the lock.
fn at_most_the_limit() {
    let link = Link::new(64, 1);
    let other = link.spawn(|link| (2..4).map(|byte| link.push(&[byte], false).is_ok()).filter(|taken| *taken).count());
    let mut taken = usize::from(link.push(&[1], false).is_ok());
    assert!(link.queue.state().bytes() <= 64, "more is queued than may be");
    taken += other.join().expect("no panic");
    assert_eq!(link.all().len(), taken, "what was taken is sent, and nothing else");
}

fn a_queued_end() {
    let link = Link::new(1000, 1);
    let other = link.spawn(|link| link.push(&[2], false).is_ok());
    link.send(1);
    link.end();
    link.end();
    let is_taken = other.join().expect("no panic");
    link.flush();
    assert_eq!(link.sent().last(), Some(&END), "flush has waited for it");
    let sent = link.all();
    assert_eq!(sent.len(), 1 + usize::from(is_taken), "what was taken before it is sent");
    assert_eq!(link.sent().len(), 2 * sent.len() + 1, "nothing comes behind it");
}

fn an_end_that_fails() {
    let link = Link::new(1000, 0);
    link.send(1);
    // Ends, but gives up before it has written what is queued.
    let other = link.spawn(|link| {
        let _turn = link.turn.take();
        link.queue.begin_end();
        link.queue.take_back_end();
    });
    link.end();
    assert!(link.queue.state().is_ending() || link.sent().last() == Some(&END), "it is kept");
    other.join().expect("no panic");
    link.all();
    assert_eq!(link.sent(), [1, 1, END], "it comes behind what was queued");
}

/// The end is queued, since another thread has the turn.
fn an_end_and_a_close() {
    let link = Link::new(1000, 0);
    let blocked = link.turn.take();
    let other = link.spawn(|link| link.end());
    link.close_in_order();
    other.join().expect("no panic");
    drop(blocked);
    assert_eq!(link.all(), [], "there was no message");
    assert!(!link.queue.state().gave_up(), "nothing is lost");
    assert_eq!(link.sent(), [END], "the end is sent, once");
}

fn a_lost_end() {
    let link = Link::new(1000, 0);
    link.send(1);
    link.end();
    let other = link.spawn(|link| link.close());
    let is_written = link.flush();
    other.join().expect("no panic");
    link.all();
    assert!(!is_written || link.sent() == [1, 1, END], "a flush says that it is lost: {:?}", link.sent());
}

fn no_writer() {
    let message: Arc<[u8]> = Arc::from([1; 2]);
    let push = |link: &Link, written| {
        let messages = [Message::from(&message), Message::from(&message)];
        link.queue.push(&messages, |_, _| Ok(None), || Ok(written), || Err(Refused::NoWriter))
    };
    for written in [1, 2] {
        let torn = Link::new(1000, 0);
        assert!(matches!(push(&torn, written), Err(NotTaken::Torn(Refused::NoWriter))), "part of it is out");
        assert!(torn.queue.state().gave_up(), "a flush says that it is not out");
    }
    let link = Link::new(1000, 0);
    assert!(matches!(push(&link, 0), Err(NotTaken::Whole(Refused::NoWriter))), "none of it is out");
    assert!(push(&link, 4).is_ok(), "all of it is out, and no writer is needed");
    assert!(link.queue.push_end(|| Ok(false), || Err(Refused::NoWriter)).is_err(), "the end is not taken");
    assert!(!link.queue.state().has_work() && link.queue.state().bytes() == 0, "nothing is left in the queue");
    assert_eq!(Arc::strong_count(&message), 1, "no message is kept");
    link.send(2);
    assert_eq!(link.all(), [2], "it is as before");
}
