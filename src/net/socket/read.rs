//! Reading from a connection. Received bytes are counted here only, and the kernel's results are interpreted here.

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

/// Reads or peeks into a non-empty buffer, from the bytes put back or by a system call.
type Call<'a> = &'a mut dyn FnMut(&TcpStream) -> io::Result<usize>;

impl Connection {
    /// Reads into a non-empty buffer. Returns 0 at the end of the stream.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        // The fast path of nearly every read. The general path costs a third more.
        let is_plain = |_: &_| !self.may_have(CLOSED | TIMED | UNREAD | READ_ENDED);
        if let Some(_turn) = self.reading.try_take().filter(is_plain) {
            match io::Read::read(&mut &*stream, buf) {
                Ok(n) if n > 0 && !self.has(CLOSED | READ_ENDED) => {
                    return self.received(n);
                }
                Err(error) if sys::is_passing(&error) => {}
                result => return self.received(self.outcome(&stream, result)?),
            }
        }
        self.received(self.look_in_time(&stream, &mut None, &mut |mut stream| match self.give_unread(buf, true) {
            0 => io::Read::read(&mut stream, buf),
            n => Ok(n),
        })?)
    }

    /// Like `read`, into several buffers that are not all empty.
    pub(crate) fn read_vectored(&self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        // The system takes only so many buffers in one call. If all of these are empty, it returns 0, which would look
        // like the end of the stream.
        let mut first = 0;
        while bufs[first].is_empty() {
            first += 1;
        }
        let bufs = &mut bufs[first..];
        self.receive(&stream, &mut None, &mut |mut stream| {
            let unread = self.give_unread(&mut bufs[0], true);
            if unread > 0 { Ok(unread) } else { io::Read::read_vectored(&mut stream, bufs) }
        })
    }

    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream("read")?;
        self.look(&stream, &mut None, &mut |stream| match self.give_unread(buf, false) {
            0 => stream.peek(buf),
            n => Ok(n),
        })
    }

    /// Fills the buffer. Bytes read before an error are put back, so the next read begins with them.
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

    /// Reads with `call`. Ignores an idle timeout that was already reported.
    pub(crate) fn receive(&self, stream: &TcpStream, told: &mut Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        self.received(self.look(stream, told, call)?)
    }

    /// Counts `n` bytes that were read.
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

    /// The common part of reading and peeking: the turn, the call, and the meaning of its failure.
    #[inline]
    fn look(&self, stream: &TcpStream, told: &mut Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        // The flags are checked before the call. Otherwise a loop that was busy elsewhere could empty the receive
        // buffer of a closed connection. Unread data makes the close send RST. Without the RST, a peer whose window is
        // closed notices the close only minutes later.
        if self.may_have(CLOSED | TIMED | READ_ENDED) {
            return self.look_in_time(stream, told, call);
        }
        let Some(turn) = self.reading.try_take() else {
            return self.look_in_time(stream, told, call);
        };
        // Either this finds `CLOSED`, or a `destroy` after the close finds the turn taken, and ends the call.
        if self.is_closed() {
            return Err(self.gone("read").into());
        }
        match call(stream) {
            Ok(n) if n > 0 && !self.has(CLOSED | READ_ENDED) => Ok(n),
            Err(error) if sys::is_passing(&error) && !self.is_closed() => {
                drop(turn);
                self.look_in_time(stream, told, call)
            }
            result => self.outcome(stream, result),
        }
    }

    /// Like `look`, with timers, or while another thread reads.
    #[cold]
    fn look_in_time(&self, stream: &TcpStream, told: &mut Option<IdleMark>, call: Call<'_>) -> io::Result<usize> {
        let mut limits = self.timers.begin(Direction::Read);
        let _turn = match self.reading.try_take() {
            Some(turn) => turn,
            None => self.reading.wait(&mut || limits.left(told))?,
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
            let may_time_out = self.enter(stream, &mut limits, told)?;
            let result = match self.may_have(UNREAD) {
                true => call(stream),
                false => sys::await_data(stream).and_then(|()| call(stream)),
            };
            match &result {
                Ok(n) if *n > 0 && !self.has(CLOSED | READ_ENDED) => return result,
                Err(_) if self.is_closed() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    limits.go_on(false);
                    continue;
                }
                Err(error) if is_timeout(stream, error, may_time_out) => {
                    limits.go_on(false);
                    continue;
                }
                // Another thread's call has made the socket non-blocking for a moment.
                Err(error) if sys::SLICE.is_some() && error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                    limits.go_on(false);
                    continue;
                }
                _ => {}
            }
            return self.outcome(stream, result);
        }
    }

    /// Interprets the result of a call. The thread has the turn.
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

    /// What a read would return now, without waiting: `Some(0)` at the end of the stream, `Some(n)` for at least `n`
    /// bytes, `None` if the read would block.
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
        // The lock is held during the call. If the call takes the socket's error, that error is stored before another
        // read that gets 0 checks for it.
        let mut broken = lock(&self.broken);
        let result = loop {
            match sys::peek_now(&stream, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            _ if self.is_closed() => Err(self.gone("read").into()),
            // `end_reading` was called during the call. So the 0 does not mean that the peer has ended its direction.
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
                // This is for systems where shutdown(2) does not end reads. On other systems the read returns 0.
                true if !sys::SHUTDOWN_WAKES_READ => Err(shutting_down().into()),
                _ => Ok(None),
            },
            Err(error) => {
                let error = failed("read", &error);
                Err(broken.get_or_insert(error).clone().into())
            }
        }
    }

    /// Called when a read returned 0 bytes. It is the end of the stream, unless the connection has failed or was
    /// interrupted. `reads`: whether the thread has the turn to read.
    fn check_end(&self, stream: &TcpStream, reads: bool) -> io::Result<()> {
        if let Some(error) = self.first_error(stream, reads) {
            return Err(error.into());
        }
        if self.peer_ended() {
            return Ok(());
        }
        // The interruption and the end of the stream look the same here. The end of the stream must be reported only if
        // the peer has ended its direction.
        if self.has(INTERRUPTED) && sys::SHUTDOWN_WAKES_READ {
            return Err(shutting_down().into());
        }
        self.flags.fetch_or(PEER_ENDED, SeqCst);
        Ok(())
    }

    /// On systems where shutdown(2) does not end reads: whether the server is shutting down and everything that had
    /// arrived was read.
    fn is_interrupted_at(&self, stream: &TcpStream) -> bool {
        !sys::SHUTDOWN_WAKES_READ
            && self.has(INTERRUPTED)
            && !self.may_have(UNREAD)
            && sys::peek_now(stream, &mut [MaybeUninit::uninit()])
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The error of the connection. The system reports it to only one call, and 0 bytes to the other calls. So a read
    /// can get 0 while a write on another thread gets the error, and `available` can get 0 while a read gets it.
    fn first_error(&self, stream: &TcpStream, reads: bool) -> Option<Error> {
        // In this order. A call stores the error before it stops being busy, so one of the two looks sees it.
        let look = || {
            let is_busy = self.writing.is_taken() || !reads && self.reading.is_taken();
            (is_busy, lock(&self.broken).clone())
        };
        match look() {
            (_, Some(error)) => return Some(error),
            (is_busy, None) if self.peer_ended() || !is_busy || self.has_peer(stream) => return None,
            _ => {}
        }
        // No call on the connection blocks any more. The call that got the error stores it as soon as its thread runs.
        let patience = Deadline::after(Duration::from_secs(60));
        loop {
            match look() {
                (true, None) if !patience.is_over() => thread::sleep(Duration::from_micros(50)),
                (_, error) => return error,
            }
        }
    }

    /// Whether the connection still has its peer. The peer may have ended its direction.
    fn has_peer(&self, stream: &TcpStream) -> bool {
        match self.family() {
            // A connected Unix socket keeps its peer's address. An empty write fails once the peer is gone.
            Family::Unix => sys::write_now(stream, &[]).is_ok(),
            _ => SockRef::from(stream).peer_addr().is_ok(),
        }
    }

    /// Stores the first error of the connection for later reads. EPIPE is not stored, because it follows a different
    /// error, or a write to a peer that has closed without an error. EAGAIN is not stored, because it says nothing
    /// about the connection.
    pub(crate) fn broke(&self, call: &'static str, error: &io::Error) -> Error {
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::WouldBlock) {
            lock(&self.broken).get_or_insert(failed("read", error));
        }
        failed(call, error)
    }

    /// Puts back bytes that were read. The next reads return these bytes first, and they do not count as read.
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

    /// Copies out bytes that were put back, as far as there is room.
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

