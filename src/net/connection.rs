//! One connection, below its handles: the stream that can be taken out from under them, who has ended, and the one way it
//! is closed.
//!
//! Closing acts on the connection and not on a handle. So the stream stands behind a lock and is taken out when the
//! connection is closed; whoever is inside a system call then still has it, is woken, and the last to let go closes the
//! descriptor. No clone of a handle can keep the descriptor open.

use std::io::{self, BufRead, BufReader, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::connect::Origin;
use super::keep_alive::KeepAlive;
use super::ledger::Place;
use crate::address::Address;
use crate::error::Error;
use crate::lock::{lock, read, write};
use crate::report::{Connection, ConnectionId, How, Report, Reporter};
use crate::sys;

/// Our FIN is out: `end()`, or the peer's end answered.
const WE_ENDED: u8 = 1;
/// The peer's FIN was read.
const PEER_ENDED: u8 = 2;
/// We ended because the peer had.
const ENDED_BY_PEER: u8 = 4;
/// Closed, or being closed: whoever set it closes it.
const CLOSED: u8 = 8;
/// A [`Report::Failed`] was told.
const FAILED: u8 = 16;

/// What the library's own loops read with. Uninitialised by way of `BufReader` over a stream of std's, so that an idle
/// connection costs only the pages it has used.
pub(crate) const CHUNK: usize = 64 * 1024;

/// At most this much unread input is thrown away while a connection ends in order.
const LINGER_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: ConnectionId,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) allow_half_open: bool,
    pub(crate) reporter: Reporter,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    since: Instant,
    flags: AtomicU8,
    /// Taken out by `close`.
    stream: RwLock<Option<Arc<TcpStream>>>,
    /// Whose turn it is to write. Held over a whole message, so it may be held for as long as the peer does not read.
    writing: Mutex<()>,
    /// Where messages are composed, so that composing allocates once a connection and not once a message.
    scratch: Mutex<Vec<u8>>,
    /// The first error of a read: the system tells it once and then pretends an orderly end.
    broken: Mutex<Option<Error>>,
    /// Under the lock: the settings last made. What `half_open` waits for is told by `ended`.
    settings: Mutex<Settings>,
    ended: Condvar,
    /// Of an accepted connection, until it is closed.
    place: Mutex<Option<Place>>,
    /// Of a client's connection, where there is something to say.
    pub(crate) origin: OnceLock<Box<Origin>>,
}

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
        settings: Settings,
        allow_half_open: bool,
        reporter: Reporter,
        place: Option<Place>,
    ) -> Core {
        Core {
            id: ConnectionId::next(),
            local,
            remote,
            allow_half_open,
            reporter,
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            since: Instant::now(),
            flags: AtomicU8::new(0),
            stream: RwLock::new(Some(Arc::new(stream))),
            writing: Mutex::new(()),
            scratch: Mutex::default(),
            broken: Mutex::default(),
            settings: Mutex::new(settings),
            ended: Condvar::new(),
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

    /// Reads by `call`, which reads into a buffer that is not empty; 0 means that the peer has ended.
    pub(crate) fn receive(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match call() {
                Ok(0) if self.is_closed() => return Err(destroyed("read").into()),
                Ok(0) => {
                    if let Some(error) = &*lock(&self.broken) {
                        return Err(error.clone().into());
                    }
                    self.flags.fetch_or(PEER_ENDED, SeqCst);
                    return Ok(0);
                }
                Ok(n) => {
                    self.bytes_read.fetch_add(n as u64, Relaxed);
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.is_closed() => return Err(destroyed("read").into()),
                Err(error) if is_timeout(&error) => {
                    if sys::READ_SLICE.is_none() {
                        return Err(timed_out("read"));
                    }
                }
                Err(error) => {
                    let error = Error::call("read", &error);
                    lock(&self.broken).get_or_insert_with(|| error.clone());
                    return Err(error.into());
                }
            }
        }
    }

    // ---- writing

    /// Waits for the turn to write.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { core: self, _turn: lock(&self.writing) }
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
    fn check_writable(&self) -> io::Result<()> {
        let flags = self.flags.load(SeqCst);
        if flags & CLOSED != 0 {
            return Err(destroyed("write").into());
        }
        if flags & ENDED_BY_PEER != 0 {
            return Err(Error::fixed(
                io::ErrorKind::BrokenPipe,
                "EPIPE",
                "This socket has been ended by the other party",
            )
            .into());
        }
        if flags & WE_ENDED != 0 {
            return Err(Error::fixed(io::ErrorKind::BrokenPipe, "ERR_STREAM_WRITE_AFTER_END", "write after end").into());
        }
        Ok(())
    }

    // ---- ending

    /// Our end, in answer to the peer's.
    pub(crate) fn end_for_peer(&self) -> io::Result<()> {
        let turn = self.turn();
        if !self.we_ended() {
            self.flags.fetch_or(ENDED_BY_PEER, SeqCst);
        }
        turn.end()
    }

    /// Blocks until our side has ended or the connection is closed.
    pub(crate) fn wait_for_our_end(&self) {
        let mut settings = lock(&self.settings);
        while !self.has(WE_ENDED | CLOSED) {
            settings = self.ended.wait(settings).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sets a flag that `wait_for_our_end` looks at; gives the flags before.
    fn set(&self, flag: u8) -> u8 {
        let _settings = lock(&self.settings);
        let before = self.flags.fetch_or(flag, SeqCst);
        if before & flag == 0 && self.allow_half_open {
            self.ended.notify_all();
        }
        before
    }

    // ---- closing

    /// Closes the connection, if nobody has yet: slot back, accounts, descriptor, report, in this order.
    ///
    /// Gives whether it was this call that closed it.
    pub(crate) fn close(&self, how: How, manner: Manner) -> bool {
        if self.set(CLOSED) & CLOSED != 0 {
            return false;
        }
        let place = lock(&self.place).take();
        let presence = place.and_then(|place| place.leave(self.id, how));
        let stream = write(&self.stream).take();
        if let Some(stream) = stream {
            self.let_go(stream, manner);
        }
        self.reporter.tell(|| Report::Ended {
            connection: self.name(),
            after: self.since.elapsed(),
            read: self.bytes_read.load(Relaxed),
            written: self.bytes_written.load(Relaxed),
            how,
        });
        drop(presence);
        true
    }

    fn let_go(&self, stream: Arc<TcpStream>, manner: Manner) {
        // The stream is out of the lock, so nobody new gets hold of it: 1 means that we are alone.
        let others = Arc::strong_count(&stream) > 1;
        // shutdown(2) fails only if the connection is gone already, which is what it is for.
        match manner {
            Manner::InOrder(time) if !time.is_zero() && !self.peer_ended() => {
                if stream.shutdown(Shutdown::Write).is_ok() {
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
    _turn: std::sync::MutexGuard<'a, ()>,
}

impl Turn<'_> {
    pub(crate) fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.write_counted(data).1
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
        loop {
            match call(&stream) {
                Ok((n, done)) => {
                    self.core.bytes_written.fetch_add(n as u64, Relaxed);
                    if done {
                        return Ok(());
                    }
                    if n == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.core.is_closed() => return Err(destroyed("write").into()),
                Err(error) if is_timeout(&error) => return Err(timed_out("write")),
                Err(error) => return Err(Error::call("write", &error).into()),
            }
        }
    }

    /// Sends our FIN, once.
    pub(crate) fn end(&self) -> io::Result<()> {
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

/// The received bytes, piece by piece, in a buffer that is reused.
pub(crate) struct Chunks<'a> {
    core: &'a Core,
    reader: BufReader<&'a TcpStream>,
    given: usize,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(core: &'a Core, stream: &'a TcpStream) -> Chunks<'a> {
        Chunks { core, reader: BufReader::with_capacity(CHUNK, stream), given: 0 }
    }

    /// The next piece; empty at the peer's end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        self.reader.consume(self.given);
        self.given = 0;
        let reader = &mut self.reader;
        self.given = self.core.receive(|| reader.fill_buf().map(<[u8]>::len))?;
        Ok(self.reader.buffer())
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

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn timed_out(call: &'static str) -> io::Error {
    let kind = io::ErrorKind::TimedOut;
    Error::call(call, &kind.into()).into()
}

/// What a call on a closed socket gets.
pub(crate) fn destroyed(call: &'static str) -> Error {
    let text = format!("Cannot call {call} after a stream was destroyed");
    Error::fixed(io::ErrorKind::NotConnected, "ERR_STREAM_DESTROYED", text)
}

/// Whether an error says no more than that the connection was closed by us.
pub(crate) fn is_destroyed(error: &io::Error) -> bool {
    Error::of(error).is_some_and(|error| error.code() == "ERR_STREAM_DESTROYED")
}
