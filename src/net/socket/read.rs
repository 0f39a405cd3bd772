//! Reading from a connection: the one place where a received byte is counted, and where the kernel's answers get their
//! meaning.

use std::io::{self, BufRead, BufReader};
use std::mem::{self, MaybeUninit};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::error::Error;
use crate::net::socket::connection::{
    CLOSED, Connection, INTERRUPTED, PEER_ENDED, TIMED, UNREAD, destroyed, shutting_down,
};
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::{Direction, IdleMark, is_timeout};
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;
use crate::sys;

/// A system call that reads or peeks, into a buffer that is not empty.
type Call<'a> = &'a mut dyn FnMut() -> io::Result<usize>;

impl Connection {
    /// Reads into a buffer that is not empty; 0 means that the peer has ended.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        if self.may_have(UNREAD) {
            let n = self.give_unread(buf, true);
            if n > 0 {
                return Ok(n);
            }
        }
        self.receive(&stream, None, &mut || io::Read::read(&mut &*stream, buf))
    }

    /// As `read`, into several buffers that are not all empty.
    pub(crate) fn read_vectored(&self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        if self.may_have(UNREAD) {
            let first = bufs.iter_mut().find(|buf| !buf.is_empty());
            return first.map_or(Ok(0), |buf| self.read(buf));
        }
        let stream = self.stream("read")?;
        self.receive(&stream, None, &mut || io::Read::read_vectored(&mut &*stream, bufs))
    }

    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        if self.may_have(UNREAD) {
            let n = self.give_unread(buf, false);
            if n > 0 {
                return Ok(n);
            }
        }
        self.look(&stream, None, &mut || stream.peek(buf))
    }

    /// Fills the buffer. What was read before an error is put back, so that the next read begins with it.
    pub(crate) fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read(&mut buf[filled..]) {
                Ok(0) => return Err(self.put_back(&buf[..filled], io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => filled += n,
                Err(error) => return Err(self.put_back(&buf[..filled], error)),
            }
        }
        Ok(())
    }

    fn put_back(&self, bytes: &[u8], error: io::Error) -> io::Error {
        self.unread(bytes);
        error
    }

    /// Reads by `call`. An idle time that was told of already is passed over.
    pub(crate) fn receive(&self, stream: &Arc<TcpStream>, told: Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        let n = self.look(stream, told, call)?;
        if n == 0 {
            self.flags.fetch_or(PEER_ENDED, SeqCst);
        } else {
            self.bytes_read.fetch_add(n as u64, Relaxed);
            if self.may_have(TIMED) {
                self.timers.moved();
            }
        }
        Ok(n)
    }

    /// What reading and peeking have in common: the call, and what its failures mean.
    fn look(&self, stream: &Arc<TcpStream>, told: Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        // Closed before the call: a loop that was busy elsewhere would empty the receive buffer. What is left there
        // makes the close send RST; with nothing left, a peer whose window is shut hears of it minutes later.
        if self.may_have(CLOSED | TIMED) {
            return self.look_in_time(stream, told, call, None);
        }
        match call() {
            Ok(n) if n > 0 && !self.is_closed() => Ok(n),
            result => self.look_in_time(stream, told, call, Some(result)),
        }
    }

    /// `first` is what a call gave that was made without a look at the timers.
    #[cold]
    fn look_in_time(
        &self,
        stream: &Arc<TcpStream>,
        told: Option<IdleMark>,
        call: Call<'_>,
        mut first: Option<io::Result<usize>>,
    ) -> io::Result<usize> {
        let mut limits = self.timers.begin(Direction::Read);
        loop {
            if self.is_closed() {
                return Err(destroyed("read").into());
            }
            let (result, may_be_timeout) = match first.take() {
                Some(result) => (result, true),
                None => {
                    let entry = self.timers.enter(stream, &mut limits, told)?;
                    let result = sys::await_data(stream).and_then(|()| call());
                    (result, self.leave(&limits, entry))
                }
            };
            match result {
                _ if self.is_closed() => return Err(destroyed("read").into()),
                Ok(0) => return self.check_end(stream).map(|()| 0),
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(stream, &error, may_be_timeout) => {}
                // Another thread's call has made the socket non-blocking for a moment.
                Err(error) if sys::SLICE.is_some() && error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(self.broke("read", &error).into()),
            }
            self.timers.go_on(&mut limits, false);
        }
    }

    /// What a read would do now, without waiting: `Some(0)` at the peer's end, at least so many bytes, `None` if it
    /// would wait.
    pub(crate) fn available(&self) -> io::Result<Option<usize>> {
        let stream = self.stream("read")?;
        if self.may_have(UNREAD) {
            let unread = lock(&self.unread).len();
            if unread > 0 {
                return Ok(Some(unread));
            }
        }
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        // An error that the call takes from the socket is kept before a read that gets 0 for it looks here.
        let mut broken = lock(&self.broken);
        let result = loop {
            match sys::peek_now(&stream, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            _ if self.is_closed() => Err(destroyed("read").into()),
            Ok(0) => match broken.clone() {
                Some(error) => Err(error.into()),
                None => {
                    drop(broken);
                    self.check_end(&stream).map(|()| Some(0))
                }
            },
            Ok(n) => Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                let error = failed("read", &error);
                Err(broken.get_or_insert(error).clone().into())
            }
        }
    }

    /// A read got 0 bytes. That is the peer's end, unless the connection has failed, or was interrupted.
    fn check_end(&self, stream: &Arc<TcpStream>) -> io::Result<()> {
        if let Some(error) = self.first_error(stream) {
            return Err(error.into());
        }
        if self.peer_ended() {
            return Ok(());
        }
        // The peer's end would look the same, but what is taken for the end must be one.
        if self.has(INTERRUPTED) {
            return Err(shutting_down().into());
        }
        Ok(())
    }

    /// The error of the connection. The system tells it once, to any call that is under way, and an end to the others.
    fn first_error(&self, stream: &Arc<TcpStream>) -> Option<Error> {
        let known = lock(&self.broken).clone();
        // One handle is the connection's and one the caller's. A connection that has its peer has not failed.
        let has_others = || Arc::strong_count(stream) > 2;
        let has_peer = || SockRef::from(&**stream).peer_addr().is_ok();
        if known.is_some() || self.peer_ended() || !has_others() || has_peer() {
            return known;
        }
        // No call on it blocks any more. The one that was told the error is about to say so.
        let patience = Deadline::after(Duration::from_secs(1));
        let mut known = None;
        while known.is_none() && has_others() && !patience.is_over() {
            thread::sleep(Duration::from_micros(100));
            known = lock(&self.broken).clone();
        }
        // Without our own end, both have not ended in order.
        known.or_else(|| (!self.we_ended()).then(|| failed("read", &io::ErrorKind::ConnectionReset.into())))
    }

    /// Keeps the first error of the connection for the reads to come. EPIPE is none: it comes after another, or it is
    /// what writing to a peer that has ended in order leads to. Nor is EAGAIN, which says nothing of the connection.
    pub(crate) fn broke(&self, call: &'static str, error: &io::Error) -> Error {
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::WouldBlock) {
            lock(&self.broken).get_or_insert_with(|| failed("read", error));
        }
        failed(call, error)
    }

    /// Puts bytes back that were read: the next reads give them first.
    pub(crate) fn unread(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut unread = lock(&self.unread);
            unread.splice(..0, bytes.iter().copied());
            self.flags.fetch_or(UNREAD, SeqCst);
        }
    }

    /// Gives what was put back, as far as there is room.
    fn give_unread(&self, buf: &mut [u8], take: bool) -> usize {
        let mut unread = lock(&self.unread);
        let n = unread.len().min(buf.len());
        buf[..n].copy_from_slice(&unread[..n]);
        if take {
            unread.drain(..n);
            if unread.is_empty() {
                self.flags.fetch_and(!UNREAD, SeqCst);
            }
        }
        n
    }

    /// Gives all that was put back.
    pub(crate) fn take_unread(&self) -> Vec<u8> {
        let mut unread = lock(&self.unread);
        self.flags.fetch_and(!UNREAD, SeqCst);
        mem::take(&mut *unread)
    }
}