/// The error of a failed call. If the system has given up on the peer, the error must not look like a timeout of the
/// call, because a loop would continue after a timeout.
fn failed(call: &'static str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::call(call, error).of_kind(io::ErrorKind::ConnectionAborted),
        _ => Error::call(call, error),
    }
}

/// The buffer size until one read fills the buffer. Buffers of this size share memory pages, which is enough for
/// connections that wait or have short messages. With the large buffer, each connection would use its own pages.
const SMALL: usize = 2 * 1024;

/// The received bytes, piece by piece, in one reused buffer.
pub(crate) struct Chunks<'a> {
    connection: &'a Connection,
    reader: BufReader<&'a TcpStream>,
    /// The largest size of the buffer.
    most: usize,
    given: usize,
    /// The last piece of `next`, if it came from bytes that were put back.
    back: Vec<u8>,
    /// Whether a piece that is read while the connection is paused is put back.
    pauses: bool,
    /// Whether the last piece was put back.
    is_put_back: bool,
}

impl<'a> Chunks<'a> {
    /// Returns pieces of at most `most` bytes, which is [`CHUNK`] or more.
    pub(crate) fn new(connection: &'a Connection, stream: &'a TcpStream, most: usize) -> Chunks<'a> {
        let reader = BufReader::with_capacity(SMALL, stream);
        Chunks { connection, reader, most, given: 0, back: Vec::new(), pauses: false, is_put_back: false }
    }

    /// Makes a pause of the connection stop the loop. If a read is in progress when the pause begins, its data is put
    /// back for other reads, including a read that already waits for its turn.
    pub(crate) fn that_pause(self) -> Chunks<'a> {
        Chunks { pauses: true, ..self }
    }

    /// Whether the last piece of `next` must not be used.
    pub(crate) fn was_put_back(&self) -> bool {
        self.is_put_back
    }

    /// Returns the next piece. It is empty at the end of the stream. Ignores an idle timeout that was already reported.
    pub(crate) fn next(&mut self, told: &mut Option<IdleMark>) -> io::Result<&[u8]> {
        let capacity = self.reader.capacity();
        if self.given == capacity && capacity < self.most {
            // A full buffer means that there may be much more.
            let larger = if capacity < CHUNK { CHUNK } else { self.most };
            self.reader = BufReader::with_capacity(larger, *self.reader.get_ref());
        }
        self.reader.consume(self.given);
        (self.given, self.back, self.is_put_back) = (0, Vec::new(), false);
        let (stream, connection, pauses) = (*self.reader.get_ref(), self.connection, self.pauses);
        let (reader, back, is_put_back) = (&mut self.reader, &mut self.back, &mut self.is_put_back);
        self.given = connection.receive(stream, told, &mut |_| {
            if connection.may_have(UNREAD) {
                back.resize(CHUNK, 0);
                let n = connection.give_unread(back, true);
                back.truncate(n);
            }
            let piece = if back.is_empty() { reader.fill_buf()? } else { &**back };
            if pauses && connection.is_paused() {
                // Put back while this thread has the turn. Another thread may read after the pause has begun, and must
                // not get later bytes first.
                connection.put_back(piece);
                *is_put_back = !piece.is_empty();
            }
            Ok(piece.len())
        })?;
        if self.is_put_back {
            connection.bytes_read.fetch_sub(self.given as u64, Relaxed);
        }
        // Leaves out bytes that arrived after reading was ended.
        Ok(&self.last()[..self.given])
    }

    /// The last piece of `next`.
    pub(crate) fn last(&self) -> &[u8] {
        if self.back.is_empty() { self.reader.buffer() } else { &self.back }
    }
}
