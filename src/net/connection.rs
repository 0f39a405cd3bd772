//! One connection, below its handles: the stream that can be taken out from under them, who has ended, and the one way it
//! is closed.
//!
//! Closing acts on the connection and not on a handle. So the stream stands behind a lock and is taken out when the
//! connection is closed; whoever is inside a system call then still has it, is woken, and the last to let go closes the
//! descriptor. No clone of a handle can keep the descriptor open.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use socket2::SockRef;

use super::connect::Origin;
use super::keep_alive::KeepAlive;
use super::ledger::{Ledger, Place};
use super::outbox::{Queue, Then};
use super::timeout::{Direction, Timers, Told};
use crate::address::Address;
use crate::error::Error;
use crate::lock::{lock, read, write};
use crate::report::{Connection, ConnectionId, How, Report, Reporter, guarded};
use crate::sys;

/// Our FIN is out: `end()`, or the peer's end answered.
const WE_ENDED: u8 = 1;
/// The peer's FIN was read.
const PEER_ENDED: u8 = 2;
/// Closed, or being closed: whoever set it closes it.
const CLOSED: u8 = 4;
/// A [`Report::Failed`] was told.
const FAILED: u8 = 8;
/// The loops that hand out events hold them back.
const PAUSED: u8 = 16;
/// The server is shutting down: what looks like the peer's end may be the nudge.
const NUDGED: u8 = 32;

/// What the library's own loops read with. Uninitialised by way of `BufReader` over a stream of std's, so that an idle
/// connection costs only the pages it has used.
pub(crate) const CHUNK: usize = 64 * 1024;

/// How long a connection's unread input is thrown away while it ends in order, if nobody has said otherwise.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// At most this much unread input is thrown away while a connection ends in order.
const LINGER_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: ConnectionId,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) allow_half_open: bool,
    pub(crate) reporter: Reporter,
    /// Of an accepted connection.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) timers: Timers,
    flags: AtomicU8,
    /// Taken out by `close`.
    stream: RwLock<Option<Arc<TcpStream>>>,
    /// Whose turn it is to write. Held over a whole message, so it may be held for as long as the peer does not read.
    writing: Mutex<()>,
    /// Writes that wait for their turn; made when the first is queued.
    queue: OnceLock<Box<Queue>>,
    queue_limit: usize,
    /// Where messages are composed, so that composing allocates once a connection and not once a message.
    scratch: Mutex<Vec<u8>>,
    /// The first error of the connection, as a read's: the system tells it once, to whichever call comes first, and then
    /// pretends an orderly end to readers.
    broken: Mutex<Option<Error>>,
    /// The settings last made.
    settings: Mutex<Settings>,
    /// How many threads wait for a flag to change; flags they wait for are changed under this lock.
    gate: Mutex<usize>,
    gate_moved: Condvar,
    /// Dropped when the connection is closed, which those see who have the other end.
    open: Mutex<Option<Sender<Infallible>>>,
    /// Of an accepted connection, until it is closed.
    place: Mutex<Option<Place>>,
    /// Of a client's connection, where there is something to say.
    pub(crate) origin: OnceLock<Box<Origin>>,
}

/// What a connection is made with, a client's or an accepted one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) settings: Settings,
    pub(crate) allow_half_open: bool,
    pub(crate) paused: bool,
    pub(crate) outbox_limit: usize,
    pub(crate) timeout: Option<Duration>,
    /// How long it may last in all.
    pub(crate) deadline: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        let settings = Settings { no_delay: true, keep_alive: None };
        Options {
            settings,
            allow_half_open: false,
            paused: false,
            outbox_limit: 1024 * 1024,
            timeout: None,
            deadline: None,
        }
    }
}

/// Settings of the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) no_delay: bool,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// How the descriptor is let go of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// close(2), as both sides have ended.
    Plain,
    /// FIN, then what the peer still sends is thrown away until its FIN or until the time is up: closing with input
    /// unread sends RST, which can destroy the reply on its way (RFC 9112, 9.6).
    InOrder(Duration),
    /// Both ways, now, waking whoever is blocked.
    Cut,
    /// RST.
    Reset,
}