/// The error of a failed call. One by which the system gives the peer up is no timeout of a call, after which a loop
/// would go on.
fn failed(call: &'static str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::call(call, error).of_kind(io::ErrorKind::ConnectionAborted),
        _ => Error::call(call, error),
    }
}

/// What a connection is read with until one read fills it. Connections that only wait, or whose messages are short,
/// share pages with each other then; with the large buffer between them each would have pages of its own.
const SMALL: usize = 2 * 1024;

/// The received bytes, piece by piece, in a buffer that is reused.
pub(crate) struct Chunks<'a> {
    connection: &'a Connection,
    stream: &'a Arc<TcpStream>,
    reader: BufReader<&'a TcpStream>,
    /// How large the buffer may become.
    most: usize,
    given: usize,
    /// The piece that `next` gave last, if it had been put back.
    back: Vec<u8>,
    told: Option<IdleMark>,
}

impl<'a> Chunks<'a> {
    /// In pieces of at most `most` bytes, [`CHUNK`] or more.
    pub(crate) fn new(connection: &'a Connection, stream: &'a Arc<TcpStream>, most: usize) -> Chunks<'a> {
        let reader = BufReader::with_capacity(SMALL, &**stream);
        Chunks { connection, stream, reader, most, given: 0, back: Vec::new(), told: None }
    }

    /// The next piece; empty at the peer's end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        let capacity = self.reader.capacity();
        if self.given == capacity && capacity < self.most {
            // There may be much more where this came from.
            let larger = if capacity < CHUNK { CHUNK } else { self.most };
            self.reader = BufReader::with_capacity(larger, &**self.stream);
        }
        self.reader.consume(self.given);
        self.given = 0;
        self.back.clear();
        if self.connection.may_have(UNREAD) {
            self.back = self.connection.take_unread();
            if !self.back.is_empty() {
                return Ok(&self.back);
            }
        }
        let reader = &mut self.reader;
        let call = &mut || reader.fill_buf().map(<[u8]>::len);
        self.given = self.connection.receive(self.stream, self.told, call)?;
        Ok(self.reader.buffer())
    }

    /// The piece that `next` gave last.
    pub(crate) fn last(&self) -> &[u8] {
        if self.back.is_empty() { self.reader.buffer() } else { &self.back }
    }

    /// Puts that piece back.
    pub(crate) fn put_back(&mut self) {
        self.connection.unread(self.last());
    }

    /// An idle timeout was told of: the next one only after new activity.
    pub(crate) fn idle_was_told(&mut self) {
        self.told = Some(self.connection.timers.told());
    }
}
