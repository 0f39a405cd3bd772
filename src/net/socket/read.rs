//! Reading from a connection: the one place where a received byte is counted, and where the kernel's answers get their
//! meaning.

use std::io::{self, BufRead, BufReader};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::address::Family;
use crate::error::Error;
use crate::net::socket::connection::{
    CLOSED, Connection, INTERRUPTED, PEER_ENDED, READ_ENDED, TIMED, UNREAD, shutting_down,
};
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::{Direction, IdleMark, is_timeout};
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;
use crate::sys;

/// What reads or peeks, into a buffer that is not empty: what was put back, or by a system call.
type Call<'a> = &'a mut dyn FnMut(&TcpStream) -> io::Result<usize>;

impl Connection {
    /// Reads into a buffer that is not empty; 0 means that the peer has ended.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        // Nearly every read goes this way; the general one costs a third more.
        let is_plain = |_: &_| !self.may_have(CLOSED | TIMED | UNREAD | READ_ENDED);
        if let Some(_turn) = self.reading.try_take().filter(is_plain) {
            match io::Read::read(&mut &*stream, buf) {
                Ok(n) if n > 0 && !self.has(CLOSED | READ_ENDED) => {
                    self.bytes_read.fetch_add(n as u64, Relaxed);
                    return Ok(n);
                }
                Err(error) if sys::is_passing(&error) => {}
                result => return self.received(self.outcome(&stream, result)?),
            }
        }
        self.receive(&stream, &mut None, &mut |mut stream| match self.give_unread(buf, true) {
            0 => io::Read::read(&mut stream, buf),
            n => Ok(n),
        })
    }

    /// As `read`, into several buffers that are not all empty.
    pub(crate) fn read_vectored(&self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        self.receive(&stream, &mut None, &mut |mut stream| {
            let first = bufs.iter_mut().find(|buf| !buf.is_empty());
            match first.map_or(0, |buf| self.give_unread(buf, true)) {
                0 => io::Read::read_vectored(&mut stream, bufs),
                n => Ok(n),
            }
        })
    }

    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        self.look(&stream, &mut None, &mut |stream| match self.give_unread(buf, false) {
            0 => stream.peek(buf),
            n => Ok(n),
        })
    }

    /// Fills the buffer. What was read before an error is put back, so that the next read begins with it.
    pub(crate) fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            let error = match self.read(&mut buf[filled..]) {
                Ok(n) if n > 0 => {
                    filled += n;
                    continue;
                }
                Ok(_) => io::ErrorKind::UnexpectedEof.into(),
                Err(error) => error,
            };
            self.unread(&buf[..filled]);
            return Err(error);
        }
        Ok(())
    }

    /// Reads by `call`. An idle time that was told already is passed over.
    pub(crate) fn receive(&self, stream: &TcpStream, told: &mut Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        self.received(self.look(stream, told, call)?)
    }

    /// Counts what a read has given.
    #[inline]
    fn received(&self, n: usize) -> io::Result<usize> {
        if n > 0 {
            self.bytes_read.fetch_add(n as u64, Relaxed);
            if self.may_have(TIMED) {
                self.timers.moved();
            }
        }
        Ok(n)
    }

    /// What reading and peeking have in common: the turn to do so, the call, and what its failures mean.
    #[inline]
    fn look(&self, stream: &TcpStream, told: &mut Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        // Closed before the call: a loop that was busy elsewhere would empty the receive buffer. What is left there
        // makes the close send RST; with nothing left, a peer whose window is shut hears of it minutes later.
        if self.may_have(CLOSED | TIMED | READ_ENDED) {
            return self.look_in_time(stream, told, call);
        }
        let Some(turn) = self.reading.try_take() else {
            return self.look_in_time(stream, told, call);
        };
        match call(stream) {
            Ok(n) if n > 0 && !self.has(CLOSED | READ_ENDED) => Ok(n),
            Err(error) if sys::is_passing(&error) && !self.is_closed() => {
                drop(turn);
                self.look_in_time(stream, told, call)
            }
            result => self.outcome(stream, result),
        }
    }

    /// The same with a look at the timers, and where another thread reads.
    #[cold]
    fn look_in_time(&self, stream: &TcpStream, told: &mut Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        let mut limits = self.timers.begin(Direction::Read);
        let _turn = match self.reading.try_take() {
            Some(turn) => turn,
            None => self.reading.wait(&mut || self.timers.left(&mut limits, told))?,
        };
        loop {
            if self.is_closed() {
                return Err(self.gone("read").into());
            }
            if self.has(READ_ENDED) {
                return Ok(0);
            }
            if self.is_interrupted_at(stream) {
                return Err(shutting_down().into());
            }
            let entry = self.timers.enter(stream, &mut limits, told)?;
            let result = match self.may_have(UNREAD) {
                true => call(stream),
                false => sys::await_data(stream).and_then(|()| call(stream)),
            };
            let may_be_timeout = self.leave(&limits, entry);
            match &result {
                Err(_) if self.is_closed() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.timers.go_on(&mut limits, false);
                    continue;
                }
                Err(error) if is_timeout(stream, error, may_be_timeout) => {
                    self.timers.go_on(&mut limits, false);
                    continue;
                }
                // Another thread's call has made the socket non-blocking for a moment.
                Err(error) if sys::SLICE.is_some() && error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                    self.timers.go_on(&mut limits, false);
                    continue;
                }
                _ => {}
            }
            return self.outcome(stream, result);
        }
    }

    /// What the result of a call means, for the thread that has the turn.
    #[cold]
    fn outcome(&self, stream: &TcpStream, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            _ if self.is_closed() => Err(self.gone("read").into()),
            _ if self.has(READ_ENDED) => Ok(0),
            Ok(0) => self.check_end(stream, true).map(|()| 0),
            Ok(n) => Ok(n),
            Err(error) => Err(self.broke("read", &error).into()),
        }
    }

    /// What a read would do now, without waiting: `Some(0)` at the peer's end, at least so many bytes, `None` if it
    /// would wait.
    pub(crate) fn available(&self) -> io::Result<Option<usize>> {
        const MOST: usize = 16 * 1024;
        let stream = self.stream("read")?;
        if self.has(READ_ENDED) {
            return Ok(Some(0));
        }
        if self.may_have(UNREAD) {
            let unread = lock(&self.unread).bytes().len();
            if unread > 0 {
                return Ok(Some(unread.min(MOST)));
            }
        }
        let mut buffer = [MaybeUninit::uninit(); MOST];
        // An error that the call takes from the socket is kept before a read that gets 0 for it looks here.
        let mut broken = lock(&self.broken);
        let result = loop {
            match sys::peek_now(&stream, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            _ if self.is_closed() => Err(self.gone("read").into()),
            // Meanwhile: what looks like the peer's end is ours.
            _ if self.has(READ_ENDED) => Ok(Some(0)),
            Ok(0) => match broken.clone() {
                Some(error) => Err(error.into()),
                None => {
                    drop(broken);
                    self.check_end(&stream, false).map(|()| Some(0))
                }
            },
            Ok(n) => Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.has(INTERRUPTED) {
                // Where shutdown(2) does not end reads; elsewhere a read gives 0 then.
                true if !sys::SHUTDOWN_WAKES_READ => Err(shutting_down().into()),
                _ => Ok(None),
            },
            Err(error) => {
                let error = failed("read", &error);
                Err(broken.get_or_insert(error).clone().into())
            }
        }
    }

    /// A read got 0 bytes. That is the peer's end, unless the connection has failed, or was interrupted. `reads`:
    /// whether the thread has the turn to read.
    fn check_end(&self, stream: &TcpStream, reads: bool) -> io::Result<()> {
        if let Some(error) = self.first_error(stream, reads) {
            return Err(error.into());
        }
        if self.peer_ended() {
            return Ok(());
        }
        // The peer's end would look the same, but what is taken for the end must be one.
        if self.has(INTERRUPTED) && sys::SHUTDOWN_WAKES_READ {
            return Err(shutting_down().into());
        }
        self.flags.fetch_or(PEER_ENDED, SeqCst);
        Ok(())
    }

    /// Where shutdown(2) does not end reads: whether the server shuts down, and all that had arrived is read.
    fn is_interrupted_at(&self, stream: &TcpStream) -> bool {
        !sys::SHUTDOWN_WAKES_READ
            && self.has(INTERRUPTED)
            && !self.may_have(UNREAD)
            && sys::peek_now(stream, &mut [MaybeUninit::uninit()])
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The error of the connection. The system tells it once, to any call that is under way, and an end to the others:
    /// to a read while another thread writes, or to `available` while another thread reads.
    fn first_error(&self, stream: &TcpStream, reads: bool) -> Option<Error> {
        let known = || lock(&self.broken).clone();
        let is_busy = || self.writing.is_taken() || !reads && self.reading.is_taken();
        if let Some(error) = known() {
            return Some(error);
        }
        if self.peer_ended() || !is_busy() || self.has_peer(stream) {
            return None;
        }
        // No call on it blocks any more. One that was told the error is about to say so.
        let patience = Deadline::after(Duration::from_millis(100));
        loop {
            match known() {
                None if is_busy() && !patience.is_over() => thread::sleep(Duration::from_micros(50)),
                error => return error,
            }
        }
    }

    /// Whether the connection has its peer still, whose end may have been read.
    fn has_peer(&self, stream: &TcpStream) -> bool {
        match self.family() {
            // A connected socket keeps its peer's address. Writing nothing fails once the peer is gone.
            Family::Unix => sys::write_now(stream, &[]).is_ok(),
            _ => SockRef::from(stream).peer_addr().is_ok(),
        }
    }

    /// Keeps the first error of the connection for the reads to come. EPIPE is none: it comes after another, or it is
    /// what writing to a peer that has ended in order leads to. Nor is EAGAIN, which says nothing of the connection.
    pub(crate) fn broke(&self, call: &'static str, error: &io::Error) -> Error {
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::WouldBlock) {
            lock(&self.broken).get_or_insert(failed("read", error));
        }
        failed(call, error)
    }

    /// Puts bytes back that were read: the next reads give them first, and they do not count as read.
    pub(crate) fn unread(&self, bytes: &[u8]) {
        self.put_back(bytes);
        self.bytes_read.fetch_sub(bytes.len() as u64, Relaxed);
    }

    fn put_back(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut unread = lock(&self.unread);
            unread.put_back(bytes);
            self.flags.fetch_or(UNREAD, SeqCst);
        }
    }

    /// Gives what was put back, as far as there is room.
    #[inline]
    fn give_unread(&self, buf: &mut [u8], take: bool) -> usize {
        if self.may_have(UNREAD) { self.give_some_unread(buf, take) } else { 0 }
    }

    #[cold]
    fn give_some_unread(&self, buf: &mut [u8], take: bool) -> usize {
        let mut unread = lock(&self.unread);
        let n = unread.bytes().len().min(buf.len());
        buf[..n].copy_from_slice(&unread.bytes()[..n]);
        if take && unread.take(n) {
            self.flags.fetch_and(!UNREAD, SeqCst);
        }
        n
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
    reader: BufReader<&'a TcpStream>,
    /// How large the buffer may become.
    most: usize,
    given: usize,
    /// The piece that `next` gave last, if it had been put back.
    back: Vec<u8>,
    /// Whether a piece that is read while the connection is paused is put back.
    pauses: bool,
    /// The last one was.
    is_put_back: bool,
    told: Option<IdleMark>,
}