impl Core {
    pub(crate) fn new(
        stream: TcpStream,
        (local, remote): (Address, Address),
        options: Options,
        reporter: Reporter,
        place: Option<Place>,
    ) -> Core {
        let timers = Timers::new();
        if options.timeout.is_some() {
            timers.set_idle(options.timeout);
        }
        if let Some(time) = options.deadline {
            timers.set_deadline(Instant::now().checked_add(time));
        }
        Core {
            id: ConnectionId::next(),
            local,
            remote,
            allow_half_open: options.allow_half_open,
            reporter,
            ledger: place.as_ref().map(|place| Arc::clone(&place.ledger)),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            timers,
            flags: AtomicU8::new(if options.paused { PAUSED } else { 0 }),
            stream: RwLock::new(Some(Arc::new(stream))),
            writing: Mutex::new(()),
            queue: OnceLock::new(),
            queue_limit: options.outbox_limit,
            scratch: Mutex::default(),
            broken: Mutex::default(),
            settings: Mutex::new(options.settings),
            gate: Mutex::new(0),
            gate_moved: Condvar::new(),
            open: Mutex::default(),
            place: Mutex::new(place),
            origin: OnceLock::new(),
        }
    }

    /// The stream, unless the connection is closed.
    pub(crate) fn stream(&self) -> io::Result<Arc<TcpStream>> {
        read(&self.stream).clone().ok_or_else(|| io::Error::from(destroyed("read")))
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(SeqCst) & flag != 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.has(CLOSED)
    }

    pub(crate) fn we_ended(&self) -> bool {
        self.has(WE_ENDED)
    }

    pub(crate) fn peer_ended(&self) -> bool {
        self.has(PEER_ENDED)
    }

    // ---- reading

    /// Reads by `call`, which reads into a buffer that is not empty; 0 means that the peer has ended. An idle time that was
    /// told of already is passed over.
    pub(crate) fn receive(
        &self,
        stream: &TcpStream,
        told: Option<Told>,
        call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self.look(stream, told, call)? {
            0 => {
                self.flags.fetch_or(PEER_ENDED, SeqCst);
                Ok(0)
            }
            n => {
                self.bytes_read.fetch_add(n as u64, Relaxed);
                self.timers.touch();
                Ok(n)
            }
        }
    }

    pub(crate) fn peek(&self, stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        self.look(stream, None, || stream.peek(buf))
    }

    /// What reading and peeking have in common: the call, and what its failures mean.
    fn look(
        &self,
        stream: &TcpStream,
        told: Option<Told>,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let began = self.timers.arm(stream, Direction::Read)?;
        loop {
            match call() {
                Ok(0) if self.is_closed() => return Err(destroyed("read").into()),
                Ok(0) => {
                    if let Some(error) = &*lock(&self.broken) {
                        return Err(error.clone().into());
                    }
                    // The peer's end would look the same, but what is taken for the end must be one.
                    if self.has(NUDGED) && !self.peer_ended() {
                        return Err(shutting_down().into());
                    }
                    return Ok(0);
                }
                Ok(n) => return Ok(n),
                Err(_) if self.is_closed() => return Err(destroyed("read").into()),
                Err(error) if is_passing(&error) => self.timers.again(stream, Direction::Read, began, told)?,
                Err(error) => return Err(self.broke("read", &error).into()),
            }
        }
    }

    /// Keeps the first error of the connection for the reads to come. EPIPE is none: it comes after another, or it is what
    /// writing to a peer that has ended in order leads to.
    fn broke(&self, call: &'static str, error: &io::Error) -> Error {
        if error.kind() != io::ErrorKind::BrokenPipe {
            lock(&self.broken).get_or_insert_with(|| Error::call("read", error));
        }
        Error::call(call, error)
    }

    // ---- writing

    /// Waits for the turn to write.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.turn_of(lock(&self.writing))
    }

    /// The turn to write, if nobody has it.
    pub(crate) fn try_turn(&self) -> Option<Turn<'_>> {
        match self.writing.try_lock() {
            Ok(turn) => Some(self.turn_of(turn)),
            Err(TryLockError::Poisoned(turn)) => Some(self.turn_of(turn.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn turn_of<'a>(&'a self, turn: MutexGuard<'a, ()>) -> Turn<'a> {
        Turn { core: self, turn: Some(turn), completed: RefCell::default(), drained: Cell::new(false) }
    }

    /// The writes that wait for their turn.
    pub(crate) fn queue(&self) -> &Queue {
        self.queue.get_or_init(|| Box::new(Queue::new(self.queue_limit)))
    }

    /// Composes a message, then writes it whole.
    pub(crate) fn compose(&self, compose: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let mut message = std::mem::take(&mut *lock(&self.scratch));
        message.clear();
        let result = compose(&mut message).and_then(|()| self.turn().write_all(&message));
        if message.capacity() <= CHUNK {
            *lock(&self.scratch) = message;
        }
        result
    }

    /// Why nothing can be written any more, if that is so.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        let flags = self.flags.load(SeqCst);
        if flags & CLOSED != 0 {
            return Err(destroyed("write").into());
        }
        if flags & WE_ENDED != 0 && flags & PEER_ENDED != 0 && !self.allow_half_open {
            return Err(Error::fixed(
                io::ErrorKind::BrokenPipe,
                "EPIPE",
                "This socket has been ended by the other party",
            )
            .into());
        }
        if flags & WE_ENDED != 0 {
            return Err(written_after_end());
        }
        Ok(())
    }

    // ---- ending

    /// Blocks until our side has ended or the connection is closed; the error if its time is up before.
    pub(crate) fn wait_for_our_end(&self, told: Option<Told>) -> io::Result<()> {
        self.wait_until(told, |flags| flags & (WE_ENDED | CLOSED) != 0)
    }

    pub(crate) fn pause(&self) {
        self.flags.fetch_or(PAUSED, SeqCst);
    }

    pub(crate) fn resume(&self) {
        self.move_gate(|| self.flags.fetch_and(!PAUSED, SeqCst));
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.has(PAUSED)
    }

    /// Blocks until events may be handed out, or the connection is closed; the error if its time is up before.
    pub(crate) fn wait_while_paused(&self, told: Option<Told>) -> io::Result<()> {
        self.wait_until(told, |flags| flags & PAUSED == 0 || flags & CLOSED != 0)
    }

    fn wait_until(&self, told: Option<Told>, done: impl Fn(u8) -> bool) -> io::Result<()> {
        let began = self.timers.begin();
        let mut waiting = lock(&self.gate);
        *waiting += 1;
        let result = loop {
            let flags = self.flags.load(SeqCst);
            if done(flags) {
                break Ok(());
            }
            if flags & NUDGED != 0 {
                break Err(shutting_down().into());
            }
            waiting = match self.timers.left(Direction::Read, began, told) {
                Ok(None) => self.gate_moved.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Ok(Some(left)) => self.gate_moved.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
                Err(error) => break Err(error),
            };
        };
        *waiting -= 1;
        result
    }

    /// Changes the flags, then wakes those who wait for them.
    fn move_gate(&self, change: impl FnOnce() -> u8) -> u8 {
        let waiting = lock(&self.gate);
        let before = change();
        if *waiting > 0 {
            self.gate_moved.notify_all();
        }
        before
    }

    /// Sets a flag that somebody may wait for; gives the flags before.
    fn set(&self, flag: u8) -> u8 {
        self.move_gate(|| self.flags.fetch_or(flag, SeqCst))
    }

    /// The server is shutting down: wakes those who wait for the peer.
    pub(crate) fn nudge(&self) {
        self.set(NUDGED);
        if let Ok(stream) = self.stream() {
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    // ---- closing

    /// Closes the connection, if nobody has yet: slot back, accounts, descriptor, report, in this order.
    ///
    /// Gives whether it was this call that closed it.
    pub(crate) fn close(&self, how: How, manner: Manner) -> bool {
        if self.set(CLOSED) & CLOSED != 0 {
            return false;
        }
        if let Some(queue) = self.queue.get() {
            queue.abandon();
        }
        lock(&self.open).take();
        let place = lock(&self.place).take();
        let presence = place.and_then(|place| place.leave(self.id, how));
        let stream = write(&self.stream).take();
        if let Some(stream) = stream {
            self.let_go(stream, manner);
        }
        self.reporter.tell(|| Report::Ended {
            connection: self.name(),
            after: self.timers.age(),
            read: self.bytes_read.load(Relaxed),
            written: self.bytes_written.load(Relaxed),
            how,
        });
        drop(presence);
        true
    }

    /// Drops `open` when the connection is closed, which may be at once.
    pub(crate) fn tell_closed(&self, open: Sender<Infallible>) {
        let before = lock(&self.open).replace(open);
        drop(before);
        if self.is_closed() {
            lock(&self.open).take();
        }
    }

    fn let_go(&self, stream: Arc<TcpStream>, manner: Manner) {
        // The stream is out of the lock, so nobody new gets hold of it: 1 means that we are alone.
        let others = Arc::strong_count(&stream) > 1;
        // shutdown(2) fails only if the connection is gone already, which is what it is for.
        match manner {
            Manner::InOrder(time) if !time.is_zero() && !self.peer_ended() => {
                if stream.shutdown(Shutdown::Write).is_ok() {
                    let _lingering = self.ledger.as_ref().map(|ledger| ledger.lingering(&stream));
                    discard_until_end(&stream, time);
                }
                if others {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            Manner::Plain | Manner::InOrder(_) | Manner::Cut => {
                if others {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            Manner::Reset => {
                // RST goes out when the last one lets go and nothing was shut down for writing before. A reader of ours is
                // woken without that; a writer is not.
                let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
                if others {
                    let _ = stream.shutdown(Shutdown::Read);
                    if self.writing.try_lock().is_err() {
                        let _ = stream.shutdown(Shutdown::Write);
                    }
                }
            }
        }
    }

    /// An error ended the connection: tells it, once, and closes.
    pub(crate) fn fail(&self, error: &Error) {
        if self.flags.fetch_or(FAILED, SeqCst) & FAILED == 0 {
            self.reporter.tell(|| Report::Failed { connection: Some(self.name()), error: error.clone() });
        }
        self.close(How::Failed, Manner::Cut);
    }

    /// A panic in a callback ended the connection.
    pub(crate) fn panicked(&self, message: &str) {
        self.reporter.tell(|| Report::Panicked { connection: self.name(), message: message.into() });
        self.close(How::Panicked, Manner::Cut);
    }

    pub(crate) fn name(&self) -> Connection {
        Connection { id: self.id, local: self.local.clone(), remote: self.remote.clone() }
    }

    // ---- settings

    /// Makes a setting if it differs from the last one made.
    pub(crate) fn change<T: PartialEq>(
        &self,
        field: impl FnOnce(&mut Settings) -> &mut T,
        value: T,
        call: &'static str,
        apply: impl FnOnce(&SockRef<'_>, &T) -> io::Result<()>,
    ) -> crate::Result<()> {
        let stream = read(&self.stream).clone().ok_or_else(|| destroyed(call))?;
        let mut settings = lock(&self.settings);
        let field = field(&mut settings);
        if *field != value {
            apply(&SockRef::from(&*stream), &value).map_err(|error| Error::call(call, &error))?;
            *field = value;
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> Settings {
        *lock(&self.settings)
    }
}

impl Drop for Core {
    /// The last handle is gone: as std does, close(2) and no more.
    fn drop(&mut self) {
        self.close(How::Finished, Manner::Plain);
    }
}

/// The turn to write: while one thread has it, no other's bytes come between.
pub(crate) struct Turn<'a> {
    core: &'a Core,
    /// Given up before the callbacks are called.
    turn: Option<MutexGuard<'a, ()>>,
    /// Queued writes that were finished, and what their writers want called.
    completed: RefCell<Vec<(Then, io::Result<()>)>>,
    drained: Cell<bool>,
}

impl Turn<'_> {
    /// Writes what was queued before, then all of `data`.
    pub(crate) fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.write_counted(data).1
    }

    /// Writes what is queued.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.core.queue.get().map_or(Ok(()), |queue| queue.write_out(self, usize::MAX))
    }

    /// Calls `then` once the turn is over.
    pub(crate) fn complete(&self, then: Option<Then>, result: io::Result<()>) {
        self.completed.borrow_mut().extend(then.map(|then| (then, result)));
    }

    /// The queue was written out.
    pub(crate) fn drained(&self) {
        self.drained.set(true);
    }

    /// Writes what the kernel takes without blocking.
    pub(crate) fn write_now(&self, data: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < data.len() {
            let stream = self.core.stream()?;
            match sys::write_now(&stream, &data[done..]) {
                Ok(n) => {
                    done += n;
                    self.core.bytes_written.fetch_add(n as u64, Relaxed);
                    self.core.timers.touch();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.core.is_closed() => return Err(destroyed("write").into()),
                Err(error) => return Err(self.core.broke("write", &error).into()),
            }
        }
        Ok(done)
    }

    /// How much was written, and why not more.
    pub(crate) fn write_counted(&self, data: &[u8]) -> (usize, io::Result<()>) {
        if data.is_empty() {
            return (0, self.core.check_writable());
        }
        let mut done = 0;
        let result = self.send(|mut stream| {
            let n = stream.write(&data[done..])?;
            done += n;
            Ok((n, done == data.len()))
        });
        (done, result)
    }

    pub(crate) fn write_all_vectored(&self, mut buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.flush()?;
        IoSlice::advance_slices(&mut buffers, 0);
        if buffers.is_empty() {
            return self.core.check_writable();
        }
        self.send(|stream| {
            let n = sys::write_vectored(stream, buffers)?;
            IoSlice::advance_slices(&mut buffers, n);
            Ok((n, buffers.is_empty()))
        })
    }

    /// Repeats `call` until it says that it has written everything.
    fn send(&self, mut call: impl FnMut(&TcpStream) -> io::Result<(usize, bool)>) -> io::Result<()> {
        self.core.check_writable()?;
        let stream = self.core.stream()?;
        let timers = &self.core.timers;
        let mut began = timers.arm(&stream, Direction::Write)?;
        loop {
            match call(&stream) {
                Ok((n, done)) => {
                    self.core.bytes_written.fetch_add(n as u64, Relaxed);
                    timers.touch();
                    if done {
                        return Ok(());
                    }
                    if n == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    began = timers.arm(&stream, Direction::Write)?;
                }
                Err(_) if self.core.is_closed() => return Err(destroyed("write").into()),
                Err(error) if is_passing(&error) => timers.again(&stream, Direction::Write, began, None)?,
                Err(error) => return Err(self.core.broke("write", &error).into()),
            }
        }
    }

    /// Writes what is queued, then sends our FIN, once.
    pub(crate) fn end(&self) -> io::Result<()> {
        if !self.core.has(WE_ENDED | CLOSED) {
            self.flush_last()?;
        }
        self.end_now()
    }

    /// Writes what is queued, behind which nothing is queued any more: what a queue has taken is not lost to an end.
    fn flush_last(&self) -> io::Result<()> {
        let queue = self.core.queue();
        queue.begin_end();
        queue.write_out(self, usize::MAX).inspect_err(|_| queue.take_back_end())
    }

    pub(crate) fn end_now(&self) -> io::Result<()> {
        if self.core.has(WE_ENDED | CLOSED) {
            return Ok(());
        }
        let result = match &*read(&self.core.stream) {
            Some(stream) => stream.shutdown(Shutdown::Write),
            None => Ok(()),
        };
        self.core.set(WE_ENDED);
        match result {
            // The peer has reset the connection: there is nothing left to end.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(Error::call("shutdown", &error).into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.turn.take());
        for (then, result) in self.completed.take() {
            guarded(|| then(result));
        }
        if self.drained.get() {
            self.core.queue().tell_drained();
        }
    }
}

/// The received bytes, piece by piece, in a buffer that is reused.
pub(crate) struct Chunks<'a> {
    core: &'a Core,
    reader: BufReader<&'a TcpStream>,
    given: usize,
    told: Option<Told>,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(core: &'a Core, stream: &'a TcpStream) -> Chunks<'a> {
        Chunks { core, reader: BufReader::with_capacity(CHUNK, stream), given: 0, told: None }
    }

    /// The next piece; empty at the peer's end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        self.reader.consume(self.given);
        self.given = 0;
        let (stream, reader) = (*self.reader.get_ref(), &mut self.reader);
        self.given = self.core.receive(stream, self.told, || reader.fill_buf().map(<[u8]>::len))?;
        Ok(self.reader.buffer())
    }

    /// The piece that `next` gave last.
    pub(crate) fn last(&self) -> &[u8] {
        self.reader.buffer()
    }

    /// An idle timeout was told of: the next one only after new activity.
    pub(crate) fn idle_was_told(&mut self) {
        self.told = Some(self.core.timers.told());
    }
}

fn discard_until_end(mut stream: &TcpStream, time: Duration) {
    let end = Instant::now() + time;
    let mut reader = BufReader::with_capacity(CHUNK, &mut stream);
    let mut left = LINGER_BYTES;
    loop {
        let time = end.saturating_duration_since(Instant::now());
        if time.is_zero() || reader.get_ref().set_read_timeout(Some(time)).is_err() {
            return;
        }
        match reader.fill_buf().map(<[u8]>::len) {
            Ok(n) if n > 0 && n <= left => {
                left -= n;
                reader.consume(n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The peer's end, or it is gone, or the time or the size is used up.
            _ => return,
        }
    }
}

/// What a write after our own end gets.
pub(crate) fn written_after_end() -> io::Error {
    Error::fixed(io::ErrorKind::BrokenPipe, "ERR_STREAM_WRITE_AFTER_END", "write after end").into()
}

/// What a call on a closed socket gets.
pub(crate) fn destroyed(call: &'static str) -> Error {
    let text = format!("Cannot call {call} after a stream was destroyed");
    Error::fixed(io::ErrorKind::NotConnected, "ERR_STREAM_DESTROYED", text)
}

/// Whether a call was ended by its time or by a signal: neither says anything of the connection.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || sys::is_timeout(error)
}

const SHUTTING_DOWN: &str = "ERR_SERVER_SHUTTING_DOWN";

fn shutting_down() -> Error {
    Error::fixed(io::ErrorKind::ConnectionAborted, SHUTTING_DOWN, "server is shutting down")
}

/// Whether an error says no more than that the server is shutting down.
pub(crate) fn is_shutting_down(error: &io::Error) -> bool {
    Error::of(error).is_some_and(tells_shutting_down)
}

pub(crate) fn tells_shutting_down(error: &Error) -> bool {
    error.code() == SHUTTING_DOWN
}

/// Whether an error says no more than that the connection was closed by us.
pub(crate) fn is_destroyed(error: &io::Error) -> bool {
    Error::of(error).is_some_and(tells_destroyed)
}

pub(crate) fn tells_destroyed(error: &Error) -> bool {
    error.code() == "ERR_STREAM_DESTROYED"
}