impl<'a> Chunks<'a> {
    /// In pieces of at most `most` bytes, [`CHUNK`] or more.
    pub(crate) fn new(connection: &'a Connection, stream: &'a TcpStream, most: usize) -> Chunks<'a> {
        let reader = BufReader::with_capacity(SMALL, stream);
        Chunks { connection, reader, most, given: 0, back: Vec::new(), pauses: false, is_put_back: false, told: None }
    }

    /// Of a loop that a pause holds back: what arrives in a read that the pause finds under way is for other reads, one
    /// that waits for its turn already among them.
    pub(crate) fn that_pause(self) -> Chunks<'a> {
        Chunks { pauses: true, ..self }
    }

    /// Whether the piece that `next` gave is not to be used.
    pub(crate) fn was_put_back(&self) -> bool {
        self.is_put_back
    }

    /// The next piece; empty at the peer's end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        let capacity = self.reader.capacity();
        if self.given == capacity && capacity < self.most {
            // There may be much more where this came from.
            let larger = if capacity < CHUNK { CHUNK } else { self.most };
            self.reader = BufReader::with_capacity(larger, *self.reader.get_ref());
        }
        self.reader.consume(self.given);
        (self.given, self.back, self.is_put_back) = (0, Vec::new(), false);
        let (stream, connection, pauses) = (*self.reader.get_ref(), self.connection, self.pauses);
        let (reader, back, is_put_back) = (&mut self.reader, &mut self.back, &mut self.is_put_back);
        self.given = connection.receive(stream, &mut self.told, &mut |_| {
            if connection.may_have(UNREAD) {
                back.resize(CHUNK, 0);
                let n = connection.give_unread(back, true);
                back.truncate(n);
                if n > 0 {
                    return Ok(n);
                }
            }
            let piece = reader.fill_buf()?;
            if pauses && connection.is_paused() {
                // While this thread has the turn.
                connection.put_back(piece);
                *is_put_back = !piece.is_empty();
            }
            Ok(piece.len())
        })?;
        if self.is_put_back {
            connection.bytes_read.fetch_sub(self.given as u64, Relaxed);
        }
        // Not what was read as reading was ended.
        Ok(&self.last()[..self.given])
    }

    /// The piece that `next` gave last.
    pub(crate) fn last(&self) -> &[u8] {
        if self.back.is_empty() { self.reader.buffer() } else { &self.back }
    }

    /// Puts that piece back.
    pub(crate) fn put_back(&mut self) {
        self.connection.unread(self.last());
    }
}
